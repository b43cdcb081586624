"""How well a preference model agrees with labels it has not seen.

Belongs here: accuracy, calibration and dependence on length, each beside what the labels themselves allow.
Doesn't belong here: scoring with the model (`scoring`), choosing what is held out (`preference_pairs`).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import polars as pl

from ccai_dagster.feedback.draws import derived_seed
from ccai_dagster.feedback.intervals import mean_interval
from ccai_dagster.statistics.wilson import Z_95

BOOTSTRAPS = 1000
BIN_EDGES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Confidence of the response the model prefers; equal widths."""
CURVE_SCHEMA = {
    "source": pl.String(),
    "low": pl.Float64(),
    "high": pl.Float64(),
    "n": pl.Int64(),
    "confidence": pl.Float64(),
    "agreement": pl.Float64(),
    "agreement_low": pl.Float64(),
    "agreement_high": pl.Float64(),
}


def held_out_metrics(source: str, pairs: pl.DataFrame, seed: int) -> dict[str, float]:
    """Summarise how well score differences agree with held-out labels of one source.

    Args:
        source: Its name becomes part of the metrics' names.
        pairs: `prompt`, `margin` (score of the preferred response minus score of the other), `target` (label
            of the preferred response, 0.5 to 1), `tokens` (length of the preferred minus that of the other).
        seed: Of the resampling; order of the rows does not matter.

    Returns:
        `held_out_SOURCE_n` (decided pairs: at a label of one half there is no right answer), and where there
        are some, each beside what the labels allow:

        - `accuracy`: how often the likelier response gets the higher score (equal scores count one half),
          with its 95 % interval over prompts; 1 can be reached.
        - `agreement`: how often the model would agree with labels drawn from these probabilities, with its
          interval; `agreement_possible` is the most that any model can reach.
        - `cross_entropy` in nats; `label_entropy` is the least that any model can reach.
        - `calibration_error`: see `calibration_error`, with its interval.
        - `length_correlation` of score differences with differences in length, with its interval;
          `label_length_correlation` is that of the labels.
    """
    name = f"held_out_{source}"
    pairs = pairs.sort("prompt", "margin", "target", "tokens")
    decided = pairs.filter(pl.col("target") != 0.5)
    metrics = {f"{name}_n": float(decided.height)}
    if pairs.is_empty():
        return metrics
    prompts = pairs["prompt"].to_numpy()
    margins, targets = pairs["margin"].to_numpy(), pairs["target"].to_numpy()

    def interval(figure: str, values: np.ndarray, clusters: np.ndarray) -> dict[str, float]:
        low, high = mean_interval(
            values, clusters, (0.0, 1.0), bootstraps=BOOTSTRAPS, seed=derived_seed(seed, figure, source)
        )
        return {
            f"{name}_{figure}": float(values.mean()),
            f"{name}_{figure}_low": low,
            f"{name}_{figure}_high": high,
        }

    if decided.height:
        right = (np.sign(decided["margin"].to_numpy()) + 1) / 2
        metrics |= interval("accuracy", right, decided["prompt"].to_numpy())
    metrics |= interval("agreement", _agreement(margins, targets), prompts)
    metrics[f"{name}_agreement_possible"] = float(targets.mean())
    metrics[f"{name}_cross_entropy"] = float(
        (targets * np.logaddexp(0, -margins) + (1 - targets) * np.logaddexp(0, margins)).mean()
    )
    metrics[f"{name}_label_entropy"] = float(np.mean([_entropy(target) for target in targets]))
    low, high = _bootstrap(
        lambda rows: calibration_error(margins[rows], targets[rows]),
        prompts,
        derived_seed(seed, "calibration", source),
    )
    metrics |= {
        f"{name}_calibration_error": calibration_error(margins, targets),
        f"{name}_calibration_error_low": low,
        f"{name}_calibration_error_high": high,
    }
    tokens = pairs["tokens"].to_numpy().astype(float)
    metrics |= _correlation(f"{name}_length_correlation", margins, tokens)
    labels = _correlation("labels", 2 * targets - 1, tokens)
    return metrics | ({f"{name}_label_length_correlation": labels["labels"]} if labels else {})


