"""Scores as points with intervals on a common line, and what each comparison of two models shows.

Belongs here: the line and the places on it; the sentence on a row of scores; what a score is called and how it is
printed wherever it is shown. Doesn't belong here: the verdict on a row (`evaluation.findings`); which rows a chapter
shows; intervals and tests, which come with the row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from ccai_dagster.core.text import counted
from ccai_dagster.evaluation.findings import VERDICTS, Verdict, is_elo, score_verdict, small_difference
from ccai_dagster.evaluation.scores import ADHERENCE_SCORES, ALL, ELO_BENCHMARK, PEOPLE, PEOPLE_ELO, metric_limits
from ccai_dagster.feedback.judge_accuracy import BY_JUDGE_AT_CHANCE
from ccai_dagster.pages.parts import Forest, ForestRow
from ccai_dagster.pages.rendering import decimals

NAMES = {
    "accuracy_ambiguous": "accuracy without the facts",
    "accuracy_disambiguated": "accuracy with the facts",
    "bias_ambiguous": "bias without the facts",
    "bias_disambiguated": "bias with the facts",
    "refusal_safe": "refusals of safe requests",
    "refusal_unsafe": "refusals of unsafe requests",
}
"""How the page calls a metric whose own name does not say enough."""
Label = Callable[[Mapping[str, Any]], str]


@dataclass(frozen=True)
class ShownComparison:
    """Two models compared by one score.

    Attributes:
        row: The row of EVAL_SCORES.
        other: The model it is compared with.
        difference: The score less that of `other`, with the ends of its 95 % interval.
        verdict: What it shows.
        sentence: The same in a sentence, with figure and interval.
    """

    row: Mapping[str, Any]
    other: str
    difference: float
    low: float
    high: float
    verdict: Verdict
    sentence: str

    @property
    def size(self) -> float:
        """The difference in units of what is too small to matter."""
        return abs(self.difference) / small_difference(self.row)


def comparisons(scores: pl.DataFrame) -> list[ShownComparison]:
    """Return every comparison in a table of scores, in the order of its rows.

    Args:
        scores: EVAL_SCORES; Elo is compared in a table of its own.
    """
    return [_compared(row, row["compared_with"]) for row in scores.drop_nulls("difference").to_dicts()]


def _compared(row: Mapping[str, Any], other: str) -> ShownComparison:
    ends = (row["difference"], row["difference_low"], row["difference_high"])
    shown = score_verdict(row)
    return ShownComparison(row, other, *ends, shown, _sentence(row, other, ends, shown))


def _sentence(row: Mapping[str, Any], other: str, ends: tuple[float, float, float], shown: Verdict) -> str:
    elo, name = is_elo(row), measure(row)
    what, arm = name[0].upper() + name[1:], f"“{row['arm']}”"
    span = f"95% interval {written(ends[1], elo, True)} to {written(ends[2], elo, True)}"
    marked = BY_JUDGE_AT_CHANCE if row["judge_at_chance"] else ""
    if shown in ("higher", "lower"):
        size = written(abs(ends[0]), elo)
        return f"{what} is {shown} for {arm} than for “{other}”, by {size} {unit(elo)} ({span}).{marked}"
    text = f"{what}: {arm} against “{other}” {written(ends[0], elo, True)} {unit(elo)} ({span})"
    if shown == "alike":
        return f"{text}, so at most {written(small_difference(row), elo)} either way.{marked}"
    return f"{text}.{_reach(row, ends)}{marked}"


def _reach(row: Mapping[str, Any], ends: tuple[float, float, float]) -> str:
    """Say why it is inconclusive: the correction for many comparisons, or too little to go by."""
    if ends[1] > 0 or ends[2] < 0:
        return " Alone it would stand out; among so many comparisons, chance brings that about too easily."
    if row["smallest_detectable"] is None:
        return ""
    size = written(row["smallest_detectable"], is_elo(row))
    return f" A difference under {size} {unit(is_elo(row))} would have been missed more than one time in five."


def elo_comparisons(differences: pl.DataFrame) -> list[ShownComparison]:
    """Return the comparisons by Elo, in the order of the table; pairs that nobody compared are left out.

    Args:
        differences: ELO_DIFFERENCES.
    """
    rows = differences.filter(pl.col("n") > 0).to_dicts()
    return [
        _compared(
            row
            | {
                "benchmark": PEOPLE_ELO if row["source"] == PEOPLE else ELO_BENCHMARK,
                "metric": row["quality"],
                "category": ALL,
                "adjusted_p": None,
                "smallest_detectable": row["detectable_difference"],
            },
            row["other_arm"],
        )
        for row in rows
    ]


def span(one: ShownComparison) -> str:
    """Return the difference with its interval."""
    return with_interval(one.difference, one.low, one.high, is_elo(one.row), sign=True)


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


def score_forest(caption: str, scores: pl.DataFrame, label: Label) -> Forest:
    """Show scores with their intervals.

    Args:
        scores: Rows of EVAL_SCORES in the order to show them; a score that is there for several comparisons is
            shown once, one without a usable answer is left out.
    """
    key = ["arm", "benchmark", "metric", "category"]
    rows = scores.drop_nulls("value").unique(key, keep="first", maintain_order=True).to_dicts()
    ends = [limits(row) for row in rows] if not any(map(is_elo, rows)) else [(row["low"], row["high"]) for row in rows]
    low, high = min((end[0] for end in ends), default=0.0), max((end[1] for end in ends), default=1.0)
    elo = any(map(is_elo, rows))
    drawn = [
        _row(label(row), row["arm"], row["n"], (row["value"], row["low"], row["high"]), elo, "", (low, high))
        for row in rows
    ]
    return _forest(f"{caption}, in {unit(elo)}", drawn, (low, high), elo)


def _row(
    label: str,
    arm: str,
    n: int,
    figures: tuple[float, float, float],
    elo: bool,
    verdict: str,
    ends: tuple[float, float],
    printed: str = "",
) -> ForestRow:
    value, low, high = figures
    counts = counted(n, "comparison" if elo else "item")
    printed = printed or with_interval(value, low, high, elo)
    places = [_place(each, ends) for each in (value, low, high)]
    return ForestRow(label, arm, counts, printed, verdict, *places)


def _place(value: float, ends: tuple[float, float]) -> float:
    low, high = ends
    share = (value - low) / (high - low) if high > low else 0.5
    return 100 * min(1.0, max(0.0, share))


def _forest(caption: str, rows: Sequence[ForestRow], ends: tuple[float, float], elo: bool) -> Forest:
    low, high = ends
    zero = _place(0.0, ends) if low < 0 < high else None
    left, right = (written(end, elo, sign=low < 0).removesuffix(".0") for end in ends)
    return Forest(caption, left, right, zero, rows)


def difference_forest(caption: str, found: Sequence[ShownComparison], label: Label) -> Forest:
    """Show differences of two models with their intervals, zero in the middle.

    Args:
        found: Comparisons in the order to show them, all in Elo or none.
    """
    elo = any(is_elo(one.row) for one in found)
    reach = _round_up(max((max(abs(one.low), abs(one.high)) for one in found), default=1.0))
    drawn = [
        _row(
            label(one.row),
            f"{one.row['arm']} against {one.other}",
            one.row["n"],
            (one.difference, one.low, one.high),
            elo,
            VERDICTS[one.verdict],
            (-reach, reach),
            span(one),
        )
        for one in found
    ]
    return _forest(f"{caption}, in {unit(elo)}", drawn, (-reach, reach), elo)


def _round_up(value: float) -> float:
    """Return the next of 1, 2, 5, 10, 20, 50, ... thousandths and so on that is not smaller."""
    if value < 1e-9:  # nothing that could be seen
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * (1 - 1e-9))


def plain_forest(caption: str, figures: Sequence[Figure], ends: tuple[float, float] | None, digits: int) -> Forest:
    """Show any figures with their intervals.

    Args:
        figures: In the order to show them.
        ends: Values at the ends of the line; None for zero in the middle and as far as intervals reach.
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
        for figure, low, high in [tuple(decimals(each, digits, signed) for each in (one.value, one.low, one.high))]
    ]
    left, right = (decimals(end, digits, signed).removesuffix(".0").removesuffix(".00") for end in line)
    return Forest(caption, left, right, _place(0.0, line) if line[0] < 0 < line[1] else None, rows)


