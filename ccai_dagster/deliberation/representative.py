"""Statements that stand out, chosen as Polis chooses them (`repness.clj`, `conversation.clj`).

Three lists: the statements that set a group apart from all other groups together; those that the public as a whole
agrees or disagrees with, whatever the groups; and the order in which statements should be shown to participants next.
That priority rises with how far a statement spreads opinions and how many agree, falls with how many pass, and is high
while few have voted; drawing statements by it is up to whoever runs the conversation.

Passes count as votes throughout.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields

import numpy as np
import polars as pl

from ccai_dagster.contracts import CONSENSUS_STATEMENTS, REPRESENTATIVE_STATEMENTS
from ccai_dagster.deliberation.consensus import GroupVotes, group_counts
from ccai_dagster.deliberation.drawing import one_thread
from ccai_dagster.deliberation.votes import VoteMatrix

Z_90 = 1.2816
"""One-tailed 90 % quantile of the standard normal distribution, to the digits of Polis (`stats.clj`)."""
STATEMENTS_PER_GROUP = 5
STATEMENTS_PER_SIDE = 5
META_PRIORITY = 49.0
"""Of a statement about the people who vote: 7 squared (Polis, `conversation.clj`)."""
DENSE_CELLS = 300_000
"""Up to this many cells the components are computed exactly, beyond it by iteration."""
NOISE = 1e-9
"""A component whose singular value is below this share of the first one's is nothing but rounding."""


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
        As `representative_of_counts`.
    """
    return representative_of_counts(GroupVotes.of(matrix, labels))


def representative_of_counts(given: GroupVotes) -> pl.DataFrame:
    """Return the table `representative_statements`, see there, from how each group voted.

    Returns:
        At least one row for every group that took a side on anything; none if there is one group only, for
        then there is nobody to differ from. For the same reason `ratio` and `ratio_z` are null where nobody
        outside the group voted on the statement.
    """
    counts = given.counts
    found = np.arange(len(counts.votes)) if given.sizes is None else np.flatnonzero(given.sizes)
    if len(found) < 2:
        return REPRESENTATIVE_STATEMENTS.empty()
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
                    "statement_id": int(given.statement_ids[place]),
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


def consensus_statements(matrix: VoteMatrix) -> pl.DataFrame:
    """Return the table `consensus_statements`: up to five statements agreed with, up to five disagreed with.

    A statement is one of a side if its smoothed share p = (n + 1) / (votes + 2) exceeds one half, and its z
    statistic against one half exceeds 1.2816 (one-tailed 90 %). Statements of a side are ranked by p z, the
    lower id first on a tie (Polis, `repness.clj`, select-consensus-comments).

    Args:
        matrix: Votes of the whole public, not only of those in a group.

    Returns:
        No rows on a side that has no such statement.
    """
    return consensus_of_counts(GroupVotes.of(matrix, np.zeros(len(matrix.participant_ids), dtype=np.int64)))


def consensus_of_counts(given: GroupVotes) -> pl.DataFrame:
    """Return the table `consensus_statements`, see there, from how each group voted: all groups together."""
    votes = given.counts.votes.sum(axis=0)
    rows: list[dict[str, object]] = []
    for side, n_side in (("agree", given.counts.agree.sum(axis=0)), ("disagree", given.counts.disagree.sum(axis=0))):
        share, z = smoothed_share(n_side, votes), proportion_z(n_side, votes)
        found = np.flatnonzero((share > 0.5) & (z > Z_90))
        ranked = found[np.argsort(-(share * z)[found], kind="stable")][:STATEMENTS_PER_SIDE]
        rows += [
            {
                "side": side,
                "statement_id": int(given.statement_ids[place]),
                "rank": rank,
                "n_side": int(n_side[place]),
                "n_votes": int(votes[place]),
                "probability": float(share[place]),
                "probability_z": float(z[place]),
            }
            for rank, place in enumerate(ranked, start=1)
        ]
    return CONSENSUS_STATEMENTS.build(rows)


def still_asked(
    statements: pl.DataFrame, raw_statements: pl.DataFrame, set_apart: Collection[int]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the statements that people go on to be asked, those about themselves among them.

    Args:
        statements: Those that moderation let in.
        raw_statements: RAW_STATEMENTS.
        set_apart: Ids of those that moderation set apart as metadata.

    Returns:
        `statement_id` and `text` of these statements; and RAW_STATEMENTS, marked as moderation says.
    """
    apart = pl.col("statement_id").is_in(list(set_apart))
    shown = pl.concat([each.select("statement_id", "text") for each in (statements, raw_statements.filter(apart))])
    return shown, raw_statements.with_columns(is_meta=pl.when(apart).then(True).otherwise("is_meta"))


