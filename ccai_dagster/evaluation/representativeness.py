"""How well a model's opinions represent each group of people, after OpinionQA (Santurkar et al. 2023).

Formulas are those of github tatsu-lab/opinions_qa (helpers.py): a model's opinion is the probability it gives to the
letters of the options, without those that refuse, scaled to one; a group's is the share of its people who chose each
option. Their distance is the Wasserstein distance over the options' places on their scale, divided by its length.
Representativeness is one minus the mean distance over questions.

The scale is compressed: a model that prefers no option scores above 0.8 with most groups. So three figures
stand beside each value. `uniform` is that model. `ceiling` is what a model that knew the group's opinions exactly
would be expected to score against a sample of people as small as the one asked. `nearest_group` is the other
group that represents this one best. What a model is asked belongs to `benchmark_sets.opinion_qa`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from ccai_dagster.consultation import BASE
from ccai_dagster.contracts import OPINION_REPRESENTATIVENESS
from ccai_dagster.errors import ConsultationError
from ccai_dagster.evaluation.benchmark_sets.opinion_qa import METRIC, OpinionItem
from ccai_dagster.evaluation.opinions import expected_similarity, similarity
from ccai_dagster.feedback.draws import derived_seed
from ccai_dagster.feedback.intervals import mean_interval

COMPARED = (
    "value", "low", "high", "compared_with", "difference", "difference_low", "difference_high", "p_value",
    "adjusted_p",
)  # fmt: skip
"""Columns of EVAL_SCORES that are carried over."""


@dataclass(frozen=True)
class Yardsticks:
    """What a value of one group may be compared with, over the same questions.

    Attributes:
        uniform: Of a model that prefers no option.
        ceiling: Of a model that knew the group exactly; None where only shares are known, not how many answered.
        nearest_group: The other group of the attribute that represents this one best; None if there is none.
        nearest_value: How well it does, over the questions that both answered.
    """

    uniform: float
    ceiling: float | None
    nearest_group: str | None
    nearest_value: float | None


def representativeness_table(
    scores: pl.DataFrame,
    items: Mapping[str, Mapping[str, pl.DataFrame]],
    questions: Mapping[str, Sequence[OpinionItem]],
    baseline: str,
    bootstraps: int,
    seed: int,
) -> pl.DataFrame:
    """Return how well every arm represents every group, beside what can be expected.

    Values, their intervals and tests are those of the scores, which resample questions and pair arms by question. What
    is added are the yardsticks, over exactly the questions that the value rests on.

    Args:
        scores: EVAL_SCORES with the sets of opinions among its benchmarks.
        items: For each arm and `base`, BENCHMARK_ITEMS by name of the set.
        questions: All questions of each set, by its name.
        baseline: The arm others are compared with; it is compared with `base` itself.
        bootstraps: Resamples of the interval of the distance to the uniform model.
        seed: Of the resampling.

    Returns:
        OPINION_REPRESENTATIVENESS, sorted by its key; a group for which an arm has no value has no row.

    Raises:
        ConsultationError: An arm was asked questions that the set no longer has.
    """
    rows = []
    for benchmark, set_ in sorted(questions.items()):
        by_id = {item.id: item for item in set_}
        own = scores.filter(
            (pl.col("benchmark") == benchmark) & (pl.col("metric") == METRIC) & pl.col("value").is_not_null()
        )
        for arm, category, row in _compared(own, baseline):
            answered = items[arm][benchmark].filter(
                (pl.col("metric") == METRIC) & (pl.col("category") == category)
            )
            answered = answered.drop_nulls("value").sort("item_id")
            used = [_question(by_id, cluster, benchmark, arm) for cluster in answered["question"]]
            attribute, group = _named(used[0], category, benchmark, arm)
            uniform = np.array([_uniform(item, attribute, group) for item in used])
            above = answered["value"].to_numpy() - uniform
            low, high = mean_interval(
                above, answered["cluster"].to_numpy(), (-1.0, 1.0), bootstraps=bootstraps,
                seed=derived_seed(seed, "above uniform", benchmark, category, arm),
            )  # fmt: skip
            beside = yardsticks(used, attribute, group)
            rows.append(
                {
                    "benchmark": benchmark, "attribute": attribute, "group": group, "arm": arm,
                    "n": len(used), **{name: row[name] for name in COMPARED},
                    "uniform": beside.uniform, "above_uniform": float(above.mean()),
                    "above_uniform_low": low, "above_uniform_high": high,
                    "ceiling": beside.ceiling, "nearest_group": beside.nearest_group,
                    "nearest_value": beside.nearest_value,
                }
            )  # fmt: skip
    return OPINION_REPRESENTATIVENESS.build(rows).sort(OPINION_REPRESENTATIVENESS.key)
