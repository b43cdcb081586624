"""The chapter of the report about the feedback model: how well it was measured to judge.

Belongs here: what follows from the figures of the calibration. Doesn't belong here: HTML, measuring.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ccai_dagster.audit.records import Records
from ccai_dagster.audit.report_inputs import ReportInputs
from ccai_dagster.core.text import counted
from ccai_dagster.feedback.labels import label_counts

SCORED_BY = "letters"
"""How the feedback model is asked when models are compared and their adherence is measured."""


@dataclass(frozen=True)
class JudgeFinding:
    """One measurement of the feedback model, in a sentence.

    Attributes:
        used: Whether this way of asking made the labels.
        scores: Whether the models are scored in this way (adherence, Elo), whatever made the labels.
        trusted: Whether the whole interval lies above one half.
    """

    sentence: str
    used: bool
    scores: bool
    trusted: bool


def judge_findings(inputs: ReportInputs, records: Records) -> list[JudgeFinding]:
    """Say how often the feedback model agreed with people, for every way of asking and set of comparisons."""
    method = next((row.outcome for row in records.on("training", "feedback_method")), None)
    findings = []
    for row in inputs.judge_calibration.sort("method", "comparison_set").to_dicts():
        used, scores = method is None or row["method"] == method, row["method"] == SCORED_BY
        told = [accuracy_sentence(row), *leanings(row)]
        told += ["Models are scored in this way, whatever made the labels."] if scores and not used else []
        findings.append(JudgeFinding(" ".join(told), used, scores, trusted=row["accuracy_low"] > 0.5))
    return findings


def label_sentences(inputs: ReportInputs) -> list[str]:
    """Say for every arm what became of its pairs of answers: labels, ties, and what was not learnt from."""
    sentences = []
    for arm, pairs in sorted(inputs.preference_pairs.items()):
        counts = label_counts(pairs)
        told = [
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
            + "".join(f", {part}" for part in told if part)
            + "."
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
        f"(95% interval {row['accuracy_low']:.0%} to {row['accuracy_high']:.0%}; guessing gives 50%)."
    )


def leanings(row: Mapping[str, Any]) -> list[str]:
    """Say where the feedback model leans in a way that content doesn't explain, as far as that was measured.

    Args:
        row: Of JUDGE_CALIBRATION.
    """
    told = []
    if row["position_bias_low"] > 0.5 or row["position_bias_high"] < 0.5:
        place = "first" if row["position_bias"] > 0.5 else "second"
        told.append(
            f"It leans to whichever answer is shown {place} (mean probability of the first "
            f"{row['position_bias']:.2f}, {row['position_bias_low']:.2f} to {row['position_bias_high']:.2f}; 0.50 "
            f"is none), and kept to the same answer in both orders in {row['flip_rate']:.0%} of cases "
            f"({row['flip_rate_low']:.0%} to {row['flip_rate_high']:.0%})."
        )
    if row["length_bias"] is not None and not row["length_bias_low"] <= 0 <= row["length_bias_high"]:
        way = "more" if row["length_bias"] > 0 else "less"
        ends = [abs(row["length_bias_low"]), abs(row["length_bias_high"])]
        told.append(
            f"It preferred the longer answer {way} often than people did, by {abs(row['length_bias']):.0%} of "
            f"comparisons ({min(ends):.0%} to {max(ends):.0%})."
        )
    if row["calibration_error"] is not None:
        told.append(
            f"Its stated confidence is off by {row['calibration_error']:.0%} on average "
            f"({row['calibration_error_low']:.0%} to {row['calibration_error_high']:.0%})."
        )
    return told


def judge_verdict(findings: list[JudgeFinding]) -> tuple[bool, str]:
    """Return whether the judge can be trusted at all, and what follows, from its measured figures."""
    used = [finding for finding in findings if finding.used or finding.scores]
    doubtful = [finding for finding in used if not finding.trusted]
    if not any(finding.used for finding in findings):
        return False, (
            "The feedback model was not measured in the way it was asked. Nothing is known about its "
            "judgement, so no score that rests on it says anything about the models."
        )
    if len(doubtful) == len(used):
        return False, (
            "The interval includes one half or lies below it: on these comparisons the feedback model could "
            "not be told from somebody who guesses. Its labels, the models trained on them, and every score "
            "that rests on it show that the machinery works. They do not show what these principles do to a "
            "model."
        )
    if doubtful:
        return False, (
            f"In {len(doubtful)} of {counted(len(used), 'measurement')} the interval includes one half or lies "
            "below it: there the feedback model could not be told from somebody who guesses. Scores that rest "
            "on it are weak evidence."
        )
    return True, (
        "The interval lies above one half: the feedback model judges better than guessing, and is wrong as "
        "often as the figure says. Scores that rest on it carry that error."
    )
