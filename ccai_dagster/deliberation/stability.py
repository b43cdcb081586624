"""How sure the scores are: resampling participants, with new groups each time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

from ccai_dagster.deliberation.consensus import group_aware_consensus, group_counts
from ccai_dagster.deliberation.groups import Grouping, base_clusters, group_participants
from ccai_dagster.deliberation.procedure import Procedure
from ccai_dagster.deliberation.vote_matrix import VoteMatrix
from ccai_dagster.progress import Progress, silent

INTERVAL = (0.05, 0.95)
"""Ends of the 90 % percentile interval."""


@dataclass(frozen=True)
class Stability:
    """What resampling showed.

    Attributes:
        table: `consensus_stability`.
        adjusted_rand: One value a resample, agreement of its groups with the groups on the votes as cast.
        numbers_of_groups: How often each number of groups was found.
    """

    table: pl.DataFrame
    adjusted_rand: np.ndarray
    numbers_of_groups: dict[int, int]


def consensus_stability(
    matrix: VoteMatrix,
    grouping: Grouping,
    procedure: Procedure,
    reaches_cut: Callable[[np.ndarray], np.ndarray],
    bootstraps: int,
    seed: int,
    progress: Progress = silent,
) -> Stability:
    """Resample participants with replacement, regroup them, and score every statement again.

    Each resample projects, clusters and chooses the number of groups anew; base clusters start from those of
    the votes as cast. All participants are placed, those not drawn without weight, so that groups can be
    compared (adjusted Rand index).

    Args:
        matrix: The votes.
        grouping: Groups on the votes as cast.
        procedure: As used for them.
        reaches_cut: Tells for GAC of shape (statements,) which statements would be selected.
        bootstraps: Number of resamples.
        seed: Of the resampling.
        progress: Told how many resamples are done.
    """
    from sklearn.metrics import adjusted_rand_score

    generator = np.random.default_rng(seed)
    people = len(matrix.participant_ids)
    _, start, _ = base_clusters(grouping.map.positions, np.ones(people), procedure.seed)
    scores = np.full((bootstraps, len(matrix.statement_ids)), np.nan)
    selected = np.zeros(len(matrix.statement_ids))
    adjusted_rand, numbers = np.zeros(bootstraps), Counter[int]()
    for resample in range(bootstraps):
        drawn = generator.multinomial(people, np.full(people, 1 / people)).astype(float)
        again = group_participants(matrix, procedure, drawn, start if len(start) > 1 else None)
        counts = group_counts(matrix, again.labels, drawn)
        scores[resample] = group_aware_consensus(counts.agree, counts.votes, procedure)
        selected += reaches_cut(scores[resample])
        adjusted_rand[resample] = adjusted_rand_score(grouping.labels, again.labels)
        numbers[len(set(again.labels.tolist()))] += 1
        if (resample + 1) % 25 == 0:
            progress("resampling participants", resample + 1, bootstraps)
    counts = group_counts(matrix, grouping.labels)
    known = ~np.isnan(scores).all(axis=0)
    low, high = np.full(scores.shape[1], np.nan), np.full(scores.shape[1], np.nan)
    if known.any():
        low[known], high[known] = np.nanquantile(scores[:, known], INTERVAL, axis=0)
    table = pl.DataFrame(
        {
            "statement_id": matrix.statement_ids.astype(np.int64),
            "gac": group_aware_consensus(counts.agree, counts.votes, procedure),
            "gac_low": low,
            "gac_high": high,
            "selection_probability": selected / bootstraps,
            "smallest_group_votes": counts.votes.min(axis=0).astype(np.int64),
        }
    ).with_columns(pl.col("gac", "gac_low", "gac_high").fill_nan(None))
    return Stability(table, adjusted_rand, dict(sorted(numbers.items())))
