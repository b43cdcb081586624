"""From a Parquet file of votes to groups and statements, by size, each size in processes of its own."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from bench.crowd import write_votes

CACHE = Path(".bench")
"""Votes and environments the benchmarks make once; ignored by git."""


@dataclass(frozen=True)
class Size:
    """How large a public is."""

    participants: int
    statements: int
    votes: int

    @property
    def path(self) -> Path:
        """The file of its votes, written at the first call."""
        path = CACHE / f"votes_{self.participants}_{self.statements}_{self.votes}.parquet"
        write_votes(path, self.participants, self.statements, self.votes)
        return path


LARGE = Size(33_422, 783, 2_000_000)
"""As large as the largest consultation on Polis that is written about (Aufstehen, 2018)."""
LARGEST = Size(1_000_000, 2_000, 30_000_000)
GROWTH = (
    Size(333, 100, 10_000),
    Size(1_000, 200, 30_000),
    Size(3_333, 300, 100_000),
    Size(10_000, 500, 300_000),
    LARGE,
    Size(150_000, 1_000, 6_000_000),
    Size(400_000, 1_500, 15_000_000),
    LARGEST,
)


def saved(size: Size, votes: pl.DataFrame, groups: np.ndarray) -> tuple[Path, Path, Path]:
    """Save votes and groups for `red_dwarf.timed`; return their files and that of its results."""
    saved, labels, results = (size.path.with_suffix(end) for end in (".npz", ".labels.npy", ".results.npz"))
    columns: dict[str, Any] = {name: votes[name].to_numpy() for name in votes.columns}
    np.savez(saved, **columns)
    np.save(labels, groups)
    return saved, labels, results


def measured(size: Size, runs: int) -> list[dict[str, Any]]:
    """Run `bench.whole` several times, one after the other, and return what each measured."""
    command = [sys.executable, "-W", "ignore", "-m", "bench.whole", str(size.path)]
    return [json.loads(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(runs)]


def report(name: str, size: Size, most_seconds: float, most_megabytes: float, runs: int) -> None:
    """Print median seconds and the highest memory beside what they should stay under."""
    found = measured(size, runs)
    seconds = statistics.median(run["seconds"] for run in found)
    megabytes = max(run["megabytes"] for run in found)
    stages = ", ".join(
        f"{stage} {statistics.median(run['stages'][stage] for run in found):.2f}" for stage in found[0]["stages"]
    )
    print(
        f"{name}, {size.participants:,} x {size.statements:,}, {found[0]['votes']:,} votes: {seconds:.2f} s "
        f"(goal {most_seconds:g} s, ratio {seconds / most_seconds:.2f}), {megabytes:,.0f} MB at most "
        f"(goal {most_megabytes:,.0f}, ratio {megabytes / most_megabytes:.2f}); {stages} (median of {runs})",
        flush=True,
    )
