"""How time grows with votes, statements and participants, beside a peer and what a machine can do at most.

`python -m bench.growth FILE` measures and draws the pictures of docs/performance.md, in two minutes of an idle machine
and some more at the first call, which draws the votes and installs the peer.
Each point is a process of its own, from a Parquet file of votes to groups, consensus and representative statements.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from bench import red_dwarf, sizes
from bench.pairs import seconds
from bench.sizes import Size

STATEMENTS = tuple(Size(10_000, statements, 300_000) for statements in (100, 300, 1_000, 3_000, 10_000))
PARTICIPANTS = tuple(Size(people, 500, 30 * people) for people in (300, 1_000, 3_000, 10_000, 30_000, 100_000))
PEER_WORK, PEER_VOTES = 2_500_000_000, 1_000_000
"""People x statements x statements, and votes, up to which the peer is asked: a few seconds a point."""
BYTES_A_VOTE = 4 + 4 + 1
"""Two ids and the vote itself."""
OPERATIONS_A_VOTE = 4
"""A multiplication and an addition for each of two components."""
NUMBERS = 4_000
"""Rows, and columns, of the matrix that is copied and multiplied."""


def main(path: Path) -> None:
    """Measure all sizes, print them and draw time against each of the three."""
    bandwidth, operations = machine()
    print(f"{bandwidth / 1e9:.1f} GB/s copied, {operations / 1e9:.0f} GFLOP/s of matrix products", flush=True)
    rows = {
        "votes": [(size.votes, *measured(size)) for size in sizes.GROWTH],
        "statements": [(size.statements, *measured(size)) for size in STATEMENTS],
        "participants": [(size.participants, *measured(size)) for size in PARTICIPANTS],
    }
    path.write_bytes(drawn(rows, bandwidth, operations))
    print(f"written: {path}")


def measured(size: Size) -> tuple[int, float, float, float | None]:
    """Return votes, seconds in all, seconds of reading the file, and the peer's seconds where it is asked."""
    found = sizes.measured(size, 3 if size.votes < 10_000_000 else 1)
    whole, reading = (
        statistics.median(each)
        for each in zip(*((run["seconds"], run["stages"]["reading"]) for run in found), strict=True)
    )
    peer = None
    if size.votes <= PEER_VOTES and size.participants * size.statements**2 <= PEER_WORK:
        votes = pl.read_parquet(size.path)
        files = sizes.saved(size, votes, np.arange(votes["participant_id"].n_unique()) % 2)
        peer = red_dwarf.timed(sizes.CACHE / "red-dwarf", *files)["seconds"]
    told = "" if peer is None else f", {red_dwarf.PACKAGE} {peer:.2f} s"
    print(
        f"{size.participants:,} x {size.statements:,}, {found[0]['votes']:,} votes: {whole:.3f} s, reading "
        f"{reading:.3f}, {max(run['megabytes'] for run in found):,.0f} MB{told}",
        flush=True,
    )
    return found[0]["votes"], whole, reading, peer


def machine() -> tuple[float, float]:
    """Return bytes a second that are copied, and operations a second of matrix products in 64 bits, at best of five."""
    numbers = np.ones((NUMBERS, NUMBERS))
    target = np.empty_like(numbers)
    copying = min(seconds(lambda: np.copyto(target, numbers)) for _ in range(5))
    multiplying = min(seconds(lambda: np.matmul(numbers, numbers, out=target)) for _ in range(5))
    return 2 * numbers.nbytes / copying, 2 * NUMBERS**3 / multiplying


def drawn(
    rows: Mapping[str, Sequence[tuple[int, int, float, float, float | None]]], bandwidth: float, operations: float
) -> bytes:
    """Return the picture: a panel for each of the three, all axes logarithmic."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    from ccai_dagster.pages.pictures import style

    def paint(figure: Any) -> None:
        shared = None
        for place, (what, points) in enumerate(rows.items()):
            axes = shared = figure.add_subplot(1, 3, place + 1, sharey=shared)
            sizes_, votes, whole, reading, peer = zip(*points, strict=True)
            axes.loglog(sizes_, whole, "-o", color=style.colour(0), label="votes to statements")
            asked = [(size, taken) for size, taken in zip(sizes_, peer, strict=True) if taken is not None]
            axes.loglog(*zip(*asked, strict=True), "--s", color=style.colour(1), label="red-dwarf 0.4")
            axes.loglog(sizes_, reading, "-", color=style.colour(2), label="reading the file once")
            axes.loglog(
                sizes_,
                [max(n * BYTES_A_VOTE / bandwidth, n * OPERATIONS_A_VOTE / operations) for n in votes],
                ":",
                color="0.4",
                label="memory and arithmetic once",
            )
            axes.set(title=what, ylabel="seconds" if place == 0 else None)
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
                axis.set_minor_formatter(NullFormatter())
            axes.grid(True, which="major")
            axes.xaxis.set_major_locator(LogLocator(numticks=3))
            axes.yaxis.set_major_locator(LogLocator(numticks=5))
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=7)

    return style.draw(paint, height=3.2)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
