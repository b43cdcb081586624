"""How good the feedback model is, on comparisons people have labelled.

Everything that rests on the judge quotes the figures made here; nothing is assumed about a model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

import polars as pl

from ccai_dagster.contracts import JUDGE_CALIBRATION
from ccai_dagster.errors import ConsultationError
from ccai_dagster.feedback.labels import Comparison, Judgement, Method, judge_comparisons
from ccai_dagster.feedback.language_model import LanguageModel
from ccai_dagster.feedback.prompts import PRINCIPLE
from ccai_dagster.progress import Progress, silent

HELPFULNESS_PRINCIPLE = "The response should help the user with what was asked, correctly and clearly."
"""What a comparison is judged under if its file names no principle."""
Z_95 = 1.959963984540054
"""Normal quantile of a two-sided 95 % interval."""


def wilson_interval(successes: float, n: int) -> tuple[float, float]:
    """Return the 95 % score interval of a share (Wilson 1927), (0, 1) for no observation.

    Args:
        successes: Between 0 and `n`; may be fractional where ties count one half, which makes the interval
            a little wider than needed.
        n: Observations.
    """
    if n == 0:
        return 0.0, 1.0
    share = successes / n
    denominator = 1 + Z_95**2 / n
    centre = (share + Z_95**2 / (2 * n)) / denominator
    half = Z_95 * math.sqrt(share * (1 - share) / n + Z_95**2 / (4 * n**2)) / denominator
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return low, high


def calibrate_judge(
    judge: LanguageModel,
    comparisons: Mapping[str, pl.DataFrame],
    methods: Sequence[Method],
    progress: Progress = silent,
) -> pl.DataFrame:
    """Measure how often the feedback model agrees with people.

    Comparisons whose label is one half have no right answer and are left out. A tie of the judge and a
    comparison it does not answer count one half: both say nothing about the responses.

    Args:
        judge: The feedback model.
        comparisons: HELPFULNESS_PAIRS by name, with a column `principle` where they have one.
        methods: The ways of asking.
        progress: Told how many comparisons are judged, over all methods and sets.

    Returns:
        JUDGE_CALIBRATION, one row a method and set.

    Raises:
        ConsultationError: A set without a single decided comparison, or a question beyond the context.
    """
    decided = {
        name: table.filter(pl.col("probability_a") != 0.5).sort("pair_id")
        for name, table in comparisons.items()
    }
    for name, table in decided.items():
        if table.is_empty():
            raise ConsultationError(
                f"Comparisons {name!r}: every label is one half, so no answer is right. "
                "Add decided comparisons."
            )
    total = len(methods) * sum(table.height for table in decided.values())
    finished = 0
    rows = []
    for method in methods:
        for name, table in sorted(decided.items()):
            judgements = judge_comparisons(
                judge,
                _comparisons(table),
                method,
                lambda message, done, _, before=finished: progress(message, before + done, total),
            )
            finished += table.height
            right = [share > 0.5 for share in table["probability_a"]]
            rows.append(
                {
                    "method": method,
                    "comparison_set": name,
                    "feedback_model": judge.name,
                    **agreement(judgements, right),
                }
            )
    return JUDGE_CALIBRATION.build(rows)


def agreement(judgements: Sequence[Judgement], a_is_right: Sequence[bool]) -> dict[str, float | int | bool]:
    """Summarise judgements against labels: the figures of JUDGE_CALIBRATION, without the names.

    `position_bias` and `flip_rate` are over the comparisons answered in both orders; a method that shows
    no order has none by construction (0.5 and 1).
    """
    n = len(judgements)
    answered = [judgement for judgement in judgements if judgement.probability is not None]
    successes = sum(
        0.5
        if judgement.probability is None or judgement.probability == 0.5
        else float((judgement.probability > 0.5) == a_right)
        for judgement, a_right in zip(judgements, a_is_right, strict=True)
    )
    orders = [
        (judgement.forward, judgement.reversed)
        for judgement in answered
        if judgement.forward is not None and judgement.reversed is not None
    ]
    low, high = wilson_interval(successes, n)
    return {
        "n": n,
        "n_unanswered": n - len(answered),
        "accuracy": successes / n,
        "accuracy_low": low,
        "accuracy_high": high,
        "position_bias": fmean((first + 1 - second) / 2 for first, second in orders) if orders else 0.5,
        "flip_rate": fmean(float((first > 0.5) == (second > 0.5)) for first, second in orders)
        if orders
        else float(bool(answered)),
        "at_chance": low <= 0.5 <= high,
    }


def _comparisons(table: pl.DataFrame) -> list[Comparison]:
    principles = table[PRINCIPLE] if PRINCIPLE in table.columns else [HELPFULNESS_PRINCIPLE] * table.height
    return [
        Comparison(prompt, response_a, response_b, principle)
        for (prompt, response_a, response_b), principle in zip(
            table.select("prompt", "response_a", "response_b").iter_rows(), principles, strict=True
        )
    ]
