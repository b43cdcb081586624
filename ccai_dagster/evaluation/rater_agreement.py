"""How far the feedback model names the same response as people do, and people the same as each other.

Belongs here: agreement on the same two responses. Doesn't belong here: which arm is preferred (`elo`), accuracy
of the feedback model on comparisons from elsewhere (`feedback.judge_figures`).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl

from ccai_dagster.contracts import RATER_AGREEMENT
from ccai_dagster.evaluation.resampling import percentile_interval, resampled_figures
from ccai_dagster.feedback.draws import derived_seed
from ccai_dagster.statistics.agreement import cohens_kappa, expected_agreement
from ccai_dagster.statistics.wilson import wilson_interval

WITH_JUDGE, AMONG_PEOPLE = "feedback model and people", "people"
_CELLS = ("aa", "ab", "ba", "bb")
"""Which arm the first answer prefers, and which the second: the cells of the confusion table."""


def rater_agreement(
    comparisons: pl.DataFrame, ratings: pl.DataFrame, bootstraps: int, seed: int
) -> pl.DataFrame:
    """Compare answers on the same two responses, for each quality and each two arms.

    Answers that prefer neither response (ties of people, one half or no answer of the feedback model) are
    counted and left out: a judge that gives probabilities hardly ever ties. Agreement among people takes every
    two raters of a comparison, in both orders with half a weight.

    Intervals of kappa resample prompts, and raters where there are several (`resampling`). They are widened to
    hold Wilson's interval of the share of agreement, over prompts, brought to the scale of kappa: with few answers,
    or where all agree, resamples are too much alike.

    Args:
        comparisons: COMPARISONS.
        ratings: RATINGS, all of pairs in `comparisons`.
        bootstraps: Resamples.
        seed: Of the resampling.

    Returns:
        RATER_AGREEMENT, sorted by its key; a row for each two answers there are, none without ratings.
    """
    answers = _answers(comparisons, ratings)
    rows: list[dict[str, Any]] = []
    for group, own in answers.sort("pair_id", "rater").group_by(
        ["quality", "arm_a", "arm_b"], maintain_order=True
    ):
        named = dict(zip(("quality", "arm_a", "arm_b"), group, strict=True))
        for between, pairs, marked in (
            (WITH_JUDGE, list(_with_judge(own)), bool(own["judge_at_chance"].any())),
            (AMONG_PEOPLE, list(_among_people(own)), False),
        ):
            if pairs:
                own_seed = derived_seed(seed, "agreement", between, *map(str, group))
                figures = _figures(pairs, bootstraps, own_seed)
                rows.append({**named, "between": between, **figures, "judge_at_chance": marked})
    return RATER_AGREEMENT.build(rows).sort(RATER_AGREEMENT.key)


Pair = tuple[str, tuple[str, ...], str | None, str | None, float]
"""Prompt, raters, first answer, second answer (`a`, `b` or None), weight."""


def _answers(comparisons: pl.DataFrame, ratings: pl.DataFrame) -> pl.DataFrame:
    """Return every rating beside the feedback model's answer, both as the arm that is preferred."""
    prefers = pl.when(pl.col("rating") == "1").then("arm_1").when(pl.col("rating") == "2").then("arm_2")
    probability = pl.col("probability_a")
    judged = comparisons.select(
        "pair_id",
        "arm_a",
        "arm_b",
        "judge_at_chance",
        pl.when(probability > 0.5).then(pl.lit("a")).when(probability < 0.5).then(pl.lit("b")).alias("judge"),
    )
    return (
        ratings.select("pair_id", "rater", "quality", "prompt_id", prefers.alias("preferred"))
        .join(judged, on="pair_id")
        .with_columns(
            person=pl.when(pl.col("preferred") == pl.col("arm_a"))
            .then(pl.lit("a"))
            .when(pl.col("preferred") == pl.col("arm_b"))
            .then(pl.lit("b"))
        )
    )


def _with_judge(own: pl.DataFrame) -> Iterator[Pair]:
    for prompt_id, rater, judge, person in own.select("prompt_id", "rater", "judge", "person").iter_rows():
        yield prompt_id, (rater,), judge, person, 1.0


def _among_people(own: pl.DataFrame) -> Iterator[Pair]:
    for _, same in own.group_by("pair_id", maintain_order=True):
        for one, other in combinations(same.select("prompt_id", "rater", "person").rows(), 2):
            raters = (one[1], other[1])
            yield one[0], raters, one[2], other[2], 0.5
            yield one[0], raters, other[2], one[2], 0.5


def _figures(pairs: list[Pair], bootstraps: int, seed: int) -> dict[str, Any]:
    decided = [each for each in pairs if each[2] and each[3]]
    weight = sum(each[4] for each in pairs)
    prompts, raters = [each[0] for each in decided], [each[1] for each in decided]
    cells = np.array([[each[4] * (f"{each[2]}{each[3]}" == cell) for cell in _CELLS] for each in decided])
    row: dict[str, Any] = {
        "n": round(sum(each[4] for each in decided)),
        "n_undecided": round(weight - sum(each[4] for each in decided)),
        "n_prompts": len(set(prompts)),
        "n_raters": len({name for each in pairs for name in each[1]}),
        "agreement": None,
        "kappa": None,
        "kappa_low": None,
        "kappa_high": None,
    }
    if not decided:
        return row
    total = cells.sum(axis=0)
    row["agreement"] = float((total[0] + total[3]) / total.sum())
    kappa = float(cohens_kappa(total.reshape(2, 2)))
    if np.isnan(kappa):
        return row
    resampled, n_units = resampled_figures(
        cells,
        prompts,
        raters,
        lambda totals: cohens_kappa(totals.reshape(-1, 2, 2))[:, None],
        bootstraps=bootstraps,
        seed=seed,
    )
    defined = resampled[np.isfinite(resampled[:, 0]), 0]
    low, high = percentile_interval(defined, n_units[0]) if defined.size else (kappa, kappa)
    expected = float(expected_agreement(total.reshape(2, 2)))
    shares = wilson_interval(row["agreement"] * row["n_prompts"], row["n_prompts"])
    least, most = ((share - expected) / (1 - expected) for share in shares)
    return row | {
        "kappa": kappa,
        "kappa_low": max(-1.0, min(low, least, kappa)),
        "kappa_high": min(1.0, max(high, most, kappa)),
    }
