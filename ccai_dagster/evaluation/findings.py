"""Says what scores and comparisons of arms show: what differs, what by too little to matter, what cannot be told.

Belongs here: the rule by which a difference is one of the three (`verdict`), which every page, command and sentence
follows; sentences. Figures come from `scores`, `elo` and `ratings`; nothing is computed here but the words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import polars as pl

from ccai_dagster.consultation.folder import BASE
from ccai_dagster.decisions.checks import Finding
from ccai_dagster.evaluation.ratings import WITH_JUDGE
from ccai_dagster.evaluation.scores import (
    ADHERENCE_SCORES,
    ALL,
    ELO_BENCHMARK,
    FEEDBACK_MODEL,
    PEOPLE_ELO,
    metric_limits,
)
from ccai_dagster.evaluation.sets.opinion_qa import METRIC
from ccai_dagster.feedback.judge_accuracy import AT_CHANCE, BY_JUDGE_AT_CHANCE, scores_at_chance
from ccai_dagster.statistics.paired import LEVEL

Row = Mapping[str, Any]
"""A row of the table at hand, by column."""
SMALL_SHARE = 0.05
"""A difference is too small to matter if its whole interval lies within this share of the metric's range."""
SMALL_SHARES = {METRIC: 0.01}
"""Metrics whose scale is squeezed, so that less of it is small: models that know nothing of a group's opinions and
models that know much lie a few hundredths apart."""
SMALL_ELO = 35.0
"""Elo by which one wins 55 of 100 comparisons: 400 log10(0.55 / 0.45); as small as 5 points of a share."""
Verdict = Literal["higher", "lower", "alike", "unclear"]
VERDICTS: Mapping[Verdict, str] = {
    "higher": "higher",
    "lower": "lower",
    "alike": "too little to matter",
    "unclear": "cannot tell",
}
"""Every verdict in the words of tables."""
MANY_UNANSWERED = 0.1
"""From this share of unreadable answers on, they are mentioned."""


def verdict(low: float, high: float, small: float, adjusted_p: float | None = None) -> Verdict:
    """Return what a difference shows by its interval.

    Args:
        low: Lower end of its 95 % interval.
        high: Upper end.
        small: What is too small to matter, in the same unit (`small_difference`); 0 where nothing is.
        adjusted_p: Its p value, corrected for the number of comparisons; None if it was not tested.

    Returns:
        `alike` if the whole interval lies within what is too small to matter, whether or not it leaves out zero;
        else `higher` or `lower` if it leaves out zero and the corrected p value, if any, is at most 5 %; else
        `unclear`.
    """
    if max(abs(low), abs(high)) <= small:
        return "alike"
    if (low > 0 or high < 0) and (adjusted_p is None or adjusted_p <= LEVEL):
        return "higher" if low > 0 else "lower"
    return "unclear"


def score_verdict(row: Row) -> Verdict:
    """Return the verdict on a row of EVAL_SCORES that compares two models."""
    return verdict(row["difference_low"], row["difference_high"], small_difference(row), row["adjusted_p"])


def small_difference(row: Row) -> float:
    """Return the difference that is too small to matter, by benchmark and metric of a row of EVAL_SCORES."""
    if is_elo(row):
        return SMALL_ELO
    low, high = metric_limits(row["metric"])
    return SMALL_SHARES.get(row["metric"], SMALL_SHARE) * (high - low)


def is_elo(row: Row) -> bool:
    """Return whether a row is in Elo, which has no ends, and not in points of a hundred."""
    return row["benchmark"] in (ELO_BENCHMARK, PEOPLE_ELO)


