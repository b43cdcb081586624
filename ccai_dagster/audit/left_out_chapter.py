"""The chapter of the report about what was left out, and why.

Belongs here: grouping statements by the reason for which they led to no principle. Doesn't belong here: HTML.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from ccai_dagster.audit.filters import Entry
from ccai_dagster.audit.hanging_chapter import robustness_by_principle
from ccai_dagster.audit.public_chapters import Source
from ccai_dagster.audit.records import Records
from ccai_dagster.audit.report_inputs import ReportInputs


@dataclass(frozen=True)
class LeftOut:
    """Statements that are not in the constitution for the same reason, by whose decision and why."""

    fate: str
    heading: str
    explanation: str
    n: int
    parts: list[tuple[str, list[dict[str, Any]]]]


def left_out(inputs: ReportInputs, records: Records, sources: Mapping[int, Source]) -> list[LeftOut]:
    """Group every statement that led to no principle by why; those waiting for a decision are not there.

    Within a group, statements that were decided on by the same role with the same words stand together.
    """
    trail = inputs.decision_trail.filter(
        (pl.col("kind") == "statement") & ~pl.col("fate").is_in(["principle", "undecided"])
    )
    robustness = robustness_by_principle(inputs.principle_robustness, inputs.derived_arm)
    by_fate: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for row in trail.sort("gac", descending=True, nulls_last=True, maintain_order=True).to_dicts():
        shown = _left_out_row(row, records, sources, robustness)
        by_fate.setdefault(row["fate"], {}).setdefault(shown["because"], []).append(shown)
    return [
        LeftOut(
            fate=fate,
            heading="Left out by a person" if fate == "left out" else fate[0].upper() + fate[1:],
            explanation=EXPLANATIONS.get(fate, ""),
            n=sum(len(rows) for rows in by_fate[fate].values()),
            parts=sorted(by_fate[fate].items(), key=lambda part: -len(part[1])),
        )
        for fate in sorted(by_fate, key=_order)
    ]


EXPLANATIONS = {
    "below the cut": "Not enough agreement in at least one opinion group, or not enough votes to tell. "
    "Behind each consensus stands its 90% interval.",
    "never moderated": "Nobody decided on these, so their votes were not counted.",
    "left out": "They reached the cut; a person decided to leave them out, for the reason given.",
}


def _order(fate: str) -> tuple[int, str]:
    first = ("left out", "below the cut", "not scored")
    return (first.index(fate) if fate in first else 8 if fate == "never moderated" else 5, fate)


def _left_out_row(
    row: Mapping[str, Any], records: Records, sources: Mapping[int, Source], robustness: Mapping[str, str]
) -> dict[str, Any]:
    (key,) = row["statement_ids"]
    source = sources.get(key)
    decision = None
    if row["fate"].startswith("moderated out"):
        decision = next(iter(records.on("moderation", key)), None)
    elif row["fate"] == "left out":
        decision = next((one for one in records.on("wording", key) if one.verb == "leave out"), None)
    worded = [one.root_id for one in records.on("wording", key) if one.verb == "principle"]
    return {
        "statement_id": key,
        "text": row["text"],
        "original": source.original if source else None,
        "gac": row["gac"],
        "gac_low": row["gac_low"],
        "gac_high": row["gac_high"],
        "agreement": ", ".join(f"{bar.name} {bar.share:.0f}%" for bar in source.bars) if source else "",
        "because": f"{decision.because} ({decision.decided_by}, {decision.decided_at[:10]})"
        if decision
        else "",
        "decision_id": decision.decision_id if decision else None,
        "worded": [(key, robustness.get(key, "")) for key in worded],
        "entry": Entry(row["fate"], marks=source.marks if source else frozenset()),
    }
