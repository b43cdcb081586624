"""Areas of uncertainty: statements on which many of those who saw them passed."""

from __future__ import annotations

import polars as pl

from ccai_dagster.contracts import UNCERTAIN_STATEMENTS
from ccai_dagster.statistics.intervals import wilson_interval

POLIS_SHARE = 0.3
"""Passes above this share make a statement uncertain in the report of Polis (`app.jsx` and `uncertainty.jsx`)."""
SENSEMAKER_SHARE = 0.2
"""The same in Jigsaw's sensemaking tools, where it must also be above three quarters of all statements' shares."""


def uncertain_statements(votes: pl.DataFrame, opinion_groups: pl.DataFrame) -> pl.DataFrame:
    """Return the table `uncertain_statements`: what is uncertain by the rule of Polis or of Sensemaker.

    Who saw a statement is who voted on it, passes included: no export holds who looked and went on. Statements stand in
    the order of Polis, by passes times the square of their share, so that one pass of one vote does not come first.

    Args:
        votes: `participant_id`, `statement_id`, `vote` of everybody whose votes are not excluded, few votes or many, as
            in Polis.
        opinion_groups: OPINION_GROUPS; who is in none counts in no group.
    """
    group = pl.col("participant_id").replace_strict(
        opinion_groups["participant_id"], opinion_groups["group_id"], default=None, return_dtype=pl.Int64
    )
    by_group = (
        votes.lazy()
        .select("statement_id", "vote", group_id=group)
        .group_by("statement_id", "group_id")
        .agg(n_votes=pl.len().cast(pl.Int64), n_pass=(pl.col("vote") == 0).sum().cast(pl.Int64))
        .collect(engine="streaming")  # half the memory; rows in any order
    )
    return _uncertain(_of_everybody(by_group), by_group.drop_nulls("group_id"))


def uncertain_of_counts(group_votes: pl.DataFrame) -> pl.DataFrame:
    """Return the table `uncertain_statements`, see there, from how each group voted: all groups together.

    Args:
        group_votes: GROUP_VOTES.
    """
    cast = group_votes.select(
        "statement_id", "group_id", "n_pass", n_votes=pl.sum_horizontal("n_agree", "n_disagree", "n_pass")
    ).filter(pl.col("n_votes") > 0)
    return _uncertain(_of_everybody(cast), cast)


def _uncertain(counts: pl.DataFrame, by_group: pl.DataFrame) -> pl.DataFrame:
    """Choose and rank.

    Args:
        counts: `statement_id`, `n_votes`, `n_pass` of everybody.
        by_group: The same with `group_id`.
    """
    counts = counts.with_columns(share=pl.col("n_pass") / pl.col("n_votes"))
    quartile = counts["share"].quantile(0.75, "linear")
    bound = max(SENSEMAKER_SHARE, 0.0 if quartile is None else quartile)
    by_group = (
        by_group.sort("statement_id", "group_id")
        .group_by("statement_id", maintain_order=True)
        .agg(group_ids="group_id", group_votes="n_votes", group_passes="n_pass")
    )
    chosen = (
        counts.with_columns(by_polis=pl.col("share") > POLIS_SHARE, by_sensemaker=pl.col("share") > bound)
        .filter(pl.col("by_polis") | pl.col("by_sensemaker"))
        .join(by_group, on="statement_id", how="left")
        .sort(pl.col("share") ** 2 * pl.col("n_pass"), "statement_id", descending=[True, False])
        .with_row_index("rank", offset=1)
    )
    rows = []
    for row in chosen.to_dicts():
        low, high = wilson_interval(row["n_pass"], row["n_votes"])
        lists = {name: row[name] or [] for name in ("group_ids", "group_votes", "group_passes")}
        rows.append({**row, "low": min(low, row["share"]), "high": max(high, row["share"]), **lists})
    return UNCERTAIN_STATEMENTS.build(rows)


def _of_everybody(by_group: pl.DataFrame) -> pl.DataFrame:
    return by_group.group_by("statement_id").agg(pl.col("n_votes", "n_pass").sum())
