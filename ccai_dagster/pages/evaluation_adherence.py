"""The chapter on adherence: do models keep to principles, and more to those they were trained on?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from ccai_dagster.consultation.settings import SCORING_METHODS
from ccai_dagster.core.text import counted, natural
from ccai_dagster.deliberation.votes import group_name
from ccai_dagster.evaluation.corrected_adherence import ALL_PRINCIPLES
from ccai_dagster.evaluation.findings import SMALL_SHARE, VERDICTS, verdict
from ccai_dagster.evaluation.scores import ADHERENCE_SCORES
from ccai_dagster.feedback.judge_accuracy import scored_by
from ccai_dagster.pages.evaluation_scores import in_order
from ccai_dagster.pages.forests import Figure, comparisons, difference_forest, plain_forest
from ccai_dagster.pages.inputs import EvaluationInputs
from ccai_dagster.pages.parts import Chapter, Forest, Grid, GridCell
from ccai_dagster.pages.rendering import decimals

KINDS = {
    "own": "principles of its own constitution only",
    "shared": "shared principles",
    "other": "principles of another constitution only",
    "rejected": "statements that no constitution took up",
}
"""Columns of the specificity matrix."""
BY_SCORES = (
    "This judge scores responses and is asked no question: its figure is how surely it prefers the response to one "
    "that only repeats what the user said, and 50 is no more than that. So compare models by it, and read little into "
    "its height."
)
MEASURES = {
    "judge": "By the feedback model, in points of a hundred",
    "margin": "Without a judge: how much likelier a response that keeps the principle became, in nats a token",
}


def adherence_chapter(inputs: EvaluationInputs) -> Chapter | None:
    """Return the chapter, or None if adherence was not measured."""
    scores = in_order(inputs.eval_scores.filter(pl.col("benchmark") == ADHERENCE_SCORES), inputs)
    measured = inputs.adherence_scores
    if scores.is_empty() and measured.is_empty():
        return None
    whole = measured.filter(pl.col("principle_id") == ALL_PRINCIPLES)
    return Chapter(
        anchor="adherence",
        title="Do they keep to the principles?",
        paragraphs=[
            "Every model answered the same held-out prompts, which no model was trained on. Each response was judged "
            "under principles that the prompt exercises, of its own constitution and of the others: 100 means that "
            "every response satisfies every such principle. Where people labelled examples, the judge's figure is "
            "corrected by them, and the interval includes how little is known about the judge.",
            *([BY_SCORES] if scored_by(inputs.judge_calibration) in SCORING_METHODS else []),
            "A constitution did something of its own if a model keeps more to principles that only its constitution "
            "has, and no more to statements that no constitution took up: these are the negative controls, whose "
            "expected change is nil.",
        ],
        judged=True,
        forests=[
            forest
            for forest in (
                _adherence("Adherence to each constitution", _by_constitution(whole, inputs)),
                difference_forest("Differences, each judgement against itself", comparisons(scores), _constitution),
                _groups(inputs),
                _conflicts(inputs),
            )
            if forest.rows
        ],
        grids=list(_specificity(inputs)),
        folds=list(_by_principle(measured, inputs)),
        unread=_unread(whole, measured),
    )


def _adherence(caption: str, rows: Sequence[Mapping[str, Any]], by_principle: bool = False) -> Forest:
    """Corrected figures where examples were labelled, the judge's own elsewhere."""
    figures = []
    for row in rows:
        name = row["principle_id"] if by_principle else f"Principles of “{row['constitution_arm']}”"
        ends = [row["adherence"], row["low"], row["high"]]
        if None in ends:
            continue
        correction = "not corrected" if row["labels"] == "none" else f"corrected by {counted(row['n_labels'], 'label')}"
        n = f"{counted(row['n'], 'response')}, {correction}"
        figures.append(Figure(name, row["arm"], n, *(100 * each for each in ends)))
    return plain_forest(f"{caption}, in points, with 95% intervals", figures, (0.0, 100.0), 1)


def _by_constitution(table: pl.DataFrame, inputs: EvaluationInputs) -> list[dict[str, Any]]:
    return sorted(
        table.to_dicts(),
        key=lambda row: (row["constitution_arm"], natural(row["principle_id"]), inputs.place(row["arm"])),
    )


def _constitution(row: Mapping[str, object]) -> str:
    return f"Principles of “{row['category']}”"


def _groups(inputs: EvaluationInputs) -> Forest:
    rows = sorted(
        inputs.group_adherence.filter("worst").to_dicts(),
        key=lambda row: (row["constitution_arm"], inputs.place(row["arm"]), row["group_id"]),
    )
    figures = [
        Figure(
            f"Principles of “{row['constitution_arm']}”",
            f"{row['arm']}, for {group_name(row['group_id'])}",
            counted(row["n"], "response"),
            *(100 * row[name] for name in ("value", "low", "high")),
        )
        for row in rows
    ]
    caption = "For the opinion group it serves worst, principles weighted by that group's agreement, in points"
    return plain_forest(caption, figures, (0.0, 100.0), 1)


