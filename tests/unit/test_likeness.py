"""Likeness of principle and response, and scorers that never see the principle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import polars as pl
import pytest

from ccai_dagster.feedback.judge import Question, judge_comparisons
from ccai_dagster.feedback.principle_blind import SCORERS, WORDS, blind_answers
from ccai_dagster.stages.sentence_model import LikenessJudge, SentenceModel

DIRECTIONS = {"Be warm.": (1.0, 0.0), "Be brief.": (0.0, 1.0), "Dear!": (0.8, 0.6), "No.": (0.6, 0.8), " ": (1.0, 0.0)}


class Directions:
    """A sentence model that knows five texts."""

    name = "directions"

    def __init__(self) -> None:
        self.embedded: list[str] = []

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        self.embedded += texts
        return np.array([DIRECTIONS[text] for text in texts], dtype=np.float32)


def test_what_is_more_like_the_principle_is_preferred_and_the_other_principle_turns_it() -> None:
    model = Directions()
    judge = LikenessJudge(cast(SentenceModel, model))
    questions = [Question("Hello?", "Dear!", "No.", principle) for principle in ("Be warm.", "Be brief.")]
    warm, brief = judge_comparisons(judge, questions, "likeness")
    # Cosines 0.8 and 0.6: four times the scale of 0.05 apart.
    assert warm.probability == pytest.approx(1 / (1 + np.exp(-4)), abs=1e-5)
    assert brief.probability == pytest.approx(1 / (1 + np.exp(4)), abs=1e-5)
    assert (warm.forward, warm.reversed) == (None, None)
    assert sorted(model.embedded) == ["Be brief.", "Be warm.", "Dear!", "No."]
    (silent,) = judge_comparisons(judge, [Question("Hello?", "Dear!", " ", "Be warm.")], "likeness")
    assert silent.probability is None
    assert judge.name == "directions"


def compared(*rows: tuple[str, str, str, float]) -> pl.DataFrame:
    columns = ["prompt", "response_a", "response_b", "probability_a"]
    return pl.DataFrame(rows, schema=columns, orient="row")


def test_words_that_preferred_responses_share_are_found_without_the_principle() -> None:
    rows = [
        (f"q{at}", "call us", "see page", 1.0) if at % 2 else (f"q{at}", "see page", "call us", 0.0) for at in range(10)
    ]
    right = blind_answers(compared(*rows))
    assert right[WORDS].tolist() == [1.0] * 10
    # "see page" is the longer of the two.
    assert (right[SCORERS[0]].tolist(), right[SCORERS[1]].tolist()) == ([0.0] * 10, [1.0] * 10)


def test_crossed_comparisons_leave_every_blind_scorer_right_in_one_half() -> None:
    rows = [(f"q{at}", f"call us {at}", "see page", label) for at in range(10) for label in (1.0, 0.0)]
    for right in blind_answers(compared(*rows)).values():
        assert right.reshape(-1, 2).sum(axis=1).tolist() == [1.0] * 10


def test_comparisons_of_one_prompt_teach_no_words() -> None:
    assert list(blind_answers(compared(("q", "a", "a b", 1.0), ("q", "c", "d", 0.0)))) == list(SCORERS[:2])
