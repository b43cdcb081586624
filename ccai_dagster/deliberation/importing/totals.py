"""Why the totals an export states differ from the votes in it.

Polis counts every vote row in `comments.csv`, also those that a later vote replaced; the matrix and everything
computed from it hold the last vote only.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from ccai_dagster.deliberation.importing.last_votes import tallies


@dataclass(frozen=True)
class StatedTotals:
    """How many statements' stated totals differ from the votes that count, and which of them are explained.

    Attributes:
        differing: Statements whose stated agreeing or disagreeing votes are not those counted.
        counted_again: Of these, statements whose stated totals are exactly those of all vote rows.
        unexplained: The rest.
    """

    differing: int
    counted_again: int
    unexplained: int


def compare_totals(stated: pl.DataFrame, rows: pl.DataFrame, votes: pl.DataFrame) -> StatedTotals:
    """Compare stated totals with the votes that count and, where they differ, with all vote rows.

    Args:
        stated: `statement_id`, `agrees`, `disagrees` as the export states them; a missing total is not
            compared.
        rows: All vote rows.
        votes: The votes that count.
    """
    compared = (
        stated.drop_nulls()
        .join(tallies(votes), on="statement_id", how="left")
        .join(tallies(rows), on="statement_id", how="left", suffix="_rows")
        .fill_null(0)
    )
    differing = compared.filter(
        (pl.col("agrees") != pl.col("agree")) | (pl.col("disagrees") != pl.col("disagree"))
    )
    explained = differing.filter(
        (pl.col("agrees") == pl.col("agree_rows")) & (pl.col("disagrees") == pl.col("disagree_rows"))
    )
    return StatedTotals(differing.height, explained.height, differing.height - explained.height)


def differing_participants(stated: pl.DataFrame, votes: pl.DataFrame) -> int:
    """Return how many participants have other totals in the matrix than among the votes that count.

    Args:
        stated: `participant_id`, `n_votes`, `n_agree`, `n_disagree`; a participant who lacks one is not
            compared.
        votes: The votes that count.
    """
    counted = votes.group_by("participant_id").agg(
        votes=pl.len().cast(pl.Int64),
        agree=(pl.col("vote") == 1).sum().cast(pl.Int64),
        disagree=(pl.col("vote") == -1).sum().cast(pl.Int64),
    )
    return (
        stated.drop_nulls()
        .join(counted, on="participant_id", how="left")
        .fill_null(0)
        .filter(
            (pl.col("n_votes") != pl.col("votes"))
            | (pl.col("n_agree") != pl.col("agree"))
            | (pl.col("n_disagree") != pl.col("disagree"))
        )
        .height
    )
