"""The stages that make a model, and the one that measures preference models with other weights."""

from __future__ import annotations

import gc
from abc import abstractmethod
from pathlib import Path
from typing import Literal

import polars as pl

from ccai_dagster.consultation.settings import (
    ModelSettings,
    PolicySettings,
    PreferenceModelSettings,
    Settings,
    SupervisedSettings,
    TunedJudgeSettings,
)
from ccai_dagster.core.errors import Progress
from ccai_dagster.stages.feedback import load_language_model
from ccai_dagster.stages.request import ModelFolder, Stage, StageFolder, StageReport, Table, is_first_process
from ccai_dagster.training.trainer import TrainingOutcome


class TrainingStage(Stage):
    """A stage that makes a model in several steps; several processes may share each."""

    seed: int

    @property
    def distributed(self) -> bool:
        """Always."""
        return True

    @property
    def libraries(self) -> tuple[str, ...]:
        """Trainers of TRL, and the store of MLflow that they report to."""
        trainers = tuple(f"trl.trainer.{name}_trainer" for name in ("sft", "reward", "dpo", "rloo"))
        return (*super().libraries, *trainers, "mlflow.store.tracking.sqlalchemy_store")


class BaseModelStage(Stage):
    """Fetch, check and convert the base model.

    Attributes:
        cache: Where downloads are kept.
    """

    stage: Literal["base_model"] = "base_model"
    model: ModelSettings
    cache: Path

    def run(self, folder: StageFolder, progress: Progress) -> StageReport:
        """Leave the model and `template_checks`; the provenance tells what is in every prompt or was mended."""
        from ccai_dagster.feedback.language_model import own_system_turn
        from ccai_dagster.training.model_card import MENDED, SYSTEM_TURN
        from ccai_dagster.training.model_folder import load_tokenizer, prepare_base_model

        checks = prepare_base_model(self.model, self.cache, folder.model, progress)
        folder.keep_tables(template_checks=pl.DataFrame([vars(each) for each in checks]))
        mended = {each.what: f"{each.found}: {each.done}" for each in checks if each.done}
        turn = own_system_turn(load_tokenizer(folder.model))
        told = ({SYSTEM_TURN: turn} if turn else {}) | ({MENDED: mended} if mended else {})
        return StageReport(provenance=told)


class FeedbackModelStage(Stage):
    """Tune the feedback model on labelled comparisons, by the name of their set.

    Attributes:
        base_model: None where words alone are to judge.
    """

    stage: Literal["feedback_model"] = "feedback_model"
    base_model: ModelFolder | None
    comparisons: dict[str, Table]
    settings: TunedJudgeSettings

    def run(self, folder: StageFolder, progress: Progress) -> StageReport:
        """Leave the model and `history`."""
        from ccai_dagster.training.tuned_judge import train_feedback_model

        return _trained(
            folder, train_feedback_model(self.base_model, self.comparisons, self.settings, folder.model, progress)
        )


class SupervisedPolicyStage(TrainingStage):
    """Fine-tune the base model on revisions and preferred helpful responses."""

    stage: Literal["supervised_policy"] = "supervised_policy"
    base_model: ModelFolder
    revisions: Table
    helpfulness_pairs: Table
    settings: SupervisedSettings

    def run(self, folder: StageFolder, progress: Progress) -> StageReport:
        """Leave the model and `history`."""
        from ccai_dagster.training.supervised import train_supervised_policy

        return _trained(
            folder,
            train_supervised_policy(
                self.base_model,
                self.revisions,
                self.helpfulness_pairs,
                self.settings,
                self.seed,
                folder.work,
                folder.model,
                progress,
            ),
        )


class PreferenceModelStage(TrainingStage):
    """Train the preference model."""

    stage: Literal["preference_model"] = "preference_model"
    base_model: ModelFolder
    preference_pairs: Table
    helpfulness_pairs: Table
    harmlessness_weight: float
    settings: PreferenceModelSettings

    def run(self, folder: StageFolder, progress: Progress) -> StageReport:
        """Leave the model, `history`, and what was held out."""
        from ccai_dagster.training.preference_model import train_preference_model

        return _trained(
            folder,
            train_preference_model(
                self.base_model,
                self.preference_pairs,
                self.helpfulness_pairs,
                self.harmlessness_weight,
                self.settings,
                self.seed,
                folder.work,
                folder.model,
                progress,
            ),
        )


class TriedWeight(Settings):
    """A harmlessness weight that is measured for one arm, with the rows of the ledger that ever named it.

    Attributes:
        chosen: Whether it is the one on record; the arm's own preference model has it.
    """

    arm: str
    harmlessness_weight: float
    chosen: bool
    decision_ids: list[str]


