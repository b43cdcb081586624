"""Every way of giving participants their groups that the replication compares.

Belongs here: the published groups and groups computed again, each attached by id and by position. Doesn't
belong here: how groups are computed, and which of the ways is right (`evidence`).

The published analysis (`ccai_data_processing.ipynb` of Huang et al. 2024, cells 10 and 31) sorts participants by
id, groups them, and writes the groups into a table that is in another order. To attach a list of groups *by
position* is to do the same; to attach it *by id* is to give each group to the participant it was computed for.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from ccai_dagster.contracts import REPLICATED_GROUPS
from ccai_dagster.deliberation.groups import Grouping, group_participants
from ccai_dagster.deliberation.one_thread import one_thread
from ccai_dagster.deliberation.procedure import Procedure
from ccai_dagster.deliberation.vote_matrix import VoteMatrix, vote_matrix
from ccai_dagster.errors import ConsultationError
from ccai_dagster.progress import Progress, silent
from ccai_dagster.replication.published_results import Published

PUBLISHED_PROCEDURE = Procedure(
    name="paper", imputation="zero", number_of_groups=None, smoothing="none", aggregation="product", seed=0
)
"""As the published notebook computes, whatever the ledgers of the folder say now."""

BY_POSITION = "published by position"
BY_ID = "published by id"


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


@one_thread()
def replicated_groups(
    published: Published, matrix: VoteMatrix, seeds: int, progress: Progress = silent
) -> pl.DataFrame:
    """Return the table `replicated_groups`.

    Groups are computed again with the published procedure and as many groups as were published, so that scores
    can be compared; how many groups the silhouette would have chosen with each seed is told beside them.

    Args:
        published: The published results.
        matrix: The votes they rest on.
        seeds: Seeds 0, 1, ... of k-means.
        progress: Told how many seeds are done.
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


def labels_of(replicated: pl.DataFrame, matrix: VoteMatrix) -> dict[str, np.ndarray]:
    """Return the group of each participant in the order of the matrix, by labelling, joined by id.

    Args:
        replicated: REPLICATED_GROUPS.
        matrix: The votes.
    """
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


def _recomputed(matrix: VoteMatrix, seed: int, wanted: int) -> tuple[np.ndarray, int]:
    procedure = replace(PUBLISHED_PROCEDURE, seed=seed)
    chosen = group_participants(matrix, procedure)
    automatic = _number(chosen)
    if automatic != wanted:
        chosen = group_participants(matrix, replace(procedure, number_of_groups=wanted))
    return chosen.labels, automatic


def _number(grouping: Grouping) -> int:
    return len(set(grouping.labels.tolist()))


def _table(
    matrix: VoteMatrix,
    labelling: str,
    attached: str,
    labels: np.ndarray,
    seed: int | None = None,
    automatic: int | None = None,
) -> pl.DataFrame:
    return pl.DataFrame(
        {"participant_id": matrix.participant_ids.astype(np.int64), "group_id": labels.astype(np.int64)}
    ).select(
        labelling=pl.lit(labelling),
        origin=pl.lit("published" if seed is None else "recomputed"),
        attached=pl.lit(attached),
        seed=pl.lit(seed, dtype=pl.Int64),
        participant_id="participant_id",
        group_id="group_id",
        automatic_groups=pl.lit(automatic, dtype=pl.Int64),
    ).select(list(REPLICATED_GROUPS.fields))  # fmt: skip
