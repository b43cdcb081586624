"""The stages that ask a model for feedback: judgements, revisions, responses and labels; and how models are loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ccai_dagster.consultation.settings import (
    FeedbackSettings,
    ModelSettings,
    PairSettings,
    RevisionSettings,
    TunedJudgeSettings,
)
from ccai_dagster.core.errors import ConsultationError, Progress
from ccai_dagster.decisions.values import FeedbackMethod
from ccai_dagster.feedback.judge import Judge
from ccai_dagster.feedback.language_model import LanguageModel, ScoringModel
from ccai_dagster.stages.request import ModelFolder, Stage, StageFolder, StageReport, Table


class LanguageModelStage(Stage):
    """A stage that asks language models; what they have answered is not asked for again after an interruption."""

    model: ModelSettings

    def load(self, folder: StageFolder, model: Path, batch_size: int) -> LanguageModel:
        """Load a model whose answers are kept."""
        from ccai_dagster.stages.server_model import KeptAnswers

        return KeptAnswers(load_language_model(model, self.model, batch_size), folder.answers)


class JudgingStage(LanguageModelStage):
    """A stage that asks the feedback model: the one behind the server that the settings name, or the base model."""

    feedback: FeedbackSettings
    base_model: ModelFolder

    def judge(self, folder: StageFolder) -> LanguageModel:
        """Return the feedback model; its answers are kept."""
        if not self.feedback.server_url:
            return self.load(folder, self.base_model, self.feedback.batch_size)
        from ccai_dagster.stages.server_model import KeptLines, OpenAIServerModel

        kept = KeptLines(folder.answers)
        return OpenAIServerModel(self.feedback.server_url, self.feedback.server_model or "", kept=kept)


class JudgeAnswersStage(JudgingStage):
    """Ask the feedback model about labelled comparisons in every way there is a model for."""

    stage: Literal["judge_answers"] = "judge_answers"
    comparisons: dict[str, Table]
    feedback_model: ModelFolder | None
    tuned_judge: TunedJudgeSettings

    def run(self, folder: StageFolder, progress: Progress) -> StageReport:
        """Leave `judge_answers`."""
        from ccai_dagster.feedback import calibration

        judges: dict[FeedbackMethod, Judge] = dict.fromkeys(self.feedback.calibration_methods, self.judge(folder))
        if self.feedback_model is not None:
            judges["tuned"] = load_tuned_judge(self.feedback_model, self.feedback, self.tuned_judge)
        folder.keep_tables(
            judge_answers=calibration.judge_answers(judges, self.comparisons, progress, self.feedback.reasoning)
        )
        return StageReport()


class RevisionsStage(LanguageModelStage):
    """Answer, criticise and revise."""

    stage: Literal["revisions"] = "revisions"
    base_model: ModelFolder
    prompts: Table
    constitution: Table
    settings: RevisionSettings
    seed: int

    def run(self, folder: StageFolder, progress: Progress) -> StageReport:
        """Leave `revisions`."""
        from ccai_dagster.feedback.critique import write_revisions

        model = self.load(folder, self.base_model, self.settings.batch_size)
        folder.keep_tables(
            revisions=write_revisions(model, self.prompts, self.constitution, self.settings, self.seed, progress)
        )
        return StageReport()


class ResponsePairsStage(LanguageModelStage):
    """Sample pairs of responses."""

    stage: Literal["response_pairs"] = "response_pairs"
    supervised_policy: ModelFolder
    prompts: Table
    settings: PairSettings
    seed: int

    def run(self, folder: StageFolder, progress: Progress) -> StageReport:
        """Leave `response_pairs`."""
        from ccai_dagster.feedback.preference_pairs import sample_pairs

        model = self.load(folder, self.supervised_policy, self.settings.batch_size)
        folder.keep_tables(response_pairs=sample_pairs(model, self.prompts, self.settings, self.seed, progress))
        return StageReport()


class PreferencePairsStage(JudgingStage):
    """Label pairs of responses under principles.

    Attributes:
        feedback_model: The tuned one, if there is one.
        principle_weights: How often each principle is drawn, by id; None where all are drawn alike.
    """

    stage: Literal["preference_pairs"] = "preference_pairs"
    feedback_model: ModelFolder | None
    response_pairs: Table
    constitution: Table
    method: FeedbackMethod
    judge_at_chance: bool
    principle_weights: dict[str, float] | None
    tuned_judge: TunedJudgeSettings
    seed: int

    def run(self, folder: StageFolder, progress: Progress) -> StageReport:
        """Leave `preference_pairs`."""
        from ccai_dagster.feedback.preference_pairs import label_pairs

        table = label_pairs(
            self._labelling_judge(folder),
            self.response_pairs,
            self.constitution,
            self.method,
            self.judge_at_chance,
            self.seed,
            progress,
            weights=self.principle_weights,
            reasoning=self.feedback.reasoning,
        )
        folder.keep_tables(preference_pairs=table)
        return StageReport()

    def _labelling_judge(self, folder: StageFolder) -> Judge:
        if self.method == "rules":
            from ccai_dagster.feedback.rules import RuleJudge

            return RuleJudge()
        if self.method != "tuned":
            return self.judge(folder)
        if self.feedback_model is None:
            raise ConsultationError(
                "feedback_method is `tuned`, and the feedback model was not tuned. Materialize feedback_model again."
            )
        return load_tuned_judge(self.feedback_model, self.feedback, self.tuned_judge)


def load_language_model(folder: Path, model: ModelSettings, batch_size: int) -> LanguageModel:
    """Load the language model in a folder; its answers are not kept."""
    from ccai_dagster.stages.transformers_model import TransformersModel

    return TransformersModel(folder, model.dtype, batch_size, model.context_tokens)


def load_tuned_judge(folder: Path, feedback: FeedbackSettings, tuned: TunedJudgeSettings) -> ScoringModel:
    """Load the feedback model that was tuned on labelled comparisons."""
    from ccai_dagster.stages.transformers_model import TunedFeedbackModel

    return TunedFeedbackModel(folder, feedback.batch_size, tuned.max_tokens)
