"""One table of all scores: benchmarks, adherence and Elo of every arm, with 95 % intervals and differences.

Belongs here too: wins, ties and losses read off comparisons of two arms, in one form for the feedback model and for
people; strengths that follow are made in `elo`. Intervals and tests are those of `statistics.paired`; sentences about
scores stand in `findings`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl

from ccai_dagster.consultation.folder import BASE
from ccai_dagster.contracts import BENCHMARK_ITEMS, EVAL_SCORES
from ccai_dagster.core.draws import derived_seed
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.evaluation.corrected_adherence import ALL_PRINCIPLES
from ccai_dagster.statistics.intervals import Interval
from ccai_dagster.statistics.paired import Comparison, Ratio, compare_scores, holm, score_intervals

FEEDBACK_MODEL, PEOPLE = "feedback model", "people"
COUNTS = ("win", "tie", "loss")
ALL = "all"
ADHERENCE_SCORES, CORRECTED = "adherence", "adherence_corrected"
"""The benchmark, and the metric that people's labels correct beside the judge's own."""
ELO_BENCHMARK, PEOPLE_ELO = "elo", "elo_by_people"
"""Elo by the feedback model's comparisons, and by people's."""
DIVISORS = {"bias_disambiguated": "person_disambiguated"}
"""Scores that are the sum of one item metric divided by the sum of another; every other score is a mean."""
NOT_COMPARED: dict[str, None] = dict.fromkeys(
    ("difference", "difference_low", "difference_high", "p_value", "adjusted_p", "smallest_detectable")
)
ITEM_COLUMNS = ("metric", "item_id", "cluster", "category")


def score_table(
    items: Mapping[str, Mapping[str, pl.DataFrame]],
    adherence: Mapping[str, pl.DataFrame],
    corrected: pl.DataFrame,
    elo: pl.DataFrame,
    baseline: str,
    bootstraps: int,
    seed: int,
    judge_at_chance: bool,
) -> pl.DataFrame:
    """Put every score of every arm in one table, with a row for each arm it is compared with.

    Scores are means over items, or ratios of sums (`DIVISORS`), per category and for `all`. Clusters are
    resampled: templates, and prompts for adherence. Differences are paired by item (`compared_pairs`). Their p
    values are corrected for the categories of a benchmark's metric; those in the category `all` for all
    benchmarks and metrics; each between the same two arms. Adherence has one category a constitution and no
    `all`: a mean over different constitutions means nothing; beside what the judge says stands what is left of it
    after correction by labelled examples. A correction shifts all arms alike, so the difference of arms is the
    judge's. Elo is a difference to `base` already and is paired with nothing else.

    Args:
        items: For each arm and `base`, BENCHMARK_ITEMS by name of the benchmark.
        adherence: ADHERENCE for each arm and `base`.
        corrected: ADHERENCE_SCORES.
        elo: ELO_SCORES.
        baseline: The arm others are compared with.
        bootstraps: Resamples of each score's interval; differences have a number of their own.
        judge_at_chance: Whether the feedback model's measured accuracy includes one half.

    Returns:
        EVAL_SCORES, sorted by its key.

    Raises:
        ConsultationError: Arms were evaluated on different items, or by another version of a benchmark.
        ValueError: `base` or the baseline is missing, or a benchmark has a reserved name.
    """
    for tables in (items, adherence):
        if missing := {BASE, baseline} - set(tables):
            raise ValueError(f"no results of {sorted(missing)}")
    rows: list[dict[str, Any]] = []
    for benchmark in sorted({name for tables in items.values() for name in tables}):
        if benchmark in (ADHERENCE_SCORES, ELO_BENCHMARK, PEOPLE_ELO):
            raise ValueError(f"{benchmark!r} is the name of other scores; call the benchmark something else")
        empty = _answers(BENCHMARK_ITEMS.empty())
        by_arm = {arm: _answers(tables[benchmark]) if benchmark in tables else empty for arm, tables in items.items()}
        for measure in _measures(benchmark, by_arm, with_all=True):
            rows += _rows(measure, sorted(by_arm), baseline, bootstraps, seed, False)
    by_arm = {arm: _adherence_items(table) for arm, table in adherence.items()}
    for measure in _measures(ADHERENCE_SCORES, by_arm, with_all=False):
        rows += _rows(measure, sorted(by_arm), baseline, bootstraps, seed, judge_at_chance)
    _adjust(rows)
    whole = corrected.filter((pl.col("principle_id") == ALL_PRINCIPLES) & (pl.col("labels") != "none"))
    rows += [_corrected_row(row, judge_at_chance) for row in whole.iter_rows(named=True)]
    rows += [_elo_row(row) for row in elo.iter_rows(named=True)]
    return EVAL_SCORES.build(rows).sort(EVAL_SCORES.key)


def own_scores(benchmark: str, items: pl.DataFrame, bootstraps: int, seed: int) -> pl.DataFrame:
    """Score one model by itself, to look at as soon as it was evaluated.

    Args:
        items: BENCHMARK_ITEMS of one model.
        bootstraps: Resamples of each interval.

    Returns:
        `metric`, `category` (`all` first), `n`, `n_unanswered`, `n_cut`, `value`, `low`, `high` (95 % interval).
    """
    rows = [
        row
        for measure in _measures(benchmark, {BASE: _answers(items)}, with_all=True)
        for row in _rows(measure, [BASE], BASE, bootstraps, seed, False)
    ]
    shown = EVAL_SCORES.build(rows).sort("metric", pl.col("category") != ALL, "category")
    return shown.select("metric", "category", "n", "n_unanswered", "n_cut", "value", "low", "high")


@dataclass(frozen=True)
class Outcomes:
    """What came of the comparisons of one source.

    Attributes:
        source: `FEEDBACK_MODEL` or `PEOPLE`.
        table: `quality`, `prompt_id`, `rater`, `arm_a`, `arm_b`, and how far arm a won, tied and lost (`COUNTS`), 1
            together; null if unanswered.
        judge: Name of the feedback model; empty for people.
        judge_at_chance: Whether it was not measured to be better than chance.
    """

    source: str
    table: pl.DataFrame
    judge: str = ""
    judge_at_chance: bool = False


def judge_outcomes(comparisons: pl.DataFrame) -> Outcomes:
    """Return the feedback model's comparisons: its probability counts as that much of a win."""
    compared, identical = pl.col("status") == "compared", pl.col("status") == "identical"
    answered = pl.when(compared | identical)
    table = comparisons.select(
        "quality",
        "prompt_id",
        pl.lit(FEEDBACK_MODEL).alias("rater"),
        "arm_a",
        "arm_b",
        answered.then(pl.col("probability_a") * compared.cast(pl.Float64)).alias("win"),
        answered.then(identical.cast(pl.Float64)).alias("tie"),
        answered.then((1 - pl.col("probability_a")) * compared.cast(pl.Float64)).alias("loss"),
    )
    names = sorted(comparisons["judge"].unique())
    return Outcomes(FEEDBACK_MODEL, table, ", ".join(names), bool(comparisons["judge_at_chance"].any()))


