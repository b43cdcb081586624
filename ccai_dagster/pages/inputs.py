"""What the audit report and the evaluation page are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from ccai_dagster.consultation.folder import BASE
from ccai_dagster.core.language import ENGLISH, Language


@dataclass(frozen=True)
class ReportInputs:
    """Finished tables and names; see `contracts` for the columns of each table.

    Attributes:
        public: Who was asked.
        question: What they were asked.
        derived_arm: The arm whose constitution follows from the votes and the ledgers.
        baseline: The arm it is compared with.
        arms: What each arm is, in a sentence.
        constitutions: CONSTITUTION by arm.
        preference_pairs: PREFERENCE_PAIRS by arm.
        ledgers: LEDGER by kind, replaced rows included.
        models: MODEL, of all stages and arms; empty before anything is trained.
        settings: Settings by stage, as shown to readers.
        findings: Sentences that say what the scores show.
        qualitative_responses: QUALITATIVE_RESPONSES of all arms and `base`.
        digests: Content digest of every table and model, by asset key.
        written_narrative: WRITTEN_NARRATIVE; None if no server was asked.
        replication_page: Name of the file beside the report that compares with a published result; None if
            there is none.
        evaluation_page: Name of the file beside the report that tells what the constitutions changed; None if
            there is none.
        language: Of what the pages for the public say; the audit report is in English.
    """

    title: str
    public: str
    question: str
    derived_arm: str
    baseline: str
    arms: Mapping[str, str]
    raw_statements: pl.DataFrame
    participants: pl.DataFrame
    statements: pl.DataFrame
    group_votes: pl.DataFrame
    import_report: pl.DataFrame
    group_structure: pl.DataFrame
    opinion_groups: pl.DataFrame
    group_profile: pl.DataFrame
    sample_representativeness: pl.DataFrame
    weighted_consensus: pl.DataFrame
    representative_statements: pl.DataFrame
    consensus_statements: pl.DataFrame
    uncertain_statements: pl.DataFrame
    important_statements: pl.DataFrame
    comment_priorities: pl.DataFrame
    narrative: pl.DataFrame
    gac_scores: pl.DataFrame
    consensus_stability: pl.DataFrame
    group_stability: pl.DataFrame
    selected_statements: pl.DataFrame
    constitutions: Mapping[str, pl.DataFrame]
    constitution_overlap: pl.DataFrame
    constitution_comparison: pl.DataFrame
    ledgers: Mapping[str, pl.DataFrame]
    decision_trail: pl.DataFrame
    decision_sensitivity: pl.DataFrame
    decision_importance: pl.DataFrame
    principle_robustness: pl.DataFrame
    decision_reversals: pl.DataFrame
    judge_calibration: pl.DataFrame
    preference_pairs: Mapping[str, pl.DataFrame]
    models: pl.DataFrame
    settings: Mapping[str, Mapping[str, Any]]
    eval_scores: pl.DataFrame
    findings: Sequence[str]
    qualitative_prompts: pl.DataFrame
    qualitative_responses: pl.DataFrame
    digests: Mapping[str, str]
    written_narrative: pl.DataFrame | None = None
    replication_page: str | None = None
    evaluation_page: str | None = None
    language: Language = ENGLISH

    @property
    def trained(self) -> bool:
        """Whether there are models to tell of; before that the report ends with the decisions."""
        return not self.models.is_empty()


@dataclass(frozen=True)
class EvaluationInputs:
    """Finished tables and names; see `contracts` for the columns of each table.

    Attributes:
        baseline: The arm others are compared with.
        arms: What each arm is, in a sentence.
        benchmarks: Format and description of each evaluation set, by its name.
        constitutions: CONSTITUTION by arm.
        opinion_representativeness: Whose opinions the models represent; None if no opinions were asked.
        qualitative_responses: QUALITATIVE_RESPONSES of all arms and `base`.
        audit_report: Name of the audit report, which lies beside the page; None if there is none.
        control_scores: Of the positive control, as its responses; None without one.
        policy_method: How the arms' policies were trained; None where that is not told, as the next.
        policy_steps: Steps of these trainings, and of those of the positive control.
    """

    title: str
    baseline: str
    arms: Mapping[str, str]
    benchmarks: Mapping[str, tuple[str, str]]
    constitutions: Mapping[str, pl.DataFrame]
    eval_scores: pl.DataFrame
    judge_calibration: pl.DataFrame
    constitution_overlap: pl.DataFrame
    constitution_comparison: pl.DataFrame
    comparisons: pl.DataFrame
    elo_differences: pl.DataFrame
    rater_agreement: pl.DataFrame
    adherence_scores: pl.DataFrame
    group_adherence: pl.DataFrame
    specificity: pl.DataFrame
    conflicts: pl.DataFrame
    qualitative_prompts: pl.DataFrame
    qualitative_responses: pl.DataFrame
    opinion_representativeness: pl.DataFrame | None = None
    audit_report: str | None = None
    control_scores: pl.DataFrame | None = None
    control_responses: pl.DataFrame | None = None
    policy_method: str | None = None
    policy_steps: tuple[int, int] | None = None

    @property
    def tables(self) -> dict[str, pl.DataFrame]:
        """The tables that every arm shares, by the name of their asset."""
        found = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {
            name: table
            for name, table in found.items()
            if isinstance(table, pl.DataFrame) and name != "qualitative_responses"
        }

    def place(self, arm: str) -> tuple[int, str]:
        """Return what sorts models: `base`, the baseline, then the other arms by name."""
        return (0 if arm == BASE else 1 if arm == self.baseline else 2, arm)
