"""Constitutional AI's data: the base model, prompts, revisions, pairs of responses and their labels.

The feedback model that makes the labels, and how it is measured, is in `assets.feedback`.

[judge]
The feedback model and how far it can be trusted: tuned where that is asked for, and measured on people's labels.
"""

from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from assets import decisions
from assets.table_asset import Checked, Table, markdown_table, table_asset
from assets.torch_stage import POOL, controlled_everywhere, measure, only_digest, train
from ccai_dagster import contracts
from ccai_dagster.constitution.principles import constitution_digest
from ccai_dagster.consultation.folder import BASE, Consultation
from ccai_dagster.consultation.settings import Settings
from ccai_dagster.core.digest import file_digest, table_digest, value_digest
from ccai_dagster.core.home import home_root
from ccai_dagster.decisions.checks import check_training
from ccai_dagster.decisions.outcomes import training_decisions
from ccai_dagster.feedback import critique, judge
from ccai_dagster.feedback import prompt_coverage as coverage
from ccai_dagster.feedback.calibration import (
    NO_BETTER,
    calibration_curve,
    calibration_table,
    check_feedback_choice,
    judge_at_chance,
)
from ccai_dagster.feedback.critique import revision_counts
from ccai_dagster.feedback.preference_pairs import label_counts, principle_weights
from ccai_dagster.feedback.prompts import chosen_comparisons, read_comparisons, read_prompts
from ccai_dagster.stages.feedback import JudgeAnswersStage, PreferencePairsStage, ResponsePairsStage, RevisionsStage
from ccai_dagster.stages.training import BaseModelStage, FeedbackModelStage, SupervisedPolicyStage
from ccai_dagster.training.supervised import ordered_ids
from resources.launcher import Launcher
from resources.model_store import ModelStore
from resources.tracking import Tracking


def _judge(consultation: Consultation) -> list[dg.AssetsDefinition]:
    """Make the assets of feedback that are about the model that judges."""
    file, profile = consultation.file, consultation.profile
    judge_paths = {name: consultation.path(path) for name, path in file.judge_comparisons.items()}
    torch_kinds: dict[str, Any] = {
        "group": GROUP,
        "owner": OWNER,
        "kinds": {"torch", "huggingface", "mlflow"},
        "pool": POOL,
    }
    judge_settings: list[Settings | str | int] = [
        file.seed,
        file.model,
        *(file_digest(path) for path in judge_paths.values()),
    ]

    @table_asset(
        contracts.MODEL,
        key=["feedback_model"],
        ins={"base_model": ["base_model"]},
        deps=[decisions.ledger_key("training")],
        settings=[profile.tuned_judge, judge.TUNED_TEMPLATE_VERSION, *judge_settings],
        description="The model that judges: the base model, or where that is asked for, the base model tuned on one "
        "half of the labelled comparisons.",
        **torch_kinds,
    )
    def feedback_model(
        context: dg.AssetExecutionContext,
        base_model: pl.DataFrame,
        launcher: Launcher,
        models: ModelStore,
        tracking: Tracking,
    ) -> Table:
        recorded = training_decisions(decisions.read(consultation, "training")).feedback_method == "tuned"
        if not recorded and not (profile.tuned_judge.calibrate and judge_paths):
            record = base_model.with_columns(stage=pl.lit("feedback_model"))
            return Table(record, {"tuned": False}, version=only_digest(base_model))
        comparisons = {name: read_comparisons(path) for name, path in judge_paths.items()}
        tuning, _ = judge.halves(comparisons, file.seed)
        stage = FeedbackModelStage(
            base_model=models.folder(only_digest(base_model)),
            comparisons=tuning,
            settings=profile.tuned_judge,
            seed=file.seed,
        )
        return train(
            context,
            launcher,
            models,
            tracking,
            stage,
            arm=BASE,
            parent=base_model,
            constitution=None,
            controlled=controlled_everywhere(consultation) | {"settings": profile.tuned_judge},
        )

    @table_asset(
        contracts.JUDGE_ANSWERS,
        key=["judge_answers"],
        ins={"base_model": ["base_model"], "feedback_model": ["feedback_model"]},
        settings=[
            profile.feedback,
            profile.tuned_judge,
            judge.TUNED_TEMPLATE_VERSION,
            judge.TEMPLATE_VERSION,
            *judge_settings,
        ],
        description="What the feedback model answers on labelled comparisons, asked in every way.",
        **torch_kinds,
    )
    def judge_answers(
        context: dg.AssetExecutionContext,
        base_model: pl.DataFrame,
        feedback_model: pl.DataFrame,
        launcher: Launcher,
        models: ModelStore,
        tracking: Tracking,
    ) -> Table:
        comparisons = {name: read_comparisons(path) for name, path in judge_paths.items()}
        if is_tuned(feedback_model):  # every method is measured on what the tuned one has not seen
            _, comparisons = judge.halves(comparisons, file.seed)
        count = profile.feedback.calibration_comparisons
        stage = JudgeAnswersStage(
            model=file.model,
            feedback=profile.feedback,
            base_model=models.folder(only_digest(base_model)),
            feedback_model=tuned_model(models, feedback_model),
            comparisons={name: chosen_comparisons(table, count, file.seed) for name, table in comparisons.items()},
            tuned_judge=profile.tuned_judge,
        )
        result, run = measure(context, launcher, tracking, stage, arm="")
        frame = result.tables["judge_answers"]
        unanswered = frame.filter(pl.col("probability_a").is_null()).height
        return Table(frame, {"unanswered": unanswered, "mlflow": dg.MetadataValue.url(run.url)})

    @table_asset(
        contracts.JUDGE_CALIBRATION,
        key=["judge_calibration"],
        group=GROUP,
        owner=OWNER,
        kinds={"python"},
        ins={"judge_answers": ["judge_answers"]},
        settings=[file.seed],
        description="How far the feedback model can be trusted: accuracy, biases and calibration, with intervals.",
    )
    def judge_calibration(context: dg.AssetExecutionContext, judge_answers: pl.DataFrame) -> Table:
        frame = calibration_table(judge_answers, file.seed)
        told = {
            f"accuracy of {row['method']} on {row['comparison_set']}": f"{row['accuracy']:.3f} "
            f"[{row['accuracy_low']:.3f}, {row['accuracy_high']:.3f}] on {row['n']}"
            + (f" ({NO_BETTER})" if row["at_chance"] else "")
            for row in frame.iter_rows(named=True)
        }
        return Table(frame, {**told, "digest a decision cites": table_digest(frame)})

    @table_asset(
        contracts.JUDGE_CALIBRATION_CURVE,
        key=["judge_calibration_curve"],
        group=GROUP,
        owner=OWNER,
        kinds={"python"},
        ins={"judge_answers": ["judge_answers"]},
        description="How confident the feedback model is, and how often people agreed, by bin of confidence.",
    )
    def judge_calibration_curve(context: dg.AssetExecutionContext, judge_answers: pl.DataFrame) -> Table:
        return Table(calibration_curve(judge_answers))

    return [feedback_model, judge_answers, judge_calibration, judge_calibration_curve]


