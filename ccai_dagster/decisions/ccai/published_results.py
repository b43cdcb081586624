"""Reading what the authors computed and printed: groups, shares of agreement, and the figures of the paper.

These decide nothing; they are what a replication is compared with. What the authors decided is read in
`published_files`.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ccai_dagster.decisions.ccai.source_tables import (
    known_ids,
    number,
    read_table,
    read_text,
    share,
    unique_numbers,
)
from ccai_dagster.errors import ConsultationError

SHARES = ("group_0_consensus", "group_1_consensus")


@dataclass(frozen=True)
class PublishedFigure:
    """A figure of the paper.

    Attributes:
        figure_id: Short name.
        section: Where it stands.
        what: What it tells.
        value: As printed.
        unit: Its unit, empty if it has none.
        status: How it relates to the public data, in the words of whoever collected the figures.
    """

    figure_id: str
    section: str
    what: str
    value: str
    unit: str
    status: str


@dataclass(frozen=True)
class PublishedResults:
    """What was computed and printed.

    Attributes:
        groups: Participant and group of each row of `clean_votes.csv`, in file order.
        agreement: Share of each group that agrees, by statement.
        seed_statements: Statement and tags of each seed statement.
        figures: Figures of the paper.
    """

    groups: tuple[tuple[int, int], ...]
    agreement: dict[int, tuple[float, ...]]
    seed_statements: tuple[tuple[int, str], ...]
    figures: tuple[PublishedFigure, ...]


def read_published_results(
    source: Path, statements: Collection[int], participants: Collection[int]
) -> PublishedResults:
    """Read the files of `source` with the authors' results.

    Args:
        source: Folder with the published files.
        statements: Ids of the statements that are in.
        participants: Ids of the participants in the export.

    Raises:
        ConsultationError: A file is missing or malformed, or names an unknown statement or participant.
    """
    return PublishedResults(
        _groups(source / "clean_votes.csv", participants),
        _agreement(source / "clean_comments.csv", statements),
        _seed_statements(source / "seed_statements.csv", statements),
        _figures(source / "paper_figures.json"),
    )


def _groups(path: Path, participants: Collection[int]) -> tuple[tuple[int, int], ...]:
    table = read_table(path, ("participant", "group-id"))
    ids = unique_numbers(table, "participant")
    rows = []
    for participant, (where, row) in zip(ids, table, strict=True):
        if participant not in participants:
            raise ConsultationError(
                f"{where}: participant {participant} is not in participants-votes.csv; correct the id."
            )
        group = number(where, "group-id", row["group-id"])
        if group < 0:
            raise ConsultationError(f"{where}: `group-id` is {group}; it must not be negative. Mend the row.")
        rows.append((participant, group))
    return tuple(rows)


def _agreement(path: Path, statements: Collection[int]) -> dict[int, tuple[float, ...]]:
    table = read_table(path, ("comment-id", *SHARES))
    unique_numbers(table, "comment-id")
    return {
        known_ids(where, row, "comment-id", statements)[0]: tuple(
            share(where, each, row[each]) for each in SHARES
        )
        for where, row in table
    }


def _seed_statements(path: Path, statements: Collection[int]) -> tuple[tuple[int, str], ...]:
    return tuple(
        (known_ids(where, row, "comment_id", statements)[0], row["tags"])
        for where, row in read_table(path, ("comment_id", "tags"))
    )


def _figures(path: Path) -> tuple[PublishedFigure, ...]:
    try:
        content: Any = json.loads(read_text(path))
        figures = tuple(
            PublishedFigure(
                each["id"], each["section"], each["what"], _printed(each["paper_value"]), each.get("unit") or "",
                each["status"],
            )
            for each in content["figures"]
        )  # fmt: skip
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ConsultationError(
            f"{path}: expected `figures`, each with `id`, `section`, `what`, `paper_value` and `status` "
            f"({error!r}); fetch it again."
        ) from error
    for each in figures:
        if not all(isinstance(cell, str) for cell in vars(each).values()):
            raise ConsultationError(f"{path}: a cell of figure {each.figure_id!r} is no text; mend it.")
    ids = [each.figure_id for each in figures]
    if twice := sorted({each for each in ids if ids.count(each) > 1}):
        raise ConsultationError(f"{path}: figure {twice[0]} stands twice; remove one.")
    return figures


def _printed(value: Any) -> str:
    if isinstance(value, list):
        return " to ".join(map(_printed, value))
    return value if isinstance(value, str) else json.dumps(value)
