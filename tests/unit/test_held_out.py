from __future__ import annotations

from math import atanh, exp, log, sqrt, tanh

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccai_dagster.training.preference_model import calibration_curve, calibration_error, held_out_metrics


def pairs(*rows: tuple[str, float, float, int]) -> pl.DataFrame:
    return pl.DataFrame(
        rows, schema={"prompt": pl.String, "margin": pl.Float64, "target": pl.Float64, "tokens": pl.Int64}, orient="row"
    )


CASE = pairs(("p1", log(3), 1.0, 4), ("p2", 0.0, 0.75, 0), ("p3", -log(3), 1.0, -2), ("p4", 5.0, 0.5, 3))
FLOATS = st.tuples(st.floats(-50, 50), st.floats(0.5, 1), st.integers(-9, 9))


def test_accuracy_agreement_and_entropy_of_a_hand_worked_case() -> None:
    figures = held_out_metrics("helpfulness", CASE, seed=1)
    name = "held_out_helpfulness"
    assert figures[f"{name}_n"] == 3
    assert figures[f"{name}_accuracy"] == 0.5
    assert figures[f"{name}_accuracy_low"] < 0.1 and figures[f"{name}_accuracy_high"] > 0.9
    # It agrees with the first for sure, is undecided on the second, contradicts the third; the fourth is a coin.
    assert figures[f"{name}_agreement"] == pytest.approx((1 + 0.5 + 0 + 0.5) / 4)
    assert figures[f"{name}_agreement_possible"] == pytest.approx((1 + 0.75 + 1 + 0.5) / 4)
    softplus = log(1 + exp(5))
    expected = (log(4 / 3) + log(2) + log(4) + (0.5 * softplus + 0.5 * (softplus - 5))) / 4
    assert figures[f"{name}_cross_entropy"] == pytest.approx(expected)
    entropy = -(0.75 * log(0.75) + 0.25 * log(0.25))
    assert figures[f"{name}_label_entropy"] == pytest.approx((entropy + log(2)) / 4)
    assert held_out_metrics("x", CASE.clear(), seed=1) == {"held_out_x_n": 0.0}


def test_correlation_with_length_does_not_depend_on_which_response_comes_first() -> None:
    figures = held_out_metrics("x", CASE, seed=1)
    r = (4 * log(3) + 2 * log(3) + 15) / sqrt((2 * log(3) ** 2 + 25) * (16 + 4 + 9))
    assert figures["held_out_x_length_correlation"] == pytest.approx(r)
    half = 1.959963984540054 / sqrt(4 - 3)
    assert figures["held_out_x_length_correlation_low"] == pytest.approx(tanh(atanh(r) - half))
    labels = (1 * 4 + 0.5 * 0 + 1 * -2 + 0) / sqrt((1 + 0.25 + 1) * 29)
    assert figures["held_out_x_label_length_correlation"] == pytest.approx(labels)
    same_length = held_out_metrics("x", CASE.with_columns(tokens=pl.lit(0)), seed=1)
    assert "held_out_x_length_correlation" not in same_length


def test_calibration_of_a_hand_worked_case() -> None:
    # Confidences 0.75, 0.75 and 0.55; agreements 1, 0 and 0.6: |1.5 - 1| and |0.55 - 0.6| over three pairs.
    margins = np.array([log(3), -log(3), log(0.55 / 0.45)])
    targets = np.array([1.0, 1.0, 0.6])
    assert calibration_error(margins, targets) == pytest.approx((0.5 + 0.05) / 3)
    curve = calibration_curve("x", pairs(*(("p", m, t, 0) for m, t in zip(margins, targets, strict=True))), 1)
    assert curve.select("low", "high", "n").rows() == [(0.5, 0.6, 1), (0.7, 0.8, 2)]
    assert curve["confidence"].to_list() == pytest.approx([0.55, 0.75])
    assert curve["agreement"].to_list() == pytest.approx([0.6, 0.5])
    assert calibration_error(np.array([800.0, -800.0]), np.array([1.0, 1.0])) == pytest.approx(0.5)


def test_a_model_that_gives_the_labels_back_is_calibrated() -> None:
    targets = np.array([0.55, 0.65, 0.85, 0.95])
    assert calibration_error(np.log(targets / (1 - targets)), targets) == pytest.approx(0, abs=1e-12)


@settings(max_examples=12)
@given(st.lists(FLOATS, min_size=1, max_size=12), st.randoms())
def test_bounds_and_order(rows, random) -> None:
    table = [(f"p{at % 3}", *row) for at, row in enumerate(rows)]
    figures = held_out_metrics("x", pairs(*table), seed=1)
    assert figures["held_out_x_cross_entropy"] >= figures["held_out_x_label_entropy"] - 1e-9
    assert figures["held_out_x_agreement"] <= figures["held_out_x_agreement_possible"] + 1e-9
    assert 0 <= figures["held_out_x_calibration_error"] <= 1
    random.shuffle(table)
    assert held_out_metrics("x", pairs(*table), seed=1) == figures
