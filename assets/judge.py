"""The feedback model and how far it can be trusted: tuned where that is asked for, and measured on people's labels."""

from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from assets import decisions
from assets.table_asset import Table, table_asset
from assets.torch_stage import POOL, controlled_everywhere, measure, only_digest, train
from ccai_dagster import contracts
from ccai_dagster.consultation import BASE, Consultation
from ccai_dagster.decisions.settled_values import training_decisions
from ccai_dagster.digest import file_digest, table_digest
from ccai_dagster.feedback import questions, tuned_judge
from ccai_dagster.feedback.judge_accuracy import NO_BETTER
from ccai_dagster.feedback.judge_figures import calibration_curve, calibration_table
from ccai_dagster.feedback.prompts import chosen_comparisons, read_comparisons
from ccai_dagster.settings import Settings
from ccai_dagster.stages.feedback import JudgeAnswersStage
from ccai_dagster.stages.training import FeedbackModelStage
from resources.launcher import Launcher
from resources.model_store import ModelStore
from resources.tracking import Tracking

GROUP = "feedback"
OWNER = "team:model"


def build(consultation: Consultation) -> list[dg.AssetsDefinition]:
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
        contracts.MODEL, key=["feedback_model"], ins={"base_model": ["base_model"]},
        deps=[decisions.ledger_key("training")],
        settings=[profile.tuned_judge, tuned_judge.TEMPLATE_VERSION, *judge_settings],
        description="The model that judges: the base model, or where that is asked for, the base model tuned on one "
        "half of the labelled comparisons.",
        **torch_kinds,
    )  # fmt: skip
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
        tuning, _ = tuned_judge.halves(comparisons, file.seed)
        stage = FeedbackModelStage(
            base_model=models.folder(only_digest(base_model)),
            comparisons=tuning,
            settings=profile.tuned_judge,
            seed=file.seed,
        )
        return train(
            context, launcher, models, tracking, stage, arm=BASE, parent=base_model, constitution=None,
            controlled=controlled_everywhere(consultation) | {"settings": profile.tuned_judge},
        )  # fmt: skip

    @table_asset(
        contracts.JUDGE_ANSWERS, key=["judge_answers"],
        ins={"base_model": ["base_model"], "feedback_model": ["feedback_model"]},
        settings=[profile.feedback, profile.tuned_judge, tuned_judge.TEMPLATE_VERSION, questions.TEMPLATE_VERSION,
                  *judge_settings],
        description="What the feedback model answers on labelled comparisons, asked in every way.",
        **torch_kinds,
    )  # fmt: skip
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
            _, comparisons = tuned_judge.halves(comparisons, file.seed)
        count = profile.feedback.calibration_comparisons
        stage = JudgeAnswersStage(
            model=file.model,
            feedback=profile.feedback,
            base_model=models.folder(only_digest(base_model)),
            feedback_model=tuned_model(models, feedback_model),
            comparisons={
                name: chosen_comparisons(table, count, file.seed) for name, table in comparisons.items()
            },
            tuned_judge=profile.tuned_judge,
        )
        result, run = measure(context, launcher, tracking, stage, arm="")
        frame = result.tables["judge_answers"]
        unanswered = frame.filter(pl.col("probability_a").is_null()).height
        return Table(frame, {"unanswered": unanswered, "mlflow": dg.MetadataValue.url(run.url)})

    @table_asset(
        contracts.JUDGE_CALIBRATION, key=["judge_calibration"], group=GROUP, owner=OWNER, kinds={"python"},
        ins={"judge_answers": ["judge_answers"]}, settings=[file.seed],
        description="How far the feedback model can be trusted: accuracy, biases and calibration, with intervals.",
    )  # fmt: skip
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
        contracts.JUDGE_CALIBRATION_CURVE, key=["judge_calibration_curve"], group=GROUP, owner=OWNER,
        kinds={"python"}, ins={"judge_answers": ["judge_answers"]},
        description="How confident the feedback model is, and how often people agreed, by bin of confidence.",
    )  # fmt: skip
    def judge_calibration_curve(context: dg.AssetExecutionContext, judge_answers: pl.DataFrame) -> Table:
        return Table(calibration_curve(judge_answers))

    return [feedback_model, judge_answers, judge_calibration, judge_calibration_curve]


def is_tuned(feedback_model: pl.DataFrame) -> bool:
    """Tell whether the feedback model was trained, or is the base model itself."""
    return feedback_model["parent_digest"].item() is not None


def tuned_model(models: ModelStore, feedback_model: pl.DataFrame) -> Path | None:
    """Return the folder of the feedback model that was tuned, or None if it is the base model."""
    return models.folder(only_digest(feedback_model)) if is_tuned(feedback_model) else None
