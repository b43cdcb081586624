"""Prints digests of figures that are sums of many numbers; a test runs it on several numbers of threads."""

from __future__ import annotations

import numpy as np
import polars as pl

from ccai_dagster.contracts import CONSTITUTION_OVERLAP, CONTRAST_MARGINS
from ccai_dagster.core.digest import table_digest
from ccai_dagster.evaluation.specificity import specificity

PROMPTS = 800


def judged(arm: str, seed: int) -> pl.DataFrame:
    """Judgements in several chunks, as tables that were put together have them."""
    chances = np.random.default_rng(seed).random((4, PROMPTS))
    parts = [
        pl.DataFrame(
            {
                "arm": arm,
                "constitution_arm": "public",
                "principle_id": f"P{at}",
                "prompt_id": [f"h{number}" for number in range(PROMPTS)],
                "response": "Yes.",
                "finished": True,
                "probability": own,
                "judge_at_chance": False,
            }
        )
        for at, own in enumerate(chances)
    ]
    return pl.concat(parts, rechunk=False)


def main() -> None:
    """Print one digest a repetition."""
    adherence = {arm: judged(arm, seed) for seed, arm in enumerate(("base", "public"))}
    nothing = {arm: table.clear() for arm, table in adherence.items()}
    margins = {arm: CONTRAST_MARGINS.empty() for arm in adherence}
    for _ in range(3):
        print(table_digest(specificity(adherence, nothing, margins, CONSTITUTION_OVERLAP.empty(), 1)))


if __name__ == "__main__":
    main()
