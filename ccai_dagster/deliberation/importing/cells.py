"""What the cells of a person's file say: whole numbers and times.

A cell that cannot be read is null and noted; whether its row can be done without is the matter of whoever reads it.

*Times* are milliseconds or seconds since 1970, or dates written out. The size of the numbers decides between the
units, never the era: 10^11 seconds are in the year 5138 and 10^11 milliseconds in March 1973, before anybody voted
online. Numbers of five digits, all of them with or without decimals, are the days that spreadsheets count. No time at
all are 0, a number in E notation whose digits a spreadsheet has dropped, and one time for every vote. The column
`datetime` of Polis's exports is not read; it is in the time zone of whichever machine wrote it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NoReturn

import polars as pl

from ccai_dagster.contracts import TIME
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.text import counted
from ccai_dagster.deliberation.importing.columns import ROW, ROWS_LOOKED_AT, SourceFile, first_row
from ccai_dagster.deliberation.importing.noted import TOLERATED_ASIDE, Noted

LEAST_MILLISECONDS = 10**11
MOST_MILLISECONDS = 10**14
MOST_EXACT = 2**53
"""Beyond it, not every whole number has a floating-point number of its own."""
DAYS = (36_526, 73_051)
"""Days since 30 December 1899, as spreadsheets count them, of the years 2000 to 2099."""
DAYS_UNTIL_1970 = 25_569
LEAST_OF_ONE_TIME = 10
"""Votes from which on one time for all of them is no time: nobody's server took so many at one moment."""
DIGITS = {
    **{chr(zero + digit): str(digit) for zero in (0x660, 0x6F0, 0x966, 0xFF10) for digit in range(10)},
    **dict.fromkeys("−–﹣－", "-"),
}
"""Digits of Arabic, Persian, Devanagari and full width, and what stands for a minus, as they are written in ASCII."""
E_NOTATION = r"^\s*-?\d+(?:[.,](\d*)[eE]\+?|[eE]\+)(\d+)\s*$"
"""A whole number with an exponent, as spreadsheets write it. `5e7`, without point and plus, may be a code."""

THOUSANDS = r"^-?\d{1,3}(?:(?:,\d{3})+|(?:\.\d{3})+|(?:[\s'’]\d{3})+)$"
"""A whole number with what separates thousands, as spreadsheets show it."""
DECIMALS = r"^-?\d+[.,]0+$"
MISSING = ("na", "n/a", "#n/a", "#nv", "nan", "<na>", "null", "\\n", "none", "-", "–", "—")
"""What programs and people write in place of an empty cell, in lower case."""

YES_AND_NO = {
    **dict.fromkeys(("1", "true", "t", "yes", "y", "x", "wahr", "ja", "vrai", "oui", "verdadero", "sí", "si"), True),
    **dict.fromkeys(("0", "false", "f", "no", "n", "falsch", "nein", "faux", "non", "falso"), False),
}
"""Words of spreadsheets and of people for true and false, in the languages that spreadsheets write them in."""

Unit = Literal["milliseconds", "seconds", "dates"]


def whole_numbers(text: pl.Series) -> pl.Series:
    """Convert text to whole numbers (`3`, `3.0`, `3,0` or `1,250`, in any digits); null where it is none."""
    number = text.cast(pl.Int64, strict=False)
    if number.null_count() > text.null_count():
        # Spaces around a number, or `3.0`: slower, so only where the plain conversion failed somewhere.
        plain = _without_thousands(text.str.strip_chars().str.replace_many(list(DIGITS), list(DIGITS.values())))
        number = plain.str.replace(r"^(-?\d+)[.,]0*$", "$1").cast(pl.Int64, strict=False)
        written = pl.select(pl.when(plain.str.contains(E_NOTATION)).then(plain.str.replace(",", "."))).to_series()
        read = written.cast(pl.Float64, strict=False)
        exact = (read == read.round()) & (read.abs() <= MOST_EXACT)
        number = number.fill_null(pl.select(pl.when(exact).then(read)).to_series().cast(pl.Int64, strict=False))
    return number


