"""Where two principles of a constitution pull apart, which one a model follows.

Two principles conflict where somebody wrote a contrast pair that sets one against the other: a prompt to which one
response keeps the first and breaks the second, and the other response the reverse. Nothing is guessed from texts or
from correlations, and no judge is asked: what counts is which of the two the model itself finds likelier.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from ccai_dagster.consultation import BASE
from ccai_dagster.contracts import CONFLICTS
from ccai_dagster.evaluation.prompt_means import clustered_mean

_Told = tuple[float | None, float | None, float | None]


def conflicts(margins: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Average the margins of each pair of principles that was set against each other.

    A pair written as `P1` against `P2` and one written as `P2` against `P1` are the same conflict; it is told from the
    side of the id that comes first. Intervals are 95 %, over prompts.

    Args:
        margins: CONTRAST_MARGINS for each arm and `base`.

    Returns:
        CONFLICTS, sorted by its key; empty if no contrast pair is a conflict.
    """
    reverse = pl.col("principle_id") > pl.col("against_id")
    told = {
        arm: table.filter(pl.col("against_id").is_not_null()).select(
            "pair_id",
            "constitution_arm",
            "prompt",
            first=pl.min_horizontal("principle_id", "against_id"),
            second=pl.max_horizontal("principle_id", "against_id"),
            margin=pl.when(reverse).then(-pl.col("margin")).otherwise(pl.col("margin")),
        )
        for arm, table in margins.items()
    }
    before = told[BASE].select("pair_id", before="margin")
    rows: list[dict[str, Any]] = []
    for arm, table in told.items():
        paired = table.join(before, on="pair_id", how="left").drop_nulls("margin").sort("pair_id")
        for (name, first, second), own in paired.group_by("constitution_arm", "first", "second"):
            margin, low, high = _told(own, pl.col("margin"))
            lift: _Told = (None, None, None)
            if arm != BASE:
                lift = _told(own.drop_nulls("before"), pl.col("margin") - pl.col("before"))
            rows.append(
                {
                    "arm": arm,
                    "constitution_arm": name,
                    "principle_id": first,
                    "against_id": second,
                    "n": own.height,
                    "n_prompts": own["prompt"].n_unique(),
                    "margin": margin,
                    "low": low,
                    "high": high,
                    "follows": _follows(first, second, low, high),
                    **dict(zip(("lift", "lift_low", "lift_high"), lift, strict=True)),
                }
            )
    return CONFLICTS.build(rows).sort(CONFLICTS.key)


def _told(table: pl.DataFrame, value: pl.Expr) -> _Told:
    """Return mean and interval, nothing with fewer than two prompts."""
    if table["prompt"].n_unique() < 2:
        return None, None, None
    mean, interval = clustered_mean(
        table.select(value.alias("value"))["value"].to_numpy(), table["prompt"].to_numpy()
    )
    return mean, *(interval or (None, None))


def _follows(first: str, second: str, low: float | None, high: float | None) -> str | None:
    if low is None or high is None or low <= 0 <= high:
        return None
    return first if low > 0 else second
