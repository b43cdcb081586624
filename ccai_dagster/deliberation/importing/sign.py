"""Which sign means agreement, told by the authors: hardly anybody disagrees with what they just wrote.

Polis casts an author's vote on the own statement together with the statement. Among those first votes that are
not passes, agreement had 94 to 100 percent in every public export that has any; the counts inside an export
cannot tell, since an export with inverted votes has them exchanged as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import polars as pl

CLEAR_SHARE = 0.75
CLEAR_CHANCE = 0.01


@dataclass(frozen=True)
class AuthorVotes:
    """The first votes of authors on their own statements: how many are +1, -1 and 0."""

    plus: int
    minus: int
    passes: int

    @property
    def inverted(self) -> bool | None:
        """Whether -1 means agreement; None if the authors' votes do not tell.

        They tell if three quarters of those that are not passes have one sign and a fair coin would be as
        one-sided in less than one case in a hundred (two-sided sign test).
        """
        voted, more = self.plus + self.minus, max(self.plus, self.minus)
        if not voted or more / voted < CLEAR_SHARE:
            return None
        chance = 2 * sum(math.comb(voted, k) for k in range(more, voted + 1)) / 2**voted
        return self.minus > self.plus if chance < CLEAR_CHANCE else None

    def sentence(self) -> str:
        """The counts in words."""
        return (
            f"authors' first votes on their own statements: {self.plus} times +1, {self.minus} times -1, "
            f"{self.passes} times 0"
        )


def author_votes(rows: pl.DataFrame, statements: pl.DataFrame) -> AuthorVotes:
    """Count the first votes of authors on their own statements.

    Args:
        rows: Vote rows, see `last_votes`; of a matrix, which holds last votes only, those.
        statements: `statement_id` and `author_id`.
    """
    own = (
        rows.join(statements.select("statement_id", participant_id="author_id"),
                  on=["statement_id", "participant_id"])
        .sort("timestamp", "row", nulls_last=True)
        .unique("statement_id", keep="first", maintain_order=True)["vote"]
    )  # fmt: skip
    return AuthorVotes(int((own == 1).sum()), int((own == -1).sum()), int((own == 0).sum()))
