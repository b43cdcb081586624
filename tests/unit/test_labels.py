from __future__ import annotations

from collections.abc import Sequence
from math import exp, log
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccai_dagster.consultation.settings import ReasoningSettings
from ccai_dagster.contracts import CONSTITUTION, PREFERENCE_PAIRS, PRINCIPLE_WEIGHTS, RESPONSE_PAIRS
from ccai_dagster.core.draws import draw_principle
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.feedback.judge import (
    CONCLUSION_REQUEST,
    CONTRAST_SCALE,
    EXAMPLES,
    Judgement,
    Question,
    contrast_judgement,
    judge_comparisons,
    letters_judgement,
    opposed,
    reasoned_judgement,
    scored_judgement,
    stated,
)
from ccai_dagster.feedback.language_model import Conversation, Response
from ccai_dagster.feedback.preference_pairs import label_counts, label_pairs, principle_weights


class Judge:
    """Likes the response with more `!`, and (A) by a constant factor of the odds."""

    name = "judge"

    def __init__(self, odds_of_a: float = 1.0, mass: float = 0.9, thought: str | None = None) -> None:
        self.odds_of_a, self.mass, self.questions = odds_of_a, mass, 0
        self.thought = thought
        self.conversations: list[Conversation] = []

    def generate(self, conversations: Sequence[Conversation], **options: Any) -> list[Response]:
        assert self.thought is not None, "only a method that reasons lets the judge write"
        assert (options["temperature"], options["new_tokens"]) == (0, 16)
        return [Response(self.thought.format(at), True) for at in range(len(conversations))]

    def choice_log_probabilities(
        self, conversations: Sequence[Conversation], choices: Sequence[str], *, prefix: str = ""
    ) -> np.ndarray:
        assert tuple(choices) == ("A", "B")
        assert prefix.endswith("(")
        self.questions += len(conversations)
        self.conversations += conversations
        rows = []
        for conversation in conversations:
            question = [said for role, said in conversation if role == "user" and "\n(B) " in said][-1]
            first, second = question.split("(A) ")[1].split("\n\n")[0].split("\n(B) ")
            odds = self.odds_of_a * 3.0 ** (first.count("!") - second.count("!"))
            rows.append([log(self.mass * odds / (1 + odds)), log(self.mass / (1 + odds))])
        return np.array(rows)

    def log_likelihoods(self, conversations: Sequence[Conversation], responses: Sequence[str]) -> np.ndarray:
        rows = []
        for conversation, response in zip(conversations, responses, strict=True):
            gain = 0.05 * response.count("!") * (1 if "opposite" not in conversation[0][1] else -1)
            rows.append([len(response) * (gain - 2.0), len(response)])
        return np.array(rows)


def pairs(*responses: tuple[str, str]) -> pl.DataFrame:
    return RESPONSE_PAIRS.build(
        [
            {
                "pair_id": f"pair_{at}",
                "prompt_id": f"q{at}",
                "prompt": "Hi",
                "response_a": a,
                "finished_a": True,
                "response_b": b,
                "finished_b": False,
            }
            for at, (a, b) in enumerate(responses)
        ]
    )


RULES = CONSTITUTION.build(
    [
        {
            "principle_id": f"P{number}",
            "arm": "public",
            "text": f"Rule {number}.",
            "statement_ids": [],
            "merged_text": None,
            "gac": None,
            "side": None,
            "decision_ids": [],
        }
        for number in range(4)
    ]
)


def test_a_label_is_the_mean_of_both_orders() -> None:
    # a has one `!` more: odds 3 by content, times 4 for being shown as (A), divided by 4 as (B).
    table = label_pairs(Judge(odds_of_a=4.0), pairs(("yes!", "no")), RULES, "letters", True, 1)
    assert PREFERENCE_PAIRS.violations(table).is_empty()
    row = table.row(0, named=True)
    assert row["forward_probability"] == pytest.approx(12 / 13)
    assert row["reversed_probability"] == pytest.approx(1 - 4 / 3 / (1 + 4 / 3))
    assert row["probability_a"] == pytest.approx((12 / 13 + 3 / 7) / 2)
    assert row["answer_mass"] == pytest.approx(0.9)
    assert (row["status"], row["method"], row["feedback_model"]) == ("labelled", "letters", "judge")
    assert row["principle_id"] == draw_principle(RULES, 1, "label", "pair_0")["principle_id"]


