"""What two exports have in common: which statements are the same, and whether the people are.

Belongs here: telling from votes and texts whether ids mean the same on both sides. Doesn't belong here: what differs,
which is in `differences`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from ccai_dagster.deliberation.importing.tables import Import

SAME_VOTES = 0.9
"""Share of equal votes, of the same ids on the same ids, from which people are the same.

Of other people who mostly agree with everything, three of four votes are equal by chance; of the same people, votes
differ that were changed or came since.
"""
COMMON_VOTES = 0.5
"""Share of the votes of the smaller side that must be of ids on ids that the other has, too."""
SAME_TEXTS = 0.5
"""Share of equal texts under the same ids from which ids mean the same statements; a few may have been mended."""


@dataclass(frozen=True)
class CommonConversation:
    """Statements and people of two exports.

    Attributes:
        pairs: Statements in both: id on the first side to id on the second.
        texts: By id, on either side.
        same_statements: Whether ids mean the same statements.
        same_people: Whether ids mean the same participants; then they mean the same statements, too.
    """

    pairs: Mapping[int, int]
    texts: tuple[Mapping[int, str], Mapping[int, str]]
    same_statements: bool
    same_people: bool

    def label(self, first: int | None, second: int | None) -> str:
        """Name a statement by its id on either side."""
        if first is None or second is None or first == second:
            return f"statement {second if first is None else first}"
        return f"statements {first} and {second}"


def common_conversation(first: Import, second: Import) -> CommonConversation:
    """Compare two exports; where ids mean others, statements are the same if their texts are equal."""
    one, other = (dict(each.raw_statements.select("statement_id", "text").iter_rows()) for each in (first, second))
    same_people = _same_people(first.raw_votes, second.raw_votes)
    common = one.keys() & other.keys()
    equal = sum(one[key] == other[key] for key in common)
    if same_people or (common and equal >= SAME_TEXTS * len(common)):
        return CommonConversation({key: key for key in sorted(common)}, (one, other), True, same_people)
    waiting = defaultdict(list)
    for key in sorted(other, reverse=True):
        waiting[other[key]].append(key)
    pairs = {key: waiting[one[key]].pop() for key in sorted(one) if waiting[one[key]]}
    return CommonConversation(pairs, (one, other), False, False)


def _same_people(first: pl.DataFrame, second: pl.DataFrame) -> bool:
    key = ["participant_id", "statement_id"]
    both = first.select(*key, "vote").join(second.select(*key, "vote"), on=key)
    most = min(first.height, second.height)
    return (
        both.height >= max(1, COMMON_VOTES * most)
        and both.filter(pl.col("vote") == pl.col("vote_right")).height >= SAME_VOTES * both.height
    )
