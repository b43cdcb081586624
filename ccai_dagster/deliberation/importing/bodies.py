"""Reading `comments.csv`, whose last column holds what people typed: quoted, as CSV asks, or as it is.

Between September 2024 and about the end of that year Polis exported bodies without quotes (`csv` of
`server/src/routes/export.ts`), so that a comma or a line break in a body looks like a new column or row. There a
row is known by its first columns, which are numbers, and the rest of it is the body.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from ccai_dagster.deliberation.importing.csv_columns import read_header
from ccai_dagster.deliberation.importing.files import SourceFile
from ccai_dagster.errors import ConsultationError

BODY = "comment-body"
NUMBERS = {"timestamp", "comment-id", "author-id", "agrees", "disagrees", "moderated"}
NUMBER = re.compile(r"\s*-?\d*(\.0*)?\s*")


@dataclass(frozen=True)
class Bodies:
    """The rows of `comments.csv`, every cell text or null, and how the bodies were written.

    Attributes:
        table: One row a statement.
        quoted: Whether bodies stand in quotes where they must.
        rejoined: Bodies with a comma, quote or line break, where they do not.
    """

    table: pl.DataFrame
    quoted: bool
    rejoined: int


def read_bodies(file: SourceFile, aliases: Mapping[str, str]) -> Bodies:
    """Read `comments.csv` whether or not its bodies are quoted.

    Args:
        aliases: Other spellings of column names.

    Raises:
        ConsultationError: Empty, not UTF-8, a row that fits neither way of writing, or both ways in one file.
    """
    with file.open() as handle:
        try:
            text = handle.read().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = _line_of(error)
            raise ConsultationError(
                f"{file.place}, line {line}: not UTF-8. Save or export the file as UTF-8."
            ) from error
    names = read_header(file, aliases)
    rows, trouble = _quoted_rows(text, len(names))
    if trouble is None:
        return Bodies(_table(names, rows), True, 0)
    if names[-1] != BODY:
        raise ConsultationError(f"{file.place}, {trouble}. Correct the row or export again.")
    rows = _unquoted_rows(file, text, names, trouble)
    special = [row[-1] for row in rows if re.search(r'[,"\n\r]', row[-1])]
    quoted = sum(map(_is_quoted, special))
    if quoted and 2 * quoted >= len(special):
        raise ConsultationError(
            f"{file.place}, {trouble}. Elsewhere in the file bodies are quoted: put this one in double quotes, "
            "with those inside it doubled."
        )
    return Bodies(_table(names, rows), False, len(special))


def _line_of(error: UnicodeDecodeError) -> int:
    """Return the line, from 1, that a decoding error is in."""
    return error.object[: error.start].count(b"\n") + 1


def _quoted_rows(text: str, width: int) -> tuple[list[Sequence[str]], str | None]:
    """Read as CSV; what does not fit is told with its line instead of being raised."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[Sequence[str]] = []
    began = 1
    try:
        next(reader)
        for row in reader:
            began, line = reader.line_num, began + 1
            if row and len(row) != width:
                return rows, f"line {line}: {len(row)} columns where the header has {width}"
            if row:
                rows.append(row)
    except csv.Error as error:
        return rows, f"line {began + 1}: not readable as CSV ({error})"
    return rows, None


def _unquoted_rows(file: SourceFile, text: str, names: Sequence[str], trouble: str) -> list[Sequence[str]]:
    rows: list[list[str]] = []
    # The header has no body, so it is one line.
    lines = text.replace("\r\n", "\n").rstrip("\n").split("\n")[1:]
    for line in lines:
        cells = line.split(",", len(names) - 1)
        if len(cells) == len(names) and _begins(cells, names):
            rows.append(cells)
        elif rows:
            rows[-1][-1] += "\n" + line
        else:
            raise ConsultationError(f"{file.place}, {trouble}. Correct the row or export again.")
    return [[*row[:-1], row[-1].strip()] for row in rows]


def _begins(cells: Sequence[str], names: Sequence[str]) -> bool:
    """Whether a line is the beginning of a row: numbers where numbers must be, and an id among them."""
    by_name = dict(zip(names, cells, strict=True))
    return bool(by_name.get("comment-id", "").strip()) and all(
        NUMBER.fullmatch(cell) for name, cell in by_name.items() if name in NUMBERS
    )


def _is_quoted(body: str) -> bool:
    return len(body) > 1 and body[0] == body[-1] == '"' and '"' not in body[1:-1].replace('""', "")


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> pl.DataFrame:
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    return pl.DataFrame(
        {name: [cell or None for cell in cells] for name, cells in zip(names, columns, strict=True)},
        schema=dict.fromkeys(names, pl.String),
    )
