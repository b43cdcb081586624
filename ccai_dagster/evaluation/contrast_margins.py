"""What a model itself finds likelier, without a judge: a response that keeps a principle, or one that breaks it.

The change against the untrained model is what counts: how likely a text is depends on much that has nothing to do
with the principle, and that is the same before and after.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from ccai_dagster.contracts import CONTRAST_MARGINS
from ccai_dagster.feedback.language_model import LanguageModel, Turn
from ccai_dagster.progress import Progress, silent

_CHUNK = 128


def contrast_margins(
    model: LanguageModel, pairs: pl.DataFrame, arm: str, progress: Progress = silent
) -> pl.DataFrame:
    """Measure how much likelier a model finds the response that keeps the principle.

    The margin is the difference of the two responses' mean log-probabilities, in nats a token, so that a longer
    response is not less likely for its length. It is null if a response has no tokens or no finite probability.

    Args:
        model: The model of `arm`.
        pairs: CONTRAST_PAIRS.
        arm: `base` or an arm.
        progress: Told how many pairs are finished.

    Returns:
        CONTRAST_MARGINS, sorted by `pair_id`.

    Raises:
        ConsultationError: A pair beyond the model's context.
    """
    rows = []
    ordered = pairs.sort("pair_id")
    for chunk in ordered.iter_slices(_CHUNK):
        conversations: list[list[Turn]] = [[("user", prompt)] for prompt in chunk["prompt"] for _ in range(2)]
        responses = [text for both in chunk.select("keeps", "breaks").iter_rows() for text in both]
        scored = model.log_likelihoods(conversations, responses)
        with np.errstate(divide="ignore", invalid="ignore"):
            means = (scored[:, 0] / scored[:, 1]).reshape(-1, 2)
        rows += [
            {
                "arm": arm,
                **{
                    name: pair[name] for name in ("pair_id", "constitution_arm", "principle_id", "against_id")
                },
                "prompt": pair["prompt"],
                "margin": float(keeps - breaks) if np.isfinite([keeps, breaks]).all() else None,
            }
            for pair, (keeps, breaks) in zip(chunk.iter_rows(named=True), means, strict=True)
        ]
        progress("contrast pairs", len(rows), ordered.height)
    return CONTRAST_MARGINS.build(rows)
