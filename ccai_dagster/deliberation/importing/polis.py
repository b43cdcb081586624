"""Import of Polis's exports, of whatever era: `comments.csv`, `votes.csv`, `participant(s)-votes.csv`.

Where `votes.csv` is missing (Polis leaves it out of public archives when it is large), votes are read from the
matrix. Counts in the export are never trusted, always recomputed. Personal codes (`xid`) are not read.

Columns are those of the CSV export (`math/src/polismath/darwin/export.clj`, `server/src/routes/export.ts` in
`compdemocracy/polis`); the headings of the spreadsheet exported beside it are understood too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from ccai_dagster.contracts import RAW_STATEMENTS
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.deliberation.importing.columns import (
    BODY,
    SourceFile,
    Unit,
    VoteFiles,
    as_time,
    integers,
    is_id,
    milliseconds,
    optional_integers,
    read_bodies,
    read_header,
    read_text_csv,
    require_columns,
    require_unique,
    whole_numbers,
)
from ccai_dagster.deliberation.importing.polis_report import (
    PolisFindings,
    compare_totals,
    differing_participants,
    era_of,
    missing_votes,
    polis_facts,
)
from ccai_dagster.deliberation.importing.tables import (
    AuthorVotes,
    Import,
    LastVotes,
    Stated,
    author_votes,
    build_report,
    check_moderation_marks,
    check_votes,
    common_facts,
    importance_marks,
    last_votes,
    raw_participants,
)

COMMENT_ALIASES = {"author": "author-id", "aggrees": "agrees"}
VOTE_ALIASES = {"voter": "voter-id", "high-priority": "important", "importance": "important"}
MATRIX_ALIASES = {"comments": "n-comments", "votes": "n-votes", "agrees": "n-agree", "disagrees": "n-disagree"}
COMMENT_COLUMNS = {
    "timestamp",
    "datetime",
    "comment-id",
    "author-id",
    "agrees",
    "disagrees",
    "passes",
    "moderated",
    "is-meta",
    "is-seed",
    "group-informed-consensus",
    BODY,
}
VOTE_COLUMNS = {"timestamp", "datetime", "comment-id", "voter-id", "vote", "important"}
TOTALS = {"n-votes", "n-agree", "n-disagree"}
MATRIX_COLUMNS = {"participant", "xid", "group-id", "n-comments", *TOTALS}
TOLERATED = 0.01
"""Share of stated votes, participants or statements that may be missing. In public exports with a votes.csv none is;
but files of a conversation that goes on are not all of the same moment."""
TOLERATED_OF_MATRIX = 0.1
"""The same of votes read from a matrix, which lacks those cast again: 0.2 to 2.4 percent in public exports."""


@dataclass(frozen=True)
class Comments:
    """What comments.csv says.

    Attributes:
        statements: The table `raw_statements`.
        stated: `statement_id`, `agrees`, `disagrees` as stated, null where missing.
        columns: All columns.
        unit: Of the timestamps.
        quoted: Whether bodies are quoted.
        rejoined: Bodies without quotes that needed them.
    """

    statements: pl.DataFrame
    stated: pl.DataFrame
    columns: Sequence[str]
    unit: Unit | None
    quoted: bool
    rejoined: int


@dataclass(frozen=True)
class VoteRows:
    """Vote rows, see `last_votes`, the unit of their times, and columns of no known era."""

    rows: pl.DataFrame
    unit: Unit | None
    unknown: Sequence[str]


@dataclass(frozen=True)
class Matrix:
    """What participant(s)-votes.csv says of people, its cells aside.

    Attributes:
        people: `participant_id`, `polis_group`.
        stated: `participant_id`, `n_votes`, `n_agree`, `n_disagree`; None without these columns.
        unknown: Columns of no known era.
    """

    people: pl.DataFrame
    stated: pl.DataFrame | None
    unknown: Sequence[str]


def import_polis(found: VoteFiles) -> Import:
    """Read and check a Polis export.

    Args:
        found: Its files; at least comments.csv, and votes.csv or the matrix.

    Raises:
        ConsultationError: A file is missing or malformed, a needed column missing, an id duplicated, a vote
            other than -1, 0, 1 or on an unknown statement, or nobody voted. Names file, row and remedy.
    """
    comments_file, matrix_file = found.files.get("comments"), found.files.get("matrix")
    if comments_file is None:
        raise ConsultationError(f"{found.place}: comments.csv not found. A Polis export has this file; copy it there.")
    source = found.files.get("votes") or matrix_file
    if source is None:
        raise ConsultationError(f"{found.place}: neither votes.csv nor participants-votes.csv is there. Export again.")
    comments = read_comments(comments_file)
    matrix = read_people(matrix_file) if matrix_file else None
    cast = read_matrix_votes(source) if source is matrix_file else read_votes_csv(source)
    check_votes(source, cast.rows, comments.statements["statement_id"])
    authors = author_votes(cast.rows, comments.statements)
    if authors.inverted:
        cast = VoteRows(cast.rows.with_columns(-pl.col("vote")), cast.unit, cast.unknown)
    votes = last_votes(cast.rows)
    participants = raw_participants(votes.table, matrix.people if matrix else None)
    findings = _findings(found, comments, matrix, cast, votes, authors)
    report = build_report(
        [
            *polis_facts(findings, comments.statements, participants),
            *common_facts(comments.statements, participants, votes, cast.rows.height, source.name),
        ]
    )
    return Import(comments.statements, participants, votes.table, report, _stated(found, comments, cast, findings))


def _stated(found: VoteFiles, comments: Comments, cast: VoteRows, findings: PolisFindings) -> list[Stated]:
    """What comments.csv and summary.csv state of the votes and the statements."""
    stated = []
    # The server that exported inverted votes, and bodies without quotes, counted votes of other conversations too.
    if findings.era.name != "inverted" and comments.quoted:
        totals = _in_sign(comments.stated, findings.authors).drop_nulls()
        tolerated = TOLERATED_OF_MATRIX if findings.from_matrix else TOLERATED
        number, missing = int(totals["agrees"].sum()) + int(totals["disagrees"].sum()), missing_votes(totals, cast.rows)
        name = found.files["comments"].name
        stated.append(Stated(name, "agreeing and disagreeing votes", number, number - missing, tolerated))
    if summary := found.files.get("summary"):
        voters = cast.rows["participant_id"].n_unique()
        for name, what, there in (("voters", "voters", voters), ("comments", "statements", comments.statements.height)):
            if (said := read_stated(summary, name)) is not None:
                stated.append(Stated(summary.name, what, said, min(there, said), TOLERATED))
    return stated


def _in_sign(stated: pl.DataFrame, authors: AuthorVotes) -> pl.DataFrame:
    """The totals of comments.csv; where votes were turned round, they were counted from the inverted votes."""
    return stated.rename({"agrees": "disagrees", "disagrees": "agrees"}) if authors.inverted else stated


def _findings(
    found: VoteFiles, comments: Comments, matrix: Matrix | None, cast: VoteRows, votes: LastVotes, authors: AuthorVotes
) -> PolisFindings:
    stated = _in_sign(comments.stated, authors)
    matrix_name = found.files["matrix"].name if matrix else None
    summary = found.files.get("summary")
    columns = {
        "comments": sorted(set(comments.columns) - COMMENT_COLUMNS),
        "votes": cast.unknown,
        "matrix": matrix.unknown if matrix else (),
    }
    unknown = [f"{found.files[role].name}: {name}" for role, names in columns.items() for name in names]
    missing = None
    if matrix:
        missing = votes.table.join(matrix.people, on="participant_id", how="anti")["participant_id"].n_unique()
    return PolisFindings(
        era=era_of(
            comments.columns, cast.unit or comments.unit, authors.inverted, comments.quoted, matrix_name, unknown
        ),
        authors=authors,
        rejoined=comments.rejoined,
        unknown_columns=unknown,
        others=found.others,
        from_matrix=None if "votes" in found.files else matrix_name,
        totals=compare_totals(stated, cast.rows, votes.table),
        differing_participants=(
            differing_participants(matrix.stated, votes.table) if matrix and matrix.stated is not None else None
        ),
        missing_participants=missing,
        stated_voters=read_stated(summary, "voters") if summary else None,
    )


def read_comments(file: SourceFile) -> Comments:
    """Read comments.csv.

    Raises:
        ConsultationError: Malformed, no statements, an id twice, or moderation other than -1, 0, 1.
    """
    bodies = read_bodies(file, COMMENT_ALIASES)
    table = bodies.table
    require_columns(file, table, {"comment-id", "moderated", BODY})
    if not table.height:
        raise ConsultationError(f"{file.place}: no statements. An empty consultation cannot be run.")
    moderated = integers(file, table, "moderated")
    check_moderation_marks(file, moderated)
    ids = integers(file, table, "comment-id")
    require_unique(file, pl.DataFrame({"comment-id": ids}), "comment-id")
    created, unit = milliseconds(file, table)
    statements = pl.DataFrame(
        {
            "statement_id": ids,
            "author_id": optional_integers(file, table, "author-id"),
            "created_at": as_time(created),
            "moderated": moderated.cast(pl.Int8),
            "is_seed": _marks(table, "is-seed"),
            "is_meta": _marks(table, "is-meta"),
            "text": table[BODY].fill_null(""),
        }
    ).sort("statement_id")
    stated = pl.DataFrame(
        {"statement_id": ids, **{name: optional_integers(file, table, name) for name in ("agrees", "disagrees")}}
    )
    return Comments(
        statements.select(list(RAW_STATEMENTS.fields)), stated, table.columns, unit, bodies.quoted, bodies.rejoined
    )


def read_votes_csv(file: SourceFile) -> VoteRows:
    """Read votes.csv.

    Raises:
        ConsultationError: Malformed; names the row.
    """
    names = read_header(file, VOTE_ALIASES)
    table = read_text_csv(file, VOTE_ALIASES, lambda name: name in VOTE_COLUMNS - {"datetime"})
    require_columns(file, table, {"comment-id", "voter-id", "vote"})
    times, unit = milliseconds(file, table)
    rows = pl.DataFrame(
        {
            "participant_id": integers(file, table, "voter-id"),
            "statement_id": integers(file, table, "comment-id"),
            "vote": integers(file, table, "vote"),
            "timestamp": times,
            **importance_marks(file, table),
        }
    ).with_row_index("row", offset=1)
    return VoteRows(rows, unit, sorted(set(names) - VOTE_COLUMNS))


def read_people(file: SourceFile) -> Matrix:
    """Read who is in the matrix and what it says of them; personal codes and votes are passed over.

    Raises:
        ConsultationError: Malformed, or a participant twice.
    """
    names = read_header(file, MATRIX_ALIASES)
    table = read_text_csv(file, MATRIX_ALIASES, lambda name: name in {"participant", "group-id", *TOTALS})
    require_columns(file, table, {"participant"})
    ids = integers(file, table, "participant")
    require_unique(file, pl.DataFrame({"participant": ids}), "participant")
    people = pl.DataFrame({"participant_id": ids, "polis_group": optional_integers(file, table, "group-id")})
    stated = None
    if set(table.columns) >= TOTALS:
        totals = {name.replace("-", "_"): optional_integers(file, table, name) for name in sorted(TOTALS)}
        stated = pl.DataFrame({"participant_id": ids, **totals})
    unknown = sorted(name for name in set(names) - MATRIX_COLUMNS if not is_id(name))
    return Matrix(people, stated, unknown)


def read_matrix_votes(file: SourceFile) -> VoteRows:
    """Read the cells of the matrix as vote rows without times.

    Raises:
        ConsultationError: A cell that is no whole number; names row and statement.
    """
    table = read_text_csv(file, MATRIX_ALIASES, lambda name: name == "participant" or is_id(name))
    require_columns(file, table, {"participant"})
    statements = [name for name in table.columns if is_id(name)]
    if not statements:
        raise ConsultationError(f"{file.place}: no votes: no column is the id of a statement. Export again.")
    long = (
        table.with_columns(participant_id=integers(file, table, "participant"))
        .with_row_index("row", offset=1)
        .unpivot(statements, index=["row", "participant_id"], variable_name="statement", value_name="vote")
        .filter(pl.col("vote").is_not_null())
    )
    long = long.with_columns(number=whole_numbers(long["vote"]))
    bad = long.filter(pl.col("number").is_null())
    if bad.height:
        first = bad.sort("row").row(0, named=True)
        raise ConsultationError(
            f"{file.place}, data row {first['row']}: vote on statement {first['statement']} is "
            f"{first['vote'][:40]!r} ({bad.height} such cells). Votes are -1, 0, 1 or empty."
        )
    rows = long.select(
        "row",
        "participant_id",
        statement_id=pl.col("statement").cast(pl.Int64),
        vote="number",
        timestamp=pl.lit(None, dtype=pl.Int64),
    )
    return VoteRows(rows, None, ())


def read_stated(file: SourceFile, name: str) -> int | None:
    """Return a number in summary.csv, which has a name and a value a line; None if it has none of this name."""
    with file.open() as handle:
        lines = handle.read().decode("utf-8-sig", "replace").splitlines()
    for line in lines:
        if found := re.fullmatch(rf'"?{name}"?\s*,\s*"?([0-9]{{1,12}})"?\s*', line, re.IGNORECASE):
            return int(found[1])
    return None


def unread_columns(role: str, file: SourceFile) -> list[int]:
    """Return the places, from 0, of columns that no import needs: personal codes, and what no known era has.

    Only votes.csv and the matrix are looked at. comments.csv has no column about a person but the author's number, and
    its rows cannot always be told from what people typed; nothing else of an export is about single people.
    """
    if role == "votes":
        return [place for place, name in enumerate(read_header(file, VOTE_ALIASES)) if name not in VOTE_COLUMNS]
    if role == "matrix":
        needed = MATRIX_COLUMNS - {"xid"}
        names = read_header(file, MATRIX_ALIASES)
        return [place for place, name in enumerate(names) if name not in needed and not is_id(name)]
    return []


def _marks(table: pl.DataFrame, column: str) -> pl.Series:
    """A column of true and false; null where it is empty or missing."""
    if column not in table.columns:
        return pl.repeat(None, table.height, dtype=pl.Boolean, eager=True)
    return table[column].str.strip_chars().str.to_lowercase().is_in(["true", "t", "1"])
