"""The files of an export and their columns, read so that an error names the file, the row and what to do.

Every cell is text at first; what a column means is known to `polis` and `long_table`.

*Times* are milliseconds or seconds since 1970, or dates written out. The size of the numbers decides between the
units, never the era: 10^11 seconds are in the year 5138 and 10^11 milliseconds in March 1973, before anybody voted
online. The column `datetime` of Polis's exports is not read; it is in the time zone of whichever machine wrote it.

*Bodies*, what people typed, are the last column of `comments.csv`: quoted, as CSV asks, or as they are. Between
September 2024 and about the end of that year Polis exported them without quotes (`csv` of
`server/src/routes/export.ts`), so that a comma or a line break in a body looks like a new column or row. There a row is
known by its first columns, which are numbers, and the rest of it is the body.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Literal

import polars as pl

from ccai_dagster.contracts import TIME
from ccai_dagster.core.digest import file_digest, value_digest
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.text import printable

LEAST_MILLISECONDS = 10**11
MOST_MILLISECONDS = 10**14
BODY = "comment-body"
NUMBERS = {"timestamp", "comment-id", "author-id", "agrees", "disagrees", "moderated"}
NUMBER = re.compile(r"\s*-?\d*(\.0*)?\s*")

Unit = Literal["milliseconds", "seconds", "dates"]


@dataclass(frozen=True)
class SourceFile:
    """One file of an export.

    Attributes:
        place: What messages call it.
        content: Where it lies, or its bytes if it lies in a zip.
    """

    place: str
    content: Path | bytes

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.place.rsplit("/", 1)[-1]

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    def open(self) -> BinaryIO:
        """Open for reading."""
        return io.BytesIO(self.content) if isinstance(self.content, bytes) else self.content.open("rb")

    def digest(self) -> str:
        """The SHA-256 of its bytes."""
        if isinstance(self.content, bytes):
            return sha256(self.content).hexdigest()
        return file_digest(self.content)


@dataclass(frozen=True)
class VoteFiles:
    """The files of an export, by role, and the names of those beside them that are never opened."""

    place: Path
    files: Mapping[str, SourceFile]
    others: tuple[str, ...]

    def digest(self) -> str:
        """The digest of roles and contents; the same export has the same one in a folder and in a zip."""
        return value_digest([[role, each.digest()] for role, each in sorted(self.files.items())])

    def written_at(self) -> float:
        """When the youngest file was written, in seconds since 1970."""
        paths = [each.content if isinstance(each.content, Path) else self.place for each in self.files.values()]
        return max(path.stat().st_mtime for path in paths)


def read_text_csv(
    file: SourceFile, aliases: Mapping[str, str] | None = None, wanted: Callable[[str], bool] = lambda name: True
) -> pl.DataFrame:
    """Read a CSV with a header, every cell as text, an empty cell as null.

    Args:
        file: Without bodies that are not quoted, which `read_bodies` reads.
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
        raise ConsultationError(f"{file.place}: not readable as CSV in UTF-8 ({first}). Export it again.") from error
    table.columns = [names[place] for place in places]
    return table


def _require_width(file: SourceFile, width: int) -> None:
    """Check that no row has more columns than the header: where only some are read, polars does not look.

    Lines with a quote are left to polars, since a comma in them may belong to a cell.
    """
    lines = pl.read_csv(
        file.content, has_header=False, separator="\x01", quote_char=None, infer_schema=False, new_columns=["line"]
    )["line"][1:]
    wide = (lines.str.count_matches(",", literal=True) >= width) & ~lines.str.contains('"', literal=True)
    if row := first_row(wide):
        raise ConsultationError(
            f"{file.place}, data row {row}: more columns than the {width} of the header. Correct the row or export "
            "again."
        )


def empty_columns(path: Path, places: Collection[int]) -> None:
    """Empty the columns at these places, from 0; the header stays, and the file keeps its other cells.

    Raises:
        ConsultationError: Not readable as CSV in UTF-8.
    """
    emptied = path.with_name(f".{path.name}")
    try:
        with (
            path.open(encoding="utf-8-sig", newline="") as source,
            emptied.open("w", encoding="utf-8", newline="") as target,
        ):
            rows, writer = csv.reader(source), csv.writer(target, lineterminator="\n")
            writer.writerows(itertools.islice(rows, 1))
            for row in rows:
                writer.writerow("" if place in places else cell for place, cell in enumerate(row))
        emptied.replace(path)
    except (csv.Error, UnicodeDecodeError) as error:
        raise ConsultationError(f"{path.name}: not readable as CSV in UTF-8 ({error}). Export it again.") from error
    finally:
        emptied.unlink(missing_ok=True)


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


def plain_name(heading: str, aliases: Mapping[str, str]) -> str:
    """Return a heading in the spelling of Polis's CSV files: `Comment ID` becomes `comment-id`.

    Control characters are left out, since headings are shown on terminals.
    """
    name = "".join(each for each in re.sub(r"[\s_]+", "-", heading.strip().lower()) if each.isprintable())
    return aliases.get(name, name)


def is_id(name: str) -> bool:
    """Whether a heading is the id of a statement."""
    return re.fullmatch(r"[0-9]{1,18}", name) is not None


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


def require_unique(file: SourceFile, table: pl.DataFrame, column: str) -> None:
    """Check that no id stands twice.

    Raises:
        ConsultationError: Naming the id and its rows.
    """
    twice = table.with_row_index("row", offset=1).filter(pl.col(column).is_duplicated())
    if twice.height:
        value = twice[column][0]
        rows = twice.filter(pl.col(column) == value)["row"].to_list()
        raise ConsultationError(f"{file.place}: {column} {value} stands in data rows {rows[:6]}. Keep one of them.")


