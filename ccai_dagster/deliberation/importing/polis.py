"""Import of Polis's exports, of whatever era: `comments.csv`, `votes.csv`, `participant(s)-votes.csv`.

Where `votes.csv` is missing (Polis leaves it out of public archives when it is large), votes are read from the
matrix. Counts in the export are never trusted, always recomputed. Personal codes (`xid`) are not read.

Columns are those of the CSV export (`math/src/polismath/darwin/export.clj`, `server/src/routes/export.ts` in
`compdemocracy/polis`); the headings of the spreadsheet exported beside it are understood too.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import polars as pl

from ccai_dagster.contracts import RAW_STATEMENTS
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.text import printable
from ccai_dagster.deliberation.importing.bodies import BODY, read_bodies
from ccai_dagster.deliberation.importing.cells import (
    Unit,
    as_time,
    integers,
    marks,
    milliseconds,
    note_cells,
    optional_integers,
    own_times,
    refuse_lost_digits,
    refuse_lost_headings,
    whole_numbers,
)
from ccai_dagster.deliberation.importing.columns import (
    ROW,
    UTF16,
    SourceFile,
    VoteFiles,
    decoded,
    is_id,
    plain_name,
    read_header,
    read_text_csv,
    require_columns,
)
from ccai_dagster.deliberation.importing.moderation_mode import moderation_evidence
from ccai_dagster.deliberation.importing.noted import TOLERATED_ASIDE, Noted
from ccai_dagster.deliberation.importing.numbering import Numbering, numbered
from ccai_dagster.deliberation.importing.polis_report import (
    ExchangedTotals,
    PolisFindings,
    compare_totals,
    differing_participants,
    era_of,
    exchanged_totals,
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
    common_facts,
    importance_marks,
    last_votes,
    moderation_marks,
    raw_participants,
    require_unique,
    usable_votes,
)
from ccai_dagster.deliberation.importing.vote_values import check_coding, vote_column

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
SUMMARY_LINES = {
    "topic",
    "url",
    "views",
    "voters",
    "voters-in-conv",
    "commenters",
    "comments",
    "groups",
    "conversation-description",
}
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
    """Vote rows as they were read.

    Attributes:
        rows: See `usable_votes`; when these were chosen, see `last_votes`.
        cells: The same rows as text.
        unit: Of their times.
        unknown: Columns of no known era.
        worded: Whether words or the consultation say which votes agree.
        people: Numbers of the participants.
    """

    rows: pl.DataFrame
    cells: pl.DataFrame
    unit: Unit | None
    unknown: Sequence[str]
    worded: bool
    people: Numbering


@dataclass(frozen=True)
class Matrix:
    """What participant(s)-votes.csv says of people, its cells aside.

    Attributes:
        people: `participant_id`, `polis_group`.
        stated: `participant_id`, `n_votes`, `n_agree`, `n_disagree`; None without these columns.
        unknown: Columns of no known era.
        numbers: Numbers of the participants.
    """

    people: pl.DataFrame
    stated: pl.DataFrame | None
    unknown: Sequence[str]
    numbers: Numbering


def import_polis(found: VoteFiles, values: Mapping[str, str]) -> Import:
    """Read and check a Polis export.

    Args:
        found: Its files; at least comments.csv, and votes.csv or the matrix.
        values: What votes mean, see `vote_values`; empty for Polis's own.

    Raises:
        ConsultationError: A file is missing or malformed, a needed column missing, a statement's id duplicated, too
            many rows cannot be used, or nobody voted. Names file, row and remedy.
    """
    noted = Noted()
    comments_file, matrix_file = found.files.get("comments"), found.files.get("matrix")
    if comments_file is None:
        raise ConsultationError(f"{found.place}: comments.csv not found. A Polis export has this file; copy it there.")
    source = found.files.get("votes")
    cast = read_votes_csv(source, noted, values) if source is not None and not source.is_empty() else None
    people = cast.people if cast is not None and cast.rows.height else None
    matrix = read_people(matrix_file, noted, people) if matrix_file else None
    people = people or (matrix.numbers if matrix else None)
    comments = read_comments(comments_file, noted, people)
    if source is None or (matrix_file is not None and (cast is None or not cast.rows.height)):
        source = matrix_file
        if source is None:
            raise ConsultationError(
                f"{found.place}: neither votes.csv nor participants-votes.csv is there. Export again."
            )
        cast = read_matrix_votes(source, noted, values)
    if cast is None:
        raise ConsultationError(f"{source.place}: empty. Export it again; not even a header is there.")
    rows = usable_votes(source, cast.rows, cast.cells, comments.statements["statement_id"], noted)
    check_coding(source, rows["vote"], values)
    authors = AuthorVotes(0, 0, 0) if cast.worded else author_votes(rows, comments.statements)
    exchanged, votes = ExchangedTotals(0, 0), last_votes(rows)
    if authors.inverted is None and not cast.worded:
        exchanged = exchanged_totals(comments.stated, rows, votes.table)
    if authors.inverted or exchanged.clear:
        rows = rows.with_columns(-pl.col("vote"))
        votes = last_votes(rows)
    cast = replace(cast, rows=rows)
    participants = raw_participants(votes.table, matrix.people if matrix else None)
    findings = _findings(found, source, comments, matrix, cast, votes, authors, exchanged)
    report = build_report(
        [
            *polis_facts(findings, comments.statements, participants),
            *([fact] if (fact := cast.people.fact("participant ids")) else []),
            *common_facts(comments.statements, participants, votes, rows.height, source.name),
            *noted.facts(),
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
    found: VoteFiles,
    source: SourceFile,
    comments: Comments,
    matrix: Matrix | None,
    cast: VoteRows,
    votes: LastVotes,
    authors: AuthorVotes,
    exchanged: ExchangedTotals,
) -> PolisFindings:
    stated = _in_sign(comments.stated, authors)
    unread = found.files.get("votes")
    matrix_name = found.files["matrix"].name if matrix else None
    summary = found.files.get("summary")
    columns = {
        "comments": sorted(set(comments.columns) - COMMENT_COLUMNS),
        "votes": cast.unknown,
        "matrix": matrix.unknown if matrix else (),
    }
    unknown = [f"{found.files[role].name}: {name}" for role, names in columns.items() for name in names]
    missing, newest = None, cast.rows["timestamp"].max()
    if matrix:
        missing = votes.table.join(matrix.people, on="participant_id", how="anti")["participant_id"].n_unique()
    return PolisFindings(
        era=era_of(
            comments.columns, cast.unit or comments.unit, authors.inverted, comments.quoted, matrix_name, unknown
        ),
        authors=authors,
        exchanged=exchanged,
        worded=cast.worded,
        moderation=moderation_evidence(comments.statements, votes.table),
        newest=datetime.fromtimestamp(int(newest) / 1000, UTC) if isinstance(newest, int) else None,
        rejoined=comments.rejoined,
        unknown_columns=unknown,
        others=found.others,
        from_matrix=matrix_name if source is found.files.get("matrix") else None,
        empty_votes=unread.name if unread is not None and unread is not source else None,
        totals=compare_totals(stated, cast.rows, votes.table),
        differing_participants=(
            differing_participants(matrix.stated, votes.table) if matrix and matrix.stated is not None else None
        ),
        missing_participants=missing,
        stated_voters=read_stated(summary, "voters") if summary else None,
    )


def read_comments(file: SourceFile, noted: Noted, people: Numbering | None = None) -> Comments:
    """Read comments.csv.

    Args:
        people: Numbers of the authors, if their ids are none.

    Raises:
        ConsultationError: Malformed, no statements, an id twice or without all digits, or moderation other than -1, 0,
            1.
    """
    bodies = read_bodies(file, COMMENT_ALIASES, noted)
    table = bodies.table
    require_columns(file, table, {"comment-id", "moderated", BODY})
    if not table.height:
        raise ConsultationError(f"{file.place}: no statements. An empty consultation cannot be run.")
    refuse_lost_digits(file, table, [name for name in ("comment-id", "author-id") if name in table.columns])
    ids = integers(file, table, "comment-id")
    require_unique(file, table.with_columns(ids), "comment-id")
    if people is not None and not people.given and "author-id" in table.columns:
        authors = people.of_cells(table["author-id"])
    else:
        authors = optional_integers(file, table, "author-id", noted)
    created, unit = milliseconds(file, table, noted)
    statements = pl.DataFrame(
        {
            "statement_id": ids,
            "author_id": authors,
            "created_at": as_time(created),
            "moderated": moderation_marks(file, table, noted).cast(pl.Int8),
            "is_seed": marks(file, table, "is-seed", noted),
            "is_meta": marks(file, table, "is-meta", noted),
            "text": table[BODY].fill_null(""),
        }
    ).sort("statement_id")
    totals = {name: optional_integers(file, table, name, noted) for name in ("agrees", "disagrees")}
    return Comments(
        statements.select(list(RAW_STATEMENTS.fields)),
        pl.DataFrame({"statement_id": ids, **totals}),
        [name for name in table.columns if name != ROW],
        unit,
        bodies.quoted,
        bodies.rejoined,
    )


def read_votes_csv(file: SourceFile, noted: Noted, values: Mapping[str, str]) -> VoteRows:
    """Read votes.csv.

    Raises:
        ConsultationError: Not readable, or a column is missing.
    """
    names = read_header(file, VOTE_ALIASES).named
    table = read_text_csv(file, noted, VOTE_ALIASES, lambda name: name in VOTE_COLUMNS - {"datetime"})
    require_columns(file, table, {"comment-id", "voter-id", "vote"})
    refuse_lost_digits(file, table, ["voter-id", "comment-id"])
    times, unit = milliseconds(file, table, noted)
    cells = table.select(row=ROW, participant_id="voter-id", statement_id="comment-id", vote="vote")
    votes = vote_column(cells["vote"], values)
    people = _numbered(table.with_columns(timestamp=times), "voter-id")
    rows = cells.select(
        "row",
        participant_id=people.of_cells(cells["participant_id"]),
        statement_id=whole_numbers(cells["statement_id"]),
        vote=votes.votes,
        timestamp=own_times(file, noted, times),
        empty=votes.empty,
        important=importance_marks(file, table, noted),
    )
    return VoteRows(rows, cells, unit, sorted(set(names) - VOTE_COLUMNS), votes.worded, people)


def _numbered(table: pl.DataFrame, column: str) -> Numbering:
    """Number people whose ids are addresses or codes; of a table without times in the order of its rows."""
    codes = table.with_columns(pl.col(column).str.strip_chars().replace("", None))
    if "timestamp" not in table.columns:
        codes = codes.with_columns(timestamp=pl.lit(None, dtype=pl.Int64))
    return numbered(codes, column)


def numbers_of_people(found: VoteFiles) -> Numbering | None:
    """Return the numbers that the import of an export gives its people; None if there is nobody.

    Raises:
        ConsultationError: A file is not readable.
    """
    votes, matrix = found.files.get("votes"), found.files.get("matrix")
    if votes is not None and not votes.is_empty():
        cast = read_votes_csv(votes, Noted(), {})
        if cast.rows.height:
            return cast.people
    return read_people(matrix, Noted()).numbers if matrix is not None else None


def read_people(file: SourceFile, noted: Noted, people: Numbering | None = None) -> Matrix:
    """Read who is in the matrix and what it says of them; personal codes and votes are passed over.

    Args:
        people: Numbers of people, if votes.csv gave them some.

    Raises:
        ConsultationError: Not readable, or no column of participants.
    """
    header = read_header(file, MATRIX_ALIASES)
    refuse_lost_headings(file, header.headings)
    names = header.named
    table = read_text_csv(file, noted, MATRIX_ALIASES, lambda name: name in {"participant", "group-id", *TOTALS})
    require_columns(file, table, {"participant"})
    people = people or _numbered(table, "participant")
    ids = _people(file, table, people, noted)
    table, ids = table.filter(ids.is_not_null()), ids.drop_nulls()
    groups = optional_integers(file, table, "group-id", noted)
    stated = None
    if set(table.columns) >= TOTALS:
        totals = {name.replace("-", "_"): optional_integers(file, table, name, noted) for name in sorted(TOTALS)}
        stated = pl.DataFrame({"participant_id": ids, **totals})
    unknown = sorted(name for name in set(names) - MATRIX_COLUMNS if not is_id(name))
    return Matrix(pl.DataFrame({"participant_id": ids, "polis_group": groups}), stated, unknown, people)


def _people(file: SourceFile, table: pl.DataFrame, people: Numbering, noted: Noted) -> pl.Series:
    """The participants of the matrix's rows; null, and noted, in rows of nobody and where one comes again."""
    refuse_lost_digits(file, table, ["participant"])
    ids = people.of_cells(table["participant"])
    nobody = ids.is_null() | (ids < 0).fill_null(True)
    why = "no id of a participant, so that the rows are set aside"
    note_cells(noted, "rows of nobody in the matrix", why, file, table, "participant", nobody)
    again = ~ids.is_first_distinct() & ~nobody
    why = "the first row of each is read"
    note_cells(noted, "participants twice in the matrix", why, file, table, "participant", again)
    return ids.set(nobody | again, None)


