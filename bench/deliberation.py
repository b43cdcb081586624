"""Votes to groups, consensus, representative statements and stability, against scikit-learn on the bare matrix."""

from __future__ import annotations

import numpy as np
import polars as pl

from bench.pairs import compare
from ccai_dagster.deliberation import consensus, groups, representative, stability
from ccai_dagster.deliberation.procedure import Procedure
from ccai_dagster.deliberation.simulation import simulate_votes
from ccai_dagster.deliberation.vote_matrix import vote_matrix

PROCEDURE = Procedure("default", "column_mean", None, "laplace", "product", 1)
BOOTSTRAPS = 60


def simulated(participants: int, statements: int, typical: tuple[int, int]) -> pl.DataFrame:
    """Simulate a consultation with two groups."""
    generator = np.random.default_rng(0)
    parameters = pl.DataFrame(
        {
            "statement_id": range(statements),
            "appeal": generator.normal(0.8, 1.0, statements),
            "direction_x": generator.normal(0.0, 1.0, statements),
            "direction_y": generator.normal(0.0, 0.4, statements),
        }
    )
    half = participants // 2
    known = pl.DataFrame(
        {"group": ["A", "B"], "participants": [half, participants - half], "x": [-1.0, 1.0], "y": [0.0, 0.0],
         "spread": [0.6, 0.6]}
    )  # fmt: skip
    return simulate_votes(parameters, known, 1, typical_votes=typical)


def main() -> None:
    """Print the comparison on a consultation of the size of CCAI's: 1,002 people, 275 statements."""
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA

    votes = simulated(1002, 275, (26, 43))
    people, statements = votes["participant_id"].unique(), votes["statement_id"].unique()
    bare = vote_matrix(votes, people, statements).values

    def whole() -> None:
        matrix = vote_matrix(votes, people, statements)
        grouping = groups.group_participants(matrix, PROCEDURE)
        consensus.gac_scores(matrix, grouping.labels, PROCEDURE)
        representative.representative_statements(matrix, grouping.labels)
        stability.consensus_stability(matrix, grouping, PROCEDURE, lambda gac: gac > 0.5, BOOTSTRAPS, 1)

    def reference() -> None:
        positions = PCA(2).fit_transform(bare)
        for number in range(2, 6):
            KMeans(number, n_init=10, random_state=1).fit(positions)

    told = f"PCA and k-means of scikit-learn once, without the {BOOTSTRAPS} resamples"
    compare(f"deliberation, {votes.height:,} votes", whole, reference, told)
