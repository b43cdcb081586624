"""The measured worth of the feedback model, told wherever a figure rests on it."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from ccai_dagster.audit.judge_chapter import accuracy_sentence, leanings
from ccai_dagster.feedback.judge_accuracy import SCORED_BY, judge_verdict


@dataclass(frozen=True)
class JudgeWorth:
    """What was measured on the feedback model, as it is asked when models are scored.

    Attributes:
        trusted: Whether its accuracy was measured to be above one half, on every set of comparisons.
        headline: The same in words.
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
    return JudgeWorth(*judge_verdict([SCORED_BY], calibration), sentences)
