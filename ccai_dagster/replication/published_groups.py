"""The ways of giving participants their groups that the replication compares, and evidence for which is right.

The published analysis (`ccai_data_processing.ipynb` of Huang et al. 2024, cells 10 and 31) sorts participants by
id, groups them, and writes the groups into a table that is in another order. To attach a list of groups *by
position* is to do the same; to attach it *by id* is to give each group to the participant it was computed for.

Belongs here: the published groups and groups computed again, each attached both ways; their agreement with the groups
that Polis exported; a permutation test of votes against groups. Doesn't belong here: how groups are computed, consensus
scores and what follows from them (`scores`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from ccai_dagster.contracts import ALIGNMENT_EVIDENCE, REPLICATED_GROUPS
from ccai_dagster.core.errors import ConsultationError, Progress, silent
from ccai_dagster.deliberation.drawing import one_thread
from ccai_dagster.deliberation.groups import Grouping, group_participants
from ccai_dagster.deliberation.votes import Procedure, VoteMatrix, vote_matrix
from ccai_dagster.replication.published_results import Published

PUBLISHED_PROCEDURE = Procedure(
    name="paper", imputation="zero", number_of_groups=None, smoothing="none", aggregation="product", seed=0
)
"""As the published notebook computes, whatever the ledgers of the folder say now."""
BY_POSITION = "published by position"
BY_ID = "published by id"
AT_ONCE = 200
"""Shuffles held in memory together."""


def published_votes(published: Published, raw_votes: pl.DataFrame) -> VoteMatrix:
    """Return the votes that the published scores rest on: of its participants, on its statements.

    Raises:
        ConsultationError: A participant or statement of the published files has no votes in the export.
    """
    people, statements = pl.Series(published.participant_ids), pl.Series(published.statement_ids)
    for column, ids in (("participant_id", people), ("statement_id", statements)):
        if missing := sorted(set(ids.to_list()) - set(raw_votes[column].unique().to_list())):
            raise ConsultationError(
                f"The published files name {column} {', '.join(map(str, missing[:5]))}, which the export in votes/ "
                "has no votes of. Take both from the same publication."
            )
    chosen = raw_votes.filter(
        pl.col("participant_id").is_in(people.to_list()) & pl.col("statement_id").is_in(statements.to_list())
    )
    return vote_matrix(chosen, people, statements)


@one_thread()
def replicated_groups(
    published: Published, matrix: VoteMatrix, seeds: int, progress: Progress = silent
) -> pl.DataFrame:
    """Return the table `replicated_groups`.

    Groups are computed again with the published procedure and as many groups as were published, so that scores
    can be compared; how many groups the silhouette would have chosen with each seed stands in a column of its own.

    Args:
        seeds: Seeds 0, 1, ... of k-means.
    """
    order = published.participant_ids
    tables = [
        _table(matrix, BY_POSITION, "position", by_position(published.labels, order)),
        _table(matrix, BY_ID, "id", by_id(published.labels)),
    ]
    wanted = int(published.labels.max()) + 1
    for seed in range(seeds):
        labels, automatic = _recomputed(matrix, seed, wanted)
        name = f"recomputed by {{}}, seed {seed}"
        tables += [
            _table(matrix, name.format("position"), "position", by_position(labels, order), seed, automatic),
            _table(matrix, name.format("id"), "id", by_id(labels), seed, automatic),
        ]
        progress("seeds grouped", seed + 1, seeds)
    return pl.concat(tables)


def _table(
    matrix: VoteMatrix,
    labelling: str,
    attached: str,
    labels: np.ndarray,
    seed: int | None = None,
    automatic: int | None = None,
) -> pl.DataFrame:
    return (
        pl.DataFrame({"participant_id": matrix.participant_ids.astype(np.int64), "group_id": labels.astype(np.int64)})
        .select(
            labelling=pl.lit(labelling),
            origin=pl.lit("published" if seed is None else "recomputed"),
            attached=pl.lit(attached),
            seed=pl.lit(seed, dtype=pl.Int64),
            participant_id="participant_id",
            group_id="group_id",
            automatic_groups=pl.lit(automatic, dtype=pl.Int64),
        )
        .select(list(REPLICATED_GROUPS.fields))
    )


def _recomputed(matrix: VoteMatrix, seed: int, wanted: int) -> tuple[np.ndarray, int]:
    procedure = replace(PUBLISHED_PROCEDURE, seed=seed)
    chosen = group_participants(matrix, procedure)
    automatic = _number(chosen)
    if automatic != wanted:
        chosen = group_participants(matrix, replace(procedure, number_of_groups=wanted))
    return chosen.labels, automatic


def _number(grouping: Grouping) -> int:
    return len(set(grouping.labels.tolist()))


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
        raw_participants: With the group that Polis assigned.
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
                "adjusted_rand": float(adjusted_rand_score(own[known], polis[known])) if known.any() else None,
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


def by_id(labels: np.ndarray) -> np.ndarray:
    """Attach a list of groups by id: the n-th belongs to the n-th participant in ascending order of id.

    Args:
        labels: Shape (participants,).

    Returns:
        Group of each participant, in ascending order of id: the list as it is.
    """
    return labels


def by_position(labels: np.ndarray, file_order: np.ndarray) -> np.ndarray:
    """Attach a list of groups by position: the n-th goes to whoever stands in the n-th row of the file.

    Args:
        labels: Shape (participants,).
        file_order: Shape (participants,), participant ids in the order of the file.

    Returns:
        Group of each participant, in ascending order of id.
    """
    return labels[np.argsort(file_order, kind="stable")]


def labels_of(replicated: pl.DataFrame, matrix: VoteMatrix) -> dict[str, np.ndarray]:
    """Return the group of each participant in the order of the matrix, by labelling, joined by id."""
    order = pl.DataFrame({"participant_id": matrix.participant_ids})
    return {
        str(name): order.join(part, on="participant_id", how="left", validate="1:1", maintain_order="left")[
            "group_id"
        ].to_numpy()
        for (name,), part in replicated.group_by("labelling", maintain_order=True)
    }


def kinds_of(replicated: pl.DataFrame) -> pl.DataFrame:
    """Return one row a labelling: name, origin, attached, seed, number of groups by silhouette."""
    columns = ("labelling", "origin", "attached", "seed", "automatic_groups")
    return replicated.select(columns).unique(maintain_order=True)


def chi_square(matrix: VoteMatrix, labels: np.ndarray) -> np.ndarray:
    """Return how much agreement differs by group: Pearson's chi-square, summed over statements.

    For each statement the table of groups by (agree, anything else), passes counted among the latter as in the
    consensus score: sum over groups g of (a_g - n_g p)^2 / (n_g p (1 - p)), with a_g agreeing votes and n_g votes
    of the group, p the agreeing share of all votes. Statements on which all or nobody agree add nothing. If
    groups had nothing to do with the votes, it would be near (groups - 1) times the number of statements.

    Args:
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
        labels: Shape (participants,).

    Returns:
        Shape (permutations,). The same for two labellings that are permutations of each other, since groups are
        put in order before they are shuffled.
    """
    generator, ordered = np.random.default_rng(seed), np.sort(labels)
    parts = [
        chi_square(matrix, generator.permuted(np.tile(ordered, (min(AT_ONCE, permutations - begin), 1)), axis=1))
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