def calibration_error(margins: np.ndarray, targets: np.ndarray) -> float:
    """Return the expected calibration error (Guo et al. 2017, equation 5) over the bins of `BIN_EDGES`.

    A comparison's confidence is the probability that the logistic of the score difference gives to the
    response the model prefers; what it is compared with is the label's probability of that response. Small
    samples make it too large, never too small, since noise within a bin counts as error.

    Args:
        margins: Score of the preferred response minus that of the other, shape (n,), n at least 1.
        targets: Labels of the preferred response, 0.5 to 1, shape (n,).
    """
    confidence, agreement, bins = _binned(margins, targets)
    return sum(
        abs(float((confidence[bins == each] - agreement[bins == each]).sum())) for each in np.unique(bins)
    ) / len(margins)


def calibration_curve(source: str, pairs: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Return confidence and agreement by bin of confidence; empty bins are left out.

    Args:
        source: Name for the rows.
        pairs: As in `held_out_metrics`.
        seed: Of the resampling.

    Returns:
        `source`, `low`, `high` (edges), `n`, mean `confidence`, mean `agreement` with its 95 % interval
        over prompts.
    """
    pairs = pairs.sort("prompt", "margin", "target", "tokens")
    confidence, agreement, bins = _binned(pairs["margin"].to_numpy(), pairs["target"].to_numpy())
    prompts = pairs["prompt"].to_numpy()
    rows = []
    for each in np.unique(bins):
        own = bins == each
        low, high = mean_interval(
            agreement[own],
            prompts[own],
            (0.0, 1.0),
            bootstraps=BOOTSTRAPS,
            seed=derived_seed(seed, "curve", source, int(each)),
        )
        rows.append((source, BIN_EDGES[each], BIN_EDGES[each + 1], int(own.sum()), float(confidence[own].mean()),
                     float(agreement[own].mean()), low, high))  # fmt: skip
    return pl.DataFrame(rows, schema=CURVE_SCHEMA, orient="row")


def _binned(margins: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    confidence = 1 / (1 + np.exp(-np.minimum(np.abs(margins), 700.0)))
    bins = np.clip(np.searchsorted(BIN_EDGES, confidence, side="right") - 1, 0, len(BIN_EDGES) - 2)
    return confidence, _agreement(margins, targets), bins


def _agreement(margins: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Probability that a label drawn with these probabilities prefers what the model prefers."""
    return np.where(margins > 0, targets, np.where(margins < 0, 1 - targets, 0.5))


def _correlation(name: str, first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    """Correlation over both orders of every pair, so that it does not matter which response comes first.

    Both means are then zero, and it is the cosine of the two vectors. The interval is Fisher's, which
    presumes independent pairs.
    """
    scale = math.sqrt(float((first**2).sum() * (second**2).sum()))
    if len(first) < 4 or scale == 0:
        return {}
    r = float(np.clip((first * second).sum() / scale, -1, 1))
    if abs(r) == 1:
        return {name: r, f"{name}_low": r, f"{name}_high": r}
    half = Z_95 / math.sqrt(len(first) - 3)
    return {
        name: r,
        f"{name}_low": math.tanh(math.atanh(r) - half),
        f"{name}_high": math.tanh(math.atanh(r) + half),
    }


def _bootstrap(
    statistic: Callable[[np.ndarray], float], clusters: np.ndarray, seed: int
) -> tuple[float, float]:
    """Percentile interval of a statistic of rows, resampling clusters."""
    names, index = np.unique(clusters, return_inverse=True)
    members = [np.flatnonzero(index == each) for each in range(len(names))]
    generator = np.random.default_rng(seed)
    drawn = generator.integers(0, len(names), size=(BOOTSTRAPS, len(names)))
    values = [statistic(np.concatenate([members[each] for each in row])) for row in drawn]
    return float(np.quantile(values, 0.025)), float(np.quantile(values, 0.975))


def _entropy(share: float) -> float:
    return -sum(part * math.log(part) for part in (share, 1 - share) if part > 0)
