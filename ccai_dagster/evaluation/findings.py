"""Says in sentences what a table of scores shows: what differs, what does not, what cannot be told.

Figures come from `scores`; nothing is computed here but the words. Sentences about Elo stand in `elo_findings`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from ccai_dagster.evaluation.scores import ADHERENCE_SCORES, ALL, ELO_BENCHMARK, PEOPLE_ELO, metric_limits

SMALL_SHARE = 0.05
"""A difference is called small if its whole interval lies within this share of the metric's range."""
MANY_UNANSWERED = 0.1
"""From this share of unreadable answers on, they are mentioned."""


def findings(scores: pl.DataFrame) -> list[str]:
    """Sum up a table of scores for a reader without statistics.

    A difference is told from none if its 95 % interval leaves out zero. Nothing is corrected for the number
    of comparisons; a sentence says how many of them chance alone would be expected to single out.

    Args:
        scores: EVAL_SCORES.

    Returns:
        Sentences, in the order to read them. Names of benchmarks and arms are as in the consultation (escape
        them where they are shown).
    """
    shown = scores.filter((pl.col("category") == ALL) | (pl.col("benchmark") == ADHERENCE_SCORES))
    shown = shown.sort("benchmark", "metric", "category", "arm")
    compared = list(shown.filter(pl.col("difference").is_not_null()).iter_rows(named=True))
    differ = [row for row in compared if row["difference_low"] > 0 or row["difference_high"] < 0]
    others = [row for row in compared if row not in differ]
    same = [row for row in others if _within(row, SMALL_SHARE)]
    unclear = [row for row in others if row not in same]
    sentences = [_difference(row) for row in differ]
    if compared and not differ:
        sentences.append(f"None of {len(compared)} paired comparisons shows a difference.")
    if differ:
        sentences.append(
            f"{len(compared)} differences were looked at, and {len(differ)} of them stand out; chance alone "
            f"would be expected to single out about {_count(len(compared) * 0.05)}."
        )
    if same:
        sentences.append(
            f"No difference beyond {SMALL_SHARE:.0%} of the scale in {_counted(same)}: {_measures(same)}."
        )
    if unclear:
        sentences.append(
            f"Too few items to tell whether there is a difference in {_counted(unclear)}: {_measures(unclear)}. "
            f"The widest interval of a difference lies {_reach(max(unclear, key=_width))}."
        )
    sentences += _unanswered(shown)
    if shown["judge_at_chance"].any():
        sentences.append(
            "Adherence and the judge's Elo rest on a feedback model that, on comparisons labelled by people, was not "
            "measurably better than a coin. They show that the machinery works, not how the models behave."
        )
    return sentences


def _within(row: Mapping[str, Any], share: float) -> bool:
    low, high = metric_limits(row["metric"])
    return max(abs(row["difference_low"]), abs(row["difference_high"])) <= share * (high - low)


def _measure(row: Mapping[str, Any]) -> str:
    name = str(row["metric"]).replace("_", " ")
    if row["benchmark"] == ADHERENCE_SCORES:
        return f"adherence to the constitution `{row['category']}`"
    return f"{name} on `{row['benchmark']}`"


def _counted(rows: Sequence[Mapping[str, Any]]) -> str:
    return "1 comparison" if len(rows) == 1 else f"{len(rows)} comparisons"


def _measures(rows: Sequence[Mapping[str, Any]]) -> str:
    """Name each measure once, with how many pairs of arms it was compared for if more than one."""
    pairs: dict[str, int] = {}
    for row in rows:
        pairs[_measure(row)] = pairs.get(_measure(row), 0) + 1
    return "; ".join(name if n == 1 else f"{name} ({n} pairs)" for name, n in pairs.items())


def _width(row: Mapping[str, Any]) -> float:
    return float(row["difference_high"] - row["difference_low"])


def _reach(row: Mapping[str, Any]) -> str:
    return f"between {_points(row['difference_low'])} and {_points(row['difference_high'])} points"


def _points(value: float) -> str:
    rounded = round(100 * value, 1)
    return f"{rounded:+.1f}".replace("-", "\u2212") if rounded else "0"


def _count(expected: float) -> str:
    return "one or none" if expected < 1.5 else f"{expected:.0f}"


def _difference(row: Mapping[str, Any]) -> str:
    direction = "higher" if row["difference"] > 0 else "lower"
    chance = " The judge behind this figure is at chance." if row["judge_at_chance"] else ""
    measure = _measure(row)
    size = _points(abs(row["difference"])).lstrip("+")
    return (
        f"{measure[0].upper()}{measure[1:]} is {direction} for `{row['arm']}` than for "
        f"`{row['compared_with']}`: by {size} points (95 % interval {_reach(row)}).{chance}"
    )


def _unanswered(table: pl.DataFrame) -> list[str]:
    many = table.filter(pl.col("n_unanswered") > MANY_UNANSWERED * (pl.col("n").clip(lower_bound=1)))
    return [
        f"{row['n_unanswered']} of {row['n']} answers of `{row['arm']}` could not be read: {_measure(row)}."
        for row in many.filter(~pl.col("benchmark").is_in([ELO_BENCHMARK, PEOPLE_ELO])).iter_rows(named=True)
    ]