def people_outcomes(ratings: pl.DataFrame) -> Outcomes:
    """Return people's ratings as outcomes of the arm shown first against the one shown second.

    Args:
        ratings: RATINGS, without those that have lapsed.
    """
    table = ratings.select(
        "quality",
        "prompt_id",
        "rater",
        pl.col("arm_1").alias("arm_a"),
        pl.col("arm_2").alias("arm_b"),
        *(
            (pl.col("rating") == rating).cast(pl.Float64).alias(name)
            for rating, name in zip(("1", "tie", "2"), COUNTS, strict=True)
        ),
    )
    return Outcomes(PEOPLE, table)


@dataclass(frozen=True)
class Measure:
    """One metric of a benchmark in one category: the same items for every arm.

    Attributes:
        benchmark: Name of the benchmark, or `adherence`.
        metric: What is measured.
        category: Category, or `all`.
        items: One row an item, sorted by cluster and id: `cluster`, and for each arm `value_ARM` (nullable),
            `divisor_ARM`, `answered_ARM` and `finished_ARM`.
    """

    benchmark: str
    metric: str
    category: str
    items: pl.DataFrame

    def score(self, arm: str, *others: str) -> Ratio:
        """Return an arm's score by cluster, over the items that it and all others have a value for."""
        both = np.ones(self.items.height, dtype=bool)
        for each in (arm, *others):
            both &= self.items[f"value_{each}"].is_not_null().to_numpy()
        cluster = self.items["cluster"].rle_id().to_numpy()
        above, below = (
            np.bincount(cluster, np.where(both, self.items[name].fill_null(0.0).to_numpy(), 0.0))
            for name in (f"value_{arm}", f"divisor_{arm}")
        )
        return Ratio(above, below)


