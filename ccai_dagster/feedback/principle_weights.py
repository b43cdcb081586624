"""How often each principle is drawn in an arm that weights them by group-aware consensus.

Huang et al. (2024) name it among the ways to make a constitution that they did not take: keep the principles and weight
their selection in reinforcement learning by the consensus on them. So it concerns the labels that the preference model
learns, and not critique and revision. Drawing belongs to `draws`.
"""

from __future__ import annotations

import polars as pl

from ccai_dagster.contracts import PRINCIPLE_WEIGHTS
from ccai_dagster.errors import ConsultationError


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
