"""Statements that set a group apart from everybody else, chosen as Polis chooses them (`repness.clj`).

A group is compared with all other groups together; the tests themselves are in `proportion_tests`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import polars as pl

from ccai_dagster.contracts import REPRESENTATIVE_STATEMENTS
from ccai_dagster.deliberation.consensus import group_counts
from ccai_dagster.deliberation.proportion_tests import (
    Z_90,
    proportion_z,
    smoothed_share,
    two_proportions_z,
)
from ccai_dagster.deliberation.vote_matrix import VoteMatrix

STATEMENTS_PER_GROUP = 5


@dataclass(frozen=True)
class SideStatistics:
    """How much a group takes one side of each statement, by itself and against everybody else.

    All of shape (groups, statements), or (statements,) for one group.

    Attributes:
        n_side: Votes of the group on that side.
        probability: Smoothed share of the group on that side, p.
        probability_z: z statistic of the share against one half.
        ratio: p divided by the smoothed share of everybody else.
        ratio_z: z statistic of the difference to everybody else.
    """

    n_side: np.ndarray
    probability: np.ndarray
    probability_z: np.ndarray
    ratio: np.ndarray
    ratio_z: np.ndarray

    @property
    def passing(self) -> np.ndarray:
        """Whether both z statistics exceed the one-tailed 90 % quantile."""
        return (self.ratio_z > Z_90) & (self.probability_z > Z_90)

    @property
    def product(self) -> np.ndarray:
        """What statements are ranked by: ratio, its z, share and its z multiplied."""
        return self.ratio * self.ratio_z * self.probability * self.probability_z

    def of(self, group: int) -> SideStatistics:
        """Those of one group."""
        return SideStatistics(*(getattr(self, each.name)[group] for each in fields(self)))


def side_statistics(n_side: np.ndarray, votes: np.ndarray) -> SideStatistics:
    """Compute the statistics of one side (Polis, `repness.clj`, comment-stats and add-comparitive-stats).

    Args:
        n_side: Votes of each group on that side, shape (groups, statements).
        votes: All votes of each group, passes included, same shape.
    """
    others, others_votes = n_side.sum(axis=0) - n_side, votes.sum(axis=0) - votes
    probability = smoothed_share(n_side, votes)
    return SideStatistics(
        n_side,
        probability,
        proportion_z(n_side, votes),
        probability / smoothed_share(others, others_votes),
        two_proportions_z(n_side, votes, others, others_votes),
    )


def representative_statements(matrix: VoteMatrix, labels: np.ndarray) -> pl.DataFrame:
    """Return the table `representative_statements`: up to five statements a group.

    As Polis (`repness.clj`, select-rep-comments): a statement is eligible if on one side (agree or disagree)
    the group's share exceeds one half and the share of everybody else, both at one-tailed 90 %. The side shown
    is the one with the larger z against everybody else, disagree on a tie. The statement that the group agrees
    with best comes first, eligible or not; the others follow by the product of ratio, its z, share and its z;
    five are taken, then those agreed with are put before those disagreed with. Where nothing is eligible, the
    one that the group agrees with best stands alone, or without such a one the one with the largest z against
    everybody else. Ties go to the lower id.

    Three departures from the engine: the best agreed statement is put down as agreed with if anybody in the
    group agrees, as Polis's pages show it, whereas the engine notes the side with the larger z there too; a
    statement on which nobody in the group took a side is never shown, which in the engine holds for the best
    agreed one only; and z statistics keep double precision.

    Args:
        matrix: Votes of those who are in a group.
        labels: Shape (participants,), group of each.

    Returns:
        At least one row for every group that took a side on anything; none if there is one group only, for
        then there is nobody to differ from. For the same reason `ratio` and `ratio_z` are null where nobody
        outside the group voted on the statement.
    """
    found = np.unique(labels)
    if len(found) < 2:
        return REPRESENTATIVE_STATEMENTS.empty()
    counts = group_counts(matrix, labels)
    agree, disagree = (side_statistics(side, counts.votes) for side in (counts.agree, counts.disagree))
    others_voted = counts.votes.sum(axis=0) - counts.votes > 0
    rows: list[dict[str, object]] = []
    for group in found.tolist():
        for_it, against_it = agree.of(group), disagree.of(group)
        agrees = for_it.ratio_z > against_it.ratio_z
        best_agreed = _best_agreed(for_it, against_it)
        for rank, place in enumerate(_chosen(for_it, against_it, best_agreed), start=1):
            agreed = bool(agrees[place] or (place == best_agreed and for_it.n_side[place] > 0))
            shown = for_it if agreed else against_it
            compared = bool(others_voted[group, place])
            rows.append(
                {
                    "group_id": group,
                    "statement_id": int(matrix.statement_ids[place]),
                    "rank": rank,
                    "side": "agree" if agreed else "disagree",
                    "best_agreed": place == best_agreed,
                    "eligible": bool(for_it.passing[place] or against_it.passing[place]),
                    "n_side": int(shown.n_side[place]),
                    "n_votes": int(counts.votes[group, place]),
                    "probability": float(shown.probability[place]),
                    "probability_z": float(shown.probability_z[place]),
                    "ratio": float(shown.ratio[place]) if compared else None,
                    "ratio_z": float(shown.ratio_z[place]) if compared else None,
                }
            )
    return REPRESENTATIVE_STATEMENTS.build(rows)


def _chosen(agree: SideStatistics, disagree: SideStatistics, best_agreed: int | None) -> list[int]:
    """Places of the statements that represent a group, in the order in which they are shown."""
    head = [] if best_agreed is None else [best_agreed]
    eligible = np.flatnonzero(agree.passing | disagree.passing)
    if not len(eligible):
        sided = np.flatnonzero(agree.n_side + disagree.n_side > 0)
        if head or not len(sided):
            return head
        return [int(sided[np.maximum(agree.ratio_z, disagree.ratio_z)[sided].argmax()])]
    agrees = agree.ratio_z > disagree.ratio_z
    product = np.where(agrees, agree.product, disagree.product)
    ranked = eligible[np.argsort(-product[eligible], kind="stable")].tolist()
    shown = (head + [place for place in ranked if place != best_agreed])[:STATEMENTS_PER_GROUP]
    return [place for place in shown if agrees[place]] + [place for place in shown if not agrees[place]]


def _best_agreed(agree: SideStatistics, disagree: SideStatistics) -> int | None:
    """Place of the statement that a group agrees with best (Polis, `repness.clj`, beats-best-agr?).

    Statements are taken by id. The first is one whose share is above one half at one-tailed 90 %, or is both
    above one half and above that of everybody else. It gives way to one with a larger product if its own share
    is above that of everybody else, and otherwise to one with a larger share times z. The outcome may depend
    on the order, and a product of two negative z statistics counts as positive: so it is in Polis.
    """
    ratio, share = agree.ratio.tolist(), agree.probability.tolist()
    z, product = agree.probability_z.tolist(), agree.product.tolist()
    best: int | None = None
    for place in np.flatnonzero(agree.n_side + disagree.n_side > 0).tolist():
        if best is None:
            better = z[place] > Z_90 or (ratio[place] > 1 and share[place] > 0.5)
        elif ratio[best] > 1:
            better = product[place] > product[best]
        else:
            better = share[place] * z[place] > share[best] * z[best]
        if better:
            best = place
    return best
