"""The files of an export as tables of text: separator, encoding, headings and rows, as spreadsheets write them.

Every cell is text at first; what a cell means is known to `cells`, what a column means to `polis` and `long_table`.

*Separators* are commas, semicolons, tabs or bars: the one by which most rows have as many cells as the header. *Rows
without a cell* and *columns without a name* are what spreadsheets leave behind; they are passed over and counted.
*Encoding* is UTF-8, or UTF-16 with its mark, as spreadsheets write "Unicode text". Others cannot be told from each
other, and a guess would garble what people wrote.
"""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

import polars as pl

from ccai_dagster.core.digest import file_digest, value_digest
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.text import printable
from ccai_dagster.deliberation.importing.file_kinds import refuse_json, refuse_other_kind
from ccai_dagster.deliberation.importing.noted import Noted, shortened

ROW = "data row"
"""Column of every table that is read: the place of a row below the header, from 1. No heading becomes this name."""
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
HEAD = 2**20
"""Bytes in which the header and the first rows are looked for."""
ROWS_LOOKED_AT = 50
DEEPEST = 3
"""Keys below each other under which a list of votes is looked for in JSON."""
MOST_TITLES = 5
"""Lines above a header that may be a title, a date of export and the like."""
JSON_LINES = ("jsonl", "ndjson")
"""Ends of the names of files with a JSON object a line."""
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


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
    def ending(self) -> str:
        """What the end of its name tells it to be, as `csv`."""
        ending = self.name.rpartition(".")[2].lower()
        return "json" if ending in JSON_LINES else ending

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    def open(self) -> BinaryIO:
        """Open for reading."""
        return io.BytesIO(self.content) if isinstance(self.content, bytes) else self.content.open("rb")

    def is_empty(self) -> bool:
        """Whether it has nothing in it but white space."""
        with self.open() as handle:
            return not handle.read(HEAD).strip(b" \t\r\n\0" + codecs.BOM_UTF8 + codecs.BOM_UTF16)

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


@dataclass(frozen=True)
class Header:
    """How a CSV is written, and its headings.

    Attributes:
        headings: As they stand there; one without a name is empty.
        names: Their plain names; None where there is none.
        separator: Between cells.
        above: Lines above the header: blank ones, or `sep=;`, which tells a spreadsheet the separator.
        utf16: Whether it is UTF-16 rather than UTF-8.
        returns: Whether lines end with carriage returns alone.
    """

    headings: Sequence[str]
    names: Sequence[str | None]
    separator: str
    above: int
    utf16: bool
    returns: bool = False

    @property
    def named(self) -> list[str]:
        """The plain names of the columns that have one."""
        return [name for name in self.names if name is not None]

    def note(self, file: SourceFile, noted: Noted) -> None:
        """Note what is unusual about it."""
        if self.separator != ",":
            how = SEPARATORS[self.separator]
            noted.note("found", "separators", "cells are not separated by commas", file.name, 1, how)
        if self.utf16:
            noted.note("found", "encoding", "not UTF-8", file.name, 1, "UTF-16")
        if nameless := len(self.names) - len(self.named):
            noted.note("found", "columns without a name", "not read", file.name, nameless)


def read_header(file: SourceFile, aliases: Mapping[str, str] | None = None) -> Header:
    """Look at the beginning of a CSV.

    Raises:
        ConsultationError: The file is empty or no table at all, or its header is not UTF-8.
    """
    with file.open() as handle:
        begin = handle.read(HEAD)
    utf16 = begin.startswith(UTF16)
    text = begin.decode("utf-16" if utf16 else "utf-8-sig", "replace")
    refuse_other_kind(file.place, begin, text)
    refuse_json(file.place, text)
    returns = "\r" in text and "\n" not in text
    lines = text.split("\r" if returns else "\n")
    hint = re.fullmatch(r'"?sep=([,;\t|])"?\s*', lines[0], re.IGNORECASE)
    above = 1 if hint else _above(lines)
    text = "\n".join(lines[above:])
    separator = hint[1] if hint else _separator(text)
    headings = next(_rows(text, separator), [])
    if not any(each.strip() for each in headings):
        raise ConsultationError(f"{file.place}: empty. Export it again; not even a header is there.")
    if "\ufffd" in "".join(headings) or text.startswith("\0") or text[1:2] == "\0":  # UTF-16 without its mark
        raise ConsultationError(f"{file.place}, line {above + 1}: not UTF-8. Save or export the file as UTF-8.")
    if len(headings) == 1:
        refuse_whole_line(file, headings[0])
    names = [plain_name(each, aliases or {}) or None for each in headings]
    return Header([each.strip() for each in headings], names, separator, above, utf16, returns)


