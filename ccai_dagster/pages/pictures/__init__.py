"""Small static pictures of tables: each a PNG and an alternative text.

Belongs here: drawing what a table says, in one sober style, for metadata, reports and pages, where that takes panels or
many words. Doesn't belong here: what lines and points can say (`drawings`), computing scores, writing files or HTML.
"""

from __future__ import annotations

from ccai_dagster.deliberation.votes import group_name
from ccai_dagster.pages.pictures.decisions import decision_importance, principle_robustness
from ccai_dagster.pages.pictures.opinions import agreement_by_group, representative_votes
from ccai_dagster.pages.pictures.scores import (
    calibration_curve,
    representativeness,
    score_comparison,
    score_differences,
    sensitivity,
    specificity,
    training_curves,
)
from ccai_dagster.pages.pictures.style import Picture, as_markdown

__all__ = [
    "Picture",
    "agreement_by_group",
    "as_markdown",
    "calibration_curve",
    "decision_importance",
    "group_name",
    "principle_robustness",
    "representative_votes",
    "representativeness",
    "score_comparison",
    "score_differences",
    "sensitivity",
    "specificity",
    "training_curves",
]
