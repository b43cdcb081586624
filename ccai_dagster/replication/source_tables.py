"""Reading one published table: cells as text, whole numbers, shares and ids, each error naming its row."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from ccai_dagster.core.errors import ConsultationError


@dataclass(frozen=True)
class SourceTable:
    """A CSV file as text: header and rows, each row as long as the header."""

    path: Path
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def __iter__(self) -> Iterator[tuple[str, dict[str, str]]]:
        """Give each row as `file, row N` (the header is row 1) and its cells by column."""
        for row, cells in enumerate(self.rows, start=2):
            yield f"{self.path}, row {row}", dict(zip(self.header, cells, strict=True))


def read_table(path: Path, columns: tuple[str, ...]) -> SourceTable:
    """Read a CSV in UTF-8 that has at least these columns and one row; further columns are kept."""
    try:
        lines = list(csv.reader(io.StringIO(read_text(path), newline=""), strict=True))
    except csv.Error as error:
        raise ConsultationError(f"{path}: not readable as CSV ({error}); fetch it again.") from error
    while lines and not lines[-1]:
        lines.pop()
    header = tuple(lines[0]) if lines else ()
    if missing := [name for name in columns if name not in header]:
        raise ConsultationError(f"{path}, row 1: no column {', '.join(missing)}; fetch the published file.")
    if len(set(header)) < len(header):
        raise ConsultationError(f"{path}, row 1: a column stands twice; fetch the published file.")
    for row, line in enumerate(lines[1:], start=2):
        if len(line) != len(header):
            raise ConsultationError(
                f"{path}, row {row}: {len(line)} cells instead of {len(header)}; fetch the file again."
            )
    if len(lines) < 2:
        raise ConsultationError(f"{path}: no rows; fetch the published file.")
    return SourceTable(path, header, tuple(tuple(line) for line in lines[1:]))


def read_text(path: Path) -> str:
    """Read a published file as UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise ConsultationError(f"{path}: not found; it is one of the published files needed.") from error
    except UnicodeDecodeError as error:
        raise ConsultationError(f"{path}: not UTF-8 at byte {error.start}; fetch it again.") from error
    except OSError as error:
        raise ConsultationError(f"{path}: cannot be read ({error.strerror}).") from error


def number(where: str, name: str, text: str) -> int:
    """Read a cell as a whole number."""
    if not re.fullmatch(r"-?\d+", text):
        raise ConsultationError(f"{where}: `{name}` is {text!r} instead of a whole number; mend the row.")
    return int(text)


def unique_numbers(table: SourceTable, name: str) -> list[int]:
    """Read a column of whole numbers, none of which stands twice."""
    seen: dict[int, str] = {}
    for where, row in table:
        key = number(where, name, row[name])
        if key in seen:
            raise ConsultationError(f"{where}: `{name}` {key} stands in {seen[key]} too; remove one row.")
        seen[key] = where
    return list(seen)


def known_ids(where: str, row: dict[str, str], name: str, known: Collection[int]) -> tuple[int, ...]:
    """Read ids separated by spaces, at least one, all of them known statements."""
    ids = tuple(number(where, name, each) for each in row[name].split())
    if not ids:
        raise ConsultationError(f"{where}: `{name}` is empty; name the statement.")
    if unknown := [str(each) for each in ids if each not in known]:
        raise ConsultationError(
            f"{where}: `{name}` names {', '.join(unknown)}, which comments.csv does not have among the "
            "statements that are in; fetch that file again, or correct the id."
        )
    return ids


def share(where: str, name: str, text: str) -> float:
    """Read a cell as a number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ConsultationError(f"{where}: `{name}` is {text!r} instead of a number from 0 to 1; mend the row.")
    return value
