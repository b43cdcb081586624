"""Importance: statements that people marked as important when they voted (Polis, issue 217; exported since 2025).

How such votes weigh in consensus is in `consensus.weighed_by_importance`.
"""

from __future__ import annotations

import polars as pl

from ccai_dagster.contracts import IMPORTANT_STATEMENTS
from ccai_dagster.statistics.intervals import wilson_interval


def important_statements(votes: pl.DataFrame, opinion_groups: pl.DataFrame) -> pl.DataFrame:
    """Return the table `important_statements`, the largest share first; empty where the export does not tell.

    Args:
        votes: `participant_id`, `statement_id`, `important` (null where unknown) on statements that are in.
        opinion_groups: OPINION_GROUPS; only people in a group count.
    """
    by_group = (
        votes.drop_nulls("important")
        .join(opinion_groups, on="participant_id")
        .group_by("statement_id", "group_id")
        .agg(n_votes=pl.len().cast(pl.Int64), n_important=pl.col("important").sum().cast(pl.Int64))
        .sort("statement_id", "group_id")
    )
    table = (
        by_group.group_by("statement_id", maintain_order=True)
        .agg(
            pl.col("n_votes").sum().alias("all_votes"),
            pl.col("n_important").sum().alias("all_important"),
            group_ids="group_id",
            group_votes="n_votes",
            group_important="n_important",
        )
        .rename({"all_votes": "n_votes", "all_important": "n_important"})
        .with_columns(share=pl.col("n_important") / pl.col("n_votes"))
        .sort("share", "n_important", "statement_id", descending=[True, True, False])
        .with_row_index("rank", offset=1)
    )
    rows = []
    for row in table.to_dicts():
        low, high = wilson_interval(row["n_important"], row["n_votes"])
        rows.append({**row, "low": min(low, row["share"]), "high": max(high, row["share"])})
    return IMPORTANT_STATEMENTS.build(rows)
