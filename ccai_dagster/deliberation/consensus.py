"""Group-aware consensus and polarization of each statement, from votes and groups."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from ccai_dagster.contracts import GROUP_VOTES
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
        published: As for `gac_of_counts`.
    """
    return gac_of_counts(GroupVotes.of(matrix, labels), procedure, published)


def gac_of_counts(given: GroupVotes, procedure: Procedure, published: pl.DataFrame | None = None) -> pl.DataFrame:
    """Return the table `gac_scores` from how each group voted.

    Args:
        given: Statements that are in, and the votes on them by group.
        published: `statement_id`, `gac` as published elsewhere, to stand beside ours.
    """
    counts, weighed = given.counts, given.weighed(procedure)
    agree, votes = counts.agree, counts.votes
    unknown = np.full(votes.shape[1], np.nan)
    least = unknown if given.sizes is None else least_participation(votes, given.sizes)
    n_agree, n_disagree, n_votes = agree.sum(axis=0), counts.disagree.sum(axis=0), votes.sum(axis=0)
    agreement, rejection = (_share(side, votes, "none") for side in (agree, counts.disagree))
    table = pl.DataFrame(
        {
            "statement_id": given.statement_ids.astype(np.int64),
            "n_votes": n_votes.astype(np.int64),
            "n_agree": n_agree.astype(np.int64),
            "n_disagree": n_disagree.astype(np.int64),
            "n_pass": (n_votes - n_agree - n_disagree).astype(np.int64),
            "gac": group_aware_consensus(weighed.agree, weighed.votes, procedure, weighed.disagree),
            "gac_if_unanimous": group_aware_consensus(weighed.votes, weighed.votes, procedure),
            "gac_disagree": group_aware_consensus(weighed.disagree, weighed.votes, procedure, weighed.agree),
            "least_participation": least,
            "polarization_index": polarization_index(n_agree, n_disagree, n_votes),
            "adjusted_polarization_index": adjusted_polarization_index(n_agree, n_disagree, n_votes),
            "group_ids": _lists(np.broadcast_to(np.arange(len(agree))[:, None], agree.shape)),
            "group_votes": _lists(votes.astype(np.int64)),
            "group_agreement": _lists(agreement),
            "group_rejection": _lists(rejection),
        }
    ).with_columns(
        pl.col(
            "gac",
            "gac_if_unanimous",
            "gac_disagree",
            "least_participation",
            "polarization_index",
            "adjusted_polarization_index",
        ).fill_nan(None),
        pl.col("group_agreement", "group_rejection").list.eval(pl.element().fill_nan(None)),
    )
    if published is None:
        return table.with_columns(published_gac=pl.lit(None, dtype=pl.Float64))
    other = published.select("statement_id", published_gac="gac")
    return table.join(other, on="statement_id", how="left", validate="1:1", maintain_order="left")


def _lists(by_group: np.ndarray) -> pl.Series:
    """Return, of an array of shape (groups, statements), a list for each statement."""
    return pl.Series(values=np.ascontiguousarray(by_group.T)).arr.to_list()


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

    @property
    def fewest(self) -> np.ndarray:
        """Votes of the group that cast the fewest, of shape (statements,); none where there is no group."""
        return np.asarray(self.votes.min(axis=0) if len(self.votes) else self.votes.sum(axis=0)).astype(np.int64)


