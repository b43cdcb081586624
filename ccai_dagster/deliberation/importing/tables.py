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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from ccai_dagster.contracts import IMPORT_REPORT, RAW_GROUP_VOTES, RAW_PARTICIPANTS, RAW_VOTES
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.text import counted, natural, printable
from ccai_dagster.deliberation.importing.cells import (
    YES_AND_NO,
    as_time,
    in_words,
    note_cells,
    set_aside,
    shown,
    whole_numbers,
)
from ccai_dagster.deliberation.importing.columns import ROW, SourceFile, first_row
from ccai_dagster.deliberation.importing.noted import LONGEST_LIST, TOLERATED_ASIDE, Fact, Noted, shortened
from ccai_dagster.deliberation.importing.numbering import ADDRESS
from ccai_dagster.deliberation.importing.vote_values import MEANINGS, NUMBER, how_to_say, plain_word, recurring

PAIR = ["participant_id", "statement_id"]
PLACE = "place"
CLEAR_SHARE = 0.75
CLEAR_CHANCE = 0.01
IMPORTED = ("raw_statements", "raw_participants", "raw_votes", "import_report", "raw_group_votes")
"""The tables of an import, by the names under which they are stored."""
MODERATED = {
    **{word: 1 if said else -1 for word, said in YES_AND_NO.items() if not word.isdecimal()},
    **dict.fromkeys(("accepted", "approved", "accept", "approve", "in"), 1),
    **dict.fromkeys(("angenommen", "zugelassen", "accepté", "acceptée", "approuvé", "aceptado", "aprobado"), 1),
    **dict.fromkeys(("rejected", "reject", "declined", "out", "banned"), -1),
    **dict.fromkeys(("abgelehnt", "refusé", "refusée", "rejeté", "rejetée", "rechazado"), -1),
    **dict.fromkeys(("unmoderated", "pending", "waiting", "not moderated", "offen", "en attente", "pendiente"), 0),
}
"""Words in which programs and people state moderation."""
UNREADABLE = {
    "participant_id": "votes whose participant cannot be read",
    "statement_id": "votes whose statement cannot be read",
    "vote": "votes that cannot be read",
}
CALLED = {"participant_id": "of the participant", "statement_id": "of the statement", "vote": "vote"}
EXPECTED = {
    "participant_id": "an id",
    "statement_id": "an id",
    "vote": "-1, 0, 1 or a word like agree, disagree, pass, yes, no, skip",
}


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
    """The raw tables of one export, what was found on the way, and what the export states of itself.

    Attributes:
        raw_group_votes: Counts by group, where there are no votes of people; else without rows.
    """

    raw_statements: pl.DataFrame
    raw_participants: pl.DataFrame
    raw_votes: pl.DataFrame
    import_report: pl.DataFrame
    stated: Sequence[Stated] = ()
    raw_group_votes: pl.DataFrame = field(default_factory=RAW_GROUP_VOTES.empty)


def import_of(tables: Mapping[str, pl.DataFrame | None]) -> Import | None:
    """Return an earlier import from the tables it was stored as, by name; None unless all are there.

    One from before counts by group were read has no table of them.
    """
    statements, participants, votes, report, counts = (tables.get(name) for name in IMPORTED)
    if statements is None or participants is None or votes is None or report is None:
        return None
    if counts is None:
        return Import(statements, participants, votes, report)
    return Import(statements, participants, votes, report, raw_group_votes=counts)


@dataclass(frozen=True)
class _Unusable:
    """Rows with votes that cannot be used.

    Attributes:
        item: What they are called in the report.
        rows: Which.
        why: A sentence about the first of them, for an error.
        named: Column whose values name them in the report, if one does.
    """

    item: str
    rows: pl.DataFrame
    why: Callable[[Mapping[str, object], int], str]
    named: str | None = None


