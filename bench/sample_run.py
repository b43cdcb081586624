"""`make run` beside the code as it was: the whole embedded consultation in a new home, by wall, CPU and stage.

`python -m bench.sample_run [CHECKOUT]` runs both in turn. CHECKOUT is a checkout of any state of the code; without it
the project's history gives that of `BEFORE`. Models are those in the cache of `CCAI_HOME`, so that nothing is fetched.
It takes half an hour on two quiet cores, so `python -m bench` leaves it out.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from bench.new_votes import BEFORE, HERE, unpack
from bench.pairs import cpu_seconds, seconds
from ccai_dagster.core.home import home_root

SHOWN = 2.0
"""Stages that took less than so many seconds on either side are not printed."""
STEPS = """
SELECT step_key, sum(86400 * julianday(timestamp) * iif(dagster_event_type = 'STEP_START', -1, 1))
FROM event_logs WHERE dagster_event_type IN ('STEP_START', 'STEP_SUCCESS') GROUP BY step_key
"""


def stage_seconds(home: Path) -> Counter[str]:
    """Return wall seconds of each kind of asset, all arms together, from Dagster's record of the runs in a home."""
    found: Counter[str] = Counter()
    for path in home.rglob("history/runs/*-*.db"):
        with closing(sqlite3.connect(path)) as database:
            for step, lasted in database.execute(STEPS):
                found[step.rpartition("__")[2]] += lasted
    return found


def whole_run(code: Path, select: Sequence[str]) -> tuple[float, float, Counter[str]]:
    """Return wall and CPU seconds of `ccai run` of a checkout, on its own sample in a new home, and its stages'.

    Raises:
        CalledProcessError: The run did not end well.
    """
    command = "ccai_dagster.cli.app" if (code / "ccai_dagster" / "cli" / "app.py").is_file() else "ccai_dagster.cli"
    cpu: list[float] = []
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / "cache").symlink_to(home_root() / "cache", target_is_directory=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CCAI_")}
        environment = kept | {"CCAI_HOME": home, "PYTHONPATH": str(code), "DAGSTER_DISABLE_TELEMETRY": "true"}
        program = [sys.executable, "-W", "ignore", "-m", command, "run", *select]

        def run() -> None:
            subprocess.run(program, env=environment, cwd=code, check=True, stdout=subprocess.DEVNULL)

        wall = seconds(lambda: cpu.append(cpu_seconds(run)))
        return wall, cpu[0], stage_seconds(Path(home))


def main(arguments: Sequence[str] = ()) -> None:
    """Print the seconds of both and the ratios."""
    parser = argparse.ArgumentParser(prog="python -m bench.sample_run", description=__doc__)
    parser.add_argument("checkout", nargs="?", type=Path, help=f"the code that is compared with, else that of {BEFORE}")
    parser.add_argument("--pairs", type=int, default=1, help="runs of either side")
    parser.add_argument("--select", help="assets, as `ccai run --select` takes them; all by default")
    asked = parser.parse_args(arguments)
    select = ["--select", asked.select] if asked.select else []
    with tempfile.TemporaryDirectory() as folder:
        before = (asked.checkout or unpack(BEFORE, Path(folder))).resolve()
        found = [(whole_run(HERE, select), whole_run(before, select)) for _ in range(asked.pairs)]
    stages = [sum((side[2] for side in sides), Counter[str]()) for sides in zip(*found, strict=True)]
    for stage in sorted(set().union(*stages), key=lambda stage: -max(each[stage] for each in stages)):
        own, other = (each[stage] / asked.pairs for each in stages)
        if max(own, other) >= SHOWN:
            print(f"  {stage}: {own:.1f} s; {other:.1f} s")
    for at, what in enumerate(("wall", "CPU")):
        ours, theirs = ([side[at] for side in sides] for sides in zip(*found, strict=True))
        ratio = statistics.median(own / other for own, other in zip(ours, theirs, strict=True))
        print(
            f"ccai run on the sample: {statistics.median(ours):.0f} s {what}; {asked.checkout or BEFORE}: "
            f"{statistics.median(theirs):.0f} s; ratio {ratio:.2f} (goal 1; median of {asked.pairs})",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1:])
