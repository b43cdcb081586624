"""Statements that the public as a whole agrees or disagrees with, whatever the groups (Polis, `repness.clj`)."""

from __future__ import annotations

import numpy as np
import polars as pl

from ccai_dagster.contracts import CONSENSUS_STATEMENTS
from ccai_dagster.deliberation.consensus import group_counts
from ccai_dagster.deliberation.proportion_tests import Z_90, proportion_z, smoothed_share
from ccai_dagster.deliberation.vote_matrix import VoteMatrix

STATEMENTS_PER_SIDE = 5


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
    counts = group_counts(matrix, np.zeros(len(matrix.participant_ids), dtype=np.int64), groups=1)
    votes = counts.votes[0]
    rows: list[dict[str, object]] = []
    for side, n_side in (("agree", counts.agree[0]), ("disagree", counts.disagree[0])):
        share, z = smoothed_share(n_side, votes), proportion_z(n_side, votes)
        found = np.flatnonzero((share > 0.5) & (z > Z_90))
        ranked = found[np.argsort(-(share * z)[found], kind="stable")][:STATEMENTS_PER_SIDE]
        rows += [
            {
                "side": side,
                "statement_id": int(matrix.statement_ids[place]),
                "rank": rank,
                "n_side": int(n_side[place]),
                "n_votes": int(votes[place]),
                "probability": float(share[place]),
                "probability_z": float(z[place]),
            }
            for rank, place in enumerate(ranked, start=1)
        ]
    return CONSENSUS_STATEMENTS.build(rows)
