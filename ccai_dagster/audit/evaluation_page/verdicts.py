"""What each comparison of two models shows: a difference, none worth speaking of, or nothing that can be told.

Belongs here: the verdict on a row of scores, and its sentence. Doesn't belong here: intervals and tests, which
come with the row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from ccai_dagster.audit.evaluation_page.measures import is_elo, measure, small, unit, with_interval, written
from ccai_dagster.evaluation.clustered import LEVEL
from ccai_dagster.evaluation.findings import SMALL_SHARE
from ccai_dagster.evaluation.outcomes import PEOPLE
from ccai_dagster.evaluation.scores import ALL, ELO_BENCHMARK, PEOPLE_ELO
from ccai_dagster.feedback.judge_accuracy import BY_JUDGE_AT_CHANCE

Verdict = Literal["higher", "lower", "alike", "unclear"]


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
        """The difference in units of what is called small."""
        return abs(self.difference) / small(self.row, SMALL_SHARE)


def comparisons(scores: pl.DataFrame) -> list[ShownComparison]:
    """Return every comparison in a table of scores, in the order of its rows.

    A difference is told where its interval leaves out zero and, if it was tested, the corrected p value is
    at most 5 %. There is none worth speaking of where the whole interval lies within 5 % of the metric's range,
    or within 35 Elo. Everything else cannot be told.

    Args:
        scores: EVAL_SCORES; Elo is compared in a table of its own.
    """
    return [_compared(row, row["compared_with"]) for row in scores.drop_nulls("difference").to_dicts()]


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


def _compared(row: Mapping[str, Any], other: str) -> ShownComparison:
    ends = (row["difference"], row["difference_low"], row["difference_high"])
    verdict = _verdict(row, *ends[1:])
    return ShownComparison(row, other, *ends, verdict, _sentence(row, other, ends, verdict))


def _verdict(row: Mapping[str, Any], low: float, high: float) -> Verdict:
    tested = row["adjusted_p"] is None or row["adjusted_p"] <= LEVEL
    if (low > 0 or high < 0) and tested:
        return "higher" if low > 0 else "lower"
    return "alike" if max(abs(low), abs(high)) <= small(row, SMALL_SHARE) else "unclear"


def _sentence(row: Mapping[str, Any], other: str, ends: tuple[float, float, float], verdict: Verdict) -> str:
    elo, name = is_elo(row), measure(row)
    what, arm = name[0].upper() + name[1:], f"“{row['arm']}”"
    span = f"95% interval {written(ends[1], elo, True)} to {written(ends[2], elo, True)}"
    marked = BY_JUDGE_AT_CHANCE if row["judge_at_chance"] else ""
    if verdict in ("higher", "lower"):
        size = written(abs(ends[0]), elo)
        return f"{what} is {verdict} for {arm} than for “{other}”, by {size} {unit(elo)} ({span}).{marked}"
    told = f"{what}: {arm} against “{other}” {written(ends[0], elo, True)} {unit(elo)} ({span})"
    if verdict == "alike":
        return f"{told}, so less than {written(small(row, SMALL_SHARE), elo)} either way.{marked}"
    return f"{told}.{_reach(row, ends)}{marked}"


def _reach(row: Mapping[str, Any], ends: tuple[float, float, float]) -> str:
    """Say why nothing can be told: the correction for many comparisons, or too little to go by."""
    if ends[1] > 0 or ends[2] < 0:
        return " Alone it would stand out; among so many comparisons, chance brings that about too easily."
    if row["smallest_detectable"] is None:
        return ""
    size = written(row["smallest_detectable"], is_elo(row))
    return (
        f" A difference under {size} {unit(is_elo(row))} would have been missed more than one time in five."
    )


def span(one: ShownComparison) -> str:
    """Return the difference with its interval."""
    return with_interval(one.difference, one.low, one.high, is_elo(one.row), sign=True)
