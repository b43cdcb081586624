"""Which statement a participant should be shown next: Polis's comment priority.

The priority rises with how far a statement spreads opinions and how many agree, falls with how many pass, and
is high while few have voted. Drawing statements is up to whoever runs the conversation.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import polars as pl

from ccai_dagster.deliberation.consensus import group_counts
from ccai_dagster.deliberation.proportion_tests import smoothed_share
from ccai_dagster.deliberation.vote_matrix import VoteMatrix

META_PRIORITY = 49.0
"""Of a statement about the conversation itself: 7 squared (Polis, `conversation.clj`)."""
DENSE_CELLS = 300_000
"""Up to this many cells the components are computed exactly, beyond it by iteration."""
NOISE = 1e-9
"""A component whose singular value is below this share of the first one's is nothing but rounding."""


def vote_components(matrix: VoteMatrix, left_out: Collection[int] = ()) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean vote on each statement and the two principal components of the votes.

    As Polis (`pca.clj`, `conversation.clj`): a vote that was not cast is the mean of those cast on the
    statement, so that after centring it is 0 and only votes cast need to be looked at.

    Args:
        left_out: Ids of statements to take no account of; they keep their place, with mean and components 0.
            In Polis these are the ones moderated out or about the conversation itself.

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
    return np.sqrt(len(mean)) * np.abs(1 - mean) * np.sqrt((components**2).sum(axis=0))


def comment_priority(
    agree: np.ndarray, passes: np.ndarray, votes: np.ndarray, extremity: np.ndarray, is_meta: np.ndarray
) -> np.ndarray:
    """Return the priority of each statement (Polis, `conversation.clj`, priority-metric).

    priority = [(1 - (P + 1) / (S + 2)) (E + 1) (A + 1) / (S + 2) (1 + 8 2^(-S / 5))]^2 with A agreeing votes, P
    passes, S all votes and E the extremity; 49 for a statement about the conversation itself.

    Args:
        agree: Shape (statements,).
        passes: Same shape.
        votes: Same shape, passes included.
        extremity: Same shape, 0 or more.
        is_meta: Same shape, whether the statement is about the conversation itself.

    Returns:
        Shape (statements,), above 0. A statement nobody voted on has a priority too.
    """
    importance = (1 - smoothed_share(passes, votes)) * (extremity + 1) * smoothed_share(agree, votes)
    novelty = 1 + 8 * np.exp2(votes / -5)
    return np.where(is_meta, META_PRIORITY, (importance * novelty) ** 2)


def comment_priorities(
    matrix: VoteMatrix, extremity: np.ndarray, raw_statements: pl.DataFrame
) -> pl.DataFrame:
    """Return the table `comment_priorities`.

    Args:
        matrix: Votes of those who are in a group.
        extremity: Shape (statements,), in the order of the matrix.
        raw_statements: `statement_id`, `is_meta`; where the latter is null, the export does not tell, and the
            statement counts as one about the subject.
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