def _without_thousands(text: pl.Series) -> pl.Series:
    """Take out what separates thousands. `1.000` is 1 where every cell has decimals, else 1000."""
    grouped = text.str.contains(THOUSANDS)
    if not grouped.any() or text.filter(text != "").str.contains(DECIMALS).all():
        return text
    return pl.select(pl.when(grouped).then(text.str.replace_all(r"[^\d-]", "")).otherwise(text)).to_series()


def lost_digits(text: pl.Series) -> pl.Series:
    """Whether a cell is a number in E notation with fewer decimals than its exponent asks for."""
    if not text.str.contains("[eE]").any():
        return pl.repeat(False, text.len(), eager=True)  # as nearly always, and sooner told
    parts = text.str.extract_groups(E_NOTATION).struct
    decimals, exponent = parts.field("1").str.len_chars().fill_null(0), parts.field("2").cast(pl.Int64, strict=False)
    return (decimals < exponent).fill_null(False)


def refuse_lost_digits(file: SourceFile, table: pl.DataFrame, columns: Iterable[str]) -> None:
    """Check that ids have all their digits; those of several people may have become one number.

    Raises:
        ConsultationError: A spreadsheet wrote one as 1.23457E+12. Names the row.
    """
    for column in columns:
        lost = lost_digits(table[column])
        if place := first_row(lost):
            rows = f"({counted(int(lost.sum()), 'such row')})"
            _refuse_lost(
                file, f"data row {table[ROW][place - 1]}: column {column} is {shown(table[column][place - 1])} {rows}"
            )


def refuse_lost_headings(file: SourceFile, headings: Sequence[str]) -> None:
    """Check the same of headings, which may be ids of statements.

    Raises:
        ConsultationError: A spreadsheet wrote one as 1.23457E+12.
    """
    if place := first_row(lost_digits(pl.Series(headings, dtype=pl.String))):
        _refuse_lost(file, f"the header: column {place} is {shown(headings[place - 1])}")


def _refuse_lost(file: SourceFile, what: str) -> NoReturn:
    raise ConsultationError(
        f"{file.place}, {what}. The ids lost their digits in a spreadsheet, so that several may be one. Save them as "
        "text, or as numbers without an exponent; or export again and do not save it there."
    )


def integers(file: SourceFile, table: pl.DataFrame, column: str) -> pl.Series:
    """Convert a column of text to whole numbers.

    Raises:
        ConsultationError: A cell is missing or no whole number; names the row.
    """
    number = whole_numbers(table[column])
    if place := first_row(number.is_null()):
        raise ConsultationError(
            f"{file.place}, data row {table[ROW][place - 1]}: column {column} should be a whole number, found "
            f"{shown(table[column][place - 1])}. Correct the row or export again."
        )
    return number


def optional_integers(file: SourceFile, table: pl.DataFrame, column: str, noted: Noted) -> pl.Series:
    """Convert a column that can be done without: null where a cell is missing or, which is noted, no whole number."""
    if column not in table.columns:
        return pl.repeat(None, table.height, dtype=pl.Int64, eager=True)
    number = whole_numbers(table[column])
    if number.null_count():
        why = "no whole numbers, so set aside; the rest of their rows is read"
        unread = number.is_null() & (table[column].str.strip_chars().fill_null("") != "")
        note_cells(noted, "cells set aside", why, file, table, column, unread)
    return number


def marks(file: SourceFile, table: pl.DataFrame, column: str, noted: Noted) -> pl.Series:
    """Return a column of true and false; null where it is empty, missing or, which is noted, says neither.

    Raises:
        ConsultationError: More than a tenth of its cells says neither.
    """
    if column not in table.columns:
        return pl.repeat(None, table.height, dtype=pl.Boolean, eager=True)
    words = in_words(table[column])
    said = words.replace_strict(YES_AND_NO, default=None, return_dtype=pl.Boolean)
    set_aside(file, table, column, words.is_not_null() & said.is_null(), int(words.count()), "true or false", noted)
    return said


