"""A conversation in which what people say of themselves is louder than what they want.

Sixty people of two opinions, each of which they hold on three statements of four, and of two generations, across the
opinions. Twelve statements are about the generation, and everybody answers them as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

PEOPLE = 60
SUBJECT = range(12)
ABOUT_PEOPLE = range(12, 24)
REJECTED = 24
OPINION = np.arange(PEOPLE) % 2
GENERATION = np.arange(PEOPLE) // 30


def votes() -> list[tuple[int, int, int]]:
    """Participant, statement and vote, in the order of both."""
    chance = np.random.default_rng(7)
    cast = []
    for person in range(PEOPLE):
        for statement in SUBJECT:
            side = 1 if (statement + OPINION[person]) % 2 else -1
            cast.append((person, statement, side if chance.random() < 0.75 else -side))
        cast += [(person, statement, 1 if (statement + GENERATION[person]) % 2 else -1) for statement in ABOUT_PEOPLE]
        cast.append((person, REJECTED, 1))
    return cast


def write_export(folder: Path, marked: bool = True, moderated: Mapping[int, int] | None = None) -> Path:
    """Write it as Polis exported in 2023, over an export that is there.

    Args:
        marked: Whether there is the column that marks statements about the people who vote.
        moderated: Moderation of statements where it is not 1, and -1 for the rejected one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    decided, cast = {REJECTED: -1, **(moderated or {})}, votes()
    later = ["is-meta", "is-seed", "group-informed-consensus"] if marked else []
    head = ["timestamp", "comment-id", "author-id", "agrees", "disagrees", "moderated", *later, "comment-body"]
    comments: list[list[object]] = [list(head)]
    for statement in [*SUBJECT, *ABOUT_PEOPLE, REJECTED]:
        counts = [sum(s == statement and v == side for _, s, v in cast) for side in (1, -1)]
        marks = ["true" if statement in ABOUT_PEOPLE else "false", "false", 0.5] if marked else []
        start = [1_700_000_000_000 + statement, statement, 0, *counts, decided.get(statement, 1)]
        comments.append([*start, *marks, f"Statement {statement}"])
    rows = [["timestamp", "comment-id", "voter-id", "vote"]] + [
        [str(1_700_000_100_000 + 1000 * place), str(statement), str(person), str(vote)]
        for place, (person, statement, vote) in enumerate(cast)
    ]
    for name, lines in (("comments", comments), ("votes", rows)):
        (folder / f"{name}.csv").write_text("".join(",".join(map(str, line)) + "\n" for line in lines))
    return folder
