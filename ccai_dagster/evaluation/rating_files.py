"""The files of a consultation's folder `ratings`, and CSV read and written without losing anything.

Belongs here: places, columns, locks, and rows by the name of their column. Doesn't belong here: what a row means.

    ratings/keys/pairs.csv   which arm wrote which response; raters must not see it
    ratings/RATER.csv        what one rater said; the name is a role or pseudonym
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from ccai_dagster.core.files import write_file
from ccai_dagster.errors import ConsultationError

KEY_FILE = Path("keys") / "pairs.csv"
LOCK = ".lock"
"""One process at a time writes in the folder."""
KEY_COLUMNS = ("pair_id", "quality", "prompt_id", "arm_1", "arm_2", "texts_digest")
RATING_COLUMNS = ("pair_id", "rating")
SHOWN = 10
"""Problems shown at once; the rest is counted."""


def rating_files(folder: Path) -> list[Path]:
    """Return all files that ratings are read from."""
    return sorted([*folder.glob("*.csv"), *folder.glob(KEY_FILE.as_posix())])


def read_key(folder: Path) -> dict[str, dict[str, str]]:
    """Return the key by pair, in the order of the file; empty if nothing was exported yet.

    Raises:
        ConsultationError: The file is damaged.
    """
    path = folder / KEY_FILE
    if not path.exists():
        return {}
    rows = [{name: row[name] for name in KEY_COLUMNS} for _, row in csv_rows(path, KEY_COLUMNS)]
    found = {row["pair_id"]: row for row in rows}
    if len(found) < len(rows):
        raise ConsultationError(f"{path}: a `pair_id` stands twice; restore the file from a copy.")
    return found


def csv_rows(path: Path, needed: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield row number (the header being row 1) and cells by column, empty lines left out.

    Args:
        path: A CSV file in UTF-8, with any columns.
        needed: Columns it must have.

    Raises:
        ConsultationError: The file is missing, not readable, or lacks a column or a cell.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise ConsultationError(f"{path}: not found.") from error
    except UnicodeDecodeError as error:
        raise ConsultationError(f"{path}: not UTF-8; save it as CSV in UTF-8.") from error
    except OSError as error:
        raise ConsultationError(f"{path}: cannot be read ({error.strerror}).") from error
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise ConsultationError(f"{path}: not readable as CSV ({error}); close the quotes.") from error
    header = [cell.strip() for cell in lines[0]] if lines else []
    if missing := [name for name in needed if header.count(name) != 1]:
        raise ConsultationError(
            f"{path}, row 1: the columns {', '.join(missing)} must stand there once each, separated by commas."
        )
    for number, cells in enumerate(lines[1:], start=2):
        if not any(cells):
            continue
        if len(cells) != len(header):
            raise ConsultationError(
                f"{path}, row {number}: {len(cells)} cells instead of {len(header)}; put cells that contain commas "
                "in double quotes."
            )
        yield number, dict(zip(header, cells, strict=True))


def refuse(path: Path, problems: Sequence[str]) -> None:
    """Raise a `ConsultationError` that tells what is wrong with a file, if anything is."""
    if problems:
        more = [f"and {len(problems) - SHOWN} more problems"] if len(problems) > SHOWN else []
        raise ConsultationError("\n".join(f"{path}, {each}." for each in [*problems[:SHOWN], *more]))


def csv_text(columns: Sequence[str], rows: Sequence[tuple[str, ...]]) -> str:
    """Return a header and rows as CSV."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return buffer.getvalue()


def replace(path: Path, content: str) -> None:
    """Put new content in place of a file's, so that nobody reads half of it."""
    try:
        write_file(path, content)
    except OSError as error:
        raise ConsultationError(f"{path}: cannot be written ({error.strerror}).") from error