def read_matrix_votes(file: SourceFile, noted: Noted, values: Mapping[str, str]) -> VoteRows:
    """Read the cells of the matrix as vote rows without times.

    Raises:
        ConsultationError: No column is a statement, or too many rows of participants cannot be used.
    """
    table = read_text_csv(file, noted, MATRIX_ALIASES, lambda name: name == "participant" or is_id(name))
    require_columns(file, table, {"participant"})
    statements = [name for name in table.columns if is_id(name)]
    if not statements:
        raise ConsultationError(f"{file.place}: no votes: no column is the id of a statement. Export again.")
    numbers = _numbered(table, "participant")
    people = _people(file, table, numbers, noted)
    if people.null_count() > TOLERATED_ASIDE * table.height:
        require_unique(file, table, "participant")
        integers(file, table, "participant")
    cells = (
        table.with_columns(participant_id=people)
        .filter(pl.col("participant_id").is_not_null())
        .unpivot(statements, index=[ROW, "participant_id"], variable_name="statement_id", value_name="vote")
        .filter(pl.col("vote").is_not_null())
        .rename({ROW: "row"})
    )
    votes = vote_column(cells["vote"], values)
    rows = cells.select(
        "row",
        "participant_id",
        statement_id=pl.col("statement_id").cast(pl.Int64),
        vote=votes.votes,
        timestamp=pl.lit(None, dtype=pl.Int64),
        empty=votes.empty,
    )
    return VoteRows(rows, cells, None, (), votes.worded, numbers)


