"""A table of how each group voted on each statement, where the votes of people are not to be had.

Polis's comment-groups.csv, the input of Jigsaw's older sensemaking tools, and tables with one row a statement and
group. The groups are those of whoever made the table. Nobody is made up behind the counts: the import has no people.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from ccai_dagster.contracts import RAW_GROUP_VOTES, RAW_PARTICIPANTS, RAW_STATEMENTS, RAW_VOTES
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.text import natural
from ccai_dagster.deliberation.importing.bodies import BODY
from ccai_dagster.deliberation.importing.cells import integers, refuse_lost_digits, whole_numbers
from ccai_dagster.deliberation.importing.columns import ROW, SourceFile, VoteFiles, first_row, read_text_csv
from ccai_dagster.deliberation.importing.long_table import (
    NAMES,
    STATEMENT_COLUMNS,
    names_of,
    read_plain_table,
    statements_of,
)
from ccai_dagster.deliberation.importing.moderation_mode import moderation_evidence
from ccai_dagster.deliberation.importing.noted import TOLERATED_ASIDE, Fact, Noted, shortened
from ccai_dagster.deliberation.importing.numbering import Numbering, numbered
from ccai_dagster.deliberation.importing.polis import read_comments
from ccai_dagster.deliberation.importing.tables import Import, build_report, require_unique
from ccai_dagster.deliberation.votes import group_name

COUNTS = {
    "agree": "agree agrees agree-count n-agree",
    "disagree": "disagree disagrees disagree-count n-disagree",
    "pass": "pass passes pass-count n-pass unsure",
    "votes": "votes vote-count n-votes total total-votes",
}
"""What each count of a group may be called, behind `group-NAME-` or as a column."""
KINDS = {name: kind for kind, names in COUNTS.items() for name in names.split()}
COLUMN = re.compile(
    rf"group-(?P<group>.+?)-(?P<kind>{'|'.join(sorted(KINDS, key=len, reverse=True))})"
    "|(?P<named>.+?)-(?P<count>(agree|disagree|pass)-count)"
)
"""In Jigsaw's tools whatever stands before `-agree-count` is the name of a group."""
STATEMENT = ("statement-id", "comment-id", "tid", "id", *NAMES["statement"])
PLAIN_STATEMENTS = tuple(role for role in STATEMENT_COLUMNS if role != "author")
"""What is read of a table of statements beside the counts: there are no participants whose author could be told."""
GROUP = ("group", "group-id", "opinion-group", "cluster")
TEXT = ("comment-text", "statement-text", "text", "txt", BODY, "comment", "statement")
NOT_THERE = (
    "the table has counts by group and no votes of people: groups are taken as it has them, and there is no opinion "
    "map, no test of structure, no interval and no priority"
)
COUNTS_ALONE = "cannot be had: only counts by group are there, and no votes of people"
"""Stands in place of what rests on single votes. An import of votes always has participants, one of counts none."""
NOBODY = Numbering(pl.DataFrame(schema={"code": pl.String, "number": pl.Int64}), "id")
"""No participant is numbered."""


@dataclass(frozen=True)
class GroupColumns:
    """Which columns of a table are what.

    Attributes:
        statement: With the id.
        text: With the text, if there is one.
        group: With the group, in a table with one row a statement and group; None in one with one row a statement.
        counts: By group, in the latter, the column of each kind of count; in the former by the empty name.
    """

    statement: str
    text: str | None
    group: str | None
    counts: Mapping[str, Mapping[str, str]]

    @property
    def names(self) -> set[str]:
        """All that are read."""
        counts = {column for kinds in self.counts.values() for column in kinds.values()}
        return counts | {each for each in (self.statement, self.text, self.group) if each is not None}


