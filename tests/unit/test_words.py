"""The method `words`: what is learnt from labelled comparisons, kept and scored."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from safetensors import safe_open

from ccai_dagster.core.digest import file_digest
from ccai_dagster.feedback.fitted_scores import fitted_score
from ccai_dagster.feedback.judge import Question, judge_comparisons
from ccai_dagster.feedback.words import FILE, WordJudge, fit_words, load_words, save_words

LIKED = WordJudge("w", ("!", "kind", "kind and", "no"), np.array([-0.5, 1.0, 0.5, -2.0]))


def compared(*pairs: tuple[str, str]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "prompt": [f"Question {at}?" for at in range(len(pairs))],
            "preferred": [preferred for preferred, _ in pairs],
            "other": [other for _, other in pairs],
            "target": [1.0] * len(pairs),
        }
    )


def test_a_score_is_the_weights_of_the_words_over_the_root_of_their_number() -> None:
    responses = ["Kind and kind!", "No, no.", "Nothing known", ""]
    scores = LIKED.scores([("kind kind kind", each) for each in responses])
    # "kind and", "kind", "!" are known, each counted once: (0.5 + 1 - 0.5) / sqrt(3)
    assert scores.tolist() == pytest.approx([1 / math.sqrt(3), -2.0, 0.0, 0.0])
    assert LIKED.scores([]).tolist() == []
    assert WordJudge("w", (), np.zeros(0)).scores([("", "kind")]).tolist() == [0.0]


def test_the_principle_is_not_heard() -> None:
    rules = ("Be kind.", "Say no.")
    judged = judge_comparisons(LIKED, [Question("Well?", "no", "kind", rule) for rule in rules], "words")
    assert [each.probability for each in judged] == pytest.approx([1 / (1 + math.exp(3.0))] * 2)
    assert [each.forward for each in judged] == [None, None]


def test_words_that_people_prefer_are_learnt_and_rare_ones_are_not() -> None:
    table = compared(*[(f"I am kind, thing{at}.", f"I am rude, other{at}.") for at in range(20)])
    words, score = fit_words(table)
    assert {"kind", "rude", "am kind", ", ", "i am"} - set(words) == {", "}
    assert not any("thing" in each or "other" in each for each in words)
    weight = dict(zip(words, score.weights, strict=True))
    assert weight["kind"] == pytest.approx(-weight["rude"]) and weight["kind"] > 0.1
    assert weight["i"] == pytest.approx(0.0, abs=1e-6)
    assert score.accuracy == 1.0
    turned = compared(*[(other, preferred) for preferred, other in table.select("preferred", "other").iter_rows()])
    np.testing.assert_allclose(fit_words(turned)[1].weights, -score.weights, atol=1e-6)


def test_what_is_kept_is_numbers_and_text_and_scores_alike(tmp_path: Path) -> None:
    save_words(LIKED.words, LIKED.weights, tmp_path)
    kept = load_words(tmp_path)
    exchanges = [("", "Kind and kind!"), ("", "no")]
    assert kept.scores(exchanges).tolist() == LIKED.scores(exchanges).tolist()
    assert kept.name == file_digest(tmp_path / FILE)
    with safe_open(tmp_path / FILE, framework="numpy") as file:
        assert file.metadata()["words"] == '["!", "kind", "kind and", "no"]'
    before = (tmp_path / FILE).read_bytes()
    save_words(kept.words, kept.weights, tmp_path)
    assert (tmp_path / FILE).read_bytes() == before


def test_a_score_of_one_feature_is_the_logistic_regression_worked_by_hand() -> None:
    # Ten comparisons of one feature, people prefer its presence in 4 of 5: without a penalty the weight is log 4.
    targets = np.full(10, 0.8)
    score = fitted_score(np.ones((10, 1)), targets, np.arange(10), [1e6])
    assert score.weights.tolist() == pytest.approx([math.log(4)], abs=1e-3)
    assert score.accuracy == 1.0 and score.strength == 1e6
    silent = fitted_score(np.zeros((10, 1)), targets, np.arange(10), [1.0])
    assert silent.accuracy == 0.5 and silent.weights.tolist() == [0.0]


def test_where_no_word_comes_twice_nothing_is_learnt(tmp_path: Path) -> None:
    words, score = fit_words(compared(*[(f"yes{at}", f"no{at}") for at in range(10)]))
    assert (words, score.accuracy) == ((), 0.5)
    save_words(words, score.weights, tmp_path)
    assert load_words(tmp_path).scores([("Why?", "yes1")]).tolist() == [0.0]