def usable_votes(
    file: SourceFile, rows: pl.DataFrame, cells: pl.DataFrame, statement_ids: pl.Series, noted: Noted
) -> pl.DataFrame:
    """Return the rows with a vote of -1, 0 or 1 by somebody on a statement that has a text; note the others.

    Args:
        rows: Vote rows, null where a cell could not be read, and `empty`, whether there is no vote in them.
        cells: The same rows in the same order as they stand in the file: `participant_id`, `statement_id` and `vote` as
            text.

    Raises:
        ConsultationError: No vote is left, a value that is not understood recurs, or too many rows would be set aside.
    """
    if not rows.height:
        raise ConsultationError(f"{file.place}: no votes. An empty consultation cannot be run.")
    if empty := int(rows["empty"].sum()):
        noted.note("found", "rows without a vote", "passed over", file.name, empty)
    # A row of the file may hold several votes, so each vote has a place of its own.
    voted = ~rows["empty"]
    rows = rows.drop("empty").with_row_index(PLACE).filter(voted)
    cells = cells.with_row_index(PLACE).filter(voted)
    _refuse_values(file, rows, cells)
    unusable = _unusable(rows, cells, statement_ids)
    if unusable:
        aside = pl.concat([each.rows.select(PLACE) for each in unusable]).unique()
        if aside.height > TOLERATED_ASIDE * rows.height:
            first = min(unusable, key=lambda each: int(each.rows[PLACE][0]))
            raise ConsultationError(
                f"{file.place}, data row {first.rows['row'][0]}: "
                f"{first.why(first.rows.row(0, named=True), first.rows.height)} Of {rows.height:,} votes "
                f"{aside.height:,} would be set aside, more than {TOLERATED_ASIDE:.0%}."
            )
        for each in unusable:
            _note_unusable(file, each, cells, noted)
        rows = rows.join(aside, on=PLACE, how="anti", maintain_order="left")
    if not rows.height:
        raise ConsultationError(f"{file.place}: no votes. An empty consultation cannot be run.")
    return rows.drop(PLACE)


def _refuse_values(file: SourceFile, rows: pl.DataFrame, cells: pl.DataFrame) -> None:
    """Ask for the meaning of values that recur: they are of the vocabulary of the table, and no slips."""
    if not (known := recurring(cells["vote"], rows["vote"])):
        return
    first = cells["vote"].fill_null("").map_elements(plain_word, pl.String).is_in(list(known)).arg_max() or 0
    told = ", ".join(
        f"{shown(word)} ({counted(number, 'time')})" for word, number in list(known.items())[:LONGEST_LIST]
    )
    numbers = {word: vote for cell, vote in _understood(rows, cells) if NUMBER.fullmatch(word := plain_word(cell))}
    meant = {vote: meaning for meaning, vote in MEANINGS.items()}
    values = {
        **{word: meant[vote] for word, vote in numbers.items()},
        **dict.fromkeys(list(known)[:LONGEST_LIST], "pass"),
    }
    raise ConsultationError(
        f"{file.place}, data row {rows['row'][first]}: column vote should be {EXPECTED['vote']}, found {told}. What "
        "stands there three times or more is no slip, so its meaning must be said; `pass` stands here for whatever it "
        "is. " + how_to_say(", ".join(f'"{printable(value)[:40]}": {meaning}' for value, meaning in values.items()))
    )


def _understood(rows: pl.DataFrame, cells: pl.DataFrame) -> Iterator[tuple[str, int]]:
    """Each cell that is a vote, once, with the vote."""
    read = pl.DataFrame({"cell": cells["vote"], "vote": rows["vote"]}).unique(maintain_order=True)
    return read.filter(pl.col("vote").is_in([-1, 0, 1])).drop_nulls().iter_rows()


