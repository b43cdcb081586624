"""What the preference model is trained and measured on: comparisons of two sources, split by id.

AI harmlessness labels come from the arm's constitution, helpfulness comparisons from people and are equal
for all arms (Bai et al. 2022, section 4.1). The training itself is in `preference_model`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import polars as pl

from ccai_dagster.feedback.calibration import wilson_interval
from ccai_dagster.feedback.draws import uniform
from ccai_dagster.feedback.prompts import chosen_comparisons

HARMLESSNESS = "harmlessness"
HELPFULNESS = "helpfulness"
SOURCES = (HARMLESSNESS, HELPFULNESS)


def comparisons(
    harmlessness: pl.DataFrame,
    helpfulness: pl.DataFrame,
    harmlessness_weight: float,
    held_out_share: float,
    seed: int,
) -> pl.DataFrame:
    """Bring both sources into one table.

    Unanswered pairs and pairs of identical responses teach nothing and are left out; the caller counts
    them. Each comparison is turned so that its preferred response comes first, which changes no loss and
    lets the trainer's own accuracy mean agreement with the label. Held out is who the hash of source and
    `pair_id` says, so the same pairs in every arm. Of human comparisons, at most as many are learnt from as
    there are AI labels, or a short training would hardly see the constitution (Bai et al. 2022, section 4.1,
    had three human ones for four AI ones); all those held out are kept.

    Args:
        harmlessness: PREFERENCE_PAIRS.
        helpfulness: HELPFULNESS_PAIRS.
        harmlessness_weight: Loss weight of an AI label; a human label has 1.
        held_out_share: Between 0 and 1.
        seed: The consultation's seed.

    Returns:
        `source`, `pair_id`, `prompt`, `preferred`, `other`, `target` (label of the preferred response, 0.5
        to 1), `weight`, `held_out`, sorted by source and id.
    """
    columns = ("pair_id", "prompt", "response_a", "response_b", "probability_a")
    labelled = harmlessness.filter(pl.col("status") == "labelled").select(
        pl.lit(HARMLESSNESS).alias("source"),
        *columns,
        pl.lit(harmlessness_weight, pl.Float64).alias("weight"),
    )
    human = helpfulness.select(
        pl.lit(HELPFULNESS).alias("source"), *columns, pl.lit(1.0, pl.Float64).alias("weight")
    )
    both = pl.concat([labelled, human]).filter(pl.col("response_a") != pl.col("response_b"))
    a_first = pl.col("probability_a") >= 0.5
    held_out = [
        uniform(seed, "held out", source, pair_id) < held_out_share
        for source, pair_id in both.select("source", "pair_id").iter_rows()
    ]
    table = both.select(
        "source",
        "pair_id",
        "prompt",
        pl.when(a_first).then("response_a").otherwise("response_b").alias("preferred"),
        pl.when(a_first).then("response_b").otherwise("response_a").alias("other"),
        pl.when(a_first).then("probability_a").otherwise(1 - pl.col("probability_a")).alias("target"),
        "weight",
        pl.Series("held_out", held_out, dtype=pl.Boolean),
    )
    learnt = table.filter((pl.col("source") == HELPFULNESS) & ~pl.col("held_out"))
    kept = chosen_comparisons(learnt, harmlessness.height, seed)
    return pl.concat([table.join(learnt, on=["source", "pair_id"], how="anti"), kept]).sort(
        "source", "pair_id"
    )


def held_out_metrics(source: str, margins: Sequence[float], targets: Sequence[float]) -> dict[str, float]:
    """Summarise how well score differences agree with held-out labels of one source.

    Args:
        source: Its name becomes part of the metrics' names.
        margins: Score of the preferred response minus score of the other.
        targets: Labels of the preferred response, 0.5 to 1; at 0.5 there is no right answer, and the pair
            counts for the cross-entropy only.

    Returns:
        `held_out_SOURCE_n` (decided pairs), and where there are some, accuracy (equal scores count one
        half) with its 95 % Wilson interval, cross-entropy in nats, and the labels' own entropy, which no
        model can go below.
    """
    decided = [margin for margin, target in zip(margins, targets, strict=True) if target != 0.5]
    name = f"held_out_{source}"
    metrics = {f"{name}_n": float(len(decided))}
    if decided:
        right = sum(1.0 if margin > 0 else 0.5 if margin == 0 else 0.0 for margin in decided)
        low, high = wilson_interval(right, len(decided))
        metrics |= {
            f"{name}_accuracy": right / len(decided),
            f"{name}_accuracy_low": low,
            f"{name}_accuracy_high": high,
        }
    if margins:
        metrics[f"{name}_cross_entropy"] = sum(
            target * _softplus(-margin) + (1 - target) * _softplus(margin)
            for margin, target in zip(margins, targets, strict=True)
        ) / len(margins)
        metrics[f"{name}_label_entropy"] = sum(_entropy(target) for target in targets) / len(targets)
    return metrics


def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def _entropy(share: float) -> float:
    return -sum(part * math.log(part) for part in (share, 1 - share) if part > 0)
