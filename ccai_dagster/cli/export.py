"""`ccai export`: the last run's groups, scores and priorities as files in the forms of Polis."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl

from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.files import whole_folder
from ccai_dagster.decisions.outcomes import moderation_verdicts
from ccai_dagster.deliberation.polis_export import ExportedTables, polis_files
from ccai_dagster.open_consultation import OpenConsultation

TABLES = (
    "raw_statements",
    "raw_votes",
    "participants",
    "statements",
    "opinion_groups",
    "gac_scores",
    "representative_statements",
    "consensus_statements",
    "comment_priorities",
)


def export(opened: OpenConsultation, folder: Path, say: Callable[[str], None]) -> None:
    """Write all files, or none.

    Args:
        folder: Must not exist, or be empty.

    Raises:
        ConsultationError: A table was not made yet, or the folder holds something.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConsultationError(f"{folder}: holds something already; name a new or empty folder.")
    tables = {name: opened.table(name) for name in TABLES}
    if missing := [name for name, table in tables.items() if table is None]:
        raise ConsultationError(f"{', '.join(missing)}: not made yet; `ccai run` first.")
    if tables["participants"] is not None and tables["participants"].is_empty():
        raise ConsultationError(
            "Only counts by group are there, and the forms of Polis hold the votes of people. How each group voted and "
            "what follows is in the tables group_votes, gac_scores and representative_statements."
        )
    found: dict[str, pl.DataFrame] = {name: table for name, table in tables.items() if table is not None}
    file = opened.consultation.file
    decided = moderation_verdicts(opened.ledger("moderation"))
    files = polis_files(
        ExportedTables(
            title=file.title,
            question=file.question,
            strict=file.moderation == "strict",
            undecided=frozenset(found["raw_statements"]["statement_id"]) - decided.keys(),
            **found,
        )
    )
    with whole_folder(folder.resolve()) as unfinished:
        for name, text in files.items():
            (unfinished / name).write_text(text, encoding="utf-8", newline="")
    say(f"{folder}: {', '.join(files)}")
    if without := found["raw_votes"]["voted_at"].null_count():
        say(f"{without:,} votes have no known time; 0 stands for it, since these forms do not allow an empty one.")
