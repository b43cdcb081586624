"""Plain files that people write: read as UTF-8, row by row, every error with its line.

What the rows mean is for whoever asks, `prompts` above all.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from ccai_dagster.errors import ConsultationError


def check_new_id(where: str, name: str, value: str, line: int, first_line: dict[str, int]) -> None:
    """Refuse an id that is empty, has spaces or stands on an earlier line already, and remember its line.

    Args:
        where: File and line, for the message.
        name: Of the column.
        value: The id.
        line: Its line.
        first_line: Ids seen so far, with their lines; the new one is added.
    """
    if not value or value.split() != [value]:
        raise ConsultationError(f"{where}: `{name}` {value!r} must be one word without spaces.")
    if value in first_line:
        raise ConsultationError(
            f"{where}: `{name}` {value!r} is already used on line {first_line[value]}. Give it another one."
        )
    first_line[value] = line


def csv_rows(path: Path, header: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a CSV with exactly this header, each with its first line and its cells by name.

    Raises:
        ConsultationError: The file cannot be read, has another header, or a row with more or fewer cells.
    """
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        found = next(reader, [])
        if tuple(found) != header:
            raise ConsultationError(
                f"{path}, line 1: the header must be {','.join(header)}, found {','.join(found)}."
            )
        line = reader.line_num + 1
        for cells in reader:
            if cells:
                if len(cells) != len(header):
                    raise ConsultationError(
                        f"{path}, line {line}: expected {len(header)} cells, found {len(cells)}. "
                        "A cell with a comma needs double quotes around it."
                    )
                yield line, dict(zip(header, cells, strict=True))
            line = reader.line_num + 1
    except csv.Error as error:
        raise ConsultationError(f"{path}, line {reader.line_num}: not readable as CSV: {error}.") from error


def read_text(path: Path) -> str:
    """Read a file as UTF-8, with or without a byte order mark.

    Raises:
        ConsultationError: There is none, or it is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConsultationError(
            f"{path}: cannot be read ({error.strerror}). Add the file or correct its name."
        ) from error
    except UnicodeDecodeError as error:
        raise ConsultationError(f"{path}: not UTF-8 at byte {error.start}. Save it as UTF-8.") from error
