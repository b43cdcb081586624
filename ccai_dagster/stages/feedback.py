"""The stages that ask a model for feedback: judgements, revisions, responses and labels; and how models are loaded."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import polars as pl
from pydantic import Field, PrivateAttr

from ccai_dagster.consultation.settings import (
    SCORING_METHODS,
    FeedbackSettings,
    ModelSettings,
    PairSettings,
    RevisionSettings,
    SentenceModelSettings,
    ServedModel,
    TunedJudgeSettings,
)
from ccai_dagster.contracts import JUDGE_ANSWERS
from ccai_dagster.core.errors import ConsultationError, Progress
from ccai_dagster.decisions.values import FeedbackMethod
from ccai_dagster.feedback.judge import Judge
from ccai_dagster.feedback.language_model import Conversation, LanguageModel
from ccai_dagster.stages.request import ModelFolder, Stage, StageFolder, StageReport, Table

NO_SERVER = Field(None, exclude_if=lambda served: served is None)  # requests without one keep their digest

if TYPE_CHECKING:
    from ccai_dagster.stages.server_model import OpenAIServerModel


class LanguageModelStage(Stage):
    """A stage that asks language models; what they have answered is not asked for again after an interruption."""

    model: ModelSettings

    def load(self, folder: StageFolder, model: Path, batch_size: int) -> LanguageModel:
        """Load a model whose answers are kept."""
        from ccai_dagster.stages.server_model import KeptAnswers

        return KeptAnswers(load_language_model(model, self.model, batch_size), folder.answers)

    def writer(
        self,
        folder: StageFolder,
        model: Path,
        batch_size: int,
        served: ServedModel | None,
        prompts: Sequence[str],
        progress: Progress,
    ) -> tuple[LanguageModel, dict[str, str]]:
        """Return the model in a folder, to write texts; of a server with how it was proven to hold it."""
        if served is None:
            return self.load(folder, model, batch_size), {}
        from ccai_dagster.stages.sampling import sampling_server
        from ccai_dagster.stages.server_model import KeptLines

        return sampling_server(served, model, self.model, prompts, KeptLines(folder.answers), progress)


class JudgingStage(LanguageModelStage):
    """A stage that lets somebody judge.

    Attributes:
        feedback_model: What was learnt from labelled comparisons, if anything was: judges by `tuned` and `words`.
        sentence_model: Judges by `likeness`.
        cache: Where downloads are kept.
    """

    feedback: FeedbackSettings
    base_model: ModelFolder
    feedback_model: ModelFolder | None
    tuned_judge: TunedJudgeSettings
    sentence_model: SentenceModelSettings
    cache: Path

    _aside: list[Conversation] = PrivateAttr(default_factory=list)

    @property
    def libraries(self) -> tuple[str, ...]:
        """None where a server judges."""
        return () if self.feedback.server_url else super().libraries

    def judge(self, folder: StageFolder, method: FeedbackMethod) -> Judge:
        """Load who judges by this method; what language models answer is kept."""
        if method == "likeness":
            from ccai_dagster.stages.sentence_model import LikenessJudge, load_sentence_model

            return LikenessJudge(load_sentence_model(self.sentence_model, self.cache))
        if method == "rules":
            from ccai_dagster.feedback.rules import RuleJudge

            return RuleJudge()
        if method != "tuned" and method != "words":
            return self.server(folder) or self.load(folder, self.base_model, self.feedback.batch_size)
        from ccai_dagster.feedback.words import load_words
        from ccai_dagster.training.tuned_judge import TunedJudge, judges_by

        if self.feedback_model is None or not judges_by(method, self.feedback_model):
            raise ConsultationError(
                f"feedback_method is `{method}`, and the feedback model was not made for it. Materialize "
                "feedback_model again."
            )
        if method == "words":
            return load_words(self.feedback_model)
        return TunedJudge(self.base_model, self.feedback_model, self.feedback.batch_size, self.tuned_judge.max_tokens)

    def server(self, folder: StageFolder) -> OpenAIServerModel | None:
        """Return the model behind the server that the settings name; None where the base model is asked."""
        if not self.feedback.server_url:
            return None
        from ccai_dagster.stages.server_model import KeptLines, OpenAIServerModel

        name, kept = self.feedback.server_model or "", KeptLines(folder.answers)
        return OpenAIServerModel(self.feedback.server_url, name, self.feedback.server, kept=kept, aside=self._aside)

    def checked(self, folder: StageFolder, methods: Collection[FeedbackMethod]) -> dict[str, str]:
        """Ask the server one plain question, if one is asked by these methods; return what was found."""
        asking = {*methods} - SCORING_METHODS - {"words", "rules"}
        model = self.server(folder) if asking else None
        if model is None:
            return {}
        from ccai_dagster.stages.server_check import check_server

        return check_server(model, asking, self.feedback.reasoning.new_tokens)

    def set_aside(self, pairs: Iterable[pl.DataFrame]) -> dict[str, str]:
        """Name the pairs that the server's model could not read, if there are any."""
        texts = {content for conversation in self._aside for _, content in conversation}
        ids = {
            str(row["pair_id"])
            for table in pairs
            for row in table.iter_rows(named=True)
            if any(row["prompt"] in text for text in texts)
            and any(row[side] in text for side in ("response_a", "response_b") for text in texts)
        }
        return {"pairs that the server could not read": ", ".join(sorted(ids))} if self._aside else {}


