from __future__ import annotations

import polars as pl

from ccai_dagster.contracts import JUDGE_ANSWERS, LEDGER
from ccai_dagster.feedback.calibration import calibration_table, check_feedback_choice
from ccai_dagster.feedback.judge_accuracy import figures_digest


def measured(**shares: float) -> pl.DataFrame:
    """Calibration of methods that are right on this share of 50 comparisons."""
    rows = [
        {
            "method": method,
            "comparison_set": "people",
            "pair_id": f"p{at}",
            "prompt": f"q{at}",
            "principle": "r",
            "characters_a": 1,
            "characters_b": 1,
            "label": 1.0,
            "forward_probability": None,
            "reversed_probability": None,
            "probability_a": 0.9 if at < 50 * share else 0.1,
            "feedback_model": "m",
        }
        for method, share in shares.items()
        for at in range(50)
    ]
    comparisons = pl.DataFrame(
        [
            {"pair_id": f"p{at}", "prompt": f"q{at}", "response_a": "x", "response_b": "x", "probability_a": 1.0}
            for at in range(50)
        ]
    )
    return calibration_table(JUDGE_ANSWERS.build(rows), {"people": comparisons}, "letters", seed=1)


def ledger(method: str, cited: str | None = None, **further: str) -> pl.DataFrame:
    return LEDGER.build(
        [
            {
                "decision_id": f"R{at}",
                "kind": "training",
                "subject_ids": [name],
                "outcome": outcome,
                "reason": "because",
                "policy_ref": None,
                "decided_by": "team",
                "decided_at": "2025-04-03",
                "supersedes": None,
                "inputs_digest": cited if name == "feedback_method" else None,
                "suggested_by": None,
            }
            for at, (name, outcome) in enumerate(
                {"harmlessness_weight": "0.5", "feedback_method": method, "policy_method": "rloo", **further}.items()
            )
        ]
    )


def messages(method: str, calibration: pl.DataFrame, cited: str | None = None) -> list[str]:
    found = check_feedback_choice(ledger(method, cited), calibration)
    assert {(each.severity, each.decision_id, each.subject) for each in found} <= {("warning", "R1", "feedback_method")}
    return [each.message for each in found]


def test_the_best_method_on_record_is_left_alone() -> None:
    calibration = measured(letters=0.9, contrast=0.5)
    assert messages("letters", calibration) == []
    assert messages("letters", calibration, figures_digest(calibration)) == []


def test_a_clearly_better_method_is_named_with_its_figures_and_a_slightly_better_one_is_not() -> None:
    warnings = messages("letters", measured(letters=0.5, tuned=0.8))
    assert len(warnings) == 1
    assert "tuned agreed with people on 0.80 [0.67, 0.89] of 50, letters on 0.50" in warnings[0]
    assert messages("letters", measured(letters=0.5, tuned=0.56)) == []


def test_other_figures_than_those_cited_and_an_unmeasured_method_are_warnings() -> None:
    calibration = measured(letters=0.9)
    warnings = messages("letters", calibration, "0" * 64)
    assert len(warnings) == 1
    assert figures_digest(calibration) in warnings[0]
    assert "tuned was not measured" in messages("tuned", calibration)[0]


def test_labels_that_would_teach_the_opposite_stop_until_somebody_answers_for_them() -> None:
    calibration = measured(letters=0.3, contrast=0.4)
    (found,) = check_feedback_choice(ledger("letters"), calibration)
    assert (found.severity, found.decision_id) == ("error", "R1")
    assert "worse than chance (people 0.30 [0.19, 0.44] of 50)" in found.message
    assert messages("contrast", calibration) == []


def test_a_row_answers_for_the_method_and_the_figures_that_it_was_decided_on() -> None:
    calibration = measured(letters=0.3)
    accepted = ledger("letters", labels_below_chance="accept")
    (found,) = check_feedback_choice(accepted, calibration)
    assert (found.severity, found.decision_id) == ("warning", "R3")
    assert "worse than chance (people 0.30 [0.19, 0.44] of 50), so its labels teach the opposite" in found.message
    for cited, severity in ((figures_digest(calibration), "warning"), ("0" * 64, "error")):
        own = pl.when(pl.col("decision_id") == "R3").then(pl.lit(cited)).otherwise("inputs_digest")
        (found,) = check_feedback_choice(accepted.with_columns(inputs_digest=own), calibration)
        assert (found.severity, found.decision_id) == (severity, "R3")
    (found,) = check_feedback_choice(accepted.reverse(), calibration)
    assert (
        found.severity == "error" and "R3, which accepts that, stands before R1, which chose letters" in found.message
    )
