"""Votes to groups, consensus, representative statements and stability.

`python -m bench.deliberation` prints all lines but the largest; `--size panel`, `large` or `largest` only that one,
`--plot FILE` measures all sizes and draws them. `--votes FILE` takes the resamples from a table `votes` of a run
(`.ccai/<consultation>/tables/votes.parquet`) instead of simulated votes.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from bench import red_dwarf, sizes
from bench.pairs import compare, seconds
from ccai_dagster.deliberation import consensus, groups, representative
from ccai_dagster.deliberation.votes import Procedure, VoteMatrix, vote_matrix
from sample.simulation import simulate_votes

DEFAULT = Procedure("default", "column_mean", None, "laplace", "product", 1)
PAPER = Procedure("paper", "zero", None, "none", "product", 1)
BOOTSTRAPS = 1_000


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
        {
            "group": ["A", "B"],
            "participants": [half, participants - half],
            "x": [-1.0, 1.0],
            "y": [0.0, 0.0],
            "spread": [0.6, 0.6],
        }
    )
    return simulate_votes(parameters, known, 1, typical_votes=typical)


def _laid_out(votes: pl.DataFrame) -> VoteMatrix:
    return vote_matrix(votes, votes["participant_id"].unique(), votes["statement_id"].unique())


def panel(votes: pl.DataFrame) -> None:
    """Print the comparison with scikit-learn on a consultation of the size of CCAI's: 1,002 people, 275 statements."""
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA

    bare = _laid_out(votes).values

    def whole() -> None:
        matrix = _laid_out(votes)
        grouping = groups.group_participants(matrix, DEFAULT)
        consensus.gac_scores(matrix, grouping.labels, DEFAULT)
        representative.representative_statements(matrix, grouping.labels)

    def reference() -> None:
        positions = PCA(2).fit_transform(bare)
        for number in range(2, 6):
            KMeans(number, n_init=10, random_state=1).fit(positions)

    compare(f"deliberation, {votes.height:,} votes", whole, reference, "PCA and k-means of scikit-learn")


def resamples(votes: pl.DataFrame, procedure: Procedure) -> None:
    """Print the time of 1,000 resamples of participants, each grouped and scored anew."""
    matrix = _laid_out(votes)
    people = matrix.shape[0]
    grouping = groups.group_participants(matrix, procedure)
    start = None
    if procedure.name == "paper":
        start = groups.base_clusters(grouping.map.positions, np.ones(people), procedure.seed)[1]
    generator = np.random.default_rng(0)

    def once() -> None:
        drawn = generator.multinomial(people, np.full(people, 1 / people)).astype(float)
        again = groups.group_participants(matrix, procedure, drawn, start)
        counts = consensus.group_counts(matrix, again.labels, drawn)
        consensus.group_aware_consensus(counts.agree, counts.votes, procedure)

    taken = [seconds(once) for _ in range(BOOTSTRAPS)]
    print(
        f"{BOOTSTRAPS:,} resamples with new groups under {procedure.name}, {matrix.shape[0]:,} x {matrix.shape[1]}, "
        f"{len(matrix.row):,} votes: {sum(taken):.1f} s (goal 60 s, ratio {sum(taken) / 60:.2f}); "
        f"{1000 * statistics.median(taken):.1f} ms each (median)",
        flush=True,
    )


def against_red_dwarf(size: sizes.Size, runs: int) -> None:
    """Print how much quicker matrix, imputation, components and number of groups are than in red-dwarf."""
    votes = pl.read_parquet(size.path)
    saved = size.path.with_suffix(".npz")
    np.savez(saved, **{name: votes[name].to_numpy() for name in votes.columns})
    folder = sizes.CACHE / "red-dwarf"
    red_dwarf.environment(folder)
    own, other = [], []
    for _ in range(runs):
        own.append(seconds(lambda: groups.group_participants(_laid_out(votes), DEFAULT)))
        other.append(red_dwarf.timed(folder, saved)["seconds"])
    ratio = statistics.median(theirs / ours for ours, theirs in zip(own, other, strict=True))
    print(
        f"matrix, imputation, components, number of groups of {votes.height:,} votes: {statistics.median(own):.2f} s; "
        f"{red_dwarf.PACKAGE}: {statistics.median(other):.1f} s, {ratio:.0f} times as long "
        f"(goal 20; median of {runs})",
        flush=True,
    )


def main(arguments: Sequence[str] = ()) -> None:
    """Print what the arguments ask for."""
    parser = argparse.ArgumentParser(prog="python -m bench.deliberation", description=__doc__)
    parser.add_argument("--size", choices=("panel", "large", "largest"))
    parser.add_argument("--plot", type=Path, metavar="FILE")
    parser.add_argument("--votes", type=Path, metavar="FILE")
    parser.add_argument("--runs", type=int, default=1, help="runs of red-dwarf, two minutes each")
    asked = parser.parse_args(arguments)
    if asked.plot:
        return sizes.plot(asked.plot)
    if asked.size in (None, "panel"):
        votes = pl.read_parquet(asked.votes) if asked.votes else simulated(1002, 275, (26, 43))
        panel(votes)
        for procedure in (DEFAULT, PAPER):
            resamples(votes, procedure)
    if asked.size in (None, "large"):
        sizes.report("from Parquet to statements", sizes.LARGE, 4, 1_000, runs=5)
        against_red_dwarf(sizes.LARGE, asked.runs)
    if asked.size == "largest":
        sizes.report("from Parquet to statements", sizes.LARGEST, 90, 6_000, runs=3)


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
