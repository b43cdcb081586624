"""How well a model's opinions represent each group of people, after OpinionQA (Santurkar et al. 2023).

Formulas are those of github tatsu-lab/opinions_qa (helpers.py): a model's opinion is the probability it gives to the
letters of the options, without those that refuse, scaled to one; a group's is the share of its people who chose each
option. Their distance is the Wasserstein distance over the options' places on their scale, divided by its length.
Representativeness is one minus the mean distance over questions.

The scale is compressed: a model that prefers no option scores above 0.8 with most groups. So three figures
stand beside each value. `uniform` is that model. `ceiling` is what a model that knew the group's opinions exactly
would be expected to score against a sample of people as small as the one asked. `nearest_group` is the other
group that represents this one best. What a model is asked belongs to `sets.opinion_qa`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from ccai_dagster.consultation.folder import BASE
from ccai_dagster.contracts import OPINION_REPRESENTATIVENESS
from ccai_dagster.core.draws import derived_seed
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.evaluation.scores import ALL
from ccai_dagster.evaluation.sets.items import Item
from ccai_dagster.evaluation.sets.opinion_qa import METRIC, Distribution, OpinionItem, expected_similarity, similarity
from ccai_dagster.statistics.intervals import mean_interval

CARRIED = (
    "value",
    "low",
    "high",
    "compared_with",
    "difference",
    "difference_low",
    "difference_high",
    "p_value",
    "adjusted_p",
)
"""Columns that are those of EVAL_SCORES; from the fourth on they are about a pair of arms."""


@dataclass(frozen=True)
class References:
    """What the value of a group is compared with, over the same questions.

    Attributes:
        uniform: Of a model that prefers no option, for each question, shape (questions,).
        ceiling: Of a model that knows the group; None where it is not known how many people answered.
        nearest_group: The other group of the attribute that represents this one best, if there is one.
        nearest_value: How well, over the questions that both answered.
    """

    uniform: np.ndarray
    ceiling: float | None
    nearest_group: str | None
    nearest_value: float | None


def representativeness_table(
    scores: pl.DataFrame,
    items: Mapping[str, Mapping[str, pl.DataFrame]],
    questions: Mapping[str, Sequence[Item]],
    baseline: str,
    bootstraps: int,
    seed: int,
) -> pl.DataFrame:
    """Return how well every arm represents every group, beside what can be expected.

    Values, their intervals and tests are those of the scores, which resample questions and pair arms by question. What
    is added are the references, over exactly the questions that the value rests on.

    Args:
        scores: EVAL_SCORES with the sets of opinions among its benchmarks.
        items: For each arm and `base`, BENCHMARK_ITEMS by name of the set.
        questions: All questions of each set, by its name.
        baseline: The arm others are compared with; it is compared with `base` itself.
        bootstraps: Resamples of the interval of the distance to the uniform model.

    Returns:
        OPINION_REPRESENTATIVENESS, sorted by its key; a group for which an arm has no value has no row.

    Raises:
        ConsultationError: An arm was asked questions that the set no longer has.
    """
    rows = []
    references: dict[tuple[str, str, tuple[str, ...]], References] = {}
    for benchmark, set_ in sorted(questions.items()):
        by_id = {item.id: item for item in set_ if isinstance(item, OpinionItem)}
        groups = {name: item.groups() for name, item in by_id.items()}
        for row in _compared(scores, benchmark, baseline):
            arm, category = row["arm"], row["category"]
            own = (pl.col("metric") == METRIC) & (pl.col("category") == category)
            answered = items[arm][benchmark].filter(own).drop_nulls("value").sort("item_id")
            ids = [item_id.removesuffix(f"/{category}") for item_id in answered["item_id"]]
            if unknown := [each for each in ids if each not in by_id or category not in groups[each]]:
                raise ConsultationError(
                    f"{benchmark}: {arm} was asked {unknown[0]!r}, to which {category} has no answers in the file. It "
                    f"changed in between: evaluate {arm} again."
                )
            used = [by_id[each] for each in ids]
            attribute, group = groups[ids[0]][category]
            # Arms are asked the same questions, so what they are compared with is the same.
            known = (benchmark, category, tuple(ids))
            if known not in references:
                references[known] = _references(used, attribute, group)
            above = answered["value"].to_numpy() - references[known].uniform
            low, high = mean_interval(
                above,
                answered["cluster"].to_numpy(),
                (-1.0, 1.0),
                bootstraps=bootstraps,
                seed=derived_seed(seed, "above uniform", benchmark, category, arm),
            )
            rows.append(
                {
                    "benchmark": benchmark,
                    "attribute": attribute,
                    "group": group,
                    "arm": arm,
                    "n": len(used),
                    **{name: row[name] for name in CARRIED},
                    "uniform": float(references[known].uniform.mean()),
                    "above_uniform": float(above.mean()),
                    "above_uniform_low": low,
                    "above_uniform_high": high,
                    "ceiling": references[known].ceiling,
                    "nearest_group": references[known].nearest_group,
                    "nearest_value": references[known].nearest_value,
                }
            )
    return OPINION_REPRESENTATIVENESS.build(rows).sort(OPINION_REPRESENTATIVENESS.key)


def _compared(scores: pl.DataFrame, benchmark: str, baseline: str) -> Iterator[dict[str, Any]]:
    """Yield one row of the scores for every arm and group: paired with the baseline, the baseline with `base`."""
    own = scores.filter(
        (pl.col("benchmark") == benchmark) & (pl.col("metric") == METRIC) & (pl.col("category") != ALL)
    ).drop_nulls("value")
    wanted = pl.when(pl.col("arm") == baseline).then(pl.lit(BASE)).otherwise(pl.lit(baseline))
    paired = own.filter((pl.col("arm") == BASE) | (pl.col("compared_with") == wanted))
    # The base model is compared with nothing; where it has a row for each pairing, the figure is the same.
    base = paired.filter(pl.col("arm") == BASE).unique("category", keep="first", maintain_order=True)
    base = base.with_columns(pl.lit(None).cast(base.schema[name]).alias(name) for name in CARRIED[3:])
    yield from base.iter_rows(named=True)
    yield from paired.filter(pl.col("arm") != BASE).iter_rows(named=True)


def _shares(item: OpinionItem, attribute: str, group: str) -> Distribution:
    shares = item.answers[attribute][group].shares
    assert shares is not None  # noqa: S101 - only groups that answered have a category
    return shares


def _references(items: Sequence[OpinionItem], attribute: str, group: str) -> References:
    uniform = np.array([_uniform(item, attribute, group) for item in items])
    return References(uniform, _ceiling(items, attribute, group), *_nearest(items, attribute, group))


def _uniform(item: OpinionItem, attribute: str, group: str) -> float:
    n = len(item.ordinals)
    return similarity(np.full(n, 1 / n), _shares(item, attribute, group), item.ordinals)


def _ceiling(items: Sequence[OpinionItem], attribute: str, group: str) -> float | None:
    values = []
    for item in items:
        n = item.answers[attribute][group].n_answers
        if n is None:
            return None
        values.append(expected_similarity(_shares(item, attribute, group), n, item.ordinals))
    return float(np.mean(values))


def _nearest(items: Sequence[OpinionItem], attribute: str, group: str) -> tuple[str | None, float | None]:
    """Return the group of the same attribute that represents this one best, and how well."""
    values: dict[str, list[float]] = {}
    for item in items:
        own = _shares(item, attribute, group)
        for other, answers in item.answers[attribute].items():
            if other != group and answers.shares is not None:
                values.setdefault(other, []).append(similarity(answers.shares, own, item.ordinals))
    if not values:
        return None, None
    means = {other: float(np.mean(each)) for other, each in values.items()}
    nearest = max(sorted(means), key=lambda other: means[other])
    return nearest, means[nearest]
