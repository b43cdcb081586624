"""Times of an export: milliseconds or seconds since 1970, or dates written out.

The unit is told by the size of the numbers, never by the era: 10^11 seconds are in the year 5138 and 10^11
milliseconds in March 1973, before anybody voted online. The column `datetime` of Polis's exports is not read;
it is in the time zone of whichever machine wrote it.
"""

from __future__ import annotations

from typing import Literal

import polars as pl

from ccai_dagster.contracts import TIME
from ccai_dagster.deliberation.importing.csv_columns import integers
from ccai_dagster.deliberation.importing.files import SourceFile
from ccai_dagster.errors import ConsultationError

Unit = Literal["milliseconds", "seconds", "dates"]
LEAST_MILLISECONDS = 10**11
MOST_MILLISECONDS = 10**14


def milliseconds(
    file: SourceFile, table: pl.DataFrame, column: str = "timestamp"
) -> tuple[pl.Series, Unit | None]:
    """Return a column of times as milliseconds since 1970 (Int64, null where missing), and their unit.

    Args:
        file: For messages.
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
    number = (
        integers(file, table, column, nullable=True) if times.dtype == pl.String else times.cast(pl.Int64)
    )
    long = number >= LEAST_MILLISECONDS
    if long.any() and not long.all():
        rare = ~long if float(long.mean() or 0.0) > 0.5 else long  # type: ignore[arg-type]
        row = int(rare.fill_null(False).arg_max() or 0)
        raise ConsultationError(
            f"{file.place}, data row {row + 1}: {column} {number[row]} has another unit than most rows; either all "
            "are seconds or all are milliseconds since 1970. Correct it or leave it empty."
        )
    beyond = ((number >= MOST_MILLISECONDS) | (number < 0)).fill_null(False)
    if beyond.any():
        row = int(beyond.arg_max() or 0)
        raise ConsultationError(
            f"{file.place}, data row {row + 1}: {column} {number[row]} is neither seconds nor milliseconds since "
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
    if bad.any():
        row = int(bad.arg_max() or 0)
        raise ConsultationError(
            f"{file.place}, data row {row + 1}: {times[row]!r:.60} is no time. Write it as 2024-05-01T12:30:00Z, or "
            "as seconds or milliseconds since 1970."
        )
    return read.cast(pl.Int64)
