"""Writes the classic export of Polis, for a simulated consultation; `polis_export` reads it.

The form is that of exports before 2023-08-29, habits included: totals count replaced votes, and rows are
unsorted.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl


def write_classic_export(
    folder: Path,
    statements: pl.DataFrame,
    votes: pl.DataFrame,
    polis_groups: dict[int, int],
    summary: dict[str, str],
    seed: int,
) -> None:
    """Write the four files of Polis's classic export (before 2023-08-29), with its habits.

    As Polis does: `agrees` and `disagrees` in `comments.csv` count replaced votes too, the matrix in
    `participants-votes.csv` holds the last vote, neither file is sorted, and times are milliseconds.

    Args:
        folder: Made if absent; files there are replaced.
        statements: `statement_id`, `author_id`, `created_at` (UTC), `moderated` (1, 0, -1), `text`.
        votes: As `cast` returns them.
        polis_groups: The group-id of each participant; left empty for participants it lacks.
        summary: First lines of `summary.csv` (`topic`, `url`) and its `conversation-description`.
        seed: Of the order of the rows.
    """
    folder.mkdir(parents=True, exist_ok=True)
    last = votes.sort("voted_at").unique(["participant_id", "statement_id"], keep="last")
    matrix: dict[int, dict[int, int]] = {}
    for person, statement, vote in last.select("participant_id", "statement_id", "vote").iter_rows():
        matrix.setdefault(person, {})[statement] = vote
    written = statements["author_id"].to_list()
    rng = np.random.default_rng([seed, 3])
    counted = {
        (statement, vote): count
        for statement, vote, count in votes.group_by("statement_id", "vote").len().iter_rows()
    }
    known = statements.sort("statement_id")
    comments = [
        [
            *_when(row["created_at"]), row["statement_id"], row["author_id"],
            *(counted.get((row["statement_id"], vote), 0) for vote in (1, -1)), row["moderated"], row["text"],
        ]
        for row in known.iter_rows(named=True)
    ]  # fmt: skip
    ids = known["statement_id"].to_list()
    people = []
    for person in sorted(matrix):
        cells = list(matrix[person].values())
        counts = [written.count(person), len(cells), cells.count(1), cells.count(-1)]
        people.append(
            [
                person,
                polis_groups.get(person, ""),
                *counts,
                *(matrix[person].get(number, "") for number in ids),
            ]
        )
    columns = ["voted_at", "statement_id", "participant_id", "vote"]
    cast_rows = [[*_when(when), *cells] for when, *cells in votes.select(columns).iter_rows()]
    totals = {
        "views": len(matrix), "voters": len(matrix), "voters-in-conv": len(polis_groups),
        "commenters": len(set(written) & set(matrix)), "comments": len(ids),
        "groups": len(set(polis_groups.values())),
    }  # fmt: skip
    described = {**{name: summary[name] for name in ("topic", "url")}, **totals}
    described["conversation-description"] = summary["conversation-description"]
    head = ["timestamp", "datetime", "comment-id"]
    _write(folder / "summary.csv", [list(item) for item in described.items()])
    _write(
        folder / "comments.csv",
        [[*head, "author-id", "agrees", "disagrees", "moderated", "comment-body"]]
        + [comments[place] for place in rng.permutation(len(comments))],
    )
    _write(folder / "votes.csv", [[*head, "voter-id", "vote"], *cast_rows])
    _write(
        folder / "participants-votes.csv",
        [["participant", "group-id", "n-comments", "n-votes", "n-agree", "n-disagree", *ids]]
        + [people[place] for place in rng.permutation(len(people))],
    )


def _when(when: datetime) -> tuple[int, str]:
    """Milliseconds since 1970, and the date as Java prints it whatever the locale."""
    days = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
    months = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
    java = f"{days[when.weekday()]} {months[when.month - 1]} {when:%d %H:%M:%S} GMT {when.year}"
    return (when - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1), java


def _write(path: Path, rows: Iterable[Iterable[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as handle:
        csv.writer(handle, lineterminator="\n").writerows(rows)
