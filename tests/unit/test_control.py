"""The positive control: scores computed by hand, when training is said to follow the judge, and its page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from parsed_page import Page
from small_evaluation import evaluation
from small_report import HOSTILE

from ccai_dagster.consultation.folder import BASE, ORNATE, PLAIN, SAMPLE, read_consultation
from ccai_dagster.consultation.settings import ControlSettings
from ccai_dagster.contracts import CONTROL_RESPONSES, CONTROL_SCORES, HELPFULNESS_PAIRS, PROMPTS
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.evaluation.control import (
    TRAINED_ON,
    control_findings,
    control_scores,
    follows_the_judge,
    held_out_prompts,
    sampled_responses,
    with_likelihood,
    with_purpose,
)
from ccai_dagster.feedback.language_model import Response
from ccai_dagster.feedback.prompts import read_prompts
from ccai_dagster.pages.evaluation import render_evaluation
from ccai_dagster.pages.evaluation_control import control_line, control_worth
from ccai_dagster.pages.inputs import EvaluationInputs
from ccai_dagster.training.comparisons import comparisons, learnable

__all__ = ["evaluation"]

REPOSITORY = Path(__file__).resolve().parents[2]

EASE = {"Go.": 121.22, "Go on.": 120.205, "Water.": 36.62}
"""Words a sentence and syllables a word: 1 and 1, 2 and 1, 1 and 2."""


def responses(said: dict[str, dict[str, list[str]]]) -> pl.DataFrame:
    """Responses by arm and prompt."""
    return CONTROL_RESPONSES.build(
        [
            {
                "arm": arm,
                "prompt_id": prompt_id,
                "prompt": "Water or fire?",
                "sample": sample,
                "response": text,
                "finished": True,
                "log_likelihood": -float(len(text)) if text else None,
            }
            for arm, by_prompt in said.items()
            for prompt_id, texts in by_prompt.items()
            for sample, text in enumerate(texts)
        ]
    )


def row(scores: pl.DataFrame, arm: str, other: str, measure: str = "ease of reading") -> dict[str, Any]:
    return scores.row(
        by_predicate=(pl.col("arm") == arm) & (pl.col("compared_with") == other) & (pl.col("measure") == measure),
        named=True,
    )


def told(**differences: tuple[float, float, float]) -> pl.DataFrame:
    """Scores with these differences in ease of reading, by arm."""
    spans = {(arm, BASE): ends for arm, ends in differences.items()} | {(PLAIN, ORNATE): (22.0, 17.0, 27.0)}
    return CONTROL_SCORES.build(
        [
            {
                "arm": arm,
                "compared_with": other,
                "measure": measure,
                "expected": ("below" if arm == ORNATE else "above") if measure == "ease of reading" else "not said",
                "n": 120,
                "n_prompts": 30,
                "value": 55.0 + span[0],
                "other_value": 55.0,
                "difference": span[0],
                "low": span[1],
                "high": span[2],
            }
            for (arm, other), ends in spans.items()
            for measure in ("ease of reading", "keeps to the question", "likelihood", "words")
            for span in [ends if measure == "ease of reading" else (0.5, -0.25, 1.25)]
        ]
    )


def test_differences_are_paired_by_prompt_and_seed_and_prompts_are_resampled() -> None:
    scores = control_scores(
        responses(
            {
                BASE: {"p1": ["Water.", "Water."], "p2": ["Go on.", ""]},
                PLAIN: {"p1": ["Go.", "Water."], "p2": ["Go.", "Go."]},
                ORNATE: {"p1": ["Water.", "Water."], "p2": ["Water.", "Water."]},
            }
        ),
        bootstraps=400,
        seed=7,
    )
    assert scores.select(CONTROL_SCORES.key).rows() == sorted(scores.select(CONTROL_SCORES.key).rows())
    plain = row(scores, PLAIN, BASE)
    # the empty response has no ease, so its pair is left out: 84.6, 0 on p1, 1.015 on p2
    assert (plain["n"], plain["n_prompts"], plain["expected"]) == (3, 2, "above")
    assert plain["difference"] == pytest.approx((84.6 + 0 + 1.015) / 3)
    assert plain["value"] - plain["other_value"] == pytest.approx(plain["difference"])
    # with two prompts a resample is p1 alone, p2 alone, or both
    assert (plain["low"], plain["high"]) == (pytest.approx(1.015), pytest.approx(84.6 / 2))
    ornate = row(scores, ORNATE, BASE)
    assert ornate["difference"] == pytest.approx((0 + 0 - 83.585) / 3)
    apart = row(scores, PLAIN, ORNATE)
    assert (apart["n"], apart["difference"]) == (4, pytest.approx((84.6 + 0 + 84.6 + 84.6) / 4))
    # "water" alone is long enough to carry content, and is of the question
    assert row(scores, PLAIN, BASE, "keeps to the question") | {"n": 1, "n_prompts": 1, "difference": None} == row(
        scores, PLAIN, BASE, "keeps to the question"
    )
    assert row(scores, PLAIN, BASE, "likelihood")["difference"] == pytest.approx((3 + 0 + 3) / 3)
    assert row(scores, PLAIN, BASE, "words")["difference"] == pytest.approx((0 + 0 - 1 + 1) / 4)


def test_what_never_has_a_score_has_no_figure_and_shows_nothing() -> None:
    scores = control_scores(
        responses({arm: {"p1": ["..."], "p2": ["12"]} for arm in (BASE, PLAIN, ORNATE)}), bootstraps=100, seed=7
    )
    assert not follows_the_judge(scores)
    assert row(scores, PLAIN, BASE)["difference"] is None
    assert [finding.subject for finding in control_findings(scores)] == [ORNATE, PLAIN]
    assert "an unknown number of" in control_worth(scores).headline


@pytest.mark.parametrize(
    ("plain", "ornate", "failing"),
    [
        ((12.0, 8.5, 15.5), (-10.0, -15.0, -5.0), []),
        ((12.0, 0.0, 15.5), (-10.0, -15.0, -5.0), [PLAIN]),
        ((12.0, 8.5, 15.5), (-1.0, -2.0, 0.0), [ORNATE]),
        ((-12.0, -15.0, -9.0), (10.0, 5.0, 15.0), [ORNATE, PLAIN]),
    ],
)
def test_training_follows_the_judge_if_both_intervals_lie_on_their_side_of_nil(
    plain: tuple[float, float, float], ornate: tuple[float, float, float], failing: list[str]
) -> None:
    scores = told(control_plain=plain, control_ornate=ornate)
    assert [finding.subject for finding in control_findings(scores)] == failing
    assert follows_the_judge(scores) is (not failing)
    assert control_worth(scores).headline.startswith(
        "That training follows the judge was not shown." if failing else "Training follows the judge."
    )


class Counting:
    """Says how often it was asked, and finds a response as likely as it is long."""

    name, provenance = "counting", {}

    def generate(self, conversations: Any, **options: Any) -> list[Response]:
        self.options = options
        return [Response(f"{conversation[0][1]} {at}", at % 2 == 0) for at, conversation in enumerate(conversations)]

    def log_likelihoods(self, conversations: Any, said: list[str]) -> np.ndarray:
        return np.array([(-2.0 * len(text), float(len(text))) if text else (0.0, 0.0) for text in said])


def test_every_model_responds_to_the_same_held_out_prompts_several_times() -> None:
    prompts = PROMPTS.build(
        [
            {"prompt_id": f"p{at}", "text": f"Q{at}", "purpose": purpose, "themes": [], "relevant_principles": []}
            for at, purpose in enumerate(["held_out", "qualitative", "preference", "revision", "policy"])
        ]
    )
    model = Counting()
    made = sampled_responses(model, prompts, PLAIN, ControlSettings(samples=2), 7)  # type: ignore[arg-type]
    assert made.select("prompt_id", "sample", "response").rows() == [
        ("p0", 0, "Q0 0"),
        ("p0", 1, "Q0 1"),
        ("p1", 0, "Q1 2"),
        ("p1", 1, "Q1 3"),
    ]
    assert (model.options["new_tokens"], model.options["temperature"]) == (32, 1.0)
    taught = with_purpose(prompts, ("revision", "preference"), "preference")
    assert taught.select("prompt_id", "purpose").rows() == [("p2", "preference"), ("p3", "preference")]
    silent = made.with_columns(response=pl.when(pl.col("sample") == 0).then(pl.lit("")).otherwise("response"))
    likely = with_likelihood(model, silent)  # type: ignore[arg-type]
    assert likely["log_likelihood"].to_list() == [None, -2.0, None, -2.0]


def test_no_model_of_the_control_was_trained_on_what_measures_it() -> None:
    rows = [("p0", "Who are you?", "held_out"), ("p1", " HEY ", "qualitative"), ("p2", "hey", "preference")]
    prompts = PROMPTS.build(
        [
            {"prompt_id": key, "text": text, "purpose": purpose, "themes": [], "relevant_principles": []}
            for key, text, purpose in rows
        ]
    )
    assert held_out_prompts(prompts)["prompt_id"].to_list() == ["p0"]
    sample = read_prompts(SAMPLE / "prompts.csv", SAMPLE / "themes.csv", {})
    taught = with_purpose(sample, TRAINED_ON, "preference")["text"]
    measuring = held_out_prompts(sample)["text"]
    assert (len(taught), len(measuring)) == (60, 29) and not {*taught} & {*measuring}


def test_the_page_begins_with_the_control(evaluation: EvaluationInputs) -> None:
    scores = told(control_plain=(12.14, 8.5, 15.5), control_ornate=(-9.7, -14.8, -4.8))
    said = responses({arm: {f"p{at}": ["Go.", "Go."] for at in range(5)} for arm in (BASE, PLAIN)})
    said = pl.concat([said, responses({ORNATE: {f"p{at}": [HOSTILE, "Go."] for at in range(5)}})])
    inputs = replace(
        evaluation, control_scores=scores, control_responses=said, policy_method="rloo", policy_steps=(5, 12)
    )
    text = render_evaluation(inputs)
    page = Page(text).words()
    assert text.index("Training follows the judge.") < text.index("comparisons of two models by one score")
    assert (
        "Beside the untrained model, the one taught to write plainly became easier to read by 12.1 points (95% "
        "interval 8.5 to 15.5), the one taught to write ornately harder by 9.7 (4.8 to 14.8)."
    ) in page
    assert "The two lie +22.0 (95% interval +17.0 to +27.0) points of reading ease apart." in page
    assert "of that method the control says nothing" in page
    shorter = Page(render_evaluation(replace(inputs, policy_method="dpo"))).words()
    assert (
        "in 5 steps where these took 12: that a model follows its judge after 12 does not say that theirs do after 5."
    ) in shorter
    assert (
        "in 40 steps, as these were in 12."
        in Page(render_evaluation(replace(inputs, policy_method="dpo", policy_steps=(40, 12)))).words()
    )
    assert "<script>alert" not in text
    assert "Does training follow the judge?" not in render_evaluation(evaluation)
    assert render_evaluation(inputs) == text


def test_the_terminal_says_it_in_a_line() -> None:
    assert control_line(told(control_plain=(12.14, 8.5, 15.5), control_ornate=(-9.7, -14.8, -4.8))) == (
        "training follows a judge whose taste is known: taught to write plainly +12.1 (95% interval +8.5 to +15.5), "
        "taught to write ornately −9.7 (95% interval −14.8 to −4.8) points of reading ease beside the untrained model"
    )


def test_the_documentation_says_how_many_pairs_are_learnt_from() -> None:
    settings = ControlSettings()
    prompts = with_purpose(read_prompts(SAMPLE / "prompts.csv", SAMPLE / "themes.csv", {}), TRAINED_ON, "preference")
    pairs = pl.DataFrame({"pair_id": [f"pair_{each}" for each in prompts["prompt_id"]]}).with_columns(
        *(pl.lit(text).alias(name) for name, text in {"prompt": "?", "response_a": "a", "response_b": "b"}.items()),
        pl.lit(0.9).alias("probability_a"),
        *(pl.lit(True).alias(f"finished_{side}") for side in "ab"),
        pl.lit("labelled").alias("status"),
    )
    learnt = [
        learnable(comparisons(pairs, HELPFULNESS_PAIRS.empty(), 1.0, settings.held_out_share, seed)).height
        for seed in (7, 8, 9)
    ]
    assert (settings.pairs.prompts, settings.policy.steps) == (pairs.height, 12)
    told = f"{learnt[0]} of the {pairs.height} pairs being learnt from ({learnt[1]} of draw 8)"
    assert learnt[2] == learnt[0] and told in (REPOSITORY / "docs" / "evaluation.md").read_text()


def test_the_arms_of_the_control_have_their_names_for_themselves(tmp_path: Any) -> None:
    content = yaml.safe_load((SAMPLE / "consultation.yaml").read_text())
    assert content["control"] is True
    content["arms"][PLAIN] = content["arms"]["public"]
    (tmp_path / "consultation.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ConsultationError, match="control_plain is no name for an arm"):
        read_consultation(tmp_path)
