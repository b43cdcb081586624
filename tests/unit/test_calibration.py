from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccai_dagster.contracts import HELPFULNESS_PAIRS, JUDGE_CALIBRATION
from ccai_dagster.errors import ConsultationError
from ccai_dagster.feedback.calibration import (
    HELPFULNESS_PRINCIPLE,
    agreement,
    calibrate_judge,
    wilson_interval,
)
from ccai_dagster.feedback.labels import Judgement
from ccai_dagster.feedback.language_model import Conversation


class LetterJudge:
    """Always says (A) with probability 0.8, and remembers what it was asked."""

    name = "letter judge"

    def __init__(self) -> None:
        self.questions: list[str] = []

    def generate(self, *arguments: Any, **options: Any) -> list[str]:
        raise NotImplementedError

    def choice_log_probabilities(
        self, conversations: Sequence[Conversation], choices: Sequence[str], *, prefix: str = ""
    ) -> np.ndarray:
        self.questions += [conversation[-1][1] for conversation in conversations]
        return np.tile([log(0.8), log(0.2)], (len(conversations), 1))

    def log_likelihoods(self, conversations: Sequence[Conversation], responses: Sequence[str]) -> np.ndarray:
        # Longer responses are likelier only under the principle itself.
        return np.array(
            [
                [
                    len(response)
                    * (-1.0 if "opposite" in conversation[0][1] else -1.0 + 0.01 * len(response)),
                    len(response),
                ]
                for conversation, response in zip(conversations, responses, strict=True)
            ]
        )


def compared(*labels: float) -> pl.DataFrame:
    return HELPFULNESS_PAIRS.build(
        [
            {
                "pair_id": f"c{at}",
                "prompt": "Hi",
                "response_a": "long answer",
                "response_b": "no",
                "probability_a": label,
                "source": "people",
            }
            for at, label in enumerate(labels)
        ]
    )


def test_wilson_intervals_of_hand_worked_cases() -> None:
    # 5 of 10: centre 0.5, half-width z sqrt(0.25/10 + z^2/400) / (1 + z^2/10).
    assert wilson_interval(5, 10) == pytest.approx((0.236593, 0.763407), abs=1e-6)
    assert wilson_interval(0, 10) == pytest.approx((0.0, 0.277533), abs=1e-6)
    assert wilson_interval(10, 10) == pytest.approx((0.722467, 1.0), abs=1e-6)
    assert wilson_interval(0, 0) == (0.0, 1.0)


@given(st.integers(1, 500), st.floats(0, 1))
def test_a_wilson_interval_holds_its_share(n: int, share: float) -> None:
    low, high = wilson_interval(share * n, n)
    assert 0 <= low <= share + 1e-12
    assert share - 1e-12 <= high <= 1


def test_a_judge_with_a_favourite_letter_is_at_chance() -> None:
    table = calibrate_judge(LetterJudge(), {"sample": compared(1.0, 1.0, 0.0, 0.5)}, ["letters"])
    assert JUDGE_CALIBRATION.violations(table).is_empty()
    row = table.row(0, named=True)
    assert (row["n"], row["n_unanswered"], row["accuracy"]) == (3, 0, 0.5)
    assert row["position_bias"] == pytest.approx(0.8)
    assert row["flip_rate"] == 0.0
    assert row["at_chance"]


def test_a_judge_that_is_right_is_not_at_chance() -> None:
    table = calibrate_judge(LetterJudge(), {"sample": compared(*[1.0] * 20)}, ["contrast"])
    row = table.row(0, named=True)
    assert (row["accuracy"], row["position_bias"], row["flip_rate"], row["at_chance"]) == (
        1.0,
        0.5,
        1.0,
        False,
    )


def test_each_set_is_judged_under_its_own_principle() -> None:
    judge = LetterJudge()
    ours = compared(1.0).with_columns(principle=pl.lit("Say {little}."))
    told: list[tuple[str, int, int]] = []
    table = calibrate_judge(
        judge, {"b": ours, "a": compared(1.0)}, ["letters", "contrast"], lambda *p: told.append(p)
    )
    assert table.select("method", "comparison_set").rows() == [
        ("letters", "a"),
        ("letters", "b"),
        ("contrast", "a"),
        ("contrast", "b"),
    ]
    assert HELPFULNESS_PRINCIPLE in judge.questions[0]
    assert "Say {little}." in judge.questions[2]
    assert [done for _, done, _ in told] == [1, 2, 3, 4]
    assert told[-1][2] == 4


def test_what_the_judge_does_not_answer_counts_one_half() -> None:
    figures = agreement(
        [Judgement(None, answer_mass=0.0), Judgement(0.9, 0.8, 1.0, 0.9), Judgement(0.4, 0.6, 0.2, 0.9)],
        [True, True, True],
    )
    assert (figures["n"], figures["n_unanswered"]) == (3, 1)
    assert figures["accuracy"] == pytest.approx(0.5)
    assert figures["position_bias"] == pytest.approx(((0.8 + 0.0) / 2 + (0.6 + 0.8) / 2) / 2)
    assert figures["flip_rate"] == 0.5


def test_a_silent_judge_follows_no_content() -> None:
    assert agreement([Judgement(None)], [True])["flip_rate"] == 0.0


def test_a_set_without_a_right_answer_is_an_error() -> None:
    with pytest.raises(ConsultationError, match="'sample'"):
        calibrate_judge(LetterJudge(), {"sample": compared(0.5)}, ["letters"])