def _unusable(rows: pl.DataFrame, cells: pl.DataFrame, statement_ids: pl.Series) -> list[_Unusable]:
    def as_written(row: Mapping[str, object], column: str) -> str:
        return shown(str(cells.filter(pl.col(PLACE) == row[PLACE])[column][0] or ""))

    def cell(column: str) -> Callable[[Mapping[str, object], int], str]:
        return lambda row, number: (
            f"column {CALLED[column]} should be {EXPECTED[column]}, found {as_written(row, column)} "
            f"({counted(number, 'such row')}). Correct the row or export again."
        )

    found = []
    for column, item in UNREADABLE.items():
        if rows[column].null_count():
            found.append(_Unusable(item, rows.filter(pl.col(column).is_null()), cell(column)))
    wrong = rows.filter(~pl.col("vote").is_in([-1, 0, 1]))
    if wrong.height:
        found.append(
            _Unusable(
                "votes that are none",
                wrong,
                lambda row, number: (
                    f"vote {row['vote']} of participant {row['participant_id']} on statement {row['statement_id']}; it "
                    f"must be -1, 0 or 1 ({counted(number, 'such row')}). Correct them, or, if it is a scale: "
                    + how_to_say('"1..2": disagree, "3": pass, "4..5": agree')
                ),
            )
        )
    negative = rows.filter(pl.col("participant_id") < 0)
    if negative.height:
        found.append(
            _Unusable(
                "votes by nobody",
                negative,
                lambda row, number: f"an id below zero ({counted(number, 'such row')}). Ids are whole numbers from 0.",
            )
        )
    unknown = rows.filter(~pl.col("statement_id").is_in(statement_ids.implode()))
    if unknown.height:
        found.append(
            _Unusable(
                "votes on statements without a text",
                unknown,
                lambda row, number: (
                    f"a vote on statement {as_written(row, 'statement_id')}, which the table of statements does not "
                    f"have ({counted(number, 'such vote')}). Export both files of one conversation at the same moment."
                ),
                "statement_id",
            )
        )
    return found


def _note_unusable(file: SourceFile, each: _Unusable, cells: pl.DataFrame, noted: Noted) -> None:
    if each.named:
        named = cells.join(each.rows.select(PLACE), on=PLACE, how="semi")[each.named]
        told = pl.when(named.cast(pl.String).str.contains(ADDRESS)).then(pl.lit("(an address)")).otherwise(named)
        ids = sorted(set(pl.select(told).to_series().to_list()), key=natural)
        which = f"on {'statement' if len(ids) == 1 else 'statements'} {shortened(ids)}"
    else:
        which = f"first in data row {each.rows['row'][0]}"
    noted.note("unknown", each.item, "set aside; the rest is read", file.name, each.rows.height, which)


def require_unique(file: SourceFile, table: pl.DataFrame, column: str) -> None:
    """Check that no id stands twice.

    Raises:
        ConsultationError: Naming the id and its rows.
    """
    twice = table.drop_nulls(column).filter(pl.col(column).is_duplicated())
    if twice.height:
        value = twice[column][0]
        rows = twice.filter(pl.col(column) == value)[ROW].to_list()
        raise ConsultationError(f"{file.place}: {column} {value} stands in data rows {rows[:6]}. Keep one of them.")


