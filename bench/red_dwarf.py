"""The same votes through red-dwarf-democracy 0.1.1, in an environment of its own.

Run as a script in that environment it times the package's own functions; nothing of this project is imported then.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import venv
from pathlib import Path

PACKAGE = "red-dwarf-democracy==0.1.1"


def environment(folder: Path) -> Path:
    """Return the Python of an environment with the package, made at the first call."""
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", PACKAGE],
            check=True,
            capture_output=True,
        )
        (folder / "complete").touch()
    return python


def timed(folder: Path, votes: Path) -> dict[str, float]:
    """Return seconds by stage for votes saved with `numpy.savez`, and peak memory in MB."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [environment(folder), "-W", "ignore", __file__, votes], check=True, capture_output=True, env=inherited
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _measure(path: str) -> None:
    import resource

    import numpy
    from reddwarf import utils

    votes = dict(numpy.load(path))
    marks, began = {}, time.perf_counter()

    def mark(stage: str) -> None:
        marks[stage] = time.perf_counter() - began - sum(marks.values())

    matrix = utils.generate_raw_matrix(votes=votes)
    mark("matrix")
    projected, _, _ = utils.run_pca(vote_matrix=matrix)
    projected = utils.scale_projected_data(projected_data=projected, vote_matrix=matrix)
    mark("imputation and PCA")
    number, _, _ = utils.find_optimal_k(projected_data=projected, random_state=1)
    mark("best number of groups")
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": sum(marks.values()), "groups": number, "megabytes": megabytes, **marks}))


if __name__ == "__main__":
    _measure(sys.argv[1])
