"""Rows of scores as points with intervals on a common line.

Belongs here: choosing the line and the places on it. Doesn't belong here: which rows a chapter shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from ccai_dagster.audit.evaluation_page.measures import is_elo, limits, unit, with_interval, written
from ccai_dagster.audit.evaluation_page.parts import Forest, ForestRow
from ccai_dagster.audit.evaluation_page.verdicts import ShownComparison, span
from ccai_dagster.core.text import counted
from ccai_dagster.pages.templates import decimals

Label = Callable[[Mapping[str, Any]], str]


@dataclass(frozen=True)
class Figure:
    """A figure with its interval, of whatever unit, and what a forest says about it beside."""

    label: str
    arm: str
    n: str
    value: float
    low: float
    high: float
    verdict: str = ""


VERDICTS = {"higher": "higher", "lower": "lower", "alike": "no difference", "unclear": "cannot tell"}


def score_forest(caption: str, scores: pl.DataFrame, label: Label) -> Forest:
    """Show scores with their intervals.

    Args:
        caption: What is shown.
        scores: Rows of EVAL_SCORES in the order to show them; a score that is there for several comparisons is
            shown once, one without a usable answer is left out.
        label: What a row is called.
    """
    key = ["arm", "benchmark", "metric", "category"]
    rows = scores.drop_nulls("value").unique(key, keep="first", maintain_order=True).to_dicts()
    ends = (
        [limits(row) for row in rows]
        if not any(map(is_elo, rows))
        else [(row["low"], row["high"]) for row in rows]
    )
    low, high = min((end[0] for end in ends), default=0.0), max((end[1] for end in ends), default=1.0)
    elo = any(map(is_elo, rows))
    drawn = [
        _row(label(row), row["arm"], row["n"], (row["value"], row["low"], row["high"]), elo, "", (low, high))
        for row in rows
    ]
    return _forest(f"{caption}, in {unit(elo)}", drawn, (low, high), elo)


def difference_forest(caption: str, found: Sequence[ShownComparison], label: Label) -> Forest:
    """Show differences of two models with their intervals, zero in the middle.

    Args:
        caption: What is shown.
        found: Comparisons in the order to show them, all in Elo or none.
        label: What the row of a comparison is called.
    """
    elo = any(is_elo(one.row) for one in found)
    reach = _round_up(max((max(abs(one.low), abs(one.high)) for one in found), default=1.0))
    drawn = [
        _row(
            label(one.row), f"{one.row['arm']} against {one.other}", one.row["n"],
            (one.difference, one.low, one.high), elo, VERDICTS[one.verdict], (-reach, reach), span(one),
        )
        for one in found
    ]  # fmt: skip
    return _forest(f"{caption}, in {unit(elo)}", drawn, (-reach, reach), elo)


def plain_forest(
    caption: str,
    figures: Sequence[Figure],
    ends: tuple[float, float] | None,
    digits: int,
) -> Forest:
    """Show any figures with their intervals.

    Args:
        caption: What is shown.
        figures: In the order to show them.
        ends: Values at the ends of the line; None for zero in the middle and as far as intervals reach.
        digits: Decimals printed.
    """
    signed = ends is None
    reach = _round_up(max((max(abs(one.low), abs(one.high)) for one in figures), default=1.0))
    line = ends or (-reach, reach)
    rows = [
        ForestRow(
            one.label,
            one.arm,
            one.n,
            f"{figure} ({low} to {high})",
            one.verdict,
            *(_place(each, line) for each in (one.value, one.low, one.high)),
        )
        for one in figures
        for figure, low, high in [
            tuple(decimals(each, digits, signed) for each in (one.value, one.low, one.high))
        ]
    ]
    left, right = (decimals(end, digits, signed).removesuffix(".0").removesuffix(".00") for end in line)
    return Forest(caption, left, right, _place(0.0, line) if line[0] < 0 < line[1] else None, rows)


def _forest(caption: str, rows: Sequence[ForestRow], ends: tuple[float, float], elo: bool) -> Forest:
    low, high = ends
    zero = _place(0.0, ends) if low < 0 < high else None
    left, right = (written(end, elo, sign=low < 0).removesuffix(".0") for end in ends)
    return Forest(caption, left, right, zero, rows)


def _row(
    label: str,
    arm: str,
    n: int,
    figures: tuple[float, float, float],
    elo: bool,
    verdict: str,
    ends: tuple[float, float],
    told: str = "",
) -> ForestRow:
    value, low, high = figures
    counts = counted(n, "comparison" if elo else "item")
    told = told or with_interval(value, low, high, elo)
    places = [_place(each, ends) for each in (value, low, high)]
    return ForestRow(label, arm, counts, told, verdict, *places)


def _place(value: float, ends: tuple[float, float]) -> float:
    low, high = ends
    share = (value - low) / (high - low) if high > low else 0.5
    return 100 * min(1.0, max(0.0, share))


def _round_up(value: float) -> float:
    """Return the next of 1, 2, 5, 10, 20, 50, ... thousandths and so on that is not smaller."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * (1 - 1e-9))
