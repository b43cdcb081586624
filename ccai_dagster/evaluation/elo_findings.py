"""Says in sentences what comparisons of arms show, what they cannot show, and whether the judge is like people.

Figures come from `elo` and `rater_agreement`; nothing is computed here but the words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from ccai_dagster.evaluation.outcomes import FEEDBACK_MODEL
from ccai_dagster.evaluation.rater_agreement import WITH_JUDGE
from ccai_dagster.feedback.judge_accuracy import AT_CHANCE

Row = Mapping[str, Any]


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


def _compared(rows: Sequence[Row]) -> list[str]:
    """Say for one quality and source who is preferred, who cannot be told apart, and what could be seen."""
    quality, machine = rows[0]["quality"], rows[0]["source"] == FEEDBACK_MODEL
    judge = _judge(rows[0])
    silent = [row for row in rows if row["n"] == 0 and row["n_unanswered"] > 0]
    told = [row for row in rows if row["difference_low"] > 0 or row["difference_high"] < 0]
    unclear = [row for row in rows if row not in told and row not in silent]
    sentences = []
    if silent:
        sentences.append(f"T{judge[1:]} answered no comparison of {_pairs(silent)} for {quality}.")
    for row in (each if each["difference"] > 0 else _turned(each) for each in told):
        prefer = f"{judge} prefers" if machine else "people prefer"
        finite = " It never lost, so only the lower end says something." if row["separated"] else ""
        sentences.append(
            f"For {quality} {prefer} `{row['arm']}` to `{row['other_arm']}` more often than not "
            f"({_figures(row)}).{finite}"
        )
    if unclear:
        whose = f"the preferences of {judge}" if machine else "people's ratings"
        figures = "; ".join(f"{_pairs([row])} ({_figures(row)})" for row in unclear)
        sentences.append(f"For {quality} {whose} do not tell apart: {figures}.")
        least = min(row["smallest_difference"] for row in unclear)
        counts = sorted({row["n"] for row in unclear})
        n = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        sentences.append(
            f"With {n} comparisons like these a difference under {least:.0f} Elo cannot be seen."
        )
    if many := [row for row in rows if row["n"] and row["n_unanswered"]]:
        unread = ", ".join(f"{row['n_unanswered']} of {_pairs([row])}" for row in many)
        sentences.append(f"Comparisons for {quality} that {judge} did not answer: {unread}.")
    return sentences


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


def _turned(row: Row) -> Row:
    """Return the same difference, told the other way round."""
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
