"""Whether the recorded way of asking the feedback model still agrees with what was measured.

Findings are warnings: which method is used is a person's decision, and a measurement may be noise.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from ccai_dagster.decisions.findings import Finding
from ccai_dagster.decisions.ledger import current
from ccai_dagster.decisions.settled_values import training_decisions
from ccai_dagster.digest import table_digest

SUBJECT = "feedback_method"


def check_feedback_choice(ledger: pl.DataFrame, calibration: pl.DataFrame) -> list[Finding]:
    """Compare the recorded feedback method with the figures of all methods that were measured.

    Args:
        ledger: The training ledger, already checked.

    Returns:
        Warnings: the method was not measured; it was decided on other figures (its `inputs_digest` is not
        that of the calibration); on some set another method's whole interval lies above its accuracy.
    """
    settled = training_decisions(ledger)
    method, decision_id = settled.feedback_method, settled.decision_ids[SUBJECT]
    cited = current(ledger).filter(pl.col("decision_id") == decision_id)["inputs_digest"].item()
    found = table_digest(calibration)
    told = []
    own = {row["comparison_set"]: row for row in _rows(calibration, method)}
    if not own:
        told.append(
            f"{method} was not measured, so nothing is known about its labels; add labelled comparisons, and the "
            "method to feedback.calibration_methods in consultation.yaml"
        )
    if cited is not None and cited != found:
        told.append(
            "decided on other figures than judge_calibration shows now; look at them and decide again, with "
            f"digest {found}"
        )
    told += [
        f"on {row['comparison_set']} {row['method']} agreed with people on {_share(row)}, {method} on "
        f"{_share(own[row['comparison_set']])}; supersede the row, or say in a new one why not"
        for row in _rows(calibration, None)
        if row["comparison_set"] in own
        and row["method"] != method
        and row["accuracy_low"] > own[row["comparison_set"]]["accuracy"]
    ]
    return [Finding("warning", "training", decision_id, SUBJECT, message) for message in told]


def _rows(calibration: pl.DataFrame, method: str | None) -> list[dict[str, Any]]:
    own = calibration if method is None else calibration.filter(pl.col("method") == method)
    return own.sort("comparison_set", "method").to_dicts()


def _share(row: dict[str, Any]) -> str:
    return f"{row['accuracy']:.2f} [{row['accuracy_low']:.2f}, {row['accuracy_high']:.2f}] of {row['n']}"
