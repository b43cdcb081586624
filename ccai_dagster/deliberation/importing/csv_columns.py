"""Reading CSV columns so that an error names the file, the row and what to do.

Every cell is text at first. What a column means is told elsewhere.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping

import polars as pl

from ccai_dagster.deliberation.importing.files import SourceFile
from ccai_dagster.errors import ConsultationError


def plain_name(heading: str, aliases: Mapping[str, str]) -> str:
    """Return a heading in the spelling of Polis's CSV files: `Comment ID` becomes `comment-id`.

    Control characters are left out, since headings are shown on terminals.
    """
    name = re.sub(r"[\s_]+", "-", heading.strip().lower())
    name = printable(name)
    return aliases.get(name, name)


def printable(text: str) -> str:
    """Leave out control characters, which must not reach a terminal."""
    return "".join(character for character in text if character.isprintable())


def is_id(name: str) -> bool:
    """Whether a heading is the id of a statement."""
    return re.fullmatch(r"[0-9]{1,18}", name) is not None


def unique_names(place: str, headings: Iterable[str], aliases: Mapping[str, str]) -> list[str]:
    """Return the plain names of all headings.

    Raises:
        ConsultationError: A heading stands twice.
    """
    names = [plain_name(each, aliases) for each in headings]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ConsultationError(f"{place}: column {twice} stands twice. Keep one of them.")
    return names


def read_text_csv(
    file: SourceFile,
    aliases: Mapping[str, str] | None = None,
    wanted: Callable[[str], bool] = lambda name: True,
) -> pl.DataFrame:
    """Read a CSV with a header, every cell as text, an empty cell as null.

    Args:
        file: Without bodies that are not quoted; those are read by `bodies`.
        aliases: Other spellings of column names.
        wanted: Which columns are read; the others are not even looked at.

    Raises:
        ConsultationError: Empty, not UTF-8, a column twice, or rows that do not fit the header.
    """
    names = read_header(file, aliases or {})
    places = [place for place, name in enumerate(names) if wanted(name)]
    try:
        _require_width(file, len(names))
        table = pl.read_csv(file.content, infer_schema=False, columns=places)
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        first = printable(str(error).strip().splitlines()[0])
        raise ConsultationError(
            f"{file.place}: not readable as CSV in UTF-8 ({first}). Export it again."
        ) from error
    table.columns = [names[place] for place in places]
    return table


def _require_width(file: SourceFile, width: int) -> None:
    """Check that no row has more columns than the header: where only some are read, polars does not look.

    Lines with a quote are left to polars, since a comma in them may belong to a cell.
    """
    lines = pl.read_csv(
        file.content,
        has_header=False,
        separator="\x01",
        quote_char=None,
        infer_schema=False,
        new_columns=["line"],
    )["line"]
    wide = (lines.str.count_matches(",", literal=True) >= width) & ~lines.str.contains('"', literal=True)
    if wide.any():
        row = int(wide.arg_max() or 0)
        raise ConsultationError(
            f"{file.place}, data row {row}: more columns than the {width} of the header. Correct the row or export "
            "again."
        )


def read_header(file: SourceFile, aliases: Mapping[str, str]) -> list[str]:
    """Return the plain names of a CSV's columns.

    Raises:
        ConsultationError: The file is empty, its first line is no UTF-8, or a column stands twice.
    """
    with file.open() as handle, io.TextIOWrapper(handle, "utf-8-sig", newline="") as text:
        try:
            headings = next(csv.reader(text), [])
        except (csv.Error, UnicodeDecodeError) as error:
            raise ConsultationError(f"{file.place}: not readable as CSV in UTF-8 ({error}).") from error
    if not headings:
        raise ConsultationError(f"{file.place}: empty. Export it again; not even a header is there.")
    return unique_names(file.place, headings, aliases)


def require_columns(file: SourceFile, table: pl.DataFrame, required: set[str]) -> None:
    """Check that all required columns are there.

    Raises:
        ConsultationError: Naming the columns.
    """
    if missing := sorted(required - set(table.columns)):
        raise ConsultationError(
            f"{file.place}: missing column(s) {', '.join(missing)}; found {', '.join(table.columns[:12])}. "
            "Columns are separated by commas and named in the first line."
        )


def whole_numbers(text: pl.Series) -> pl.Series:
    """Convert text to whole numbers (`3` or `3.0`); null where it is none."""
    number = text.cast(pl.Int64, strict=False)
    if number.null_count() > text.null_count():
        # Spaces around a number, or `3.0`: slower, so only where the plain conversion failed somewhere.
        read = text.str.strip_chars().cast(pl.Float64, strict=False)
        number = pl.select(pl.when(read == read.round()).then(read)).to_series().cast(pl.Int64, strict=False)
    return number


def integers(file: SourceFile, table: pl.DataFrame, column: str, nullable: bool = False) -> pl.Series:
    """Convert a column of text to whole numbers (`3` or `3.0`).

    Raises:
        ConsultationError: A cell is missing (unless nullable) or no whole number; names the row.
    """
    number, text = whole_numbers(table[column]), table[column].str.strip_chars().replace("", None)
    bad = number.is_null() if not nullable else number.is_null() & text.is_not_null()
    if bad.any():
        row = int(bad.arg_max() or 0)
        raise ConsultationError(
            f"{file.place}, data row {row + 1}: column {column} should be a whole number, found "
            f"{_shown(text[row])}. Correct the row or export again."
        )
    return number


def optional_integers(file: SourceFile, table: pl.DataFrame, column: str) -> pl.Series:
    """As `integers`, but a missing column is a column of missing cells."""
    if column not in table.columns:
        return pl.repeat(None, table.height, dtype=pl.Int64, eager=True)
    return integers(file, table, column, nullable=True)


def require_unique(file: SourceFile, table: pl.DataFrame, column: str) -> None:
    """Check that no id stands twice.

    Raises:
        ConsultationError: Naming the id and its rows.
    """
    twice = table.with_row_index("row", offset=1).filter(pl.col(column).is_duplicated())
    if twice.height:
        value = twice[column][0]
        rows = twice.filter(pl.col(column) == value)["row"].to_list()
        raise ConsultationError(
            f"{file.place}: {column} {value} stands in data rows {rows[:6]}. Keep one of them."
        )


def _shown(cell: str | None) -> str:
    """A cell in a message: short, and without line breaks or other control characters."""
    return "nothing" if cell is None else repr(cell[:40])