def metric_limits(metric: str) -> Interval:
    """Return the smallest and largest value of a metric: -1 to 1 for bias, 0 to 1 for everything else."""
    return (-1.0, 1.0) if metric.startswith("bias_") else (0.0, 1.0)


def compared_pairs(arms: Sequence[str], baseline: str) -> list[tuple[str, str]]:
    """Return who is compared with whom: every arm with `base`, and every other arm with the baseline arm."""
    trained = sorted(set(arms) - {BASE})
    return [(arm, BASE) for arm in trained] + [(arm, baseline) for arm in trained if arm != baseline]


def _answers(items: pl.DataFrame) -> pl.DataFrame:
    # Tables of letters that were made before responses told it have no `finished`; a letter is never cut off.
    finished = "finished" if "finished" in items.columns else pl.lit(True).alias("finished")
    return items.select(*ITEM_COLUMNS, "value", "answered", finished)


def _adherence_items(table: pl.DataFrame) -> pl.DataFrame:
    return table.select(
        pl.lit(ADHERENCE_SCORES).alias("metric"),
        pl.concat_str("constitution_arm", "principle_id", "prompt_id", separator="/").alias("item_id"),
        pl.col("prompt_id").alias("cluster"),
        pl.col("constitution_arm").alias("category"),
        pl.col("probability").alias("value"),
        pl.col("probability").is_not_null().alias("answered"),
        "finished",
    )


def _measures(name: str, by_arm: Mapping[str, pl.DataFrame], *, with_all: bool) -> Iterator[Measure]:
    """Join the rows of all arms by item, having checked that the arms share their items."""
    reference = by_arm[BASE].select(ITEM_COLUMNS).sort(ITEM_COLUMNS)
    for arm, table in sorted(by_arm.items()):
        if not table.select(ITEM_COLUMNS).sort(ITEM_COLUMNS).equals(reference):
            raise ConsultationError(
                f"{name}: {arm} was evaluated on other items than {BASE}, so they cannot be compared. The "
                f"file or the settings changed in between: evaluate {arm} and {BASE} again."
            )
    long = pl.concat([table.with_columns(arm=pl.lit(arm)) for arm, table in by_arm.items()])
    for metric in sorted(set(reference["metric"]) - set(DIVISORS.values())):
        wide = _with_divisors(name, metric, long).pivot(
            on="arm",
            index=["cluster", "item_id", "category"],
            values=["value", "divisor", "answered", "finished"],
            on_columns=sorted(by_arm),
        )
        wide = wide.sort("cluster", "item_id")
        if with_all:
            yield Measure(name, metric, ALL, wide)
        for category in sorted(wide["category"].unique()):
            if category != ALL or not with_all:
                yield Measure(name, metric, category, wide.filter(pl.col("category") == category))


