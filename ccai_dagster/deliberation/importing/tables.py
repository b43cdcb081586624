"""What every import ends with: rows checked, the sign of votes, the votes that count, three raw tables and the report.

Vote rows are `participant_id, statement_id, vote, timestamp` (milliseconds or null) and `row`, the place in the
file from 1. Of a participant's votes on a statement the last one counts.

The report holds what was found, what was repaired, and what could not be known, in numbers and words. Here are the
facts that every import has; those of a Polis export are in `polis_report`, those of a plain table in `long_table`.

Which sign means agreement is known from the authors: hardly anybody disagrees with what they just wrote. Polis casts an
author's vote on the own statement together with the statement. Among those first votes that are not passes, agreement
had 94 to 100 percent in every public export that has any; the counts inside an export cannot tell, since an export with
inverted votes has them exchanged as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

from ccai_dagster.contracts import IMPORT_REPORT, RAW_PARTICIPANTS, RAW_VOTES
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.deliberation.importing.columns import SourceFile, as_time, first_row, integers

PAIR = ["participant_id", "statement_id"]
CLEAR_SHARE = 0.75
CLEAR_CHANCE = 0.01
LONGEST_LIST = 8
IMPORTED = ("raw_statements", "raw_participants", "raw_votes", "import_report")
"""The tables of an import, by the names under which they are stored."""


@dataclass(frozen=True)
class Stated:
    """How many of something a file of an export states, and how many of these are there.

    Attributes:
        what: In the plural.
        tolerated: Share of `stated`, in [0, 1], that may be missing in an export that is whole.
    """

    file: str
    what: str
    stated: int
    counted: int
    tolerated: float


@dataclass(frozen=True)
class Import:
    """The raw tables of one export, what was found on the way, and what the export states of itself."""

    raw_statements: pl.DataFrame
    raw_participants: pl.DataFrame
    raw_votes: pl.DataFrame
    import_report: pl.DataFrame
    stated: Sequence[Stated] = ()


def import_of(tables: Mapping[str, pl.DataFrame | None]) -> Import | None:
    """Return an earlier import from the tables it was stored as, by name; None unless all are there."""
    statements, participants, votes, report = (tables.get(name) for name in IMPORTED)
    if statements is None or participants is None or votes is None or report is None:
        return None
    return Import(statements, participants, votes, report)


@dataclass(frozen=True)
class Fact:
    """One line of the report."""

    kind: Literal["found", "repaired", "unknown"]
    item: str
    count: int | None
    explanation: str


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


def check_moderation_marks(file: SourceFile, moderated: pl.Series) -> None:
    """Check that the moderation an export states is -1, 0 or 1.

    Raises:
        ConsultationError: Naming the first row that is not so.
    """
    if row := first_row(~moderated.is_in([-1, 0, 1])):
        raise ConsultationError(
            f"{file.place}, data row {row}: moderated is {moderated[row - 1]}; it must be -1, 0 or 1."
        )


@dataclass(frozen=True)
class AuthorVotes:
    """The first votes of authors on their own statements: how many are +1, -1 and 0."""

    plus: int
    minus: int
    passes: int

    @property
    def inverted(self) -> bool | None:
        """Whether -1 means agreement; None if it remains unknown.

        It is known if three quarters of those that are not passes have one sign and a fair coin would be as
        one-sided in less than one case in a hundred (two-sided sign test).
        """
        voted, more = self.plus + self.minus, max(self.plus, self.minus)
        if not voted or more / voted < CLEAR_SHARE:
            return None
        chance = 2 * sum(math.comb(voted, k) for k in range(more, voted + 1)) / 2**voted
        return self.minus > self.plus if chance < CLEAR_CHANCE else None

    def sentence(self) -> str:
        """The counts in words."""
        return (
            f"authors' first votes on their own statements: {self.plus} times +1, {self.minus} times -1, "
            f"{self.passes} times 0"
        )


def author_votes(rows: pl.DataFrame, statements: pl.DataFrame) -> AuthorVotes:
    """Count the first votes of authors on their own statements.

    Args:
        rows: Vote rows, see `last_votes`; of a matrix, which holds last votes only, those.
        statements: `statement_id` and `author_id`.
    """
    own = (
        rows.join(statements.select("statement_id", participant_id="author_id"), on=["statement_id", "participant_id"])
        .sort("timestamp", "row", nulls_last=True)
        .unique("statement_id", keep="first", maintain_order=True)["vote"]
    )
    return AuthorVotes(int((own == 1).sum()), int((own == -1).sum()), int((own == 0).sum()))


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


def last_votes(rows: pl.DataFrame) -> LastVotes:
    """Keep the last vote by time, then by place in the file; a row without time comes before those with."""
    if "important" not in rows.columns:
        rows = rows.with_columns(important=pl.lit(None, dtype=pl.Boolean))
    ordered = rows.sort(*PAIR, "timestamp", "row", nulls_last=False)
    last = ordered.group_by(PAIR, maintain_order=True).agg(
        pl.col("vote", "timestamp", "important").last(), times_voted=pl.len().cast(pl.Int32)
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


def importance_marks(file: SourceFile, table: pl.DataFrame) -> dict[str, pl.Series]:
    """Return the column `important` of a table of votes, 1 where its author marked the statement; none without it.

    Raises:
        ConsultationError: A cell is neither 0 nor 1 nor empty; names the row.
    """
    if "important" not in table.columns:
        return {}
    number = integers(file, table, "important", nullable=True)
    if row := first_row(~number.is_in([0, 1])):
        raise ConsultationError(
            f"{file.place}, data row {row}: important is {number[row - 1]}; it must be 1, 0 or empty."
        )
    return {"important": number.cast(pl.Boolean)}


def raw_participants(votes: pl.DataFrame, people: pl.DataFrame | None = None) -> pl.DataFrame:
    """Return the table of participants: everybody known and everybody who voted.

    Args:
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


