"""Group-aware consensus and polarization of each statement, from votes and groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from ccai_dagster.deliberation.votes import Procedure, Smoothing, VoteMatrix

SMOOTHING: Mapping[Smoothing, tuple[float, float]] = {"none": (0.0, 0.0), "laplace": (1.0, 2.0), "jeffreys": (0.5, 1.0)}
"""What is added to agreeing votes and to all votes of a group."""


def gac_scores(
    matrix: VoteMatrix, labels: np.ndarray, procedure: Procedure, published: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Return the table `gac_scores`.

    Args:
        matrix: Votes of kept participants on statements that are in.
        labels: Shape (participants,), group of each.
        published: `statement_id`, `gac` as published elsewhere, to stand beside ours.
    """
    counts = group_counts(matrix, labels)
    agree, votes = counts.agree, counts.votes
    n_agree, n_disagree, n_votes = agree.sum(axis=0), counts.disagree.sum(axis=0), votes.sum(axis=0)
    agreement = np.divide(agree, votes, out=np.full(votes.shape, np.nan), where=votes > 0)
    table = pl.DataFrame(
        {
            "statement_id": matrix.statement_ids.astype(np.int64),
            "n_votes": n_votes.astype(np.int64),
            "n_agree": n_agree.astype(np.int64),
            "n_disagree": n_disagree.astype(np.int64),
            "n_pass": (n_votes - n_agree - n_disagree).astype(np.int64),
            "gac": group_aware_consensus(agree, votes, procedure),
            "gac_if_unanimous": group_aware_consensus(votes, votes, procedure),
            "polarization_index": polarization_index(n_agree, n_disagree, n_votes),
            "adjusted_polarization_index": adjusted_polarization_index(n_agree, n_disagree, n_votes),
            "group_ids": [list(range(len(agree)))] * len(n_votes),
            "group_votes": votes.T.astype(np.int64).tolist(),
            "group_agreement": agreement.T.tolist(),
        },
        schema_overrides={
            "group_ids": pl.List(pl.Int64),
            "group_votes": pl.List(pl.Int64),
            "group_agreement": pl.List(pl.Float64),
        },
    ).with_columns(
        pl.col("gac", "gac_if_unanimous", "polarization_index", "adjusted_polarization_index").fill_nan(None),
        pl.col("group_agreement").list.eval(pl.element().fill_nan(None)),
    )
    if published is None:
        return table.with_columns(published_gac=pl.lit(None, dtype=pl.Float64))
    other = published.select("statement_id", published_gac="gac")
    return table.join(other, on="statement_id", how="left", validate="1:1", maintain_order="left")


@dataclass(frozen=True)
class GroupCounts:
    """Votes of each group on each statement, all of shape (groups, statements).

    Attributes:
        agree: Agreeing votes.
        disagree: Disagreeing votes.
        votes: All votes, passes included.
    """

    agree: np.ndarray
    disagree: np.ndarray
    votes: np.ndarray


def group_counts(
    matrix: VoteMatrix, labels: np.ndarray, weights: np.ndarray | None = None, groups: int | None = None
) -> GroupCounts:
    """Count votes by group and statement.

    Args:
        labels: Shape (participants,), group of each.
        weights: How often each participant counts; once if None.
        groups: Number of groups; the largest label plus one if None.
    """
    number = int(labels.max(initial=-1)) + 1 if groups is None else groups
    members = np.zeros((len(labels), number))
    members[np.arange(len(labels)), labels] = 1.0 if weights is None else weights
    counted = (matrix.by_vote.T @ members).T.reshape(number, len(matrix.statement_ids), 3)
    disagree, passes, agree = np.ascontiguousarray(counted.transpose(2, 0, 1))
    return GroupCounts(agree, disagree, agree + disagree + passes)


def group_aware_consensus(agree: np.ndarray, votes: np.ndarray, procedure: Procedure) -> np.ndarray:
    """Return the group-aware consensus of each statement.

    GAC(s) = product over groups g of P(agree | g, s) (Huang et al. 2024, equation 1; Small et al. 2021), with
    P = (agree + a) / (votes + b), a and b by the smoothing; or the geometric mean, which does not shrink as
    groups are added.

    Args:
        agree: Agreeing votes, shape (groups, statements).
        votes: All votes, passes included, same shape.

    Returns:
        Shape (statements,), in [0, 1]; NaN where a group has no votes and nothing is smoothed, and where there
        are no groups. Smoothed, a group that did not vote counts as half agreeing.
    """
    if not len(agree):
        return np.full(agree.shape[1], np.nan)
    add_agree, add_votes = SMOOTHING[procedure.smoothing]
    total = votes + add_votes
    share = np.divide(agree + add_agree, total, out=np.full(total.shape, np.nan), where=total > 0)
    return aggregated(share, procedure)


def highest_reachable(sizes: np.ndarray, procedure: Procedure) -> float:
    """Return the consensus of a statement that everybody in every group votes on and agrees with, in [0, 1].

    Smoothing keeps it below 1 where groups are small, and a product falls with every further group: no statement can
    have more, so a cut above it selects nothing.

    Args:
        sizes: Shape (groups,), people in each group; at least one group.
    """
    everybody = sizes.astype(float)[:, None]
    return float(group_aware_consensus(everybody, everybody, procedure)[0])


def aggregated(share: np.ndarray, procedure: Procedure) -> np.ndarray:
    """Return the shares of agreement, of shape (groups, statements), over all groups: product or geometric mean."""
    product = share.prod(axis=0)
    return np.asarray(product ** (1 / len(share)) if procedure.aggregation == "geometric_mean" else product)


def polarization_index(agree: np.ndarray, disagree: np.ndarray, votes: np.ndarray) -> np.ndarray:
    """Return 1 - |agree / votes - disagree / votes| (Huang et al. 2024, section 4.1).

    Args:
        agree: Agreeing votes, shape (statements,).
        disagree: Disagreeing votes, same shape.
        votes: All votes, passes included, same shape.

    Returns:
        In [0, 1]: 0 if everybody is of one opinion, 1 if as many agree as disagree. All passes give 1 too,
        which is why the index is adjusted. NaN where nobody voted.
    """
    difference = np.abs(agree - disagree)
    return np.asarray(1 - np.divide(difference, votes, out=np.full(votes.shape, np.nan), where=votes > 0))


def adjusted_polarization_index(agree: np.ndarray, disagree: np.ndarray, votes: np.ndarray) -> np.ndarray:
    """Return the polarization index times the share of votes that are not passes (ibid.).

    Arguments and range are those of `polarization_index`; all passes give 0.
    """
    return np.asarray(polarization_index(agree, disagree, votes) * (agree + disagree) / np.maximum(votes, 1))
