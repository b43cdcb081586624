"""A plain table of votes, from whatever platform: one row a vote, as CSV or Parquet.

`votes` has the columns `participant`, `statement`, `vote` and, if known, `time` and `important` (1 or 0). Beside it a
table `statements` may give `statement`, `text` and, if known, `author`, `moderated` (1 in, -1 out, 0 nobody decided)
and `time`. A vote is +1, -1, 0 or agree, disagree, pass.

Ids that are not whole numbers are numbered in the order in which they first appear in time, so that a number
stays as long as only later votes are added, and no code of a person leaves the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from ccai_dagster.contracts import RAW_STATEMENTS
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.text import printable
from ccai_dagster.deliberation.importing.columns import (
    SourceFile,
    Unit,
    VoteFiles,
    as_time,
    first_row,
    integers,
    milliseconds,
    optional_integers,
    read_text_csv,
    require_columns,
    require_unique,
    unique_names,
    whole_numbers,
)
from ccai_dagster.deliberation.importing.tables import (
    AuthorVotes,
    Fact,
    Import,
    author_votes,
    build_report,
    check_moderation_marks,
    check_votes,
    common_facts,
    importance_marks,
    last_votes,
    raw_participants,
    shortened,
)

VOTE_COLUMNS = {"participant", "statement", "vote"}
STATEMENT_COLUMNS = {"statement", "text", "author", "moderated", "time"}
WORDS = {"agree": 1, "disagree": -1, "pass": 0}


@dataclass(frozen=True)
class Numbering:
    """Numbers of ids: `code` (text) and `number`, and whether the ids were numbers already."""

    table: pl.DataFrame
    given: bool

    def of(self, codes: pl.Series) -> pl.Series:
        """Return the number of each code, in the order given; null for a code that has none."""
        joined = pl.DataFrame({"code": codes}).join(self.table, on="code", how="left", maintain_order="left")
        return joined["number"]


def import_long_table(found: VoteFiles) -> Import:
    """Read and check a table of votes and, if there is one, the table of statements beside it.

    Args:
        found: The files `votes` and perhaps `statements`.

    Raises:
        ConsultationError: A column is missing, a cell malformed, a statement twice or voted on but not in the
            table of statements, or text ids without times. Names file, row and remedy.
    """
    source, listing = found.files["votes"], found.files.get("statements")
    cast = _read(source, VOTE_COLUMNS)
    if not cast.height:
        raise ConsultationError(f"{source.place}: no votes. An empty consultation cannot be run.")
    times, unit = milliseconds(source, cast, "time")
    cast = cast.with_columns(timestamp=times).with_row_index("row", offset=1)
    people = _numbered(source, cast, "participant")
    if listing is None:
        known, numbers = None, _numbered(source, cast, "statement")
    else:
        known = _read(listing, {"statement", "text"})
        require_unique(listing, known, "statement")
        created, _ = milliseconds(listing, known, "time")
        known = known.with_columns(timestamp=created).with_row_index("row", offset=1)
        numbers = _numbered(listing, known, "statement")
        _require_known(source, cast, known)
    rows = cast.select(
        "row",
        participant_id=people.of(cast["participant"]),
        statement_id=numbers.of(cast["statement"]),
        vote=_votes(source, cast),
        timestamp="timestamp",
    ).with_columns(**importance_marks(source, cast))
    statements = _statements(listing, known, numbers, people)
    check_votes(source, rows, statements["statement_id"])
    authors = author_votes(rows, statements)
    worded = bool(cast["vote"].str.to_lowercase().is_in(list(WORDS)).any())
    if authors.inverted and not worded:
        rows = rows.with_columns(-pl.col("vote"))
    votes = last_votes(rows)
    participants = raw_participants(votes.table)
    report = build_report(
        [
            *_facts(source, listing, unit, None if worded else authors, people, numbers),
            *_columns([(source, cast, VOTE_COLUMNS | {"time", "important"}), (listing, known, STATEMENT_COLUMNS)]),
            *common_facts(statements, participants, votes, rows.height, source.name),
        ]
    )
    return Import(statements, participants, votes.table, report)


def is_long_table(file: SourceFile) -> bool:
    """Whether a file with votes has the columns of a plain table rather than those of Polis."""
    if file.name.lower().endswith(".parquet"):
        return True
    return set(read_text_csv(file, wanted=lambda name: name in VOTE_COLUMNS).columns) == VOTE_COLUMNS


def _read(file: SourceFile, required: set[str]) -> pl.DataFrame:
    if file.name.lower().endswith(".parquet"):
        try:
            table = pl.read_parquet(file.content)
        except (pl.exceptions.PolarsError, OSError) as error:
            first = printable(str(error).strip().splitlines()[0])
            raise ConsultationError(f"{file.place}: not readable as Parquet ({first}). Write it again.") from error
        table.columns = unique_names(file.place, table.columns, {})
        table = table.with_columns(pl.exclude("time").cast(pl.String, strict=False))
    else:
        table = read_text_csv(file)
    require_columns(file, table, required)
    for column in sorted(required - {"text"}):
        cells = table[column].str.strip_chars()
        empty = cells.is_null() | (cells == "")
        if row := first_row(empty):
            raise ConsultationError(f"{file.place}, data row {row}: {column} is empty. Fill it in or remove the row.")
        table = table.with_columns(cells.alias(column))
    return table


def _numbered(file: SourceFile, table: pl.DataFrame, column: str) -> Numbering:
    """Take ids that are whole numbers as they are; number others by their first time, then by the code."""
    number = whole_numbers(table[column])
    if not number.null_count():
        codes = pl.DataFrame({"code": table[column], "number": number}).unique("code")
        return Numbering(codes, True)
    if table["timestamp"].null_count():
        raise ConsultationError(
            f"{file.place}: ids of the column {column} are no whole numbers (first {table[column][0][:40]!r}), so "
            "they are numbered by time, but not every row has a time. Fill in the column time, or number them."
        )
    first = table.group_by(pl.col(column).alias("code")).agg(pl.col("timestamp").min()).sort("timestamp", "code")
    return Numbering(first.select("code", number=pl.int_range(pl.len(), dtype=pl.Int64)), False)


def _require_known(source: SourceFile, cast: pl.DataFrame, known: pl.DataFrame) -> None:
    unknown = cast.join(known.select("statement"), on="statement", how="anti").sort("row")
    if unknown.height:
        raise ConsultationError(
            f"{source.place}, data row {unknown['row'][0]}: a vote on statement {unknown['statement'][0][:40]!r}, "
            f"which the table of statements does not have ({unknown.height} such votes). Export both at the same "
            "moment."
        )


def _votes(source: SourceFile, cast: pl.DataFrame) -> pl.Series:
    words = cast["vote"].str.to_lowercase().replace({word: str(vote) for word, vote in WORDS.items()})
    return integers(source, pl.DataFrame({"vote": words}), "vote")


def _statements(
    listing: SourceFile | None, known: pl.DataFrame | None, numbers: Numbering, people: Numbering
) -> pl.DataFrame:
    if listing is None or known is None:
        bare = numbers.table.select(statement_id="number").with_columns(
            author_id=None, created_at=None, moderated=0, is_seed=None, is_meta=None, text=pl.lit("")
        )
        return bare.select(list(RAW_STATEMENTS.fields)).cast(pl.Schema(RAW_STATEMENTS.dtypes)).sort("statement_id")
    moderated = optional_integers(listing, known, "moderated").fill_null(0)
    check_moderation_marks(listing, moderated)
    if people.given:
        authors = optional_integers(listing, known, "author")
    elif "author" in known.columns:
        authors = people.of(known["author"].str.strip_chars())
    else:
        authors = None
    table = pl.DataFrame(
        {
            "statement_id": numbers.of(known["statement"]),
            # An author who never voted is no participant, and has a number only if ids are numbers.
            "author_id": authors,
            "created_at": as_time(known["timestamp"]),
            "moderated": moderated,
            "is_seed": None,
            "is_meta": None,
            "text": known["text"].fill_null(""),
        },
        schema_overrides={"author_id": pl.Int64, "is_seed": pl.Boolean, "is_meta": pl.Boolean},
    )
    return table.select(list(RAW_STATEMENTS.fields)).cast(pl.Schema(RAW_STATEMENTS.dtypes)).sort("statement_id")


def _facts(
    source: SourceFile,
    listing: SourceFile | None,
    unit: Unit | None,
    authors: AuthorVotes | None,
    people: Numbering,
    numbers: Numbering,
) -> list[Fact]:
    written = f"times in {unit}" if unit else "no times"
    facts = [Fact("found", "form", None, f"a plain table of votes, {source.name}: {written}")]
    if authors is None:
        facts.append(Fact("found", "sign of votes", None, "votes are written as words"))
    elif authors.inverted is None:
        why = f"+1 was taken as agreement, not confirmed by {authors.sentence()}"
        facts.append(Fact("unknown", "sign of votes", None, why))
    elif authors.inverted:
        facts.append(Fact("repaired", "votes turned round", None, f"-1 meant agreement: {authors.sentence()}"))
    else:
        facts.append(Fact("found", "sign of votes", None, f"+1 is agreement: {authors.sentence()}"))
    for item, numbering in (("participant ids", people), ("statement ids", numbers)):
        if not numbering.given:
            why = "numbered by the time they first appear; a number stays while only later rows are added"
            facts.append(Fact("repaired", item, numbering.table.height, why))
    if listing is None:
        why = "there is no table `statements` beside the votes, so neither texts nor moderation are known"
        facts.append(Fact("unknown", "statements.csv missing", None, why))
    return facts


def _columns(tables: Sequence[tuple[SourceFile | None, pl.DataFrame | None, set[str]]]) -> list[Fact]:
    unknown = [
        f"{file.name}: {name}"
        for file, table, expected in tables
        if file is not None and table is not None
        for name in sorted(set(table.columns) - expected - {"row", "timestamp"})
    ]
    return [Fact("found", "unknown columns", len(unknown), f"not read: {shortened(unknown)}")] if unknown else []
