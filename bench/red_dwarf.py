"""The same votes through red-dwarf 0.4, in an environment of its own.

Run as a script in that environment it times the package's own functions and saves what they give; nothing of this
project is imported then.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import venv
from pathlib import Path

import numpy as np

PACKAGE = "red-dwarf==0.4.0"
FOR_DELPHI = "natsort==8.4.0"
"""What the Python engine of Polis needs that the package does not bring; see `delphi`."""


def environment(folder: Path) -> Path:
    """Return the Python of an environment with the package, made at the first call."""
    python, complete = folder / "bin" / "python", folder / PACKAGE
    if not complete.exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", PACKAGE, FOR_DELPHI],
            check=True,
            capture_output=True,
        )
        complete.touch()
    return python


def timed(folder: Path, votes: Path, labels: Path, results: Path) -> dict[str, float]:
    """Return seconds by stage, and peak memory in MB.

    Args:
        folder: Of the environment.
        votes: Saved with `numpy.savez`, by the names of their columns.
        labels: The groups to compute consensus with, saved with `numpy.save`, in ascending order of participants.
        results: Where positions, groups and consensus are saved.
    """
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [environment(folder), "-W", "ignore", __file__, votes, labels, results]
    done = subprocess.run(command, check=True, capture_output=True, env=inherited)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _measure(path: str, given: str, results: str) -> None:
    import resource

    from reddwarf.utils.clusterer.base import run_clusterer
    from reddwarf.utils.matrix import generate_raw_matrix
    from reddwarf.utils.reducer.base import run_reducer
    from reddwarf.utils.stats import calculate_comment_statistics

    votes = dict(np.load(path))
    marks: dict[str, float] = {}
    began = time.perf_counter()

    def mark(stage: str) -> None:
        marks[stage] = time.perf_counter() - began - sum(marks.values())

    matrix = generate_raw_matrix(votes=votes)
    mark("matrix")
    positions, _, _ = run_reducer(vote_matrix=matrix.values, reducer="pca", random_state=1)
    mark("imputation and components")
    groups = run_clusterer(X_participants_clusterable=positions, max_group_count=5, random_state=1).labels_
    mark("number of groups")
    calculate_comment_statistics(vote_matrix=matrix, cluster_labels=groups)
    mark("consensus and representative statements")
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    consensus = calculate_comment_statistics(vote_matrix=matrix, cluster_labels=np.load(given))[-1][0]
    np.savez(results, positions=positions, groups=groups, consensus=consensus)
    print(json.dumps({"seconds": sum(marks.values()), "megabytes": megabytes, **marks}))


if __name__ == "__main__":
    _measure(*sys.argv[1:])
