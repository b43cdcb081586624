"""What the report can be filtered by: the fate of an entry, its constitution, and marks.

Belongs here: the marks of an entry and the choices that follow. Doesn't belong here: HTML, filtering, which the
page's script does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from ccai_dagster.deliberation.stability import INTERVAL

MARKS = {
    "rewritten": "rewritten by moderation",
    "merged": "merged with others",
    "split": "split into ideas",
    "twice": "decided by two people",
    "anew": "decided anew",
    "unsure": "near the cut in random draws",
    "few": "few votes in a group",
    "numbers": "hangs on a number",
}
"""What is marked on an entry, and how the page calls it."""


@dataclass(frozen=True)
class Entry:
    """What one entry of the report can be found by.

    Attributes:
        fate: What became of it; empty if it has none.
        arm: The constitution it belongs to; empty if it has none.
        marks: Some of MARKS.
    """

    fate: str = ""
    arm: str = ""
    marks: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Choice:
    """One value to filter by and how many entries have it."""

    value: str
    label: str
    n: int


@dataclass(frozen=True)
class Filter:
    """One list of choices; `name` is the name of the data attribute."""

    name: str
    label: str
    everything: str
    choices: list[Choice]


@dataclass(frozen=True)
class StatementMarks:
    """The statements that carry each mark which does not follow from the statement itself."""

    merged: frozenset[int]
    split: frozenset[int]
    twice: frozenset[int]
    anew: frozenset[int]

    def of(
        self, statement_id: int, rewritten: bool, few_votes: bool, selection_probability: float | None
    ) -> frozenset[str]:
        """Return the marks of a statement."""
        low, high = INTERVAL
        unsure = selection_probability is not None and low < selection_probability < high
        found = {"rewritten": rewritten, "few": few_votes, "unsure": unsure}
        found |= {name: statement_id in getattr(self, name) for name in ("merged", "split", "twice", "anew")}
        return frozenset(name for name, carried in found.items() if carried)


def filters(entries: Iterable[Entry]) -> list[Filter]:
    """Return what there is to filter by, only with choices that some entry has.

    Fates and constitutions stand in the order in which they first appear, marks in the order of MARKS.
    """
    entries = list(entries)
    fates = Counter(entry.fate for entry in entries if entry.fate)
    arms = Counter(entry.arm for entry in entries if entry.arm)
    marks = Counter(mark for entry in entries for mark in entry.marks)
    return [
        each
        for each in (
            Filter("fate", "Fate", "any fate", [Choice(fate, fate, n) for fate, n in fates.items()]),
            Filter("arm", "Constitution", "any constitution", [Choice(arm, arm, n) for arm, n in arms.items()]),
            Filter("marks", "Marked", "any mark",
                   [Choice(mark, label, marks[mark]) for mark, label in MARKS.items() if mark in marks]),
        )
        if each.choices
    ]  # fmt: skip
