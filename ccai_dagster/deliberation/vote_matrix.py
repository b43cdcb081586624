"""Votes as a matrix: rows are participants, columns are statements, both sorted by id.

Votes are few among the cells (a tenth is usual), so they are held as a list of cells; the dense arrays are made
only where somebody asks for them.

What belongs here: the layout. What does not: which votes count (`cleaning`) and what is computed from them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from scipy.sparse import csr_array


@dataclass(frozen=True)
class VoteMatrix:
    """Votes with the ids of rows and columns.

    Attributes:
        participant_ids: Shape (participants,), ascending.
        statement_ids: Shape (statements,), ascending.
        row: Shape (votes,), int32, place of each vote's participant in `participant_ids`, ascending.
        column: Shape (votes,), int32, place of its statement in `statement_ids`, ascending within a row.
        vote: Shape (votes,), int8, -1, 0 or 1.
        moderated_out: Number of statements that got votes and were moderated out; only Polis counts them.
        below_minimum: Votes, on the same statements, of participants who cast too few; only the opinion map of
            Polis takes them into account. None if there are none.
        joined: Shape (participants,), numbers that grow in the order of joining; None where only ids tell it.
    """

    participant_ids: np.ndarray
    statement_ids: np.ndarray
    row: np.ndarray
    column: np.ndarray
    vote: np.ndarray
    moderated_out: int = 0
    below_minimum: VoteMatrix | None = None
    joined: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of participants and statements."""
        return len(self.participant_ids), len(self.statement_ids)

    @cached_property
    def votes_by_participant(self) -> np.ndarray:
        """Shape (participants,), votes of each."""
        return np.bincount(self.row, minlength=self.shape[0])

    def cells(self, values: np.ndarray) -> csr_array:
        """Return a sparse matrix of the matrix' shape with one value, of shape (votes,), at each vote."""
        from scipy.sparse import csr_array

        ends = np.concatenate([[0], np.cumsum(self.votes_by_participant)]).astype(np.int32)
        return csr_array((values, self.column, ends), shape=self.shape)

    @cached_property
    def cast(self) -> np.ndarray:
        """Shape (participants, statements), bool, whether a vote was cast. Dense: for small consultations."""
        cast = np.zeros(self.shape, dtype=bool)
        cast[self.row, self.column] = True
        return cast

    @cached_property
    def values(self) -> np.ndarray:
        """Shape (participants, statements), float64, -1, 0 or 1; 0 where no vote was cast. Dense."""
        values = np.zeros(self.shape)
        values[self.row, self.column] = self.vote
        return values


def vote_matrix(votes: pl.DataFrame, participant_ids: pl.Series, statement_ids: pl.Series) -> VoteMatrix:
    """Lay out votes by id; participants and statements without votes keep an empty row or column.

    Args:
        votes: `participant_id`, `statement_id`, `vote`, in any order; one row a pair; every id must be among the
            two next arguments.
        participant_ids: All participants, in any order.
        statement_ids: All statements, in any order.

    Raises:
        ValueError: A vote names an id that is not listed.
    """
    rows, columns = np.unique(participant_ids.to_numpy()), np.unique(statement_ids.to_numpy())
    row = _places(rows, votes["participant_id"].to_numpy(), "participants")
    column = _places(columns, votes["statement_id"].to_numpy(), "statements")
    vote = votes["vote"].to_numpy().astype(np.int8)
    cell = row.astype(np.int64) * len(columns) + column
    if (cell[1:] < cell[:-1]).any():
        order = np.argsort(cell, kind="stable")
        row, column, vote = row[order], column[order], vote[order]
    return VoteMatrix(rows, columns, row, column, vote)


def _places(ids: np.ndarray, wanted: np.ndarray, what: str) -> np.ndarray:
    span = int(ids[-1]) - int(ids[0]) + 1 if len(ids) else 0
    if not len(wanted):
        return np.zeros(0, dtype=np.int32)
    if len(ids) and span <= max(len(wanted), 4 * len(ids)):
        # Ids are nearly without gaps, so a table of places is quicker than a search.
        table = np.full(span, -1, dtype=np.int32)
        table[ids - ids[0]] = np.arange(len(ids), dtype=np.int32)
        inside = (wanted >= ids[0]) & (wanted <= ids[-1])
        places = table[np.where(inside, wanted - ids[0], 0)]
        found = inside & (places >= 0)
    else:
        places = np.searchsorted(ids, wanted).astype(np.int32)
        found = places < len(ids)
        found[found] = ids[places[found]] == wanted[found]
    if not found.all():
        raise ValueError(f"votes name {what} that are not listed")
    return places


def in_context(matrix: VoteMatrix, raw_votes: pl.DataFrame, participants: pl.DataFrame) -> VoteMatrix:
    """Add what the engine of Polis sees beside the votes that count.

    Args:
        matrix: Votes of kept participants on statements that are in.
        raw_votes: All votes: `participant_id`, `statement_id`, `vote`, `voted_at`.
        participants: `participant_id`, `fate`. Votes of the excluded are nowhere taken into account.

    Returns:
        The same votes, with the number of statements moderated out, the votes of those who cast too few, and the
        order of joining by the time of the first vote that counts (by id where a time is missing).
    """
    counted = raw_votes.join(
        participants.filter(pl.col("fate") != "excluded"), on="participant_id", how="semi"
    )
    statement_ids = pl.Series("statement_id", matrix.statement_ids)
    voted_on = counted["statement_id"].unique()
    few = participants.filter(pl.col("fate") == "too few votes")
    theirs = counted.join(few, on="participant_id", how="semi").filter(
        pl.col("statement_id").is_in(statement_ids.implode())
    )
    below_minimum = vote_matrix(theirs, few["participant_id"], statement_ids) if few.height else None
    moderated_out = int((~voted_on.is_in(statement_ids.implode())).sum())
    return replace(
        matrix, moderated_out=moderated_out, below_minimum=below_minimum, joined=_joined(matrix, counted)
    )


def _joined(matrix: VoteMatrix, votes: pl.DataFrame) -> np.ndarray | None:
    first = votes.group_by("participant_id").agg(pl.col("voted_at").min())
    people = pl.DataFrame({"participant_id": matrix.participant_ids}, schema={"participant_id": pl.Int64})
    times = people.join(first, on="participant_id", how="left", maintain_order="left")["voted_at"]
    # Ids ascend along the matrix, so that equal times keep the order of ids.
    return None if times.null_count() else times.rank("ordinal").to_numpy()
