"""Did this constitution cause this behaviour? How much training lifts its own principles, and how much others.

A model that became better at everything lifts every column alike; one that follows its constitution lifts its own and
the shared principles. Three measurements answer it:

- the judge's probabilities under each principle, as for adherence;
- margins of contrast pairs, without a judge: whether the model itself finds a response that keeps a principle likelier
  than one that breaks it. How likely a text is depends on much that has nothing to do with the principle, and that is
  the same before and after training; so what counts is the change against the untrained model;
- negative controls: statements people were allowed to vote on that did not become part of any constitution. No model
  was trained on them, so their lift should be nil.

Conflicts are another matter: where somebody wrote a contrast pair that sets one principle of a constitution
against another, one response keeps the first and breaks the second, and the other response the reverse. Nothing is
guessed from texts or from correlations, and no judge is asked: what counts is which of the two the model finds
likelier.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ccai_dagster.constitution.comparison import constitution_overlap
from ccai_dagster.consultation.folder import BASE
from ccai_dagster.contracts import CONFLICTS, CONTRAST_MARGINS, CONTROL_STATEMENTS, SPECIFICITY
from ccai_dagster.core.draws import derived_seed
from ccai_dagster.core.errors import Progress, silent
from ccai_dagster.decisions.checks import Finding
from ccai_dagster.evaluation.labelled_examples import REJECTED
from ccai_dagster.feedback.language_model import LanguageModel, Turn, nats_a_token
from ccai_dagster.feedback.prompts import carries_theme, read_themes
from ccai_dagster.statistics.intervals import clustered_mean, sign_flip_p_value
from ccai_dagster.statistics.paired import LEVEL, Comparison, Ratio, compare_scores, holm

KINDS = ("own", "shared", "other", "rejected")
"""Columns of the matrix, in the order they are read."""
_MeanInterval = tuple[float | None, float | None, float | None]
"""Mean and the ends of its interval."""
_CHUNK = 128


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
                _kind(arm, of, name, shared) for of, name in lifts.select("constitution_arm", "principle_id").rows()
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
        A warning for each cell of rejected statements whose p-value, corrected by Holm over these cells, is at most
        `LEVEL`.
    """
    moved = matrix.filter((pl.col("kind") == "rejected") & (pl.col("adjusted_p") <= LEVEL)).sort("arm", "measure")
    units = {"judge": "in the judge's probability", "margin": "nats a token in the margin of contrast pairs"}
    return [
        Finding(
            "warning",
            "",
            None,
            f"{row['arm']}, by {row['measure']}",
            f"training moved statements that are in no constitution: by {row['lift']:+.3f} {units[row['measure']]}, "
            f"95 % interval {row['low']:+.3f} to {row['high']:+.3f}, p {row['adjusted_p']:.3f} after Holm; lifts of "
            "principles of about this size show nothing about the constitution",
        )
        for row in moved.iter_rows(named=True)
    ]


def control_statements(
    selected: pl.DataFrame,
    constitutions: Mapping[str, pl.DataFrame],
    prompts: pl.DataFrame,
    themes: Path,
    shared_from: float,
    count: int,
    seed: int,
) -> pl.DataFrame:
    """Draw negative controls: statements below the cut, phrased as they are.

    A statement that says what a principle says is none: those as similar to a principle as two principles must be to
    count as shared are left out. What is not seen is contradiction: a statement that asks for the opposite of a
    principle may be lowered by training on it.

    Args:
        constitutions: CONSTITUTION tables by arm.
        prompts: PROMPTS; those held out that carry one of the statement's themes are its prompts, as with principles.
        shared_from: Similarity from which two principles count as shared (a recorded decision).
        count: How many at most; those with a prompt before those without.
        seed: The consultation's seed; a statement's place in the draw depends on its id alone.

    Returns:
        CONTROL_STATEMENTS, sorted by id.
    """
    below = selected.filter(pl.col("fate") == "below the cut").select("statement_id", "text")
    named = below.select(pl.col("statement_id").cast(pl.String).alias("principle_id"), "text")
    overlap = constitution_overlap({**constitutions, REJECTED: named}, shared_from) if below.height else None
    alike = set() if overlap is None else set(overlap.filter("shared", arm=REJECTED)["principle_id"])
    words = read_themes(themes)
    held_out = prompts.filter(pl.col("purpose") == "held_out").sort("prompt_id")
    rows = []
    for statement_id, text in below.iter_rows():
        if str(statement_id) in alike:
            continue
        carried = {theme for theme, own in words.items() if carries_theme(text, own)}
        relevant = [
            prompt_id for prompt_id, tags in held_out.select("prompt_id", "themes").iter_rows() if carried & set(tags)
        ]
        rows.append({"statement_id": statement_id, "text": text, "prompt_ids": relevant})
    rows.sort(key=lambda row: (not row["prompt_ids"], derived_seed(seed, "control", row["statement_id"])))
    return CONTROL_STATEMENTS.build(rows[:count]).sort("statement_id")


def drawn_controls(chosen: pl.DataFrame, controls: pl.DataFrame, controls_per_prompt: int, seed: int) -> pl.DataFrame:
    """Draw the control statements each response is judged under; the same for every model.

    Args:
        chosen: The prompts adherence is measured on.
        controls_per_prompt: Relevant ones for each prompt at most.

    Returns:
        Columns `prompt_id`, `constitution_arm` (`REJECTED`), `principle_id` (of the statement), `text`, sorted.
    """
    columns = ["prompt_id", "constitution_arm", "principle_id", "text"]
    rows = []
    for prompt_id in chosen["prompt_id"].sort():
        relevant = {
            derived_seed(seed, "control", prompt_id, statement_id): (statement_id, text)
            for statement_id, text, prompt_ids in controls.iter_rows()
            if prompt_id in prompt_ids
        }
        rows += [
            (prompt_id, REJECTED, str(statement_id), text)
            for _, (statement_id, text) in sorted(relevant.items())[:controls_per_prompt]
        ]
    return pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String()), orient="row").sort(columns[:3])


