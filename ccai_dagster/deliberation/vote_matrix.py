"""Votes as a matrix: rows are participants, columns are statements, both sorted by id.

Votes are few among the cells (a tenth is usual), so they are held as a list of cells; the dense arrays are made
only where somebody asks for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl


@dataclass(frozen=True)
class VoteMatrix:
    """Votes with the ids of rows and columns.

    Attributes:
        participant_ids: Shape (participants,), ascending.
        statement_ids: Shape (statements,), ascending.
        row: Shape (votes,), int32, place of each vote's participant in `participant_ids`, ascending.
        column: Shape (votes,), int32, place of its statement in `statement_ids`, ascending within a row.
        vote: Shape (votes,), int8, -1, 0 or 1.
    """

    participant_ids: np.ndarray
    statement_ids: np.ndarray
    row: np.ndarray
    column: np.ndarray
    vote: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of participants and statements."""
        return len(self.participant_ids), len(self.statement_ids)

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
    order = np.lexsort((column, row))
    return VoteMatrix(
        rows, columns, row[order], column[order], votes["vote"].to_numpy()[order].astype(np.int8)
    )


def _places(ids: np.ndarray, wanted: np.ndarray, what: str) -> np.ndarray:
    places = np.searchsorted(ids, wanted)
    if (places >= len(ids)).any() or not (ids[places] == wanted).all():
        raise ValueError(f"votes name {what} that are not listed")
    return places.astype(np.int32)
