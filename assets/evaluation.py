"""What each constitution changed: what models respond and how it is judged and compared, benchmarks, and all scores.

Belongs here: the assets of the group `evaluation` that need a model or people's ratings, the table of all scores of
every arm and `base`, and whose opinions they represent. What follows from judged responses is in `assets.adherence`.
Methods are in `ccai_dagster.evaluation`, and run in a process of their own where they need a model
(`ccai_dagster.stages`).
Assets: https://docs.dagster.io/guides/build/assets/defining-assets
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import dagster as dg
import polars as pl

from assets import decisions
from assets.table_asset import Checked, Results, Table, code_version, of_arms, picture, table_asset, table_assets
from assets.torch_stage import (
    CUT_OFF,
    GROUP,
    OWNER,
    POOL,
    MeasuredTable,
    check_specs,
    judging,
    measure,
    model_key,
    only_digest,
    outs,
    published,
    sampled,
)
from ccai_dagster import contracts
from ccai_dagster.consultation.folder import BASE, Consultation
from ccai_dagster.core.digest import table_digest
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.evaluation.elo import TEMPLATE_VERSION, compared_responses, elo_tables
from ccai_dagster.evaluation.findings import elo_findings, findings, regressions
from ccai_dagster.evaluation.opinions import representativeness_table
from ccai_dagster.evaluation.ratings import current_ratings, rater_agreement, read_ratings
from ccai_dagster.evaluation.responses import qualitative_prompts as prompts_to_read
from ccai_dagster.evaluation.scores import judge_outcomes, own_scores, people_outcomes, score_table
from ccai_dagster.evaluation.sets.formats import OVER_REFUSAL_FORMATS, read_evaluation_set
from ccai_dagster.feedback.judge_accuracy import judge_at_chance, scored_by, scored_elo_at_chance
from ccai_dagster.feedback.language_model import cut_off
from ccai_dagster.pages import pictures
from ccai_dagster.stages.evaluation import BenchmarksStage, ComparisonStage, ResponsesStage
from ccai_dagster.training.settings_of_arms import difference_findings, settings_table
from resources.history import version_of
from resources.launcher import Launcher
from resources.model_store import ModelStore
from resources.tracking import Tracking

asset = partial(table_asset, group=GROUP, owner=OWNER)
RATINGS = dg.AssetKey("ratings")
ELO = [
    (contracts.ELO_SCORES, "Elo of every arm against the untrained model, by the feedback model and by people."),
    (contracts.ELO_DIFFERENCES, "Elo of any two arms against each other, and how large a difference could be seen."),
    (
        contracts.RATER_AGREEMENT,
        "How often the feedback model prefers what people prefer, and people what other people prefer.",
    ),
]
JUDGED = {
    "adherence": (contracts.ADHERENCE, "How likely its responses satisfy relevant principles of every constitution."),
    "control_adherence": (
        contracts.ADHERENCE,
        "How likely its responses satisfy statements that are in no constitution: negative controls.",
    ),
    "contrast_margins": (
        contracts.CONTRAST_MARGINS,
        "How much likelier it finds responses that keep a principle than responses that break it.",
    ),
    "qualitative_responses": (contracts.QUALITATIVE_RESPONSES, "Responses to read side by side, refusals marked."),
}
METHODS = {
    "adherence": "3",
    "control_adherence": "3",
    "contrast_margins": "2",
    "qualitative_responses": "3",
    "judged_examples": "2",
}
"""Version of the method that makes each of them."""
GENERATED = {*OVER_REFUSAL_FORMATS, "political_even_handedness", "numeric_answer", "gsm8k"}
"""Formats whose answers the model writes; in the others the likelihood of letters is compared."""
WRITTEN = {"adherence", "control_adherence", "qualitative_responses"}
"""Those that rest on what the model writes."""
JUDGED_EXAMPLES = "What the feedback model makes of the responses that people labelled."
"""Judged along with the untrained model's responses; they are no model's in particular."""


def build(consultation: Consultation) -> list[dg.AssetsDefinition | dg.SourceAsset]:
    """Make the assets of this stage."""
    models = [BASE, *consultation.arms]
    return [
        *(_judged(consultation, name) for name in models),
        *(_benchmarks(consultation, name) for name in models),
        _qualitative_prompts(consultation),
        _comparisons(consultation),
        *_elo(consultation),
        _eval_scores(consultation),
        *_opinions(consultation),
    ]


def scoring_model(models: ModelStore, judge_calibration: pl.DataFrame) -> Path | None:
    """Return the folder of the tuned feedback model where models are scored by it.

    The calibration names it, so that nothing else has to be an input of what is scored.
    """
    scoring = judge_calibration.filter("scores_models", method="tuned")
    return models.folder(scoring["feedback_model"][0]) if scoring.height else None


def _eval_scores(consultation: Consultation) -> dg.AssetsDefinition:
    arms = [BASE, *consultation.arms]
    seed, settings = consultation.file.seed, consultation.profile.evaluation
    benchmarks = list(consultation.file.benchmarks)
    stages = of_arms(consultation.arms, *contracts.ARM_STAGES)
    items = {f"{arm}__items__{name}": [arm, name] for arm in arms for name in benchmarks}

    @asset(
        contracts.EVAL_SCORES,
        deps=[decisions.ledger_key("training")],
        settings=[settings, seed, consultation.file.baseline],
        checks=["one_difference", "no_regression"],
        method="4",
        ins=stages | items | of_arms(arms, "adherence"),
        description="Every score of every arm with its interval, and its paired differences to the baseline and "
        "to the untrained model.",
    )
    def eval_scores(
        context: dg.AssetExecutionContext,
        adherence_scores: pl.DataFrame,
        elo_scores: pl.DataFrame,
        judge_calibration: pl.DataFrame,
        tracking: Tracking,
        **tables: pl.DataFrame,
    ) -> Table:
        records = {
            stage: {arm: tables[f"{arm}__{stage}"] for arm in consultation.arms} for stage in contracts.ARM_STAGES
        }
        frame = score_table(
            {arm: {name: tables[f"{arm}__items__{name}"] for name in benchmarks} for arm in arms},
            {arm: tables[f"{arm}__adherence"] for arm in arms},
            adherence_scores,
            elo_scores,
            consultation.file.baseline,
            settings.bootstraps,
            seed,
            judge_at_chance(scored_by(judge_calibration), judge_calibration),
        )
        with tracking.run(context, "eval_scores", {"stage": "eval_scores"}, {}) as run:
            run.log(
                {
                    f"{row['arm']}/{row['benchmark']}/{row['metric']}/{row['category']}": row["value"]
                    for row in frame.drop_nulls("value").iter_rows(named=True)
                }
            )
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

    return eval_scores


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

    @asset(
        contracts.OPINION_REPRESENTATIVENESS,
        ins=items,
        settings=[settings, seed, consultation.file.baseline, *(each.content_digest() for each in sets.values())],
        description="How well every arm's opinions represent each group of people, beside what can be expected.",
    )
    def opinion_representativeness(eval_scores: pl.DataFrame, **tables: pl.DataFrame) -> Table:
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
            frame, {f"heat map of {name}": picture(pictures.representativeness(own)) for name, own in drawn.items()}
        )

    return [opinion_representativeness]


def _benchmarks(consultation: Consultation, name: str) -> dg.AssetsDefinition:
    """All benchmarks of one model in one process: loading it costs more than most of them."""
    file, settings = consultation.file, consultation.profile.evaluation
    sets = {each: consultation.evaluation_set(each) for each in file.benchmarks}
    served = consultation.served_evaluated(name)
    items = {
        each: MeasuredTable(
            dg.AssetKey([name, each]),
            contracts.BENCHMARK_ITEMS,
            file.benchmarks[each].description,
            code_version(
                "5" if set_.format in GENERATED else "3",
                [settings, file.seed, file.model, set_.content_digest(), *sampled(served)],
            ),
        )
        for each, set_ in sets.items()
    }

    @dg.multi_asset(
        name=f"{name}__benchmarks",
        outs=outs(items, {"torch", "lm-eval", "mlflow"}),
        ins={"policy": dg.AssetIn(model_key(name))},
        can_subset=True,
        pool=POOL,
        check_specs=check_specs(items),
    )
    def benchmarks(
        context: dg.AssetExecutionContext,
        policy: pl.DataFrame,
        launcher: Launcher,
        models: ModelStore,
        tracking: Tracking,
    ) -> Results:
        wanted = {key.path[-1] for key in context.selected_asset_keys}
        stage = BenchmarksStage(
            model=file.model,
            policy=models.folder(only_digest(policy)),
            sampled_by=served,
            benchmarks={each: sets[each] for each in sorted(wanted)},
            settings=settings,
            seed=file.seed,
        )
        result, run = measure(context, launcher, tracking, stage, arm=name)
        shown = {each: own_scores(each, result.tables[each], settings.bootstraps, file.seed) for each in wanted}
        yield from published(items, wanted, result.tables, run, shown)

    return benchmarks


def _comparisons(consultation: Consultation) -> dg.AssetsDefinition:
    seed, settings = consultation.file.seed, consultation.profile.evaluation
    policies = {name: [name, "policy"] for name in consultation.arms}
    served = {arm: each for arm in (BASE, *policies) if (each := consultation.served_evaluated(arm))}

    @asset(
        contracts.COMPARISONS,
        deps=[decisions.ledger_key("training")],
        kinds={"torch", "mlflow"},
        pool=POOL,
        method="2",
        settings=[
            *(settings, seed, consultation.profile.feedback, TEMPLATE_VERSION),
            *(setting for each in served.values() for setting in sampled(each)),
        ],
        ins=policies,
        description="Responses of every two arms to the same prompts, and which the feedback model prefers.",
    )
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
            **judging(consultation),
            feedback_model=scoring_model(models, judge_calibration),
            method=scored_by(judge_calibration),
            base_model=models.folder(only_digest(base_model)),
            policies={name: models.folder(only_digest(record)) for name, record in compared.items()},
            sampled_by=served,
            prompts=prompts,
            judge_at_chance=scored_elo_at_chance(judge_calibration),
            settings=settings,
            seed=seed,
        )
        result, run = measure(context, launcher, tracking, stage, arm="")
        frame = result.tables["comparisons"]
        counts = dict(frame["status"].value_counts().sort("status").iter_rows())
        cut = {CUT_OFF: cut_off(compared_responses(frame)["finished"])}
        shown = {**counts, **cut, **result.report.provenance}
        return Table(frame, {**shown, "mlflow": dg.MetadataValue.url(run.url)})

    return comparisons


def _elo(consultation: Consultation) -> list[dg.AssetsDefinition | dg.SourceAsset]:
    """People's ratings, and what they and the feedback model's comparisons amount to."""

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
        by_rater = {f"ratings of {rater}": n for rater, n in table["rater"].value_counts(sort=True).iter_rows()}
        return dg.ObserveResult(
            data_version=dg.DataVersion(table_digest(table)), metadata={"ratings": table.height, **by_rater}
        )

    bootstraps, seed = consultation.profile.evaluation.bootstraps, consultation.file.seed

    @table_assets(ELO, group=GROUP, owner=OWNER, deps=[RATINGS], settings=[bootstraps, seed])
    def elo(context: dg.AssetExecutionContext, comparisons: pl.DataFrame) -> Mapping[str, Table]:
        rated = _observed_ratings(context, consultation)
        counted = current_ratings(rated, comparisons, consultation.ratings)
        sources = [judge_outcomes(comparisons), people_outcomes(counted)]
        scores, differences = elo_tables(sources, bootstraps, seed)
        agreement = rater_agreement(comparisons, counted, bootstraps, seed)
        shown = {
            "what it shows": dg.MetadataValue.md(
                "\n".join(f"- {each}" for each in elo_findings(differences, agreement))
            ),
            "ratings used": counted.height,
            "ratings of earlier responses or models, left out": rated.height - counted.height,
        }
        return {
            "elo_scores": Table(scores, shown),
            "elo_differences": Table(differences, shown),
            "rater_agreement": Table(agreement, shown),
        }

    return [ratings, elo]


def _observed_ratings(context: dg.AssetExecutionContext, consultation: Consultation) -> pl.DataFrame:
    """Read the ratings that were observed, and nothing that came since."""
    table, observed = read_ratings(consultation.ratings), version_of(RATINGS, context.instance)
    if observed is not None and table_digest(table) != observed:
        raise ConsultationError(
            f"{consultation.ratings}: not what it was when ratings were last observed. Observe ratings, then "
            "materialize again; `ccai run` does both."
        )
    return table


def _qualitative_prompts(consultation: Consultation) -> dg.AssetsDefinition:
    baseline, seed = consultation.file.baseline, consultation.file.seed
    distinct = consultation.profile.evaluation.distinct_principles

    @asset(
        contracts.QUALITATIVE_PROMPTS,
        settings=[distinct, seed, baseline],
        ins={name: [name, "constitution"] for name in consultation.arms},
        description="Prompts whose responses people read: written for it, and chosen or drafted where "
        "constitutions differ.",
    )
    def qualitative_prompts(
        prompts: pl.DataFrame, constitution_overlap: pl.DataFrame, **constitutions: pl.DataFrame
    ) -> Table:
        frame = prompts_to_read(prompts, constitutions, constitution_overlap, baseline, distinct, seed)
        return Table(frame, {str(origin): n for origin, n in frame["origin"].value_counts(sort=True).iter_rows()})

    return qualitative_prompts


def _judged(consultation: Consultation, name: str) -> dg.AssetsDefinition:
    """One model's responses, to read and judged, and its margins on contrast pairs: all in one process."""
    file, settings = consultation.file, consultation.profile.evaluation
    model, arms = model_key(name), list(consultation.arms)
    served = consultation.served_evaluated(name)

    def version(output: str) -> str:
        own = sampled(served) if output in WRITTEN else []
        return code_version(METHODS[output], [settings, file.seed, file.model, consultation.profile.feedback, *own])

    judged = {
        output: MeasuredTable(dg.AssetKey([name, output]), contract, description, version(output))
        for output, (contract, description) in JUDGED.items()
    }
    if name == BASE:
        judged["judged_examples"] = MeasuredTable(
            dg.AssetKey("judged_examples"), contracts.JUDGED_EXAMPLES, JUDGED_EXAMPLES, version("judged_examples")
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
        name=f"{name}__responses",
        outs=outs(judged, {"torch", "mlflow"}),
        ins={"policy": dg.AssetIn(model)}
        | {each: dg.AssetIn(each) for each in read}
        | {f"{arm}__constitution": dg.AssetIn([arm, "constitution"]) for arm in arms},
        internal_asset_deps={each: needs[each] for each in judged},
        check_specs=check_specs(judged),
        can_subset=True,
        pool=POOL,
    )
    def responses(
        context: dg.AssetExecutionContext,
        policy: pl.DataFrame,
        judge_calibration: pl.DataFrame,
        launcher: Launcher,
        models: ModelStore,
        tracking: Tracking,
        **tables: pl.DataFrame,
    ) -> Results:
        wanted = {key.path[-1] for key in context.selected_asset_keys}
        stage = ResponsesStage(
            **judging(consultation),
            feedback_model=scoring_model(models, judge_calibration),
            method=scored_by(judge_calibration),
            base_model=models.folder(only_digest(tables.get("base_model", policy))),
            arm=name,
            policy=models.folder(only_digest(policy)),
            sampled_by=served,
            measures=sorted(wanted),
            prompts=tables["prompts"],
            qualitative_prompts=tables["qualitative_prompts"],
            contrast_pairs=tables["contrast_pairs"],
            control_statements=tables["control_statements"],
            adherence_examples=tables.get("adherence_examples"),
            constitutions={arm: tables[f"{arm}__constitution"] for arm in arms},
            judge_at_chance=judge_at_chance(scored_by(judge_calibration), judge_calibration),
            settings=settings,
            seed=file.seed,
        )
        result, run = measure(context, launcher, tracking, stage, arm=name)
        yield from published(judged, wanted, result.tables, run)

    return responses
