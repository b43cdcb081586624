"""Did this constitution cause this behaviour? How much training lifts its own principles, and how much others.

A model that became better at everything lifts every column alike; one that follows its constitution lifts its own and
the shared principles. Rejected statements are the negative controls: their lift should be nil.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from ccai_dagster.consultation import BASE
from ccai_dagster.contracts import SPECIFICITY
from ccai_dagster.decisions.findings import Finding
from ccai_dagster.evaluation.clustered import LEVEL, Comparison, Ratio, compare_scores
from ccai_dagster.evaluation.labelled_examples import REJECTED
from ccai_dagster.evaluation.multiple_tests import holm
from ccai_dagster.evaluation.prompt_means import clustered_mean, sign_flip_p_value
from ccai_dagster.feedback.draws import derived_seed

KINDS = ("own", "shared", "other", "rejected")
"""Columns of the matrix, in the order they are read."""


def specificity(
    adherence: Mapping[str, pl.DataFrame],
    controls: Mapping[str, pl.DataFrame],
    margins: Mapping[str, pl.DataFrame],
    overlap: pl.DataFrame,
    seed: int,
) -> pl.DataFrame:
    """Compare each trained model with the untrained one, by kind of principle and by both measures.

    Lifts are paired: by response to the same prompt under the same principle (judge), by contrast pair (margin), each
    with its 95 % interval over prompts. The judge's figures are not corrected by labels: what is the same error for
    every model cancels out, and a judge at chance finds no lift where there is one. Conflicts between principles of
    one constitution are left out: they have no side that training should lift.

    Args:
        adherence: ADHERENCE for each arm and `base`.
        controls: ADHERENCE under control statements, for each arm and `base`.
        margins: CONTRAST_MARGINS for each arm and `base`.
        overlap: CONSTITUTION_OVERLAP.
        seed: Of resampling and of signs.

    Returns:
        SPECIFICITY, sorted by its key: a row for every arm, kind and measure, also for those without a figure.
    """
    judged = {
        arm: pl.concat([table, controls[arm]]).select(
            "constitution_arm", "principle_id", "prompt_id", cluster="prompt_id", value="probability"
        )
        for arm, table in adherence.items()
    }
    scored = {
        arm: table.filter(pl.col("against_id").is_null()).select(
            "constitution_arm", "principle_id", "pair_id", cluster="prompt", value="margin"
        )
        for arm, table in margins.items()
    }
    chance = any(table["judge_at_chance"].any() for table in adherence.values())
    rows: list[dict[str, Any]] = []
    for arm in adherence:
        if arm == BASE:
            continue
        shared = _shared(overlap, arm)
        for measure, tables in (("judge", judged), ("margin", scored)):
            lifts = _lifts(tables[arm], tables[BASE])
            kinds = [
                _kind(arm, of, name, shared)
                for of, name in lifts.select("constitution_arm", "principle_id").rows()
            ]
            lifts = lifts.with_columns(pl.Series("kind", kinds, pl.String))
            rows += [
                {"arm": arm, "kind": kind, "measure": measure}
                | _cell(lifts.filter(kind=kind), measure, derived_seed(seed, arm, kind, measure))
                | {"judge_at_chance": chance and measure == "judge"}
                for kind in KINDS
            ]
    for kind in KINDS:
        family = [row for row in rows if row["kind"] == kind and row["p_value"] is not None]
        for row, adjusted in zip(family, holm([row["p_value"] for row in family]), strict=True):
            row["adjusted_p"] = adjusted
    return SPECIFICITY.build(rows).sort(SPECIFICITY.key)


def controls_at_nil(matrix: pl.DataFrame) -> list[Finding]:
    """Warn of negative controls that training moved.

    Args:
        matrix: SPECIFICITY.

    Returns:
        A warning for each cell of rejected statements whose p-value, corrected by Holm over these cells, is below
        `LEVEL`.
    """
    moved = matrix.filter((pl.col("kind") == "rejected") & (pl.col("adjusted_p") < LEVEL)).sort(
        "arm", "measure"
    )
    units = {"judge": "in the judge's probability", "margin": "nats a token in the margin of contrast pairs"}
    return [
        Finding(
            "warning", "", None, f"{row['arm']}, by {row['measure']}",
            f"training moved statements that are in no constitution: by {row['lift']:+.3f} {units[row['measure']]}, "
            f"95 % interval {row['low']:+.3f} to {row['high']:+.3f}, p {row['adjusted_p']:.3f} after Holm; lifts of "
            "principles of about this size show nothing about the constitution",
        )
        for row in moved.iter_rows(named=True)
    ]  # fmt: skip


def _shared(overlap: pl.DataFrame, arm: str) -> set[tuple[str, str]]:
    """Principles that `arm` shares with another constitution, from either side: by people's tags where they exist."""
    shared = pl.coalesce("shared_by_tags", "shared")
    alike = overlap.filter(shared & ((pl.col("arm") == arm) | (pl.col("other_arm") == arm)))
    return set(alike.select("arm", "principle_id").rows())


def _kind(arm: str, constitution_arm: str, principle_id: str, shared: set[tuple[str, str]]) -> str:
    if constitution_arm == REJECTED:
        return "rejected"
    if (constitution_arm, principle_id) in shared:
        return "shared"
    return "own" if constitution_arm == arm else "other"


def _lifts(after: pl.DataFrame, before: pl.DataFrame) -> pl.DataFrame:
    key = [name for name in after.columns if name not in ("cluster", "value")]
    return (
        after.join(before.select(*key, before="value"), on=key)
        .drop_nulls(["value", "before"])
        .with_columns(lift=pl.col("value") - pl.col("before"))
        .sort(key)
    )


def _cell(lifts: pl.DataFrame, measure: str, seed: int) -> dict[str, Any]:
    cell: dict[str, Any] = {
        "n_principles": lifts.select("constitution_arm", "principle_id").n_unique(),
        "n": lifts.height,
        "n_prompts": lifts["cluster"].n_unique(),
        "lift": None, "low": None, "high": None, "p_value": None, "adjusted_p": None,
    }  # fmt: skip
    if cell["n_prompts"] < 2:
        return cell
    if measure == "judge":
        found = _compared(lifts, seed)
        return cell | {
            "lift": found.difference, "low": found.low, "high": found.high, "p_value": found.p_value,
        }  # fmt: skip
    values, clusters = lifts["lift"].to_numpy(), lifts["cluster"].to_numpy()
    lift, interval = clustered_mean(values, clusters)
    low, high = interval or (None, None)
    return cell | {
        "lift": lift, "low": low, "high": high, "p_value": sign_flip_p_value(values, clusters, seed),
    }  # fmt: skip


def _compared(lifts: pl.DataFrame, seed: int) -> Comparison:
    sums = (
        lifts.group_by("cluster")
        .agg(pl.col("value").sum(), pl.col("before").sum(), n=pl.len())
        .sort("cluster")
    )
    n = sums["n"].cast(pl.Float64).to_numpy()
    pair = Ratio(sums["value"].to_numpy(), n), Ratio(sums["before"].to_numpy(), n)
    (found,) = compare_scores([pair], (0.0, 1.0), seed=seed)
    if found is None:
        raise ValueError("nothing to compare")
    return found
