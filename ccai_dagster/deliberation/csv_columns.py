"""Reading CSV columns so that an error names the file, the row and what to do."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from ccai_dagster.errors import ConsultationError


def read_text_csv(path: Path) -> pl.DataFrame:
    """Read a CSV with a header, every cell as text, an empty cell as null.

    Raises:
        ConsultationError: Missing, empty, not UTF-8, or rows that do not fit the header.
    """
    if not path.is_file():
        raise ConsultationError(f"{path}: not found. A Polis export has this file; copy it there.")
    try:
        return pl.read_csv(path, infer_schema=False)
    except pl.exceptions.NoDataError as error:
        raise ConsultationError(f"{path}: empty. Export it again; not even a header is there.") from error
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        first = str(error).strip().splitlines()[0]
        raise ConsultationError(
            f"{path}: not readable as CSV in UTF-8 ({first}). Export it again."
        ) from error


def require_columns(path: Path, table: pl.DataFrame, required: set[str], known: set[str]) -> None:
    """Check that all required columns are there and no unknown one.

    Raises:
        ConsultationError: Naming the columns.
    """
    if missing := sorted(required - set(table.columns)):
        raise ConsultationError(
            f"{path}: missing column(s) {', '.join(missing)}; found {', '.join(table.columns[:12])}. "
            "Is this the classic Polis export?"
        )
    if unknown := sorted(set(table.columns) - known):
        raise ConsultationError(
            f"{path}: unknown column(s) {', '.join(unknown[:5])}. Remove them, or export in the classic format; "
            f"known are {', '.join(sorted(known))}."
        )


def integers(path: Path, table: pl.DataFrame, column: str, nullable: bool = False) -> pl.Series:
    """Convert a column of text to whole numbers (`3` or `3.0`).

    Raises:
        ConsultationError: A cell is missing (unless nullable) or no whole number; names the row.
    """
    text = table[column].str.strip_chars()
    number = text.cast(pl.Float64, strict=False)
    bad = (text.is_not_null() & (number.is_null() | (number != number.round()))).fill_null(True)
    if not nullable:
        bad = bad | text.is_null()
    if bad.any():
        row = int(bad.arg_max() or 0)
        raise ConsultationError(
            f"{path}, data row {row + 1}: column {column} should be a whole number, found {text[row]!r}. "
            "Correct the row or export again."
        )
    return number.cast(pl.Int64)


def require_unique(path: Path, table: pl.DataFrame, column: str) -> None:
    """Check that no id stands twice.

    Raises:
        ConsultationError: Naming the id and its rows.
    """
    twice = table.with_row_index("row", offset=1).filter(pl.col(column).is_duplicated())
    if twice.height:
        value = twice[column][0]
        rows = twice.filter(pl.col(column) == value)["row"].to_list()
        raise ConsultationError(f"{path}: {column} {value} stands in data rows {rows}. Keep one of them.")