def findings(scores: pl.DataFrame) -> list[str]:
    """Sum up a table of scores for a reader without statistics, by `verdict`.

    Differences whose own interval leaves out zero, but that do not survive the correction, are counted.

    Returns:
        Sentences, in the order to read them. Names of benchmarks and arms are as in the consultation (escape
        them where they are shown).
    """
    shown = scores.filter((pl.col("category") == ALL) | (pl.col("benchmark") == ADHERENCE_SCORES))
    shown = shown.sort("benchmark", "metric", "category", "arm")
    compared = list(shown.filter(pl.col("difference").is_not_null()).iter_rows(named=True))
    differ = [row for row in compared if score_verdict(row) in ("higher", "lower")]
    same = [row for row in compared if score_verdict(row) == "alike"]
    open_ = [row for row in compared if score_verdict(row) == "unclear"]
    alone = [row for row in open_ if row["difference_low"] > 0 or row["difference_high"] < 0]
    unclear = [row for row in open_ if row not in alone]
    sentences = [_difference(row) for row in differ]
    if compared and not differ:
        sentences.append(f"None of {len(compared)} paired comparisons shows a difference that could matter.")
    if alone:
        sentences.append(
            f"In {_counted(alone)} there is a difference if each is looked at alone, but none that is larger "
            f"than what chance singles out among this many: {_measures(alone)}."
        )
    if same:
        sentences.append(f"No difference beyond {SMALL_SHARE:.0%} of the scale in {_counted(same)}: {_measures(same)}.")
    if unclear:
        sentences.append(
            f"Too few items to tell whether there is a difference in {_counted(unclear)}: {_measures(unclear)}. "
            f"The widest interval of a difference lies {_reach(max(unclear, key=_width))}.{_detectable(unclear)}"
        )
    sentences += _unanswered(shown)
    if shown["judge_at_chance"].any():
        sentences.append(scores_at_chance(shown.filter("judge_at_chance")["benchmark"].to_list()))
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
        & (pl.col("difference_high") < 0)
        & (pl.col("adjusted_p") <= LEVEL)
    )
    return [
        Finding(
            "warning",
            "",
            None,
            "/".join([row["arm"], row["benchmark"], row["metric"], row["category"]]),
            f"lower than {BASE} by {_points(abs(row['difference'])).lstrip('+')} points (95 % interval "
            f"{_reach(row)}, {_chance(row['adjusted_p'])}); look at what training cost before this arm is used",
        )
        for row in worse.sort("benchmark", "metric", "category", "arm").iter_rows(named=True)
    ]


def elo_findings(differences: pl.DataFrame, agreement: pl.DataFrame) -> list[str]:
    """Sum up comparisons of arms for a reader without statistics.

    Args:
        differences: ELO_DIFFERENCES.
        agreement: RATER_AGREEMENT.

    Returns:
        Sentences, in the order to read them. Names of arms are as in the consultation (escape them where they are
        shown).
    """
    sentences: list[str] = []
    ordered = differences.sort("quality", "source", "arm", "other_arm")
    for _, own in ordered.group_by(["quality", "source"], maintain_order=True):
        sentences += _compared(own.to_dicts())
    people = ordered.filter(pl.col("source") != FEEDBACK_MODEL)
    if people.height and people["n_raters"].max() == 1:
        sentences.append("Only one person rated: the intervals hold for this person, not for others.")
    for row in agreement.sort("quality", "arm_a", "arm_b", "between").to_dicts():
        sentences.append(_agreement(row))
    return sentences


def _measure(row: Row) -> str:
    name = str(row["metric"]).replace("_", " ")
    if row["benchmark"] == ADHERENCE_SCORES:
        return f"adherence to the constitution `{row['category']}`"
    return f"{name} on `{row['benchmark']}`"


def _counted(rows: Sequence[Row]) -> str:
    return "1 comparison" if len(rows) == 1 else f"{len(rows)} comparisons"


def _measures(rows: Sequence[Row]) -> str:
    """Name each measure once, with how many pairs of arms it was compared for if more than one."""
    pairs: dict[str, int] = {}
    for row in rows:
        pairs[_measure(row)] = pairs.get(_measure(row), 0) + 1
    return "; ".join(name if n == 1 else f"{name} ({n} pairs)" for name, n in pairs.items())


def _width(row: Row) -> float:
    return float(row["difference_high"] - row["difference_low"])


def _reach(row: Row) -> str:
    return f"between {_points(row['difference_low'])} and {_points(row['difference_high'])} points"


def _points(value: float) -> str:
    rounded = round(100 * value, 1)
    return f"{rounded:+.1f}".replace("-", "\u2212") if rounded else "0"


def _detectable(rows: Sequence[Row]) -> str:
    """Say how large a difference would have had to be, in the measures for which that can be told."""
    sizes = sorted(row["smallest_detectable"] for row in rows if row["smallest_detectable"] is not None)
    if not sizes:
        return ""
    least, most = (_points(size).lstrip("+") for size in (sizes[0], sizes[-1]))
    span = f"{least} points" if least == most else f"{least} to {most} points, depending on the measure"
    return f" To be found with a probability of 80 %, a difference would have had to be {span}."


def _difference(row: Row) -> str:
    direction = "higher" if row["difference"] > 0 else "lower"
    chance = BY_JUDGE_AT_CHANCE if row["judge_at_chance"] else ""
    measure = _measure(row)
    size = _points(abs(row["difference"])).lstrip("+")
    return (
        f"{measure[0].upper()}{measure[1:]} is {direction} for `{row['arm']}` than for "
        f"`{row['compared_with']}`: by {size} points (95 % interval {_reach(row)}, "
        f"{_chance(row['adjusted_p'])}).{chance}"
    )


def _chance(adjusted_p: float | None) -> str:
    if adjusted_p is None:
        return "not corrected for the number of comparisons"
    shown = "p below 0.001" if adjusted_p < 0.001 else f"p = {adjusted_p:.3f}"
    return f"{shown} corrected for the number of comparisons"