class JudgeAnswersStage(JudgingStage):
    """Judge labelled comparisons by every method there is a judge for.

    Attributes:
        seed: Of the consultation; draws the comparisons. Likeness and words cost next to nothing and judge all.
    """

    stage: Literal["judge_answers"] = "judge_answers"
    comparisons: dict[str, Table]
    seed: int

    def run(self, folder: StageFolder, progress: Progress) -> StageReport:
        """Leave `judge_answers`."""
        from ccai_dagster.feedback.calibration import judge_answers
        from ccai_dagster.feedback.prompts import chosen_comparisons
        from ccai_dagster.training.tuned_judge import judges_by

        asking = [method for method in self.feedback.calibration_methods if method not in SCORING_METHODS]
        found = self.checked(folder, asking)
        if "contrast" in found:
            asking.remove("contrast")
        if found and not asking:
            raise ConsultationError(f"{found['contrast']} Add `letters` to feedback.calibration_methods.")
        judges: dict[FeedbackMethod, Judge] = {}
        if asking:
            judges |= dict.fromkeys(asking, self.judge(folder, asking[0]))
        if self.feedback_model is not None and judges_by("tuned", self.feedback_model):
            judges["tuned"] = self.judge(folder, "tuned")
        count = self.feedback.calibration_comparisons
        chosen = {name: chosen_comparisons(table, count, self.seed) for name, table in self.comparisons.items()}
        parts = [judge_answers(judges, chosen, progress, self.feedback.reasoning)]
        cheap: list[FeedbackMethod] = ["likeness"] if "likeness" in self.feedback.calibration_methods else []
        cheap += ["words"] if self.feedback_model is not None else []
        parts += [judge_answers({each: self.judge(folder, each)}, self.comparisons, progress) for each in cheap]
        folder.keep_tables(judge_answers=pl.concat(parts).sort(JUDGE_ANSWERS.key))
        return StageReport(provenance=found | self.set_aside(chosen.values()))


class RevisionsStage(LanguageModelStage):
    """Answer, criticise and revise.

    Attributes:
        sampled_by: Who writes in the place of this process.
    """

    stage: Literal["revisions"] = "revisions"
    revising_model: ModelFolder
    prompts: Table
    constitution: Table
    settings: RevisionSettings
    sampled_by: ServedModel | None = NO_SERVER
    seed: int

    def run(self, folder: StageFolder, progress: Progress) -> StageReport:
        """Leave `revisions`."""
        from ccai_dagster.feedback.critique import write_revisions

        texts = self.prompts.filter(purpose="revision")["text"].to_list()
        model, found = self.writer(
            folder, self.revising_model, self.settings.batch_size, self.sampled_by, texts, progress
        )
        folder.keep_tables(
            revisions=write_revisions(model, self.prompts, self.constitution, self.settings, self.seed, progress)
        )
        return StageReport(provenance=found)


class ResponsePairsStage(LanguageModelStage):
    """Sample pairs of responses.

    Attributes:
        sampled_by: Who writes in the place of this process.
    """

    stage: Literal["response_pairs"] = "response_pairs"
    supervised_policy: ModelFolder
    prompts: Table
    settings: PairSettings
    sampled_by: ServedModel | None = NO_SERVER
    seed: int

    def run(self, folder: StageFolder, progress: Progress) -> StageReport:
        """Leave `response_pairs`."""
        from ccai_dagster.feedback.preference_pairs import sample_pairs

        texts = self.prompts.filter(purpose="preference")["text"].to_list()
        model, found = self.writer(
            folder, self.supervised_policy, self.settings.batch_size, self.sampled_by, texts, progress
        )
        folder.keep_tables(response_pairs=sample_pairs(model, self.prompts, self.settings, self.seed, progress))
        return StageReport(provenance=found)


class PreferencePairsStage(JudgingStage):
    """Label pairs of responses under principles.

    Attributes:
        principle_weights: How often each principle is drawn, by id; None where all are drawn alike.
    """

    stage: Literal["preference_pairs"] = "preference_pairs"
    response_pairs: Table
    constitution: Table
    method: FeedbackMethod
    judge_at_chance: bool
    principle_weights: dict[str, float] | None
    seed: int

    def run(self, folder: StageFolder, progress: Progress) -> StageReport:
        """Leave `preference_pairs`."""
        from ccai_dagster.feedback.preference_pairs import label_pairs

        found = self.checked(folder, [self.method])
        if "contrast" in found:
            raise ConsultationError(f"{found['contrast']} The feedback method on record is `contrast`.")
        table = label_pairs(
            self.judge(folder, self.method),
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
        return StageReport(provenance=found | self.set_aside([table]))


def load_language_model(folder: Path, model: ModelSettings, batch_size: int) -> LanguageModel:
    """Load the language model in a folder; its answers are not kept."""
    from ccai_dagster.stages.transformers_model import TransformersModel

    return TransformersModel(folder, model.dtype, batch_size, model.context_tokens)