def _with_divisors(name: str, metric: str, long: pl.DataFrame) -> pl.DataFrame:
    """Give the items of a metric their divisor: 1, or the value of another metric of the same item and arm."""
    own = long.filter(pl.col("metric") == metric)
    if metric not in DIVISORS:
        return own.with_columns(divisor=pl.lit(1.0))
    others = long.filter(pl.col("metric") == DIVISORS[metric])
    joined = own.join(others.select("arm", "item_id", divisor="value"), on=["arm", "item_id"], how="left")
    if joined["divisor"].has_nulls():
        raise ConsultationError(
            f"{name}: {metric} without {DIVISORS[metric]} of the same items. They were evaluated by another "
            "version: evaluate all arms again."
        )
    return joined


def _rows(
    measure: Measure, arms: Sequence[str], baseline: str, bootstraps: int, seed: int, judge_at_chance: bool
) -> Iterator[dict[str, Any]]:
    limits, pairs = metric_limits(measure.metric), compared_pairs(arms, baseline)
    where = (measure.benchmark, measure.metric, measure.category)
    scores = [measure.score(arm) for arm in arms]
    intervals = score_intervals(scores, limits, bootstraps=bootstraps, seed=derived_seed(seed, "interval", *where))
    comparisons = compare_scores(
        [(measure.score(arm, other), measure.score(other, arm)) for arm, other in pairs],
        limits,
        seed=derived_seed(seed, "difference", *where),
    )
    compared: dict[str, list[tuple[str | None, Comparison | None]]] = defaultdict(list)
    for (arm, other), comparison in zip(pairs, comparisons, strict=True):
        compared[arm].append((other, comparison))
    for arm, score, (low, high) in zip(arms, scores, intervals, strict=True):
        row = {
            "arm": arm,
            "benchmark": measure.benchmark,
            "metric": measure.metric,
            "category": measure.category,
            "n": measure.items.height,
            "n_unanswered": int((~measure.items[f"answered_{arm}"]).sum()),
            "n_cut": int((~measure.items[f"finished_{arm}"]).sum()),
            "value": score.value,
            "low": low,
            "high": high,
            "judge_at_chance": judge_at_chance,
        }
        for with_, comparison in compared[arm] or [(None, None)]:
            yield row | {"compared_with": with_} | NOT_COMPARED | _compared(comparison)


def _compared(comparison: Comparison | None) -> dict[str, Any]:
    if comparison is None:
        return {}
    found = asdict(comparison)
    return found | {"difference_low": found.pop("low"), "difference_high": found.pop("high")}


def _adjust(rows: Sequence[dict[str, Any]]) -> None:
    """Fill in adjusted p values: categories of one measure are a family, and so are all measures as a whole."""
    families: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        measure = () if row["category"] == ALL else (row["benchmark"], row["metric"])
        families[row["arm"], str(row["compared_with"]), *measure].append(row)
    for family in families.values():
        for row, adjusted in zip(family, holm([row["p_value"] for row in family]), strict=True):
            row["adjusted_p"] = adjusted


def _corrected_row(row: Mapping[str, Any], judge_at_chance: bool) -> dict[str, Any]:
    return {
        "arm": row["arm"],
        "benchmark": ADHERENCE_SCORES,
        "metric": CORRECTED,
        "category": row["constitution_arm"],
        "n": row["n"],
        "n_unanswered": row["n_unanswered"],
        "n_cut": row["n_cut"],
        "value": row["adherence"],
        "low": row["low"],
        "high": row["high"],
        "compared_with": None,
        **NOT_COMPARED,
        "judge_at_chance": judge_at_chance,
    }


def _elo_row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "arm": row["arm"],
        "benchmark": PEOPLE_ELO if row["source"] == PEOPLE else ELO_BENCHMARK,
        "metric": row["quality"],
        "category": ALL,
        "n": row["n"],
        "n_unanswered": row["n_unanswered"],
        "n_cut": None,
        "value": row["elo"],
        "low": row["elo_low"],
        "high": row["elo_high"],
        "compared_with": None,
        **NOT_COMPARED,
        "judge_at_chance": row["judge_at_chance"],
    }
