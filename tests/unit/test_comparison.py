from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
from mute_model import MuteModel

from ccai_dagster.consultation.settings import EvaluationSettings
from ccai_dagster.contracts import COMPARISONS
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.evaluation.elo import QUESTIONS, compare_responses, pair_id
from ccai_dagster.feedback.language_model import Conversation


class LongerIsBetter(MuteModel):
    """A judge that prefers the longer response three to one, and the letter A on top of that."""

    name = "longer is better"

    def __init__(self) -> None:
        self.questions: list[str] = []

    def choice_log_probabilities(
        self, conversations: Sequence[Conversation], choices: Sequence[str], *, prefix: str = ""
    ) -> np.ndarray:
        assert (list(choices), prefix) == (["A", "B"], "The better response is (")
        rows = []
        for ((_, text),) in conversations:
            self.questions.append(text)
            first = text.split("(A) ")[1].split("\n(B) ")[0]
            second = text.split("\n(B) ")[1].split("\n\n")[0]
            share = 0.75 if len(first) > len(second) else 0.25
            rows.append([min(0.9, share + 0.1), 1 - min(0.9, share + 0.1)])
        return np.log(np.array(rows))


def responses(arm: str, texts: dict[str, str]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "arm": [arm] * len(texts),
            "prompt_id": list(texts),
            "prompt": [f"Question {name}?" for name in texts],
            "response": list(texts.values()),
            "finished": [True] * len(texts),
        }
    )


SETTINGS = EvaluationSettings(comparison_prompts=2)


def test_both_orders_are_averaged_and_identical_responses_tie() -> None:
    judge = LongerIsBetter()
    tables = {
        "base": responses("base", {"p1": "short", "p2": "the same"}),
        "public": responses("public", {"p1": "much longer", "p2": "the same"}),
    }
    table = compare_responses(tables, judge, "letters", SETTINGS, judge_at_chance=True, seed=0)
    assert COMPARISONS.violations(table).is_empty()
    assert table["judge_at_chance"].all() and set(table["judge"]) == {"longer is better"}
    helpful = {row["prompt_id"]: row for row in table.filter(pl.col("quality") == "helpfulness").iter_rows(named=True)}
    # base is shorter: shown first 0.25 + 0.1, shown second 1 - (0.75 + 0.1).
    assert helpful["p1"]["forward_probability"] == pytest.approx(0.35)
    assert helpful["p1"]["reversed_probability"] == pytest.approx(0.15)
    assert helpful["p1"]["probability_a"] == pytest.approx(0.25)
    assert (helpful["p1"]["response_a"], helpful["p1"]["response_b"]) == ("short", "much longer")
    assert (helpful["p2"]["probability_a"], helpful["p2"]["status"]) == (0.5, "identical")
    assert helpful["p1"]["status"] == "compared"
    assert len(judge.questions) == 4  # one pair that differs, two qualities, two orders
    assert sum("hurt, deceive or demean" in question for question in judge.questions) == 2


def test_the_order_of_arms_and_rows_does_not_matter() -> None:
    tables = {
        arm: responses(arm, {f"p{n}": "word " * (n + extra) for n in range(6)})
        for extra, arm in enumerate(("standard", "base", "public"))
    }
    expected = compare_responses(tables, LongerIsBetter(), "letters", SETTINGS, False, seed=4)
    turned = {arm: table.reverse() for arm, table in reversed(tables.items())}
    assert compare_responses(turned, LongerIsBetter(), "letters", SETTINGS, False, seed=4).equals(expected)
    assert expected.height == 2 * 2 * 3
    assert expected.select("arm_a", "arm_b").unique().height == 3


def test_a_missing_response_is_named() -> None:
    tables = {"base": responses("base", {"p1": "a"}), "public": responses("public", {"p1": "a", "p2": "b"})}
    with pytest.raises(ConsultationError, match="base has no response to prompt p2"):
        compare_responses(tables, LongerIsBetter(), "letters", SETTINGS, False, seed=0)


def test_an_id_does_not_tell_who_wrote_what_and_changes_with_the_text() -> None:
    own = pair_id("helpfulness", "p1", "Hello?", {"base": "Hi.", "public": "Good day."})
    assert own == pair_id("helpfulness", "p1", "Hello?", {"public": "Hi.", "base": "Good day."})
    assert len(own) == 17 and own.startswith("c")  # no spreadsheet takes it for a number
    assert own != pair_id("helpfulness", "p1", "Hello?", {"base": "Hi!", "public": "Good day."})
    assert own != pair_id("harmlessness", "p1", "Hello?", {"base": "Hi.", "public": "Good day."})


def test_a_judge_that_scores_is_asked_once_and_shows_no_order() -> None:
    class Length:
        name = "length"

        def scores(self, exchanges: Sequence[tuple[str, str]]) -> np.ndarray:
            assert {text for text, _ in exchanges} == set(QUESTIONS.values())
            return np.array([float(len(response)) for _, response in exchanges])

    tables = {
        "base": responses("base", {"p1": "short", "p2": "the same"}),
        "public": responses("public", {"p1": "shorter", "p2": "the same"}),
    }
    table = compare_responses(tables, Length(), "likeness", SETTINGS, judge_at_chance=True, seed=0)
    compared = table.filter(status="compared")
    assert compared["probability_a"].to_list() == pytest.approx([1 / (1 + np.exp(2.0))] * 2)
    assert compared["forward_probability"].null_count() == 2
    assert table.filter(status="identical")["probability_a"].to_list() == [0.5, 0.5]
