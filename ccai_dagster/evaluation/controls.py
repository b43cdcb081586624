"""Negative controls: statements people were allowed to vote on that did not become part of any constitution.

No model was trained on them, so training should lift none of them. How much it did is measured in `specificity`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from ccai_dagster.constitution.overlap import constitution_overlap
from ccai_dagster.contracts import CONTROL_STATEMENTS
from ccai_dagster.evaluation.labelled_examples import REJECTED
from ccai_dagster.feedback.draws import derived_seed
from ccai_dagster.feedback.prompts import carries_theme, read_themes


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
        selected: SELECTED_STATEMENTS.
        constitutions: CONSTITUTION tables by arm.
        prompts: PROMPTS; those held out that carry one of the statement's themes are its prompts, as with principles.
        themes: The file of themes.
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
            prompt_id
            for prompt_id, tags in held_out.select("prompt_id", "themes").iter_rows()
            if carried & set(tags)
        ]
        rows.append({"statement_id": statement_id, "text": text, "prompt_ids": relevant})
    rows.sort(key=lambda row: (not row["prompt_ids"], derived_seed(seed, "control", row["statement_id"])))
    return CONTROL_STATEMENTS.build(rows[:count]).sort("statement_id")


def drawn_controls(
    chosen: pl.DataFrame, controls: pl.DataFrame, controls_per_prompt: int, seed: int
) -> pl.DataFrame:
    """Draw the control statements each response is judged under; the same for every model.

    Args:
        chosen: The prompts adherence is measured on.
        controls: CONTROL_STATEMENTS.
        controls_per_prompt: Relevant ones for each prompt at most.
        seed: The consultation's seed.

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