def refuse_whole_line(file: SourceFile, cell: str) -> None:
    """Check that the only cell of a line is not a line itself.

    Raises:
        ConsultationError: It has what separates cells.
    """
    if any(separator in cell for separator in SEPARATORS):
        raise ConsultationError(
            f"{file.place}: every line is one cell, in quotes as a whole: {printable(cell, 60)}. Save the table again "
            "without quotes around whole lines."
        )


def _above(lines: Sequence[str]) -> int:
    """How many lines stand above the header: blank ones, and a title with one cell where a table follows."""
    first = next((place for place, line in enumerate(lines) if line.strip()), 0)
    for place in range(first, min(first + MOST_TITLES + 1, len(lines))):
        text = "\n".join(lines[place : place + ROWS_LOOKED_AT])
        separator = _separator(text)
        cells = sum(bool(cell.strip()) for cell in next(_rows(text, separator), []))
        # What is no header yet has one cell; behind it the header is known by rows that are as long.
        if cells > 1 and (place == first or _fit(text, separator)[0] > 0.5):
            return place
    return first


def _separator(text: str) -> str:
    """The separator by which most of the first rows have as many cells as the header, which has two or more."""
    return max(SEPARATORS, key=lambda separator: _fit(text, separator))


def _fit(text: str, separator: str) -> tuple[float, int]:
    """The share of the first rows that have as many cells as the header, and how many these are."""
    rows = [row for row in itertools.islice(_rows(text, separator), ROWS_LOOKED_AT) if row]
    width = len(rows[0]) if rows else 0
    return (sum(len(row) == width for row in rows) / len(rows), width) if width > 1 else (0.0, width)


def _rows(text: str, separator: str) -> Iterator[list[str]]:
    """Read rows as far as they can be read."""
    try:
        yield from csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    except csv.Error:
        return


def read_text_csv(
    file: SourceFile,
    noted: Noted,
    aliases: Mapping[str, str] | None = None,
    wanted: Callable[[str], bool] = lambda name: True,
) -> pl.DataFrame:
    """Read a CSV with a header: every cell as text, an empty cell as null, and the column `ROW`.

    Args:
        file: Without bodies that are not quoted, which `bodies` reads.
        aliases: Other spellings of column names.
        wanted: Which columns are read; the others are not even looked at.

    Raises:
        ConsultationError: Empty, not UTF-8, a column that is wanted twice, or rows that do not fit the header.
    """
    header = read_header(file, aliases)
    header.note(file, noted)
    places = [place for place, name in enumerate(header.names) if name is not None and wanted(name)]
    names = [str(header.names[place]) for place in places]
    refuse_twice(file.place, names)
    content = decoded(file).encode() if header.utf16 or header.returns else file.content
    try:
        padded = _is_padded(file, content, header)
        table = pl.read_csv(
            content,
            infer_schema=False,
            columns=places,
            separator=header.separator,
            skip_lines=header.above,
            truncate_ragged_lines=padded,
        )
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        first = printable(str(error).strip().splitlines()[0])
        raise ConsultationError(
            f"{file.place}: not readable as CSV in UTF-8 ({first}). Save it as CSV in UTF-8, or export it again."
        ) from error
    table.columns = names
    table = without_headers(file, noted, table.with_row_index(ROW, offset=1), [header.headings[at] for at in places])
    return without_empty_rows(file, noted, table)