def read_stated(file: SourceFile, name: str) -> int | None:
    """Return a number in summary.csv, which has a name and a value a line; None if it has none of this name."""
    with file.open() as handle:
        content = handle.read()
    for line in content.decode("utf-16" if content.startswith(UTF16) else "utf-8-sig", "replace").splitlines():
        if found := re.fullmatch(rf'"?{name}"?\s*[,;\t]\s*"?([0-9]{{1,12}})"?[\s,;]*', line, re.IGNORECASE):
            return int(found[1])
    return None


def conversation_words(summary: SourceFile) -> dict[str, str]:
    """Return `title` and `question` as summary.csv tells them, each on one line; what it does not tell is missing.

    A description counts as the question if it is one paragraph that asks something; others greet, explain or thank.
    """
    rows = csv.reader(io.StringIO(decoded(summary)))
    lines = {plain_name(row[0], {}): row[1].strip() for row in rows if len(row) > 1}
    words = {"title": printable(lines.get("topic", ""))}
    description = lines.get("conversation-description", "")
    if "?" in description and not re.search(r"\n\s*\n", description):
        words["question"] = printable(description)
    return {name: text for name, text in words.items() if text}


def is_read(role: str, name: str) -> bool:
    """Whether an export has a column of this plain name in the file of this role, and it is not a code of a person.

    Of summary.csv, which has a name and a value a line, names of lines are meant.
    """
    if role == "comments":
        return COMMENT_ALIASES.get(name, name) in COMMENT_COLUMNS
    if role == "votes":
        return VOTE_ALIASES.get(name, name) in VOTE_COLUMNS
    if role == "matrix":
        return MATRIX_ALIASES.get(name, name) in MATRIX_COLUMNS - {"xid"} or is_id(name)
    if role == "comment_groups":
        return re.fullmatch(r"comment-id|comment|(total|group-[a-z])-(votes|agrees|disagrees|passes)", name) is not None
    return name in SUMMARY_LINES
