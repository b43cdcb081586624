"""Adherence of every model to every principle, corrected by examples that people labelled.

Prediction-powered inference: the judge speaks on many responses, people on a few, and the few tell how far the judge
is off. The estimator is written out here instead of taken from ppi-python 0.2.3: that knows no clusters, needs numba,
statsmodels and gdown (275 MB), and on import turns off every warning of the process. It gives that package's values
where every response has a prompt of its own (tested).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from ccai_dagster.consultation.folder import BASE
from ccai_dagster.contracts import ADHERENCE_SCORES, GROUP_ADHERENCE
from ccai_dagster.core.draws import derived_seed
from ccai_dagster.statistics.intervals import FEWEST_CLUSTERS, Interval, clustered_mean, mean_interval, student_interval

ALL_PRINCIPLES = "all principles"
"""Stands where a principle's id stands, for a whole constitution."""
FEWEST_LABELS = 10
"""From this many labelled examples on, of at least `FEWEST_CLUSTERS` prompts, figures are corrected by them.

The responses judged must be to as many prompts: the spread of fewer cannot be told.
"""
FEWEST_SEEN = 3
"""Where fewer prompts hold an error of the judge, or were judged otherwise than the rest, their spread is not known."""
FEWEST_OF_A_KIND = 10
"""Where fewer labels say yes, or no, the spread of what a judge leaves to be corrected is not known either."""
MIDDLE = 0.5


def adherence_scores(
    adherence: Mapping[str, pl.DataFrame],
    examples: pl.DataFrame,
    prompts: pl.DataFrame,
    constitutions: Mapping[str, pl.DataFrame],
    bootstraps: int,
    seed: int,
) -> pl.DataFrame:
    """Estimate the adherence of every model to every principle, where it is relevant.

    Only responses to prompts tagged as relevant to a principle are judged; a principle without one is listed as not
    measurable. Corrected by the principle's own labelled examples if there are enough (see `FEWEST_LABELS`), else by
    all examples of all principles with a weight of 1: the judge's mean error is then taken to be the same on every
    principle. Examples of one model's responses correct those of all models, its mean error being taken to be the same
    there too. Without enough examples or prompts the judge's figure stands, marked by `labels`.

    The lift is the paired difference to `base` in the judge's own figures, by the same prompts and principles: an error
    of the judge that is the same for all models cancels out, and one that knows nothing finds none.

    Args:
        adherence: ADHERENCE for each arm and `base`.
        examples: JUDGED_EXAMPLES, may be empty.
        constitutions: CONSTITUTION tables by arm.
        bootstraps: Resamples of intervals without labels.

    Returns:
        ADHERENCE_SCORES, sorted by its key: every principle of every constitution for every model, and all together.
    """
    texts = dict(prompts.select("text", "prompt_id").iter_rows())
    # A prompt of the database is the same cluster whether a model or a labelled example responds to it.
    labelled = examples.drop_nulls("probability").with_columns(
        pl.col("prompt").replace_strict(texts, default=pl.col("prompt")).alias("cluster")
    )
    relevant = prompts.filter(pl.col("purpose") == "held_out").explode("relevant_principles")
    base = adherence[BASE].select("constitution_arm", "principle_id", "prompt_id", before="probability")
    rows: list[dict[str, Any]] = []
    for arm, table in adherence.items():
        paired = table.join(base, on=["constitution_arm", "principle_id", "prompt_id"], how="left")
        for name, constitution in constitutions.items():
            of = pl.col("constitution_arm") == name
            tagged = relevant.filter(pl.col("relevant_principles").str.starts_with(f"{name}/"))
            for principle_id in [*constitution["principle_id"], ALL_PRINCIPLES]:
                this = of if principle_id == ALL_PRINCIPLES else of & (pl.col("principle_id") == principle_id)
                own_tags = (
                    tagged
                    if principle_id == ALL_PRINCIPLES
                    else tagged.filter(pl.col("relevant_principles") == f"{name}/{principle_id}")
                )
                rows.append(
                    {
                        "arm": arm,
                        "constitution_arm": name,
                        "principle_id": principle_id,
                        "n_relevant": own_tags["prompt_id"].n_unique(),
                        "judge_at_chance": bool(table["judge_at_chance"].any()),
                        **_figures(
                            paired.filter(this),
                            labelled.filter(this),
                            labelled,
                            bootstraps,
                            derived_seed(seed, "adherence score", arm, name, principle_id),
                        ),
                        **_lift(
                            paired.filter(this) if arm != BASE else paired.clear(),
                            bootstraps,
                            derived_seed(seed, "adherence lift", arm, name, principle_id),
                        ),
                    }
                )
    frame = ADHERENCE_SCORES.build([row | {"status": _status(row)} for row in rows])
    return frame.sort(ADHERENCE_SCORES.key)


