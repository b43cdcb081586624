"""Import of Polis's classic export: `comments.csv`, `votes.csv`, `participants-votes.csv`.

Where `votes.csv` is missing (Polis leaves it out of public archives when it is large), votes are read from
the matrix of `participants-votes.csv`. Counts in the export are never trusted, always recomputed. Personal
codes (`xid`) are not read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from ccai_dagster.contracts import IMPORT_REPORT, RAW_PARTICIPANTS, RAW_STATEMENTS, RAW_VOTES, TIME
from ccai_dagster.deliberation.csv_columns import integers, read_text_csv, require_columns, require_unique
from ccai_dagster.digest import file_digest, value_digest
from ccai_dagster.errors import ConsultationError

STATEMENT_COLUMNS = {"comment-id", "agrees", "disagrees", "moderated", "comment-body"}
FURTHER_STATEMENT_COLUMNS = {
    "timestamp", "datetime", "author-id", "passes", "is-meta", "is-seed", "group-informed-consensus",
}  # fmt: skip
VOTE_COLUMNS = {"comment-id", "voter-id", "vote"}
MATRIX_COLUMNS = {"participant"}
FURTHER_MATRIX_COLUMNS = {"xid", "group-id", "n-comments", "n-votes", "n-agree", "n-disagree"}
MATRIX_NAMES = ("participants-votes.csv", "participant-votes.csv")


@dataclass(frozen=True)
class Import:
    """The raw tables of one export, and what was found on the way."""

    raw_statements: pl.DataFrame
    raw_participants: pl.DataFrame
    raw_votes: pl.DataFrame
    import_report: pl.DataFrame


def export_files(folder: Path) -> list[Path]:
    """Return the files of the export that are read, sorted by name."""
    names = ("comments.csv", "votes.csv", *MATRIX_NAMES)
    return sorted(path for path in (folder / name for name in names) if path.is_file())


def export_digest(folder: Path) -> str:
    """Return the digest of the export: names and contents of the files that are read."""
    return value_digest([[path.name, file_digest(path)] for path in export_files(folder)])


def read_polis_export(folder: Path) -> Import:
    """Read and check a classic Polis export.

    Args:
        folder: Holds `comments.csv` and `votes.csv` or the matrix.

    Raises:
        ConsultationError: A file is missing or malformed, a column missing or unknown, an id duplicated, a
            vote other than -1, 0, 1 or on an unknown statement, or nobody voted. Names file, row and remedy.
    """
    if not folder.is_dir():
        raise ConsultationError(
            f"{folder}: not found. `votes` in consultation.yaml names the export's folder."
        )
    path = folder / "comments.csv"
    comments = read_text_csv(path)
    require_columns(path, comments, STATEMENT_COLUMNS, STATEMENT_COLUMNS | FURTHER_STATEMENT_COLUMNS)
    statements = _statements(path, comments)
    matrix = next((folder / name for name in MATRIX_NAMES if (folder / name).is_file()), None)
    people = _participants(matrix) if matrix else None
    if (folder / "votes.csv").is_file():
        source, rows = folder / "votes.csv", _vote_rows(folder / "votes.csv")
    elif matrix:
        source, rows = matrix, _matrix_votes(matrix)
    else:
        raise ConsultationError(f"{folder}: neither votes.csv nor {MATRIX_NAMES[0]} is there. Export again.")
    _check_votes(source, rows, statements)
    votes = _last_votes(rows)
    counted = votes.group_by("participant_id").agg(n_votes=pl.len().cast(pl.Int64))
    known = counted.select("participant_id").with_columns(polis_group=pl.lit(None, dtype=pl.Int64))
    people = (
        known if people is None else pl.concat([people, known.join(people, on="participant_id", how="anti")])
    )
    participants = (
        people.join(counted, on="participant_id", how="left")
        .with_columns(pl.col("n_votes").fill_null(0))
        .sort("participant_id")
        .select(list(RAW_PARTICIPANTS.fields))
    )
    report = _report(source, comments, statements, participants, rows, votes)
    return Import(statements, participants, votes, report)


def _statements(path: Path, comments: pl.DataFrame) -> pl.DataFrame:
    if not comments.height:
        raise ConsultationError(f"{path}: no statements. An empty consultation cannot be run.")
    require_unique(path, comments, "comment-id")
    moderated = integers(path, comments, "moderated")
    if not moderated.is_in([-1, 0, 1]).all():
        row = int((~moderated.is_in([-1, 0, 1])).arg_max() or 0)
        raise ConsultationError(
            f"{path}, data row {row + 1}: moderated is {moderated[row]}; it must be -1, 0 or 1."
        )
    return (
        pl.DataFrame(
            {
                "statement_id": integers(path, comments, "comment-id"),
                "author_id": _optional(path, comments, "author-id"),
                "created_at": pl.from_epoch(
                    _optional(path, comments, "timestamp"), "ms"
                ).dt.replace_time_zone("UTC"),
                "moderated": moderated.cast(pl.Int8),
                "is_seed": _optional_flag(comments, "is-seed"),
                "is_meta": _optional_flag(comments, "is-meta"),
                "text": comments["comment-body"].fill_null(""),
            }
        )
        .cast({"created_at": TIME})
        .sort("statement_id")
        .select(list(RAW_STATEMENTS.fields))
    )


def _optional(path: Path, table: pl.DataFrame, column: str) -> pl.Series:
    if column not in table.columns:
        return pl.repeat(None, table.height, dtype=pl.Int64, eager=True)
    return integers(path, table, column, nullable=True)


def _optional_flag(table: pl.DataFrame, column: str) -> pl.Series:
    if column not in table.columns:
        return pl.repeat(None, table.height, dtype=pl.Boolean, eager=True)
    return table[column].str.to_lowercase() == "true"


def _participants(path: Path) -> pl.DataFrame:
    matrix = read_text_csv(path)
    statements = {name for name in matrix.columns if name.isdigit()}
    require_columns(path, matrix, MATRIX_COLUMNS, MATRIX_COLUMNS | FURTHER_MATRIX_COLUMNS | statements)
    require_unique(path, matrix, "participant")
    return pl.DataFrame(
        {
            "participant_id": integers(path, matrix, "participant"),
            "polis_group": _optional(path, matrix, "group-id"),
        }
    )


def _vote_rows(path: Path) -> pl.DataFrame:
    rows = read_text_csv(path)
    require_columns(path, rows, VOTE_COLUMNS, VOTE_COLUMNS | {"timestamp", "datetime"})
    return pl.DataFrame(
        {
            "participant_id": integers(path, rows, "voter-id"),
            "statement_id": integers(path, rows, "comment-id"),
            "vote": integers(path, rows, "vote"),
            "timestamp": _optional(path, rows, "timestamp"),
        }
    ).with_row_index("row", offset=1)


def _matrix_votes(path: Path) -> pl.DataFrame:
    matrix = read_text_csv(path)
    names = [name for name in matrix.columns if name.isdigit()]
    long = (
        matrix.with_row_index("row", offset=1)
        .unpivot(names, index=["row", "participant"], variable_name="statement", value_name="vote")
        .filter(pl.col("vote").is_not_null())
    )
    number = long["vote"].str.strip_chars().cast(pl.Float64, strict=False)
    if bad := long.filter(number.is_null() | (number != number.round())).height:
        first = long.filter(number.is_null() | (number != number.round())).row(0, named=True)
        raise ConsultationError(
            f"{path}, data row {first['row']}: vote on statement {first['statement']} is {first['vote']!r} "
            f"({bad} such cells). Votes are -1, 0, 1 or empty."
        )
    return long.select(
        "row",
        participant_id=pl.col("participant").cast(pl.Float64).cast(pl.Int64),
        statement_id=pl.col("statement").cast(pl.Int64),
        vote=number.cast(pl.Int64),
        timestamp=pl.lit(None, dtype=pl.Int64),
    )


def _check_votes(path: Path, rows: pl.DataFrame, statements: pl.DataFrame) -> None:
    if not rows.height:
        raise ConsultationError(f"{path}: no votes. An empty consultation cannot be run.")
    if (wrong := rows.filter(~pl.col("vote").is_in([-1, 0, 1]))).height:
        first = wrong.row(0, named=True)
        raise ConsultationError(
            f"{path}, data row {first['row']}: vote {first['vote']} of participant {first['participant_id']} on "
            f"statement {first['statement_id']}; it must be -1, 0 or 1 ({wrong.height} such rows). Correct them."
        )
    unknown = rows.join(statements, on="statement_id", how="anti").sort("row")
    if unknown.height:
        first = unknown.row(0, named=True)
        raise ConsultationError(
            f"{path}, data row {first['row']}: a vote on statement {first['statement_id']}, which comments.csv "
            f"does not have ({unknown.height} such votes). Export both files at the same moment."
        )


def _last_votes(rows: pl.DataFrame) -> pl.DataFrame:
    """Keep the last vote by time, then by place in the file."""
    return (
        rows.sort("timestamp", "row", nulls_last=False)
        .group_by("participant_id", "statement_id", maintain_order=True)
        .agg(pl.col("vote", "timestamp").last(), times_voted=pl.len().cast(pl.Int32))
        .with_columns(
            pl.col("vote").cast(pl.Int8),
            voted_at=pl.from_epoch("timestamp", "ms").dt.replace_time_zone("UTC").cast(TIME),
        )
        .sort("participant_id", "statement_id")
        .select(list(RAW_VOTES.fields))
    )


def _report(
    source: Path,
    comments: pl.DataFrame,
    statements: pl.DataFrame,
    participants: pl.DataFrame,
    rows: pl.DataFrame,
    votes: pl.DataFrame,
) -> pl.DataFrame:
    tallies = votes.group_by("statement_id").agg(
        agree=(pl.col("vote") == 1).sum().cast(pl.Int64), disagree=(pl.col("vote") == -1).sum().cast(pl.Int64)
    )
    claimed = comments.select(
        statement_id=pl.col("comment-id").cast(pl.Float64).cast(pl.Int64),
        agrees=pl.col("agrees").cast(pl.Int64, strict=False),
        disagrees=pl.col("disagrees").cast(pl.Int64, strict=False),
    ).join(tallies, on="statement_id", how="left")
    differing = claimed.filter(
        (pl.col("agrees") != pl.col("agree").fill_null(0))
        | (pl.col("disagrees") != pl.col("disagree").fill_null(0))
    ).height
    moderated = dict(statements.group_by("moderated").len().iter_rows())
    facts: list[tuple[str, int | None, str]] = [
        ("participants", participants.height, "people in the export, with or without votes"),
        ("participants without a group", participants["polis_group"].null_count(), "Polis assigned no group"),
        ("statements", statements.height, "statements submitted, seeds included"),
        ("moderated in", moderated.get(1, 0), "by the export; the moderation ledger decides what counts"),
        ("moderated out", moderated.get(-1, 0), "by the export"),
        ("never moderated", moderated.get(0, 0), "by the export"),
        (
            "statements without text",
            int((statements["text"] == "").sum()),
            "kept; nothing can be decided on them",
        ),
        ("vote rows", rows.height, f"rows read from {source.name}"),
        ("votes", votes.height, "the last vote of each participant on each statement"),
        ("earlier votes replaced", rows.height - votes.height, "a person voted again; the last vote counts"),
        ("agree", int((votes["vote"] == 1).sum()), "votes of +1"),
        ("disagree", int((votes["vote"] == -1).sum()), "votes of -1"),
        ("pass", int((votes["vote"] == 0).sum()), "votes of 0"),
        (
            "statements whose totals differ",
            differing,
            "comments.csv counts every vote row, also replaced ones; totals here are recomputed from last votes",
        ),
    ]
    if source.name in MATRIX_NAMES:
        facts.append(("votes.csv missing", None, "votes come from the matrix: no times, no earlier votes"))
    return IMPORT_REPORT.build([{"item": a, "count": b, "explanation": c} for a, b, c in facts])
