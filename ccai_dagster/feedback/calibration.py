"""What the feedback model answers on comparisons people have labelled.

Everything that rests on the judge quotes the figures that follow from these answers (`judge_figures`);
nothing is assumed about a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from ccai_dagster.contracts import JUDGE_ANSWERS
from ccai_dagster.decisions.settled_values import FeedbackMethod
from ccai_dagster.errors import ConsultationError
from ccai_dagster.feedback.judgements import REASONING, Judge, Question, judge_comparisons
from ccai_dagster.feedback.prompts import PRINCIPLE
from ccai_dagster.progress import Progress, silent
from ccai_dagster.settings import ReasoningSettings

HELPFULNESS_PRINCIPLE = "The response should help the user with what was asked, correctly and clearly."
"""What a comparison is judged under if its file names no principle."""


def with_principle(comparisons: pl.DataFrame) -> pl.DataFrame:
    """Return labelled comparisons with a column `principle`, the general one where the file names none."""
    if PRINCIPLE in comparisons.columns:
        return comparisons
    return comparisons.with_columns(pl.lit(HELPFULNESS_PRINCIPLE).alias(PRINCIPLE))


def judge_answers(
    judges: Mapping[FeedbackMethod, Judge],
    comparisons: Mapping[str, pl.DataFrame],
    progress: Progress = silent,
    reasoning: ReasoningSettings = REASONING,
) -> pl.DataFrame:
    """Let every method judge the same labelled comparisons.

    Comparisons whose label is one half have no right answer and are left out.

    Args:
        judges: Who is asked, by the way of asking.
        comparisons: HELPFULNESS_PAIRS by name, with a column `principle` where they have one.
        progress: Told how many comparisons are judged, over all methods and sets.
        reasoning: See `judge_comparisons`.

    Returns:
        JUDGE_ANSWERS, sorted by its key.

    Raises:
        ConsultationError: A set without a single decided comparison, or a question beyond the context.
    """
    decided = {
        name: with_principle(table).filter(pl.col("probability_a") != 0.5).sort("pair_id")
        for name, table in comparisons.items()
    }
    for name, table in decided.items():
        if table.is_empty():
            raise ConsultationError(
                f"Comparisons {name!r}: every label is one half, so no answer is right. "
                "Add decided comparisons."
            )
    total = len(judges) * sum(table.height for table in decided.values())
    rows: list[dict[str, Any]] = []
    for method, judge in judges.items():
        for name, table in sorted(decided.items()):
            finished = len(rows)
            asked = list(table.iter_rows(named=True))
            judgements = judge_comparisons(
                judge,
                [
                    Question(row["prompt"], row["response_a"], row["response_b"], row[PRINCIPLE])
                    for row in asked
                ],
                method,
                lambda message, done, _, before=finished: progress(message, before + done, total),
                reasoning,
            )
            rows += [
                {
                    "method": method,
                    "comparison_set": name,
                    "pair_id": row["pair_id"],
                    "prompt": row["prompt"],
                    "principle": row[PRINCIPLE],
                    "characters_a": len(row["response_a"]),
                    "characters_b": len(row["response_b"]),
                    "label": row["probability_a"],
                    "forward_probability": judgement.forward,
                    "reversed_probability": judgement.reversed,
                    "probability_a": judgement.probability,
                    "feedback_model": judge.name,
                }
                for row, judgement in zip(asked, judgements, strict=True)
            ]
    return JUDGE_ANSWERS.build(rows).sort(JUDGE_ANSWERS.key)
