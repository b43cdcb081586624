"""The pictures of the report, small enough for a page that holds everything.

Belongs here: which pictures, of what, and how they are embedded. Doesn't belong here: drawing them (`pictures`).
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

from ccai_dagster import pictures
from ccai_dagster.audit.records import read_records
from ccai_dagster.audit.report_inputs import ReportInputs
from ccai_dagster.core.text import readable

COLOURS = 64
"""Colours of a picture on the page; its own palette makes it a third as large."""


@dataclass(frozen=True)
class Picture:
    """A picture as the template embeds it."""

    data: str
    alt: str


def draw_pictures(inputs: ReportInputs) -> dict[str, Picture]:
    """Draw the pictures of the report, by the name under which its chapters show them.

    Args:
        inputs: Finished tables.
    """
    records = read_records(inputs.ledgers)
    rule = next((row.outcome for row in records.on("threshold", "selection_rule")), "threshold")
    value = next((row.outcome for row in records.on("threshold", "gac_threshold")), None)
    cut = float(value) if value is not None and rule == "threshold" else None
    scores, stability = inputs.gac_scores, inputs.consensus_stability
    robustness, arm = inputs.principle_robustness, inputs.derived_arm
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
        "importance": _picture(
            pictures.decision_importance(inputs.decision_importance),
            pictures.decision_importance_alt(inputs.decision_importance),
        ),
        "robustness": _picture(
            pictures.principle_robustness(robustness, arm),
            pictures.principle_robustness_alt(robustness, arm),
        ),
    }


def _representative(inputs: ReportInputs, group_id: int) -> Picture:
    table, votes, groups = inputs.representative_statements, inputs.votes, inputs.opinion_groups
    return _picture(
        pictures.representative_votes(table, inputs.statements, votes, groups, group_id),
        pictures.representative_votes_alt(table, votes, groups, group_id),
    )


def _picture(png: bytes, alt: str) -> Picture:
    from PIL import Image

    smaller = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(smaller, "PNG", optimize=True)
    data = base64.b64encode(smaller.getvalue()).decode("ascii")
    return Picture(f"data:image/png;base64,{data}", readable(alt))