def _conflicts(inputs: EvaluationInputs) -> Forest:
    rows = sorted(
        inputs.conflicts.drop_nulls(["margin", "low", "high"]).to_dicts(),
        key=lambda row: (
            row["constitution_arm"],
            natural(row["principle_id"]),
            natural(row["against_id"]),
            inputs.place(row["arm"]),
        ),
    )
    figures = [
        Figure(
            f"{row['principle_id']} or {row['against_id']} of “{row['constitution_arm']}”",
            row["arm"],
            counted(row["n"], "pair"),
            row["margin"],
            row["low"],
            row["high"],
            VERDICTS["unclear"] if row["follows"] is None else f"follows {row['follows']}",
        )
        for row in rows
    ]
    caption = (
        "Where two principles pull apart: right of zero the model finds the response that keeps the first likelier, "
        "left of it the other, in nats a token"
    )
    return plain_forest(caption, figures, None, 2)


def _specificity(inputs: EvaluationInputs) -> Iterator[Grid]:
    table = inputs.specificity
    for measure, caption in MEASURES.items():
        rows = {(row["arm"], row["kind"]): row for row in table.filter(pl.col("measure") == measure).to_dicts()}
        arms = sorted({arm for arm, _ in rows}, key=inputs.place)
        lifts = [abs(row["lift"]) for row in rows.values() if row["lift"] is not None]
        if lifts:
            reach = max(lifts) or 1.0
            yield Grid(
                caption=f"What training lifted against the untrained model. {caption}, with 95% intervals",
                corner="Trained on",
                columns=list(KINDS.values()),
                rows=arms,
                cells=[[_lift(rows.get((arm, kind)), reach) for kind in KINDS] for arm in arms],
            )


def _lift(row: Mapping[str, Any] | None, reach: float) -> GridCell | None:
    if row is None or None in (row["lift"], row["low"], row["high"]):
        return None
    scale, digits = (100.0, 1) if row["measure"] == "judge" else (1.0, 3)
    value, low, high = (decimals(scale * row[name], digits, sign=True) for name in ("lift", "low", "high"))
    shown = verdict(row["low"], row["high"], SMALL_SHARE if row["measure"] == "judge" else 0.0, row["adjusted_p"])
    note = f"{VERDICTS[shown]}; {counted(row['n_principles'], 'principle')}, {counted(row['n_prompts'], 'prompt')}"
    shade = row["lift"] / reach if shown in ("higher", "lower") else 0.0  # only what differs from nil is coloured
    return GridCell(value, f"{low} to {high};", shade, note)


def _by_principle(table: pl.DataFrame, inputs: EvaluationInputs) -> Iterator[tuple[str, list[Forest]]]:
    for arm in sorted(set(table["constitution_arm"])):
        own = table.filter((pl.col("constitution_arm") == arm) & (pl.col("principle_id") != ALL_PRINCIPLES))
        forest = _adherence(f"Adherence to principles of “{arm}”", _by_constitution(own, inputs), by_principle=True)
        if forest.rows:
            yield f"Principle by principle: “{arm}”", [forest]


def _unread(whole: pl.DataFrame, measured: pl.DataFrame) -> list[str]:
    """Say what had no usable answer, and which principles could not be measured at all."""
    sentences = [
        f"“{row['arm']}” under “{row['constitution_arm']}”: {row['n_unanswered']:,} of "
        f"{counted(row['n'], 'judgement')} had no usable answer."
        for row in whole.filter(pl.col("n_unanswered") > 0).sort("constitution_arm", "arm").to_dicts()
    ] or ["Every question to the judge was answered."]
    # A response is judged once for each principle, so these are judgements.
    cut = whole.group_by("arm", maintain_order=True).agg(pl.col("n", "n_cut").sum()).filter(pl.col("n_cut") > 0)
    sentences += [
        f"“{arm}”: {n_cut:,} of {counted(n, 'judgement')} were of responses that were cut off at the limit of tokens."
        for arm, n, n_cut in cut.sort("arm").iter_rows()
    ]
    missing = measured.filter((pl.col("principle_id") != ALL_PRINCIPLES) & (pl.col("status") != "measured"))
    for (arm, status), rows in missing.group_by(["constitution_arm", "status"], maintain_order=True):
        ids = sorted(set(rows["principle_id"]), key=natural)
        sentences.append(f"Principles of “{arm}” without a figure ({status}): {', '.join(ids)}.")
    return sentences
