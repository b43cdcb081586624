"""Evidence for how the published groups were attached: do they fit the votes, and do they fit Polis's own?

Belongs here: agreement with the groups that Polis exported, and a permutation test of votes against groups.
Doesn't belong here: consensus scores and what follows from them.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from ccai_dagster.contracts import ALIGNMENT_EVIDENCE
from ccai_dagster.deliberation.vote_matrix import VoteMatrix
from ccai_dagster.replication.labellings import kinds_of, labels_of
from ccai_dagster.replication.published_results import Published

AT_ONCE = 200
"""Shuffles held in memory together."""


def chi_square(matrix: VoteMatrix, labels: np.ndarray) -> np.ndarray:
    """Return how much agreement differs by group: Pearson's chi-square, summed over statements.

    For each statement the table of groups by (agree, anything else), passes counted among the latter as in the
    consensus score: sum over groups g of (a_g - n_g p)^2 / (n_g p (1 - p)), with a_g agreeing votes and n_g votes
    of the group, p the agreeing share of all votes. Statements on which all or nobody agree add nothing. If
    groups had nothing to do with the votes, it would be near (groups - 1) times the number of statements.

    Args:
        matrix: The votes.
        labels: Shape (labellings, participants), group of each participant, numbered from 0.

    Returns:
        Shape (labellings,), at least 0.
    """
    cast, agree = matrix.cast.astype(float), (matrix.values == 1).astype(float)
    share = agree.sum(axis=0) / np.maximum(cast.sum(axis=0), 1)
    spread = share * (1 - share)
    total = np.zeros(len(labels))
    for group in range(int(labels.max()) + 1):
        member = (labels == group).astype(float)
        votes, agreeing = member @ cast, member @ agree
        expected = votes * spread
        total += np.divide(
            (agreeing - votes * share) ** 2, expected, out=np.zeros_like(expected), where=expected > 0
        ).sum(axis=1)
    return total


def shuffled_chi_squares(matrix: VoteMatrix, labels: np.ndarray, permutations: int, seed: int) -> np.ndarray:
    """Return the chi-square of groups shuffled among participants.

    Args:
        matrix: The votes.
        labels: Shape (participants,).
        permutations: Number of shuffles.
        seed: Of the shuffles.

    Returns:
        Shape (permutations,). The same for two labellings that are permutations of each other, since groups are
        put in order before they are shuffled.
    """
    generator, ordered = np.random.default_rng(seed), np.sort(labels)
    parts = [
        chi_square(
            matrix, generator.permuted(np.tile(ordered, (min(AT_ONCE, permutations - begin), 1)), axis=1)
        )
        for begin in range(0, permutations, AT_ONCE)
    ]
    return np.concatenate(parts)


def agreeing(labels: np.ndarray, other: np.ndarray) -> int:
    """Count participants in the same group of both, groups paired so that the count is largest.

    Args:
        labels: Shape (participants,).
        other: Same shape.
    """
    from scipy.optimize import linear_sum_assignment

    table = np.zeros((int(labels.max()) + 1, int(other.max()) + 1), dtype=np.int64)
    np.add.at(table, (labels, other), 1)
    rows, columns = linear_sum_assignment(table, maximize=True)
    return int(table[rows, columns].sum())


def alignment_evidence(
    published: Published,
    matrix: VoteMatrix,
    replicated: pl.DataFrame,
    raw_participants: pl.DataFrame,
    permutations: int,
    seed: int,
) -> pl.DataFrame:
    """Return the table `alignment_evidence`, one row a labelling.

    Groups are only shuffled for the published labels. Groups that were just computed from these votes fit them
    by construction, so that a test against chance would say nothing.

    Args:
        published: The published results.
        matrix: The votes.
        replicated: REPLICATED_GROUPS.
        raw_participants: With the group that Polis assigned.
        permutations: Number of shuffles.
        seed: Of the shuffles.
    """
    from sklearn.metrics import adjusted_rand_score

    polis = _polis_groups(matrix, raw_participants)
    known = polis >= 0
    displaced = int((published.participant_ids != matrix.participant_ids).sum())
    shuffled = shuffled_chi_squares(matrix, published.labels, permutations, seed)
    labels = labels_of(replicated, matrix)
    rows = []
    for kind in kinds_of(replicated).to_dicts():
        own = labels[kind["labelling"]]
        observed = float(chi_square(matrix, own[None, :])[0])
        tested = kind["origin"] == "published"
        as_large = int(((shuffled > observed) | np.isclose(shuffled, observed)).sum())
        rows.append(
            {
                **kind,
                "group_sizes": np.bincount(own).tolist(),
                "n_displaced": displaced if kind["attached"] == "position" else 0,
                "n_compared": int(known.sum()),
                "n_agreeing": agreeing(own[known], polis[known]) if known.any() else 0,
                "adjusted_rand": float(adjusted_rand_score(own[known], polis[known]))
                if known.any()
                else None,
                "chi_square": observed,
                "shuffled": shuffled.tolist() if tested else None,
                "n_as_large": as_large if tested else None,
                "p_value": (as_large + 1) / (permutations + 1) if tested else None,
            }
        )
    return ALIGNMENT_EVIDENCE.build(rows)


def _polis_groups(matrix: VoteMatrix, raw_participants: pl.DataFrame) -> np.ndarray:
    """Group that Polis assigned, in the order of the matrix; -1 where it assigned none."""
    order = pl.DataFrame({"participant_id": matrix.participant_ids})
    joined = order.join(raw_participants, on="participant_id", how="left", maintain_order="left")
    return joined["polis_group"].fill_null(-1).to_numpy()