@dataclass(frozen=True)
class GroupVotes:
    """How each group voted on each statement, whether counted from the votes of people or given as counts.

    Attributes:
        statement_ids: Shape (statements,), ascending.
        counts: Of shape (groups, statements).
        important: Of these, the votes with which a statement was marked as important; None where nobody told.
        sizes: Shape (groups,), people in each group; None where only counts were given.
    """

    statement_ids: np.ndarray
    counts: GroupCounts
    important: GroupCounts | None = None
    sizes: np.ndarray | None = None

    @classmethod
    def of(cls, matrix: VoteMatrix, labels: np.ndarray) -> GroupVotes:
        """Count the votes of people.

        Args:
            labels: Shape (participants,), group of each.
        """
        counts = group_counts(matrix, labels)
        number = len(counts.votes)
        important = None if matrix.important is None else group_counts(_marked(matrix), labels, groups=number)
        return cls(matrix.statement_ids, counts, important, np.bincount(labels, minlength=number))

    @classmethod
    def of_table(cls, group_votes: pl.DataFrame, statement_ids: pl.Series) -> GroupVotes:
        """Lay out a table, on these statements.

        Args:
            group_votes: GROUP_VOTES, or RAW_GROUP_VOTES, which knows neither sizes nor marks of importance.
            statement_ids: In any order; those that the table lacks have no votes.
        """
        ids, groups = np.unique(statement_ids.to_numpy()), group_votes["group_id"].unique().sort()
        own = group_votes.filter(pl.col("statement_id").is_in(statement_ids.implode()))
        place = np.searchsorted(ids, own["statement_id"].to_numpy())
        row = np.searchsorted(groups.to_numpy(), own["group_id"].to_numpy())

        def laid_out(column: str) -> np.ndarray:
            cells = np.zeros((len(groups), len(ids)))
            cells[row, place] = own[column].to_numpy()
            return cells

        def counted(agree: str, disagree: str, passes: str) -> GroupCounts:
            sides = laid_out(agree), laid_out(disagree)
            return GroupCounts(*sides, sides[0] + sides[1] + laid_out(passes))

        counts = counted("n_agree", "n_disagree", "n_pass")
        if "n_members" not in group_votes.columns:
            return cls(ids, counts)
        important = counted("important_agree", "important_disagree", "important_pass")
        sizes = group_votes.group_by("group_id").agg(pl.col("n_members").first()).sort("group_id")["n_members"]
        return cls(
            ids, counts, important if important.votes.any() else None, None if sizes.null_count() else sizes.to_numpy()
        )

    def table(self) -> pl.DataFrame:
        """Return the table `group_votes`: a row a statement and group."""
        groups, statements = self.counts.votes.shape
        columns: dict[str, object] = {
            "statement_id": np.repeat(self.statement_ids, groups),
            "group_id": np.tile(np.arange(groups), statements),
            "n_members": [None] * (groups * statements) if self.sizes is None else np.tile(self.sizes, statements),
        }
        nothing = np.zeros(self.counts.votes.shape)
        marked = self.important or GroupCounts(nothing, nothing, nothing)
        for name, counts in (("n", self.counts), ("important", marked)):
            sides = {"agree": counts.agree, "disagree": counts.disagree}
            sides["pass"] = counts.votes - counts.agree - counts.disagree
            columns |= {f"{name}_{side}": cells.T.ravel().astype(np.int64) for side, cells in sides.items()}
        return pl.DataFrame(columns, schema=GROUP_VOTES.dtypes)

    def weighed(self, procedure: Procedure) -> GroupCounts:
        """Return counts in which votes marked as important count as often as is on record."""
        return _weighed(self.counts, self.important, procedure)


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
    shape = number, len(matrix.statement_ids), 3
    if weights is None:  # without scipy, which a command would load for nothing else
        places = (labels[matrix.row] * shape[1] + matrix.column) * 3 + matrix.vote + 1
        counted = np.bincount(places, minlength=math.prod(shape)).astype(np.float64).reshape(shape)
    else:
        members = np.zeros((len(labels), number))
        members[np.arange(len(labels)), labels] = weights
        counted = (matrix.by_vote.T @ members).T.reshape(shape)
    disagree, passes, agree = np.ascontiguousarray(counted.transpose(2, 0, 1))
    return GroupCounts(agree, disagree, agree + disagree + passes)


def weighed_by_importance(
    counts: GroupCounts, matrix: VoteMatrix, labels: np.ndarray, procedure: Procedure, weights: np.ndarray | None = None
) -> GroupCounts:
    """Return counts in which votes with which a statement was marked as important count as often as is on record.

    Args:
        counts: Of these votes, labels and weights, each vote counting once.
        weights: As for `group_counts`.
    """
    if procedure.importance_weight == 1 or matrix.important is None:
        return counts
    return _weighed(counts, group_counts(_marked(matrix), labels, weights, len(counts.votes)), procedure)


