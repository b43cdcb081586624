"""What each constitution changed: benchmarks, adherence, comparisons and responses, of every arm and `base`."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
import polars as pl

from assets import decisions
from assets.table_asset import Checked, Table, code_version, picture, publish, table_asset
from assets.torch_stage import POOL, measure, model_options, only_digest
from ccai_dagster import contracts, pictures
from ccai_dagster.consultation import BASE, Consultation
from ccai_dagster.decisions.findings import Finding
from ccai_dagster.decisions.settled_values import training_decisions
from ccai_dagster.digest import file_digest
from ccai_dagster.errors import ConsultationError
from ccai_dagster.evaluation.findings import findings
from ccai_dagster.evaluation.scores import score_table
from resources.launcher import Launcher
from resources.model_store import ModelStore
from resources.tracking import Tracking

GROUP = "evaluation"
OWNER = "team:evaluation"
STAGES = ("supervised_policy", "preference_model", "policy")
JUDGED = {
    "adherence": (contracts.ADHERENCE, "How likely its responses satisfy relevant principles of every constitution."),
    "qualitative_responses": (contracts.QUALITATIVE_RESPONSES, "Responses to read side by side, refusals marked."),
}


def judge_at_chance(consultation: Consultation, judge_calibration: pl.DataFrame) -> bool:
    """Tell whether the feedback model, asked as decided, is no better than chance or was not measured."""
    method = training_decisions(decisions.read(consultation, "training")).feedback_method
    measured = judge_calibration.filter(pl.col("method") == method)["at_chance"]
    return bool(measured.any()) or not measured.len()


def one_difference(records: Mapping[str, Mapping[str, pl.DataFrame]]) -> list[Finding]:
    """Return where two arms were trained with other settings; they may differ in the constitution only.

    Args:
        records: MODEL tables by stage and arm.
    """
    found = []
    for stage, by_arm in records.items():
        digests = {arm: str(record["settings_digest"].item()) for arm, record in by_arm.items()}
        first = min(digests)
        found += [
            Finding("error", "training", None, f"{arm}/{stage}",
                    f"its settings digest {digest[:12]} is not that of {first}/{stage} ({digests[first][:12]}): the "
                    "arms would differ in more than the constitution. Materialize both with the same settings")
            for arm, digest in digests.items()
            if digest != digests[first]
        ]  # fmt: skip
    return found


def build(consultation: Consultation) -> list[dg.AssetsDefinition]:
    """Make the assets of this stage."""
    arms = [BASE, *consultation.arms]
    seed, settings = consultation.file.seed, consultation.profile.evaluation
    models_of = {name: _model_key(name) for name in arms}

    @table_asset(
        contracts.ELO_SCORES, key=["elo_scores"], group=GROUP, owner=OWNER, kinds={"torch", "mlflow"}, pool=POOL,
        settings=[settings, seed, consultation.profile.feedback],
        ins=models_of | {"base_model": ["base_model"], "prompts": ["prompts"],
                         "judge_calibration": ["judge_calibration"]},
        description="Elo of every arm against the untrained model, by the feedback model's comparisons.",
    )  # fmt: skip
    def elo_scores(
        context: dg.AssetExecutionContext,
        prompts: pl.DataFrame,
        judge_calibration: pl.DataFrame,
        launcher: Launcher,
        models: ModelStore,
        tracking: Tracking,
        **records: pl.DataFrame,
    ) -> Table:
        chance = judge_at_chance(consultation, judge_calibration)
        result, run = measure(
            context, launcher, tracking, stage="comparison", arm="",
            tables={"prompts": prompts},
            models={name: models.folder(only_digest(record)) for name, record in records.items()},
            options=model_options(consultation)
            | {"settings": settings.model_dump(mode="json"), "arms": arms, "judge_at_chance": chance},
        )  # fmt: skip
        return Table(result.tables["elo_scores"], {"mlflow": dg.MetadataValue.url(run.url)})

    benchmarks = list(consultation.file.benchmarks)
    stages = {f"{arm}__{stage}": [arm, stage] for arm in consultation.arms for stage in STAGES}
    items = {f"{arm}__items__{name}": [arm, name] for arm in arms for name in benchmarks}
    judged = {f"{arm}__adherence": [arm, "adherence"] for arm in arms}

    @table_asset(
        contracts.EVAL_SCORES, key=["eval_scores"], group=GROUP, owner=OWNER, kinds={"python"},
        settings=[settings, seed, consultation.file.baseline], checks=["one_difference"],
        ins=stages | items | judged | {"elo_scores": ["elo_scores"], "judge_calibration": ["judge_calibration"]},
        description="Every score of every arm with its interval and its paired difference to the baseline.",
    )  # fmt: skip
    def eval_scores(
        context: dg.AssetExecutionContext,
        elo_scores: pl.DataFrame,
        judge_calibration: pl.DataFrame,
        tracking: Tracking,
        **tables: pl.DataFrame,
    ) -> Table:
        records = {stage: {arm: tables[f"{arm}__{stage}"] for arm in consultation.arms} for stage in STAGES}
        frame = score_table(
            {arm: {name: tables[f"{arm}__items__{name}"] for name in benchmarks} for arm in arms},
            {arm: tables[f"{arm}__adherence"] for arm in arms},
            elo_scores,
            consultation.file.baseline,
            settings.bootstraps,
            seed,
            judge_at_chance(consultation, judge_calibration),
        )
        with tracking.run(context, "eval_scores", {"stage": "eval_scores"}, {}) as run:
            run.log({f"{row['arm']}/{row['benchmark']}/{row['metric']}/{row['category']}": row["value"]
                     for row in frame.iter_rows(named=True)})  # fmt: skip
        return Table(
            frame,
            {
                "mlflow": dg.MetadataValue.url(run.url),
                "what it shows": dg.MetadataValue.md("\n".join(f"- {each}" for each in findings(frame))),
                "score comparison": picture(pictures.score_comparison(frame), pictures.score_comparison_alt(frame)),
            },
            [Checked("one_difference", one_difference(records))],
        )

    return [*(_evaluation(consultation, name) for name in arms), elo_scores, eval_scores]


def _model_key(name: str) -> list[str]:
    return ["base_model"] if name == BASE else [name, "policy"]


def _evaluation(consultation: Consultation, name: str) -> dg.AssetsDefinition:
    """One process for all evaluations of one model: loading it costs more than most of them."""
    file, settings = consultation.file, consultation.profile.evaluation
    described = {
        benchmark: (contracts.BENCHMARK_ITEMS, each.description) for benchmark, each in file.benchmarks.items()
    } | JUDGED
    paths = {benchmark: consultation.path(each.path) for benchmark, each in file.benchmarks.items()}
    constitutions = {arm: dg.AssetIn(dg.AssetKey([arm, "constitution"])) for arm in consultation.arms}
    once = {"base_model": dg.AssetIn("base_model")} if name != BASE else {}

    def versions(output: str) -> str:
        own = [file_digest(paths[output])] if output in paths else [consultation.profile.feedback]
        return code_version("1", [settings, file.seed, file.model, *own])

    judged_deps = {dg.AssetKey(_model_key(name)), dg.AssetKey("prompts"), dg.AssetKey("base_model")}
    judged_deps |= {dg.AssetKey([arm, "constitution"]) for arm in consultation.arms}

    @dg.multi_asset(
        name=f"{name}__evaluation",
        outs={
            output: dg.AssetOut(
                key=[name, output], is_required=False, dagster_type=dg.Any, io_manager_key="tables",
                group_name=GROUP, description=description, owners=[OWNER],
                kinds={"torch", "lm-eval", "mlflow"} if output in paths else {"torch", "mlflow"},
                code_version=versions(output),
            )
            for output, (_, description) in described.items()
        },
        ins={"policy": dg.AssetIn(dg.AssetKey(_model_key(name))), "prompts": dg.AssetIn("prompts")}
        | once | constitutions,
        internal_asset_deps={
            output: {dg.AssetKey(_model_key(name))} if output in paths else judged_deps for output in described
        },
        check_specs=[dg.AssetCheckSpec("contract", asset=[name, output], blocking=True) for output in described],
        can_subset=True,
        pool=POOL,
    )  # fmt: skip
    def evaluation(
        context: dg.AssetExecutionContext,
        launcher: Launcher,
        models: ModelStore,
        tracking: Tracking,
        **tables: pl.DataFrame,
    ) -> Iterator[Any]:
        wanted = {key.path[-1] for key in context.selected_asset_keys}
        policy = models.folder(only_digest(tables["policy"]))
        judge = models.folder(only_digest(tables.get("base_model", tables["policy"])))
        options = model_options(consultation) | {
            "arm": name,
            "settings": settings.model_dump(mode="json"),
            "dtype": file.model.dtype,
            "benchmarks": {each: [file.benchmarks[each].format, str(paths[each])] for each in wanted & set(paths)},
            "measures": sorted(wanted & set(JUDGED)),
        }
        handed = {"prompts": tables["prompts"]}
        handed |= {f"constitution/{arm}": tables[arm] for arm in consultation.arms}
        try:
            result, run = measure(
                context, launcher, tracking, stage="evaluation", arm=name, tables=handed,
                models={"policy": policy, "base_model": judge}, options=options,
            )  # fmt: skip
        except ConsultationError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        for output, (contract, _) in described.items():
            if output in wanted:
                metadata = {"mlflow": dg.MetadataValue.url(run.url), "mlflow run": run.run_id}
                yield from publish(Table(result.tables[output], metadata), contract, dg.AssetKey([name, output]))

    return evaluation
