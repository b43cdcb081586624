"""What a measurement of the feedback model says: better than chance, worse, or not told from it, and the words for it.

Also by which method models are scored, and how much its labels can teach.
How it is measured is in `calibration`. Nothing heavy is imported here, since commands that only read say it as well.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, cast

import polars as pl

from ccai_dagster.consultation.settings import SCORING_METHODS
from ccai_dagster.core.digest import table_digest

if TYPE_CHECKING:
    from ccai_dagster.decisions.values import FeedbackMethod

Verdict = Literal["above", "not told", "below"]
"""Above one half and above a scorer that never sees the principle; below one half, where labels teach the opposite;
or neither."""

SCORED_BY: FeedbackMethod = "letters"
"""How models are scored where the method on record scores no single responses, or was not measured."""
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
GUESSING = "a judge that was not shown to be better than guessing"
"""Where there is room."""


def scores_at_chance(benchmarks: Collection[str]) -> str:
    """Say what a judge at chance means for the scores that rest on it: adherence, Elo or both."""
    tells = "that the machinery works, not how the models behave."
    if "adherence" in benchmarks and "elo" in benchmarks:
        return f"Adherence and the judge's Elo rest on {GUESSING}. They show {tells}"
    if "adherence" in benchmarks:
        return f"Adherence rests on {GUESSING}. It shows {tells}"
    return f"The judge's Elo rests on a judge that was not shown to tell who helps more or harms less. It shows {tells}"


def verdict(row: Mapping[str, Any]) -> Verdict:
    """Return what a row of JUDGE_CALIBRATION says about a judge."""
    if row["accuracy_high"] < 0.5:
        return "below"
    return "above" if row["accuracy_low"] > 0.5 and row["over_blind_low"] > 0 else "not told"


def scoring_method(recorded: FeedbackMethod, measured: Iterable[str]) -> FeedbackMethod:
    """Return by which method models are scored: the one on record where it scores single responses and was measured."""
    return recorded if recorded in SCORING_METHODS and recorded in measured else SCORED_BY


def scored_by(calibration: pl.DataFrame) -> FeedbackMethod:
    """Return by which method models are scored, as JUDGE_CALIBRATION tells it."""
    found = calibration.filter("scores_models")["method"].unique()
    return cast("FeedbackMethod", found.item()) if len(found) else SCORED_BY


def scoring_sentence(calibration: pl.DataFrame) -> str:
    """Say by which method models are scored, and whether the same judge made the labels."""
    method = scored_by(calibration)
    if method not in SCORING_METHODS:
        return (
            f"Models are scored by the feedback model, asked by the method “{method}”, whatever made the labels. "
            "If it made them, too, a model may have learnt to please it and no more."
        )
    shown = (
        f"The same judge (“{method}”) made the labels and scores the models. A model may have learnt to please it and "
        "no more: adherence, Elo and specificity show how far training followed this judge."
    )
    if method != "likeness":
        return shown
    return (
        f"{shown} It hears manner and topic, not right and wrong: whatever it is worth under principles, Elo is marked "
        "as by a judge at chance."
    )


def scored_elo_at_chance(calibration: pl.DataFrame) -> bool:
    """Tell whether Elo is marked: likeness is measured under principles, and hears nothing of who helps or harms."""
    method = scored_by(calibration)
    return method == "likeness" or judge_at_chance(method, calibration)


TIE = 1e-6
"""A label this near one half prefers neither response: what is left is rounding."""
BESIDE = (
    *(f"{name}{end}" for name in ("blind_accuracy", "over_blind") for end in ("", "_low", "_high")),
    *("blind_scorer", "label_distance", "ties"),
)
"""Columns of JUDGE_CALIBRATION that nothing is made of, beside the verdict that follows from them (`at_chance`)."""


def figures_digest(calibration: pl.DataFrame) -> str:
    """Return the digest by which a decision cites JUDGE_CALIBRATION; it does not change with the decision itself."""
    return table_digest(calibration.drop(*BESIDE, "scores_models", strict=False))


def calibration_version(calibration: pl.DataFrame) -> str:
    """Return the data version of JUDGE_CALIBRATION: what is made of it changes with verdicts, and with who scores."""
    if "scores_models" not in calibration.columns or scored_by(calibration) == SCORED_BY:
        return figures_digest(calibration)
    return table_digest(calibration.drop(*BESIDE))


def label_distance(judged: pl.DataFrame) -> float:
    """Return the mean distance of labels from one half, 0 to 0.5; an unusable answer is one half.

    Args:
        judged: JUDGE_ANSWERS or PREFERENCE_PAIRS.
    """
    return float(judged.select((pl.col("probability_a").fill_null(0.5) - 0.5).abs().mean()).item() or 0.0)


def share_of_ties(judged: pl.DataFrame) -> float:
    """Return the share of labels that prefer neither response; the argument is that of `label_distance`."""
    tie = (pl.col("probability_a").fill_null(0.5) - 0.5).abs() <= TIE
    return float(judged.select(tie.mean()).item() or 0.0)


def strength_sentence(row: Mapping[str, Any]) -> str:
    """Say how much the answers behind a row of JUDGE_CALIBRATION could teach."""
    return (
        f"Its answers stand {row['label_distance']:.3f} from one half on average (0.5 is certain, 0 teaches nothing), "
        f"{row['ties']:.0%} are ties, and {row['flip_rate']:.0%} stay the same when the responses change places."
    )


def _verdicts(methods: Collection[str], calibration: pl.DataFrame) -> list[Verdict]:
    measured = calibration.filter(pl.col("method").is_in(list(methods)))
    return [verdict(row) for row in measured.iter_rows(named=True)]


def told(row: Mapping[str, Any]) -> str:
    """Say what a row of JUDGE_CALIBRATION came to."""
    found = verdict(row)
    if found == "not told" and row["accuracy_low"] > 0.5:
        return "not told from a scorer that never sees the principle"
    return IN_WORDS[found]


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
    includes = (
        "the interval of how often it agreed with people includes one half, or it was not more often right than a "
        "scorer that never sees the principle"
    )
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
        "one half, and it was more often right than a scorer that never sees the principle. Scores that rest on it "
        "carry the error that is left."
    )
