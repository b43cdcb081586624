"""The way in: a Polis export or a plain table of votes, told apart by what is there."""

from __future__ import annotations

from pathlib import Path

from ccai_dagster.deliberation.importing.files import find_vote_files
from ccai_dagster.deliberation.importing.long_table import import_long_table, is_long_table
from ccai_dagster.deliberation.importing.polis import import_polis
from ccai_dagster.deliberation.importing.tables import Import


def read_votes(place: Path) -> Import:
    """Read and check what a public said, from whatever platform.

    Args:
        place: A folder or a zip with a Polis export, or with a plain table of votes; or such a table itself.

    Raises:
        ConsultationError: Nothing usable is there. Names file, row and remedy.
    """
    found = find_vote_files(place)
    votes = found.files.get("votes")
    if "comments" not in found.files and votes is not None and is_long_table(votes):
        return import_long_table(found)
    return import_polis(found)


def votes_digest(place: Path) -> str:
    """Return the digest of the files that `read_votes` reads: their roles and contents.

    Raises:
        ConsultationError: No export is there.
    """
    return find_vote_files(place).digest()
