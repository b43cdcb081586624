"""What the models respond, judged and compared: adherence, responses to read, comparisons, ratings and Elo.

Benchmarks, and the table of all scores, are in `assets.evaluation`.
"""

from collections.abc import Iterator, Mapping
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
from assets.table_asset import Table, code_version, table_asset, table_assets
from assets.torch_stage import POOL, measure, only_digest
from ccai_dagster import contracts
from ccai_dagster.consultation import BASE, Consultation
from ccai_dagster.digest import table_digest
from ccai_dagster.errors import ConsultationError
from ccai_dagster.evaluation.comparison import TEMPLATE_VERSION
from ccai_dagster.evaluation.elo import elo_tables
from ccai_dagster.evaluation.elo_findings import elo_findings
from ccai_dagster.evaluation.outcomes import judge_outcomes, people_outcomes
from ccai_dagster.evaluation.qualitative_prompts import qualitative_prompts as prompts_to_read
from ccai_dagster.evaluation.rater_agreement import rater_agreement
from ccai_dagster.evaluation.ratings import read_ratings, standing_ratings
from ccai_dagster.feedback.judge_accuracy import SCORED_BY, judge_at_chance
from ccai_dagster.stages.evaluation import ComparisonStage, ResponsesStage
from resources.history import version_of
from resources.launcher import Launcher
from resources.model_store import ModelStore
from resources.tracking import Tracking

RATINGS = dg.AssetKey("ratings")
ELO = [
    (
        contracts.ELO_SCORES,
        "Elo of every arm against the untrained model, by the feedback model and by people.",
    ),
    (
        contracts.ELO_DIFFERENCES,
        "Elo of any two arms against each other, and how large a difference could be seen.",
    ),
    (
        contracts.RATER_AGREEMENT,
        "How often the feedback model prefers what people prefer, and people what other people prefer.",
    ),
]
JUDGED = {
    "adherence": (
        contracts.ADHERENCE,
        "How likely its responses satisfy relevant principles of every constitution.",
    ),
    "control_adherence": (
        contracts.ADHERENCE,
        "How likely its responses satisfy statements that are in no constitution: negative controls.",
    ),
    "contrast_margins": (
        contracts.CONTRAST_MARGINS,
        "How much likelier it finds responses that keep a principle than responses that break it.",
    ),
    "qualitative_responses": (
        contracts.QUALITATIVE_RESPONSES,
        "Responses to read side by side, refusals marked.",
    ),
}
JUDGED_EXAMPLES = "What the feedback model makes of the responses that people labelled."
"""Judged along with the untrained model's responses; they are no model's in particular."""


def build(consultation: Consultation) -> list[dg.AssetsDefinition | dg.SourceAsset]:
    """Make the assets of this stage that hold responses and what is made of them."""
    arms = [BASE, *consultation.arms]
    seed, settings = consultation.file.seed, consultation.profile.evaluation
    policies = {name: [name, "policy"] for name in consultation.arms}

    @table_asset(
        contracts.COMPARISONS, key=["comparisons"], deps=[decisions.ledger_key("training")],
        group=GROUP, owner=OWNER, kinds={"torch", "mlflow"}, pool=POOL,
        settings=[settings, seed, consultation.profile.feedback, TEMPLATE_VERSION],
        ins=policies | {"base_model": ["base_model"], "prompts": ["prompts"],
                         "judge_calibration": ["judge_calibration"]},
        description="Responses of every two arms to the same prompts, and which the feedback model prefers.",
    )  # fmt: skip
    def comparisons(
        context: dg.AssetExecutionContext,
        base_model: pl.DataFrame,
        prompts: pl.DataFrame,
        judge_calibration: pl.DataFrame,
        launcher: Launcher,
        models: ModelStore,
        tracking: Tracking,
        **records: pl.DataFrame,
    ) -> Table:
        compared = {BASE: base_model, **records}
        stage = ComparisonStage(
            model=consultation.file.model,
            feedback=consultation.profile.feedback,
            base_model=models.folder(only_digest(base_model)),
            policies={name: models.folder(only_digest(record)) for name, record in compared.items()},
            prompts=prompts,
            judge_at_chance=judge_at_chance(SCORED_BY, judge_calibration),
            settings=settings,
            seed=seed,
        )
        result, run = measure(context, launcher, tracking, stage, arm="")
        frame = result.tables["comparisons"]
        told = dict(frame["status"].value_counts().sort("status").iter_rows())
        return Table(frame, {**told, "mlflow": dg.MetadataValue.url(run.url)})

    @dg.observable_source_asset(
        key=RATINGS,
        group_name=GROUP,
        description="Which responses people prefer, in the folder ratings of the consultation; it may be empty.",
        # Dagster has no owners for observable sources.
        tags={"dagster/kind/csv": "", "dagster/kind/person": "", "owner": "evaluation"},
    )
    def ratings() -> dg.ObserveResult:
        try:
            table = read_ratings(consultation.ratings)
        except ConsultationError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        by_rater = {
            f"ratings of {rater}": n for rater, n in table["rater"].value_counts(sort=True).iter_rows()
        }
        return dg.ObserveResult(data_version=dg.DataVersion(table_digest(table)),
                                metadata={"ratings": table.height, **by_rater})  # fmt: skip

    @table_assets(
        ELO, group=GROUP, owner=OWNER, kinds={"python"}, deps=[RATINGS],
        settings=[settings.bootstraps, seed], ins={"comparisons": ["comparisons"]},
    )  # fmt: skip
    def elo(context: dg.AssetExecutionContext, comparisons: pl.DataFrame) -> Mapping[str, Table]:
        rated = _observed_ratings(context, consultation)
        standing = standing_ratings(rated, comparisons)
        sources = [judge_outcomes(comparisons), people_outcomes(standing)]
        scores, differences = elo_tables(sources, settings.bootstraps, seed)
        agreement = rater_agreement(comparisons, standing, settings.bootstraps, seed)
        told = {
            "what it shows": dg.MetadataValue.md(
                "\n".join(f"- {each}" for each in elo_findings(differences, agreement))
            ),
            "ratings used": standing.height,
            "ratings of earlier responses, left out": rated.height - standing.height,
        }
        return {
            "elo_scores": Table(scores, told),
            "elo_differences": Table(differences, told),
            "rater_agreement": Table(agreement, told),
        }

    @table_asset(
        contracts.QUALITATIVE_PROMPTS, key=["qualitative_prompts"], group=GROUP, owner=OWNER, kinds={"python"},
        settings=[settings.distinct_principles, seed, consultation.file.baseline],
        ins={name: [name, "constitution"] for name in consultation.arms}
        | {"prompts": ["prompts"], "constitution_overlap": ["constitution_overlap"]},
        description="Prompts whose responses people read: written for it, and chosen or drafted where "
        "constitutions differ.",
    )  # fmt: skip
    def qualitative_prompts(
        context: dg.AssetExecutionContext,
        prompts: pl.DataFrame,
        constitution_overlap: pl.DataFrame,
        **constitutions: pl.DataFrame,
    ) -> Table:
        frame = prompts_to_read(
            prompts,
            constitutions,
            constitution_overlap,
            consultation.file.baseline,
            settings.distinct_principles,
            seed,
        )
        return Table(
            frame, {str(origin): n for origin, n in frame["origin"].value_counts(sort=True).iter_rows()}
        )

    measured = [_judged(consultation, name) for name in arms]
    return [*measured, qualitative_prompts, comparisons, ratings, elo]


