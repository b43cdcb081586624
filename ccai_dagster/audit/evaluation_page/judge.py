"""The measured worth of the feedback model, told wherever a figure rests on it."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from ccai_dagster.audit.judge_chapter import SCORED_BY, accuracy_sentence, leanings


@dataclass(frozen=True)
class JudgeWorth:
    """What was measured on the feedback model, as it is asked when models are scored.

    Attributes:
        trusted: Whether its accuracy was measured to be above one half, on every set of comparisons.
        headline: The same in one sentence.
        sentences: Figures with their intervals.
    """

    trusted: bool
    headline: str
    sentences: list[str]


def judge_worth(calibration: pl.DataFrame) -> JudgeWorth:
    """Sum up the calibration of the feedback model.

    Args:
        calibration: JUDGE_CALIBRATION.
    """
    rows = calibration.filter(pl.col("method") == SCORED_BY).sort("comparison_set").to_dicts()
    sentences = [" ".join([accuracy_sentence(row), *leanings(row)]) for row in rows]
    if not rows:
        headline = "It is not known how well the judge behind these figures judges: it was not measured."
        return JudgeWorth(False, headline, sentences)
    trusted = all(row["accuracy_low"] > 0.5 for row in rows)
    headline = (
        "The judge behind these figures was measured to be better than guessing; it errs as often as is said here."
        if trusted
        else "The judge behind these figures could not be told from guessing. They show that the machinery works, "
        "not how the models behave."
    )
    return JudgeWorth(trusted, headline, sentences)
