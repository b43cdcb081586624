"""Says in sentences what a table of scores shows: what differs, what does not, what cannot be told, what got worse.

Figures come from `scores`; nothing is computed here but the words. Sentences about Elo stand in `elo_findings`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from ccai_dagster.consultation import BASE
from ccai_dagster.decisions.findings import Finding
from ccai_dagster.evaluation.clustered import LEVEL
from ccai_dagster.evaluation.scores import ADHERENCE_SCORES, ALL, ELO_BENCHMARK, PEOPLE_ELO, metric_limits
from ccai_dagster.feedback.judge_accuracy import BY_JUDGE_AT_CHANCE, SCORES_AT_CHANCE

SMALL_SHARE = 0.05
"""A difference is called small if its whole interval lies within this share of the metric's range."""
MANY_UNANSWERED = 0.1
"""From this share of unreadable answers on, they are mentioned."""


def findings(scores: pl.DataFrame) -> list[str]:
    """Sum up a table of scores for a reader without statistics.

    A difference is told from none if its p value, corrected for the number of comparisons, is at most 5 %.
    Differences whose own interval leaves out zero, but that do not survive the correction, are counted.

    Args:
        scores: EVAL_SCORES.

    Returns:
        Sentences, in the order to read them. Names of benchmarks and arms are as in the consultation (escape
        them where they are shown).
    """
    shown = scores.filter((pl.col("category") == ALL) | (pl.col("benchmark") == ADHERENCE_SCORES))
    shown = shown.sort("benchmark", "metric", "category", "arm")
    compared = list(shown.filter(pl.col("difference").is_not_null()).iter_rows(named=True))
    differ = [row for row in compared if row["adjusted_p"] <= LEVEL]
    others = [row for row in compared if row not in differ]
    alone = [row for row in others if row["p_value"] <= LEVEL]
    same = [row for row in others if row not in alone and _within(row, SMALL_SHARE)]
    unclear = [row for row in others if row not in alone and row not in same]
    sentences = [_difference(row) for row in differ]
    if compared and not differ:
        sentences.append(f"None of {len(compared)} paired comparisons shows a difference.")
    if alone:
        sentences.append(
            f"In {_counted(alone)} there is a difference if each is looked at alone, but none that is larger "
            f"than what chance singles out among this many: {_measures(alone)}."
        )
    if same:
        sentences.append(
            f"No difference beyond {SMALL_SHARE:.0%} of the scale in {_counted(same)}: {_measures(same)}."
        )
    if unclear:
        sentences.append(
            f"Too few items to tell whether there is a difference in {_counted(unclear)}: {_measures(unclear)}. "
            f"The widest interval of a difference lies {_reach(max(unclear, key=_width))}.{_detectable(unclear)}"
        )
    sentences += _unanswered(shown)
    if shown["judge_at_chance"].any():
        sentences.append(SCORES_AT_CHANCE)
    return sentences


def regressions(scores: pl.DataFrame) -> list[Finding]:
    """Return where an arm answers measurably fewer questions rightly than the untrained model.

    Args:
        scores: EVAL_SCORES; metrics of accuracy are looked at, as a whole and by category, with p values
            corrected for the number of comparisons.
    """
    worse = scores.filter(
        pl.col("metric").str.starts_with("accuracy")
        & (pl.col("compared_with") == BASE)
        & (pl.col("difference") < 0)
        & (pl.col("adjusted_p") <= LEVEL)
    )
    return [
        Finding(
            "warning", "", None, "/".join([row["arm"], row["benchmark"], row["metric"], row["category"]]),
            f"lower than {BASE} by {_points(abs(row['difference'])).lstrip('+')} points (95 % interval "
            f"{_reach(row)}, {_chance(row['adjusted_p'])}); look at what training cost before this arm is used",
        )
        for row in worse.sort("benchmark", "metric", "category", "arm").iter_rows(named=True)
    ]  # fmt: skip


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


def _detectable(rows: Sequence[Mapping[str, Any]]) -> str:
    """Say how large a difference would have had to be, in the measures for which that can be told."""
    sizes = sorted(row["smallest_detectable"] for row in rows if row["smallest_detectable"] is not None)
    if not sizes:
        return ""
    least, most = (_points(size).lstrip("+") for size in (sizes[0], sizes[-1]))
    span = f"{least} points" if least == most else f"{least} to {most} points, depending on the measure"
    return f" To be found with a probability of 80 %, a difference would have had to be {span}."


def _difference(row: Mapping[str, Any]) -> str:
    direction = "higher" if row["difference"] > 0 else "lower"
    chance = BY_JUDGE_AT_CHANCE if row["judge_at_chance"] else ""
    measure = _measure(row)
    size = _points(abs(row["difference"])).lstrip("+")
    return (
        f"{measure[0].upper()}{measure[1:]} is {direction} for `{row['arm']}` than for "
        f"`{row['compared_with']}`: by {size} points (95 % interval {_reach(row)}, "
        f"{_chance(row['adjusted_p'])}).{chance}"
    )


def _chance(adjusted_p: float) -> str:
    shown = "p below 0.001" if adjusted_p < 0.001 else f"p = {adjusted_p:.3f}"
    return f"{shown} corrected for the number of comparisons"


def _unanswered(table: pl.DataFrame) -> list[str]:
    many = table.filter(pl.col("n_unanswered") > MANY_UNANSWERED * (pl.col("n").clip(lower_bound=1)))
    return [
        f"{row['n_unanswered']} of {row['n']} answers of `{row['arm']}` could not be read: {_measure(row)}."
        for row in many.filter(~pl.col("benchmark").is_in([ELO_BENCHMARK, PEOPLE_ELO])).iter_rows(named=True)
    ]
