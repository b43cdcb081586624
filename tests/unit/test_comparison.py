from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest

from ccai_dagster.contracts import ELO_SCORES
from ccai_dagster.errors import ConsultationError
from ccai_dagster.evaluation.comparison import COMPARISONS, compare_responses, elo_scores
from ccai_dagster.feedback.calibration import Z_95
from ccai_dagster.feedback.language_model import Conversation
from ccai_dagster.progress import Progress, silent
from ccai_dagster.settings import EvaluationSettings


class LongerIsBetter:
    """A judge that prefers the longer response three to one, and the letter A on top of that."""

    name = "longer is better"

    def __init__(self) -> None:
        self.questions: list[str] = []

    def generate(
        self,
        conversations: Sequence[Conversation],
        *,
        new_tokens: int,
        temperature: float,
        seed: int,
        progress: Progress = silent,
    ) -> list[str]:
        raise NotImplementedError

    def log_likelihoods(self, conversations: Sequence[Conversation], responses: Sequence[str]) -> np.ndarray:
        raise NotImplementedError

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
        }
    )


SETTINGS = EvaluationSettings(comparison_prompts=2)


def test_both_orders_are_averaged_and_identical_responses_tie() -> None:
    judge = LongerIsBetter()
    tables = {
        "base": responses("base", {"p1": "short", "p2": "the same"}),
        "public": responses("public", {"p1": "much longer", "p2": "the same"}),
    }
    table = compare_responses(tables, judge, SETTINGS, seed=0)
    assert dict(table.schema) == COMPARISONS
    helpful = {
        row["prompt_id"]: row
        for row in table.filter(pl.col("quality") == "helpfulness").iter_rows(named=True)
    }
    # base is shorter: shown first 0.25 + 0.1, shown second 1 - (0.75 + 0.1).
    assert helpful["p1"]["forward_probability"] == pytest.approx(0.35)
    assert helpful["p1"]["reversed_probability"] == pytest.approx(0.15)
    assert helpful["p1"]["probability_a"] == pytest.approx(0.25)
    assert helpful["p2"]["probability_a"] == 0.5
    assert len(judge.questions) == 4  # one pair that differs, two qualities, two orders
    assert sum("hurt, deceive or demean" in question for question in judge.questions) == 2


def test_the_order_of_arms_and_rows_does_not_matter() -> None:
    tables = {
        arm: responses(arm, {f"p{n}": "word " * (n + extra) for n in range(6)})
        for extra, arm in enumerate(("standard", "base", "public"))
    }
    expected = compare_responses(tables, LongerIsBetter(), SETTINGS, seed=4)
    turned = {arm: table.reverse() for arm, table in reversed(tables.items())}
    assert compare_responses(turned, LongerIsBetter(), SETTINGS, seed=4).equals(expected)
    assert expected.height == 2 * 2 * 3
    assert expected.select("arm_a", "arm_b").unique().height == 3


def test_a_missing_response_is_named() -> None:
    tables = {"base": responses("base", {"p1": "a"}), "public": responses("public", {"p1": "a", "p2": "b"})}
    with pytest.raises(ConsultationError, match="base has no response to prompt p2"):
        compare_responses(tables, LongerIsBetter(), SETTINGS, seed=0)


def comparisons(*rows: tuple[str, str, str, float | None]) -> pl.DataFrame:
    return pl.DataFrame(
        [("helpfulness", prompt_id, arm_a, arm_b, p, p, p) for prompt_id, arm_a, arm_b, p in rows],
        schema=COMPARISONS,
        orient="row",
    )


def elo(table: pl.DataFrame, bootstraps: int = 200, seed: int = 0) -> dict[str, dict[str, float]]:
    scores = elo_scores(table, "judge", False, bootstraps, seed)
    assert ELO_SCORES.violations(scores).is_empty()
    return {row["arm"]: row for row in scores.iter_rows(named=True)}


def test_two_arms_have_the_elo_of_their_odds() -> None:
    # 7 wins, 2 losses and one imagined tie: odds 7.5 to 2.5.
    table = comparisons(*((f"p{n}", "base", "public", float(n < 2)) for n in range(9)))
    scores = elo(table)
    assert scores["public"]["elo"] == pytest.approx(400 * np.log10(3))
    assert (scores["base"]["elo"], scores["base"]["elo_low"], scores["base"]["elo_high"]) == (0, 0, 0)
    assert scores["public"]["elo_low"] < scores["public"]["elo"] < scores["public"]["elo_high"]
    assert (scores["public"]["n"], scores["public"]["n_unanswered"]) == (9, 0)


def test_an_arm_that_always_wins_is_finite_and_its_interval_has_width() -> None:
    scores = elo(comparisons(*((f"p{n}", "base", "public", 0.0) for n in range(10))))
    assert scores["public"]["elo"] == pytest.approx(400 * np.log10(10.5 / 0.5))
    error = 400 / np.log(10) / np.sqrt(11 * (10.5 / 11) * (0.5 / 11))
    assert scores["public"]["elo_low"] == pytest.approx(scores["public"]["elo"] - Z_95 * error)
    assert np.isfinite(scores["public"]["elo_high"])


def test_unanswered_comparisons_are_counted_and_left_out() -> None:
    some = elo(comparisons(("p1", "base", "public", 1.0), ("p2", "base", "public", None)))
    assert (some["public"]["n"], some["public"]["n_unanswered"]) == (1, 1)
    assert some["public"]["elo"] == pytest.approx(400 * np.log10(0.5 / 1.5))
    none = elo(comparisons(("p1", "base", "public", None)))
    assert none["public"]["elo"] == 0
    # One imagined tie has the curvature 1/4, a standard error of 2.
    assert none["public"]["elo_high"] == pytest.approx(Z_95 * 2 * 400 / np.log(10))


def test_elo_needs_the_untrained_model() -> None:
    with pytest.raises(ValueError, match="base"):
        elo_scores(comparisons(("p1", "public", "standard", 1.0)), "judge", False, 100, 0)


def simulated(strengths: dict[str, float], prompts: int, generator: np.random.Generator) -> pl.DataFrame:
    pairs = [("base", "public"), ("base", "standard"), ("public", "standard")]
    rows = []
    for number in range(prompts):
        for arm_a, arm_b in pairs:
            chance = 1 / (1 + 10 ** ((strengths[arm_b] - strengths[arm_a]) / 400))
            rows.append((f"p{number}", arm_a, arm_b, float(generator.random() < chance)))
    return comparisons(*rows)


TRUTH = {"base": 0.0, "public": 120.0, "standard": -60.0}


def test_simulated_strengths_are_recovered() -> None:
    table = simulated(TRUTH, 4000, np.random.default_rng(1))
    scores = elo(table)
    for arm, truth in TRUTH.items():
        assert scores[arm]["elo"] == pytest.approx(truth, abs=15)
    assert elo(table.reverse()) == scores


def test_intervals_cover_about_as_often_as_they_say() -> None:
    generator = np.random.default_rng(2)
    covered = 0
    for trial in range(150):
        scores = elo(simulated(TRUTH, 60, generator), bootstraps=300, seed=trial)
        covered += sum(
            scores[arm]["elo_low"] <= TRUTH[arm] <= scores[arm]["elo_high"] for arm in ("public", "standard")
        )
    assert 0.90 <= covered / 300 <= 0.98