def test_a_judge_that_only_likes_a_letter_says_one_half() -> None:
    table = label_pairs(Judge(odds_of_a=50.0), pairs(("x", "y"), ("u", "v")), RULES, "letters", True, 1)
    assert table["probability_a"].to_list() == pytest.approx([0.5, 0.5])


def test_identical_responses_are_not_shown_and_stay_at_one_half() -> None:
    judge = Judge()
    table = label_pairs(judge, pairs(("same", "same"), ("a!", "b")), RULES, "letters", True, 1)
    assert judge.questions == 2
    assert table["status"].to_list() == ["identical", "labelled"]
    assert table["probability_a"].to_list() == pytest.approx([0.5, 0.75])
    assert table["answer_mass"][0] is None


def test_an_answer_that_is_no_letter_is_unanswered() -> None:
    table = label_pairs(Judge(mass=0.01), pairs(("a!", "b")), RULES, "letters", True, 1)
    row = table.row(0, named=True)
    assert (row["status"], row["probability_a"], row["forward_probability"]) == ("unanswered", None, None)
    assert row["answer_mass"] == pytest.approx(0.01)
    assert PREFERENCE_PAIRS.violations(table).is_empty()


def test_rows_in_another_order_get_the_same_labels() -> None:
    table = pairs(("a!", "b"), ("c", "d!!"), ("e", "f"))
    expected = label_pairs(Judge(2.0), table, RULES, "letters", False, 3)
    assert expected.equals(label_pairs(Judge(2.0), table.reverse(), RULES.reverse(), "letters", False, 3))


def test_contrast_compares_gains_under_the_principle() -> None:
    # Gain of a: 0.05 - (-0.05) = 0.1 nats a token, of b: 0.
    table = label_pairs(Judge(), pairs(("yes!", "no")), RULES, "contrast", False, 1)
    assert PREFERENCE_PAIRS.violations(table).is_empty()
    row = table.row(0, named=True)
    assert row["probability_a"] == pytest.approx(1 / (1 + exp(-0.1 / CONTRAST_SCALE)))
    assert (row["forward_probability"], row["reversed_probability"], row["answer_mass"]) == (None, None, None)


def test_an_empty_response_cannot_be_contrasted() -> None:
    table = label_pairs(Judge(), pairs(("", "no")), RULES, "contrast", False, 1)
    assert table["status"].to_list() == ["unanswered"]


def test_a_tuned_judge_s_label_is_the_logistic_of_the_difference_of_scores() -> None:
    class Scorer:
        name = "scorer"

        def scores(self, exchanges: Sequence[tuple[str, str]]) -> np.ndarray:
            assert all("Rule " in prompt for prompt, _ in exchanges)
            return np.array([log(3) if "!" in response else 0.0 for _, response in exchanges])

    table = label_pairs(Scorer(), pairs(("a!", "b"), ("same", "same")), RULES, "tuned", True, 1)
    assert PREFERENCE_PAIRS.violations(table).is_empty()
    assert table["probability_a"].to_list() == pytest.approx([0.75, 0.5])
    assert table["status"].to_list() == ["labelled", "identical"]
    assert table["judge_at_chance"].to_list() == [True, True]
    assert table["forward_probability"].null_count() == 2
    assert scored_judgement(float("nan"), 1.0).probability is None
    assert scored_judgement(1e9, -1e9).probability == 1.0


BOUNDS = ReasoningSettings(new_tokens=16)


