"""Preference pairs: responses sampled from the supervised policy, and soft labels by the feedback model.

Each pair is judged under one principle of the arm's constitution (Bai et al. 2022, section 4.1). An arm may draw its
principles by their group-aware consensus. Huang et al. (2024) name that among the ways to make a constitution that
they did not take: keep the principles and weight their selection in reinforcement learning by the consensus on them.
So it concerns the labels that the preference model learns, and not critique and revision.

How the model is asked is in `judge`, what is learnt from the labels in `training.comparisons`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from ccai_dagster.consultation.settings import PairSettings, ReasoningSettings
from ccai_dagster.contracts import PREFERENCE_PAIRS, PRINCIPLE_WEIGHTS, RESPONSE_PAIRS
from ccai_dagster.core.draws import derived_seed, draw_principle
from ccai_dagster.core.errors import ConsultationError, Progress, silent
from ccai_dagster.decisions.values import FeedbackMethod
from ccai_dagster.feedback.judge import REASONING, Judge, Judgement, Question, judge_comparisons
from ccai_dagster.feedback.judge_accuracy import TIE
from ccai_dagster.feedback.language_model import LanguageModel
from ccai_dagster.feedback.prompts import chosen_prompts


def sample_pairs(
    model: LanguageModel, prompts: pl.DataFrame, settings: PairSettings, seed: int, progress: Progress = silent
) -> pl.DataFrame:
    """Sample two responses to each prompt.

    Args:
        model: The supervised policy of one arm.
        prompts: PROMPTS; those with the purpose `preference` are used, up to `settings.prompts`.
        settings: Length and temperature.
        seed: Of the choice and of the sampling.
        progress: Counts responses.

    Returns:
        RESPONSE_PAIRS, sorted by `pair_id`, which is `pair_` and the prompt's id in every arm.

    Raises:
        ConsultationError: No such prompt, or a prompt beyond the context.
    """
    chosen = chosen_prompts(prompts, "preference", settings.prompts, seed)
    responses = model.generate(
        [[("user", text)] for text in chosen["text"] for _ in range(2)],
        new_tokens=settings.new_tokens,
        temperature=settings.temperature,
        seed=derived_seed(seed, "response pairs"),
        progress=progress,
    )
    return RESPONSE_PAIRS.build(
        [
            {
                "pair_id": f"pair_{prompt_id}",
                "prompt_id": prompt_id,
                "prompt": text,
                "response_a": first.text,
                "finished_a": first.finished,
                "response_b": second.text,
                "finished_b": second.finished,
            }
            for (prompt_id, text), first, second in zip(
                chosen.select("prompt_id", "text").iter_rows(), responses[::2], responses[1::2], strict=True
            )
        ]
    ).sort("pair_id")


def principle_weights(constitution: pl.DataFrame, arm: str) -> pl.DataFrame:
    """Return the share of comparisons that each principle is drawn for, in proportion to its consensus.

    Args:
        constitution: CONSTITUTION of the arm.
        arm: Its name, for messages.

    Returns:
        PRINCIPLE_WEIGHTS, sorted by `principle_id`; the shares add up to 1.

    Raises:
        ConsultationError: A principle has no group-aware consensus, or all have none at all (0).
    """
    ordered = constitution.select("principle_id", "gac").sort("principle_id")
    if missing := ordered.filter(pl.col("gac").is_null())["principle_id"].to_list():
        raise ConsultationError(
            f"consultation.yaml: arm {arm!r} draws principles by their group-aware consensus "
            f"(`principle_weights: gac`), and these have none: {', '.join(missing)}. Give the arm "
            "`principle_weights: uniform`, or a constitution from the ledgers whose principles come from votes."
        )
    if not ordered["gac"].sum():
        raise ConsultationError(
            f"consultation.yaml: arm {arm!r} draws principles by their group-aware consensus, and that of every "
            "principle is 0, so none could be drawn. Give the arm `principle_weights: uniform`."
        )
    return PRINCIPLE_WEIGHTS.build(ordered.with_columns(share=pl.col("gac") / pl.col("gac").sum()).to_dicts())


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
        method: How the judge is asked, see `judge`.
        judge_at_chance: Whether the judge, asked in this way, was not measured to be better than chance.
        seed: Draws the principles.
        progress: Counts pairs that are judged.
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
        status = "labelled" if different else "identical"
        labelled.append(
            {
                **{name: row[name] for name in RESPONSE_PAIRS.fields},
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