class PreferenceBalanceStage(TrainingStage):
    """Measure preference models with other weights beside the one on record.

    Attributes:
        preference_pairs: By arm, as the following.
        preference_models: With the weight on record.
        metrics: Of their training.
    """

    stage: Literal["preference_balance"] = "preference_balance"
    base_model: ModelFolder
    benign_pairs: Table
    helpfulness_pairs: Table
    preference_pairs: dict[str, Table]
    preference_models: dict[str, ModelFolder]
    metrics: dict[str, dict[str, float]]
    weights: list[TriedWeight]
    settings: PreferenceModelSettings

    @property
    def distributed(self) -> bool:
        """Where there is another weight than that on record, which is trained with."""
        return not all(each.chosen for each in self.weights)

    def run(self, folder: StageFolder, progress: Progress) -> StageReport:
        """Leave `preference_balance`."""
        from ccai_dagster.training.preference_balance import balance_table, measure_balance
        from ccai_dagster.training.preference_model import train_preference_model

        rows = []
        for tried in self.weights:
            model, metrics = self.preference_models[tried.arm], self.metrics[tried.arm]
            if not tried.chosen:
                work = folder.work / f"{tried.arm}-{tried.harmlessness_weight}"
                model = work / "model"
                metrics = train_preference_model(
                    self.base_model,
                    self.preference_pairs[tried.arm],
                    self.helpfulness_pairs,
                    tried.harmlessness_weight,
                    self.settings,
                    self.seed,
                    work / "checkpoints",
                    model,
                    progress,
                ).metrics
            if not is_first_process():
                continue
            rows.append(
                measure_balance(
                    model,
                    self.benign_pairs,
                    metrics,
                    tried.model_dump(),
                    self.settings.max_tokens,
                    self.settings.batch_size,
                    self.seed,
                )
            )
            progress("weights measured", len(rows), len(self.weights))
        if is_first_process():
            folder.keep_tables(preference_balance=balance_table(rows))
        return StageReport()


class PolicyStage(TrainingStage):
    """Train the policy as the ledger says, and compare it with the supervised policy on held-out prompts.

    Attributes:
        supervised_policy: What it starts from; the untrained model for the positive control.
        preference_model: None for the positive control, which has none: nothing is compared then.
        prompts: Those held out.
    """

    stage: Literal["policy"] = "policy"
    model: ModelSettings
    supervised_policy: ModelFolder
    preference_model: ModelFolder | None
    prompts: Table
    settings: PolicySettings

    @abstractmethod
    def train(self, folder: StageFolder, progress: Progress) -> TrainingOutcome:
        """Leave the model."""

    def run(self, folder: StageFolder, progress: Progress) -> StageReport:
        """Leave the model, `history`, `held_out_responses` and, of reinforcement learning, `samples`."""
        from ccai_dagster.training.policy import reward_gain
        from ccai_dagster.training.room import check_room

        if self.preference_model is not None:
            check_room(self.supervised_policy, self.supervised_policy)  # for the comparison afterwards
        outcome = self.train(folder, progress)
        folder.keep_tables(history=outcome.history, **outcome.tables)
        # The others have done their part, and what they would write is the same.
        if self.preference_model is None or not is_first_process():
            return StageReport(metrics=outcome.metrics)
        gc.collect()  # the trainer and its models refer to each other; three more models are loaded now
        batch = self.settings.prompts_per_step * self.settings.samples_per_prompt
        gain, responses = reward_gain(
            load_language_model(folder.model, self.model, batch),
            load_language_model(self.supervised_policy, self.model, batch),
            self.preference_model,
            self.prompts,
            self.model.context_tokens,
            self.settings,
            self.seed,
            progress,
        )
        folder.keep_tables(held_out_responses=responses)
        return StageReport(metrics=outcome.metrics | gain)


class ReinforcedPolicyStage(PolicyStage):
    """Policy by reinforcement learning against the preference model.

    Attributes:
        training_prompts: Texts it responds to.
    """

    method: Literal["rloo"] = "rloo"
    preference_model: ModelFolder
    training_prompts: list[str]

    def train(self, folder: StageFolder, progress: Progress) -> TrainingOutcome:
        """Leave the model."""
        from ccai_dagster.training.policy import train_policy

        return train_policy(
            self.supervised_policy,
            self.preference_model,
            self.training_prompts,
            self.settings,
            self.seed,
            folder.work,
            folder.model,
            progress,
        )


class DirectPolicyStage(PolicyStage):
    """Policy by direct preferences, on the comparisons that the preference model was trained on.

    Attributes:
        preference_settings: Of the preference model: what is held out, and the longest exchange.
    """

    method: Literal["dpo"] = "dpo"
    preference_pairs: Table
    helpfulness_pairs: Table
    harmlessness_weight: float
    preference_settings: PreferenceModelSettings

    def train(self, folder: StageFolder, progress: Progress) -> TrainingOutcome:
        """Leave the model."""
        from ccai_dagster.training.comparisons import comparisons
        from ccai_dagster.training.direct_preference import train_policy_directly

        table = comparisons(
            self.preference_pairs,
            self.helpfulness_pairs,
            self.harmlessness_weight,
            self.preference_settings.held_out_share,
            self.seed,
        )
        return train_policy_directly(
            self.supervised_policy,
            table,
            self.preference_settings.max_tokens,
            self.settings,
            self.seed,
            folder.work,
            folder.model,
            progress,
        )


def _trained(folder: StageFolder, outcome: TrainingOutcome) -> StageReport:
    """Leave what a training reports besides its model."""
    folder.keep_tables(history=outcome.history, **outcome.tables)
    return StageReport(metrics=outcome.metrics)
