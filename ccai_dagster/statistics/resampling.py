"""Drawing prompts and raters anew: how far a figure would move with other prompts and other people.

Belongs here: sums over resampled prompts and raters, and which of their quantiles make an interval. Doesn't belong
here: what is summed. Single ratings are never resampled: those of one prompt, or of one rater, are alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ccai_dagster.statistics.intervals import CHUNK_CELLS, bootstrap_levels

PROMPTS, RATERS = "prompts", "raters"


def resampled_totals(
    values: np.ndarray,
    prompts: Sequence[str],
    raters: Sequence[tuple[str, ...]],
    *,
    bootstraps: int,
    seed: int,
    redrawn: Sequence[str] = (PROMPTS, RATERS),
) -> np.ndarray:
    """Sum rows over prompts drawn anew and, where there are two raters or more, over raters drawn anew as well.

    Both are drawn with replacement and independently; a row counts as often as its prompt times its raters
    (Owen 2007, "The pigeonhole bootstrap", Annals of Applied Statistics 1(2), 386-411: for two crossed factors
    this errs, if at all, on the wide side).

    Args:
        values: Shape (rows, columns).
        prompts: Of each row.
        raters: Of each row: one, or two where a row is about both.
        seed: Of the draws; the order of the rows does not matter beyond rounding.
        redrawn: Which of the two are drawn anew; the other stays as it is.

    Returns:
        Shape (bootstraps, columns).
    """
    names, prompt_of = np.unique(np.asarray(prompts, dtype=str), return_inverse=True)
    people = {name: at for at, name in enumerate(sorted({name for each in raters for name in each}))}
    groups: dict[tuple[str, ...], list[int]] = {}
    for row, each in enumerate(raters):
        groups.setdefault(each, []).append(row)
    generator = np.random.default_rng(seed)
    chunk = max(1, CHUNK_CELLS // max(1, len(names)))
    parts = []
    for start in range(0, bootstraps, chunk):
        size = min(chunk, bootstraps - start)
        prompt_draws = _draws(generator, len(names), size, PROMPTS in redrawn)
        rater_draws = _draws(generator, len(people), size, RATERS in redrawn and len(people) > 1)
        total = np.zeros((size, values.shape[1]))
        for each in sorted(groups):
            rows = np.array(groups[each])
            weight = np.prod([rater_draws[:, people[name]] for name in each], axis=0)
            total += weight[:, None] * (prompt_draws[:, prompt_of[rows]] @ values[rows])
        parts.append(total)
    return np.concatenate(parts)


def resampled_figures(
    values: np.ndarray,
    prompts: Sequence[str],
    raters: Sequence[tuple[str, ...]],
    figures: Callable[[np.ndarray], np.ndarray],
    *,
    bootstraps: int,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Compute figures from resampled sums, and tell how many independent units each of them rests on.

    Args:
        values: As the other arguments for `resampled_totals`, at least one row.
        figures: From sums, shape (bootstraps, columns), to figures, shape (bootstraps, figures); NaN where one
            is not defined.

    Returns:
        The figures, shape (bootstraps, figures), and `effective_units` of each, shape (figures,).
    """
    n_prompts, n_raters = len(set(prompts)), len({name for each in raters for name in each})

    def drawn(*redrawn: str) -> np.ndarray:
        totals = resampled_totals(values, prompts, raters, bootstraps=bootstraps, seed=seed, redrawn=redrawn)
        return figures(totals)

    found = drawn(PROMPTS, RATERS)
    if n_raters < 2:
        return found, np.full(found.shape[1], float(n_prompts))
    variances = [_variances(drawn(each)) for each in (PROMPTS, RATERS)]
    units = [
        effective_units(by_prompt, n_prompts, by_rater, n_raters)
        for by_prompt, by_rater in zip(*variances, strict=True)
    ]
    return found, np.array(units)


def effective_units(prompt_variance: float, n_prompts: int, rater_variance: float = 0.0, n_raters: int = 1) -> float:
    """Return how many independent units a figure rests on that varies with prompts and raters.

    Welch's and Satterthwaite's degrees of freedom of the sum of both variances, plus one: near the number of
    prompts if it is prompts that matter, near the number of raters if these do. A single rater is not drawn
    anew, so everything then holds for this rater only.

    Args:
        prompt_variance: Of the figure when only prompts are drawn anew.
        n_prompts: How many there are, at least 1.
        rater_variance: Of the figure when only raters are.
        n_raters: How many there are, at least 1.
    """
    if n_raters < 2 or n_prompts < 2:
        return float(n_prompts)
    parts = prompt_variance**2 / (n_prompts - 1) + rater_variance**2 / (n_raters - 1)
    if parts == 0:
        return float(min(n_prompts, n_raters))
    return 1 + (prompt_variance + rater_variance) ** 2 / parts


def percentile_interval(resampled: np.ndarray, n_units: float) -> tuple[float, float]:
    """Return the 95 % interval of resampled values, shape (bootstraps,)."""
    low, high = np.quantile(resampled, bootstrap_levels(n_units))
    return float(low), float(high)


def _draws(generator: np.random.Generator, count: int, size: int, anew: bool) -> np.ndarray:
    if not anew:
        return np.ones((size, count))
    return generator.multinomial(count, np.full(count, 1 / count), size=size).astype(float)


def _variances(figures: np.ndarray) -> list[float]:
    """Return the variance of each figure over the resamples in which it is defined; 0 if it is in none."""
    defined = [column[np.isfinite(column)] for column in figures.T]
    return [float(np.var(column)) if column.size else 0.0 for column in defined]
