"""The rows of `comments.csv`, whether or not what people typed is quoted.

Bodies are the last column: quoted, as CSV asks, or as they are. Between September 2024 and about the end of that year
Polis exported them without quotes (`csv` of `server/src/routes/export.ts`), so that a comma or a line break in a body
looks like a new column or row. There a row is known by its first columns, which are numbers, and the rest of it is the
body.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.deliberation.importing.columns import (
    ROW,
    Header,
    SourceFile,
    decoded,
    read_header,
    refuse_twice,
    refuse_whole_line,
    without_empty_rows,
    without_headers,
)
from ccai_dagster.deliberation.importing.noted import Noted

BODY = "comment-body"
NUMBERS = {"timestamp", "comment-id", "author-id", "agrees", "disagrees", "moderated"}
NUMBER = re.compile(r"\s*-?\d*(\.0*)?\s*")


@dataclass(frozen=True)
class Bodies:
    """The rows of `comments.csv`, every cell text or null, and how the bodies were written.

    Attributes:
        table: One row a statement, and the column `ROW`.
        quoted: Whether bodies stand in quotes where they must.
        rejoined: Bodies with a comma, quote or line break, where they do not.
    """

    table: pl.DataFrame
    quoted: bool
    rejoined: int


def read_bodies(file: SourceFile, aliases: Mapping[str, str], noted: Noted) -> Bodies:
    """Read `comments.csv` whether or not its bodies are quoted.

    Raises:
        ConsultationError: Empty, not UTF-8, a row that fits neither way of writing, or both ways in one file.
    """
    header = read_header(file, aliases)
    header.note(file, noted)
    refuse_twice(file.place, header.named)
    text = decoded(file).split("\n", header.above)[-1]
    rows, trouble = _quoted_rows(file, text, header)
    if trouble is None:
        headings = [heading for heading, name in zip(header.headings, header.names, strict=True) if name]
        table = without_headers(file, noted, _table(header, rows), headings)
        return Bodies(without_empty_rows(file, noted, table), True, 0)
    if header.names[-1] != BODY:
        raise ConsultationError(f"{file.place}, {trouble}. Correct the row or export again.")
    rows = _unquoted_rows(file, text, header, trouble)
    special = [row[-1] for row in rows if re.search(rf'[{header.separator}"\n\r]', row[-1])]
    quoted = sum(map(_is_quoted, special))
    if quoted and 2 * quoted >= len(special):
        raise ConsultationError(
            f"{file.place}, {trouble}. Elsewhere in the file bodies are quoted: put this one in double quotes, "
            "with those inside it doubled."
        )
    return Bodies(_table(header, rows), False, len(special))


def _quoted_rows(file: SourceFile, text: str, header: Header) -> tuple[list[Sequence[str]], str | None]:
    """Read as CSV; what does not fit is returned, with its line, instead of being raised."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=header.separator, strict=True)
    width = len(header.names)
    rows: list[Sequence[str]] = []
    began = 1
    try:
        next(reader)
        for row in reader:
            began, line = reader.line_num, began + 1
            empty = not any(cell.strip() for cell in row)
            if len(row) == 1 and _begins_row(row[0].split(header.separator, width - 1), header.names):
                refuse_whole_line(file, row[0])
            if not empty and len(row) != width:
                return rows, f"line {line + header.above}: {len(row)} columns where the header has {width}"
            rows.append([""] * width if empty else row)
    except csv.Error as error:
        return rows, f"line {began + 1 + header.above}: not readable as CSV ({error})"
    return rows, None


def _unquoted_rows(file: SourceFile, text: str, header: Header, trouble: str) -> list[Sequence[str]]:
    rows: list[list[str]] = []
    # The header has no body, so it is one line.
    lines = text.replace("\r\n", "\n").rstrip("\n").split("\n")[1:]
    for line in lines:
        cells = line.split(header.separator, len(header.names) - 1)
        if _begins_row(cells, header.names):
            rows.append(cells)
        elif rows:
            rows[-1][-1] += "\n" + line
        else:
            raise ConsultationError(f"{file.place}, {trouble}. Correct the row or export again.")
    return [[*row[:-1], row[-1].strip()] for row in rows]


def _begins_row(cells: Sequence[str], names: Sequence[str | None]) -> bool:
    """Whether a line is the beginning of a row: numbers where numbers must be, and an id among them."""
    if len(cells) != len(names):
        return False
    by_name = dict(zip(names, cells, strict=True))
    return bool(by_name.get("comment-id", "").strip()) and all(
        NUMBER.fullmatch(cell) for name, cell in by_name.items() if name in NUMBERS
    )


def _is_quoted(body: str) -> bool:
    return len(body) > 1 and body[0] == body[-1] == '"' and '"' not in body[1:-1].replace('""', "")


def _table(header: Header, rows: Sequence[Sequence[str]]) -> pl.DataFrame:
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(header.names)
    cells = {
        name: [cell or None for cell in column]
        for name, column in zip(header.names, columns, strict=True)
        if name is not None
    }
    return pl.DataFrame(cells, schema=dict.fromkeys(header.named, pl.String)).with_row_index(ROW, offset=1)