def _unanswered(table: pl.DataFrame) -> list[str]:
    many = table.filter(pl.col("n_unanswered") > MANY_UNANSWERED * (pl.col("n").clip(lower_bound=1)))
    return [
        f"{row['n_unanswered']} of {row['n']} answers of `{row['arm']}` could not be read: {_measure(row)}."
        for row in many.filter(~pl.col("benchmark").is_in([ELO_BENCHMARK, PEOPLE_ELO])).iter_rows(named=True)
    ]


def _compared(rows: Sequence[Row]) -> list[str]:
    """Say for one quality and source who is preferred, who cannot be told apart, and what could be seen."""
    quality, machine = rows[0]["quality"], rows[0]["source"] == FEEDBACK_MODEL
    judge = _judge(rows[0])
    silent = [row for row in rows if row["n"] == 0 and row["n_unanswered"] > 0]
    shown = {name: [row for row in rows if row not in silent and _elo_verdict(row) == name] for name in VERDICTS}
    unclear = shown["unclear"]
    sentences = []
    if silent:
        sentences.append(f"T{judge[1:]} answered no comparison of {_pairs(silent)} for {quality}.")
    for row in [*shown["higher"], *map(_reversed, shown["lower"])]:
        prefer = f"{judge} prefers" if machine else "people prefer"
        finite = " It never lost, so only the lower end says something." if row["separated"] else ""
        sentences.append(
            f"For {quality} {prefer} `{row['arm']}` to `{row['other_arm']}` more often than not "
            f"({_figures(row)}).{finite}"
        )
    whose = f"the preferences of {judge}" if machine else "people's ratings"
    if shown["alike"]:
        figures = "; ".join(f"{_pairs([row])} ({_figures(row)})" for row in shown["alike"])
        sentences.append(f"For {quality} {whose} differ by too little to matter, if at all: {figures}.")
    if unclear:
        figures = "; ".join(f"{_pairs([row])} ({_figures(row)})" for row in unclear)
        sentences.append(f"For {quality} {whose} do not tell apart: {figures}.")
        least = min(row["smallest_difference"] for row in unclear)
        counts = sorted({row["n"] for row in unclear})
        n = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        sentences.append(f"With {n} comparisons like these a difference under {least:.0f} Elo cannot be seen.")
    if many := [row for row in rows if row["n"] and row["n_unanswered"]]:
        unread = ", ".join(f"{row['n_unanswered']} of {_pairs([row])}" for row in many)
        sentences.append(f"Comparisons for {quality} that {judge} did not answer: {unread}.")
    return sentences


def _elo_verdict(row: Row) -> Verdict:
    return verdict(row["difference_low"], row["difference_high"], SMALL_ELO)


def _judge(row: Row) -> str:
    return f"the judge ({AT_CHANCE})" if row["judge_at_chance"] else "the judge"


def _pairs(rows: Sequence[Row]) -> str:
    names = [f"`{row['arm']}` and `{row['other_arm']}`" for row in rows]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])}, or {names[-1]}"


def _figures(row: Row) -> str:
    text = (
        f"Elo {row['difference']:+z.0f}, 95 % interval {row['difference_low']:+z.0f} to "
        f"{row['difference_high']:+z.0f}, {row['n']} comparisons"
    )
    raters = f" by {row['n_raters']} raters" if row["n_raters"] > 1 else ""
    return text.replace("-", "\u2212") + raters


def _reversed(row: Row) -> Row:
    """Return the same difference, seen from the other arm."""
    return {
        **row,
        "arm": row["other_arm"],
        "other_arm": row["arm"],
        "difference": -row["difference"],
        "difference_low": -row["difference_high"],
        "difference_high": -row["difference_low"],
    }


def _agreement(row: Row) -> str:
    arms = f"on responses of `{row['arm_a']}` and `{row['arm_b']}`, for {row['quality']}"
    whose = f"T{_judge(row)[1:]} and people name" if row["between"] == WITH_JUDGE else "Two people name"
    undecided = f"; {row['n_undecided']} more say neither" if row["n_undecided"] else ""
    if not row["n"]:
        return f"{whose} a better response together in no case {arms}{undecided}."
    if row["kappa"] is None:
        kappa = "Cohen's kappa is not defined, since both always name the same arm"
    else:
        kappa = (
            f"Cohen's kappa {row['kappa']:z.2f}, 95 % interval {row['kappa_low']:z.2f} to {row['kappa_high']:z.2f}"
        ).replace("-", "\u2212")
    return f"{whose} the same response in {row['agreement']:.0%} of {row['n']} cases {arms} ({kappa}{undecided})."
