"""Votes as a matrix: rows are participants, columns are statements, both sorted by id."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl


@dataclass(frozen=True)
class VoteMatrix:
    """Votes with the ids of rows and columns.

    Attributes:
        participant_ids: Shape (participants,), ascending.
        statement_ids: Shape (statements,), ascending.
        cast: Shape (participants, statements), whether a vote was cast.
        values: Same shape, float64, -1, 0 or 1; 0 where no vote was cast.
    """

    participant_ids: np.ndarray
    statement_ids: np.ndarray
    cast: np.ndarray
    values: np.ndarray


def vote_matrix(votes: pl.DataFrame, participant_ids: pl.Series, statement_ids: pl.Series) -> VoteMatrix:
    """Lay out votes by id; participants and statements without votes keep an empty row or column.

    Args:
        votes: `participant_id`, `statement_id`, `vote`; every id must be among the two next arguments.
        participant_ids: All participants, in any order.
        statement_ids: All statements, in any order.

    Raises:
        ValueError: A vote names an id that is not listed.
    """
    rows, columns = np.unique(participant_ids.to_numpy()), np.unique(statement_ids.to_numpy())
    row = np.searchsorted(rows, votes["participant_id"].to_numpy())
    column = np.searchsorted(columns, votes["statement_id"].to_numpy())
    known = (row < len(rows)) & (column < len(columns))
    if not known.all() or not (
        (rows[row] == votes["participant_id"].to_numpy()).all()
        and (columns[column] == votes["statement_id"].to_numpy()).all()
    ):
        raise ValueError("votes name participants or statements that are not listed")
    cast = np.zeros((len(rows), len(columns)), dtype=bool)
    values = np.zeros((len(rows), len(columns)))
    cast[row, column] = True
    values[row, column] = votes["vote"].to_numpy()
    return VoteMatrix(rows, columns, cast, values)