def test_examples_come_before_the_question_and_favour_no_letter() -> None:
    judge = Judge()
    table = label_pairs(judge, pairs(("yes!", "no")), RULES, "letters_few_shot", True, 1)
    assert table["probability_a"].to_list() == pytest.approx([0.75])
    assert table["method"].to_list() == ["letters_few_shot"]
    assert [each.better for each in EXAMPLES].count("A") * 2 == len(EXAMPLES)
    assert len({each.principle for each in EXAMPLES}) == len(EXAMPLES)
    forward, backward = judge.conversations
    assert len(forward) == 2 * len(EXAMPLES) + 1
    # Both orders, and so all comparisons, begin with the same turns.
    assert forward[:-1] == backward[:-1]
    assert forward[1] == ("assistant", f"The better response is ({EXAMPLES[0].better}).")
    for (role, said), example in zip(forward[:-1:2], EXAMPLES, strict=True):
        assert role == "user"
        assert f"rule: {example.principle}\n" in said and f"(B) {example.second}" in said


def test_a_reasoned_label_keeps_its_reasoning_and_its_raw_probabilities_and_is_held_within_bounds() -> None:
    judge = Judge(thought="Thought {0}.")
    asked = pairs(("yes!!", "no"), ("so", "so it is"), ("same", "same"))
    table = label_pairs(judge, asked, RULES, "reasoned_letters", True, 1, reasoning=BOUNDS)
    assert PREFERENCE_PAIRS.violations(table).is_empty()
    assert table["probability_a"].to_list() == pytest.approx([0.6, 0.5, 0.5])
    assert table["forward_probability"].to_list()[:2] == pytest.approx([0.9, 0.5])
    assert table["reversed_probability"].to_list()[:2] == pytest.approx([0.9, 0.5])
    assert table["clamped"].to_list() == [True, False, False]
    assert table["forward_reasoning"].to_list() == ["Thought 0.", "Thought 2.", None]
    assert table["reversed_reasoning"].to_list() == ["Thought 1.", "Thought 3.", None]
    (_, question), thought, conclusion = judge.conversations[0]
    assert "step by step" in question
    assert (thought, conclusion) == (("assistant", "Thought 0."), ("user", CONCLUSION_REQUEST))
    assert label_counts(table) == {"pairs": 3, "labelled": 2, "ties": 1, "clamped": 1, "identical": 1, "unanswered": 0}


def test_only_reasoned_labels_are_clamped_and_no_thought_is_no_answer() -> None:
    table = label_pairs(Judge(), pairs(("yes!!", "no")), RULES, "letters", True, 1, reasoning=BOUNDS)
    assert table["probability_a"].to_list() == pytest.approx([0.9])
    assert label_counts(table)["clamped"] == 0
    empty = label_pairs(Judge(thought=""), pairs(("a!", "b")), RULES, "reasoned_letters", True, 1, reasoning=BOUNDS)
    assert (empty["status"].item(), empty["probability_a"].item()) == ("unanswered", None)
    assert empty["forward_probability"].item() == pytest.approx(0.75)
    assert label_counts(empty)["unanswered"] == 1
    broken = reasoned_judgement(Judgement(None, answer_mass=0.01), "so", "so", BOUNDS)
    assert (broken.probability, broken.clamped, broken.forward_reasoning) == (None, False, "so")


@given(st.floats(0, 1), st.floats(0, 0.49), st.floats(0.51, 1))
def test_a_clamped_probability_is_the_nearest_within_the_bounds(probability: float, least: float, most: float) -> None:
    bounds = ReasoningSettings(least_probability=least, most_probability=most)
    held = reasoned_judgement(Judgement(probability, probability, probability, 1.0), "so", "so", bounds)
    assert held.probability is not None
    assert least <= held.probability <= most
    assert held.clamped is (held.probability != probability) is not (least <= probability <= most)
    assert (held.forward, held.reversed) == (probability, probability)


