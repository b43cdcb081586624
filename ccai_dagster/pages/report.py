"""The audit report: one HTML file that a lay reader can follow, with nothing to fetch from anywhere.

Belongs here: putting the chapters into the template; which pictures, in how many colours. Doesn't belong here: what
a chapter says, drawing (`pictures`). All text goes through the template's escaping; nothing that a participant or a
model typed is ever marked as safe.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ccai_dagster.audit.records import Record, Records, read_records
from ccai_dagster.audit.sensitivity import importance_sentence, robustness_sentences
from ccai_dagster.contracts import FEWEST_TOLD
from ccai_dagster.core.language import enumerated, gettext, speaking
from ccai_dagster.feedback.judge_accuracy import GUESSING, judge_verdict, scored_by, scoring_sentence
from ccai_dagster.pages import drawings, pictures, report_decisions, report_models, report_public
from ccai_dagster.pages.drawings import Drawing
from ccai_dagster.pages.inputs import ReportInputs
from ccai_dagster.pages.judge import feedback_method, judge_findings, label_sentences
from ccai_dagster.pages.parts import Entry, StatementMarks, filters, usual_marks
from ccai_dagster.pages.pictures import Picture
from ccai_dagster.pages.rendering import plain_findings, render
from ccai_dagster.pages.report_public import LeftOut, PrincipleCard, Source
from ccai_dagster.pages.report_sample import hangs_on_who_came, who_took_part
from ccai_dagster.pages.summary import constitution_version, summary

COLOURS = 24
"""Colours of a picture on the page, chosen so that none is far from its own: it becomes half as large."""
ALIKE_FROM = 0.2
"""Likeness from which the nearest principle of another constitution is named; below it they have little in common."""
UNDECIDED = "undecided"
"""Fate of the statements that wait for a decision."""


def render_report(inputs: ReportInputs) -> str:
    """Render the report.

    Returns:
        A self-contained HTML document: no address outside itself, styles and one script inline, pictures as
        data. Its content security policy lets no other script run. The same tables give the same text.
    """
    with speaking(inputs.language):
        return _rendered(inputs)


def _rendered(inputs: ReportInputs) -> str:
    consequences, groups = report_decisions.consequences, _n_groups(inputs)
    shared = {
        "consequences": consequences(inputs.decision_reversals, groups),
        "changing": consequences(report_decisions.changing(inputs.decision_reversals), groups),
        "briefly": report_decisions.briefly(
            inputs.decision_reversals, groups, inputs.constitutions[inputs.derived_arm]
        ),
        "kinds": report_decisions.kind_told,
        "enumerated": enumerated,
    }
    records = read_records(inputs.ledgers)
    return render(
        "audit_report.html.j2",
        shared,
        inputs.language,
        drawings=_drawings(inputs, records),
        scores_picture=_smaller(pictures.score_comparison(inputs.eval_scores)) if inputs.trained else None,
        **_chapters(inputs, records),
    )


def _n_groups(inputs: ReportInputs) -> int:
    groups = inputs.opinion_groups if inputs.opinion_groups.height else inputs.group_votes
    return groups["group_id"].n_unique()


def _chapters(inputs: ReportInputs, records: Records) -> dict[str, Any]:
    corrected = report_decisions.corrections(records)
    marks = StatementMarks(
        merged=_subjects(records, "merge"),
        split=_subjects(records, "idea"),
        twice=report_decisions.decided_twice(inputs),
        anew=report_decisions.decided_anew(corrected),
    )
    sources = report_public.statement_sources(inputs, records, marks)
    cards = report_public.principle_cards(inputs, records, sources)
    waiting = report_public.waiting(inputs, sources)
    left_out = report_public.left_out(inputs, records, sources)
    others = report_models.other_constitutions(inputs)
    general = report_models.general_decisions(records)
    often_told = report_decisions.often_told(
        [*(one for card in cards for one in card.every_decision), *(one for row in waiting for one in row.decisions)]
    )
    behind = {source.statement_id for card in cards for source in card.sources}
    out = [row for kind in left_out for part in kind.parts for row in part.statements]
    # A statement has one anchor: where it waits or is left out, or else at the first principle it led to.
    listed = {row.statement_id for row in out} | {source.statement_id for source in waiting}
    entries = [
        *(card.entry for card in cards),
        *(Entry(UNDECIDED, marks=source.marks) for source in waiting),
        *(row.entry for row in out),
        *(row.entry for other in others for row in other.rows),
        *(correction.entry for correction in corrected),
    ]
    return {
        "inputs": inputs,
        "filters": filters(entries, report_public.fate_told),
        "undecided": UNDECIDED,
        "alike_from": ALIKE_FROM,
        "summary": summary(inputs),
        "structure_fact": report_public.structure_fact(inputs),
        "polis_fact": report_public.polis_fact(inputs),
        "opinion_facts": report_public.opinion_facts(inputs),
        "representatives": report_public.representatives(inputs, sources),
        "self_descriptions": report_public.self_descriptions(inputs.group_profile),
        "who_took_part": who_took_part(inputs.sample_representativeness),
        "hangs_on_who_came": hangs_on_who_came(inputs, cards),
        "fewest_told": FEWEST_TOLD,
        "whole_public": report_public.whole_public(inputs.consensus_statements, sources),
        "topics": report_public.topics(inputs.narrative, inputs.gac_scores, sources),
        "retold": report_public.retold(inputs.written_narrative),
        "uncertain": report_public.uncertainties(inputs.uncertain_statements, sources),
        "important": report_public.marked_important(inputs.important_statements, sources),
        "asked_next": report_public.asked_next(inputs.comment_priorities, sources),
        "cards": cards,
        "card_marks": usual_marks(card.entry for card in cards),
        "uniting": report_public.most_uniting([source for card in cards for source in card.sources] or waiting),
        "dividing": report_public.most_dividing(sources.values()),
        "version": constitution_version(inputs),
        "waiting": waiting,
        "moderated_otherwise": report_public.moderated_otherwise(inputs),
        "left_out": left_out,
        "figures_told": [gettext("Consensus"), gettext("90%% interval"), *report_public.groups_told(inputs)],
        "anchored": behind - listed,
        "known_statements": behind | listed,
        "others": others,
        "general": general,
        "often_told": often_told,
        "corrections": corrected,
        "corrections_sentence": report_decisions.corrections_sentence(corrected),
        "agreements": report_decisions.agreement_sentences(inputs),
        "numbers": report_decisions.numeric_decisions(inputs),
        "numbers_sentence": report_decisions.numbers_sentence(inputs),
        "importance_sentence": importance_sentence(inputs.decision_importance),
        "robustness_sentences": robustness_sentences(inputs.principle_robustness),
        "reversals": report_decisions.reversals_by_kind(
            inputs.decision_reversals, _told(inputs, cards, waiting, left_out, general), _n_groups(inputs)
        ),
        "digests": sorted(inputs.digests.items()),
        **(_model_chapters(inputs, records) if inputs.trained else {}),
    }


def _told(
    inputs: ReportInputs,
    cards: Sequence[PrincipleCard],
    waiting: Sequence[Source],
    left_out: Sequence[LeftOut],
    general: Sequence[tuple[str, Sequence[Record]]],
) -> dict[str, str]:
    """Where each decision stands with what would have followed from another one: its anchor, by decision id."""
    told = {row.decision_id: "decisions" for _, rows in general for row in rows}
    for kind in left_out:
        rows = [row for part in kind.parts for row in part.statements]
        told |= {row.decision_id: f"s{row.statement_id}" for row in rows if row.decision_id}
    told |= {one.decision_id: f"s{source.statement_id}" for source in waiting for one in source.decisions}
    for card in reversed(cards):
        decisions = [*card.decisions, *(one for source in card.sources for one in source.decisions)]
        told |= {one.decision_id: f"principle-{inputs.derived_arm}-{card.principle_id}" for one in decisions}
    return told


def _model_chapters(inputs: ReportInputs, records: Records) -> dict[str, Any]:
    scoring = scored_by(inputs.judge_calibration)
    asked = {feedback_method(records) or scoring, scoring}
    trusted, verdict = judge_verdict(asked, inputs.judge_calibration)
    arms, scores = report_models.score_rows(inputs.eval_scores)
    differences, against = report_models.one_difference(inputs)
    return {
        "judge": judge_findings(inputs, records),
        "guessing": GUESSING,
        "judge_trusted": trusted,
        "judge_verdict": f"{verdict} {scoring_sentence(inputs.judge_calibration)}",
        "labels": label_sentences(inputs),
        "how_made": report_models.how_made(inputs.models),
        "models": report_models.model_rows(inputs.models),
        "system_turn": report_models.before_every_conversation(inputs.models),
        "differences": differences,
        "against_comparing": against,
        "findings": plain_findings(inputs.findings),
        "score_arms": arms,
        "scores": scores,
        "responses": report_models.response_rows(inputs),
    }


def _subjects(records: Records, kind: str) -> frozenset[int]:
    """Statements with a decision of this kind that counts."""
    rows = [row for row in records.of_kind(kind) if row.verb in (kind, f"{kind}s")]
    return frozenset(int(subject) for row in rows for subject in row.subject_ids)


def _drawings(inputs: ReportInputs, records: Records) -> dict[str, Drawing]:
    """Draw the pictures of the public's chapters, by the name under which they show them."""
    rule = next((row.outcome for row in records.on("threshold", "selection_rule")), "threshold")
    value = next((row.outcome for row in records.on("threshold", "gac_threshold")), None)
    cut = float(value) if value is not None and rule == "threshold" else None
    scores, stability = inputs.gac_scores, inputs.consensus_stability
    return {
        "map": drawings.opinion_map(inputs.opinion_groups),
        "consensus": drawings.consensus_histogram(scores, cut, stability),
        "intervals": drawings.consensus_intervals(stability, cut),
        "selection": drawings.selection_frequency(stability),
        "polarization": drawings.polarization(scores),
    }


def _smaller(picture: Picture) -> Picture:
    from PIL import Image

    smaller = io.BytesIO()
    with Image.open(io.BytesIO(picture.png)) as image:
        few = image.convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        few.convert("RGB").save(smaller, "WEBP", lossless=True, quality=50, method=3)
    return replace(picture, png=smaller.getvalue())
