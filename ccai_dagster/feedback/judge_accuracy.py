"""When the feedback model counts as no better than chance, and the words for it where a figure rests on its judgement.

How it is measured is in `calibration`. Nothing heavy is imported here, since commands that only read say it as well.
"""

from __future__ import annotations

from collections.abc import Collection

import polars as pl

SCORED_BY = "letters"
"""How the feedback model is asked when models are compared and their adherence is measured."""
NO_BETTER = "no better than chance"
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


def measured_at_chance(method: str, calibration: pl.DataFrame) -> bool | None:
    """Tell whether the feedback model, asked in this way, is no better than chance; None if it was not measured.

    Args:
        method: How it is asked.
        calibration: JUDGE_CALIBRATION; one set on which it is at chance is enough.
    """
    measured = calibration.filter(pl.col("method") == method)["at_chance"]
    return bool(measured.any()) if measured.len() else None


def judge_at_chance(method: str, calibration: pl.DataFrame) -> bool:
    """Tell whether what rests on the feedback model, asked in this way, is marked: at chance, or not measured."""
    return measured_at_chance(method, calibration) is not False


def judge_verdict(methods: Collection[str], calibration: pl.DataFrame) -> tuple[bool, str]:
    """Return whether the feedback model can be trusted at all, and what follows, from its measured figures.

    Args:
        methods: All ways in which it was asked.
        calibration: JUDGE_CALIBRATION.
    """
    measured = calibration.filter(pl.col("method").is_in(list(methods)))["at_chance"]
    doubtful = measured.sum()
    if any(measured_at_chance(method, calibration) is None for method in methods):
        return False, (
            "The feedback model was not measured in the way it was asked. Nothing is known about its judgement, so no "
            "score that rests on it says anything about the models."
        )
    includes = "the interval of how often it agreed with people includes one half or lies below it"
    if doubtful == measured.len():
        return False, (
            f"The feedback model could not be told from somebody who guesses: {includes}. Its labels, the models "
            "trained on them, and every score that rests on it show that the machinery works. They do not show what "
            "these principles do to a model."
        )
    if doubtful:
        return False, (
            f"In {doubtful} of {measured.len()} measurements the feedback model could not be told from somebody who "
            f"guesses: {includes}. Scores that rest on it are weak evidence."
        )
    return True, (
        "The feedback model judges better than guessing: the interval of how often it agreed with people lies above "
        "one half. Scores that rest on it carry the error that is left."
    )