def is_tuned(feedback_model: pl.DataFrame) -> bool:
    """Tell whether the feedback model was trained, or is the base model itself."""
    return feedback_model["parent_digest"].item() is not None


def tuned_model(models: ModelStore, feedback_model: pl.DataFrame) -> Path | None:
    """Return the folder of the feedback model that was tuned, or None if it is the base model."""
    return models.folder(only_digest(feedback_model)) if is_tuned(feedback_model) else None


GROUP = "feedback"
OWNER = "team:model"


def build(consultation: Consultation) -> list[dg.AssetsDefinition]:
    """Make the assets of this stage."""
    file = consultation.file
    prompts_path, themes_path = consultation.path(file.prompts), consultation.path(file.themes)
    torch_kinds: dict[str, Any] = {"group": GROUP, "owner": OWNER, "kinds": {"torch", "huggingface"}, "pool": POOL}

    @table_asset(
        contracts.MODEL,
        key=["base_model"],
        method="2",
        settings=[file.model],
        **torch_kinds,
        description="The untrained language model: fetched, verified by its SHA-256 and converted once.",
    )
    def base_model(context: dg.AssetExecutionContext, launcher: Launcher, models: ModelStore) -> Table:
        stage = BaseModelStage(model=file.model, cache=home_root() / "cache")
        result = launcher.run(context, stage)
        if not result.folder.model.is_dir():
            raise dg.Failure("the base model was not saved")
        digest = models.add(result.folder.model)
        launcher.finish(result)
        record = {
            "model_digest": digest,
            "stage": "base_model",
            "arm": BASE,
            "parent_digest": None,
            "constitution_digest": None,
            "settings_digest": file.model.digest(),
            "settings": file.model.model_dump_json(),
            "metrics": "{}",
        }
        return Table(contracts.MODEL.build([record]), {"source": file.model.source}, version=digest)

    @table_asset(
        contracts.PROMPTS,
        key=["prompts"],
        group=GROUP,
        owner=OWNER,
        kinds={"csv"},
        ins={name: [name, "constitution"] for name in consultation.arms},
        settings=[file_digest(prompts_path), file_digest(themes_path)],
        description="The prompt database, and which principles of each constitution every prompt is relevant to.",
    )
    def prompts(context: dg.AssetExecutionContext, **constitutions: pl.DataFrame) -> Table:
        frame = read_prompts(prompts_path, themes_path, constitutions)
        return Table(
            frame,
            dict(frame["purpose"].value_counts().sort("purpose").iter_rows()),
            # Relevance is only read together with the constitutions, so it is not part of the version: a new
            # public constitution must not retrain the baseline.
            version=table_digest(frame.drop("relevant_principles")),
        )

    @table_asset(
        contracts.PROMPT_COVERAGE,
        key=["prompt_coverage"],
        group=GROUP,
        owner=OWNER,
        kinds={"python"},
        ins={"prompts": ["prompts"], **{name: [name, "constitution"] for name in consultation.arms}},
        # Which prompts are relevant is no part of the prompts' version, so it is looked at again with the themes.
        settings=[file_digest(themes_path)],
        deps=[decisions.ledger_key("training")],
        checks=["every_principle_has_prompts"],
        description="How many prompts of each purpose are relevant to each principle of each constitution.",
    )
    def prompt_coverage(
        context: dg.AssetExecutionContext, prompts: pl.DataFrame, **constitutions: pl.DataFrame
    ) -> Table:
        settled = training_decisions(decisions.read(consultation, "training"))
        minimum, decision_id = settled.prompt_minimum, settled.decision_ids.get(coverage.SUBJECT)
        frame = coverage.prompt_coverage(prompts, constitutions, minimum)
        return Table(
            frame,
            {
                "principles": frame.height,
                "below the minimum": frame["below_minimum"].sum(),
                "minimum": f"{minimum} ({decision_id or 'not decided'})",
                "fewest prompts": dg.MetadataValue.md(markdown_table(frame.sort("training", "arm").head(20))),
            },
            [
                Checked(
                    "every_principle_has_prompts",
                    coverage.coverage_findings(frame, prompts, minimum, decision_id),
                    warns=True,
                )
            ],
        )

    common = [base_model, prompts, prompt_coverage]
    arms = [asset for name in consultation.arms for asset in _arm(consultation, name)]
    return [*_judge(consultation), *common, *arms]


