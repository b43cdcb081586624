"""What a measurement of the feedback model says: better than chance, worse, or not told from it, and the words for it.

How it is measured is in `calibration`. Nothing heavy is imported here, since commands that only read say it as well.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

import polars as pl

Verdict = Literal["above", "not told", "below"]
"""Where the interval of the accuracy lies: above one half, around it, or below, where labels teach the opposite."""

SCORED_BY = "letters"
"""How the feedback model is asked when models are compared and their adherence is measured."""
IN_WORDS: dict[Verdict, str] = {
    "above": "better than chance",
    "not told": "not told from chance",
    "below": "worse than chance",
}
"""What one measurement on one set of comparisons came to."""
AT_CHANCE = "at chance"
"""What a judge is said to be beside a figure that rests on it, where two words must do."""
BY_JUDGE_AT_CHANCE = f" (By a judge {AT_CHANCE}.)"
"""Behind a sentence about such a figure."""
GUESSING = "a judge that could not be told from guessing"
"""Where there is room."""
SCORES_AT_CHANCE = (
    f"Adherence and the judge's Elo rest on {GUESSING}. They show that the machinery works, not how the models behave."
)


def verdict(low: float, high: float) -> Verdict:
    """Return what the interval of an accuracy, each end from 0 to 1, says about a judge."""
    return "above" if low > 0.5 else "below" if high < 0.5 else "not told"


def _verdicts(methods: Collection[str], calibration: pl.DataFrame) -> list[Verdict]:
    measured = calibration.filter(pl.col("method").is_in(list(methods)))
    return [verdict(*ends) for ends in measured.select("accuracy_low", "accuracy_high").iter_rows()]


def told(row: Mapping[str, Any]) -> str:
    """Say what a row of JUDGE_CALIBRATION came to."""
    return IN_WORDS[verdict(row["accuracy_low"], row["accuracy_high"])]


def measured_at_chance(method: str, calibration: pl.DataFrame) -> bool | None:
    """Tell whether the feedback model, asked in this way, was not shown to be better than chance; None if not measured.

    Args:
        method: How it is asked.
        calibration: JUDGE_CALIBRATION; one set on which it is not above chance is enough.
    """
    found = _verdicts([method], calibration)
    return any(each != "above" for each in found) if found else None


def judge_at_chance(method: str, calibration: pl.DataFrame) -> bool:
    """Tell whether what rests on the feedback model, asked in this way, is marked: at chance, or not measured."""
    return measured_at_chance(method, calibration) is not False


def judge_verdict(methods: Collection[str], calibration: pl.DataFrame) -> tuple[bool, str]:
    """Return whether the feedback model can be trusted at all, and what follows, from its measured figures.

    Args:
        methods: All ways in which it was asked.
        calibration: JUDGE_CALIBRATION.
    """
    found = _verdicts(methods, calibration)
    below, doubtful = found.count("below"), len(found) - found.count("above")
    if any(measured_at_chance(method, calibration) is None for method in methods):
        return False, (
            "The feedback model was not measured in the way it was asked. Nothing is known about its judgement, so no "
            "score that rests on it says anything about the models."
        )
    if below:
        where = "" if below == len(found) else f"In {below} of {len(found)} measurements "
        return False, (
            f"{where}{'the' if where else 'The'} feedback model was worse than somebody who guesses: the whole "
            "interval of how often it agreed with people lies below one half. Its labels teach the opposite of what "
            "people preferred, and scores that rest on it may be turned around."
        )
    includes = "the interval of how often it agreed with people includes one half"
    if doubtful == len(found):
        return False, (
            f"The feedback model could not be told from somebody who guesses: {includes}. Its labels, the models "
            "trained on them, and every score that rests on it show that the machinery works. They do not show what "
            "these principles do to a model."
        )
    if doubtful:
        return False, (
            f"In {doubtful} of {len(found)} measurements the feedback model could not be told from somebody who "
            f"guesses: {includes}. Scores that rest on it are weak evidence."
        )
    return True, (
        "The feedback model judges better than guessing: the interval of how often it agreed with people lies above "
        "one half. Scores that rest on it carry the error that is left."
    )
