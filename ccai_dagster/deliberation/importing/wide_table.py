"""A table with one row a person and one column a statement, as surveys and panels write it.

A column is a statement if its cells are votes, all but a few. The heading is the statement's text or, if it is a
number, its id. Statements are numbered in the order of their columns. Columns with other cells are not read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from ccai_dagster.contracts import RAW_STATEMENTS
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.deliberation.importing.cells import refuse_lost_digits, refuse_lost_headings
from ccai_dagster.deliberation.importing.columns import (
    ROW,
    SourceFile,
    VoteFiles,
    is_id,
    plain_name,
    read_header,
    read_text_csv,
)
from ccai_dagster.deliberation.importing.long_table import NAMES, STATEMENT_COLUMNS, read_plain_table, statements_of
from ccai_dagster.deliberation.importing.noted import TOLERATED_ASIDE, Fact, Noted, shortened
from ccai_dagster.deliberation.importing.numbering import ADDRESS, Numbering, numbered, same_person
from ccai_dagster.deliberation.importing.polis_report import WORDED
from ccai_dagster.deliberation.importing.tables import (
    Import,
    build_report,
    common_facts,
    last_votes,
    raw_participants,
    require_unique,
    usable_votes,
)
from ccai_dagster.deliberation.importing.vote_values import NUMBER, VoteColumn, check_coding, recurring, vote_column

LEAST_STATEMENTS = 2
MOST_HEADERS = 2
"""Rows below the header that may be headers, too."""


@dataclass(frozen=True)
class WideTable:
    """A wide table: its cells as text, and which columns are what.

    Attributes:
        table: With `ROW`, by plain name.
        person: Column with the participants; None if there is none, so that each row is another one.
        statements: Columns with votes, each with its heading, or with the text in a second header.
        voted: Rows with a vote that is understood.
        unread: Names of the other columns.
    """

    file: SourceFile
    table: pl.DataFrame
    person: str | None
    statements: Mapping[str, str]
    voted: pl.Series
    unread: Sequence[str]


def read_wide_table(file: SourceFile, values: Mapping[str, str], noted: Noted) -> WideTable | None:
    """Read a CSV as a wide table; None if fewer than two of its columns hold votes.

    Raises:
        ConsultationError: Not readable.
    """
    header = read_header(file)
    refuse_lost_headings(file, header.headings)
    table = read_text_csv(file, noted)
    person = next((name for name in NAMES["participant"] if name in header.named), None)
    first = {name: heading for name, heading in zip(header.names, header.headings, strict=True) if name}
    table, headings = _without_more_headings(file, table, first, values, noted)
    if person is None:
        person = next((name for name in headings if _holds_addresses(table[name])), None)
    read = {name: vote_column(table[name], values) for name in headings if name not in (person, *NAMES["time"])}
    statements = {name: headings[name] for name, column in read.items() if _holds_votes(table[name], column)}
    if len(statements) < LEAST_STATEMENTS:
        return None
    voted = pl.select(pl.any_horizontal(read[name].cast for name in statements)).to_series()
    unread = [name for name in headings if name != person and name not in statements]
    _refuse_turned(file, table, person, unread)
    return WideTable(file, table, person, statements, voted, unread)


def _without_more_headings(
    file: SourceFile, table: pl.DataFrame, headings: Mapping[str, str], values: Mapping[str, str], noted: Noted
) -> tuple[pl.DataFrame, Mapping[str, str]]:
    """Leave out the second and third header that surveys write; where the first has codes, take the texts from there.

    Qualtrics writes codes, texts and ids of its own (`{"ImportId":"QID1"}`), SurveyMonkey `Response` below the texts.
    """
    answers, more = table[MOST_HEADERS:], 0
    if not answers.height or _read_row(table[list(headings)].row(0), values).cast.any():
        return table, headings
    columns = [name for name in headings if _holds_votes(answers[name], vote_column(answers[name], values))]
    for row in table[columns][:MOST_HEADERS].rows() if len(columns) >= LEAST_STATEMENTS else ():
        cells = _read_row(row, values)
        if cells.cast.any() or cells.empty.any():
            break
        texts = dict(zip(columns, row, strict=True))
        more += 1
        if more == 1 and len(set(row)) == len(row) and not any(" " in headings[name] for name in columns):
            headings = {name: texts.get(name, heading) for name, heading in headings.items()}
    if more:
        why = "rows below the header without a vote in any column: not of people"
        noted.note("found", "further headers", why, file.name, more)
    return table[more:], headings


def _read_row(cells: Sequence[str | None], values: Mapping[str, str]) -> VoteColumn:
    return vote_column(pl.Series(cells, dtype=pl.String), values)


def _holds_addresses(cells: pl.Series) -> bool:
    """Whether every row has an address, so that the column tells people from each other."""
    return cells.len() > 0 and bool(cells.str.contains(ADDRESS).fill_null(False).all())


def _refuse_turned(file: SourceFile, table: pl.DataFrame, person: str | None, unread: Sequence[str]) -> None:
    """Refuse a table with one row a statement and one column a person.

    Raises:
        ConsultationError: Its first column is called statement or text, and no two rows have the same there.
    """
    first = table.columns[1] if table.width > 1 else ROW
    named = first in unread and first in {*NAMES["statement"], *NAMES["text"]}
    if person is None and named and table[first].null_count() == 0 and table[first].is_unique().all():
        raise ConsultationError(
            f"{file.place}: one row a statement and one column a person, as it seems from the column {first}. Turn "
            "rows and columns round, so that each person has a row."
        )


def _holds_votes(cells: pl.Series, read: VoteColumn) -> bool:
    """Whether all but a few of the cells of a column that are not empty are votes.

    If more than half are, so is a word that recurs, whose meaning has yet to be said; a number may count something.
    """
    cast, votes = cells.len() - int(read.empty.sum()), int(read.cast.sum())
    if 2 * votes > cast:
        words = recurring(cells.filter(~read.empty), read.votes.filter(~read.empty))
        votes += sum(number for word, number in words.items() if not NUMBER.fullmatch(word))
    return cast > 0 and votes >= (1 - TOLERATED_ASIDE) * cast


def import_wide_table(found: VoteFiles, wide: WideTable, values: Mapping[str, str], noted: Noted) -> Import:
    """Read and check a wide table and, if there is one, the table of statements beside it.

    Args:
        found: The file `votes`, from which `wide` was read, and perhaps `statements`.
        values: What votes mean, see `vote_values`; empty for numbers and words that mean what they say.

    Raises:
        ConsultationError: Somebody has two rows, or too many votes cannot be used.
    """
    source = found.files["votes"]
    people = people_of(wide)
    listing = found.files.get("statements")
    numbered_headings = all(is_id(plain_name(each, {})) for each in wide.statements.values())
    ids = {name: int(name) if numbered_headings else place for place, name in enumerate(wide.statements)}
    if listing is not None and numbered_headings:
        known = read_plain_table(listing, STATEMENT_COLUMNS, noted)
        require_unique(listing, known.table, "statement")
        statements = statements_of(known, numbered(known.table, "statement"), people, noted)
    else:
        statements = _headings(wide, ids, numbered_headings)
    cells = (
        wide.table.with_columns(participant_id=_person(wide))
        .unpivot(list(wide.statements), index=[ROW, "participant_id"], variable_name="statement_id", value_name="vote")
        .rename({ROW: "row"})
    )
    cells = cells.filter(~vote_column(cells["vote"], values).empty)
    read = vote_column(cells["vote"], values)
    rows = cells.select(
        "row",
        participant_id=people.of(cells["participant_id"].str.strip_chars()),
        statement_id=pl.col("statement_id").replace_strict(ids, return_dtype=pl.Int64),
        vote=read.votes,
        timestamp=pl.lit(None, dtype=pl.Int64),
        empty=read.empty,
    )
    rows = usable_votes(source, rows, cells, statements["statement_id"], noted)
    check_coding(source, rows["vote"], values)
    votes = last_votes(rows)
    participants = raw_participants(votes.table)
    report = build_report(
        [
            *_facts(wide, read.worded, people),
            *common_facts(statements, participants, votes, rows.height, source.name),
            *noted.facts(),
        ]
    )
    return Import(statements, participants, votes.table, report)


def people_of(wide: WideTable) -> Numbering:
    """Number the people of a wide table: by their own numbers, else in the order of the rows.

    Raises:
        ConsultationError: Somebody has two rows.
    """
    table = wide.table.select(ROW, participant=_person(wide).str.strip_chars())
    table = table.with_columns(
        same_person(table["participant"]).replace(["", "NA", "NaN", "NULL"], None),
        timestamp=pl.lit(None, dtype=pl.Int64),
    )
    refuse_lost_digits(wide.file, table, ["participant"])
    twice = table.drop_nulls("participant").filter(pl.col("participant").is_duplicated())
    if twice.height:
        rows = twice.filter(pl.col("participant") == twice["participant"][0])[ROW].to_list()
        raise ConsultationError(
            f"{wide.file.place}: one participant has data rows {rows[:6]} by column {wide.person}, and of such a table "
            "no times are read. Keep one of them."
        )
    return numbered(table, "participant", wide.voted)


def _person(wide: WideTable) -> pl.Expr:
    """Who has a row; without a column for it, its place among those of people, from 1."""
    return pl.col(wide.person) if wide.person else pl.int_range(1, pl.len() + 1).cast(pl.String)


def _headings(wide: WideTable, ids: Mapping[str, int], numbers: bool) -> pl.DataFrame:
    """The statements whose texts are headings; headings that are numbers are no texts."""
    table = pl.DataFrame(
        {
            "statement_id": list(ids.values()),
            "text": ["" if numbers else wide.statements[name] for name in ids],
            "moderated": [0] * len(ids),
        }
    )
    missing = [name for name in RAW_STATEMENTS.fields if name not in table.columns]
    return (
        table.with_columns(pl.lit(None).alias(name) for name in missing)
        .select(list(RAW_STATEMENTS.fields))
        .cast(pl.Schema(RAW_STATEMENTS.dtypes))
        .sort("statement_id")
    )


def _facts(wide: WideTable, worded: bool, people: Numbering) -> list[Fact]:
    form = f"one row a person in {wide.file.name}, {len(wide.statements)} columns with votes: no times"
    unknown = Fact("unknown", "sign of votes", None, "+1 was taken as agreement; no author confirms it")
    sign = WORDED if worded else unknown
    facts = [Fact("found", "form", None, form), sign]
    if not people.given:
        why = "numbered in the order of the rows; a number stays while rows are only added at the end"
        facts.append(Fact("repaired", "participant ids", people.table.height, why))
    if wide.unread:
        unread = [f"{wide.file.name}: {name}" for name in wide.unread]
        facts.append(Fact("found", "unknown columns", len(unread), f"not read: {shortened(unread)}"))
    return facts
