"""Responses people read side by side, one for each model and prompt; nothing is measured on them."""

from __future__ import annotations

import polars as pl

from ccai_dagster.contracts import QUALITATIVE_RESPONSES
from ccai_dagster.evaluation.refusals import is_refusal
from ccai_dagster.feedback.draws import derived_seed
from ccai_dagster.feedback.language_model import LanguageModel
from ccai_dagster.progress import Progress, silent
from ccai_dagster.settings import EvaluationSettings


def write_qualitative_responses(
    model: LanguageModel,
    prompts: pl.DataFrame,
    arm: str,
    settings: EvaluationSettings,
    seed: int,
    progress: Progress = silent,
) -> pl.DataFrame:
    """Let a model respond to every prompt that people read responses to, decoded greedily.

    Args:
        model: The model of `arm`.
        prompts: QUALITATIVE_PROMPTS.
        arm: `base` or an arm.
        settings: How long responses may be.
        seed: The consultation's seed.
        progress: Told how many responses are finished.

    Returns:
        QUALITATIVE_RESPONSES, sorted by `prompt_id`; empty if there is no prompt.
    """
    chosen = prompts.sort("prompt_id")
    if chosen.is_empty():
        return QUALITATIVE_RESPONSES.empty()
    responses = model.generate(
        [[("user", text)] for text in chosen["text"]],
        new_tokens=settings.new_tokens,
        temperature=0.0,
        seed=derived_seed(seed, "qualitative responses"),
        progress=progress,
    )
    return QUALITATIVE_RESPONSES.build(
        [
            {
                "arm": arm,
                "prompt_id": prompt_id,
                "prompt": text,
                "response": response,
                "refused": is_refusal(response),
            }
            for (prompt_id, text), response in zip(
                chosen.select("prompt_id", "text").iter_rows(), responses, strict=True
            )
        ]
    )
