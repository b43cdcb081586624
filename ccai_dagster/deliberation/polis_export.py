"""Import of Polis's exports, of whatever era: `comments.csv`, `votes.csv`, `participant(s)-votes.csv`.

Where `votes.csv` is missing (Polis leaves it out of public archives when it is large), votes are read from the
matrix. Counts in the export are never trusted, always recomputed. Personal codes (`xid`) are not read. How each
file is read stands in `importing.polis_tables`; here they are put together.
"""

from __future__ import annotations

import polars as pl

from ccai_dagster.deliberation.importing.eras import tell_era
from ccai_dagster.deliberation.importing.files import VoteFiles
from ccai_dagster.deliberation.importing.last_votes import LastVotes, check_votes, last_votes
from ccai_dagster.deliberation.importing.polis_report import PolisFindings, polis_facts
from ccai_dagster.deliberation.importing.polis_tables import (
    COMMENT_COLUMNS,
    Comments,
    Matrix,
    VoteRows,
    read_comments,
    read_matrix_votes,
    read_people,
    read_stated_voters,
    read_votes_csv,
)
from ccai_dagster.deliberation.importing.raw_tables import Import, raw_participants
from ccai_dagster.deliberation.importing.report import build_report, common_facts
from ccai_dagster.deliberation.importing.sign import AuthorVotes, author_votes
from ccai_dagster.deliberation.importing.totals import compare_totals, differing_participants
from ccai_dagster.errors import ConsultationError


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
        raise ConsultationError(
            f"{found.place}: comments.csv not found. A Polis export has this file; copy it there."
        )
    source = found.files.get("votes") or matrix_file
    if source is None:
        raise ConsultationError(
            f"{found.place}: neither votes.csv nor participants-votes.csv is there. Export again."
        )
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
    return Import(comments.statements, participants, votes.table, report)


def _findings(
    found: VoteFiles,
    comments: Comments,
    matrix: Matrix | None,
    cast: VoteRows,
    votes: LastVotes,
    authors: AuthorVotes,
) -> PolisFindings:
    stated = comments.stated
    if authors.inverted:
        # The totals were counted from the inverted votes.
        stated = stated.rename({"agrees": "disagrees", "disagrees": "agrees"})
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
        missing = votes.table.join(matrix.people, on="participant_id", how="anti")[
            "participant_id"
        ].n_unique()
    return PolisFindings(
        era=tell_era(
            comments.columns,
            cast.unit or comments.unit,
            authors.inverted,
            comments.quoted,
            matrix_name,
            unknown,
        ),
        authors=authors,
        rejoined=comments.rejoined,
        unknown_columns=unknown,
        others=found.others,
        from_matrix=None if "votes" in found.files else matrix_name,
        totals=compare_totals(stated, cast.rows, votes.table),
        differing_participants=(
            differing_participants(matrix.stated, votes.table)
            if matrix and matrix.stated is not None
            else None
        ),
        missing_participants=missing,
        stated_voters=read_stated_voters(summary) if summary else None,
    )