def group_adherence(
    adherence: Mapping[str, pl.DataFrame], constitutions: Mapping[str, pl.DataFrame], gac_scores: pl.DataFrame
) -> pl.DataFrame:
    """Weight principles by each opinion group's support, and find the group whose principles are followed worst.

    A group's support for a principle is the mean share of it that agrees with the principle's statements, or, of a
    principle of avoidance, that rejects them. The judge's
    probabilities are averaged with these weights; intervals are over prompts. Principles without statements have no
    weight, so constitutions nobody voted on are not in the table.

    Args:
        adherence: ADHERENCE for each arm and `base`.
        constitutions: CONSTITUTION tables by arm.

    Returns:
        GROUP_ADHERENCE, sorted by its key; empty where nothing was answered on at least two prompts.
    """
    support = (
        pl.concat(
            [
                table.select(pl.lit(name).alias("constitution_arm"), "principle_id", "statement_ids", "side")
                for name, table in constitutions.items()
            ]
        )
        .explode("statement_ids")
        .join(gac_scores, left_on="statement_ids", right_on="statement_id")
        .select(
            "constitution_arm",
            "principle_id",
            group_id="group_ids",
            support=pl.when(pl.col("side") == "disagree").then("group_rejection").otherwise("group_agreement"),
        )
        .explode("group_id", "support")
        .drop_nulls()
        .group_by("constitution_arm", "principle_id", "group_id")
        .agg(pl.col("support").sort().mean())  # in one order, here and below, or the last digit depends on the threads
    )
    rows: list[dict[str, Any]] = []
    for arm, table in adherence.items():
        judged = table.drop_nulls("probability").join(
            support, on=["constitution_arm", "principle_id"], maintain_order="left_right"
        )
        for (name, group), own in judged.group_by("constitution_arm", "group_id", maintain_order=True):
            weights = own["support"].to_numpy()
            if weights.sum() <= 0:
                continue
            value, interval = clustered_mean(own["probability"].to_numpy(), own["prompt_id"].to_numpy(), weights)
            if interval is not None:
                rows.append(
                    {
                        "arm": arm,
                        "constitution_arm": name,
                        "group_id": group,
                        "worst": False,
                        "n": own.height,
                        "value": min(1.0, max(0.0, value)),
                        "low": max(0.0, interval[0]),
                        "high": min(1.0, interval[1]),
                        "judge_at_chance": bool(own["judge_at_chance"].any()),
                    }
                )
    lowest = pl.col("value") == pl.col("value").min().over("constitution_arm", "arm")
    return GROUP_ADHERENCE.build(rows).with_columns(worst=lowest).sort(GROUP_ADHERENCE.key)


@dataclass(frozen=True)
class Corrected:
    """A corrected mean: its value and 95 % interval in [0, 1], and the weight of the judge's answers in it."""

    value: float
    interval: Interval
    weight: float


def corrected_mean(
    judged: np.ndarray,
    judged_prompts: np.ndarray,
    labels: np.ndarray,
    labels_judged: np.ndarray,
    labels_prompts: np.ndarray,
    weight: float | None = None,
) -> Corrected:
    """Correct a judge's mean by labelled examples (Angelopoulos et al. 2023, arXiv 2301.09633, section 2.1).

    value = w * mean(judged) + mean(labels - w * labels_judged). With w = 1 the judge's mean is shifted by its mean
    error; with w = 0 the judge plays no part. The best weight (PPI++, arXiv 2311.01453, section 6) is
    cov(labels, labels_judged) / ((1 + n / N) * var(all judged)), cut to [0, 1].

    It is valid if the labelled examples are drawn like the judged responses: responses that models of this kind wrote
    to such prompts, not ones made up to be clear cases. The variance adds up what each prompt contributes to both
    terms, so a prompt that occurs in both is counted as the one prompt it is. The degrees of freedom are one less than
    the prompts of whichever term has fewer.

    Few labels often hold no error of a good judge, and then say nothing about how it varies; where a judge says little,
    that of few labels of one kind counts as well. Where fewer than `FEWEST_SEEN` prompts hold an error, or there are
    fewer than `FEWEST_OF_A_KIND` labels of one kind, the interval reaches as far as one that is computed with two
    labelled prompts more, which the judge got wholly wrong in either direction; and where so few prompts were judged
    otherwise than the rest, with two judged ones more, 0 and 1 (for a single share, Agresti and Coull 1998). In
    simulations with 10 to 100 labels, 6 to 100 responses and judges that are right in one half to 0.98 the coverage was
    0.93 or more; without, down to 0.25.

    Args:
        judged: The judge's probabilities, shape (N,).
        judged_prompts: Prompt of each; at least two different ones.
        labels: 0 or 1, shape (n,).
        labels_judged: The judge's probabilities of the labelled examples, shape (n,).
        labels_prompts: Prompt of each; at least two different ones.
        weight: In [0, 1]; the best one if None.
    """
    total, n = len(judged), len(labels)
    if weight is None:
        spread = np.var(np.concatenate([labels_judged, judged]), ddof=1)
        covariance = np.mean((labels - labels.mean()) * (labels_judged - labels_judged.mean()))
        weight = float(np.clip(covariance / ((1 + n / total) * spread), 0, 1)) if spread > 0 else 0.0
    errors = labels - weight * labels_judged
    names, index = np.unique(np.concatenate([judged_prompts, labels_prompts]), return_inverse=True)
    terms = (weight * judged, index[:total]), (errors, index[total:])
    freedom = min(len(np.unique(prompts)) for _, prompts in terms) - 1
    wrong = (labels_judged >= MIDDLE) != (labels >= MIDDLE)
    seen = [_prompts_with(each, terms[0][1]) for each in (judged >= MIDDLE, judged < MIDDLE)]
    extended = (
        _with_ends(*terms[0], 0.0, weight, free=len(names)) if min(seen) < FEWEST_SEEN else terms[0],
        _with_ends(*terms[1], -weight, 1.0, free=len(names) + 2)
        if _prompts_with(wrong, terms[1][1]) < FEWEST_SEEN or min(labels.sum(), (1 - labels).sum()) < FEWEST_OF_A_KIND
        else terms[1],
    )
    intervals = [_sum_interval(each, freedom) for each in (terms, extended)]
    low, high = min(low for low, _ in intervals), max(high for _, high in intervals)
    value = float(np.clip(terms[0][0].mean() + errors.mean(), 0, 1))
    return Corrected(value, (float(np.clip(low, 0, 1)), float(np.clip(high, 0, 1))), weight)


