"""Small static pictures of tables, as PNG bytes with an alternative text beside each.

Belongs here: drawing what a table says, in one sober style, for metadata, reports and pages.
Doesn't belong here: computing scores, choosing thresholds, writing files or HTML.
"""

from __future__ import annotations

from ccai_dagster.deliberation.group_names import group_name
from ccai_dagster.pictures.calibration import calibration_curve, calibration_curve_alt
from ccai_dagster.pictures.consensus import (
    gac_distribution,
    gac_distribution_alt,
    polarization,
    polarization_alt,
)
from ccai_dagster.pictures.differences import score_differences, score_differences_alt
from ccai_dagster.pictures.opinions import (
    agreement_by_group,
    agreement_by_group_alt,
    opinion_map,
    opinion_map_alt,
)
from ccai_dagster.pictures.replication import (
    published_and_corrected,
    published_and_corrected_alt,
    shuffled_fit,
    shuffled_fit_alt,
)
from ccai_dagster.pictures.representativeness import representativeness, representativeness_alt
from ccai_dagster.pictures.results import (
    score_comparison,
    score_comparison_alt,
    sensitivity,
    sensitivity_alt,
    training_curves,
    training_curves_alt,
)
from ccai_dagster.pictures.specificity import specificity, specificity_alt
from ccai_dagster.pictures.statements import representative_votes, representative_votes_alt
from ccai_dagster.pictures.style import as_markdown
from ccai_dagster.pictures.uncertainty import gac_intervals, gac_intervals_alt, stability, stability_alt
from ccai_dagster.pictures.worlds import (
    decision_importance,
    decision_importance_alt,
    principle_robustness,
    principle_robustness_alt,
)

__all__ = [
    "agreement_by_group",
    "agreement_by_group_alt",
    "as_markdown",
    "calibration_curve",
    "calibration_curve_alt",
    "decision_importance",
    "decision_importance_alt",
    "gac_distribution",
    "gac_distribution_alt",
    "gac_intervals",
    "gac_intervals_alt",
    "group_name",
    "opinion_map",
    "opinion_map_alt",
    "polarization",
    "polarization_alt",
    "principle_robustness",
    "principle_robustness_alt",
    "published_and_corrected",
    "published_and_corrected_alt",
    "representative_votes",
    "representative_votes_alt",
    "representativeness",
    "representativeness_alt",
    "score_comparison",
    "score_comparison_alt",
    "score_differences",
    "score_differences_alt",
    "sensitivity",
    "sensitivity_alt",
    "shuffled_fit",
    "shuffled_fit_alt",
    "specificity",
    "specificity_alt",
    "stability",
    "stability_alt",
    "training_curves",
    "training_curves_alt",
]
