"""What the portal's database holds: as raw tables for who moderates, and as the classic files of Polis for the import.

The database is written by `ccai_dagster.portal`; here it is only read, statements and votes of the same moment. The
codes of participants are not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from ccai_dagster.contracts import RAW_STATEMENTS, RAW_VOTES
from ccai_dagster.core.files import csv_text
from ccai_dagster.core.portal_database import database_state, read_rows
from ccai_dagster.core.unchanged import while_same
from ccai_dagster.deliberation.importing.columns import SourceFile, VoteFiles
from ccai_dagster.deliberation.importing.demographics import FILE, PARTICIPANT
from ccai_dagster.deliberation.importing.read_votes import role_of
from ccai_dagster.deliberation.importing.tables import Import, build_report, raw_participants

STATEMENTS = "SELECT id, author_id, created_at, CAST(is_seed AS INTEGER), text FROM portal_statement ORDER BY id"
DEMOGRAPHICS = "SELECT participant_id, question, answer FROM portal_demographic ORDER BY participant_id, question"
VOTES = "SELECT participant_id, statement_id, value, voted_at FROM portal_vote ORDER BY participant_id, statement_id"


@dataclass(frozen=True)
class _Content:
    """Rows as the queries above have them, times in seconds since 1970."""

    statements: Sequence[tuple[int, int | None, int, int, str]]
    votes: Sequence[tuple[int, int, int, int]]
    demographics: Sequence[tuple[int, str, str]]


def portal_import(database: Path) -> Import:
    """Return what the portal holds now, also before anybody has voted.

    Raises:
        ConsultationError: There is no database yet, or it cannot be read.
    """
    content = _read(database)
    statements = pl.DataFrame(
        content.statements,
        {
            "statement_id": pl.Int64,
            "author_id": pl.Int64,
            "created_at": pl.Int64,
            "is_seed": pl.Int64,
            "text": pl.String,
        },
        orient="row",
    )
    votes = pl.DataFrame(
        content.votes,
        {"participant_id": pl.Int64, "statement_id": pl.Int64, "vote": pl.Int8, "voted_at": pl.Int64},
        orient="row",
    )
    raw_votes = votes.with_columns(
        _time("voted_at"), times_voted=pl.lit(1, pl.Int32), important=pl.lit(None, pl.Boolean)
    ).select(list(RAW_VOTES.fields))
    return Import(
        statements.with_columns(
            _time("created_at"),
            pl.col("is_seed").cast(pl.Boolean),
            moderated=pl.lit(0, pl.Int8),
            is_meta=pl.lit(None, pl.Boolean),
        ).select(list(RAW_STATEMENTS.fields)),
        raw_participants(raw_votes),
        raw_votes,
        build_report(()),
    )


def portal_files(database: Path) -> dict[str, str]:
    """Return the text of Polis's classic files by name: comments.csv, votes.csv, participants-votes.csv, summary.csv.

    Beside them participant-demographics.csv, once somebody has said something about themselves.

    Raises:
        ConsultationError: There is no database yet, or it cannot be read.
    """
    content = _read(database)
    cast: dict[int, dict[int, int]] = {}
    counts = {row[0]: {1: 0, -1: 0, 0: 0} for row in content.statements}
    for participant, statement, value, _ in content.votes:
        cast.setdefault(participant, {})[statement] = value
        counts[statement][value] += 1
    written: dict[int | None, int] = {}
    for row in content.statements:
        written[row[1]] = written.get(row[1], 0) + 1
    ids = [row[0] for row in content.statements]
    return {
        "comments.csv": csv_text(
            [*("timestamp", "comment-id", "author-id", "agrees", "disagrees", "moderated", "is-seed"), "comment-body"],
            (
                (created, key, author, counts[key][1], counts[key][-1], 0, "true" if seed else "false", text)
                for key, author, created, seed, text in content.statements
            ),
        ),
        "votes.csv": csv_text(
            ["timestamp", "comment-id", "voter-id", "vote"],
            ((at, statement, participant, value) for participant, statement, value, at in content.votes),
        ),
        "participants-votes.csv": csv_text(
            ["participant", "group-id", "n-comments", "n-votes", "n-agree", "n-disagree", *ids],
            (
                (
                    *(who, None, written.get(who, 0), len(own)),
                    *(sum(value == side for value in own.values()) for side in (1, -1)),
                    *(own.get(key) for key in ids),
                )
                for who, own in cast.items()
            ),
        ),
        "summary.csv": csv_text(
            None, [("voters", len(cast)), ("commenters", len(written.keys() - {None})), ("comments", len(ids))]
        ),
        **_demographics(content.demographics),
    }


def _demographics(rows: Sequence[tuple[int, str, str]]) -> dict[str, str]:
    questions = sorted({question for _, question, _ in rows})
    told: dict[int, dict[str, str]] = {}
    for participant, question, answer in rows:
        told.setdefault(participant, {})[question] = answer
    cells = ((who, *(own.get(each) for each in questions)) for who, own in told.items())
    return {FILE: csv_text([PARTICIPANT, *questions], cells)} if rows else {}


def portal_digest(database: Path) -> str:
    """Return the version of what the portal holds, that of its files; read again only if something was written."""
    return while_same(_digest, database, database_state(database))


def _digest(database: Path) -> str:
    files = portal_files(database)
    named = {role_of(name): SourceFile(name, text.encode()) for name, text in files.items()}
    return VoteFiles(database, {role: file for role, file in named.items() if role}, ()).digest()


def _read(database: Path) -> _Content:
    return _Content(*read_rows(database, (STATEMENTS, VOTES, DEMOGRAPHICS)))


def _time(name: str) -> pl.Expr:
    return pl.from_epoch(name, "s").dt.cast_time_unit("ms").dt.replace_time_zone("UTC")
