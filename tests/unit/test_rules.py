"""Rules of known taste: what they score, and what they make of a comparison."""

from __future__ import annotations

import math

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccai_dagster.contracts import RESPONSE_PAIRS
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.decisions.values import RECORDED_METHODS, parse_value
from ccai_dagster.evaluation.control import control_constitution
from ccai_dagster.feedback.judge import Question, judge_comparisons, principle_of, scored_prompt
from ccai_dagster.feedback.preference_pairs import label_counts, label_pairs
from ccai_dagster.feedback.rules import (
    EASE_OF_READING,
    EASIEST,
    HARDEST,
    KEEPS_TO_THE_QUESTION,
    ORNATENESS,
    RULES,
    RuleJudge,
    question_share,
    reading_ease,
    syllables,
    words,
)

PLAIN, ORNATE = "The cat sat on the mat.", "Notwithstanding complications, municipal administrators deliberate."


@pytest.mark.parametrize(
    ("word", "count"),
    [
        *(("cat", 1), ("made", 1), ("whole", 1), ("asked", 1), ("makes", 1), ("the", 1), ("rhythm", 1), ("st", 1)),
        *(("apple", 2), ("people", 2), ("wanted", 2), ("boxes", 2), ("churches", 2), ("agreed", 2), ("ornate", 2)),
        *(("beautiful", 3), ("utilisation", 5)),
    ],
)
def test_syllables_are_groups_of_vowels_but_for_silent_endings(word: str, count: int) -> None:
    assert syllables(word) == count


def test_words_have_letters_only_and_no_accents() -> None:
    assert words("Don't pay £20, café-owner!") == ["don't", "pay", "cafe", "owner"]


def test_ease_of_reading_is_that_of_flesch() -> None:
    # six words in one sentence, six syllables
    assert reading_ease(PLAIN) == pytest.approx(206.835 - 1.015 * 6 - 84.6)
    # six words in two sentences, seven syllables; the second has no full stop
    assert reading_ease("Water is wet. Fire is not") == pytest.approx(206.835 - 1.015 * 3 - 84.6 * 7 / 6)
    # a full stop within a number ends nothing
    assert reading_ease("It costs 2.50 a day.") == pytest.approx(206.835 - 1.015 * 4 - 84.6)
    assert (reading_ease("Go."), reading_ease(ORNATE)) == (pytest.approx(EASIEST), HARDEST)
    assert all(math.isnan(reading_ease(text)) for text in ("", "12 - 7", "..."))


def test_the_question_is_kept_to_by_words_of_content_taken_from_it() -> None:
    # of bins, collected, Mondays, next; "the", "are", "on" are too short
    assert question_share("When are bins collected?", "The bins are collected on Mondays next.") == 50.0
    assert math.isnan(question_share("When?", "On a day."))


@given(st.text(max_size=40), st.text(max_size=40))
def test_a_principle_is_found_again_in_what_a_judge_is_shown(prompt: str, principle: str) -> None:
    assert principle_of(scored_prompt(prompt, principle)) == (prompt, principle) or "follow this rule: " in principle


@given(st.text(max_size=200))
def test_ease_of_reading_has_ends(text: str) -> None:
    ease = reading_ease(text)
    assert math.isnan(ease) or HARDEST <= ease <= EASIEST


def test_opposite_rules_make_opposite_labels_and_a_principle_without_a_rule_a_tie() -> None:
    def label(principle: str, second: str = ORNATE) -> float | None:
        (judgement,) = judge_comparisons(RuleJudge(), [Question("Why?", PLAIN, second, principle)], "rules")
        return judgement.probability

    plain, ornate = label(EASE_OF_READING.principle), label(ORNATENESS.principle)
    assert plain == pytest.approx(1 / (1 + math.exp(-(206.835 - 1.015 * 6 - 84.6) / 20)))
    assert plain is not None and ornate == pytest.approx(1 - plain)
    assert label("Be kind.") == 0.5
    assert label(EASE_OF_READING.principle, "...") is None


def test_rules_label_pairs_as_every_judge_does() -> None:
    pairs = RESPONSE_PAIRS.build(
        [
            {
                "pair_id": f"pair_{at}",
                "prompt_id": str(at),
                "prompt": "Why?",
                "response_a": PLAIN,
                "finished_a": True,
                "response_b": second,
                "finished_b": True,
            }
            for at, second in enumerate([ORNATE, PLAIN, ""])
        ]
    )
    labelled = label_pairs(RuleJudge(), pairs, control_constitution("control_plain"), "rules", False, 7)
    assert labelled["status"].to_list() == ["labelled", "identical", "unanswered"]
    assert labelled["probability_a"][0] > 0.99
    assert set(labelled["feedback_model"]) == {"rules: ease of reading 1, ornateness 1, keeps to the question 1"}
    assert label_counts(labelled)["labelled"] == 1
    assert labelled.select(pl.col("method", "principle_id").unique()).row(0) == ("rules", "ease of reading")


def test_no_consultation_can_record_rules_as_its_feedback_model() -> None:
    assert "rules" not in RECORDED_METHODS and "tuned" in RECORDED_METHODS
    with pytest.raises(ValueError, match="feedback_method is 'rules', but must be"):
        parse_value("training", "feedback_method", "rules")
    with pytest.raises(ConsultationError, match="no feedback method 'rule'"):
        judge_comparisons(RuleJudge(), [], "rule")  # type: ignore[arg-type]


def test_every_rule_has_a_name_and_a_principle_of_its_own() -> None:
    assert len({rule.name for rule in RULES}) == len({rule.principle for rule in RULES}) == len(RULES)
    assert KEEPS_TO_THE_QUESTION in RULES
