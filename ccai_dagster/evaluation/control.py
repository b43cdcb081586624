"""The positive control: does a model do what its judge prefers, after training through the stages of every arm?

Two models are trained on labels of rules whose taste is known and opposite: the plainest words, and the most ornate
ones. Then both and the untrained model respond to prompts that none was trained on, and the same rule scores all of
them. If training follows the judge, the first lies above the untrained model and the second below, each with its whole
interval. What it says of the constitutions is another matter: their judge is measured in `feedback.calibration`.

A third rule is shown beside it, which nobody was trained on, and so are the likelihood of the responses under the
untrained model and their length: a rule can be obeyed in ways that a reader would not call plain or ornate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import polars as pl

from ccai_dagster.consultation.folder import BASE, ORNATE, PLAIN
from ccai_dagster.consultation.settings import ControlSettings
from ccai_dagster.contracts import CONSTITUTION, CONTROL_RESPONSES, CONTROL_SCORES
from ccai_dagster.core.draws import derived_seed
from ccai_dagster.core.errors import Progress, silent
from ccai_dagster.decisions.checks import Finding
from ccai_dagster.feedback.language_model import LanguageModel, Turn, nats_a_token
from ccai_dagster.feedback.prompts import chosen_prompts, same_words
from ccai_dagster.feedback.rules import CONTROL, EASE_OF_READING, KEEPS_TO_THE_QUESTION, words
from ccai_dagster.statistics.resampling import percentile_interval, resampled_figures

LIKELIHOOD, WORDS = "likelihood", "words"
MEASURES: Mapping[str, Callable[[Mapping[str, Any]], float]] = {
    EASE_OF_READING.name: lambda row: EASE_OF_READING.score(row["prompt"], row["response"]),
    KEEPS_TO_THE_QUESTION.name: lambda row: KEEPS_TO_THE_QUESTION.score(row["prompt"], row["response"]),
    LIKELIHOOD: lambda row: math.nan if row["log_likelihood"] is None else row["log_likelihood"],
    WORDS: lambda row: float(len(words(row["response"]))),
}
"""What a row of CONTROL_RESPONSES scores, by name; not a number where it has no score."""
COMPARED = ((PLAIN, BASE), (ORNATE, BASE), (PLAIN, ORNATE))
EXPECTED: Mapping[tuple[str, str], Literal["above", "below"]] = {
    (PLAIN, BASE): "above",
    (ORNATE, BASE): "below",
    (PLAIN, ORNATE): "above",
}
"""Where the difference in ease of reading must lie if training follows the judge."""
TRAINED_ON, HELD_OUT = ("revision", "preference"), ("held_out", "qualitative")
"""Purposes of the prompts that pairs are sampled to, and of those that only measure: see `held_out_prompts`."""


def control_constitution(arm: str) -> pl.DataFrame:
    """Return the constitution of an arm of the control: the one principle that its rule stands for, as CONSTITUTION."""
    row = {"principle_id": CONTROL[arm].name, "arm": arm, "text": CONTROL[arm].principle}
    nothing: dict[str, Any] = {"statement_ids": [], "merged_text": None, "gac": None, "side": None, "decision_ids": []}
    return CONSTITUTION.build([row | nothing])


def with_purpose(prompts: pl.DataFrame, among: tuple[str, ...], purpose: str) -> pl.DataFrame:
    """Return the prompts of some purposes, all with one purpose: the control needs more than there are of each.

    Args:
        prompts: PROMPTS.
        among: Purposes that are taken.
        purpose: What the prompts then have.
    """
    return prompts.filter(pl.col("purpose").is_in(among)).with_columns(purpose=pl.lit(purpose))


def held_out_prompts(prompts: pl.DataFrame) -> pl.DataFrame:
    """Return the prompts of `HELD_OUT`, as `held_out`; one to read may say what pairs were sampled to as well.

    Args:
        prompts: PROMPTS.
    """
    trained_on = {same_words(text) for text in with_purpose(prompts, TRAINED_ON, "preference")["text"]}
    measuring = with_purpose(prompts, HELD_OUT, "held_out")
    new = [same_words(text) not in trained_on for text in measuring["text"]]
    return measuring.filter(pl.Series(new, dtype=pl.Boolean))


def sampled_responses(
    model: LanguageModel,
    prompts: pl.DataFrame,
    arm: str,
    settings: ControlSettings,
    seed: int,
    progress: Progress = silent,
) -> pl.DataFrame:
    """Let a model respond to held-out prompts, several times each; every model draws with the same seeds.

    Args:
        prompts: PROMPTS; those of `held_out_prompts` are used, up to `settings.held_out_prompts`.

    Returns:
        CONTROL_RESPONSES without a likelihood, sorted by its key.

    Raises:
        ConsultationError: No such prompt, or one beyond the context.
    """
    chosen = chosen_prompts(held_out_prompts(prompts), "held_out", settings.held_out_prompts, seed)
    asked = [
        (*row, sample) for row in chosen.select("prompt_id", "text").iter_rows() for sample in range(settings.samples)
    ]
    responses = model.generate(
        [[("user", text)] for _, text, _ in asked],
        new_tokens=settings.new_tokens,
        temperature=settings.temperature,
        seed=derived_seed(seed, "control responses"),
        progress=progress,
    )
    return CONTROL_RESPONSES.build(
        [
            {
                "arm": arm,
                "prompt_id": prompt_id,
                "prompt": text,
                "sample": sample,
                "response": response.text,
                "finished": response.finished,
                "log_likelihood": None,
            }
            for (prompt_id, text, sample), response in zip(asked, responses, strict=True)
        ]
    ).sort(CONTROL_RESPONSES.key)


def with_likelihood(untrained: LanguageModel, responses: pl.DataFrame) -> pl.DataFrame:
    """Add how likely the untrained model finds each response, in nats a token.

    Args:
        responses: CONTROL_RESPONSES.

    Returns:
        CONTROL_RESPONSES, sorted by its key; an empty response has no likelihood.
    """
    asked: list[list[Turn]] = [[("user", prompt)] for prompt in responses["prompt"]]
    means = nats_a_token(untrained.log_likelihoods(asked, responses["response"].to_list()))
    found = [float(mean) if np.isfinite(mean) else None for mean in means]
    return responses.with_columns(log_likelihood=pl.Series(found, dtype=pl.Float64)).sort(CONTROL_RESPONSES.key)


def control_scores(responses: pl.DataFrame, bootstraps: int, seed: int) -> pl.DataFrame:
    """Compare the arms of the control with the untrained model and with each other.

    Differences are paired by prompt and seed; a pair of which one response has no score is left out. Prompts are
    resampled with all their responses.

    Args:
        responses: CONTROL_RESPONSES.
        bootstraps: Resamples behind intervals.
        seed: Of the resampling.

    Returns:
        CONTROL_SCORES, sorted by its key.
    """
    rows: list[dict[str, Any]] = []
    for measure, score in MEASURES.items():
        scored = responses.select(
            "arm", "prompt_id", "sample", value=pl.Series([score(row) for row in responses.iter_rows(named=True)])
        ).filter(pl.col("value").is_finite())
        for arm, other in COMPARED:
            pairs = (
                scored.filter(pl.col("arm") == arm)
                .join(scored.filter(pl.col("arm") == other), on=["prompt_id", "sample"], suffix="_other")
                .sort("prompt_id", "sample")  # in one order, or the last digit depends on the threads
            )
            rows.append(
                {
                    "arm": arm,
                    "compared_with": other,
                    "measure": measure,
                    "expected": EXPECTED[arm, other] if measure == EASE_OF_READING.name else "not said",
                    "n": pairs.height,
                    "n_prompts": pairs["prompt_id"].n_unique(),
                    "value": pairs["value"].mean(),
                    "other_value": pairs["value_other"].mean(),
                    **_difference(pairs, bootstraps, derived_seed(seed, "control", measure)),
                }
            )
    return CONTROL_SCORES.build(rows).sort(CONTROL_SCORES.key)


def _difference(pairs: pl.DataFrame, bootstraps: int, seed: int) -> dict[str, float | None]:
    prompts = pairs["prompt_id"].to_list()
    if len(set(prompts)) < 2:
        return {"difference": None, "low": None, "high": None}
    differences = (pairs["value"] - pairs["value_other"]).to_numpy()
    mean = float(differences.mean())
    drawn, units = resampled_figures(
        np.column_stack([differences, np.ones(len(differences))]),
        prompts,
        [("",)] * len(prompts),
        lambda sums: sums[:, :1] / sums[:, 1:],
        bootstraps=bootstraps,
        seed=seed,
    )
    low, high = percentile_interval(drawn[:, 0], float(units[0]))
    return {"difference": mean, "low": min(low, mean), "high": max(high, mean)}


def moved_as_expected(row: Mapping[str, Any]) -> bool:
    """Tell whether the whole interval of a row of CONTROL_SCORES lies where training should bring it."""
    if row["difference"] is None:
        return False
    return bool(row["low"] > 0 if row["expected"] == "above" else row["high"] < 0)


def against_untrained(scores: pl.DataFrame) -> dict[str, dict[str, Any]]:
    """Return by arm the row of CONTROL_SCORES that tells whether training followed the judge."""
    own = scores.filter((pl.col("compared_with") == BASE) & (pl.col("measure") == EASE_OF_READING.name))
    return {row["arm"]: row for row in own.to_dicts()}


def follows_the_judge(scores: pl.DataFrame) -> bool:
    """Tell whether both arms moved as their judges prefer.

    Args:
        scores: CONTROL_SCORES.
    """
    return all(map(moved_as_expected, against_untrained(scores).values()))


def control_findings(scores: pl.DataFrame) -> list[Finding]:
    """Warn of each arm of the control that did not move as its judge prefers.

    Args:
        scores: CONTROL_SCORES.
    """
    return [
        Finding(
            "warning",
            "",
            None,
            arm,
            f"the 95 % interval of its change in {EASE_OF_READING.name} against the untrained model, {shown(row)}, "
            f"does not lie {row['expected']} nil: that training follows the judge is not shown, so nothing can be said "
            "of what a constitution changes either",
        )
        for arm, row in sorted(against_untrained(scores).items())
        if not moved_as_expected(row)
    ]


def shown(row: Mapping[str, Any]) -> str:
    """Return a difference of CONTROL_SCORES with its interval, in points."""
    if row["difference"] is None:
        return "not measured"
    return f"{row['difference']:+.1f} [{row['low']:+.1f}, {row['high']:+.1f}]"
