"""Reading votes from CSV, against what polars takes for the bare file; or, with `--against`, against another checkout.

`python -m bench.importing --against FOLDER` reads the same Polis export and the same plain table with this code and
with that of another checkout, each time in a process of its own, in turn.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from bench import sizes
from bench.pairs import compare
from ccai_dagster.deliberation.importing.read_votes import read_votes

READ = """
import sys, time
from pathlib import Path
from ccai_dagster.deliberation.importing.read_votes import read_votes
began = time.perf_counter()
read = read_votes(Path(sys.argv[1]))
print(time.perf_counter() - began, read.raw_votes.height)
"""
BEGAN = 1_700_000_000_000
FORMS = {
    "polis": ("timestamp", "comment-id", "voter-id", "vote"),
    "plain": ("time", "statement", "participant", "vote"),
}


def exports(size: sizes.Size) -> dict[str, Path]:
    """Return a Polis export and a plain table with the same votes, written at the first call."""
    found = {}
    for form, (time, statement, participant, vote) in FORMS.items():
        folder = found[form] = size.path.with_suffix("") / form
        if (folder / "votes.csv").exists():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        votes = pl.read_parquet(size.path).sample(fraction=1.0, shuffle=True, seed=1)
        written = {statement: "statement_id", participant: "participant_id", vote: "vote"}
        ids = pl.DataFrame({"id": range(size.statements)})
        if form == "polis":
            totals = votes.group_by(id=pl.col("statement_id").cast(pl.Int64)).agg(
                agrees=(pl.col("vote") == 1).sum(), disagrees=(pl.col("vote") == -1).sum()
            )
            ids.join(totals, on="id", how="left").fill_null(0).select(
                **{"comment-id": "id", "author-id": "id", "agrees": "agrees", "disagrees": "disagrees"},
                moderated=1,
                **{"comment-body": pl.format("A statement, number {}", "id")},
            ).write_csv(folder / "comments.csv")
        else:
            ids.select(statement="id", text=pl.format("A statement, number {}", "id")).write_csv(
                folder / "statements.csv"
            )
        votes.select(pl.int_range(BEGAN, BEGAN + pl.len()).alias(time), **written).write_csv(folder / "votes.csv")
    return found


def against(checkout: Path, place: Path, runs: int) -> None:
    """Print the time of this code and of another checkout's, and the median ratio of pairs."""

    def once(code: Path) -> float:
        path = {**os.environ, "PYTHONPATH": str(code)}
        told = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", READ, str(place.resolve())],
            check=True,
            capture_output=True,
            cwd=code,
            env=path,
        )
        return float(told.stdout.split()[0])

    pairs = [(once(Path.cwd()), once(checkout)) for _ in range(runs)]
    own, other = statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"{place.name}: {own:.2f} s; {checkout}: {other:.2f} s; ratio {ratio:.2f} (median of {runs})", flush=True)


def main(arguments: Sequence[str] = ()) -> None:
    """Print the comparison that the arguments ask for."""
    parser = argparse.ArgumentParser(prog="python -m bench.importing", description=__doc__)
    parser.add_argument("--against", type=Path, metavar="FOLDER")
    parser.add_argument("--runs", type=int, default=5)
    asked = parser.parse_args(arguments)
    for form, place in exports(sizes.LARGE).items():
        if asked.against:
            against(asked.against, place, asked.runs)
        else:
            bare = place / "votes.csv"
            compare(
                f"reading {sizes.LARGE.votes:,} votes, {form}",
                lambda place=place: read_votes(place),  # type: ignore[misc]
                lambda bare=bare: pl.read_csv(bare).sort("vote"),  # type: ignore[misc]
                "the file alone, in polars, sorted",
                5,
                asked.runs,
            )


if __name__ == "__main__":
    main(sys.argv[1:])