def without_headers(file: SourceFile, noted: Noted, table: pl.DataFrame, headings: Sequence[str]) -> pl.DataFrame:
    """Leave out rows that are the header again, as files put one behind the other have them."""
    names = [name for name in table.columns if name != ROW]
    if not names or not (table[names[0]] == headings[0]).any():
        return table
    again = pl.all_horizontal(pl.col(name) == heading for name, heading in zip(names, headings, strict=True))
    kept = table.filter(~again.fill_null(False))
    if kept.height < table.height:
        noted.note("found", "rows that repeat the header", "passed over", file.name, table.height - kept.height)
    return kept


def _is_padded(file: SourceFile, content: Path | bytes, header: Header) -> bool:
    """Whether rows have empty cells beyond the header; one with others is refused, since polars does not look.

    Lines with a quote are left to polars, since a separator in them may belong to a cell.
    """
    width, separator = len(header.names), header.separator
    lines = pl.read_csv(
        content,
        has_header=False,
        separator="\x01",
        quote_char=None,
        infer_schema=False,
        new_columns=["line"],
        skip_lines=header.above,
    )["line"][1:]
    wide = (lines.str.count_matches(separator, literal=True) >= width) & ~lines.str.contains('"', literal=True)
    if not wide.any():
        return False
    bare = lines.str.strip_chars_end(separator + " \r").str.count_matches(separator, literal=True)
    if row := first_row(wide & (bare >= width)):
        raise ConsultationError(
            f"{file.place}, data row {row}: more columns than the {width} of the header. Correct the row or export "
            "again."
        )
    return True


def without_empty_rows(file: SourceFile, noted: Noted, table: pl.DataFrame) -> pl.DataFrame:
    """Leave out the rows that have no cell, and note how many there were."""
    columns = pl.all().exclude(ROW)
    first = table.columns[1] if table.width > 1 else None
    # Looking at every cell takes long, so it is done only where the first column has an odd one.
    if first is None:
        return table
    cells = table[first]
    if not (cells.null_count() or (cells == "").any() or cells.str.starts_with(" ").any()):
        return table
    some = table.select(pl.any_horizontal(columns.str.strip_chars().str.len_bytes() > 0)).to_series().fill_null(False)
    if not some.all():
        noted.note("found", "rows without a cell", "passed over", file.name, int((~some).sum()))
    return table.filter(some)


def read_json(file: SourceFile, noted: Noted, aliases: Mapping[str, str] | None = None) -> pl.DataFrame:
    """Read the list of objects in a JSON file as `read_text_csv` reads a CSV; what is nested in them is passed over.

    Raises:
        ConsultationError: It has no such list, or several.
    """
    objects = json_list(file).objects
    flat = [{name: value for name, value in each.items() if not _holds_more(value)} for each in objects]
    headings = list(dict.fromkeys(name for each in flat for name in each))
    names = [plain_name(each, aliases or {}) for each in headings]
    refuse_twice(file.place, names)
    table = pl.DataFrame(
        {
            name: [None if each.get(heading) is None else str(each[heading]) for each in flat]
            for name, heading in zip(names, headings, strict=True)
        },
        schema=dict.fromkeys(names, pl.String),
    )
    return without_empty_rows(file, noted, table.with_row_index(ROW, offset=1))


@dataclass(frozen=True)
class JsonList:
    """The one list of objects in a JSON file.

    Attributes:
        beside: Names of what else is there and not read: beside the list, and nested in its objects.
    """

    objects: list[dict[str, object]]
    beside: list[str]


