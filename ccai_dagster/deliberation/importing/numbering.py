"""Numbers for ids that are none: addresses and codes, which stay where they are.

Ids that are whole numbers are taken as they are. Others are numbered in the order in which they first appear in time,
so that a number stays as long as only later votes are added; where not every row has a time, in the order of the file.
A few among numbers are numbered behind the largest, so that decisions on the others go on naming whom they named.
Addresses are compared without regard to case, as people type them.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from ccai_dagster.deliberation.importing.cells import whole_numbers
from ccai_dagster.deliberation.importing.columns import ROW
from ccai_dagster.deliberation.importing.noted import TOLERATED_ASIDE, Fact

ADDRESS = r"^\s*[^\s@]+@[^\s@]+\s*$"


@dataclass(frozen=True)
class Numbering:
    """Numbers of ids: `code` (text) and `number`, and what they follow: the ids themselves, time, or the file."""

    table: pl.DataFrame
    by: str

    @property
    def given(self) -> bool:
        """Whether the ids are numbers themselves."""
        return self.by == "id"

    def of(self, codes: pl.Series) -> pl.Series:
        """Return the number of each code, in the order given; null for a code that has none."""
        plain = codes.cast(pl.Int64, strict=False) if self.given else None
        if plain is not None and plain.null_count() == codes.null_count():
            return plain.set(~plain.is_in(self.table["number"].implode()), None)  # sooner than looking each code up
        asked = pl.DataFrame({"code": same_person(codes)})
        number = asked.join(self.table, on="code", how="left", maintain_order="left")["number"]
        if self.given and number.null_count() > codes.null_count():
            written = whole_numbers(codes)  # `3,0` is 3 where another file has it so
            number = number.fill_null(written.set(~written.is_in(self.table["number"].implode()), None))
        return number

    def of_cells(self, codes: pl.Series) -> pl.Series:
        """Return the numbers of ids as a file has them; where ids are numbers, also of people who never voted."""
        return whole_numbers(codes) if self.given else self.of(codes.str.strip_chars())

    def fact(self, item: str) -> Fact | None:
        """Say by what ids were numbered; None if they are numbers themselves."""
        if self.given:
            return None
        if self.by == "time":
            why = "numbered by the time they first appear; a number stays while only later rows are added"
        else:
            why = (
                "not every one has a time, so they are numbered in the order of the file; a number stays while rows "
                "are only added at its end, and a file in another order means other numbers"
            )
        return Fact("repaired", item, self.table["number"].n_unique(), why)


def same_person(codes: pl.Series) -> pl.Series:
    """Return ids as text, an address in lower case."""
    if not codes.str.contains("@", literal=True).any():
        return codes
    return codes.zip_with(~codes.str.contains(ADDRESS).fill_null(False), codes.str.to_lowercase())


def numbered(table: pl.DataFrame, column: str, voted: pl.Series | None = None) -> Numbering:
    """Take ids that are whole numbers as they are; number others by their first time, then by the code.

    Few that are no numbers have none, as they stand in rows that are out of place: totals, notes, a row shifted.

    Args:
        table: Text in `column`, null where there is no id; `timestamp` (milliseconds or null) and `ROW`.
        voted: Rows with a vote, where an id may be anything: whoever cast one is a person as the others are.
    """
    table = table.with_columns(same_person(table[column]))
    codes = table[column]
    each = codes.drop_nulls().unique()
    plain = whole_numbers(each)
    if not plain.null_count():
        return Numbering(pl.DataFrame({"code": each, "number": plain}), "id")
    number = whole_numbers(codes)
    word = number.is_null() & codes.is_not_null()
    few = int(word.sum()) <= TOLERATED_ASIDE * codes.len()
    mixed = few and voted is not None and bool((word & voted).any())
    if few and not mixed:
        known = pl.DataFrame({"code": codes, "number": number}).drop_nulls().unique("code")
        return Numbering(known, "id")
    kept = pl.DataFrame({"code": codes, "number": number}).drop_nulls().unique("code") if mixed else None
    begin = 0 if kept is None else int(kept["number"].cast(pl.Int64).to_numpy().max()) + 1
    first = (
        table.filter(word if mixed else codes.is_not_null())
        .group_by(pl.col(column).alias("code"))
        .agg(pl.col("timestamp", ROW).min())
        .with_columns(pl.when(pl.col("timestamp").is_null()).then(pl.col(ROW)).otherwise(0))
        .sort("timestamp", ROW, "code", nulls_last=True)
        .with_columns(number=begin + pl.int_range(pl.len(), dtype=pl.Int64))
    )
    by = "file" if first["timestamp"].null_count() else "time"
    known = first.select("code", "number") if kept is None else pl.concat([kept, first.select("code", "number")])
    return Numbering(known.sort("number", "code"), by)
