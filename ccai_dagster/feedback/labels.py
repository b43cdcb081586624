"""Soft preference labels: one judgement of the feedback model for each pair of responses.

Each pair is judged under one principle of the arm's constitution (Bai et al. 2022, section 4.1). How the model is
asked belongs to `judgements`, what is learnt from the labels to `training.preference_pairs`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from ccai_dagster.contracts import PREFERENCE_PAIRS
from ccai_dagster.decisions.settled_values import FeedbackMethod
from ccai_dagster.errors import ConsultationError
from ccai_dagster.feedback.draws import draw_principle
from ccai_dagster.feedback.judgements import (
    REASONING,
    Judge,
    Judgement,
    Question,
    judge_comparisons,
)
from ccai_dagster.progress import Progress, silent
from ccai_dagster.settings import ReasoningSettings

TIE = 1e-6
"""A label this near one half prefers neither response: what is left is rounding."""


def label_pairs(
    judge: Judge,
    pairs: pl.DataFrame,
    constitution: pl.DataFrame,
    method: FeedbackMethod,
    judge_at_chance: bool,
    seed: int,
    progress: Progress = silent,
    *,
    weights: Mapping[str, float] | None = None,
    reasoning: ReasoningSettings = REASONING,
) -> pl.DataFrame:
    """Label pairs of responses under principles of one constitution.

    One principle is drawn for each pair by the pair's id. Identical responses are not shown to the judge: their
    label is one half.

    Args:
        judge: The feedback model.
        pairs: RESPONSE_PAIRS.
        constitution: CONSTITUTION of the arm.
        method: One of `judgements.METHODS`.
        judge_at_chance: Whether the judge, asked in this way, was not measured to be better than chance.
        seed: The consultation's seed.
        progress: Told how many pairs are judged.
        weights: How often each principle is drawn, relative to the others, by id; None for equally often.
        reasoning: See `judge_comparisons`.

    Returns:
        PREFERENCE_PAIRS, sorted by `pair_id`.

    Raises:
        ConsultationError: An empty constitution, a principle without a weight, an unknown method, or a question
            beyond the context.
    """
    if constitution.is_empty():
        raise ConsultationError("The constitution has no principles, so no pair can be judged under it.")
    if weights is not None and (unknown := set(constitution["principle_id"]) - set(weights)):
        raise ConsultationError(
            f"No weight says how often {', '.join(sorted(unknown))} is drawn: the weights were made for another "
            "constitution. Materialize principle_weights of this arm again."
        )
    rows = list(pairs.sort("pair_id").iter_rows(named=True))
    drawn = [draw_principle(constitution, seed, "label", row["pair_id"], weights=weights) for row in rows]
    differ = [row["response_a"] != row["response_b"] for row in rows]
    judged = iter(
        judge_comparisons(
            judge,
            [
                Question(row["prompt"], row["response_a"], row["response_b"], principle["text"])
                for row, principle, different in zip(rows, drawn, differ, strict=True)
                if different
            ],
            method,
            progress,
            reasoning,
        )
    )
    labelled = []
    for row, principle, different in zip(rows, drawn, differ, strict=True):
        judgement = next(judged) if different else Judgement(0.5)
        status = "identical" if not different else "labelled"
        labelled.append(
            {
                **{
                    name: row[name] for name in ("pair_id", "prompt_id", "prompt", "response_a", "response_b")
                },
                "principle_id": principle["principle_id"],
                "forward_probability": judgement.forward,
                "reversed_probability": judgement.reversed,
                "forward_reasoning": judgement.forward_reasoning,
                "reversed_reasoning": judgement.reversed_reasoning,
                "probability_a": judgement.probability,
                "clamped": judgement.clamped,
                "answer_mass": judgement.answer_mass,
                "status": "unanswered" if judgement.probability is None else status,
                "method": method,
                "feedback_model": judge.name,
                "judge_at_chance": judge_at_chance,
            }
        )
    return PREFERENCE_PAIRS.build(labelled)


def label_counts(pairs: pl.DataFrame) -> dict[str, int]:
    """Count what became of the pairs: nothing is guessed where the judge said nothing.

    Args:
        pairs: PREFERENCE_PAIRS.

    Returns:
        `pairs`, `labelled`, of these `ties` (neither response preferred) and `clamped`; `identical` responses, and
        `unanswered`. The last two are not learnt from.
    """
    labelled = pl.col("status") == "labelled"
    counted: dict[str, Any] = pairs.select(
        pairs=pl.len(),
        labelled=labelled.sum(),
        ties=(labelled & ((pl.col("probability_a") - 0.5).abs() <= TIE)).sum(),
        clamped=pl.col("clamped").sum(),
        identical=(pl.col("status") == "identical").sum(),
        unanswered=(pl.col("status") == "unanswered").sum(),
    ).row(0, named=True)
    return {name: int(count) for name, count in counted.items()}
