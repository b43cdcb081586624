"""The audit report: one HTML file that a lay reader can follow, with nothing to fetch from anywhere.

Belongs here: putting the chapters into the template. Doesn't belong here: what a chapter says. All text goes
through the template's escaping; nothing that a participant or a model typed is ever marked as safe.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ccai_dagster.audit import (
    hanging_chapter,
    judge_chapter,
    ledger_chapter,
    left_out_chapter,
    model_chapters,
    opinion_chapter,
    public_chapters,
)
from ccai_dagster.audit.filters import Entry, StatementMarks, filters
from ccai_dagster.audit.records import Records, read_records
from ccai_dagster.audit.report_inputs import ReportInputs
from ccai_dagster.audit.report_pictures import draw_pictures
from ccai_dagster.audit.sensitivity import importance_sentence, robustness_sentences
from ccai_dagster.feedback.judge_accuracy import GUESSING, SCORED_BY, judge_verdict
from ccai_dagster.pages.templates import render
from ccai_dagster.pictures import Picture

UNDECIDED = "undecided"
"""Fate of the statements that wait for a decision."""


def render_report(inputs: ReportInputs) -> str:
    """Render the report.

    Args:
        inputs: Finished tables.

    Returns:
        A self-contained HTML document: no address outside itself, styles and one script inline, pictures as
        data. Its content security policy lets no other script run. The same tables give the same text.
    """
    return render_page(inputs, draw_pictures(inputs))


def render_page(inputs: ReportInputs, pictures: Mapping[str, Picture]) -> str:
    """Render the report with pictures that are drawn already.

    Args:
        inputs: Finished tables.
        pictures: As `draw_pictures` returns them.
    """
    consequences = hanging_chapter.consequences
    shared = {
        "consequences": consequences(inputs.decision_reversals),
        "changing": consequences(hanging_chapter.changing(inputs.decision_reversals)),
    }
    records = read_records(inputs.ledgers)
    return render("audit_report.html.j2", shared, pictures=pictures, **_chapters(inputs, records))


def _chapters(inputs: ReportInputs, records: Records) -> dict[str, Any]:
    corrected = ledger_chapter.corrections(records)
    marks = StatementMarks(
        merged=_subjects(records, "merge"),
        split=_subjects(records, "idea"),
        twice=ledger_chapter.decided_twice(inputs),
        anew=ledger_chapter.decided_anew(corrected),
    )
    sources = public_chapters.statement_sources(inputs, records, marks)
    judge = judge_chapter.judge_findings(inputs, records)
    asked = {judge_chapter.feedback_method(records) or SCORED_BY, SCORED_BY}
    trusted, verdict = judge_verdict(asked, inputs.judge_calibration)
    arms, scores = model_chapters.score_rows(inputs.eval_scores)
    differences, against = model_chapters.one_difference(inputs)
    cards = public_chapters.principle_cards(inputs, records, sources)
    waiting = public_chapters.waiting(inputs, sources)
    left_out = left_out_chapter.left_out(inputs, records, sources)
    others = model_chapters.other_constitutions(inputs)
    behind = {source.statement_id for card in cards for source in card.sources}
    out = [row for kind in left_out for _, rows in kind.parts for row in rows]
    # A statement has one anchor: where it waits or is left out, or else at the first principle it led to.
    listed = {row["statement_id"] for row in out} | {source.statement_id for source in waiting}
    entries = [
        *(card.entry for card in cards),
        *(Entry(UNDECIDED, marks=source.marks) for source in waiting),
        *(row["entry"] for row in out),
        *(row["entry"] for other in others for row in other.rows),
        *(correction.entry for correction in corrected),
    ]
    return {
        "inputs": inputs,
        "filters": filters(entries),
        "undecided": UNDECIDED,
        "summary": public_chapters.summary(inputs),
        "opinion_facts": opinion_chapter.opinion_facts(inputs),
        "representatives": opinion_chapter.representatives(inputs, sources),
        "whole_public": opinion_chapter.whole_public(inputs.consensus_statements, sources),
        "asked_next": opinion_chapter.asked_next(inputs.comment_priorities, sources),
        "cards": cards,
        "waiting": waiting,
        "left_out": left_out,
        "anchored": behind - listed,
        "known_statements": behind | listed,
        "judge": judge,
        "guessing": GUESSING,
        "judge_trusted": trusted,
        "judge_verdict": verdict,
        "labels": judge_chapter.label_sentences(inputs),
        "others": others,
        "general": model_chapters.general_decisions(records),
        "corrections": corrected,
        "corrections_sentence": ledger_chapter.corrections_sentence(corrected),
        "agreements": ledger_chapter.agreement_sentences(inputs),
        "numbers": hanging_chapter.numeric_decisions(inputs),
        "numbers_sentence": hanging_chapter.numbers_sentence(inputs),
        "importance_sentence": importance_sentence(inputs.decision_importance),
        "robustness_sentences": robustness_sentences(inputs.principle_robustness),
        "reversals": hanging_chapter.reversals_by_kind(inputs.decision_reversals),
        "models": model_chapters.model_rows(inputs.models),
        "differences": differences,
        "against_comparing": against,
        "findings": model_chapters.plain_findings(inputs.findings),
        "score_arms": arms,
        "scores": scores,
        "responses": model_chapters.response_rows(inputs),
        "digests": sorted(inputs.digests.items()),
    }


def _subjects(records: Records, kind: str) -> frozenset[int]:
    """Statements with a decision of this kind that counts."""
    rows = [row for row in records.of_kind(kind) if row.verb in (kind, f"{kind}s")]
    return frozenset(int(subject) for row in rows for subject in row.subject_ids)
