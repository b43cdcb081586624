"""Statements that set a group apart from everybody else, by two z-tests (Polis, `repness.clj`)."""

from __future__ import annotations

import numpy as np
import polars as pl

from ccai_dagster.contracts import REPRESENTATIVE_STATEMENTS
from ccai_dagster.deliberation.consensus import group_counts
from ccai_dagster.deliberation.vote_matrix import VoteMatrix

Z_90 = 1.2816
"""One-tailed 90 % quantile of the standard normal distribution."""
STATEMENTS_PER_GROUP = 5


def proportion_z(successes: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Return the z statistic of a share against one half, with one success added.

    z = 2 sqrt(n + 1) ((s + 1) / (n + 1) - 1/2)
    """
    return 2 * np.sqrt(total + 1) * ((successes + 1) / (total + 1) - 0.5)


def two_proportions_z(
    inside: np.ndarray, inside_total: np.ndarray, outside: np.ndarray, outside_total: np.ndarray
) -> np.ndarray:
    """Return the pooled z statistic of two shares, with one added to all four counts; 0 if all agree."""
    first, second = (inside + 1) / (inside_total + 1), (outside + 1) / (outside_total + 1)
    pooled = (inside + outside + 2) / (inside_total + outside_total + 2)
    error = np.sqrt(pooled * (1 - pooled) * (1 / (inside_total + 1) + 1 / (outside_total + 1)))
    return np.divide(first - second, error, out=np.zeros_like(first), where=error > 0)


def representative_statements(matrix: VoteMatrix, labels: np.ndarray) -> pl.DataFrame:
    """Return the table `representative_statements`: up to five statements a group.

    A statement represents a group on the side (agree or disagree) where the group's share exceeds one half
    and the share of everybody else, both at one-tailed 90 %. Statements are ranked by the product of ratio,
    its z, share and its z. Where none passes, the one with the highest product stands alone.
    Shares are (n + 1) / (votes + 2), passes counted as votes.
    """
    rows: list[dict[str, object]] = []
    counts = group_counts(matrix, labels)
    everybody = counts.votes.sum(axis=0)
    for group in np.unique(labels):
        votes = counts.votes[group]
        sides = {}
        for side, counted in (("agree", counts.agree), ("disagree", counts.disagree)):
            inside = counted[group]
            outside = counted.sum(axis=0) - inside
            share = (inside + 1) / (votes + 2)
            other = (outside + 1) / (everybody - votes + 2)
            sides[side] = {
                "n_side": inside,
                "probability": share,
                "ratio": share / other,
                "ratio_z": two_proportions_z(inside, votes, outside, everybody - votes),
                "probability_z": proportion_z(inside, votes),
            }
        rows += _ranked(int(group), matrix.statement_ids, votes, sides)
    return REPRESENTATIVE_STATEMENTS.build(rows)


def _ranked(
    group: int, statement_ids: np.ndarray, votes: np.ndarray, sides: dict[str, dict[str, np.ndarray]]
) -> list[dict[str, object]]:
    agree_wins = sides["agree"]["ratio_z"] > sides["disagree"]["ratio_z"]
    best = {
        name: np.where(agree_wins, sides["agree"][name], sides["disagree"][name]) for name in sides["agree"]
    }
    product = best["ratio"] * best["ratio_z"] * best["probability"] * best["probability_z"]
    passing = (best["ratio_z"] > Z_90) & (best["probability_z"] > Z_90)
    order = np.lexsort((statement_ids, -product))
    chosen = [place for place in order if passing[place]][:STATEMENTS_PER_GROUP] or list(order[:1])
    return [
        {
            "group_id": group,
            "statement_id": int(statement_ids[place]),
            "rank": rank,
            "side": "agree" if agree_wins[place] else "disagree",
            "n_side": int(best["n_side"][place]),
            "n_votes": int(votes[place]),
            **{
                name: float(best[name][place])
                for name in ("probability", "ratio", "ratio_z", "probability_z")
            },
        }
        for rank, place in enumerate(chosen, start=1)
    ]