def json_list(file: SourceFile) -> JsonList:
    """Find the list of objects in a JSON file, which may stand under a key, or be one object a line.

    Raises:
        ConsultationError: There is none, or several are there.
    """
    text = decoded(file)
    try:
        content = json.loads(text, parse_float=str)  # with the digits that it has
    except ValueError as error:
        lines = _json_lines(text)
        if not lines:
            refuse_other_kind(file.place, text[:HEAD].encode(), text[:HEAD])
            raise ConsultationError(f"{file.place}: not readable as JSON ({error}). Export it again.") from error
        return JsonList(lines, _nested(lines))
    lists = dict(_lists(content, ()))
    if not lists:
        there = shortened(map(printable, content)) if isinstance(content, dict) else ""
        raise ConsultationError(
            f"{file.place}: JSON{f' of {there},' if there else ''} with no list of votes or statements, each an object "
            'as {"participant": 1, "statement": 2, "vote": -1}. Name a file that has one.'
        )
    if len(lists) > 1:
        told = shortened(f"{printable('.'.join(path))} ({len(found):,})" for path, found in lists.items())
        raise ConsultationError(
            f"{file.place}: JSON with several lists: {told}. Save the list of votes as votes.json, a file of its own, "
            "and that of statements beside it as comments.json."
        )
    ((path, objects),) = lists.items()
    return JsonList(objects, [*_beside(content, path), *_nested(objects)])


def _lists(content: object, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], list[dict[str, object]]]]:
    """Lists of objects, by the keys under which they stand."""
    if isinstance(content, list) and content and all(isinstance(each, dict) for each in content):
        yield path, content
    elif isinstance(content, dict) and len(path) < DEEPEST:
        for name, inner in content.items():
            yield from _lists(inner, (*path, name))


def _beside(content: object, path: tuple[str, ...]) -> Iterator[str]:
    """Names of what stands beside a list, on the way to it."""
    for depth, name in enumerate(path):
        assert isinstance(content, dict)  # noqa: S101 - `_lists` went this way
        yield from (".".join((*path[:depth], other)) for other in content if other != name)
        content = content[name]


def _nested(objects: Sequence[Mapping[str, object]]) -> list[str]:
    """Names under which objects hold more than one value."""
    return list(dict.fromkeys(name for each in objects for name, value in each.items() if _holds_more(value)))


def _holds_more(value: object) -> bool:
    return isinstance(value, dict | list)


def _json_lines(text: str) -> list[dict[str, object]]:
    """The objects of a file with one in each line; none if it is no such file."""
    try:
        objects = [json.loads(line, parse_float=str) for line in text.splitlines() if line.strip()]
    except ValueError:
        return []
    return objects if all(isinstance(each, dict) for each in objects) else []


def decoded(file: SourceFile) -> str:
    """Return the text of a file; where lines end with carriage returns alone, with line feeds in their place.

    Raises:
        ConsultationError: Neither UTF-8 nor UTF-16 with its mark; names the line.
    """
    with file.open() as handle:
        content = handle.read()
    try:
        text = content.decode("utf-16" if content.startswith(UTF16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConsultationError(f"{file.place}, line {line}: not UTF-8. Save or export the file as UTF-8.") from error
    return text if "\n" in text else text.replace("\r", "\n")


def refuse_twice(place: str, names: Sequence[str]) -> None:
    """Check that no column stands twice.

    Raises:
        ConsultationError: One does.
    """
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ConsultationError(f"{place}: column {twice} stands twice. Keep one of them.")


def plain_name(heading: str, aliases: Mapping[str, str]) -> str:
    """Return a heading in the spelling of Polis's CSV files: `Comment ID` becomes `comment-id`, `0.0` becomes `0`.

    So do `comment.id` and `X0`, which R makes of these headings. Control characters are left out, since headings are
    shown on terminals.
    """
    if number := re.fullmatch(r"(?:X(?=[0-9]+$))?([0-9]{1,18})(?:\.0+)?", heading.strip()):
        return aliases.get(number[1], number[1])
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", heading.strip())  # `participantId`
    name = "".join(each for each in re.sub(r"[\s_-]+", "-", words.lower()) if each.isprintable())
    name = re.sub(r"(?<=[a-z])\.(?=[a-z])", "-", name)
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
        there = [name for name in table.columns if name != ROW]
        raise ConsultationError(
            f"{file.place}: missing column(s) {', '.join(missing)}; found {', '.join(there[:12])}. "
            "Columns are named in the first line."
        )


def first_row(wrong: pl.Series) -> int | None:
    """Return the place, from 1, of the first cell that is wrong; None if none is."""
    return int(wrong.arg_max() or 0) + 1 if wrong.any() else None