def _observed_ratings(context: dg.AssetExecutionContext, consultation: Consultation) -> pl.DataFrame:
    """Read the ratings that were observed, and nothing that came since."""
    table, observed = read_ratings(consultation.ratings), version_of(RATINGS, context.instance)
    if observed is not None and table_digest(table) != observed:
        raise ConsultationError(
            f"{consultation.ratings}: not what it was when ratings were last observed. Observe ratings, then "
            "materialize again; `ccai run` does both."
        )
    return table


def _judged(consultation: Consultation, name: str) -> dg.AssetsDefinition:
    """One model's responses, to read and judged, and its margins on contrast pairs: all in one process."""
    file, settings = consultation.file, consultation.profile.evaluation
    model, arms = model_key(name), list(consultation.arms)
    version = code_version("2", [settings, file.seed, file.model, consultation.profile.feedback])
    judged = {
        output: MeasuredTable(dg.AssetKey([name, output]), contract, description, version)
        for output, (contract, description) in JUDGED.items()
    }
    if name == BASE:
        judged["judged_examples"] = MeasuredTable(
            dg.AssetKey("judged_examples"), contracts.JUDGED_EXAMPLES, JUDGED_EXAMPLES, version
        )
    responds = {model, dg.AssetKey("prompts")}
    judge = {dg.AssetKey("base_model"), dg.AssetKey("judge_calibration")}
    needs = {
        "qualitative_responses": {model, dg.AssetKey("qualitative_prompts")},
        "adherence": responds | judge | {dg.AssetKey([arm, "constitution"]) for arm in arms},
        "control_adherence": responds | judge | {dg.AssetKey("control_statements")},
        "contrast_margins": {model, dg.AssetKey("contrast_pairs")},
        "judged_examples": judge | {dg.AssetKey("adherence_examples")},
    }
    read = ["prompts", "qualitative_prompts", "judge_calibration", "control_statements", "contrast_pairs"]
    read += ["adherence_examples"] if name == BASE else ["base_model"]

    @dg.multi_asset(
        name=f"{name}__responses", outs=outs(judged, {"torch", "mlflow"}),
        ins={"policy": dg.AssetIn(model)} | {each: dg.AssetIn(each) for each in read}
        | {f"{arm}__constitution": dg.AssetIn([arm, "constitution"]) for arm in arms},
        internal_asset_deps={each: needs[each] for each in judged},
        check_specs=check_specs(judged), can_subset=True, pool=POOL,
    )  # fmt: skip
    def responses(
        context: dg.AssetExecutionContext,
        policy: pl.DataFrame,
        judge_calibration: pl.DataFrame,
        launcher: Launcher,
        models: ModelStore,
        tracking: Tracking,
        **tables: pl.DataFrame,
    ) -> Iterator[Any]:
        wanted = {key.path[-1] for key in context.selected_asset_keys}
        stage = ResponsesStage(
            model=file.model,
            feedback=consultation.profile.feedback,
            base_model=models.folder(only_digest(tables.get("base_model", policy))),
            arm=name,
            policy=models.folder(only_digest(policy)),
            measures=sorted(wanted),
            prompts=tables["prompts"],
            qualitative_prompts=tables["qualitative_prompts"],
            contrast_pairs=tables["contrast_pairs"],
            control_statements=tables["control_statements"],
            adherence_examples=tables.get("adherence_examples"),
            constitutions={arm: tables[f"{arm}__constitution"] for arm in arms},
            judge_at_chance=judge_at_chance(SCORED_BY, judge_calibration),
            settings=settings,
            seed=file.seed,
        )
        result, run = measure(context, launcher, tracking, stage, arm=name)
        yield from published(judged, wanted, result.tables, run)

    return responses