def measure(row: Mapping[str, Any]) -> str:
    """Return what a row of EVAL_SCORES measures, with its category if it has one."""
    if row["benchmark"] == ADHERENCE_SCORES:
        return f"adherence to the constitution “{row['category']}”"
    if is_elo(row):
        return f"{row['metric']} ({'Elo by people' if row['benchmark'] == PEOPLE_ELO else 'Elo'})"
    where = f", {category_name(row['category'])}" if row["category"] != ALL else ""
    return f"{metric_name(row['metric'])} on “{row['benchmark']}”{where}"


def metric_name(metric: str) -> str:
    """Return what a metric is called in a sentence."""
    return NAMES.get(metric, metric.replace("_", " "))


def category_name(category: str) -> str:
    """Return a category as a reader sees it."""
    return category.replace("_", " ")


def written(value: float, elo: bool, sign: bool = False) -> str:
    """Return a score: Elo without decimals, everything else in points of a hundred with one.

    Args:
        value: The score, or a difference of scores.
        elo: Whether it is in Elo.
        sign: Whether a positive figure gets a plus.
    """
    return decimals(value, 0, sign) if elo else decimals(100 * value, 1, sign)


def with_interval(value: float, low: float, high: float, elo: bool, sign: bool = False) -> str:
    """Return a figure with its 95 % interval in brackets."""
    return f"{written(value, elo, sign)} ({written(low, elo, sign)} to {written(high, elo, sign)})"


def unit(elo: bool) -> str:
    """Return what `written` counts in."""
    return "Elo" if elo else "points"


def limits(row: Mapping[str, Any]) -> tuple[float, float]:
    """Return the smallest and largest value a score of this row's metric can have."""
    return metric_limits(row["metric"])
