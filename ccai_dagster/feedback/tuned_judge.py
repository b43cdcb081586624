"""The tuned judge: what a feedback model tuned on labelled comparisons is shown, and what it is tuned on.

It scores one response at a time under a principle; the label of a pair is the logistic of the difference of two
scores. Half of the labelled comparisons tunes it, the other half measures it (`calibration`). The training is
in `training.feedback_model`.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from ccai_dagster.errors import ConsultationError
from ccai_dagster.feedback.draws import uniform

TEMPLATE_VERSION = "1"
"""Raised when the words below change; belongs into the code version of what is tuned and measured."""
TUNED_SHARE = 0.5


def scored_prompt(prompt: str, principle: str) -> str:
    """What the tuned judge sees before a response: the prompt, and the principle to score it under."""
    return f"{prompt}\n\n(The response should follow this rule: {principle})"


def on_tuning_side(prompt: str, seed: int) -> bool:
    """Tell whether comparisons of this prompt tune the judge; those of all others measure it.

    It depends on the words of the prompt alone, whatever their case and spacing, so that no prompt stands on
    both sides, not even in two sets.
    """
    return uniform(seed, "tuned judge", " ".join(prompt.casefold().split())) < TUNED_SHARE


def halves(
    comparisons: Mapping[str, pl.DataFrame], seed: int
) -> tuple[dict[str, pl.DataFrame], dict[str, pl.DataFrame]]:
    """Split labelled comparisons into those that tune the judge and those that measure it.

    Args:
        comparisons: HELPFULNESS_PAIRS by name.
        seed: The consultation's seed.

    Returns:
        Both halves of every set, by name.

    Raises:
        ConsultationError: All prompts of a set fall on one side.
    """
    tuning, measuring = {}, {}
    for name, table in comparisons.items():
        side = pl.Series([on_tuning_side(prompt, seed) for prompt in table["prompt"]], dtype=pl.Boolean)
        tuning[name], measuring[name] = table.filter(side), table.filter(~side)
        if tuning[name].is_empty() or measuring[name].is_empty():
            raise ConsultationError(
                f"Comparisons {name!r}: its {table.height} comparisons cannot be split by prompt into one half that "
                "tunes the judge and one that measures it. Add comparisons with other prompts."
            )
    return tuning, measuring
