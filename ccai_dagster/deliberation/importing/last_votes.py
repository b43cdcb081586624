"""From vote rows to votes: the last of each participant on each statement, and what was lost on the way.

Vote rows are `participant_id, statement_id, vote, timestamp` (milliseconds or null) and `row`, the place in the
file from 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from ccai_dagster.contracts import RAW_VOTES
from ccai_dagster.deliberation.importing.files import SourceFile
from ccai_dagster.deliberation.importing.times import as_time
from ccai_dagster.errors import ConsultationError

PAIR = ["participant_id", "statement_id"]


@dataclass(frozen=True)
class LastVotes:
    """The votes that count.

    Attributes:
        table: The table `raw_votes`.
        replaced: Vote rows that a later one replaced.
        undecided: Pairs of participant and statement whose last votes differ and carry the same time or none,
            so that only the order of the file tells which is the last.
    """

    table: pl.DataFrame
    replaced: int
    undecided: int


def check_votes(file: SourceFile, rows: pl.DataFrame, statement_ids: pl.Series) -> None:
    """Check that there are votes, that they are -1, 0 or 1, and on known statements.

    Raises:
        ConsultationError: Naming the first row that is not so.
    """
    if not rows.height:
        raise ConsultationError(f"{file.place}: no votes. An empty consultation cannot be run.")
    wrong = rows.filter(~pl.col("vote").is_in([-1, 0, 1]))
    if wrong.height:
        first = wrong.sort("row").row(0, named=True)
        raise ConsultationError(
            f"{file.place}, data row {first['row']}: vote {first['vote']} of participant "
            f"{first['participant_id']} on statement {first['statement_id']}; it must be -1, 0 or 1 "
            f"({wrong.height} such rows). Correct them."
        )
    unknown = rows.filter(~pl.col("statement_id").is_in(statement_ids.implode()))
    if unknown.height:
        first = unknown.sort("row").row(0, named=True)
        raise ConsultationError(
            f"{file.place}, data row {first['row']}: a vote on statement {first['statement_id']}, which the table "
            f"of statements (comments.csv) does not have ({unknown.height} such votes). Export both files at the "
            "same moment."
        )
    negative = rows.filter((pl.col("participant_id") < 0) | (pl.col("statement_id") < 0))
    if negative.height:
        first = negative.sort("row").row(0, named=True)
        raise ConsultationError(
            f"{file.place}, data row {first['row']}: an id below zero. Ids are whole numbers from 0."
        )


def last_votes(rows: pl.DataFrame) -> LastVotes:
    """Keep the last vote by time, then by place in the file; a row without time comes before those with.

    Args:
        rows: Vote rows; all votes are -1, 0 or 1.
    """
    ordered = rows.sort(*PAIR, "timestamp", "row", nulls_last=False)
    last = ordered.group_by(PAIR, maintain_order=True).agg(
        pl.col("vote", "timestamp").last(), times_voted=pl.len().cast(pl.Int32)
    )
    again = last.filter(pl.col("times_voted") > 1)
    tied = (
        ordered.join(again.select(*PAIR, final="timestamp"), on=PAIR)
        .filter(pl.col("timestamp").eq_missing(pl.col("final")))
        .group_by(PAIR)
        .agg(pl.col("vote").n_unique())
        .filter(pl.col("vote") > 1)
    )
    table = last.with_columns(pl.col("vote").cast(pl.Int8), voted_at=as_time(last["timestamp"]))
    return LastVotes(table.select(list(RAW_VOTES.fields)), rows.height - last.height, tied.height)


def tallies(votes: pl.DataFrame) -> pl.DataFrame:
    """Count agreeing and disagreeing votes, or vote rows, of each statement."""
    return votes.group_by("statement_id").agg(
        agree=(pl.col("vote") == 1).sum().cast(pl.Int64), disagree=(pl.col("vote") == -1).sum().cast(pl.Int64)
    )
