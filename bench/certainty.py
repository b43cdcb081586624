"""How sure groups are, at size: 200 shuffles for the test of structure and 1,000 redraws of participants.

`python -m bench.certainty` measures them on simulated votes of the size of CCAI's; `--size large` on two million votes,
`--votes FILE` on a table `votes` of a run. `--share 0.1` takes a tenth of both and tells the time of all; few
draws stay on one core.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import scipy.linalg
import scipy.sparse.linalg
import scipy.spatial.distance  # noqa: F401  loading libraries is not what is measured
import sklearn.cluster
import sklearn.metrics  # noqa: F401

from bench import sizes
from ccai_dagster.deliberation import groups, stability, structure
from ccai_dagster.deliberation.votes import Procedure, ProcedureName, vote_matrix

SHUFFLES, REDRAWS = 200, 1_000
PROCEDURES: tuple[ProcedureName, ...] = ("default", "polis", "paper")


def measure(path: Path, name: ProcedureName, share: float) -> None:
    """Print seconds of both, for all shuffles and redraws, and peak memory of all processes in MB as JSON."""
    import resource

    from joblib import cpu_count

    procedure = Procedure(name, "column_mean", None, "laplace", "geometric_mean", 1, 5)
    votes = pl.read_parquet(path)
    matrix = vote_matrix(votes, votes["participant_id"].unique(), votes["statement_id"].unique())
    del votes
    table = groups.opinion_groups(matrix, groups.group_participants(matrix, procedure))
    began = time.perf_counter()
    tested = structure.structure_test(matrix, procedure, round(SHUFFLES * share), 1)
    between = time.perf_counter()
    stability.consensus_stability(matrix, table, procedure, lambda gac, _, __: gac >= 0.775, round(REDRAWS * share), 1)
    ended = time.perf_counter()
    # A worker for each core, none of which has more than the largest: what they share is counted in each.
    own, worker = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    told = {
        "people": matrix.shape[0],
        "statements": matrix.shape[1],
        "votes": len(matrix.row),
        "structure": (between - began) / share,
        "redraws": (ended - between) / share,
        "megabytes": (own + worker * cpu_count()) / 1024,
        "verdict": structure.verdict(tested),
    }
    print(json.dumps(told))


def report(path: Path, name: ProcedureName, share: float, most_seconds: float, most_megabytes: float) -> None:
    """Print what a process of its own takes, beside what it should stay under."""
    command = [sys.executable, "-W", "ignore", "-m", "bench.certainty", "--measure", name, "--votes", str(path)]
    done = subprocess.run([*command, "--share", str(share)], check=True, capture_output=True)
    found = json.loads(done.stdout)
    seconds = found["structure"] + found["redraws"]
    print(
        f"{SHUFFLES} shuffles and {REDRAWS:,} redraws under {name}, {found['people']:,} x {found['statements']:,}, "
        f"{found['votes']:,} votes: {found['structure']:.1f} + {found['redraws']:.1f} s (goal {most_seconds:g} s, "
        f"ratio {seconds / most_seconds:.2f}), {found['megabytes']:,.0f} MB at most (goal {most_megabytes:,.0f}); "
        f"{found['verdict']}" + ("" if share == 1 else f" (from {share:.0%} of the draws)"),
        flush=True,
    )


def main(arguments: Sequence[str] = ()) -> None:
    """Print what the arguments ask for."""
    parser = argparse.ArgumentParser(prog="python -m bench.certainty", description=__doc__)
    parser.add_argument("--size", choices=("panel", "large"), default="panel")
    parser.add_argument("--votes", type=Path, metavar="FILE")
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--procedure", choices=PROCEDURES, help="by default all on a panel, `default` on the large one")
    parser.add_argument("--measure", choices=PROCEDURES, help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.measure:
        return measure(asked.votes, asked.measure, asked.share)
    if asked.size == "large":
        return report(sizes.LARGE.path, asked.procedure or "default", asked.share, 240, 2_000)
    with tempfile.TemporaryDirectory() as folder:
        path = asked.votes or Path(folder) / "votes.parquet"
        if asked.votes is None:
            from bench.deliberation import simulated

            simulated(1002, 275, (26, 43)).write_parquet(path)
        for name in [asked.procedure] if asked.procedure else PROCEDURES:
            report(path, name, asked.share, 40, 2_000)


if __name__ == "__main__":
    main(sys.argv[1:])
