from __future__ import annotations

import polars as pl
import pytest
from small_report import calibration

from ccai_dagster.contracts import JUDGE_CALIBRATION
from ccai_dagster.feedback.judge_accuracy import (
    judge_at_chance,
    judge_verdict,
    label_distance,
    measured_at_chance,
    scored_by,
    scored_elo_at_chance,
    scoring_sentence,
    share_of_ties,
    strength_sentence,
    verdict,
)

ABOVE, INCLUDED, BELOW = (0.6, 0.8), (0.4, 0.6), (0.2, 0.4)


def measured(**intervals: tuple[float, float]) -> pl.DataFrame:
    """Calibration of methods whose accuracy has this interval."""
    return JUDGE_CALIBRATION.build([calibration(low, high, method) for method, (low, high) in intervals.items()])


@pytest.mark.parametrize(("interval", "at_chance"), [(ABOVE, False), (INCLUDED, True), (BELOW, True)])
def test_a_judge_is_at_chance_unless_its_whole_interval_lies_above_one_half(
    interval: tuple[float, float], at_chance: bool
) -> None:
    assert measured_at_chance("letters", measured(letters=interval)) is at_chance
    assert judge_at_chance("letters", measured(letters=interval)) is at_chance


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        (ABOVE, "above"),
        (INCLUDED, "not told"),
        (BELOW, "below"),
        ((0.5, 0.9), "not told"),
        ((0.1, 0.5), "not told"),
        # Asked for letters after worked examples, 24 comparisons of the sample; and by contrast on 100 of hh-rlhf.
        ((0.149, 0.492), "below"),
        ((0.25, 0.43), "below"),
    ],
)
def test_a_judge_is_above_below_or_not_told_from_chance(interval: tuple[float, float], expected: str) -> None:
    assert verdict(calibration(*interval)) == expected


def test_better_than_one_half_and_not_than_the_blind_is_not_told() -> None:
    row = calibration(*ABOVE) | {"over_blind_low": -0.05}
    assert verdict(row) == "not told"
    trusted, words = judge_verdict(["letters"], JUDGE_CALIBRATION.build([row]))
    assert not trusted and "not more often right than a scorer that never sees the principle" in words


def test_the_same_judge_is_named_as_such_and_elo_by_likeness_is_marked() -> None:
    letters = measured(letters=ABOVE, likeness=ABOVE)
    assert scored_by(letters) == "letters" and not scored_elo_at_chance(letters)
    assert "by the feedback model, asked by the method “letters”" in scoring_sentence(letters)
    likeness = letters.with_columns(scores_models=pl.col("method") == "likeness")
    assert scored_by(likeness) == "likeness" and not judge_at_chance("likeness", likeness)
    assert scored_elo_at_chance(likeness)
    assert "The same judge (“likeness”) made the labels and scores the models." in scoring_sentence(likeness)
    assert scored_by(JUDGE_CALIBRATION.empty()) == "letters"


def test_strength_of_labels_counts_silence_and_ties_as_nothing() -> None:
    labels = pl.DataFrame({"probability_a": [0.9, 0.5, None, 0.3]})
    assert label_distance(labels) == pytest.approx((0.4 + 0.2) / 4)
    assert share_of_ties(labels) == 0.5
    assert (label_distance(labels.clear()), share_of_ties(labels.clear())) == (0.0, 0.0)
    assert strength_sentence(calibration(*ABOVE)).startswith("Its answers stand 0.125 from one half on average")


def test_a_judge_that_was_not_measured_is_unknown_and_what_rests_on_it_is_marked() -> None:
    assert measured_at_chance("contrast", measured(letters=ABOVE)) is None
    assert judge_at_chance("contrast", measured(letters=ABOVE))


def test_one_set_of_comparisons_at_chance_is_enough() -> None:
    two = JUDGE_CALIBRATION.build([calibration(*ABOVE), calibration(*INCLUDED) | {"comparison_set": "other"}])
    assert measured_at_chance("letters", two) is True


@pytest.mark.parametrize(
    ("table", "trusted", "words"),
    [
        ({}, False, "Nothing is known about its judgement"),
        ({"letters": ABOVE}, False, "Nothing is known about its judgement"),
        ({"letters": ABOVE, "tuned": ABOVE}, True, "judges better than guessing"),
        ({"letters": INCLUDED, "tuned": ABOVE}, False, "In 1 of 2 measurements"),
        ({"letters": INCLUDED, "tuned": INCLUDED}, False, "could not be told from somebody who guesses"),
        ({"letters": INCLUDED, "tuned": BELOW}, False, "In 1 of 2 measurements the feedback model was worse"),
        ({"letters": BELOW, "tuned": BELOW}, False, "The feedback model was worse than somebody who guesses"),
        ({"letters": ABOVE, "tuned": ABOVE, "contrast": BELOW}, True, "judges better than guessing"),
    ],
)
def test_all_ways_of_asking_that_were_used_must_be_measured_above_one_half(
    table: dict[str, tuple[float, float]], trusted: bool, words: str
) -> None:
    told = judge_verdict(["letters", "tuned"], measured(**table))
    assert told[0] is trusted and words in told[1]