def in_words(text: pl.Series) -> pl.Series:
    """Cells of a column of few words as they are looked up: in lower case, `1.0` and `1,0` as 1, empty ones null."""
    plain = text.str.strip_chars().str.to_lowercase().str.replace(r"^(-?[01])[.,]0+$", "$1")
    return plain.set((plain == "") | plain.is_in(MISSING), None)


def set_aside(
    file: SourceFile, table: pl.DataFrame, column: str, unread: pl.Series, cells: int, expected: str, noted: Noted
) -> None:
    """Note the cells of a column that cannot be read.

    Args:
        unread: Which they are, empty ones left out.
        cells: How many are not empty.
        expected: What they should say.

    Raises:
        ConsultationError: They are more than a tenth of those that are not empty, so that the column means something
            that is not understood.
    """
    odd = int(unread.sum())
    if odd > TOLERATED_ASIDE * cells:
        place = first_row(unread) or 0
        raise ConsultationError(
            f"{file.place}: column {column} should say {expected}; {odd} of {cells} cells don't, the first in data "
            f"row {table[ROW][place - 1]}, {shown(table[column][place - 1])}. Write it so in all "
            "rows, or leave the column out."
        )
    note_cells(noted, "cells set aside", f"not {expected}; the rest of their rows is read", file, table, column, unread)


def note_cells(
    noted: Noted, item: str, why: str, file: SourceFile, table: pl.DataFrame, column: str, which: pl.Series
) -> None:
    """Note how many cells of a column are meant, and where the first is; what is in it may be a code of a person."""
    if place := first_row(which):
        first = f"first in data row {table[ROW][place - 1]}"
        noted.note("unknown", item, why, f"{file.name}, {column}", int(which.sum()), first)


def shown(cell: str | None) -> str:
    """A cell in a message: short, and without line breaks or other control characters."""
    return "nothing" if cell is None or not cell.strip() else repr(cell[:40])


def milliseconds(
    file: SourceFile, table: pl.DataFrame, noted: Noted, column: str = "timestamp"
) -> tuple[pl.Series, Unit | None]:
    """Return a column of times as milliseconds since 1970 (Int64, null where there is none), and their unit.

    Args:
        table: May lack the column.
        column: Numbers as text or integers, dates as text (ISO 8601), or times of a Parquet file.
    """
    if column not in table.columns or table[column].null_count() == table.height:
        return pl.repeat(None, table.height, dtype=pl.Int64, eager=True), None
    times = table[column]
    if times.dtype.is_temporal():
        return times.cast(pl.Datetime("ms")).cast(pl.Int64), "dates"
    if times.dtype == pl.String:
        if times.str.contains(r"^\s*\d{4}-\d\d-\d\d").any():
            return _dates(file, table, noted, column), "dates"
        if (counted_in_days := _from_days(file, noted, times)) is not None:
            return counted_in_days, "dates"
        number = times.cast(pl.Int64, strict=False)
        if number.null_count() > times.null_count():
            number = _odd_numbers(file, table, noted, column)
    else:
        number = times.cast(pl.Int64)
    if (zero := (number == 0).fill_null(False)).any():
        note_cells(noted, "times of 0", "0 is no time; these are without one", file, table, column, zero)
        number = number.set(zero, None)
    number = _of_one_unit(file, table, noted, column, number)
    if number.null_count() == number.len():
        return number, None
    return (number, "milliseconds") if (number >= LEAST_MILLISECONDS).any() else (number * 1000, "seconds")


