"""Opinion groups: k-means on the opinion map, the number of groups by silhouette.

As in Polis, participants are first gathered into at most 100 base clusters, and the groups are clusters of
those, so that a large consultation costs no more than a small one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from ccai_dagster.deliberation.opinion_map import OpinionMap, opinion_map
from ccai_dagster.deliberation.procedure import Procedure
from ccai_dagster.deliberation.vote_matrix import VoteMatrix

BASE_CLUSTERS = 100
LARGEST_NUMBER_OF_GROUPS = 5
PARTICIPANTS_PER_FURTHER_GROUP = 12
"""Polis (`conversation.clj`) considers one more group for every twelve base clusters."""


@dataclass(frozen=True)
class Grouping:
    """Participants in groups.

    Attributes:
        labels: Shape (participants,), group of each, 0 being the largest.
        map: Their positions.
        silhouettes: Silhouette in [-1, 1] of each number of groups that was tried.
    """

    labels: np.ndarray
    map: OpinionMap
    silhouettes: dict[int, float]


def group_participants(
    matrix: VoteMatrix,
    procedure: Procedure,
    weights: np.ndarray | None = None,
    start: np.ndarray | None = None,
) -> Grouping:
    """Group participants by their votes.

    Base clusters are found with k-means on the positions, groups with k-means on the base clusters' centres
    (weighted by their size under `default`, unweighted under `paper`). If the number of groups is not fixed,
    it is the one with the best silhouette over the centres, the larger one on a tie (as in Polis and in the
    notebook of Huang et al. 2024).

    Args:
        matrix: The votes.
        procedure: Positions, number of groups, seed.
        weights: Shape (participants,), how often each counts; those with weight 0 are placed, not counted.
        start: Base cluster centres to start from, shape (clusters, 2), instead of a search with ten starts
            (and three starts for the groups): for resamples of votes that were grouped before.

    Returns:
        One group for all if everybody stands at the same place or fewer than two people voted.
    """
    placed = opinion_map(matrix, procedure, weights)
    counts = np.ones(len(placed.positions)) if weights is None else weights
    base, centres, sizes = base_clusters(placed.positions, counts, procedure.seed, start)
    if len(centres) < 2:
        return Grouping(np.zeros(len(base), dtype=np.int64), placed, {})
    importance = np.ones(len(centres)) if procedure.name == "paper" else sizes
    best, silhouettes = _best_number(centres, importance, procedure, starts=10 if start is None else 3)
    return Grouping(_by_size(best[base], counts), placed, silhouettes)


def base_clusters(
    positions: np.ndarray, counts: np.ndarray, seed: int, start: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gather positions into at most 100 clusters.

    Args:
        positions: Shape (participants, 2).
        counts: How often each counts; those with 0 are assigned to the nearest cluster and move none.
        seed: Of k-means.
        start: Centres to start from, instead of ten random starts.

    Returns:
        Cluster of each position, centres of shape (clusters, 2), and how many people each holds, at least 1.
    """
    # Sorted by place and not by id, so that neither names nor order of participants matter.
    distinct, place = np.unique(np.round(positions, 9), axis=0, return_inverse=True)
    weights = np.bincount(place, weights=counts, minlength=len(distinct))
    counted = distinct[weights > 0]
    few = len(counted) <= BASE_CLUSTERS
    centres = counted if few else _centres(counted, weights[weights > 0], seed, start)
    if not len(centres):
        return np.zeros(len(positions), dtype=np.int64), centres, np.zeros(0)
    distances = ((distinct[:, None, :] - centres[None, :, :]) ** 2).sum(axis=2)
    nearest = distances.argmin(axis=1)
    sizes = np.bincount(nearest, weights=weights, minlength=len(centres))
    used = sizes > 0
    # A cluster that lost all its people is dropped and whoever is near it goes to the next one.
    nearest = distances[:, used].argmin(axis=1)
    return nearest[place], centres[used], np.bincount(nearest, weights=weights, minlength=int(used.sum()))


def _centres(points: np.ndarray, weights: np.ndarray, seed: int, start: np.ndarray | None) -> np.ndarray:
    from sklearn.cluster import KMeans

    if start is None:
        fitted = KMeans(BASE_CLUSTERS, random_state=seed, n_init=10)
    else:
        fitted = KMeans(len(start), init=start, n_init=1, max_iter=20)
    return fitted.fit(points, sample_weight=weights).cluster_centers_


def _best_number(
    centres: np.ndarray, importance: np.ndarray, procedure: Procedure, starts: int
) -> tuple[np.ndarray, dict[int, float]]:
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    if procedure.number_of_groups is None:
        largest = min(LARGEST_NUMBER_OF_GROUPS, 2 + len(centres) // PARTICIPANTS_PER_FURTHER_GROUP)
        numbers = range(2, min(largest, len(centres) - 1) + 1)
    else:
        numbers = range(procedure.number_of_groups, procedure.number_of_groups + 1)
    if not numbers:
        return np.arange(len(centres)), {}
    best, silhouettes = np.zeros(len(centres), dtype=np.int64), {}
    for number in numbers:
        if number >= len(centres):
            return np.arange(len(centres)), {}
        if number == 1:
            return best, {}
        search = KMeans(number, random_state=procedure.seed, n_init=starts)
        labels = search.fit(centres, sample_weight=importance).labels_
        silhouettes[number] = float(silhouette_score(centres, labels)) if len(set(labels)) > 1 else -1.0
        if silhouettes[number] >= max(silhouettes.values()):
            best = labels
    return best, silhouettes


def _by_size(labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Number groups from the largest to the smallest; the first member's place breaks ties."""
    found, first = np.unique(labels, return_index=True)
    sizes = np.array([counts[labels == label].sum() for label in found])
    order = np.lexsort((first, -sizes))
    number = {found[place]: rank for rank, place in enumerate(order)}
    return np.array([number[label] for label in labels], dtype=np.int64)


def opinion_groups(matrix: VoteMatrix, grouping: Grouping) -> pl.DataFrame:
    """Return the table `opinion_groups`: participant, group and position."""
    return pl.DataFrame(
        {
            "participant_id": matrix.participant_ids.astype(np.int64),
            "group_id": grouping.labels.astype(np.int64),
            "x": grouping.map.positions[:, 0],
            "y": grouping.map.positions[:, 1],
        }
    )
