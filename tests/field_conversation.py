"""A conversation of 24 people, 14 statements and 280 votes, written as files of the field hold it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

PEOPLE, STATEMENTS, VOTES = 24, 14, 280
START = 1_700_000_000_000
Vote = tuple[int, int, int, int]
"""Participant, statement, vote, milliseconds since 1970."""


def all_votes() -> list[Vote]:
    """Everybody voted on all statements but every sixth, authors (who have the ids of their statements) with +1."""
    return [
        (p, s, vote_of(p, s), START + 1000 * s + 100_000 * p)
        for p in range(PEOPLE)
        for s in range(STATEMENTS)
        if (5 * p + 3 * s + 1) % 6
    ]


def vote_of(participant: int, statement: int) -> int:
    """Two camps, which differ in every third statement."""
    drawn = (7 * participant + 11 * statement) % 10
    vote = 1 if drawn < 6 else -1 if drawn < 9 else 0
    if participant == statement:
        return 1
    return -vote if participant >= PEOPLE // 2 and statement % 3 == 0 else vote


def text_of(statement: int) -> str:
    """Texts with what separates cells."""
    return f"Statement number {statement}, with a comma"


def polis_files(
    votes: Sequence[Vote] | None = None,
    moderated: Mapping[int, int] | None = None,
    author: Callable[[int], object] = int,
) -> dict[str, list[list[object]]]:
    """Return comments.csv and votes.csv as rows.

    Args:
        moderated: Marks of statements that are not moderated in.
        author: Of a statement.
    """
    votes = all_votes() if votes is None else votes
    comments: list[list[object]] = [
        ["timestamp", "comment-id", "author-id", "agrees", "disagrees", "moderated", "comment-body"]
    ]
    for s in range(STATEMENTS):
        cast = [vote for _, statement, vote, _ in votes if statement == s]
        mark = (moderated or {}).get(s, 1)
        comments.append([START + s, s, author(s), cast.count(1), cast.count(-1), mark, text_of(s)])
    cast_rows: list[list[object]] = [["timestamp", "comment-id", "voter-id", "vote"]]
    return {"comments.csv": comments, "votes.csv": cast_rows + [[t, s, p, v] for p, s, v, t in votes]}


def matrix(votes: Sequence[Vote] | None = None) -> list[list[object]]:
    """Return participants-votes.csv as rows."""
    cast = {(p, s): v for p, s, v, _ in (all_votes() if votes is None else votes)}
    rows: list[list[object]] = [
        ["participant", "group-id", "n-comments", "n-votes", "n-agree", "n-disagree", *range(STATEMENTS)]
    ]
    for p in range(PEOPLE):
        cells = [cast.get((p, s), "") for s in range(STATEMENTS)]
        counts = [sum(cell != "" for cell in cells), cells.count(1), cells.count(-1)]
        rows.append([p, p // 12, int(p < STATEMENTS), *counts, *cells])
    return rows


def plain_files(votes: Sequence[Vote] | None = None) -> dict[str, list[list[object]]]:
    """Return votes.csv and statements.csv of a plain table as rows."""
    cast: list[list[object]] = [["participant", "statement", "vote", "time"]]
    cast += [list(vote) for vote in (all_votes() if votes is None else votes)]
    statements: list[list[object]] = [["statement", "text", "author", "moderated"]]
    return {"votes.csv": cast, "statements.csv": statements + [[s, text_of(s), s, 1] for s in range(STATEMENTS)]}


def wide_rows(cell: Callable[[int], object] = int) -> list[list[object]]:
    """Return a table of one row a person, statements' texts as headings.

    Args:
        cell: What a vote is written as.
    """
    rows: list[list[object]] = [["participant", *(text_of(s) for s in range(STATEMENTS))]]
    cast = {(p, s): v for p, s, v, _ in all_votes()}
    for p in range(PEOPLE):
        rows.append([p, *(cell(cast[p, s]) if (p, s) in cast else "" for s in range(STATEMENTS))])
    return rows


def as_csv(rows: Sequence[Sequence[object]], separator: str = ",", end: str = "\n") -> str:
    """Write rows as a spreadsheet does."""
    return "".join(separator.join(_cell(each, separator) for each in row) + end for row in rows)


def _cell(value: object, separator: str) -> str:
    text = str(value)
    return '"' + text.replace('"', '""') + '"' if separator in text or '"' in text or "\n" in text else text


def write(folder: Path, files: Mapping[str, Sequence[Sequence[object]] | str | bytes], separator: str = ",") -> Path:
    """Write files into a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        else:
            (folder / name).write_text(content if isinstance(content, str) else as_csv(content, separator))
    return folder