def contrast_margins(model: LanguageModel, pairs: pl.DataFrame, arm: str, progress: Progress = silent) -> pl.DataFrame:
    """Measure how much likelier a model finds the response that keeps the principle.

    The margin is the difference of the two responses' mean log-probabilities, in nats a token, so that a longer
    response is not less likely for its length. It is null if a response has no tokens or no finite probability.

    Returns:
        CONTRAST_MARGINS, sorted by `pair_id`.

    Raises:
        ConsultationError: A pair beyond the model's context.
    """
    rows = []
    ordered = pairs.sort("pair_id")
    for chunk in ordered.iter_slices(_CHUNK):
        conversations: list[list[Turn]] = [[("user", prompt)] for prompt in chunk["prompt"] for _ in range(2)]
        responses = [text for both in chunk.select("keeps", "breaks").iter_rows() for text in both]
        means = nats_a_token(model.log_likelihoods(conversations, responses)).reshape(-1, 2)
        rows += [
            {
                "arm": arm,
                **{name: pair[name] for name in ("pair_id", "constitution_arm", "principle_id", "against_id")},
                "prompt": pair["prompt"],
                "margin": float(keeps - breaks) if np.isfinite([keeps, breaks]).all() else None,
            }
            for pair, (keeps, breaks) in zip(chunk.iter_rows(named=True), means, strict=True)
        ]
        progress("contrast pairs", len(rows), ordered.height)
    return CONTRAST_MARGINS.build(rows)


def conflicts(margins: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Average the margins of each pair of principles that was set against each other.

    A pair written as `P1` against `P2` and one written as `P2` against `P1` are the same conflict; it is seen from the
    side of the id that comes first. Intervals are 95 %, over prompts.

    Args:
        margins: CONTRAST_MARGINS for each arm and `base`.

    Returns:
        CONFLICTS, sorted by its key; empty if no contrast pair is a conflict.
    """
    reverse = pl.col("principle_id") > pl.col("against_id")
    ordered = {
        arm: table.filter(pl.col("against_id").is_not_null()).select(
            "pair_id",
            "constitution_arm",
            "prompt",
            first=pl.min_horizontal("principle_id", "against_id"),
            second=pl.max_horizontal("principle_id", "against_id"),
            margin=pl.when(reverse).then(-pl.col("margin")).otherwise(pl.col("margin")),
        )
        for arm, table in margins.items()
    }
    before = ordered[BASE].select("pair_id", before="margin")
    rows: list[dict[str, Any]] = []
    for arm, table in ordered.items():
        paired = table.join(before, on="pair_id", how="left").drop_nulls("margin").sort("pair_id")
        for (name, first, second), own in paired.group_by("constitution_arm", "first", "second"):
            margin, low, high = _mean_interval(own, pl.col("margin"))
            lift: _MeanInterval = (None, None, None)
            if arm != BASE:
                lift = _mean_interval(own.drop_nulls("before"), pl.col("margin") - pl.col("before"))
            rows.append(
                {
                    "arm": arm,
                    "constitution_arm": name,
                    "principle_id": first,
                    "against_id": second,
                    "n": own.height,
                    "n_prompts": own["prompt"].n_unique(),
                    "margin": margin,
                    "low": low,
                    "high": high,
                    "follows": _follows(first, second, low, high),
                    **dict(zip(("lift", "lift_low", "lift_high"), lift, strict=True)),
                }
            )
    return CONFLICTS.build(rows).sort(CONFLICTS.key)


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
        "lift": None,
        "low": None,
        "high": None,
        "p_value": None,
        "adjusted_p": None,
    }
    if cell["n_prompts"] < 2:
        return cell
    if measure == "judge":
        found = _compared(lifts, seed)
        return cell | {"lift": found.difference, "low": found.low, "high": found.high, "p_value": found.p_value}
    values, clusters = lifts["lift"].to_numpy(), lifts["cluster"].to_numpy()
    lift, interval = clustered_mean(values, clusters)
    low, high = interval or (None, None)
    return cell | {"lift": lift, "low": low, "high": high, "p_value": sign_flip_p_value(values, clusters, seed)}


def _compared(lifts: pl.DataFrame, seed: int) -> Comparison:
    # Sorted before they are added up, since parallel sums of groups differ in their last digit from run to run.
    sums = lifts.group_by("cluster").agg(pl.col("value", "before").sort().sum(), n=pl.len()).sort("cluster")
    n = sums["n"].cast(pl.Float64).to_numpy()
    pair = Ratio(sums["value"].to_numpy(), n), Ratio(sums["before"].to_numpy(), n)
    (found,) = compare_scores([pair], (0.0, 1.0), seed=seed)
    if found is None:
        raise ValueError("nothing to compare")
    return found


def _mean_interval(table: pl.DataFrame, value: pl.Expr) -> _MeanInterval:
    """Return the mean over pairs and its interval over prompts, nothing with fewer than two prompts."""
    if table["prompt"].n_unique() < 2:
        return None, None, None
    mean, interval = clustered_mean(table.select(value.alias("value"))["value"].to_numpy(), table["prompt"].to_numpy())
    return mean, *(interval or (None, None))


def _follows(first: str, second: str, low: float | None, high: float | None) -> str | None:
    if low is None or high is None or low <= 0 <= high:
        return None
    return first if low > 0 else second
