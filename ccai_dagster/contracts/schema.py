"""What a contract is: a table's name, primary key and columns, and when a table breaks it.

The columns that several contracts share stand here too; the contracts themselves stand in the module of their stage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import polars as pl

from ccai_dagster.core.digest import finite, holds_floats

if TYPE_CHECKING:
    import pandera.polars as pa

IDS = pl.List(pl.String)
STATEMENT_IDS = pl.List(pl.Int64)
TIME = pl.Datetime("ms", "UTC")


@dataclass(frozen=True)
class Check:
    """What must hold of every value of a column, by the name that pandera has for it.

    Pandera takes a second to load; it is loaded when a table is checked, not when one is read.
    """

    name: str
    arguments: tuple[Any, ...]

    @classmethod
    def isin(cls, values: list[Any]) -> Check:
        """One of these values."""
        return cls("isin", (tuple(values),))

    @classmethod
    def in_range(cls, low: float, high: float) -> Check:
        """From `low` to `high`, both included."""
        return cls("in_range", (low, high))

    @classmethod
    def gt(cls, low: float) -> Check:
        """Above `low`."""
        return cls("gt", (low,))

    @classmethod
    def ge(cls, low: float) -> Check:
        """Not below `low`."""
        return cls("ge", (low,))


@dataclass(frozen=True)
class Field:
    """One column: its type, what it means, whether it may be missing, and what else must hold."""

    dtype: Any
    meaning: str
    nullable: bool = False
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True)
class Contract:
    """A table's name, primary key and columns; `violations` tells where a table breaks it.

    Attributes:
        name: Of the table.
        key: Columns that together name a row.
        fields: The columns.
        intervals: Value, lower and upper end, by column: where there is a value there are finite ends, and it
            lies between them.
    """

    name: str
    key: tuple[str, ...]
    fields: Mapping[str, Field]
    intervals: tuple[tuple[str, str, str], ...] = ()

    @cached_property
    def schema(self) -> pa.DataFrameSchema:
        """The pandera schema: exactly these columns, in any order, with a unique primary key and finite numbers."""
        import pandera.polars as pa

        return pa.DataFrameSchema(
            {
                name: pa.Column(
                    field.dtype,
                    [getattr(pa.Check, check.name)(*check.arguments) for check in field.checks]
                    + ([_finite_check()] if holds_floats(field.dtype) else []),
                    nullable=field.nullable,
                    description=field.meaning,
                )
                for name, field in self.fields.items()
            },
            checks=[_key_check(self.key), *(_interval_check(*columns) for columns in self.intervals)],
            strict=True,
            name=self.name,
        )

    @property
    def dtypes(self) -> dict[str, Any]:
        """Column names and Polars types, to build a table with."""
        return {name: field.dtype for name, field in self.fields.items()}

    def columns(self, *names: str) -> dict[str, Field]:
        """These columns by name, for a contract that repeats them."""
        return {name: self.fields[name] for name in names}

    def empty(self) -> pl.DataFrame:
        """A table with these columns and no rows."""
        return pl.DataFrame(schema=self.dtypes)

    def build(self, rows: list[dict[str, Any]]) -> pl.DataFrame:
        """A table of these columns from a list of dicts; a missing or unknown key is an error."""
        for row in rows:
            if set(row) != set(self.fields):
                raise ValueError(f"{self.name}: columns {sorted(set(row) ^ set(self.fields))} do not match")
        return pl.DataFrame(rows, schema=self.dtypes)

    def violations(self, table: pl.DataFrame) -> pl.DataFrame:
        """Return one row a violation (`column`, `check`, `failure_case`, `index`); empty if none.

        The table must be collected: pandera skips checks of content on a LazyFrame without a word.
        """
        import pandera.polars as pa

        try:
            self.schema.validate(table, lazy=True)
        except (pa.errors.SchemaErrors, pa.errors.SchemaError) as error:
            cases = error.failure_cases
            if isinstance(cases, pl.DataFrame):
                return cases.select(pl.col("column", "check", "failure_case", "index").cast(pl.String))
            return pl.DataFrame(
                {"column": [None], "check": [str(error)], "failure_case": [None], "index": [None]},
                schema=dict.fromkeys(("column", "check", "failure_case", "index"), pl.String),
            )
        return pl.DataFrame(schema=dict.fromkeys(("column", "check", "failure_case", "index"), pl.String))


def _finite_check() -> Any:
    """Return pandera's check that numbers are finite; its own checks let NaN and infinity pass most columns."""
    import pandera.polars as pa

    return pa.Check(
        lambda data: data.lazyframe.select(finite(data.key, data.lazyframe.collect_schema()[data.key])), name="finite"
    )