def build_report(facts: Iterable[Fact]) -> pl.DataFrame:
    """Return the table `import_report`: what was found, then what was repaired, then what is unknown."""
    kinds = ("found", "repaired", "unknown")
    ordered = sorted(facts, key=lambda fact: kinds.index(fact.kind))
    return IMPORT_REPORT.build(
        [
            {"item": fact.item, "kind": fact.kind, "count": fact.count, "explanation": fact.explanation}
            for fact in ordered
        ]
    )


def common_facts(
    raw_statements: pl.DataFrame, raw_participants: pl.DataFrame, votes: LastVotes, vote_rows: int, source: str
) -> list[Fact]:
    """Return the facts of any import: how many of what, and votes cast again.

    Args:
        vote_rows: How many rows the votes were read from.
        source: Name of the file with the votes.
    """
    table = votes.table
    voted_on = table["statement_id"].n_unique()
    without_text = int((raw_statements["text"] == "").sum())
    facts = [
        Fact("found", "participants", raw_participants.height, "people in the export, with or without votes"),
        Fact(
            "found",
            "participants without votes",
            int((raw_participants["n_votes"] == 0).sum()),
            "kept; the minimum of votes decides whether they count",
        ),
        Fact("found", "statements", raw_statements.height, "statements submitted, seeds included"),
        Fact("found", "statements nobody voted on", raw_statements.height - voted_on, "kept; they have no score"),
        Fact("found", "vote rows", vote_rows, f"rows read from {source}"),
        Fact("found", "votes", table.height, "the last vote of each participant on each statement"),
        Fact("found", "agree", int((table["vote"] == 1).sum()), "votes of +1"),
        Fact("found", "disagree", int((table["vote"] == -1).sum()), "votes of -1"),
        Fact("found", "pass", int((table["vote"] == 0).sum()), "votes of 0"),
        Fact("repaired", "earlier votes replaced", votes.replaced, "a person voted again; the last vote counts"),
        Fact(
            "unknown" if votes.undecided else "found",
            "votes whose order is unknown",
            votes.undecided,
            "a participant's last votes on a statement differ and carry the same time or none; the one further "
            "down in the file was taken"
            if votes.undecided
            else "every last vote is told by its time",
        ),
    ]
    if (marked := table["important"].sum()) is not None and table["important"].is_not_null().any():
        why = "the statement was marked as important with the vote"
        facts.append(Fact("found", "votes marked as important", int(marked), why))
    if without_text:
        why = "kept; nothing can be decided on them"
        facts.append(Fact("unknown", "statements without text", without_text, why))
    return facts


def shortened(names: Iterable[str]) -> str:
    """Return names for a sentence, a long list cut short."""
    every = list(names)
    more = f" and {len(every) - LONGEST_LIST} more" if len(every) > LONGEST_LIST else ""
    return ", ".join(name[:40] for name in every[:LONGEST_LIST]) + more