def moderation_marks(file: SourceFile, table: pl.DataFrame, noted: Noted) -> pl.Series:
    """Return the moderation an export states, as a number or in a word, 0 where it states none.

    Raises:
        ConsultationError: A number that is not -1, 0 or 1, which names the first row; or more than a tenth of the cells
            says something else.
    """
    if "moderated" not in table.columns:
        return pl.repeat(0, table.height, dtype=pl.Int64, eager=True)
    words = in_words(table["moderated"])
    number = words.replace_strict(MODERATED, default=None, return_dtype=pl.Int64)
    number = pl.select(pl.coalesce(number, whole_numbers(words))).to_series()
    unread, expected = words.is_not_null() & number.is_null(), "1 (in), 0 (not moderated) or -1 (out)"
    set_aside(file, table, "moderated", unread, int(words.count()), expected, noted)
    moderated = number.fill_null(0)
    if place := first_row(~moderated.is_in([-1, 0, 1])):
        raise ConsultationError(
            f"{file.place}, data row {table[ROW][place - 1]}: moderated is {moderated[place - 1]}; it must be -1, 0 or "
            "1."
        )
    return moderated


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
        undecided: Pairs of participant and statement whose last votes differ and carry the same time, or one
            of them none, so that only the order of the file tells which is the last.
        timed: Votes that have a time.
    """

    table: pl.DataFrame
    replaced: int
    undecided: int
    timed: int


def last_votes(rows: pl.DataFrame) -> LastVotes:
    """Keep the last vote by time, then by place in the file; a row without time comes before those with."""
    if "important" not in rows.columns:
        rows = rows.with_columns(important=pl.lit(None, dtype=pl.Boolean))
    ordered = rows.sort(*PAIR, "timestamp", "row", nulls_last=False)
    # Rows of a pair follow each other, so that its last is where the next begins: a tenth of the time of grouping.
    ends = ordered.select(pl.any_horizontal(pl.col(PAIR) != pl.col(PAIR).shift(-1)).fill_null(True)).to_series()
    place = ends.arg_true().cast(pl.Int64)
    last = ordered.filter(ends).with_columns(times_voted=(place - place.shift(fill_value=-1)).cast(pl.Int32))
    again = last.filter(pl.col("times_voted") > 1)
    tied = (
        ordered.join(again.select(*PAIR, final="timestamp"), on=PAIR)
        .filter(pl.col("timestamp").eq_missing(pl.col("final")) | pl.col("timestamp").is_null())
        .group_by(PAIR)
        .agg(pl.col("vote").n_unique())
        .filter(pl.col("vote") > 1)
    )
    table = last.with_columns(pl.col("vote").cast(pl.Int8), voted_at=as_time(last["timestamp"]))
    timed = table.height - table["voted_at"].null_count()
    return LastVotes(table.select(list(RAW_VOTES.fields)), rows.height - last.height, tied.height, timed)


def importance_marks(file: SourceFile, table: pl.DataFrame, noted: Noted) -> pl.Series:
    """Return whether the author of each vote marked the statement as important; null where that is not told."""
    if "important" not in table.columns:
        return pl.repeat(None, table.height, dtype=pl.Boolean, eager=True)
    words = in_words(table["important"])
    said = words.replace_strict(YES_AND_NO, default=None, return_dtype=pl.Boolean)
    why = "neither 1 nor 0, true nor false; the rest of their rows is read"
    note_cells(noted, "cells set aside", why, file, table, "important", words.is_not_null() & said.is_null())
    return said


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
        Fact("repaired", "earlier votes replaced", votes.replaced, _replaced(votes)),
        Fact("unknown" if votes.undecided else "found", "votes whose order is unknown", votes.undecided, _order(votes)),
    ]
    if 0 < votes.timed < table.height:
        why = "they have no time, or none that can be read; they count"
        facts.append(Fact("unknown", "votes without a time", table.height - votes.timed, why))
    if table["important"].is_not_null().any():
        why = "the statement was marked as important with the vote"
        facts.append(Fact("found", "votes marked as important", int(table["important"].sum()), why))
    if without_text:
        why = "kept; nothing can be decided on them"
        facts.append(Fact("unknown", "statements without text", without_text, why))
    return facts


def _replaced(votes: LastVotes) -> str:
    if votes.replaced and not votes.timed:
        return "a person voted again; no vote has a time, so the one further down in the file counts"
    return "a person voted again; the last vote counts"


def _order(votes: LastVotes) -> str:
    if votes.undecided:
        return (
            "a participant's last votes on a statement differ and carry the same time or none; the one with a time, or "
            "the one further down in the file, was taken"
        )
    if not votes.timed:
        return "no vote has a time, and none was needed: nobody's votes on a statement differ"
    return "every last vote is told by its time"
