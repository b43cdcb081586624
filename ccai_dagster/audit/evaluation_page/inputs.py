"""What the evaluation page is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from ccai_dagster.consultation import BASE


@dataclass(frozen=True)
class EvaluationInputs:
    """Finished tables and names; see `contracts` for the columns of each table.

    Attributes:
        title: Of the consultation.
        baseline: The arm others are compared with.
        arms: What each arm is, in a sentence.
        benchmarks: Format and description of each evaluation set, by its name.
        constitutions: CONSTITUTION by arm.
        opinion_representativeness: Whose opinions the models represent; None if no opinions were asked.
        qualitative_responses: QUALITATIVE_RESPONSES of all arms and `base`.
        audit_report: Name of the audit report, which lies beside the page; None if there is none.
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