def group_columns(names: Sequence[str]) -> GroupColumns | None:
    """Return the columns of a table with counts of agreeing and disagreeing votes by group; None if it is none."""
    statement = next((name for name in STATEMENT if name in names), None)
    if statement is None or any(name in NAMES["participant"] for name in names):
        return None
    text = next((name for name in TEXT if name in names and name != statement), None)
    by_group: dict[str, dict[str, str]] = {}
    for name in names:
        if match := COLUMN.fullmatch(name):
            group, kind = match["group"] or match["named"], match["kind"] or match["count"]
            by_group.setdefault(group, {}).setdefault(KINDS[kind], name)
    complete = {group: kinds for group, kinds in by_group.items() if {"agree", "disagree"} <= set(kinds)}
    if complete:
        return GroupColumns(statement, text, None, complete)
    group = next((name for name in GROUP if name in names), None)
    kinds: dict[str, str] = {}
    for name in names:
        if name in KINDS:
            kinds.setdefault(KINDS[name], name)
    if group is None or not {"agree", "disagree"} <= set(kinds):
        return None
    return GroupColumns(statement, text, group, {"": kinds})


def counts_file(found: VoteFiles) -> SourceFile | None:
    """Return the file with counts by group if there are no votes of people beside it; else None."""
    votes = found.files.get("votes")
    if "matrix" in found.files:
        return None
    if votes is None or votes.is_empty():
        return found.files.get("comment_groups")
    return votes if votes.ending not in ("parquet", "json") and group_columns(names_of(votes)) is not None else None


def columns_of_counts(found: VoteFiles) -> tuple[SourceFile, GroupColumns]:
    """Return the file with counts by group, and its columns.

    Raises:
        ConsultationError: It has none that are understood.
    """
    source = counts_file(found)
    if source is None:
        raise ConsultationError(f"{found.place}: no counts by group.")
    names = names_of(source)
    columns = group_columns(names)
    if columns is None or source.ending in ("parquet", "json"):
        raise ConsultationError(
            f"{source.place}: no counts by group that are understood. Needed, in a CSV, are an id of the statement "
            "(comment-id, statement-id) and for each group group-NAME-agrees and group-NAME-disagrees, with -passes or "
            f"-votes; or, with one row a statement and group, group, agree and disagree. Found: {shortened(names)}."
        )
    return source, columns


def import_group_counts(found: VoteFiles) -> Import:
    """Read and check a table of counts by group and, if there is one, the table of statements beside it.

    Args:
        found: Files of which `counts_file` gives one.

    Raises:
        ConsultationError: A column is missing, a statement twice, or counts do not add up. Names file and row.
    """
    source, columns = columns_of_counts(found)
    noted, names = Noted(), names_of(source)
    table = read_text_csv(source, noted, wanted=lambda name: name in columns.names)
    table = table.with_columns(code=pl.col(columns.statement).str.strip_chars().replace("", None)).drop_nulls("code")
    refuse_lost_digits(source, table, [columns.statement])
    statements, numbers = _statements(found, table, columns.text, noted)
    table = table.with_columns(statement_id=numbers.of(table["code"]))
    unknown = table.filter(~pl.col("statement_id").is_in(statements["statement_id"].implode()).fill_null(False))
    if unknown.height:
        codes = sorted(set(unknown["code"].to_list()), key=natural)
        why = "set aside; the rest is read"
        noted.note("unknown", "counts on statements without a text", why, source.name, len(codes), shortened(codes))
    table = table.join(unknown, on=ROW, how="anti", maintain_order="left")
    table = table.join(_unread_counts(source, table, columns, noted), on="code", how="anti", maintain_order="left")
    counts = pl.concat(
        _counts(source, table, kinds, noted).with_columns(
            group=pl.lit(group) if columns.group is None else table[columns.group].str.strip_chars().fill_null("")
        )
        for group, kinds in columns.counts.items()
    )
    counts, labels = _of_groups(source, counts)
    unread = [name for name in names if name not in columns.names]
    facts = _facts(source, statements, counts, labels, numbers, unread)
    report = build_report([*facts, *noted.facts()])
    return Import(statements, RAW_PARTICIPANTS.empty(), RAW_VOTES.empty(), report, raw_group_votes=counts)


