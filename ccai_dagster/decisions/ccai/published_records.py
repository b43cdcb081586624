"""One statement, merge or principle, as published."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedStatement:
    """A statement of `comments.csv`; `moderated` is 1 in, -1 out, 0 never moderated."""

    statement_id: int
    author_id: int
    moderated: int
    text: str


@dataclass(frozen=True)
class PublishedMerge:
    """A row of the paper's Table 2 (appendix A.5)."""

    principle_id: str
    theme: str
    statement_ids: tuple[int, ...]
    text: str
    note: str


@dataclass(frozen=True)
class PublishedPrinciple:
    """A principle of appendix A.6 with the statements it was found to come from."""

    principle_id: str
    text: str
    statement_ids: tuple[int, ...]
    match: str
    comment: str
