"""What a score is called and how it is printed, wherever it is shown.

Belongs here: names of metrics and ways to write a figure. Doesn't belong here: what follows from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ccai_dagster.evaluation.benchmark_sets.opinion_qa import METRIC
from ccai_dagster.evaluation.scores import ADHERENCE_SCORES, ALL, ELO_BENCHMARK, PEOPLE_ELO, metric_limits
from ccai_dagster.pages.templates import decimals

NAMES = {
    "accuracy_ambiguous": "accuracy without the facts",
    "accuracy_disambiguated": "accuracy with the facts",
    "bias_ambiguous": "bias without the facts",
    "bias_disambiguated": "bias with the facts",
    "refusal_safe": "refusals of safe requests",
    "refusal_unsafe": "refusals of unsafe requests",
}
"""How the page calls a metric whose own name does not say enough."""
SMALL_ELO = 35.0
"""Elo by which one wins 55 of 100 comparisons: 400 log10(0.55 / 0.45); as small as 5 points of a share."""

SMALL_SHARES = {METRIC: 0.01}
"""Metrics whose scale is squeezed, so that less of it is small: models that know nothing of a group's opinions and
models that know much lie a few hundredths apart."""


def metric_name(metric: str) -> str:
    """Return what a metric is called in a sentence."""
    return NAMES.get(metric, metric.replace("_", " "))


def measure(row: Mapping[str, Any]) -> str:
    """Return what a row of EVAL_SCORES measures, with its category if it has one."""
    if row["benchmark"] == ADHERENCE_SCORES:
        return f"adherence to the constitution “{row['category']}”"
    if is_elo(row):
        return f"{row['metric']} ({'Elo by people' if row['benchmark'] == PEOPLE_ELO else 'Elo'})"
    where = f", {category_name(row['category'])}" if row["category"] != ALL else ""
    return f"{metric_name(row['metric'])} on “{row['benchmark']}”{where}"


def category_name(category: str) -> str:
    """Return a category as a reader sees it."""
    return category.replace("_", " ")


def is_elo(row: Mapping[str, Any]) -> bool:
    """Tell whether a row is in Elo, which has no ends, and not in points of a hundred."""
    return row["benchmark"] in (ELO_BENCHMARK, PEOPLE_ELO)


def limits(row: Mapping[str, Any]) -> tuple[float, float]:
    """Return the smallest and largest value a score of this row's metric can have."""
    return metric_limits(row["metric"])


def small(row: Mapping[str, Any], share: float) -> float:
    """Return the difference that is called small: a share of the metric's range, or what it is in Elo."""
    low, high = limits(row)
    share = SMALL_SHARES.get(row["metric"], share)
    return SMALL_ELO if is_elo(row) else share * (high - low)


def written(value: float, elo: bool, sign: bool = False) -> str:
    """Return a score: Elo without decimals, everything else in points of a hundred with one.

    Args:
        value: The score, or a difference of scores.
        elo: Whether it is in Elo.
        sign: Whether a positive figure gets a plus.
    """
    return decimals(value, 0, sign) if elo else decimals(100 * value, 1, sign)


def unit(elo: bool) -> str:
    """Return what `written` counts in."""
    return "Elo" if elo else "points"


def with_interval(value: float, low: float, high: float, elo: bool, sign: bool = False) -> str:
    """Return a figure with its 95 % interval in brackets."""
    return f"{written(value, elo, sign)} ({written(low, elo, sign)} to {written(high, elo, sign)})"