def _marked(matrix: VoteMatrix) -> VoteMatrix:
    """The votes with which a statement was marked as important."""
    marked = matrix.important
    return replace(
        matrix, row=matrix.row[marked], column=matrix.column[marked], vote=matrix.vote[marked], important=None
    )


def _weighed(counts: GroupCounts, further: GroupCounts | None, procedure: Procedure) -> GroupCounts:
    if procedure.importance_weight == 1 or further is None:
        return counts
    more = procedure.importance_weight - 1
    return GroupCounts(
        counts.agree + more * further.agree,
        counts.disagree + more * further.disagree,
        counts.votes + more * further.votes,
    )


def group_aware_consensus(
    agree: np.ndarray, votes: np.ndarray, procedure: Procedure, disagree: np.ndarray | None = None
) -> np.ndarray:
    """Return the group-aware consensus of each statement.

    With A agreeing and D disagreeing of S votes of a group, P(agree) = (A + a) / (S + b) and P(disagree) =
    (D + a) / (S + b), a and b by the smoothing. By aggregation, over all groups:

    - `product`: the product of P(agree) (Huang et al. 2024, equation 1; Small et al. 2021; Polis, `conversation.clj`);
    - `geometric_mean`: its root by the number of groups, which does not shrink as groups are added;
    - `effective_agreement`: the geometric mean of P(agree) (1 - P(disagree)), so that passes weigh less against a
      statement than disagreement does (red-dwarf, pull request 120, where it goes with `jeffreys`);
    - `polis_normalized`: the arithmetic mean of (A + a) / (A + D + b), passes left out (Polis, `normalizeConsensus.js`
      of the report, where it goes with `laplace`). One group that is against it does not keep it low.

    The consensus on rejection is the same with agreeing and disagreeing votes exchanged.

    Args:
        agree: Agreeing votes, shape (groups, statements).
        votes: All votes, passes included, same shape.
        disagree: Disagreeing votes, same shape; None where nobody disagrees. The first two do not look at it.

    Returns:
        Shape (statements,), in [0, 1]; NaN where a group has no votes and nothing is smoothed, and where there
        are no groups. Smoothed, a group that did not vote counts as half agreeing.
    """
    if not len(agree):
        return np.full(agree.shape[1], np.nan)
    against = np.zeros_like(agree) if disagree is None else disagree
    if procedure.aggregation == "polis_normalized":
        return np.asarray(_share(agree, agree + against, procedure.smoothing).mean(axis=0))
    share = _share(agree, votes, procedure.smoothing)
    if procedure.aggregation == "effective_agreement":
        share = share * (1 - _share(against, votes, procedure.smoothing))
    product = share.prod(axis=0)
    return np.asarray(product if procedure.aggregation == "product" else product ** (1 / len(share)))


def highest_reachable(sizes: np.ndarray, procedure: Procedure) -> float:
    """Return the consensus of a statement that everybody in every group votes on and agrees with, in [0, 1].

    Smoothing keeps it below 1 where groups are small, and a product falls with every further group: no statement can
    have more, so a cut above it selects nothing.

    Args:
        sizes: Shape (groups,), people in each group; at least one group.
    """
    everybody = sizes.astype(float)[:, None]
    return float(group_aware_consensus(everybody, everybody, procedure)[0])


def _share(part: np.ndarray, whole: np.ndarray, smoothing: Smoothing) -> np.ndarray:
    add_part, add_whole = SMOOTHING[smoothing]
    total = whole + add_whole
    return np.asarray(np.divide(part + add_part, total, out=np.full(total.shape, np.nan), where=total > 0))


def least_participation(votes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return the smallest share of any group that voted on each statement.

    Args:
        votes: Votes of each group, passes included, shape (groups, statements).
        sizes: People in each group, shape (groups,), in the same weights.

    Returns:
        Shape (statements,), in [0, 1]; NaN where there are no groups. Empty groups are passed over.
    """
    voted = votes[sizes > 0] / sizes[sizes > 0, None]
    return np.asarray(np.minimum(voted, 1).min(axis=0)) if len(voted) else np.full(votes.shape[1], np.nan)


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
