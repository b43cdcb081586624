"""The stages that measure trained models: alone, and against each other."""

from __future__ import annotations

import json
from typing import Literal

import polars as pl
from pydantic import Field

from ccai_dagster.consultation.folder import BASE, EvaluationSet
from ccai_dagster.consultation.settings import ControlSettings, EvaluationSettings, ServedModel
from ccai_dagster.core.errors import Progress
from ccai_dagster.decisions.values import FeedbackMethod
from ccai_dagster.feedback.language_model import LanguageModel
from ccai_dagster.stages.feedback import NO_SERVER, JudgingStage, LanguageModelStage
from ccai_dagster.stages.request import ModelFolder, StageFolder, StageReport, Table

Measure = Literal["adherence", "control_adherence", "contrast_margins", "qualitative_responses", "judged_examples"]


class BenchmarksStage(LanguageModelStage):
    """Run benchmarks on one model.

    Attributes:
        sampled_by: Who answers in the place of this process.
    """

    stage: Literal["benchmarks"] = "benchmarks"
    policy: ModelFolder
    sampled_by: ServedModel | None = NO_SERVER
    benchmarks: dict[str, EvaluationSet]
    settings: EvaluationSettings
    seed: int

    def run(self, folder: StageFolder, progress: Progress) -> StageReport:
        """Leave a table of items and a file of samples a benchmark."""
        from ccai_dagster.evaluation.benchmarks import run_benchmarks

        model, found = self._model(folder, progress)
        run = run_benchmarks(model, self.benchmarks, self.settings, self.seed, progress)
        folder.samples.mkdir()
        for name, rows in run.samples.items():
            lines = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
            (folder.samples / f"{name}.jsonl").write_text(lines, encoding="utf-8")
        folder.keep_tables(**run.items)
        return StageReport(provenance=dict(run.provenance) | found)

    def _model(self, folder: StageFolder, progress: Progress) -> tuple[LanguageModel, dict[str, str]]:
        """Return who answers, and of a server how it was proven to hold the model."""
        batch_size = self.settings.batch_size
        if self.sampled_by is not None:
            from ccai_dagster.evaluation.benchmarks import questions

            asked = questions(self.benchmarks)
            return self.writer(folder, self.policy, batch_size, self.sampled_by, asked, progress)
        from ccai_dagster.stages.server_model import KeptAnswers
        from ccai_dagster.stages.transformers_model import TransformersModel

        # Prompts of benchmarks may be as long as the model can read.
        return KeptAnswers(TransformersModel(self.policy, self.model.dtype, batch_size), folder.answers), {}