def integers(file: SourceFile, table: pl.DataFrame, column: str, nullable: bool = False) -> pl.Series:
    """Convert a column of text to whole numbers (`3` or `3.0`).

    Raises:
        ConsultationError: A cell is missing (unless nullable) or no whole number; names the row.
    """
    number, text = whole_numbers(table[column]), table[column].str.strip_chars().replace("", None)
    bad = number.is_null() if not nullable else number.is_null() & text.is_not_null()
    if row := first_row(bad):
        raise ConsultationError(
            f"{file.place}, data row {row}: column {column} should be a whole number, found "
            f"{_shown(text[row - 1])}. Correct the row or export again."
        )
    return number


def optional_integers(file: SourceFile, table: pl.DataFrame, column: str) -> pl.Series:
    """As `integers`, but a missing column is a column of missing cells."""
    if column not in table.columns:
        return pl.repeat(None, table.height, dtype=pl.Int64, eager=True)
    return integers(file, table, column, nullable=True)


def whole_numbers(text: pl.Series) -> pl.Series:
    """Convert text to whole numbers (`3` or `3.0`); null where it is none."""
    number = text.cast(pl.Int64, strict=False)
    if number.null_count() > text.null_count():
        # Spaces around a number, or `3.0`: slower, so only where the plain conversion failed somewhere.
        read = text.str.strip_chars().cast(pl.Float64, strict=False)
        number = pl.select(pl.when(read == read.round()).then(read)).to_series().cast(pl.Int64, strict=False)
    return number


def first_row(wrong: pl.Series) -> int | None:
    """Return the data row, from 1, of the first cell that is wrong; None if none is."""
    return int(wrong.arg_max() or 0) + 1 if wrong.any() else None


def _shown(cell: str | None) -> str:
    """A cell in a message: short, and without line breaks or other control characters."""
    return "nothing" if cell is None else repr(cell[:40])


def milliseconds(file: SourceFile, table: pl.DataFrame, column: str = "timestamp") -> tuple[pl.Series, Unit | None]:
    """Return a column of times as milliseconds since 1970 (Int64, null where missing), and their unit.

    Args:
        table: May lack the column.
        column: Numbers as text or integers, dates as text (ISO 8601), or times of a Parquet file.

    Raises:
        ConsultationError: No number or date, units mixed, or a number that is neither.
    """
    if column not in table.columns or table[column].null_count() == table.height:
        return pl.repeat(None, table.height, dtype=pl.Int64, eager=True), None
    times = table[column]
    if times.dtype.is_temporal():
        return times.cast(pl.Datetime("ms")).cast(pl.Int64), "dates"
    if times.dtype == pl.String and times.str.contains(r"^\s*\d{4}-\d\d-\d\d").any():
        return _dates(file, times), "dates"
    number = integers(file, table, column, nullable=True) if times.dtype == pl.String else times.cast(pl.Int64)
    long = number >= LEAST_MILLISECONDS
    if long.any() and not long.all():
        rare = ~long if float(long.mean() or 0.0) > 0.5 else long  # type: ignore[arg-type]
        place = int(rare.fill_null(False).arg_max() or 0)
        raise ConsultationError(
            f"{file.place}, data row {place + 1}: {column} {number[place]} has another unit than most rows; either all "
            "are seconds or all are milliseconds since 1970. Correct it or leave it empty."
        )
    beyond = ((number >= MOST_MILLISECONDS) | (number < 0)).fill_null(False)
    if row := first_row(beyond):
        raise ConsultationError(
            f"{file.place}, data row {row}: {column} {number[row - 1]} is neither seconds nor milliseconds since "
            "1970. Correct it or leave it empty."
        )
    return (number, "milliseconds") if long.any() else (number * 1000, "seconds")


def as_time(number: pl.Series) -> pl.Series:
    """Return milliseconds since 1970 as times in UTC."""
    return pl.from_epoch(number, "ms").dt.replace_time_zone("UTC").cast(TIME)


def _dates(file: SourceFile, times: pl.Series) -> pl.Series:
    """Read dates with or without a zone; one without is taken as UTC."""
    text = (
        times.str.strip_chars()
        .str.replace(r"^(\d{4}-\d\d-\d\d) ", "${1}T")
        .str.replace(r"^(\d{4}-\d\d-\d\d)$", "${1}T00:00:00")
        .str.replace(r"T(\d\d:\d\d)($|Z|[+-])", "T${1}:00$2")
        .str.replace(r"Z$", "+00:00")
    )
    zoned = text.str.contains(r"T.*[+-]\d\d:?\d\d$")
    read = text.zip_with(zoned, text + "+00:00").str.to_datetime(
        "%Y-%m-%dT%H:%M:%S%.f%z", time_unit="ms", time_zone="UTC", strict=False
    )
    bad = read.is_null() & text.is_not_null()
    if row := first_row(bad):
        raise ConsultationError(
            f"{file.place}, data row {row}: {times[row - 1]!r:.60} is no time. Write it as 2024-05-01T12:30:00Z, or "
            "as seconds or milliseconds since 1970."
        )
    return read.cast(pl.Int64)


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

    Raises:
        ConsultationError: Empty, not UTF-8, a row that fits neither way of writing, or both ways in one file.
    """
    with file.open() as handle:
        try:
            text = handle.read().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = error.object[: error.start].count(b"\n") + 1
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


def _quoted_rows(text: str, width: int) -> tuple[list[Sequence[str]], str | None]:
    """Read as CSV; what does not fit is returned, with its line, instead of being raised."""
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
