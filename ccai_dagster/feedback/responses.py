"""Pairs of responses to be compared, sampled from the supervised policy (Bai et al. 2022, section 4.1).

Labels are in `labels`.
"""

from __future__ import annotations

import polars as pl

from ccai_dagster.contracts import RESPONSE_PAIRS
from ccai_dagster.feedback.draws import derived_seed
from ccai_dagster.feedback.language_model import LanguageModel
from ccai_dagster.feedback.prompts import chosen_prompts
from ccai_dagster.progress import Progress, silent
from ccai_dagster.settings import PairSettings


def sample_pairs(
    model: LanguageModel,
    prompts: pl.DataFrame,
    settings: PairSettings,
    seed: int,
    progress: Progress = silent,
) -> pl.DataFrame:
    """Sample two responses to each prompt.

    Args:
        model: The supervised policy of one arm.
        prompts: PROMPTS; those with the purpose `preference` are used, up to `settings.prompts`.
        settings: Length and temperature.
        seed: The consultation's seed.
        progress: Told how many responses are sampled.

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
                "response_a": response_a,
                "response_b": response_b,
            }
            for (prompt_id, text), response_a, response_b in zip(
                chosen.select("prompt_id", "text").iter_rows(), responses[::2], responses[1::2], strict=True
            )
        ]
    ).sort("pair_id")
