"""Strengths of arms from comparisons of two that may end in a tie, by maximum likelihood, and their power.

Belongs here: the model, its fit, its curvature, when it has no finite fit, and how large a difference in Elo between
two arms of about equal strength a number of comparisons can show. Doesn't belong here: where comparisons come from,
intervals of what was found.

The model is Davidson's (1970, "On extending the Bradley-Terry model to accommodate ties in paired comparison
experiments", Journal of the American Statistical Association 65, 317-328). With d the difference of two
strengths and v the liking for ties, win, tie and loss have the odds exp(d / 2) : v : exp(-d / 2). A win is
therefore exp(d) times as likely as a loss, however many ties there are; without ties it is Bradley-Terry.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ccai_dagster.statistics.intervals import Z_95

ELO_PER_STRENGTH = 400 / math.log(10)
"""Elo points of a unit of strength, so that a difference of 400 is odds of 10 to 1 (173.7)."""
Z_80 = 0.8416212335729143
"""Normal quantile of a probability of four in five."""
PRIOR = np.array([0.5, 0.0, 0.5])
"""Imagined win, tie and loss of each two arms compared: what Jeffreys' prior adds to a share of two outcomes.

Without it an arm that always wins would have no finite strength. It pulls every difference a little towards 0,
less the more comparisons there are.
"""
_CONVERGED = 1e-9
_LARGEST_STEP = 2.0


@dataclass(frozen=True)
class Fit:
    """One or many fits.

    Attributes:
        strengths: Shape (fits, arms), in natural-log odds; arm 0 is 0.
        tie_log: Logarithm of the liking for ties, shape (fits,); minus infinity where there were none.
    """

    strengths: np.ndarray
    tie_log: np.ndarray


def fit(pairs: np.ndarray, counts: np.ndarray) -> Fit:
    """Fit strengths by Newton's method; the likelihood is concave in strengths and `tie_log`.

    `PRIOR` is added to the counts. A step that would lower the likelihood is halved.

    Args:
        pairs: Indices of the two arms of each pair, shape (pairs, 2); every arm in one, all of them connected.
        counts: Wins of the first, ties and losses, shape (fits, pairs, 3), at least 0, fractions allowed.

    Raises:
        RuntimeError: It did not converge, which a concave function with `PRIOR` never gives cause for.
    """
    games = counts + PRIOR
    design = _incidence(pairs)[:, 1:]
    decided, ties = games[..., [0, 2]].sum(axis=(1, 2)), games[..., 1].sum(axis=1)
    has_ties = ties > 0
    with np.errstate(divide="ignore"):
        start = np.where(has_ties, np.log(2 * ties / decided), -np.inf)
    state = np.column_stack([np.zeros((len(games), design.shape[1])), start])
    likelihood = _log_likelihood(design, state, games)
    for _ in range(200):
        step = _newton_step(design, state, games, has_ties)
        step /= np.maximum(1.0, np.abs(step).max(axis=1, keepdims=True) / _LARGEST_STEP)
        for _ in range(50):
            reached = _log_likelihood(design, state + step, games)
            worse = reached < likelihood - 1e-9 * np.abs(likelihood)
            if not worse.any():
                break
            step[worse] /= 2
        state, likelihood = state + step, reached
        if np.abs(step).max(initial=0.0) < _CONVERGED:
            return Fit(np.column_stack([np.zeros(len(state)), state[:, :-1]]), state[:, -1])
    raise RuntimeError("Bradley-Terry with ties did not converge")


def covariance(pairs: np.ndarray, games: np.ndarray, strengths: np.ndarray, tie_log: float) -> np.ndarray:
    """Return the covariance of differences to arm 0 by the curvature at given strengths.

    Args:
        pairs: As for `fit`.
        games: Comparisons of each pair, `PRIOR` included if it was used, shape (pairs,); arms connected.
        strengths: Shape (arms,).
        tie_log: As in `Fit`.

    Returns:
        Shape (arms, arms); row and column 0 are 0.
    """
    design = _incidence(pairs)[:, 1:]
    state = np.append(strengths[1:] - strengths[0], tie_log)[None]
    spread, crossed, tied = _variances(_outcomes(design, state))
    information = design.T @ (design * (games * spread[0])[:, None])
    if np.isfinite(tie_log):
        across = design.T @ (games * crossed[0])
        information -= np.outer(across, across) / (games * tied[0]).sum()
    whole = np.zeros((len(strengths), len(strengths)))
    whole[1:, 1:] = np.linalg.inv(information)
    return whole


def difference_error(matrix: np.ndarray, one: int, other: int) -> float:
    """Return the standard error of a difference of two strengths from their covariance matrix."""
    variance = matrix[one, one] + matrix[other, other] - 2 * matrix[one, other]
    return float(np.sqrt(max(variance, 0.0)))


def separated(pairs: np.ndarray, counts: np.ndarray, arms: int) -> np.ndarray:
    """Tell for each two arms whether only `PRIOR` keeps their difference finite.

    So it is where wins lead from one arm to the other and none leads back (Ford 1957, "Solution of a ranking
    problem from binary comparisons", American Mathematical Monthly 64(8), 28-33), over any number of arms
    between, with or without the help of ties. In rare patterns of three arms with ties the mark is given
    though a finite fit exists; it is never missing.

    Args:
        pairs: As for `fit`.
        counts: Of one data set, shape (pairs, 3), without `PRIOR`.

    Returns:
        Shape (arms, arms), symmetric.
    """
    wins = np.zeros((arms, arms), dtype=bool)
    ties = np.zeros((arms, arms), dtype=bool)
    for (one, other), (won, tied, lost) in zip(pairs, counts, strict=True):
        wins[one, other] |= won > 0
        wins[other, one] |= lost > 0
        ties[one, other] |= tied > 0
        ties[other, one] |= tied > 0
    found = np.zeros((arms, arms), dtype=bool)
    for steps in (wins, wins | ties):
        reached = _reachable(steps)
        found |= reached ^ reached.T
    return found


def elo_error(n: float, tie_share: float = 0.0) -> float:
    """Return the standard error in Elo of n independent comparisons of two equally strong arms.

    Each comparison tells (1 - tie_share) / 4 about the difference in strength (the variance of half wins less
    half losses under Davidson's model), so the error is 2 / sqrt(n (1 - tie_share)) in natural-log odds.

    Args:
        n: Comparisons, above 0.
        tie_share: Share of them that end in a tie, from 0 and below 1.

    Raises:
        ValueError: n or the share is outside its range.
    """
    if n <= 0 or not 0 <= tie_share < 1:
        raise ValueError(f"{n} comparisons, {tie_share} of them ties")
    return ELO_PER_STRENGTH * 2 / math.sqrt(n * (1 - tie_share))


def smallest_difference(error: float) -> float:
    """Return the smallest difference found whose 95 % interval leaves out zero: 30.5 Elo for 500 comparisons."""
    return Z_95 * error


def detectable_difference(error: float) -> float:
    """Return the true difference whose interval leaves out zero four times in five."""
    return (Z_95 + Z_80) * error


def comparisons_needed(difference: float, tie_share: float = 0.0) -> int:
    """Return how many independent comparisons of two arms detect a difference in Elo four times in five.

    Args:
        difference: In Elo, not 0.
        tie_share: From 0 and below 1.
    """
    return math.ceil((detectable_difference(elo_error(1, tie_share)) / abs(difference)) ** 2)


def _incidence(pairs: np.ndarray) -> np.ndarray:
    """Return +1 for the first and -1 for the second arm of each pair, shape (pairs, arms)."""
    matrix = np.zeros((len(pairs), int(pairs.max()) + 1))
    matrix[np.arange(len(pairs)), pairs[:, 0]] += 1
    matrix[np.arange(len(pairs)), pairs[:, 1]] -= 1
    return matrix


def _reachable(steps: np.ndarray) -> np.ndarray:
    reached = steps.copy()
    for between in range(len(steps)):
        reached |= reached[:, [between]] & reached[[between], :]
    return reached


def _outcomes(design: np.ndarray, state: np.ndarray) -> np.ndarray:
    """Return the probabilities of win, tie and loss, shape (fits, pairs, 3)."""
    half = state[:, :-1] @ design.T / 2
    logits = np.stack([half, np.broadcast_to(state[:, -1:], half.shape), -half], axis=-1)
    odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=-1, keepdims=True))


def _log_likelihood(design: np.ndarray, state: np.ndarray, games: np.ndarray) -> np.ndarray:
    from scipy.special import xlogy

    return np.asarray(xlogy(games, _outcomes(design, state)).sum(axis=(1, 2)))


def _variances(outcomes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the variance of half wins less half losses, its covariance with ties, and the variance of ties."""
    won, tied, lost = np.moveaxis(outcomes, -1, 0)
    mean = (won - lost) / 2
    return (won + lost) / 4 - mean**2, -mean * tied, tied * (1 - tied)


def _newton_step(design: np.ndarray, state: np.ndarray, games: np.ndarray, has_ties: np.ndarray) -> np.ndarray:
    outcomes, totals = _outcomes(design, state), games.sum(axis=-1)
    surplus = games - totals[..., None] * outcomes
    gradient = np.column_stack(
        [(surplus[..., 0] - surplus[..., 2]) / 2 @ design, np.where(has_ties, surplus[..., 1].sum(axis=1), 0)]
    )
    spread, crossed, tied = (totals * each for each in _variances(outcomes))
    size = design.shape[1]
    curvature = np.zeros((len(games), size + 1, size + 1))
    curvature[:, :size, :size] = np.einsum("fp,pi,pj->fij", spread, design, design, optimize=True)
    curvature[:, :size, size] = curvature[:, size, :size] = crossed @ design
    curvature[:, size, size] = np.where(has_ties, tied.sum(axis=1), 1.0)
    return np.asarray(np.linalg.solve(curvature, gradient[..., None])[..., 0])