def _key_check(key: tuple[str, ...]) -> Any:
    """Return pandera's check that the key is unique.

    Pandera's own looks every row up, for eight times the table's memory; rows in strictly ascending order, in which
    large tables are, need only be compared with the one before.
    """
    import pandera.polars as pa

    ascending = pl.lit(False)
    for name in reversed(key):
        own, before = pl.col(name), pl.col(name).shift()
        ascending = (own > before) | ((own == before) & ascending)

    def unique(data: Any) -> pl.LazyFrame:
        rows: pl.LazyFrame = data.lazyframe
        if rows.select(ascending.slice(1).fill_null(False).all()).collect().item():
            return rows.select(pl.lit(True).repeat_by(1).explode())
        return rows.select(pl.struct(key).is_unique())

    return pa.Check(unique, name="unique")


def _interval_check(value: str, low: str, high: str) -> Any:
    """Return pandera's check that a value has an interval it lies in."""
    import pandera.polars as pa

    inside = (pl.all_horizontal(pl.col(value, low, high).is_finite()) & pl.col(value).is_between(low, high)).fill_null(
        False
    )
    return pa.Check(
        lambda data: data.lazyframe.select(pl.when(pl.col(value).is_null()).then(True).otherwise(inside)),
        name=f"{value} within {low} and {high}",
    )


PROBABILITY = (Check.in_range(0.0, 1.0),)
COUNT = (Check.ge(0),)


def probability(meaning: str, nullable: bool = False) -> Field:
    """A column of numbers from 0 to 1."""
    return Field(pl.Float64, meaning, nullable, PROBABILITY)


def count(meaning: str, nullable: bool = False) -> Field:
    """A column of whole numbers that are not negative."""
    return Field(pl.Int64, meaning, nullable, COUNT)


def one_of(meaning: str, *values: str) -> Field:
    """A column of text that is one of these values."""
    return Field(pl.String, meaning, checks=(Check.isin(list(values)),))


def contract(
    name: str, key: tuple[str, ...], *, intervals: tuple[tuple[str, str, str], ...] = (), **fields: Field
) -> Contract:
    """A contract with the columns as keywords; where some are unpacked, `intervals` has to be named for mypy."""
    return Contract(name, key, fields, intervals)


STATEMENT_ID = count("id of the statement in the consultation")
PARTICIPANT_ID = count("id of the participant in the consultation")
VOTE = Field(pl.Int8, "agree +1, disagree -1, pass 0", checks=(Check.isin([-1, 0, 1]),))
DECISION_IDS = Field(IDS, "ids of the ledger rows this row rests on")
ARM = Field(pl.String, "the constitution a model is trained on, or `base` for the untrained model")
PROMPT_ID = Field(pl.String, "id of the prompt")
PROMPT = Field(pl.String, "what the user says")
LOWER_END = Field(pl.Float64, "lower end of its 95 % interval", nullable=True)
UPPER_END = Field(pl.Float64, "upper end of its 95 % interval", nullable=True)
FINISHED = Field(pl.Boolean, "whether the response ended by itself, and was not cut off at the limit of tokens")
JUDGE_AT_CHANCE = Field(pl.Boolean, "whether it rests on a judge that was not measured to be better than guessing")