def priorities_of_votes(matrix: VoteMatrix, raw_statements: pl.DataFrame) -> pl.DataFrame:
    """Return the table `comment_priorities`, see there, with the extremity that the votes themselves show."""
    about_people = raw_statements.filter("is_meta")["statement_id"].to_list()
    cast = len(matrix.participant_ids) > 0
    extremity = (
        statement_extremity(*vote_components(matrix, about_people)) if cast else np.zeros(len(matrix.statement_ids))
    )
    return comment_priorities(matrix, extremity, raw_statements)


def comment_priorities(matrix: VoteMatrix, extremity: np.ndarray, raw_statements: pl.DataFrame) -> pl.DataFrame:
    """Return the table `comment_priorities`.

    Args:
        matrix: Votes of those who are in a group.
        extremity: Shape (statements,), in the order of the matrix.
        raw_statements: `statement_id`, `is_meta`; where the latter is null, nobody says, and the statement counts
            as one about the subject.
    """
    counts = group_counts(matrix, np.zeros(len(matrix.participant_ids), dtype=np.int64), groups=1)
    agree, votes = counts.agree[0], counts.votes[0]
    # The last digits of components depend on the order of participants.
    extremity = np.round(extremity, 9)
    passes = votes - agree - counts.disagree[0]
    table = pl.DataFrame(
        {
            "statement_id": matrix.statement_ids.astype(np.int64),
            "n_votes": votes.astype(np.int64),
            "n_agree": agree.astype(np.int64),
            "n_pass": passes.astype(np.int64),
            "extremity": extremity,
        }
    ).join(
        raw_statements.select("statement_id", "is_meta"),
        on="statement_id",
        how="left",
        validate="1:1",
        maintain_order="left",
    )
    is_meta = table["is_meta"].fill_null(False).to_numpy()
    return table.with_columns(priority=comment_priority(agree, passes, votes, extremity, is_meta))


@one_thread()
def vote_components(matrix: VoteMatrix, left_out: Collection[int] = ()) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean vote on each statement and the two principal components of the votes.

    As Polis (`pca.clj`, `conversation.clj`): a vote that was not cast is the mean of those cast on the
    statement, so that after centring it is 0 and only votes cast need to be looked at.

    Args:
        left_out: Ids of statements to take no account of; they keep their place, with mean and components 0.
            In Polis these are the ones moderated out or about the people who vote.

    Returns:
        Means of shape (statements,), 0 where nobody voted; components of shape (2, statements), each of length
        one, of arbitrary sign, or all zero where the votes have no further variance.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.linalg import svds

    people, statements = matrix.shape
    counted = ~np.isin(matrix.statement_ids, list(left_out))[matrix.column]
    row, column, vote = matrix.row[counted], matrix.column[counted], matrix.vote[counted]
    seen = np.maximum(np.bincount(column, minlength=statements), 1)
    mean = np.bincount(column, weights=vote, minlength=statements) / seen
    centred = csr_array((vote - mean[column], (row, column)), shape=(people, statements))
    components = np.zeros((2, statements))
    if not np.any(centred.data):
        return mean, components
    if people * statements <= DENSE_CELLS or min(people, statements) <= 2:
        _, values, vectors = np.linalg.svd(centred.toarray(), full_matrices=False)
    else:
        start = np.random.default_rng(0).standard_normal(min(people, statements))
        _, values, vectors = svds(centred, k=2, v0=start)
        values, vectors = values[::-1], vectors[::-1]
    found = values[:2] > NOISE * values[0]
    components[: len(found)][found] = vectors[:2][found]
    components[:, np.bincount(column, minlength=statements) == 0] = 0
    return mean, components


