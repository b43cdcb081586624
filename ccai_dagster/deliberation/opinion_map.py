"""Where each participant stands: two coordinates from principal component analysis.

The matrix that is analysed is known by its few votes: B + U V', with B sparse (votes cast) and U V' of rank two or less
(means taken off rows or columns), so that participants x statements are never written out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ccai_dagster.deliberation.votes import Procedure, VoteMatrix

if TYPE_CHECKING:
    from scipy.sparse import csc_array, csr_array

EXACT_WORK = 2e9
"""Up to this many rows x columns x columns the scatter matrix is written out and solved directly."""
DRAWN_WORK, WORK_PER_VOTE = 1.5e7, 1_800
"""The same in one of many draws: so much, and so much more for each vote.

There iterating is as quick if it reads the votes 72 times, the most that shuffled votes of a real conversation needed
(those of CCAI 21 to 39). Simulated votes, of which everybody casts about as many, need up to 151.
"""
DRAWN_TOLERANCE = 1e-12
"""Relative error of a draw where the votes as cast are solved, whose scatter matrix is rounded by as much."""
COARSE_BASIS, NEAR_BASIS = 12, 8
"""Vectors that an `Iteration` holds, from anywhere and from nearby."""
FEWEST_ITERATED = 10
"""With fewer columns than this there is nothing to iterate."""
VOTES = np.array([-1.0, 0.0, 1.0])
NO_VARIANCE = 1e-9
"""A total variance below this is rounding."""


@dataclass(frozen=True)
class OpinionMap:
    """Positions of participants.

    Attributes:
        positions: Shape (participants, 2).
        explained_variance: Shares of variance of the two components, each in [0, 1].
        components: Shape (statements, 2), of unit length.
    """

    positions: np.ndarray
    explained_variance: tuple[float, float]
    components: np.ndarray


@dataclass(frozen=True)
class Iteration:
    """How components are iterated in one of many draws.

    Attributes:
        tolerance: Relative error of their variances above `EXACT_WORK`, where machine precision tells nothing. Where
            votes have no structure many directions have nearly the same variance, and it would take hundreds of steps.
        near: Components of nearly the same votes, shape (statements, 2), to start from.
    """

    tolerance: float
    near: np.ndarray | None = None


def opinion_map(
    matrix: VoteMatrix, procedure: Procedure, weights: np.ndarray | None = None, iteration: Iteration | None = None
) -> OpinionMap:
    """Project participants onto two principal components.

    `default` and `polis` take participants as observations, centre every statement, and multiply each position
    by the square root of (statements / votes cast), so that people who voted little are not drawn to the middle
    (Polis, `pca.clj`; Small et al. 2021). `polis` moreover counts every statement that was moderated out, or set
    apart as metadata, as a pass by everybody, leaves out statements nobody voted on, and computes means and
    components with the votes of those who cast too few, too (`conversation.clj`). Its components are computed
    exactly; the engine's own power iteration stops after 100 steps and above 10,000 participants reads samples.

    `paper` takes statements as observations and uses the loadings of the participants, unscaled: this is what
    the notebook of Huang et al. (2024) does, and the only variant that gives its explained variance of 0.0729
    and 0.0420.

    The sign of a component is arbitrary; it is fixed so that the coordinate's largest value is positive.

    Args:
        weights: Shape (participants,), how often each counts; all once if None.
        iteration: How components are iterated in one of many draws, as in `principal_components`.

    Returns:
        Positions are all zero if the votes do not vary.
    """
    weights = np.ones(len(matrix.participant_ids)) if weights is None else weights.astype(float)
    whole, counts = _with_below_minimum(matrix, weights) if procedure.name == "polis" else (matrix, weights)
    centred = _centred(whole, procedure, counts)
    found = principal_components(centred, iteration)
    positions = centred.times(found.vectors)[: len(weights)]
    if procedure.name == "paper":
        positions = positions / np.sqrt(np.where(found.values > 0, found.values, 1.0))
    else:
        positions = positions * _sparsity_scaling(matrix, whole, procedure)[:, None]
    if len(positions):
        largest = positions[np.abs(positions).argmax(axis=0), [0, 1]]
        positions = positions * np.where(largest < 0, -1.0, 1.0)
    shares = found.values / found.total if found.total > 0 else np.zeros(2)
    return OpinionMap(positions, (float(shares[0]), float(shares[1])), found.vectors)


def _centred(matrix: VoteMatrix, procedure: Procedure, weights: np.ndarray) -> LowRank:
    """Votes, imputed, less the mean of each statement; for `paper` less the mean of each participant."""
    people, width = matrix.shape
    none = np.zeros((people, 0)), np.zeros((width, 0))
    means = statement_means(matrix, weights)
    if procedure.imputation == "column_mean":
        # What was not cast is the mean, so that only votes cast differ from it.
        cells, left, right = matrix.cells((VOTES - means[:, None]).ravel()[matrix.by_vote.indices]), *none
        filled = np.ones((people, 1)), means[:, None]
    else:
        cells = matrix.cells(matrix.vote.astype(float))
        overall = np.bincount(matrix.column, weights=weights[matrix.row] * matrix.vote, minlength=width)
        left, right = np.ones((people, 1)), -(overall / max(weights.sum(), 1.0))[:, None]
        filled = none
    if procedure.name != "paper":
        return LowRank(cells, left, right, weights)
    row_means = (cells.sum(axis=1) + filled[0] @ filled[1].sum(axis=0)) / max(width, 1)
    ones = np.ones((width, 1))
    return LowRank(cells, np.hstack([filled[0], row_means[:, None]]), np.hstack([filled[1], -ones]), weights)


def _sparsity_scaling(matrix: VoteMatrix, whole: VoteMatrix, procedure: Procedure) -> np.ndarray:
    statements, passed = matrix.shape[1], 0
    if procedure.name == "polis":
        passed = matrix.moderated_out
        statements = len(np.unique(whole.column)) + passed
    return np.asarray(np.sqrt(statements / np.maximum(matrix.votes_by_participant + passed, 1)))


def _with_below_minimum(matrix: VoteMatrix, weights: np.ndarray) -> tuple[VoteMatrix, np.ndarray]:
    others = matrix.below_minimum
    if others is None:
        return matrix, weights
    whole = VoteMatrix(
        np.concatenate([matrix.participant_ids, others.participant_ids]),
        matrix.statement_ids,
        np.concatenate([matrix.row, others.row + np.int32(matrix.shape[0])]),
        np.concatenate([matrix.column, others.column]),
        np.concatenate([matrix.vote, others.vote]),
    )
    return whole, np.concatenate([weights, np.ones(others.shape[0])])


def statement_means(matrix: VoteMatrix, weights: np.ndarray) -> np.ndarray:
    """Return the mean vote on each statement, of shape (statements,), in [-1, 1]; 0 where nobody voted.

    Args:
        weights: Shape (participants,), how often each participant counts.
    """
    disagree, passes, agree = (matrix.by_vote.T @ weights).reshape(matrix.shape[1], 3).T
    return np.asarray((agree - disagree) / np.maximum(agree + disagree + passes, 1))


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

    @cached_property
    def _transposed(self) -> csc_array:
        """B', for which scipy looks at every cell anew."""
        return self.cells.T

    def times(self, vectors: np.ndarray) -> np.ndarray:
        """Multiply with vectors of shape (columns, n); the result has the shape (rows, n)."""
        return np.asarray(self.cells @ vectors + self.left @ (self.right.T @ vectors))

    def scatter_times(self, vectors: np.ndarray) -> np.ndarray:
        """Multiply the weighted scatter matrix (columns, columns) with vectors of shape (columns, n)."""
        weighted = self.times(vectors) * self.weights[:, None]
        return np.asarray(self._transposed @ weighted + self.right @ (self.left.T @ weighted))

    def scatter(self) -> np.ndarray:
        """Return the weighted scatter matrix, shape (columns, columns), to nine decimals.

        Rounded so that rows in another order give the same matrix, and the same axes where two are equally long.
        """
        counted = np.flatnonzero(self.weights)
        dense = self.cells[counted].toarray() if len(counted) < len(self.weights) else self.cells.toarray()
        dense += self.left[counted] @ self.right.T
        # Times its own transpose, which is symmetric and takes half as long.
        dense *= np.sqrt(self.weights[counted, None])
        return np.asarray(np.round(dense.T @ dense, 9))

    def total(self) -> float:
        """Return the trace of the scatter matrix."""
        weighted = self.left * self.weights[:, None]
        squared = self.cells.copy()
        squared.data **= 2
        own = self.weights @ (squared @ np.ones(len(self.right)))
        cross = np.sum((self._transposed @ weighted) * self.right)
        return float(own + 2 * cross + np.trace((weighted.T @ self.left) @ (self.right.T @ self.right)))


