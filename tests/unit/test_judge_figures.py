from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccai_dagster.contracts import JUDGE_ANSWERS, JUDGE_CALIBRATION, JUDGE_CALIBRATION_CURVE
from ccai_dagster.core.digest import table_digest
from ccai_dagster.decisions.values import FeedbackMethod
from ccai_dagster.feedback.calibration import calibration_curve, calibration_error, calibration_table
from ccai_dagster.feedback.judge_accuracy import BESIDE, calibration_version, figures_digest, scored_by, told
from ccai_dagster.statistics.intervals import wilson_interval


def answer(number: int, label: float, probability: float | None, **changes: Any) -> dict[str, Any]:
    return {
        "method": "letters",
        "comparison_set": "sample",
        "pair_id": f"p{number}",
        "prompt": f"q{number}",
        "principle": "Be kind.",
        "characters_a": 10,
        "characters_b": 5,
        "label": label,
        "forward_probability": probability,
        "reversed_probability": probability,
        "probability_a": probability,
        "feedback_model": "m",
    } | changes


def compared(answers: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Comparisons that were answered so, by set; all responses have the same words, as often as they are long."""
    columns = {
        "pair_id": pl.col("pair_id"),
        "prompt": pl.col("prompt"),
        "response_a": pl.lit("x ").repeat_by("characters_a").list.join("").str.slice(0, pl.col("characters_a")),
        "response_b": pl.lit("x ").repeat_by("characters_b").list.join("").str.slice(0, pl.col("characters_b")),
        "probability_a": pl.col("label"),
        "source": pl.lit("people"),
    }
    return {
        str(name): own.unique("pair_id").sort("pair_id").select(**columns)
        for (name,), own in answers.group_by("comparison_set")
    }


def calibrated(answers: pl.DataFrame, recorded: FeedbackMethod = "letters") -> pl.DataFrame:
    table = calibration_table(answers, compared(answers), recorded, seed=3)
    assert JUDGE_CALIBRATION.violations(table).is_empty()
    return table


def figures(*rows: dict[str, Any]) -> dict[str, Any]:
    table = calibrated(JUDGE_ANSWERS.build(list(rows)))
    return table.row(0, named=True)


def test_figures_of_a_hand_worked_case() -> None:
    row = figures(
        answer(0, 1.0, 0.9, forward_probability=0.95, reversed_probability=0.85),
        answer(1, 0.0, 0.7, forward_probability=0.8, reversed_probability=0.6),
        answer(2, 1.0, 0.4, forward_probability=0.6, reversed_probability=0.2, characters_a=5),
        answer(3, 0.0, None),
    )
    # Right, wrong, wrong, silent (one half).
    assert (row["n"], row["n_unanswered"], row["accuracy"]) == (4, 1, 0.375)
    # First option: (0.95 + 0.15) / 2, (0.8 + 0.4) / 2, (0.6 + 0.8) / 2.
    assert row["position_bias"] == pytest.approx((0.55 + 0.6 + 0.7) / 3)
    # The third follows the place: above one half first, below one half second.
    assert row["flip_rate"] == pytest.approx(2 / 3)
    # Of the three with a length difference people chose the longer one once, the judge 1 + 1 + one half times.
    assert row["longer_labelled"] == pytest.approx(1 / 3)
    assert row["length_bias"] == pytest.approx((2.5 - 1) / 3)
    # Bins: 0.9 sure and right, 0.7 sure and wrong, 0.6 sure and wrong.
    assert row["calibration_error"] == pytest.approx((0.1 + 0.7 + 0.6) / 3)
    assert row["at_chance"]
    # Longer: right, wrong, silent (equal lengths), wrong; shorter: wrong, right, silent, right.
    assert (row["blind_scorer"], row["blind_accuracy"]) == ("the shorter response", 0.625)
    assert row["over_blind"] == 0.375 - 0.625
    assert row["label_distance"] == pytest.approx((0.4 + 0.2 + 0.1 + 0) / 4)
    assert row["ties"] == 0.25


def test_the_curve_of_a_hand_worked_case() -> None:
    rows = [answer(0, 1.0, 0.62), answer(1, 0.0, 0.68), answer(2, 0.25, 0.1), answer(3, 1.0, None)]
    curve = calibration_curve(JUDGE_ANSWERS.build(rows))
    assert JUDGE_CALIBRATION_CURVE.violations(curve).is_empty()
    assert curve.select("low", "high", "n").rows() == [(0.6, 0.7, 2), (0.9, 1.0, 1)]
    assert curve["confidence"].to_list() == pytest.approx([0.65, 0.9])
    assert curve["agreement"].to_list() == pytest.approx([0.5, 0.75])
    assert curve.row(0)[-2:] == pytest.approx(wilson_interval(1, 2))


def test_a_favourite_letter_is_a_position_bias_and_no_accuracy() -> None:
    rows = [answer(at, float(at % 2), 0.5, forward_probability=0.8, reversed_probability=0.2) for at in range(40)]
    row = figures(*rows)
    assert (row["accuracy"], row["flip_rate"], row["at_chance"]) == (0.5, 0.0, True)
    assert row["position_bias"] == pytest.approx(0.8)
    assert row["position_bias_low"] > 0.5


def test_a_judge_that_is_right_is_trusted_and_one_that_is_wrong_is_not() -> None:
    right = figures(*(answer(at, float(at % 2), 0.9 if at % 2 else 0.1) for at in range(30)))
    wrong = figures(*(answer(at, float(at % 2), 0.1 if at % 2 else 0.9) for at in range(30)))
    assert (right["accuracy"], right["flip_rate"], right["at_chance"]) == (1.0, 1.0, False)
    assert (right["accuracy_low"], right["accuracy_high"]) == pytest.approx(wilson_interval(30, 30))
    assert (wrong["accuracy"], wrong["at_chance"]) == (0.0, True)
    assert wrong["accuracy_high"] < 0.5


def test_a_liking_for_length_is_told_from_people_s_own() -> None:
    longer_a = [answer(at, float(at % 4 > 0), 0.9) for at in range(60)]
    row = figures(*longer_a)
    assert row["longer_labelled"] == 0.75
    assert row["length_bias"] == 0.25
    assert row["length_bias_low"] > 0
    alike = figures(*(answer(at, row["label"], row["label"]) for at, row in enumerate(longer_a)))
    assert alike["length_bias"] == 0.0
    equal = figures(answer(0, 1.0, 0.9, characters_a=5))
    assert (equal["length_bias"], equal["longer_labelled"], equal["length_bias_high"]) == (None, None, None)


def test_comparisons_of_one_prompt_do_not_make_an_interval_narrower() -> None:
    apart = figures(*(answer(at, 1.0, 0.9 if at % 10 < 6 else 0.1) for at in range(100)))
    together = figures(*(answer(at, 1.0, 0.9 if at % 10 < 6 else 0.1, prompt=f"q{at % 10}") for at in range(100)))
    assert together["accuracy"] == apart["accuracy"] == 0.6
    assert together["accuracy_low"] < apart["accuracy_low"] - 0.1


def test_a_method_without_an_order_has_no_position_bias_and_a_silent_judge_follows_nothing() -> None:
    silent = {"forward_probability": None, "reversed_probability": None}
    row = figures(answer(0, 1.0, 0.9, **silent))
    assert (row["position_bias"], row["position_bias_low"], row["flip_rate"]) == (0.5, 0.5, 1.0)
    row = figures(answer(0, 1.0, None))
    assert (row["flip_rate"], row["calibration_error"], row["at_chance"]) == (0.0, None, True)
    assert calibration_curve(JUDGE_ANSWERS.build([answer(0, 1.0, None)])).is_empty()


@settings(max_examples=15)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.integers(0, 3)), min_size=1, max_size=12), st.randoms())
def test_figures_stay_in_range_and_do_not_depend_on_order(drawn: list[tuple[float, float, int]], chance: Any) -> None:
    rows = [
        answer(at, label, probability, prompt=f"q{prompt}")
        for at, (label, probability, prompt) in enumerate(drawn)
        if label != 0.5
    ]
    if rows:
        expected = figures(*rows)
        for name in ("accuracy", "position_bias", "flip_rate"):
            assert -1e-9 <= expected[f"{name}_low"] <= expected[name] + 1e-9
            assert expected[name] - 1e-9 <= expected[f"{name}_high"] <= 1 + 1e-9
        chance.shuffle(rows)
        assert figures(*rows) == expected


def test_the_calibration_error_of_a_perfectly_calibrated_judge_is_zero() -> None:
    assert calibration_error(np.array([0.25, -0.25, 0.0]), np.array([1, 1, 3])) == 0.0
    assert calibration_error(np.array([0.25, 0.25]), np.array([0, 4])) == 0.25


def test_methods_and_sets_are_told_apart() -> None:
    rows = [answer(0, 1.0, 0.9), answer(0, 0.0, 0.9, method="contrast"), answer(0, 1.0, 0.4, comparison_set="z")]
    table = calibrated(JUDGE_ANSWERS.build(rows))
    assert table.select("method", "comparison_set", "accuracy").rows() == [
        ("contrast", "sample", 0.0),
        ("letters", "sample", 1.0),
        ("letters", "z", 0.0),
    ]
    assert isinstance(table, pl.DataFrame)


def test_being_right_as_often_as_a_scorer_that_never_sees_the_principle_is_not_better_than_chance() -> None:
    always_longer = [answer(at, float(at % 10 > 1), 0.9) for at in range(60)]
    row = figures(*always_longer)
    assert (row["accuracy"], row["blind_scorer"], row["blind_accuracy"]) == (0.8, "the longer response", 0.8)
    assert row["accuracy_low"] > 0.5 and (row["over_blind"], row["over_blind_high"]) == (
        0.0,
        row["over_blind_low"] * -1,
    )
    assert row["at_chance"] and told(row) == "not told from a scorer that never sees the principle"


def test_on_crossed_comparisons_the_margin_over_the_blind_is_that_over_one_half() -> None:
    # The judge is right under both principles of 20 pairs, and says the same under both of 10.
    rows = [
        answer(2 * pair + side, float(side), 0.9 if (side or pair >= 20) else 0.1, prompt=f"q{pair}")
        for pair in range(30)
        for side in (0, 1)
    ]
    row = figures(*rows)
    assert (row["accuracy"], row["blind_accuracy"]) == (pytest.approx(50 / 60), 0.5)
    assert row["over_blind"] == pytest.approx(row["accuracy"] - 0.5)
    assert row["over_blind_low"] == pytest.approx(row["accuracy_low"] - 0.5, abs=0.02)
    assert not row["at_chance"]


@pytest.mark.parametrize(
    ("recorded", "scoring"),
    [("likeness", "likeness"), ("letters", "letters"), ("contrast", "letters"), ("tuned", "letters")],
)
def test_models_are_scored_by_the_method_on_record_where_it_scores_responses_and_was_measured(
    recorded: FeedbackMethod, scoring: str
) -> None:
    rows = [answer(0, 1.0, 0.9, method=method) for method in ("letters", "contrast", "likeness")]
    table = calibrated(JUDGE_ANSWERS.build(rows), recorded)
    assert table.filter("scores_models")["method"].to_list() == [scoring] and scored_by(table) == scoring


def test_a_decision_cites_figures_that_do_not_change_with_it_and_only_another_scorer_makes_a_new_version() -> None:
    answers = JUDGE_ANSWERS.build([answer(0, 1.0, 0.9, method=method) for method in ("letters", "likeness")])
    letters, likeness = (calibrated(answers, method) for method in ("letters", "likeness"))
    older = letters.drop(*BESIDE, "scores_models")
    assert figures_digest(letters) == figures_digest(likeness) == table_digest(older)
    assert calibration_version(letters) == calibration_version(older) == table_digest(older)
    assert calibration_version(likeness) != calibration_version(letters)
