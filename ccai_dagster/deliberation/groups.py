"""Opinion groups: clusters of participants on the opinion map, by one of three procedures.

The positions come from `opinion_map`, the geometry of clusters from `k_means`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from ccai_dagster.deliberation.k_means import FINE_SIDE, condensed, distinct_points, k_means, nearest, silhouette
from ccai_dagster.deliberation.opinion_map import Iteration, OpinionMap, opinion_map
from ccai_dagster.deliberation.votes import Procedure, VoteMatrix

BASE_CLUSTERS = 100
BASE_STEPS = 100
GROUP_STEPS = 20
TOLERANCE = 0.01
"""Centres that moved less than this count as settled, in the engine of Polis."""
LARGEST_NUMBER_OF_GROUPS = 5
BASE_CLUSTERS_PER_FURTHER_GROUP = 12


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
    iteration: Iteration | None = None,
) -> Grouping:
    """Group participants by their votes.

    Where the number of groups is not fixed, it is the one with the best silhouette among 2 to
    min(5, 2 + clusters / 12), the larger one on a tie, as in Polis and in the notebook of Huang et al. (2024).
    Under each number, clusters of fewer than `smallest_group` people are dissolved first (`dissolved`), so that the
    silhouette judges the groups there would be; with a smallest group of 1 nothing is.

    `default` clusters the participants themselves: k-means in which everybody counts as one, without chance
    (`k_means.k_means`), and a silhouette over everybody. It leaves out the base clusters of Polis, because they
    make the result hang on accident: the centres of a hundred clusters found from random starts, or from
    whoever joined first, differ from run to run, and a silhouette over centres counts a lonely person as much as
    a crowd. With base clusters the votes of CCAI gave 3 groups under 6 of 20 seeds, 4 under 11 and 5 under 3;
    without them there is no seed, and groups of resampled participants agree better with those of the whole
    (median adjusted Rand index over the same 100 resamples 0.90 against 0.79, lowest 0.60 against 0.37). The
    number of groups still is uncertain there: 4 in 58 of the resamples, 5 in 39. A large consultation is
    gathered into about a thousand cells of equal weight first, so that its size hardly adds to the effort.
    Neither the order of rows nor the ids of participants enter.

    `polis` is the engine of Polis started cold (`polis_groups`). Like the engine it starts from those who
    joined first, so the order of joining matters: the time of first votes where known, otherwise ids. A
    statement that moderation set apart as metadata counts like one moderated out, as in the engine.

    `paper` gathers participants into 100 clusters with k-means from ten seeded starts and clusters the centres,
    each of equal weight. The last digits of its sums hang on the kind of processor, and with them who goes with whom
    where somebody stands between two clusters.

    Args:
        weights: Shape (participants,), how often each counts; those with weight 0 are placed, not counted.
        start: Base cluster centres to start `paper` from, shape (clusters, 2), instead of a search with ten
            starts (and three starts for the groups): for resamples of votes that were grouped before.
        iteration: How the opinion map is computed in one of many draws.

    Returns:
        One group for all if that is the number wanted, if everybody stands at the same place, if fewer than two people
        voted, or if no two groups are large enough.
    """
    placed = opinion_map(matrix, procedure, weights, iteration)
    counts = np.ones(len(placed.positions)) if weights is None else weights.astype(float)
    points, sizes, place = distinct_points(placed.positions, counts)
    counted = sizes > 0
    if counted.sum() < 2 or procedure.number_of_groups == 1:
        return Grouping(np.zeros(len(place), dtype=np.int64), placed, {})
    if procedure.name == "default":
        centres, found, silhouettes = _direct(points[counted], sizes[counted], procedure)
        nearest_centre = nearest(points, centres)[place]
    elif procedure.name == "polis":
        joined = np.arange(len(place)) if matrix.joined is None else matrix.joined
        by_joining = np.argsort(joined, kind="stable")
        by_joining = by_joining[counts[by_joining] > 0]
        centres, found, silhouettes = polis_groups(
            placed.positions[by_joining], counts[by_joining], procedure.number_of_groups, procedure.smallest_group
        )
        nearest_centre = nearest(placed.positions, centres)
    else:
        nearest_centre, centres, sizes = base_clusters(placed.positions, counts, procedure.seed, start)
        found, silhouettes = _of_equal_centres(centres, sizes, procedure, starts=10 if start is None else 3)
    return Grouping(_by_size(found[nearest_centre], counts), placed, silhouettes)


def opinion_groups(matrix: VoteMatrix, grouping: Grouping) -> pl.DataFrame:
    """Return the table `opinion_groups`."""
    return pl.DataFrame(
        {
            "participant_id": matrix.participant_ids.astype(np.int64),
            "group_id": grouping.labels.astype(np.int64),
            "x": grouping.map.positions[:, 0],
            "y": grouping.map.positions[:, 1],
        }
    )


def _by_size(labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Number groups from the largest to the smallest; the first member's place breaks ties."""
    found, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    sizes = np.bincount(inverse, weights=counts, minlength=len(found))
    rank = np.empty(len(found), dtype=np.int64)
    rank[np.lexsort((first, -sizes))] = np.arange(len(found))
    return rank[inverse]


