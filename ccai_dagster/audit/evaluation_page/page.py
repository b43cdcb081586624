"""The evaluation page as one HTML file.

Belongs here: putting the chapters in order and into the template. Doesn't belong here: what a chapter says.
Prompts, responses and principles are untrusted text and go through the template's escaping.
"""

from __future__ import annotations

from collections.abc import Callable

from ccai_dagster.audit.evaluation_page import adherence, benchmarks, elo, opinions, overlap, responses
from ccai_dagster.audit.evaluation_page.inputs import EvaluationInputs
from ccai_dagster.audit.evaluation_page.judge import judge_worth
from ccai_dagster.audit.evaluation_page.parts import Chapter
from ccai_dagster.audit.evaluation_page.summary import in_short
from ccai_dagster.consultation import BASE
from ccai_dagster.digest import table_digest
from ccai_dagster.pages.templates import render

SHOWN = 6
"""Sentences of one sort on the first screen; the others unfold."""
UNTRAINED = "the model as it was before any training here"
_CHAPTERS: tuple[Callable[[EvaluationInputs], Chapter | None], ...] = (
    opinions.opinions_chapter,
    overlap.overlap_chapter,
    adherence.adherence_chapter,
    elo.elo_chapter,
    responses.responses_chapter,
)


def render_evaluation(inputs: EvaluationInputs) -> str:
    """Render the page.

    Returns:
        A self-contained HTML document without scripts or addresses outside itself, but for the link to the
        audit report beside it. The same tables give the same text.
    """
    return render(
        "evaluation.html.j2",
        title=inputs.title,
        audit_report=inputs.audit_report,
        arms=_arms(inputs),
        short=in_short(inputs.eval_scores, inputs.elo_differences),
        shown=SHOWN,
        judge=judge_worth(inputs.judge_calibration),
        chapters=chapters(inputs),
        digests={name: table_digest(table) for name, table in sorted(inputs.tables.items())},
    )


def chapters(inputs: EvaluationInputs) -> list[Chapter]:
    """Return the chapters in the order to read them: benchmarks, then what rests on a judge, then responses."""
    found = [chapter(inputs) for chapter in _CHAPTERS]
    return [*benchmarks.benchmark_chapters(inputs), *(chapter for chapter in found if chapter is not None)]


def _arms(inputs: EvaluationInputs) -> list[tuple[str, str]]:
    """Name every model and what it is."""
    names = sorted({BASE, *inputs.arms}, key=inputs.place)
    told = {BASE: UNTRAINED} | {
        arm: f"{text} (the baseline, which the others are compared with)" if arm == inputs.baseline else text
        for arm, text in inputs.arms.items()
    }
    return [(name, told[name]) for name in names]
