"""Small static pictures of tables: each a PNG and an alternative text.

Belongs here: drawing what a table says, in one sober style, for metadata, reports and pages.
Doesn't belong here: computing scores, choosing thresholds, writing files or HTML.
"""

from __future__ import annotations

from ccai_dagster.deliberation.group_names import group_name
from ccai_dagster.pictures.calibration import calibration_curve
from ccai_dagster.pictures.consensus import gac_distribution, polarization
from ccai_dagster.pictures.differences import score_differences
from ccai_dagster.pictures.opinions import agreement_by_group, opinion_map
from ccai_dagster.pictures.replication import published_and_corrected, shuffled_fit
from ccai_dagster.pictures.representativeness import representativeness
from ccai_dagster.pictures.results import score_comparison, sensitivity, training_curves
from ccai_dagster.pictures.specificity import specificity
from ccai_dagster.pictures.statements import representative_votes
from ccai_dagster.pictures.style import Picture, as_markdown
from ccai_dagster.pictures.uncertainty import gac_intervals, stability
from ccai_dagster.pictures.worlds import decision_importance, principle_robustness

__all__ = [
    "Picture",
    "agreement_by_group",
    "as_markdown",
    "calibration_curve",
    "decision_importance",
    "gac_distribution",
    "gac_intervals",
    "group_name",
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