def statement_extremity(mean: np.ndarray, components: np.ndarray) -> np.ndarray:
    """Return how far from the middle one agreeing vote on each statement would place a participant.

    This is the length of the projection of a participant who only agrees with the statement, scaled for
    sparsity as every participant's: sqrt(statements) (1 - mean) |components| (Polis, `pca.clj`,
    pca-project-cmnts, whose agreeing vote is -1 and whose mean has the other sign).

    Args:
        mean: Mean vote on each statement, shape (statements,), in [-1, 1], agree being +1.
        components: Shape (2, statements), each of length one.

    Returns:
        Shape (statements,), 0 or more; the sign of a component does not matter.
    """
    return np.asarray(np.sqrt(len(mean)) * np.abs(1 - mean) * np.sqrt((components**2).sum(axis=0)))


def comment_priority(
    agree: np.ndarray, passes: np.ndarray, votes: np.ndarray, extremity: np.ndarray, is_meta: np.ndarray
) -> np.ndarray:
    """Return the priority of each statement (Polis, `conversation.clj`, priority-metric).

    priority = [(1 - (P + 1) / (S + 2)) (E + 1) (A + 1) / (S + 2) (1 + 8 2^(-S / 5))]^2 with A agreeing votes, P
    passes, S all votes and E the extremity; 49 for a statement about the people who vote.

    Args:
        agree: Shape (statements,).
        passes: Same shape.
        votes: Same shape, passes included.
        extremity: Same shape, 0 or more.
        is_meta: Same shape, whether the statement is about the people who vote.

    Returns:
        Shape (statements,), above 0. A statement nobody voted on has a priority too.
    """
    importance = (1 - smoothed_share(passes, votes)) * (extremity + 1) * smoothed_share(agree, votes)
    novelty = 1 + 8 * np.exp2(votes / -5)
    return np.where(is_meta, META_PRIORITY, (importance * novelty) ** 2)


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
        return np.asarray(self.ratio * self.ratio_z * self.probability * self.probability_z)

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


def smoothed_share(successes: np.ndarray, votes: np.ndarray) -> np.ndarray:
    """Return (s + 1) / (n + 2), the share with one vote for and one against added (Polis, `repness.clj`).

    Args:
        successes: Votes on the side in question, 0 or more.
        votes: All votes, at least as many.

    Returns:
        Same shape, strictly between 0 and 1; 1/2 where nobody voted.
    """
    return np.asarray((successes + 1) / (votes + 2))


def proportion_z(successes: np.ndarray, votes: np.ndarray) -> np.ndarray:
    """Return the z statistic of a share against one half (Polis, `stats.clj`, prop-test).

    z = 2 sqrt(n + 1) ((s + 1) / (n + 1) - 1/2), one success being added. It is 1 where nobody voted.

    Args:
        successes: Votes on the side in question, 0 or more.
        votes: All votes, at least as many.
    """
    return np.asarray(2 * np.sqrt(votes + 1) * ((successes + 1) / (votes + 1) - 0.5))


def two_proportions_z(
    inside: np.ndarray, inside_votes: np.ndarray, outside: np.ndarray, outside_votes: np.ndarray
) -> np.ndarray:
    """Return the pooled z statistic of the difference of two shares (Polis, `stats.clj`, two-prop-test).

    z = (p1 - p2) / sqrt(p (1 - p) (1 / n1 + 1 / n2)) with p the share of both together, one being added to all
    four counts beforehand.

    Args:
        inside: Votes on the side in question within the group.
        inside_votes: All votes of the group.
        outside: Votes on that side by everybody else.
        outside_votes: All votes of everybody else.

    Returns:
        Same shape; 0 where every vote is on that side.
    """
    first, second = (inside + 1) / (inside_votes + 1), (outside + 1) / (outside_votes + 1)
    pooled = (inside + outside + 2) / (inside_votes + outside_votes + 2)
    error = np.sqrt(pooled * (1 - pooled) * (1 / (inside_votes + 1) + 1 / (outside_votes + 1)))
    return np.asarray(np.divide(first - second, error, out=np.zeros_like(error), where=error > 0))