def _statements(
    found: VoteFiles, table: pl.DataFrame, text: str | None, noted: Noted
) -> tuple[pl.DataFrame, Numbering]:
    """The statements, of the table of statements beside the counts or as the counts have them, and their numbers."""
    listing = found.files.get("statements") or found.files.get("comments")
    if listing is not None and BODY in names_of(listing):
        return read_comments(listing, noted).statements, _numbers(table["code"])
    if listing is not None:
        known = read_plain_table(listing, PLAIN_STATEMENTS, noted)
        require_unique(listing, known.table, "statement")
        numbers = numbered(known.table, "statement")
        return statements_of(known, numbers, NOBODY, noted), numbers
    numbers = _numbers(table["code"])
    bare = statements_of(None, numbers, NOBODY, noted)
    if text is None and numbers.given:
        return bare, numbers
    own = table.unique("code", keep="first", maintain_order=True)
    # An id that is no number is the statement itself where there is no other text.
    texts = own.select(statement_id=numbers.of(own["code"]), text=pl.col(text or "code").fill_null(""))
    joined = bare.drop("text").join(texts, on="statement_id", how="left", maintain_order="left")
    return joined.select(list(RAW_STATEMENTS.fields)), numbers


def _numbers(codes: pl.Series) -> Numbering:
    """Take ids that are whole numbers as they are; number others in the order of the file."""
    table = pl.DataFrame({"code": codes, "number": whole_numbers(codes)}).unique(
        "code", keep="first", maintain_order=True
    )
    if not table["number"].null_count():
        return Numbering(table, "id")
    return Numbering(table.with_columns(number=pl.int_range(pl.len(), dtype=pl.Int64)), "file")


def _unread_counts(file: SourceFile, table: pl.DataFrame, columns: GroupColumns, noted: Noted) -> pl.DataFrame:
    """Return the `code` of statements one of whose counts cannot be read; a consensus needs those of every group.

    Raises:
        ConsultationError: They have more than a tenth of the rows. Names the first cell.
    """
    names = [name for kinds in columns.counts.values() for name in kinds.values()]
    odd = {
        name: whole_numbers(table[name]).is_null() & (table[name].str.strip_chars().fill_null("") != "")
        for name in names
    }
    wrong = table.filter(pl.DataFrame(odd).select(pl.any_horizontal(pl.all())).to_series())
    statements = wrong.select("code").unique()
    if table.join(statements, on="code", how="semi").height > TOLERATED_ASIDE * table.height:
        for name in names:
            integers(file, table.select(ROW, pl.col(name).str.strip_chars().replace("", None).fill_null("0")), name)
    if wrong.height:
        codes = sorted(statements["code"].to_list(), key=natural)
        why = "no whole numbers, so that what every group voted on the statement is set aside; the rest is read"
        which = f"first in data row {wrong[ROW][0]}, on {'statement' if len(codes) == 1 else 'statements'} "
        which += shortened(codes)
        noted.note("unknown", "counts that cannot be read", why, file.name, wrong.height, which)
    return statements


def _counts(file: SourceFile, table: pl.DataFrame, columns: Mapping[str, str], noted: Noted) -> pl.DataFrame:
    """Read the counts in some columns, which must be whole numbers that add up."""
    read: dict[str, pl.Series] = {}
    for kind, column in columns.items():
        cells = table[column].str.strip_chars().replace("", None)
        if cells.null_count():
            noted.note("repaired", "empty counts", "taken as 0", f"{file.name}, {column}", cells.null_count())
        read[kind] = integers(file, table.select(ROW, cells.fill_null("0")), column)
        if place := first_row(read[kind] < 0):
            raise _wrong(file, table, place, f"{column} is {read[kind][place - 1]}; a count is 0 or more")
    sides, total = read["agree"] + read["disagree"], read.get("votes")
    passes = read.get("pass")
    if passes is None and total is None:
        noted.note("unknown", "passes", "the table has neither passes nor totals", file.name, 1, "none are counted")
    if passes is None:
        passes = pl.repeat(0, table.height, dtype=pl.Int64, eager=True) if total is None else total - sides
    if total is not None and (place := first_row((passes < 0) | (sides + passes != total))):
        said = f"{columns['votes']} is {total[place - 1]}, and its parts make {(sides + passes.clip(0))[place - 1]}"
        raise _wrong(file, table, place, said)
    return table.select(ROW, "statement_id", n_agree=read["agree"], n_disagree=read["disagree"], n_pass=passes)