def test_principles_are_drawn_in_proportion_to_their_weights() -> None:
    asked = pairs(*[(f"a{at}", "b") for at in range(400)])

    def drawn(weights: dict[str, float] | None, rules: pl.DataFrame = RULES) -> dict[str, int]:
        table = label_pairs(Judge(), asked, rules, "letters", True, 5, weights=weights)
        return dict(table["principle_id"].value_counts().iter_rows())

    counts = drawn({"P0": 0.0, "P1": 0.6, "P2": 0.2, "P3": 0.0})
    # 300 of 400 are expected, with a standard deviation of 8.7.
    assert set(counts) == {"P1", "P2"} and 265 < counts["P1"] < 335
    assert drawn({"P3": 0.0, "P2": 2.0, "P1": 6.0, "P0": 0.0}, RULES.reverse()) == counts
    assert drawn(dict.fromkeys(["P0", "P1", "P2", "P3"], 0.3)) == drawn(None)
    with pytest.raises(ConsultationError, match="how often P0, P3 is drawn"):
        drawn({"P1": 0.6, "P2": 0.2})


def test_weights_are_shares_of_consensus() -> None:
    rules = RULES.head(3).with_columns(gac=pl.Series([0.9, 0.0, 0.6]))
    table = principle_weights(rules.reverse(), "weighted")
    assert PRINCIPLE_WEIGHTS.violations(table).is_empty()
    assert table["principle_id"].to_list() == ["P0", "P1", "P2"]
    assert table["share"].to_list() == pytest.approx([0.6, 0.0, 0.4])
    with pytest.raises(ConsultationError, match=r"arm 'weighted'.*have none: P1, P2\. .*`principle_weights: uniform`"):
        principle_weights(RULES.head(3).with_columns(gac=pl.Series([0.9, None, None])), "weighted")
    with pytest.raises(ConsultationError, match=r"arm 'weighted'.*every principle is 0"):
        principle_weights(RULES.with_columns(gac=pl.lit(0.0)), "weighted")


@given(st.lists(st.floats(-8, 0), min_size=4, max_size=4))
def test_letters_are_symmetric_and_in_range(logs: list[float]) -> None:
    forward, backward = (np.array(part) - 1.0 for part in (logs[:2], logs[2:]))
    judged, turned = letters_judgement(forward, backward), letters_judgement(backward, forward)
    if judged.probability is None or turned.probability is None:
        assert judged.probability is turned.probability is None
    else:
        assert 0 <= judged.probability <= 1
        assert judged.probability + turned.probability == pytest.approx(1.0)


@given(st.lists(st.floats(-1e4, 0), min_size=4, max_size=4))
def test_contrast_is_antisymmetric(values: list[float]) -> None:
    means = np.array(values).reshape(2, 2)
    judged, turned = contrast_judgement(means), contrast_judgement(means[::-1])
    assert judged.probability is not None
    assert turned.probability is not None
    assert judged.probability + turned.probability == pytest.approx(1.0)


@pytest.mark.parametrize("bad", [[float("nan"), -1.0], [-np.inf, -np.inf]])
def test_unusable_numbers_give_no_label(bad: list[float]) -> None:
    assert letters_judgement(np.array(bad), np.array([-0.7, -0.7])).probability is None
    assert contrast_judgement(np.array([bad, [-1.0, -1.0]])).probability is None


def test_unknown_methods_and_empty_constitutions_are_errors() -> None:
    with pytest.raises(ConsultationError, match="'guess'"):
        judge_comparisons(Judge(), [Question("p", "a", "b", "r")], "guess", lambda *_: None)  # type: ignore[arg-type]
    with pytest.raises(ConsultationError, match="no principles"):
        label_pairs(Judge(), pairs(("a", "b")), RULES.clear(), "letters", False, 1)


def test_the_principle_and_its_opposite_differ_only_in_direction() -> None:
    assert stated("Be {kind}.") != opposed("Be {kind}.")
    assert "Be {kind}." in stated("Be {kind}.")
    assert "Be {kind}." in opposed("Be {kind}.")
