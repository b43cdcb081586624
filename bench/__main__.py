"""Runs the benchmarks that take a minute or two each, and prints what was found beside what is wanted, in a table.

Each is a process of its own, `python -m bench.NAME`; one that fails leaves the others. Longer ones run by name: LONGER.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time

BENCHMARKS = (
    "definitions",
    "importing",
    "deliberation",
    "certainty --procedure default",
    "sensitivity",
    "statements",
    "graph",
    "graph large",
    "auditing",
    "new_votes looks",
    "scores",
    "feedback letters sampling",
)
LONGER = (
    "certainty",
    "certainty --size large",
    "deliberation --size largest",
    "evaluation",
    "feedback",
    "new_votes daemon command unchanged",
    "training",
)
GOAL = re.compile(r"([^;:,(]*(?:,\d{3}[^;:,(]*)*)\(goal ([^;)]*)")
"""A figure and what is wanted of it, in a line of a benchmark."""


def main() -> int:
    """Run all and print the table; return how many failed."""
    rows: list[tuple[str, str, str]] = []
    failed, began = list[str](), time.monotonic()
    for name in BENCHMARKS:
        start = time.monotonic()
        command = [sys.executable, "-W", "ignore", "-m", *f"bench.{name}".split()]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
            assert running.stdout is not None
            for line in running.stdout:
                print(line, end="", flush=True)
                what = line.partition(": ")[0]
                rows += [(what, found.strip(), goal) for found, goal in GOAL.findall(line.removeprefix(what))]
        if running.returncode:
            failed.append(name)
        print(f"  {name}: {time.monotonic() - start:.0f} s", flush=True)
    print("\n| what | found | wanted |\n| --- | --- | --- |")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print(f"\n{(time.monotonic() - began) / 60:.1f} minutes; failed: {', '.join(failed) or 'none'}")
    print("Longer ones by name: " + "; ".join(f"python -m bench.{name}" for name in LONGER))
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