def principal_components(matrix: LowRank, iteration: Iteration | None = None) -> Components:
    """Return the two components with the largest variance.

    Small matrices are solved directly. Large ones by Lanczos iteration from a fixed start (ARPACK), which reads the
    votes a few dozen times and writes nothing out; to machine precision, or as `iteration` says in one of many draws.
    Those iterate wherever that is quicker, to `DRAWN_TOLERANCE` where the votes as cast are solved directly.
    """
    rows, columns = matrix.cells.shape
    number = min(2, rows, columns)
    solved = EXACT_WORK if iteration is None else min(EXACT_WORK, DRAWN_WORK + WORK_PER_VOTE * matrix.cells.nnz)
    direct = rows * columns**2 <= solved or columns < FEWEST_ITERATED
    scatter = matrix.scatter() if direct else None
    total = matrix.total() if scatter is None else float(np.trace(scatter))
    if not number or total <= NO_VARIANCE:
        return Components(np.zeros((columns, 2)), np.zeros(2), 0.0)
    values, vectors = _iterated(matrix, number, iteration) if scatter is None else _solved(scatter, number)
    order = np.argsort(-values)
    padded = np.zeros((columns, 2))
    padded[:, :number] = vectors[:, order]
    return Components(padded, np.clip(np.append(values[order], [0.0, 0.0])[:2], 0, None), total)


def _solved(scatter: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    from scipy.linalg import eigh

    values, vectors = eigh(scatter, subset_by_index=[len(scatter) - number, len(scatter) - 1])
    return values, vectors


def _iterated(matrix: LowRank, number: int, iteration: Iteration | None) -> tuple[np.ndarray, np.ndarray]:
    from scipy.sparse.linalg import LinearOperator, eigsh

    def times(vector: np.ndarray) -> np.ndarray:
        return matrix.scatter_times(vector.reshape(-1, 1)).ravel()

    rows, columns = matrix.cells.shape
    operator = LinearOperator((columns, columns), matvec=times, dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(columns)
    # The generator is asked for a further vector where the start lies in too small a space.
    tolerance, basis = 0.0, None
    if iteration is not None:
        start = start if iteration.near is None else iteration.near.sum(axis=1)
        tolerance = DRAWN_TOLERANCE
        if rows * columns**2 > EXACT_WORK:
            # A coarser result needs fewer vectors, but ARPACK makes as many as it may hold.
            tolerance, basis = iteration.tolerance, min(columns, COARSE_BASIS if iteration.near is None else NEAR_BASIS)
    values, vectors = eigsh(operator, k=number, v0=start, ncv=basis, tol=tolerance, rng=np.random.default_rng(1))
    return values, vectors
