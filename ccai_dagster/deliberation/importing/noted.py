"""What is noticed in people's files while they are read, for the import report, and what of them is set aside.

What is not needed, or cannot be read, is set aside with its count and the first of it, and the rest is read. Of the
rows of votes no more than `TOLERATED_ASIDE` may be set aside.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

LONGEST_LIST = 8
TOLERATED_ASIDE = 0.1
"""Share of the rows with votes that may be set aside. Public exports have none. Of the ten statements that a
conversation begins with at least, one may have been deleted, and its tenth of the votes with it; beyond that the
results would be of another public than the one that voted, or the files of two conversations."""

Kind = Literal["found", "repaired", "unknown"]


@dataclass(frozen=True)
class Fact:
    """One line of the report."""

    kind: Kind
    item: str
    count: int | None
    explanation: str


@dataclass
class Noted:
    """What was noticed so far: by item its kind, why, and by file (or file and column) how many and which."""

    items: dict[tuple[Kind, str, str], dict[str, tuple[int, str]]] = field(default_factory=dict)

    def note(self, kind: Kind, item: str, why: str, where: str, count: int, which: str = "") -> None:
        """Note something about a place; what is noted again of the same place is noted once.

        Args:
            where: The file's name, with the column if it is about one.
            which: The first of them, in words.
        """
        self.items.setdefault((kind, item, why), {})[where] = (count, which)

    def facts(self) -> list[Fact]:
        """Return a line for each item."""
        facts = []
        for (kind, item, why), places in self.items.items():
            told = [f"{where} ({count:,}{', ' + which if which else ''})" for where, (count, which) in places.items()]
            number = sum(count for count, _ in places.values())
            facts.append(Fact(kind, item, number, f"{why}: {'; '.join(sorted(told))}"))
        return facts


def shortened(names: Iterable[object]) -> str:
    """Return names for a sentence, a long list cut short."""
    every = [str(each) for each in names]
    more = f" and {len(every) - LONGEST_LIST} more" if len(every) > LONGEST_LIST else ""
    return ", ".join(name[:40] for name in every[:LONGEST_LIST]) + more
