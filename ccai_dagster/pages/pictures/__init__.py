"""Small static pictures of tables: each a PNG and an alternative text.

Belongs here: drawing what a table says, in one sober style, for metadata, reports and pages.
Doesn't belong here: computing scores, choosing thresholds, writing files or HTML.
"""

from __future__ import annotations

from ccai_dagster.deliberation.votes import group_name
from ccai_dagster.pages.pictures.decisions import decision_importance, principle_robustness
from ccai_dagster.pages.pictures.drawn_once import once
from ccai_dagster.pages.pictures.opinions import (
    agreement_by_group,
    gac_distribution,
    opinion_map,
    polarization,
    representative_votes,
)
from ccai_dagster.pages.pictures.replication import published_and_corrected, shuffled_fit
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
from ccai_dagster.pages.pictures.uncertainty import gac_intervals, stability

__all__ = [
    "Picture",
    "agreement_by_group",
    "as_markdown",
    "calibration_curve",
    "decision_importance",
    "gac_distribution",
    "gac_intervals",
    "group_name",
    "once",
    "opinion_map",
    "polarization",
    "principle_robustness",
    "published_and_corrected",
    "representative_votes",
    "representativeness",
    "score_comparison",
    "score_differences",
    "sensitivity",
    "shuffled_fit",
    "specificity",
    "stability",
    "training_curves",
]