def _arm(consultation: Consultation, name: str) -> list[dg.AssetsDefinition]:
    profile, file = consultation.profile, consultation.file
    torch_kinds: dict[str, Any] = {"group": GROUP, "owner": OWNER, "kinds": {"torch", "huggingface"}, "pool": POOL}
    signed = [name, "signed_constitution"]

    @table_asset(
        contracts.REVISIONS,
        key=[name, "revisions"],
        settings=[profile.revisions, critique.TEMPLATE_VERSION, file.model, file.seed],
        ins={"base_model": ["base_model"], "prompts": ["prompts"], "constitution": signed},
        description="Responses criticised and revised under principles of this constitution.",
        **torch_kinds,
    )
    def revisions(
        context: dg.AssetExecutionContext,
        base_model: pl.DataFrame,
        prompts: pl.DataFrame,
        constitution: pl.DataFrame,
        launcher: Launcher,
        models: ModelStore,
    ) -> Table:
        result = launcher.run(
            context,
            RevisionsStage(
                model=file.model,
                base_model=models.folder(only_digest(base_model)),
                prompts=prompts,
                constitution=constitution,
                settings=profile.revisions,
                seed=file.seed,
            ),
        )
        launcher.finish(result)
        return Table(result.tables["revisions"], revision_counts(result.tables["revisions"]))

    @table_asset(
        contracts.MODEL,
        key=[name, "supervised_policy"],
        method="2",
        settings=[profile.supervised, file.model, file.seed],
        ins={
            "base_model": ["base_model"],
            "revisions": [name, "revisions"],
            "helpfulness_pairs": ["helpfulness_pairs"],
            "constitution": signed,
        },
        description="The base model fine-tuned on the revisions and on preferred helpful responses.",
        **(torch_kinds | {"kinds": {"torch", "huggingface", "mlflow"}}),
    )
    def supervised_policy(
        context: dg.AssetExecutionContext,
        base_model: pl.DataFrame,
        revisions: pl.DataFrame,
        helpfulness_pairs: pl.DataFrame,
        constitution: pl.DataFrame,
        launcher: Launcher,
        models: ModelStore,
        tracking: Tracking,
    ) -> Table:
        # Only the first responses come before the constitution and must be equal in every arm.
        first = table_digest(revisions.filter(pl.col("step") == 1).select("prompt_id", "prompt", "response"))
        return train(
            context,
            launcher,
            models,
            tracking,
            SupervisedPolicyStage(
                base_model=models.folder(only_digest(base_model)),
                revisions=revisions,
                helpfulness_pairs=helpfulness_pairs,
                settings=profile.supervised,
                seed=file.seed,
            ),
            arm=name,
            parent=base_model,
            controlled=controlled_everywhere(consultation)
            | {
                "settings": profile.supervised,
                "revisions": profile.revisions,
                "critique requests": critique.TEMPLATE_VERSION,
                "base model": only_digest(base_model),
                "prompts and first responses": first,
                "helpfulness comparisons": table_digest(helpfulness_pairs),
                "data order": value_digest(ordered_ids(revisions, helpfulness_pairs, profile.supervised, file.seed)),
            },
            constitution=constitution_digest(constitution),
        )

    @table_asset(
        contracts.RESPONSE_PAIRS,
        key=[name, "response_pairs"],
        settings=[profile.pairs, file.model, file.seed],
        ins={"supervised_policy": [name, "supervised_policy"], "prompts": ["prompts"]},
        description="Two responses to each prompt, sampled from the supervised policy.",
        **torch_kinds,
    )
    def response_pairs(
        context: dg.AssetExecutionContext,
        supervised_policy: pl.DataFrame,
        prompts: pl.DataFrame,
        launcher: Launcher,
        models: ModelStore,
    ) -> Table:
        result = launcher.run(
            context,
            ResponsePairsStage(
                model=file.model,
                supervised_policy=models.folder(only_digest(supervised_policy)),
                prompts=prompts,
                settings=profile.pairs,
                seed=file.seed,
            ),
        )
        launcher.finish(result)
        return Table(result.tables["response_pairs"])

    @table_asset(
        contracts.PRINCIPLE_WEIGHTS,
        key=[name, "principle_weights"],
        group=GROUP,
        owner=OWNER,
        kinds={"python"},
        # What is signed off is the text; new votes change the consensus on it and leave the constitution as it was.
        ins={"constitution": [name, "constitution"]},
        deps=[dg.AssetKey("selected_statements")],
        description="How often each principle is drawn to judge a pair: in proportion to the consensus on it.",
    )
    def weights(context: dg.AssetExecutionContext, constitution: pl.DataFrame) -> Table:
        frame = principle_weights(constitution, name)
        return Table(frame, {"shares": dg.MetadataValue.md(markdown_table(frame))})

    weighted = consultation.arms[name].principle_weights == "gac"

    @table_asset(
        contracts.PREFERENCE_PAIRS,
        key=[name, "preference_pairs"],
        method="2",
        settings=[
            profile.feedback,
            profile.tuned_judge,
            file.model,
            file.seed,
            judge.TEMPLATE_VERSION,
            consultation.arms[name].principle_weights,
        ],
        ins={
            "base_model": ["base_model"],
            "feedback_model": ["feedback_model"],
            "response_pairs": [name, "response_pairs"],
            "constitution": signed,
            "judge_calibration": ["judge_calibration"],
        }
        | ({"shares": [name, "principle_weights"]} if weighted else {}),
        deps=[decisions.ledger_key("training")],
        checks=["training_decisions"],
        description="Which response the feedback model prefers under a principle, as a soft label.",
        **torch_kinds,
    )
    def preference_pairs(
        context: dg.AssetExecutionContext,
        base_model: pl.DataFrame,
        feedback_model: pl.DataFrame,
        response_pairs: pl.DataFrame,
        constitution: pl.DataFrame,
        judge_calibration: pl.DataFrame,
        launcher: Launcher,
        models: ModelStore,
        **drawn: pl.DataFrame,
    ) -> Table:
        ledger = decisions.read(consultation, "training")
        method = training_decisions(ledger).feedback_method
        at_chance = judge_at_chance(method, judge_calibration)
        result = launcher.run(
            context,
            PreferencePairsStage(
                model=file.model,
                feedback=profile.feedback,
                base_model=models.folder(only_digest(base_model)),
                feedback_model=tuned_model(models, feedback_model),
                response_pairs=response_pairs,
                constitution=constitution,
                method=method,
                judge_at_chance=at_chance,
                principle_weights=shares_by_id(drawn.get("shares")),
                tuned_judge=profile.tuned_judge,
                seed=file.seed,
            ),
        )
        launcher.finish(result)
        frame = result.tables["preference_pairs"]
        return Table(
            frame,
            {
                **label_counts(frame),
                "principles drawn": consultation.arms[name].principle_weights,
                "mean distance of the labels from one half": (frame["probability_a"] - 0.5).abs().mean() or 0.0,
                "feedback model not shown to be better than chance": at_chance,
            },
            [
                Checked(
                    "training_decisions", [*check_training(ledger), *check_feedback_choice(ledger, judge_calibration)]
                )
            ],
        )

    made = [revisions, supervised_policy, response_pairs, preference_pairs]
    return [*made, weights] if weighted else made


def shares_by_id(shares: pl.DataFrame | None) -> dict[str, float] | None:
    """Return how often each principle is drawn, from PRINCIPLE_WEIGHTS; None where all are drawn alike."""
    return None if shares is None else dict(shares.select("principle_id", "share").iter_rows())