def _sum_interval(terms: Sequence[tuple[np.ndarray, np.ndarray]], freedom: int) -> Interval:
    """Return the interval of a sum of means, each of values with the number of each value's prompt."""
    shares = np.concatenate([(values - values.mean()) / len(values) for values, _ in terms])
    _, index = np.unique(np.concatenate([prompts for _, prompts in terms]), return_inverse=True)
    influences = np.bincount(index, weights=shares)
    interval = student_interval(float(sum(values.mean() for values, _ in terms)), influences, freedom)
    if interval is None:
        raise ValueError("what was found on one prompt tells nothing about others")
    return interval


def _prompts_with(marked: np.ndarray, prompts: np.ndarray) -> int:
    return len(np.unique(prompts[marked]))


def _with_ends(
    values: np.ndarray, prompts: np.ndarray, low: float, high: float, free: int
) -> tuple[np.ndarray, np.ndarray]:
    """Add two prompts, as large as the others are on average: all of one at the low end, all of the other at the high.

    Args:
        free: From this number on there is no prompt.
    """
    size = -(-len(values) // len(np.unique(prompts)))
    return np.append(values, np.repeat([low, high], size)), np.append(prompts, np.repeat([free, free + 1], size))


def _status(row: Mapping[str, Any]) -> str:
    if row["n"]:
        return "unanswered" if row["n"] == row["n_unanswered"] else "measured"
    return "not drawn" if row["n_relevant"] else "no relevant prompt"


def _figures(table: pl.DataFrame, own: pl.DataFrame, every: pl.DataFrame, bootstraps: int, seed: int) -> dict[str, Any]:
    answered = table.drop_nulls("probability")
    found: dict[str, Any] = {
        "n": table.height,
        "n_cut": table.filter(~pl.col("finished")).height,
        "n_unanswered": table.height - answered.height,
        "judged": None,
        "judged_low": None,
        "judged_high": None,
        "labels": "none",
        "n_labels": 0,
        "judge_weight": None,
        "adherence": None,
        "low": None,
        "high": None,
    }
    if answered.is_empty():
        return found
    values, clusters = answered["probability"].to_numpy(), answered["prompt_id"].to_numpy()
    low, high = mean_interval(values, clusters, (0.0, 1.0), bootstraps=bootstraps, seed=seed)
    found |= {"judged": float(values.mean()), "judged_low": low, "judged_high": high}
    labels = "own" if _enough(own) else "pooled" if _enough(every) else "none"
    if labels == "none" or answered["prompt_id"].n_unique() < FEWEST_CLUSTERS:
        return found | {"adherence": found["judged"], "low": low, "high": high}
    chosen = own if labels == "own" else every
    corrected = corrected_mean(
        values,
        clusters,
        chosen["satisfied"].cast(pl.Float64).to_numpy(),
        chosen["probability"].to_numpy(),
        chosen["cluster"].to_numpy(),
        None if labels == "own" else 1.0,
    )
    return found | {
        "labels": labels,
        "n_labels": chosen.height,
        "judge_weight": corrected.weight,
        "adherence": corrected.value,
        "low": corrected.interval[0],
        "high": corrected.interval[1],
    }


def _enough(labelled: pl.DataFrame) -> bool:
    return (
        labelled.height >= FEWEST_LABELS
        and labelled["cluster"].n_unique() >= FEWEST_CLUSTERS
        and labelled["satisfied"].n_unique() == 2
    )


def _lift(paired: pl.DataFrame, bootstraps: int, seed: int) -> dict[str, float | None]:
    both = paired.drop_nulls(["probability", "before"])
    if both.is_empty():
        return {"lift": None, "lift_low": None, "lift_high": None}
    lifts = (both["probability"] - both["before"]).to_numpy()
    clusters = both["prompt_id"].to_numpy()
    low, high = mean_interval(lifts, clusters, (-1.0, 1.0), bootstraps=bootstraps, seed=seed)
    return {"lift": float(lifts.mean()), "lift_low": low, "lift_high": high}
