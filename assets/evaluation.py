"""What each constitution changed: benchmarks, all scores of every arm and `base`, and whose opinions they represent.

What the models respond, and how it is judged and compared, is in `assets.responses`.
"""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import polars as pl

from assets import decisions
from assets.measured_model import (
    GROUP,
    OWNER,
    MeasuredTable,
    check_specs,
    model_key,
    outs,
    published,
)
from assets.table_asset import Checked, Table, code_version, picture, table_asset
from assets.torch_stage import POOL, measure, only_digest
from ccai_dagster import contracts, pictures
from ccai_dagster.consultation import BASE, Consultation
from ccai_dagster.evaluation.evaluation_sets import read_evaluation_set
from ccai_dagster.evaluation.findings import findings, regressions
from ccai_dagster.evaluation.representativeness import representativeness_table
from ccai_dagster.evaluation.scores import own_scores, score_table
from ccai_dagster.feedback.judge_accuracy import SCORED_BY, judge_at_chance
from ccai_dagster.stages.evaluation import BenchmarksStage
from ccai_dagster.training.controlled_comparison import difference_findings, settings_table
from resources.launcher import Launcher
from resources.model_store import ModelStore
from resources.tracking import Tracking


def build(consultation: Consultation) -> list[dg.AssetsDefinition]:
    """Make the assets of this stage that hold scores."""
    arms = [BASE, *consultation.arms]
    seed, settings = consultation.file.seed, consultation.profile.evaluation
    benchmarks = list(consultation.file.benchmarks)
    stages = {f"{arm}__{stage}": [arm, stage] for arm in consultation.arms for stage in contracts.ARM_STAGES}
    items = {f"{arm}__items__{name}": [arm, name] for arm in arms for name in benchmarks}
    judged = {f"{arm}__adherence": [arm, "adherence"] for arm in arms}

    @table_asset(
        contracts.EVAL_SCORES, key=["eval_scores"], deps=[decisions.ledger_key("training")],
        group=GROUP, owner=OWNER, kinds={"python"},
        settings=[settings, seed, consultation.file.baseline], checks=["one_difference", "no_regression"], method="3",
        ins=stages | items | judged
        | {each: [each] for each in ("adherence_scores", "elo_scores", "judge_calibration")},
        description="Every score of every arm with its interval, and its paired differences to the baseline and "
        "to the untrained model.",
    )  # fmt: skip
    def eval_scores(
        context: dg.AssetExecutionContext,
        adherence_scores: pl.DataFrame,
        elo_scores: pl.DataFrame,
        judge_calibration: pl.DataFrame,
        tracking: Tracking,
        **tables: pl.DataFrame,
    ) -> Table:
        records = {
            stage: {arm: tables[f"{arm}__{stage}"] for arm in consultation.arms}
            for stage in contracts.ARM_STAGES
        }
        frame = score_table(
            {arm: {name: tables[f"{arm}__items__{name}"] for name in benchmarks} for arm in arms},
            {arm: tables[f"{arm}__adherence"] for arm in arms},
            adherence_scores,
            elo_scores,
            consultation.file.baseline,
            settings.bootstraps,
            seed,
            judge_at_chance(SCORED_BY, judge_calibration),
        )
        with tracking.run(context, "eval_scores", {"stage": "eval_scores"}, {}) as run:
            run.log({f"{row['arm']}/{row['benchmark']}/{row['metric']}/{row['category']}": row["value"]
                     for row in frame.drop_nulls("value").iter_rows(named=True)})  # fmt: skip
        return Table(
            frame,
            {
                "mlflow": dg.MetadataValue.url(run.url),
                "what it shows": dg.MetadataValue.md("\n".join(f"- {each}" for each in findings(frame))),
                "score comparison": picture(pictures.score_comparison(frame)),
                "score differences": picture(pictures.score_differences(frame)),
            },
            [
                Checked("one_difference", difference_findings(settings_table(records))),
                Checked("no_regression", regressions(frame), warns=True),
            ],
        )

    measured = [_benchmarks(consultation, name) for name in arms]
    return [*measured, eval_scores, *_opinions(consultation)]


def _opinions(consultation: Consultation) -> list[dg.AssetsDefinition]:
    """Whose opinions the models represent, if the consultation has a set of opinion questions."""
    arms, seed, settings = [BASE, *consultation.arms], consultation.file.seed, consultation.profile.evaluation
    sets = {
        name: consultation.evaluation_set(name)
        for name, each in consultation.file.benchmarks.items()
        if each.format == "opinion_qa"
    }
    if not sets:
        return []
    items = {f"{arm}__items__{name}": [arm, name] for arm in arms for name in sets}

    @table_asset(
        contracts.OPINION_REPRESENTATIVENESS, key=["opinion_representativeness"], group=GROUP, owner=OWNER,
        kinds={"python"}, ins=items | {"eval_scores": ["eval_scores"]},
        settings=[settings, seed, consultation.file.baseline, *(each.content_digest() for each in sets.values())],
        description="How well every arm's opinions represent each group of people, beside what can be expected.",
    )  # fmt: skip
    def opinion_representativeness(
        context: dg.AssetExecutionContext, eval_scores: pl.DataFrame, **tables: pl.DataFrame
    ) -> Table:
        frame = representativeness_table(
            eval_scores,
            {arm: {name: tables[f"{arm}__items__{name}"] for name in sets} for arm in arms},
            {name: read_evaluation_set(each) for name, each in sets.items()},
            consultation.file.baseline,
            settings.bootstraps,
            seed,
        )
        drawn = {name: frame.filter(pl.col("benchmark") == name) for name in sets}
        return Table(
            frame,
            {f"heat map of {name}": picture(pictures.representativeness(own)) for name, own in drawn.items()},
        )

    return [opinion_representativeness]


def _benchmarks(consultation: Consultation, name: str) -> dg.AssetsDefinition:
    """All benchmarks of one model in one process: loading it costs more than most of them."""
    file, settings = consultation.file, consultation.profile.evaluation
    sets = {each: consultation.evaluation_set(each) for each in file.benchmarks}
    items = {
        each: MeasuredTable(
            dg.AssetKey([name, each]),
            contracts.BENCHMARK_ITEMS,
            file.benchmarks[each].description,
            code_version("3", [settings, file.seed, file.model, set_.content_digest()]),
        )
        for each, set_ in sets.items()
    }

    @dg.multi_asset(
        name=f"{name}__benchmarks", outs=outs(items, {"torch", "lm-eval", "mlflow"}),
        ins={"policy": dg.AssetIn(model_key(name))}, can_subset=True, pool=POOL, check_specs=check_specs(items),
    )  # fmt: skip
    def benchmarks(
        context: dg.AssetExecutionContext,
        policy: pl.DataFrame,
        launcher: Launcher,
        models: ModelStore,
        tracking: Tracking,
    ) -> Iterator[Any]:
        wanted = {key.path[-1] for key in context.selected_asset_keys}
        stage = BenchmarksStage(
            model=file.model,
            policy=models.folder(only_digest(policy)),
            benchmarks={each: sets[each] for each in sorted(wanted)},
            settings=settings,
            seed=file.seed,
        )
        result, run = measure(context, launcher, tracking, stage, arm=name)
        shown = {
            each: own_scores(each, result.tables[each], settings.bootstraps, file.seed) for each in wanted
        }
        yield from published(items, wanted, result.tables, run, shown)

    return benchmarks
