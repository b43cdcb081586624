"""What every import gives: three raw tables and the report."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from ccai_dagster.contracts import RAW_PARTICIPANTS


@dataclass(frozen=True)
class Import:
    """The raw tables of one export, and what was found on the way."""

    raw_statements: pl.DataFrame
    raw_participants: pl.DataFrame
    raw_votes: pl.DataFrame
    import_report: pl.DataFrame


def raw_participants(votes: pl.DataFrame, people: pl.DataFrame | None = None) -> pl.DataFrame:
    """Return the table of participants: everybody known and everybody who voted.

    Args:
        votes: The votes that count.
        people: `participant_id` and `polis_group` of those the export lists, if it does.
    """
    counted = votes.group_by("participant_id").agg(n_votes=pl.len().cast(pl.Int64))
    voters = counted.select("participant_id", polis_group=pl.lit(None, dtype=pl.Int64))
    if people is not None:
        voters = pl.concat([people, voters.join(people, on="participant_id", how="anti")])
    return (
        voters.join(counted, on="participant_id", how="left")
        .with_columns(pl.col("n_votes").fill_null(0))
        .sort("participant_id")
        .select(list(RAW_PARTICIPANTS.fields))
    )
