"""What the ledgers say, in the form in which deliberation and selection take it.

Deliberation knows nothing of ledgers; this is the one place where the two meet.
"""

from __future__ import annotations

import polars as pl

from ccai_dagster.constitution.selection import Cut
from ccai_dagster.decisions.settled_values import Thresholds
from ccai_dagster.decisions.verdicts import exclusions, moderation_verdicts
from ccai_dagster.deliberation.cleaning import Moderation
from ccai_dagster.deliberation.procedure import Procedure


def procedure_on_record(settled: Thresholds, seed: int) -> Procedure:
    """Return how groups and consensus are computed."""
    return Procedure(
        settled.procedure,
        settled.imputation,
        settled.number_of_groups,
        settled.smoothing,
        settled.aggregation,
        seed,
    )


def cut_on_record(settled: Thresholds) -> Cut:
    """Return where the line is drawn."""
    return Cut(settled.selection_rule, settled.gac_threshold, settled.idea_budget)


def moderation_on_record(ledger: pl.DataFrame) -> dict[int, Moderation]:
    """Return what moderation decided, by statement id."""
    return {
        row["statement_id"]: Moderation(row["verdict"] == "in", row["rewrite"], (row["decision_id"],))
        for row in moderation_verdicts(ledger).iter_rows(named=True)
    }


def excluded_on_record(ledger: pl.DataFrame) -> dict[int, str]:
    """Return the decision that excluded each excluded participant, by participant id."""
    return dict(exclusions(ledger).iter_rows())
