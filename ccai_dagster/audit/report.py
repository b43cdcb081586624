"""The audit report: one HTML file that a lay reader can follow, with nothing to fetch from anywhere.

Belongs here: putting the chapters into the template. Doesn't belong here: what a chapter says. All text goes
through the template's escaping; nothing that a participant or a model typed is ever marked as safe.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import Any

from ccai_dagster import pictures
from ccai_dagster.audit import (
    judge_chapter,
    left_out_chapter,
    model_chapters,
    opinion_chapter,
    public_chapters,
)
from ccai_dagster.audit.records import Records, counted, read_records
from ccai_dagster.audit.report_inputs import ReportInputs, number, readable
from ccai_dagster.digest import SHORT


@dataclass(frozen=True)
class Picture:
    """A picture as the template embeds it."""

    data: str
    alt: str


def render_report(inputs: ReportInputs) -> str:
    """Render the report.

    Args:
        inputs: Finished tables.

    Returns:
        A self-contained HTML document: no address outside itself, styles and one script inline, pictures as
        data. Its content security policy lets no other script run. The same tables give the same text.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    loader = PackageLoader("ccai_dagster.audit", "templates")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "readable": readable,
        "number": number,
        "short": lambda digest: str(digest)[:SHORT],
    }
    environment.globals["counted"] = counted
    script = loader.get_source(environment, "audit_report.js")[0]
    style = loader.get_source(environment, "audit_report.css")[0]
    # Both are files of this package, without anything a participant typed.
    assets = {"script": Markup(script), "style": Markup(style), "script_hash": _script_hash(script)}  # noqa: S704
    template = environment.get_template("audit_report.html.j2")
    return template.render(**assets, **_chapters(inputs, read_records(inputs.ledgers)))


def _chapters(inputs: ReportInputs, records: Records) -> dict[str, Any]:
    sources = public_chapters.statement_sources(inputs, records)
    judge = judge_chapter.judge_findings(inputs, records)
    trusted, verdict = judge_chapter.judge_verdict(judge)
    arms, scores = model_chapters.score_rows(inputs)
    cards = public_chapters.principle_cards(inputs, records, sources)
    waiting = public_chapters.waiting(inputs, sources)
    left_out = left_out_chapter.left_out(inputs, records, sources)
    behind = {source.statement_id for card in cards for source in card.sources}
    # A statement has one anchor: where it waits or is left out, or else at the first principle it led to.
    listed = {row["statement_id"] for kind in left_out for _, rows in kind.parts for row in rows}
    listed |= {source.statement_id for source in waiting}
    return {
        "inputs": inputs,
        "pictures": _pictures(inputs, records),
        "summary": public_chapters.summary(inputs),
        "opinion_facts": opinion_chapter.opinion_facts(inputs),
        "representatives": opinion_chapter.representatives(inputs, sources),
        "cards": cards,
        "waiting": waiting,
        "left_out": left_out,
        "anchored": behind - listed,
        "known_statements": behind | listed,
        "judge": judge,
        "judge_trusted": trusted,
        "judge_verdict": verdict,
        "others": model_chapters.other_constitutions(inputs),
        "general": model_chapters.general_decisions(records),
        "sensitivity": model_chapters.sensitivity_rows(inputs),
        "sensitivity_sentence": model_chapters.sensitivity_sentence(inputs),
        "models": model_chapters.model_rows(inputs),
        "differences": model_chapters.one_difference(inputs),
        "score_arms": arms,
        "scores": scores,
        "responses": model_chapters.response_rows(inputs),
        "digests": sorted(inputs.digests.items()),
    }


def _pictures(inputs: ReportInputs, records: Records) -> dict[str, Picture]:
    rule = next((row.outcome for row in records.on("threshold", "selection_rule")), "threshold")
    value = next((row.outcome for row in records.on("threshold", "gac_threshold")), None)
    cut = float(value) if value is not None and rule == "threshold" else None
    scores, stability = inputs.gac_scores, inputs.consensus_stability
    return {
        "map": _picture(
            pictures.opinion_map(inputs.opinion_groups), pictures.opinion_map_alt(inputs.opinion_groups)
        ),
        "gac": _picture(
            pictures.gac_distribution(scores, cut, stability),
            pictures.gac_distribution_alt(scores, cut, stability),
        ),
        "intervals": _picture(
            pictures.gac_intervals(stability, cut), pictures.gac_intervals_alt(stability, cut)
        ),
        "stability": _picture(
            pictures.stability(inputs.group_stability, stability),
            pictures.stability_alt(inputs.group_stability, stability),
        ),
        **{
            f"group {group}": _representative(inputs, group)
            for group in inputs.representative_statements["group_id"].unique().sort()
        },
        "agreement": _picture(
            pictures.agreement_by_group(scores, cut), pictures.agreement_by_group_alt(scores, cut)
        ),
        "polarization": _picture(pictures.polarization(scores), pictures.polarization_alt(scores)),
        "scores": _picture(
            pictures.score_comparison(inputs.eval_scores), pictures.score_comparison_alt(inputs.eval_scores)
        ),
        "sensitivity": _picture(
            pictures.sensitivity(inputs.decision_sensitivity),
            pictures.sensitivity_alt(inputs.decision_sensitivity),
        ),
    }


def _representative(inputs: ReportInputs, group_id: int) -> Picture:
    table, votes, groups = inputs.representative_statements, inputs.votes, inputs.opinion_groups
    return _picture(
        pictures.representative_votes(table, inputs.statements, votes, groups, group_id),
        pictures.representative_votes_alt(table, votes, groups, group_id),
    )


def _picture(png: bytes, alt: str) -> Picture:
    return Picture(f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}", readable(alt))


def _script_hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"
