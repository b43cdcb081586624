"""The two largest principal components of a matrix that is mostly known by its few votes.

The matrix is B + U V', with B sparse (votes cast) and U V' of rank two or less (means taken off rows or columns),
so that participants x statements are never written out. What belongs here: linear algebra. What does not: which
means are taken off and how positions are scaled (`opinion_map`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_array

EXACT_WORK = 2e9
"""Up to this many rows x columns x columns the scatter matrix is written out and solved directly."""
FEWEST_ITERATED = 10
"""With fewer columns than this there is nothing to iterate."""
NO_VARIANCE = 1e-9
"""A total variance below this is rounding."""


@dataclass(frozen=True)
class Components:
    """Principal components.

    Attributes:
        vectors: Shape (columns, 2), of unit length, zero where there is no further component.
        values: Shape (2,), variance along them, not divided by the number of rows.
        total: Variance in all directions, likewise.
    """

    vectors: np.ndarray
    values: np.ndarray
    total: float


@dataclass(frozen=True)
class LowRank:
    """A matrix B + U V' with rows that count several times.

    Attributes:
        cells: B, shape (rows, columns).
        left: U, shape (rows, rank).
        right: V, shape (columns, rank).
        weights: Shape (rows,), how often each row counts.
    """

    cells: csr_array
    left: np.ndarray
    right: np.ndarray
    weights: np.ndarray

    def times(self, vectors: np.ndarray) -> np.ndarray:
        """Multiply with vectors of shape (columns, n); the result has the shape (rows, n)."""
        return np.asarray(self.cells @ vectors + self.left @ (self.right.T @ vectors))

    def scatter_times(self, vectors: np.ndarray) -> np.ndarray:
        """Multiply the weighted scatter matrix (columns, columns) with vectors of shape (columns, n)."""
        weighted = self.times(vectors) * self.weights[:, None]
        return np.asarray(self.cells.T @ weighted + self.right @ (self.left.T @ weighted))

    def scatter(self) -> np.ndarray:
        """Return the weighted scatter matrix, shape (columns, columns), to nine decimals.

        Rounded so that rows in another order give the same matrix, and the same axes where two are equally long.
        """
        counted = np.flatnonzero(self.weights)
        dense = self.cells[counted].toarray()
        dense += self.left[counted] @ self.right.T
        return np.asarray(np.round((dense * self.weights[counted, None]).T @ dense, 9))

    def total(self) -> float:
        """Return the trace of the scatter matrix."""
        weighted = self.left * self.weights[:, None]
        row = np.repeat(np.arange(self.cells.shape[0]), np.diff(self.cells.indptr))
        own = (self.weights[row] * self.cells.data**2).sum()
        cross = np.sum((self.cells.T @ weighted) * self.right)
        return float(own + 2 * cross + np.trace((weighted.T @ self.left) @ (self.right.T @ self.right)))


def principal_components(matrix: LowRank) -> Components:
    """Return the two components with the largest variance.

    Small matrices are solved directly. Large ones by Lanczos iteration to machine precision from a fixed start
    (ARPACK), which reads the votes a few dozen times and writes nothing out.
    """
    rows, columns = matrix.cells.shape
    number = min(2, rows, columns)
    direct = rows * columns**2 <= EXACT_WORK or columns < FEWEST_ITERATED
    scatter = matrix.scatter() if direct else None
    total = matrix.total() if scatter is None else float(np.trace(scatter))
    if not number or total <= NO_VARIANCE:
        return Components(np.zeros((columns, 2)), np.zeros(2), 0.0)
    values, vectors = _iterated(matrix, number) if scatter is None else _solved(scatter, number)
    order = np.argsort(-values)
    padded = np.zeros((columns, 2))
    padded[:, :number] = vectors[:, order]
    return Components(padded, np.clip(np.append(values[order], [0.0, 0.0])[:2], 0, None), total)


def _solved(scatter: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    from scipy.linalg import eigh

    values, vectors = eigh(scatter, subset_by_index=[len(scatter) - number, len(scatter) - 1])
    return values, vectors


def _iterated(matrix: LowRank, number: int) -> tuple[np.ndarray, np.ndarray]:
    from scipy.sparse.linalg import LinearOperator, eigsh

    def times(vector: np.ndarray) -> np.ndarray:
        return matrix.scatter_times(vector.reshape(-1, 1)).ravel()

    columns = matrix.cells.shape[1]
    operator = LinearOperator((columns, columns), matvec=times, dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(columns)
    # The generator is asked for a further vector where the start lies in too small a space.
    values, vectors = eigsh(operator, k=number, v0=start, rng=np.random.default_rng(1))
    return values, vectors
