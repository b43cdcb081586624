"""The pictures of the report, small enough for a page that holds everything.

Belongs here: which pictures, of what, in how many colours. Doesn't belong here: drawing them (`pictures`).
"""

from __future__ import annotations

import io
from dataclasses import replace

from ccai_dagster import pictures
from ccai_dagster.audit.records import read_records
from ccai_dagster.audit.report_inputs import ReportInputs
from ccai_dagster.pictures import Picture

COLOURS = 64
"""Colours of a picture on the page; its own palette makes it a third as large."""


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
    table, groups = inputs.representative_statements, inputs.opinion_groups
    drawn = {
        "map": pictures.opinion_map(groups),
        "gac": pictures.gac_distribution(scores, cut, stability),
        "intervals": pictures.gac_intervals(stability, cut),
        "stability": pictures.stability(inputs.group_stability, stability),
        **{
            f"group {group}": pictures.representative_votes(
                table, inputs.statements, inputs.votes, groups, group
            )
            for group in table["group_id"].unique().sort()
        },
        "agreement": pictures.agreement_by_group(scores, cut),
        "polarization": pictures.polarization(scores),
        "scores": pictures.score_comparison(inputs.eval_scores),
        "importance": pictures.decision_importance(inputs.decision_importance),
        "robustness": pictures.principle_robustness(inputs.principle_robustness, inputs.derived_arm),
    }
    return {name: _smaller(picture) for name, picture in drawn.items()}


def _smaller(picture: Picture) -> Picture:
    from PIL import Image

    smaller = io.BytesIO()
    with Image.open(io.BytesIO(picture.png)) as image:
        image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(smaller, "PNG", optimize=True)
    return replace(picture, png=smaller.getvalue())
