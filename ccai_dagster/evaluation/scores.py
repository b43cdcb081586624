"""One table of all scores: benchmarks, adherence and Elo of every arm, with 95 % intervals and differences.

Intervals are made in `intervals`, sentences about them in `findings`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from ccai_dagster.consultation import BASE
from ccai_dagster.contracts import EVAL_SCORES
from ccai_dagster.errors import ConsultationError
from ccai_dagster.evaluation.outcomes import PEOPLE
from ccai_dagster.feedback.draws import derived_seed
from ccai_dagster.feedback.intervals import Interval, mean_interval

ALL = "all"
ADHERENCE_SCORES = "adherence"
ELO_BENCHMARK, PEOPLE_ELO = "elo", "elo_by_people"
"""Elo by the feedback model's comparisons, and by people's."""


def metric_limits(metric: str) -> Interval:
    """Return the smallest and largest value of a metric: -1 to 1 for bias, 0 to 1 for everything else."""
    return (-1.0, 1.0) if metric.startswith("bias_") else (0.0, 1.0)


def score_table(
    items: Mapping[str, Mapping[str, pl.DataFrame]],
    adherence: Mapping[str, pl.DataFrame],
    elo: pl.DataFrame,
    baseline: str,
    bootstraps: int,
    seed: int,
    judge_at_chance: bool,
) -> pl.DataFrame:
    """Put every score of every arm in one table.

    Values are means over items, per category and for `all`. Intervals resample clusters (templates; prompts
    for adherence). Differences are paired by item: each arm with the baseline arm, the baseline arm with
    `base`. Adherence has one category a constitution and no `all`: a mean over different constitutions
    means nothing. Elo is a difference to `base` already and is paired with nothing else.

    Args:
        items: For each arm and `base`, BENCHMARK_ITEMS by name of the benchmark.
        adherence: ADHERENCE for each arm and `base`.
        elo: ELO_SCORES.
        baseline: The arm others are compared with.
        bootstraps: Resamples of each interval.
        seed: Of the resampling.
        judge_at_chance: Whether the feedback model's measured accuracy includes one half.

    Returns:
        EVAL_SCORES, sorted by its key.

    Raises:
        ConsultationError: Arms were evaluated on different items.
        ValueError: `base` or the baseline is missing, or a benchmark has a reserved name.
    """
    for tables in (items, adherence):
        if missing := {BASE, baseline} - set(tables):
            raise ValueError(f"no results of {sorted(missing)}")
    rows: list[dict[str, Any]] = []
    for benchmark in sorted({name for tables in items.values() for name in tables}):
        if benchmark in (ADHERENCE_SCORES, ELO_BENCHMARK, PEOPLE_ELO):
            raise ValueError(f"{benchmark!r} is the name of other scores; call the benchmark something else")
        columns = ["metric", "item_id", "cluster", "category", "value", "answered"]
        empty = pl.DataFrame(schema=[*columns])
        by_arm = {
            arm: tables[benchmark].select(columns) for arm, tables in items.items() if benchmark in tables
        }
        by_arm = {arm: by_arm.get(arm, empty) for arm in items}
        for metric, category, parts in _parts(benchmark, by_arm, with_all=True):
            rows += _rows(benchmark, metric, category, parts, baseline, bootstraps, seed, False)
    by_arm = {arm: _adherence_items(table) for arm, table in adherence.items()}
    for metric, category, parts in _parts(ADHERENCE_SCORES, by_arm, with_all=False):
        rows += _rows(ADHERENCE_SCORES, metric, category, parts, baseline, bootstraps, seed, judge_at_chance)
    rows += [_elo_row(row) for row in elo.iter_rows(named=True)]
    return EVAL_SCORES.build(rows).sort(EVAL_SCORES.key)


def _adherence_items(table: pl.DataFrame) -> pl.DataFrame:
    return table.select(
        pl.lit(ADHERENCE_SCORES).alias("metric"),
        pl.concat_str("constitution_arm", "principle_id", "prompt_id", separator="/").alias("item_id"),
        pl.col("prompt_id").alias("cluster"),
        pl.col("constitution_arm").alias("category"),
        pl.col("probability").alias("value"),
        pl.col("probability").is_not_null().alias("answered"),
    )


def _parts(
    name: str, by_arm: Mapping[str, pl.DataFrame], *, with_all: bool
) -> Iterator[tuple[str, str, dict[str, pl.DataFrame]]]:
    """Yield metric, category and the rows of each arm, having checked that the arms share their items."""
    reference = by_arm[BASE].select("metric", "item_id", "category").sort("metric", "item_id")
    for arm, table in sorted(by_arm.items()):
        if not table.select("metric", "item_id", "category").sort("metric", "item_id").equals(reference):
            raise ConsultationError(
                f"{name}: {arm} was evaluated on other items than {BASE}, so they cannot be compared. The "
                f"file or the settings changed in between: evaluate {arm} and {BASE} again."
            )
    for metric in sorted(reference["metric"].unique()):
        own = {arm: table.filter(pl.col("metric") == metric) for arm, table in by_arm.items()}
        categories = sorted(own[BASE]["category"].unique())
        if with_all:
            yield metric, ALL, own
        for category in categories:
            if category != ALL or not with_all:
                yield (
                    metric,
                    category,
                    {arm: table.filter(pl.col("category") == category) for arm, table in own.items()},
                )


def _rows(
    benchmark: str,
    metric: str,
    category: str,
    parts: Mapping[str, pl.DataFrame],
    baseline: str,
    bootstraps: int,
    seed: int,
    judge_at_chance: bool,
) -> Iterator[dict[str, Any]]:
    low, high = metric_limits(metric)
    for arm, table in parts.items():
        other = {BASE: None, baseline: BASE}.get(arm, baseline)
        scored = table.drop_nulls("value")
        interval = mean_interval(
            scored["value"].to_numpy(),
            scored["cluster"].to_numpy(),
            (low, high),
            bootstraps=bootstraps,
            seed=derived_seed(seed, "interval", benchmark, metric, category, arm),
        )
        row = {
            "arm": arm,
            "benchmark": benchmark,
            "metric": metric,
            "category": category,
            "n": table.height,
            "n_unanswered": table.height - int(table["answered"].sum()),
            "value": scored["value"].mean(),
            "low": interval[0],
            "high": interval[1],
            "compared_with": other,
            "difference": None,
            "difference_low": None,
            "difference_high": None,
            "p_value": None,
            "adjusted_p": None,
            "smallest_detectable": None,
            "judge_at_chance": judge_at_chance,
        }
        if other is not None:
            pairs = (
                scored.join(parts[other].select("item_id", pl.col("value").alias("other")), on="item_id")
                .drop_nulls("other")
                .with_columns(difference=pl.col("value") - pl.col("other"))
            )
            if pairs.height:
                row["difference"] = pairs["difference"].mean()
                row["difference_low"], row["difference_high"] = mean_interval(
                    pairs["difference"].to_numpy(),
                    pairs["cluster"].to_numpy(),
                    (low - high, high - low),
                    bootstraps=bootstraps,
                    seed=derived_seed(seed, "difference", benchmark, metric, category, arm, other),
                )
        yield row


def _elo_row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "arm": row["arm"],
        "benchmark": PEOPLE_ELO if row["source"] == PEOPLE else ELO_BENCHMARK,
        "metric": row["quality"],
        "category": ALL,
        "n": row["n"],
        "n_unanswered": row["n_unanswered"],
        "value": row["elo"],
        "low": row["elo_low"],
        "high": row["elo_high"],
        "compared_with": None,
        "difference": None,
        "difference_low": None,
        "difference_high": None,
        "p_value": None,
        "adjusted_p": None,
        "smallest_detectable": None,
        "judge_at_chance": row["judge_at_chance"],
    }
