"""Groups as the engine of Polis finds them, started cold.

After `math/src/polismath/math/clusters.clj` and `conversation.clj` of compdemocracy/polis: k-means from the first
distinct rows, base clusters, groups of those, silhouette over the centres. What needs the history of a
conversation is left out, since votes alone do not hold it: the start from the clusters of the last update, the
rule that a number of groups must win four times in a row before it is taken, and that nobody leaves once in.
"""

from __future__ import annotations

import numpy as np

from ccai_dagster.deliberation.k_means import nearest, silhouette

BASE_CLUSTERS = 100
BASE_STEPS = 100
GROUP_STEPS = 20
TOLERANCE = 0.01
"""Centres that moved less than this count as settled."""
LARGEST_NUMBER_OF_GROUPS = 5
BASE_CLUSTERS_PER_FURTHER_GROUP = 12


def largest_number(clusters: int) -> int:
    """Return the largest number of groups that is tried: min(5, 2 + clusters / 12)."""
    return min(LARGEST_NUMBER_OF_GROUPS, 2 + clusters // BASE_CLUSTERS_PER_FURTHER_GROUP)


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


def polis_groups(
    points: np.ndarray, weights: np.ndarray, number_of_groups: int | None
) -> tuple[np.ndarray, np.ndarray, dict[int, float]]:
    """Gather points into base clusters and those into groups.

    Args:
        points: Shape (points, 2), in the order of joining.
        weights: Shape (points,), positive.
        number_of_groups: A fixed number, or None for the best silhouette, the larger number on a tie.

    Returns:
        Centres of the base clusters, the group of each base cluster, and the silhouettes over base clusters, all
        of equal weight, by number of groups.
    """
    clusters, centres = first_rows_k_means(points, weights, BASE_CLUSTERS, BASE_STEPS)
    sizes = np.bincount(clusters, weights=weights)
    numbers = range(2, largest_number(len(centres)) + 1) if number_of_groups is None else [number_of_groups]
    found = {k: first_rows_k_means(centres, sizes, k, GROUP_STEPS)[0] for k in numbers}
    widths = silhouette(centres, list(found.values()), np.ones(len(centres)))
    silhouettes = dict(zip(found, widths, strict=True))
    best = max(silhouettes, key=lambda k: (silhouettes[k], k))
    return centres, found[best], silhouettes
