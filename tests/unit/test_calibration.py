from __future__ import annotations

from collections.abc import Sequence
from math import log

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mute_model import MuteModel

from ccai_dagster.consultation.folder import SAMPLE
from ccai_dagster.contracts import HELPFULNESS_PAIRS, JUDGE_ANSWERS
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.feedback.calibration import HELPFULNESS_PRINCIPLE, calibration_table, judge_answers
from ccai_dagster.feedback.language_model import Conversation
from ccai_dagster.feedback.prompts import read_comparisons
from ccai_dagster.statistics.intervals import wilson_interval


class LetterJudge(MuteModel):
    """Always says (A) with probability 0.8, and remembers what it was asked."""

    name = "letter judge"

    def __init__(self) -> None:
        self.questions: list[str] = []

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
                    len(response) * (-1.0 if "opposite" in conversation[0][1] else -1.0 + 0.01 * len(response)),
                    len(response),
                ]
                for conversation, response in zip(conversations, responses, strict=True)
            ]
        )


class LengthScorer:
    """Scores a response by its length, and remembers what it was shown."""

    name = "scorer"

    def __init__(self) -> None:
        self.shown: list[str] = []

    def scores(self, exchanges: Sequence[tuple[str, str]]) -> np.ndarray:
        self.shown += [prompt for prompt, _ in exchanges]
        return np.array([len(response) for _, response in exchanges], dtype=float)


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


def test_every_method_answers_every_decided_comparison_of_every_set() -> None:
    judge, scorer = LetterJudge(), LengthScorer()
    ours = compared(1.0).with_columns(principle=pl.lit("Say {little}."))
    reports: list[tuple[str, int, int]] = []
    table = judge_answers(
        {"letters": judge, "contrast": judge, "tuned": scorer},
        {"b": ours, "a": compared(0.25, 0.5, 1.0)},
        lambda *progress: reports.append(progress),
    )
    assert JUDGE_ANSWERS.violations(table).is_empty()
    assert table.select("method", "comparison_set", "pair_id").rows() == [
        (method, *pair)
        for method in ("contrast", "letters", "tuned")
        for pair in (("a", "c0"), ("a", "c2"), ("b", "c0"))
    ]
    first = table.filter(method="letters", comparison_set="a", pair_id="c0").row(0, named=True)
    assert (first["label"], first["characters_a"], first["characters_b"]) == (0.25, 11, 2)
    assert first["forward_probability"] == pytest.approx(0.8)
    assert first["reversed_probability"] == pytest.approx(0.2)
    assert first["probability_a"] == pytest.approx(0.5)
    tuned = table.filter(method="tuned")
    assert tuned["probability_a"].to_list() == pytest.approx([1 / (1 + np.exp(-9.0))] * 3)
    assert tuned["forward_probability"].null_count() == 3
    assert set(tuned["feedback_model"]) == {"scorer"}
    assert HELPFULNESS_PRINCIPLE in judge.questions[0]
    assert "Say {little}." in judge.questions[4]
    assert "Say {little}." in scorer.shown[-1] and HELPFULNESS_PRINCIPLE in scorer.shown[0]
    assert [done for _, done, _ in reports] == [2, 3, 5, 6, 8, 9]
    assert {total for _, _, total in reports} == {9}


def test_helpfulness_comparisons_are_measured_beside_their_own_blind_row() -> None:
    sets = {"helpfulness": read_comparisons(SAMPLE / "helpfulness.jsonl")}
    answers = judge_answers({"tuned": LengthScorer()}, sets)
    assert set(answers["principle"]) == {HELPFULNESS_PRINCIPLE}
    (row,) = calibration_table(answers, sets, "tuned", seed=7).to_dicts()
    # Pairs of equal length count one half; words know more.
    assert (row["n"], row["accuracy"], row["blind_scorer"]) == (90, pytest.approx(41.5 / 90), "fitted words")
    assert row["blind_accuracy"] > 0.65 and row["over_blind_high"] < 0 and row["at_chance"]


def test_a_set_without_a_right_answer_is_an_error() -> None:
    with pytest.raises(ConsultationError, match="'sample'"):
        judge_answers({"letters": LetterJudge()}, {"sample": compared(0.5)})