def _from_days(file: SourceFile, noted: Noted, times: pl.Series) -> pl.Series | None:
    """Return milliseconds of times that a spreadsheet wrote as days; None unless all of them are such."""
    begin = times.head(ROWS_LOOKED_AT).str.strip_chars()
    if not begin.str.contains(r"^(\d{5}([.,]\d+)?)?$").all():
        return None
    text = times.str.strip_chars().replace("", None)
    days = text.str.replace(",", ".", literal=True).cast(pl.Float64, strict=False)
    if days.null_count() > text.null_count() or not days.is_between(*DAYS).all() or not days.count():
        return None
    noted.note("found", "times in days", "as a spreadsheet counts them; taken as UTC", file.name, int(days.count()))
    return ((days - DAYS_UNTIL_1970) * 86_400_000).round().cast(pl.Int64)


def _odd_numbers(file: SourceFile, table: pl.DataFrame, noted: Noted, column: str) -> pl.Series:
    """Read a column in which some cells are no plain whole numbers."""
    text = table[column]
    lost = lost_digits(text)
    why = "the digits were lost in a spreadsheet, so these are without a time; export again and do not save it there"
    note_cells(noted, "times that lost their digits", why, file, table, column, lost)
    number = whole_numbers(text).set(lost, None)
    unread = number.is_null() & (text.str.strip_chars().fill_null("") != "") & ~lost
    _note_unread(noted, file, table, column, unread)
    return number


def _note_unread(noted: Noted, file: SourceFile, table: pl.DataFrame, column: str, unread: pl.Series) -> None:
    why = (
        "neither dates as 2024-05-01T12:30:00Z nor all of them seconds or all milliseconds since 1970; these are "
        "without a time"
    )
    note_cells(noted, "times that cannot be read", why, file, table, column, unread)


def _of_one_unit(file: SourceFile, table: pl.DataFrame, noted: Noted, column: str, number: pl.Series) -> pl.Series:
    """Leave out the numbers that are of another unit than most, or of none."""
    long = (number >= LEAST_MILLISECONDS).fill_null(False)
    known = number.len() - number.null_count()
    rare = (~long if 2 * int(long.sum()) > known else long) & number.is_not_null()
    if not long.any() or int(long.sum()) == known:
        rare = pl.repeat(False, number.len(), eager=True)
    wrong = rare | ((number >= MOST_MILLISECONDS) | (number < 0)).fill_null(False)
    if not wrong.any():
        return number
    _note_unread(noted, file, table, column, wrong)
    return number.set(wrong, None)


def own_times(file: SourceFile, noted: Noted, times: pl.Series) -> pl.Series:
    """Return the times of votes; none if all have the same one."""
    known = times.len() - times.null_count()
    if known >= LEAST_OF_ONE_TIME and times.min() == times.max():
        why = "every vote has it, so it is not when they were cast; the order of votes is unknown"
        noted.note("unknown", "one time for everything", why, file.name, known)
        return pl.repeat(None, times.len(), dtype=pl.Int64, eager=True)
    return times


def as_time(number: pl.Series) -> pl.Series:
    """Return milliseconds since 1970 as times in UTC."""
    return pl.from_epoch(number, "ms").dt.replace_time_zone("UTC").cast(TIME)


def _dates(file: SourceFile, table: pl.DataFrame, noted: Noted, column: str) -> pl.Series:
    """Read dates with or without a zone; one without is taken as UTC."""
    text = (
        table[column]
        .str.strip_chars()
        .str.replace(r"^(\d{4}-\d\d-\d\d) ", "${1}T")
        .str.replace(r"^(\d{4}-\d\d-\d\d)$", "${1}T00:00:00")
        .str.replace(r"T(\d\d:\d\d)($|Z|[+-])", "T${1}:00$2")
        .str.replace(r"Z$", "+00:00")
    )
    zoned = text.str.contains(r"T.*[+-]\d\d:?\d\d$")
    read = text.zip_with(zoned, text + "+00:00").str.to_datetime(
        "%Y-%m-%dT%H:%M:%S%.f%z", time_unit="ms", time_zone="UTC", strict=False
    )
    _note_unread(noted, file, table, column, read.is_null() & (text.fill_null("") != ""))
    return read.cast(pl.Int64)
