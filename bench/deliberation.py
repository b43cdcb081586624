"""Votes to groups, consensus, representative statements and stability.

`python -m bench.deliberation` prints all lines but the largest; `--size panel`, `large` or `largest` only that one.
`--votes FILE` takes the resamples from a table `votes` of a run (`.ccai/<consultation>/tables/votes.parquet`) instead
of simulated votes. All sizes are measured and drawn by `bench.growth`.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from bench import delphi, red_dwarf, sizes
from bench.pairs import compare, seconds
from ccai_dagster.deliberation import consensus, groups, representative
from ccai_dagster.deliberation.votes import Procedure, VoteMatrix, vote_matrix
from sample.simulation import simulate_votes

DEFAULT = Procedure("default", "column_mean", None, "laplace", "product", 1)
PAPER = Procedure("paper", "zero", None, "none", "product", 1)
BOOTSTRAPS = 1_000
EQUAL = 1e-8
"""Results that are the same by definition differ by less."""


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


def _whole(votes: pl.DataFrame) -> None:
    """From votes to groups, consensus and representative statements."""
    matrix = _laid_out(votes)
    grouping = groups.group_participants(matrix, DEFAULT)
    consensus.gac_scores(matrix, grouping.labels, DEFAULT)
    representative.representative_statements(matrix, grouping.labels)


def panel(votes: pl.DataFrame) -> None:
    """Print the comparison with scikit-learn on a consultation of the size of CCAI's: 1,002 people, 275 statements."""
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA

    bare = _laid_out(votes).values

    def reference() -> None:
        positions = PCA(2).fit_transform(bare)
        for number in range(2, 6):
            KMeans(number, n_init=10, random_state=1).fit(positions)

    compare(
        f"deliberation, {votes.height:,} votes",
        lambda: _whole(votes),
        reference,
        "PCA and k-means of scikit-learn",
        0.5,
    )


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
    """Print how much quicker votes become groups, consensus and representative statements than in red-dwarf.

    Positions, and consensus with the same groups, must be the same to within `EQUAL`. Groups are compared by the
    adjusted Rand index: the two search for centres in different ways.
    """
    from sklearn.metrics import adjusted_rand_score

    votes = pl.read_parquet(size.path)
    folder = sizes.CACHE / "red-dwarf"
    red_dwarf.environment(folder)
    matrix = _laid_out(votes)
    grouping = groups.group_participants(matrix, DEFAULT)
    gac = consensus.gac_scores(matrix, grouping.labels, DEFAULT)["gac"].to_numpy()
    files = sizes.saved(size, votes, grouping.labels)
    own, other = [], []
    for _ in range(runs):
        own.append(seconds(lambda: _whole(votes)))
        other.append(red_dwarf.timed(folder, *files))
    theirs = np.load(files[-1])
    signs = np.sign((theirs["positions"] * grouping.map.positions).sum(axis=0))
    apart = float(np.abs(theirs["positions"] * signs - grouping.map.positions).max())
    differing = float(np.abs(theirs["consensus"] - gac).max())
    assert apart < EQUAL and differing < EQUAL, f"positions {apart:g} apart, consensus {differing:g}"
    ratio = statistics.median(each["seconds"] / ours for ours, each in zip(own, other, strict=True))
    stages = ", ".join(
        f"{stage} {statistics.median(run[stage] for run in other):.2f}"
        for stage in other[0]
        if stage not in ("seconds", "megabytes")
    )
    print(
        f"matrix, components, groups, consensus, representative statements of {votes.height:,} votes: "
        f"{statistics.median(own):.2f} s; {red_dwarf.PACKAGE}: "
        f"{statistics.median(run['seconds'] for run in other):.1f} s, {ratio:.0f} times as long (goal 40; median of "
        f"{runs} pairs; {stages}; {max(run['megabytes'] for run in other):,.0f} MB at most). Equal: positions to "
        f"{apart:.0e}, consensus to {differing:.0e}; groups: {int(grouping.labels.max()) + 1} and "
        f"{int(theirs['groups'].max()) + 1}, adjusted Rand index "
        f"{adjusted_rand_score(theirs['groups'], grouping.labels):.2f}",
        flush=True,
    )


def against_delphi(votes: pl.DataFrame, checkout: Path, runs: int = 5) -> None:
    """Print how much quicker votes become groups, consensus and representative statements than in Polis's own engine.

    Consensus with its groups must be the same. Its map is another: what was not voted on counts as a pass there, and
    the number of groups follows from the number of people.
    """
    sizes.CACHE.mkdir(exist_ok=True)
    saved, results = sizes.CACHE / "delphi.npz", sizes.CACHE / "delphi.results.npz"
    np.savez(saved, **{name: votes[name].to_numpy() for name in ("participant_id", "statement_id", "vote")})
    python = red_dwarf.environment(sizes.CACHE / "red-dwarf")
    pairs = [
        (seconds(lambda: _whole(votes)), delphi.timed(python, checkout, saved, results)["seconds"]) for _ in range(runs)
    ]
    theirs = np.load(results)
    gac = consensus.gac_scores(_laid_out(votes), theirs["groups"], DEFAULT)["gac"].to_numpy()
    differing = float(np.abs(theirs["consensus"] - gac).max())
    assert differing < EQUAL, f"consensus {differing:g} apart"
    print(
        f"the same of {votes.height:,} votes: {statistics.median(own for own, _ in pairs):.2f} s; Python engine of "
        f"Polis: {statistics.median(other for _, other in pairs):.1f} s, "
        f"{statistics.median(other / own for own, other in pairs):.0f} times as long (median of {runs} pairs). Equal: "
        f"consensus with its groups to {differing:.0e}",
        flush=True,
    )


def main(arguments: Sequence[str] = ()) -> None:
    """Print what the arguments ask for."""
    parser = argparse.ArgumentParser(prog="python -m bench.deliberation", description=__doc__)
    parser.add_argument("--size", choices=("panel", "large", "largest"))
    parser.add_argument("--votes", type=Path, metavar="FILE")
    parser.add_argument("--runs", type=int, default=1, help="pairs of runs with red-dwarf, one or two minutes each")
    parser.add_argument("--delphi", type=Path, metavar="CHECKOUT", help="of compdemocracy/polis, for its Python engine")
    asked = parser.parse_args(arguments)
    if asked.size in (None, "panel"):
        votes = pl.read_parquet(asked.votes) if asked.votes else simulated(1002, 275, (26, 43))
        panel(votes)
        for procedure in (DEFAULT, PAPER):
            resamples(votes, procedure)
        if asked.delphi:
            against_delphi(votes, asked.delphi)
    if asked.size in (None, "large"):
        sizes.report("from Parquet to statements", sizes.LARGE, 4, 1_000, runs=5)
        against_red_dwarf(sizes.LARGE, asked.runs)
    if asked.size == "largest":
        sizes.report("from Parquet to statements", sizes.LARGEST, 90, 6_000, runs=3)


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
