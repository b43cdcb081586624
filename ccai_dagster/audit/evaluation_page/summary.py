"""The first screen: what differs, what does not, and what cannot be told.

Belongs here: choosing and ordering sentences. Doesn't belong here: what a single comparison shows (`verdicts`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from ccai_dagster.audit.evaluation_page.verdicts import ShownComparison, comparisons, elo_comparisons
from ccai_dagster.core.text import counted
from ccai_dagster.evaluation.scores import ADHERENCE_SCORES, ALL


@dataclass(frozen=True)
class InShort:
    """Sentences of the first screen, those that say most first; `lead` counts them.

    Attributes:
        lead: How many comparisons there are and what became of them.
        differ: One sentence for each difference.
        alike: One for each comparison without a difference worth speaking of.
        unclear: One for each of which nothing can be told.
    """

    lead: str
    differ: Sequence[str]
    alike: Sequence[str]
    unclear: Sequence[str]


def in_short(scores: pl.DataFrame, elo_differences: pl.DataFrame) -> InShort:
    """Sum up what was measured; categories of a benchmark are left to its chapter.

    Args:
        scores: EVAL_SCORES.
        elo_differences: ELO_DIFFERENCES.
    """
    whole = scores.filter((pl.col("category") == ALL) | (pl.col("benchmark") == ADHERENCE_SCORES))
    columns = ["judge_at_chance", "benchmark", "metric", "category", "arm", "compared_with"]
    found = [
        *comparisons(whole.sort(columns)),
        *elo_comparisons(elo_differences.sort("quality", "source", "arm", "other_arm")),
    ]
    differ = _largest_first([one for one in found if one.verdict in ("higher", "lower")])
    alike = [one for one in found if one.verdict == "alike"]
    unclear = _largest_first([one for one in found if one.verdict == "unclear"])
    lead = _lead(found, len(differ), len(alike), len(unclear))
    return InShort(lead, _told(differ), _told(alike), _told(unclear))


def _lead(found: Sequence[ShownComparison], differ: int, alike: int, unclear: int) -> str:
    if not found:
        return "Nothing was compared yet."
    loose = sum(one.verdict in ("higher", "lower") and one.row["adjusted_p"] is None for one in found)
    chance = (
        f" Not corrected for how many comparisons there are: {loose} of the differences; chance alone would single "
        "out about one comparison in twenty."
        if loose
        else ""
    )
    return (
        f"{counted(len(found), 'comparison')} of two models by one score. A difference: {differ}. None worth speaking "
        f"of: {alike}. Cannot be told: {unclear}.{chance}"
    )


def _largest_first(found: Sequence[ShownComparison]) -> list[ShownComparison]:
    """Largest difference first, those of a judge that only guesses last."""
    return sorted(found, key=lambda one: (one.row["judge_at_chance"], -one.size))


def _told(found: Sequence[ShownComparison]) -> list[str]:
    return [one.sentence for one in found]
