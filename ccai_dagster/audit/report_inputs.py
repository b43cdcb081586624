"""What the report is made of, and small things its chapters share.

Belongs here: the inputs as one value, and text made safe to read. Doesn't belong here: any chapter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

LONGEST_TEXT = 1200
"""Characters of anything typed or generated that the report prints; tables keep the whole."""
_UNREADABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True)
class ReportInputs:
    """Finished tables and names; see `contracts` for the columns of each table.

    Attributes:
        title: Of the consultation.
        public: Who was asked.
        question: What they were asked.
        derived_arm: The arm whose constitution follows from the votes and the ledgers.
        baseline: The arm it is compared with.
        arms: What each arm is, in a sentence.
        constitutions: CONSTITUTION by arm.
        preference_pairs: PREFERENCE_PAIRS by arm.
        ledgers: LEDGER by kind, replaced rows included.
        models: MODEL, of all stages and arms.
        settings: Settings by stage, as shown to readers.
        findings: Sentences that say what the scores show.
        qualitative_responses: QUALITATIVE_RESPONSES of all arms and `base`.
        digests: Content digest of every table and model, by asset key.
        replication_page: Name of the file beside the report that compares with a published result; None if
            there is none.
        evaluation_page: Name of the file beside the report that tells what the constitutions changed; None if
            there is none.
    """

    title: str
    public: str
    question: str
    derived_arm: str
    baseline: str
    arms: Mapping[str, str]
    raw_statements: pl.DataFrame
    participants: pl.DataFrame
    statements: pl.DataFrame
    votes: pl.DataFrame
    opinion_groups: pl.DataFrame
    representative_statements: pl.DataFrame
    consensus_statements: pl.DataFrame
    comment_priorities: pl.DataFrame
    gac_scores: pl.DataFrame
    consensus_stability: pl.DataFrame
    group_stability: pl.DataFrame
    selected_statements: pl.DataFrame
    constitutions: Mapping[str, pl.DataFrame]
    constitution_overlap: pl.DataFrame
    constitution_comparison: pl.DataFrame
    ledgers: Mapping[str, pl.DataFrame]
    decision_trail: pl.DataFrame
    decision_sensitivity: pl.DataFrame
    decision_importance: pl.DataFrame
    principle_robustness: pl.DataFrame
    decision_reversals: pl.DataFrame
    judge_calibration: pl.DataFrame
    preference_pairs: Mapping[str, pl.DataFrame]
    models: pl.DataFrame
    settings: Mapping[str, Mapping[str, Any]]
    eval_scores: pl.DataFrame
    findings: Sequence[str]
    qualitative_prompts: pl.DataFrame
    qualitative_responses: pl.DataFrame
    digests: Mapping[str, str]
    replication_page: str | None = None
    evaluation_page: str | None = None


def readable(text: object) -> str:
    """Return untrusted text as a page can show it: not too long, control characters made visible.

    Characters that reorder what stands around them are shown as a replacement mark too. HTML is not escaped
    here; the template does that.
    """
    shown = _UNREADABLE.sub("\ufffd", str(text))
    if len(shown) <= LONGEST_TEXT:
        return shown
    return f"{shown[:LONGEST_TEXT].rstrip()}… [cut here; {len(shown):,} characters in all]"


def number(value: float | None, largest: float | None = None) -> str:
    """Return a score with two decimals, none if it or what stands beside it is large; a dash if missing.

    Args:
        value: The score.
        largest: Largest absolute value of what stands beside it; the value itself if None.
    """
    if value is None:
        return "–"
    shown = f"{value:.0f}" if max(abs(value), largest or 0.0) >= 10 else f"{value:.2f}"
    return shown.replace("-", "−") if float(shown) else shown.replace("-", "")


def signed(value: float | None, largest: float | None = None) -> str:
    """Return a difference with its sign, as `number` does."""
    shown = number(value, largest)
    return shown if value is None or shown.startswith("−") else f"+{shown}"


def natural(name: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts P2 before P10."""
    return [
        (0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part
    ]