def largest_number(clusters: int) -> int:
    """Return the largest number of groups that is tried: min(5, 2 + clusters / 12)."""
    return min(LARGEST_NUMBER_OF_GROUPS, 2 + clusters // BASE_CLUSTERS_PER_FURTHER_GROUP)


def dissolved(
    points: np.ndarray, weights: np.ndarray, labels: np.ndarray, centres: np.ndarray, smallest: int
) -> tuple[np.ndarray, np.ndarray]:
    """Dissolve clusters of fewer than `smallest` people, the smallest first, until none or only one is left.

    Everybody in a cluster that is dissolved goes to the nearest centre that is left; nobody else moves. With a smallest
    group of 1 nothing happens, even where weights that were drawn sum to less.

    Args:
        points: Shape (points, 2).
        weights: Shape (points,), how many people stand at each.
        labels: Shape (points,), cluster of each.
        centres: Shape (clusters, 2).

    Returns:
        Labels, numbered without gaps in the order of the centres left, and these centres.
    """
    while smallest > 1 and len(centres) > 1:
        sizes = np.bincount(labels, weights=weights, minlength=len(centres))
        least = int(sizes.argmin())
        if sizes[least] >= smallest - 1e-9:
            break
        centres, homeless = np.delete(centres, least, axis=0), labels == least
        labels = np.where(homeless, 0, labels - (labels > least))
        labels[homeless] = nearest(points[homeless], centres)
    return labels, centres


def _direct(
    points: np.ndarray, sizes: np.ndarray, procedure: Procedure
) -> tuple[np.ndarray, np.ndarray, dict[int, float]]:
    """Return centres, one group each, and the silhouettes, under `default`."""
    points, sizes = condensed(points, sizes, FINE_SIDE)
    fixed = procedure.number_of_groups
    wanted = largest_number(len(points)) if fixed is None else fixed
    found = k_means(points, sizes, min(wanted, len(points)))
    if fixed is not None:
        tried = [max(found)]
    else:
        tried = [number for number in found if number > 1 and (number < len(points) or len(found) == 2)]
    large = {
        number: dissolved(points, sizes, nearest(points, found[number]), found[number], procedure.smallest_group)
        for number in tried
    }
    widths = silhouette(points, [labels for labels, _ in large.values()], sizes)
    silhouettes = dict(zip(tried, widths, strict=True))
    best = max(silhouettes, key=lambda number: (round(silhouettes[number], 9), number))
    centres = large[best][1]
    return centres, np.arange(len(centres)), silhouettes


def polis_groups(
    points: np.ndarray, weights: np.ndarray, number_of_groups: int | None, smallest: int = 1
) -> tuple[np.ndarray, np.ndarray, dict[int, float]]:
    """Gather points into base clusters and those into groups, as the engine of Polis does when it is started cold.

    After `math/src/polismath/math/clusters.clj` and `conversation.clj` of compdemocracy/polis: k-means from the first
    distinct rows, base clusters, groups of those, silhouette over the centres. What needs the history of a
    conversation is left out, since votes alone do not hold it: the start from the clusters of the last update, the
    rule that a number of groups must win four times in a row before it is taken, and that nobody leaves once in.

    Args:
        points: Shape (points, 2), in the order of joining.
        weights: Shape (points,), positive.
        number_of_groups: A fixed number, or None for the best silhouette, the larger number on a tie.
        smallest: Fewest people that make a group; the engine has no such rule, which is 1.

    Returns:
        Centres of the base clusters, the group of each base cluster, and the silhouettes over base clusters, all
        of equal weight, by number of groups.
    """
    clusters, centres = first_rows_k_means(points, weights, BASE_CLUSTERS, BASE_STEPS)
    sizes = np.bincount(clusters, weights=weights)
    numbers = range(2, largest_number(len(centres)) + 1) if number_of_groups is None else [number_of_groups]
    found = {
        k: dissolved(centres, sizes, *first_rows_k_means(centres, sizes, k, GROUP_STEPS), smallest)[0] for k in numbers
    }
    widths = silhouette(centres, list(found.values()), np.ones(len(centres)))
    silhouettes = dict(zip(found, widths, strict=True))
    best = max(silhouettes, key=lambda k: (silhouettes[k], k))
    return centres, found[best], silhouettes


def first_rows_k_means(
    points: np.ndarray, weights: np.ndarray, number: int, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Run k-means from the first distinct points, dropping clusters that lose all members.

    Args:
        points: Shape (points, 2), in the order that decides what is first.
        weights: Shape (points,), positive.
        number: Clusters at most.
        steps: Steps at most, after the first.

    Returns:
        Cluster of each point, numbered in the order of the first rows, and the centres.
    """
    _, first = np.unique(points, axis=0, return_index=True)
    centres = points[np.sort(first)[:number]]
    for _ in range(steps + 1):
        clusters = np.unique(nearest(points, centres), return_inverse=True)[1]
        sizes = np.bincount(clusters, weights=weights)
        sums = [np.bincount(clusters, weights=weights * points[:, axis]) for axis in (0, 1)]
        moved = np.stack(sums, axis=1) / sizes[:, None]
        settled = _settled(centres, moved)
        centres = moved
        if settled:
            break
    return clusters, centres


def _settled(before: np.ndarray, after: np.ndarray) -> bool:
    """Compare centres in the order of their coordinates, as many as there are in both."""
    one, other = (each[np.lexsort((each[:, 1], each[:, 0]))] for each in (before, after))
    common = min(len(one), len(other))
    return bool((np.hypot(*(one[:common] - other[:common]).T) < TOLERANCE).all())


def base_clusters(
    positions: np.ndarray, counts: np.ndarray, seed: int, start: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gather positions into at most 100 clusters, as `paper` does.

    Args:
        positions: Shape (participants, 2).
        counts: How often each counts; those with 0 are assigned to the nearest cluster and move none.
        start: Centres to start from, instead of ten random starts.

    Returns:
        Cluster of each position, centres of shape (clusters, 2), and how many people each holds, at least 1.
    """
    distinct, weights, place = distinct_points(positions, counts)
    counted = distinct[weights > 0]
    few = len(counted) <= BASE_CLUSTERS
    centres = counted if few else _centres(counted, weights[weights > 0], seed, start)
    if not len(centres):
        return np.zeros(len(positions), dtype=np.int64), centres, np.zeros(0)
    sizes = np.bincount(nearest(distinct, centres), weights=weights, minlength=len(centres))
    # A cluster that lost all its people is dropped and whoever is near it goes to the next one.
    centres = centres[sizes > 0]
    clusters = nearest(distinct, centres)
    return clusters[place], centres, np.bincount(clusters, weights=weights, minlength=len(centres))


def _centres(points: np.ndarray, weights: np.ndarray, seed: int, start: np.ndarray | None) -> np.ndarray:
    from sklearn.cluster import KMeans

    if start is None:
        fitted = KMeans(BASE_CLUSTERS, random_state=seed, n_init=10)
    else:
        fitted = KMeans(len(start), init=start, n_init=1, max_iter=20)
    return np.asarray(fitted.fit(points, sample_weight=weights).cluster_centers_)


def _of_equal_centres(
    centres: np.ndarray, sizes: np.ndarray, procedure: Procedure, starts: int
) -> tuple[np.ndarray, dict[int, float]]:
    """Return the group of each centre, and the silhouettes, under `paper`."""
    from sklearn.cluster import KMeans

    if procedure.number_of_groups is None:
        numbers = range(2, min(largest_number(len(centres)), len(centres) - 1) + 1)
    else:
        numbers = range(procedure.number_of_groups, procedure.number_of_groups + 1)
    if not numbers or numbers[0] >= len(centres):
        return np.arange(len(centres)), {}
    fitted = [KMeans(number, random_state=procedure.seed, n_init=starts).fit(centres) for number in numbers]
    found = [
        dissolved(centres, sizes, each.labels_.astype(np.int64), each.cluster_centers_, procedure.smallest_group)[0]
        for each in fitted
    ]
    widths = silhouette(centres, found, np.ones(len(centres)))
    silhouettes = dict(zip(numbers, widths, strict=True))
    best = max(silhouettes, key=lambda number: (silhouettes[number], number))
    return found[numbers.index(best)], silhouettes