def _wrong(file: SourceFile, table: pl.DataFrame, place: int, what: str) -> ConsultationError:
    return ConsultationError(
        f"{file.place}, data row {table[ROW][place - 1]}: {what}. Correct the row or export again."
    )


def _of_groups(file: SourceFile, counts: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """Number groups in the order of their names, which are returned; one in which nobody ever voted is none.

    Raises:
        ConsultationError: A group has two rows on one statement, or nobody voted.
    """
    pair = ["statement_id", "group"]
    twice = counts.filter(pl.struct(pair).is_duplicated()).sort(*pair, ROW)
    if twice.height:
        alike = twice.join(twice.head(1), on=pair, how="semi")[ROW].to_list()
        raise ConsultationError(
            f"{file.place}: data rows {alike} are of the same statement and group. Keep one of them."
        )
    voted = counts.filter(pl.sum_horizontal("n_agree", "n_disagree", "n_pass") > 0)["group"].unique().to_list()
    if not voted:
        raise ConsultationError(f"{file.place}: no votes. An empty consultation cannot be run.")
    labels = sorted(voted, key=natural)
    groups = pl.DataFrame({"group": labels, "group_id": range(len(labels))}, schema_overrides={"group_id": pl.Int64})
    every = counts.select("statement_id").unique().join(groups, how="cross")
    return (
        every.join(counts, on=pair, how="left")
        .with_columns(pl.col("n_agree", "n_disagree", "n_pass").fill_null(0))
        .sort("statement_id", "group_id")
        .select(list(RAW_GROUP_VOTES.fields)),
        labels,
    )


def _facts(
    source: SourceFile,
    statements: pl.DataFrame,
    counts: pl.DataFrame,
    labels: Sequence[str],
    numbers: Numbering,
    unread: Sequence[str],
) -> list[Fact]:
    sums = {name: int(counts[name].sum()) for name in ("n_agree", "n_disagree", "n_pass")}
    named = shortened(f"{group_name(number)} is {label!r}" for number, label in enumerate(labels))
    voted_on = counts.filter(pl.sum_horizontal(*sums) > 0)["statement_id"].n_unique()
    without_text = int((statements["text"] == "").sum())
    facts = [
        Fact("found", "form", None, f"counts of votes by group in {source.name}, no votes of people"),
        Fact("unknown", "who voted", None, NOT_THERE),
        Fact("found", "groups", len(labels), named),
        Fact("found", "statements", statements.height, "statements in the table"),
        Fact("found", "statements nobody voted on", statements.height - voted_on, "kept; they have no score"),
        Fact("found", "votes", sum(sums.values()), "counted in the table, all groups together"),
        Fact("found", "agree", sums["n_agree"], "agreeing votes"),
        Fact("found", "disagree", sums["n_disagree"], "disagreeing votes"),
        Fact("found", "pass", sums["n_pass"], "passes"),
        moderation_evidence(statements, RAW_VOTES.empty(), counts).fact(),
    ]
    if numbers.by == "file":
        why = "numbered in the order of the file; a number stays while rows are only added at its end"
        facts.append(Fact("repaired", "statement ids", numbers.table.height, why))
    if without_text:
        why = "kept; nothing can be decided on them"
        facts.append(Fact("unknown", "statements without text", without_text, why))
    if unread:
        told = [f"{source.name}: {name}" for name in unread]
        facts.append(Fact("found", "unknown columns", len(told), f"not read: {shortened(told)}"))
    return facts