class ResponsesStage(JudgingStage):
    """Let one model respond and score, and the feedback model judge; each is loaded only if it is needed.

    Attributes:
        arm: Whose model it is.
        sampled_by: Who writes its responses in the place of this process; margins are scored here all the same.
        adherence_examples: Needed for `judged_examples` only.
        method: By which responses are judged.
    """

    stage: Literal["responses"] = "responses"
    arm: str
    policy: ModelFolder
    sampled_by: ServedModel | None = NO_SERVER
    measures: list[Measure]
    prompts: Table
    qualitative_prompts: Table
    contrast_pairs: Table
    control_statements: Table
    adherence_examples: Table | None
    constitutions: dict[str, Table]
    method: FeedbackMethod
    judge_at_chance: bool
    settings: EvaluationSettings
    seed: int

    def run(self, folder: StageFolder, progress: Progress) -> StageReport:
        """Leave a table for each measure, by its name."""
        from ccai_dagster.evaluation import adherence, specificity
        from ccai_dagster.evaluation.responses import write_qualitative_responses

        measures, settings, seed, chance = set(self.measures), self.settings, self.seed, self.judge_at_chance
        made: dict[str, pl.DataFrame] = {}
        found: dict[str, str] = {}
        judged = measures & {"adherence", "control_adherence"}
        examples = self.adherence_examples if "judged_examples" in measures else None
        if "contrast_margins" in measures and self.sampled_by is not None:
            scored = self.load(folder, self.policy, settings.batch_size)
            made["contrast_margins"] = specificity.contrast_margins(scored, self.contrast_pairs, self.arm, progress)
            del scored
            measures -= {"contrast_margins"}
        if measures - {"judged_examples"}:
            texts = self.prompts.filter(purpose="held_out")["text"].to_list()
            model, found = self.writer(folder, self.policy, settings.batch_size, self.sampled_by, texts, progress)
        if "qualitative_responses" in measures:
            made["qualitative_responses"] = write_qualitative_responses(
                model, self.qualitative_prompts, self.arm, settings, seed, progress
            )
        if "contrast_margins" in measures:
            made["contrast_margins"] = specificity.contrast_margins(model, self.contrast_pairs, self.arm, progress)
        if judged:
            responses = adherence.write_responses(model, self.prompts, self.arm, settings, seed, progress)
        if judged or examples is not None:
            judge = self.judge(folder, self.method)
        if examples is not None:
            made["judged_examples"] = adherence.judge_examples(judge, examples, self.method, chance, progress)
        if "adherence" in measures:
            made["adherence"] = adherence.measure_adherence(
                responses, judge, self.method, self.prompts, self.constitutions, settings, chance, seed, progress
            )
        if "control_adherence" in measures:
            chosen = adherence.adherence_prompts(self.prompts, settings, seed)
            drawn = specificity.drawn_controls(chosen, self.control_statements, settings.controls_per_prompt, seed)
            made["control_adherence"] = adherence.judge_responses(
                responses, judge, self.method, drawn, chance, progress
            )
        folder.keep_tables(**made)
        return StageReport(provenance=found)


class ComparisonStage(JudgingStage):
    """Let every model respond and the feedback model compare the responses.

    Attributes:
        policies: By arm, with the untrained model.
        sampled_by: Who writes for an arm in the place of this process.
        method: By which responses are compared.
    """

    stage: Literal["comparison"] = "comparison"
    policies: dict[str, ModelFolder]
    sampled_by: dict[str, ServedModel] = Field(default_factory=dict, exclude_if=lambda served: not served)
    prompts: Table
    method: FeedbackMethod
    judge_at_chance: bool
    settings: EvaluationSettings
    seed: int

    def run(self, folder: StageFolder, progress: Progress) -> StageReport:
        """Leave `comparisons`."""
        from ccai_dagster.evaluation.adherence import write_responses
        from ccai_dagster.evaluation.elo import compare_responses

        responses: dict[str, pl.DataFrame] = {}
        found: dict[str, str] = {}
        texts = self.prompts.filter(purpose="held_out")["text"].to_list()
        for arm, policy in sorted(self.policies.items()):
            served = self.sampled_by.get(arm)
            model, proof = self.writer(folder, policy, self.settings.batch_size, served, texts, progress)
            found |= proof
            responses[arm] = write_responses(model, self.prompts, arm, self.settings, self.seed, progress)
        folder.keep_tables(
            comparisons=compare_responses(
                responses,
                self.judge(folder, self.method),
                self.method,
                self.settings,
                self.judge_at_chance,
                self.seed,
                progress,
            )
        )
        return StageReport(provenance=found)


class ControlResponsesStage(LanguageModelStage):
    """Let the untrained model and the arms of the positive control respond.

    Attributes:
        policies: By arm, with the untrained model.
    """

    stage: Literal["control_responses"] = "control_responses"
    policies: dict[str, ModelFolder]
    prompts: Table
    settings: ControlSettings
    seed: int

    def run(self, folder: StageFolder, progress: Progress) -> StageReport:
        """Leave `control_responses`."""
        from ccai_dagster.evaluation.control import sampled_responses, with_likelihood

        responses = []
        for arm in sorted(self.policies, key=lambda arm: arm == BASE):  # the untrained one last: it is asked again
            model = self.load(folder, self.policies[arm], self.settings.batch_size)
            responses.append(sampled_responses(model, self.prompts, arm, self.settings, self.seed, progress))
        folder.keep_tables(control_responses=with_likelihood(model, pl.concat(responses)))
        return StageReport()
