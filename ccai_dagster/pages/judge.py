"""What was measured on the feedback model, wherever a figure rests on it.

Belongs here: what follows from the figures of the calibration, for the audit report and the evaluation page.
Doesn't belong here: HTML, measuring.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from ccai_dagster.audit.records import Records
from ccai_dagster.core.text import counted
from ccai_dagster.feedback.judge_accuracy import (
    judge_verdict,
    label_distance,
    scored_by,
    scoring_sentence,
    strength_sentence,
)
from ccai_dagster.feedback.preference_pairs import label_counts
from ccai_dagster.pages.inputs import ReportInputs


@dataclass(frozen=True)
class JudgeFinding:
    """One measurement of the feedback model, in a sentence.

    Attributes:
        used: Whether this way of asking made the labels.
        scores: Whether the models are scored in this way (adherence, Elo), whatever made the labels.
    """

    sentence: str
    used: bool
    scores: bool


def feedback_method(records: Records) -> str | None:
    """Return how the feedback model was asked for labels, as the ledger says."""
    return next((row.outcome for row in records.on("training", "feedback_method")), None)


def judge_findings(inputs: ReportInputs, records: Records) -> list[JudgeFinding]:
    """Say how often the feedback model agreed with people, for every way of asking and set of comparisons."""
    method = feedback_method(records)
    findings = []
    for row in inputs.judge_calibration.sort("method", "comparison_set").to_dicts():
        used, scores = method is None or row["method"] == method, row["scores_models"]
        sentences = [accuracy_sentence(row), strength_sentence(row), *leanings(row)]
        sentences += ["Models are scored in this way, whatever made the labels."] if scores and not used else []
        findings.append(JudgeFinding(" ".join(sentences), used, scores))
    return findings


def label_sentences(inputs: ReportInputs) -> list[str]:
    """Say for every arm what became of its pairs of answers: labels, ties, and what was not learnt from."""
    sentences = []
    for arm, pairs in sorted(inputs.preference_pairs.items()):
        counts = label_counts(pairs)
        counted_apart = [
            f"{counts['ties']:,} a tie that prefers neither answer" if counts["ties"] else "",
            f"{counts['clamped']:,} moved to the nearest certainty that is allowed after reasoning"
            if counts["clamped"]
            else "",
        ]
        left_out = [
            f"{counts['unanswered']:,} because the feedback model gave no usable answer"
            if counts["unanswered"]
            else "",
            f"{counts['identical']:,} because both answers were the same" if counts["identical"] else "",
        ]
        sentences.append(
            f"{arm}: {counts['labelled']:,} of {counted(counts['pairs'], 'pair')} got a label"
            + "".join(f", {part}" for part in counted_apart if part)
            + f". Labels stand {label_distance(pairs.filter(status='labelled')):.3f} from one half on average."
            + (f" Left out: {', '.join(part for part in left_out if part)}." if any(left_out) else "")
        )
    return sentences


def accuracy_sentence(row: Mapping[str, Any]) -> str:
    """Say how often the feedback model agreed with people.

    Args:
        row: Of JUDGE_CALIBRATION.
    """
    silent = f", {row['n_unanswered']:,} of them left unanswered" if row["n_unanswered"] else ""
    return (
        f"Asked by the method “{row['method']}” on {counted(row['n'], 'comparison')} of the set "
        f"“{row['comparison_set']}”{silent}, it agreed with people on {row['accuracy']:.0%} "
        f"(95% interval {row['accuracy_low']:.0%} to {row['accuracy_high']:.0%}; guessing gives 50%). The best scorer "
        f"that never sees the principle ({row['blind_scorer']}) is right on {row['blind_accuracy']:.0%} of the same "
        f"({row['blind_accuracy_low']:.0%} to {row['blind_accuracy_high']:.0%})."
    )


def leanings(row: Mapping[str, Any]) -> list[str]:
    """Say where the feedback model leans in a way that content doesn't explain, as far as that was measured.

    Args:
        row: Of JUDGE_CALIBRATION.
    """
    sentences = []
    if row["position_bias_low"] > 0.5 or row["position_bias_high"] < 0.5:
        place = "first" if row["position_bias"] > 0.5 else "second"
        sentences.append(
            f"It leans to whichever answer is shown {place} (mean probability of the first "
            f"{row['position_bias']:.2f}, {row['position_bias_low']:.2f} to {row['position_bias_high']:.2f}; 0.50 "
            f"is none), and kept to the same answer in both orders in {row['flip_rate']:.0%} of cases "
            f"({row['flip_rate_low']:.0%} to {row['flip_rate_high']:.0%})."
        )
    if row["length_bias"] is not None and not row["length_bias_low"] <= 0 <= row["length_bias_high"]:
        way = "more" if row["length_bias"] > 0 else "less"
        ends = [abs(row["length_bias_low"]), abs(row["length_bias_high"])]
        sentences.append(
            f"It preferred the longer answer {way} often than people did, by {abs(row['length_bias']):.0%} of "
            f"comparisons ({min(ends):.0%} to {max(ends):.0%})."
        )
    if row["calibration_error"] is not None:
        sentences.append(
            f"Its stated confidence is off by {row['calibration_error']:.0%} on average "
            f"({row['calibration_error_low']:.0%} to {row['calibration_error_high']:.0%})."
        )
    return sentences


@dataclass(frozen=True)
class JudgeWorth:
    """What was measured on the feedback model, as it is asked when models are scored.

    Attributes:
        trusted: Whether it was measured to be better than guessing, on every set of comparisons.
        headline: The same in words.
        figures: How often it agreed, set by set, in a sentence each.
        scoring: By which method models are scored, and what follows for what their scores say.
        sentences: All figures with their intervals.
    """

    trusted: bool
    headline: str
    figures: list[str]
    scoring: str
    sentences: list[str]


def judge_worth(calibration: pl.DataFrame) -> JudgeWorth:
    """Sum up the calibration of the feedback model.

    Args:
        calibration: JUDGE_CALIBRATION.
    """
    method = scored_by(calibration)
    rows = calibration.filter(pl.col("method") == method).sort("comparison_set").to_dicts()
    sentences = [" ".join([accuracy_sentence(row), strength_sentence(row), *leanings(row)]) for row in rows]
    figures = [
        f"On the set “{row['comparison_set']}” it agreed with the labels on {row['accuracy']:.0%} of "
        f"{counted(row['n'], 'comparison')} (95% interval {row['accuracy_low']:.0%} to {row['accuracy_high']:.0%}), a "
        f"scorer that never sees the principle on {row['blind_accuracy']:.0%}."
        for row in rows
    ]
    return JudgeWorth(*judge_verdict([method], calibration), figures, scoring_sentence(calibration), sentences)
