"""The graph up to the constitutions, and a run with nothing to do, against importing Dagster alone; and at size.

`python -m bench.graph large` measures what the graph adds to two million votes: CPU seconds of every step from the
import to what groups are told by, against the same computed bare (`bench.whole`). Steps that compute everything some
hundred times over, to see how sure it is, are left out; `bench.certainty` has them. Libraries are loaded before.
"""

from __future__ import annotations

import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import sizes
from bench.pairs import compare

UP_TO_CONSTITUTIONS = (
    "group:public_input or group:deliberation or key:selected_statements or key:*/constitution "
    "or key:constitution_overlap"
)
AT_SIZE = " or ".join(
    f"key:{name}"
    for name in (
        *("raw_statements", "raw_participants", "raw_votes", "raw_group_votes", "import_report"),
        *("participants", "statements", "votes", "group_structure", "opinion_groups", "group_votes", "gac_scores"),
        *("representative_statements", "consensus_statements", "comment_priorities"),
        *("important_statements", "uncertain_statements"),
    )
)
RESAMPLING = ("group_structure",)
LIBRARIES = ("matplotlib.backends.backend_agg", "pandera.polars", "scipy.sparse.linalg", "scipy.spatial.distance")
"""What steps load at first use; loading libraries is not what is measured."""
TIMES, MEGABYTES = 12, 600
"""At most: CPU of the graph to that of the kernel, and memory at its peak."""


def main() -> None:
    """Print the comparisons; that of a run with nothing to do needs a finished `ccai run`."""

    def python(*arguments: str, home: Path | None = None) -> None:
        environment = {**os.environ, **({"CCAI_HOME": str(home)} if home else {})}
        subprocess.run([sys.executable, "-W", "ignore", *arguments], check=True, env=environment, capture_output=True)

    run = ["-m", "ccai_dagster.cli.app", "run"]
    with tempfile.TemporaryDirectory() as folder:
        compare(
            "votes to constitutions in Dagster",
            lambda: python(*run, "--select", UP_TO_CONSTITUTIONS, home=Path(folder)),
            lambda: python("-c", "import dagster"),
            "import dagster",
            15,
            runs=3,
        )
    home = Path(os.environ.get("CCAI_HOME", ".ccai"))
    if not list(home.glob("*/report/audit_report.html")):
        print(f"a run with nothing to do: not measured, since {home} holds no finished run; `make run` makes one")
        return
    compare(
        "a run with nothing to do",
        lambda: python(*run),
        lambda: python("-c", "import dagster"),
        "import dagster",
        5,
        runs=3,
    )


def large(runs: int = 3) -> None:
    """Print what the graph adds to two million votes."""
    bare = statistics.median(found["cpu"] for found in sizes.measured(sizes.LARGE, runs))
    with tempfile.TemporaryDirectory() as folder:
        town, environment = Path(folder) / "town", {**os.environ, "CCAI_HOME": f"{folder}/home"}
        for words in (
            ["ccai_dagster.cli.app", "new", "--from-export", str(sizes.LARGE.path.resolve()), str(town)],
            ["bench.graph", "steps", str(town), f"{folder}/steps.json"],
        ):
            command = [sys.executable, "-W", "ignore", "-m", *words]
            subprocess.run(command, check=True, env=environment, capture_output=True)
        steps: dict[str, tuple[float, float]] = json.loads(Path(folder, "steps.json").read_text())
    light = {name: found for name, found in steps.items() if name not in RESAMPLING}
    cpu, peak = sum(each for each, _ in light.values()), max(each for _, each in light.values())
    told = ", ".join(f"{name} {each:.2f} s {most:.0f} MB" for name, (each, most) in light.items() if each >= 0.1)
    print(
        f"the graph on {sizes.LARGE.votes:,} votes: {cpu:.1f} CPU s; bare {bare:.2f}; ratio {cpu / bare:.1f} "
        f"(goal {TIMES}); {peak:,.0f} MB at most (goal {MEGABYTES}); {told}",
        flush=True,
    )


def run_and_measure(town: str, path: str) -> None:
    """Run the graph in this process and write CPU seconds and peak memory in MB of every step as JSON."""
    from dagster._core.execution.plan import execute_plan

    from ccai_dagster.cli import app

    for library in LIBRARIES:
        importlib.import_module(library)
    events, found = execute_plan.core_dagster_event_sequence_for_step, dict[str, tuple[float, float]]()

    def measured(context: Any, *arguments: Any, **named: Any) -> Iterator[Any]:
        Path("/proc/self/clear_refs").write_text("5")  # the peak of memory is counted from here on
        began = time.process_time()
        yield from events(context, *arguments, **named)
        (peak,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
        found[context.step.key] = time.process_time() - began, int(peak.split()[1]) / 1024

    execute_plan.core_dagster_event_sequence_for_step = measured  # type: ignore[assignment]
    try:
        app.app(["run", town, "--select", AT_SIZE], standalone_mode=False)
    finally:
        Path(path).write_text(json.dumps(found))


if __name__ == "__main__":
    if sys.argv[1:2] == ["steps"]:
        run_and_measure(*sys.argv[2:])
    else:
        {"": main, "large": large}["".join(sys.argv[1:])]()
