"""How many prompts exercise each principle of each constitution.

The authors of Collective Constitutional AI used one prompt database for both constitutions and later called that
likely a mistake: a principle without prompts that it matters for is hardly trained on. What makes a prompt relevant
to a principle is in `prompts`; drafts for principles with too few are in `prompt_drafts`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import polars as pl

from ccai_dagster.contracts import PROMPT_COVERAGE
from ccai_dagster.decisions.findings import Finding
from ccai_dagster.feedback.prompts import PURPOSES, named_arm

TRAINING_PURPOSES = ("revision", "preference", "policy")
"""What a model is trained with; prompts of the other purposes only measure it."""

SUBJECT = "prompt_minimum"


def prompt_coverage(
    prompts: pl.DataFrame, constitutions: Mapping[str, pl.DataFrame], minimum: int
) -> pl.DataFrame:
    """Count for each principle the prompts that are relevant to it.

    Args:
        prompts: PROMPTS, tagged with these constitutions.
        constitutions: CONSTITUTION tables by arm.
        minimum: Fewest prompts of the training purposes that a principle should have.

    Returns:
        PROMPT_COVERAGE, sorted by arm and principle.
    """
    counts = Counter(
        (key, purpose)
        for purpose, keys in prompts.select("purpose", "relevant_principles").iter_rows()
        for key in keys
    )
    rows = []
    for arm, table in constitutions.items():
        for principle_id, text in table.select("principle_id", "text").iter_rows():
            by_purpose = {purpose: counts[f"{arm}/{principle_id}", purpose] for purpose in PURPOSES}
            training = sum(by_purpose[purpose] for purpose in TRAINING_PURPOSES)
            rows.append(
                {
                    "arm": arm,
                    "principle_id": principle_id,
                    "text": text,
                    **by_purpose,
                    "training": training,
                    "below_minimum": training < minimum,
                }
            )
    return PROMPT_COVERAGE.build(rows).sort("arm", "principle_id")


def coverage_findings(
    coverage: pl.DataFrame, prompts: pl.DataFrame, minimum: int, decision_id: str | None
) -> list[Finding]:
    """Name the principles below the minimum, and the prompts that name a principle there is not.

    Args:
        coverage: PROMPT_COVERAGE.
        prompts: PROMPTS.
        minimum: The minimum that was counted with.
        decision_id: The row of the training ledger that sets it, if one does.

    Returns:
        Warnings only: training goes on, on what there is.
    """
    few = [
        Finding(
            "warning",
            "training",
            decision_id,
            f"{row['arm']}/{row['principle_id']}",
            f"{row['training']} prompts for training are relevant to it, and {minimum} should be; `ccai prompts draft` "
            "drafts some for you to accept",
        )
        for row in coverage.filter("below_minimum").iter_rows(named=True)
    ]
    there = set(coverage.select(pl.format("{}/{}", "arm", "principle_id")).to_series())
    gone = [
        Finding(
            "warning",
            "training",
            None,
            prompt_id,
            f"prompts.csv tags this prompt with {tag}, a principle that its constitution does not have (any more); "
            "change the tag",
        )
        for prompt_id, tags in prompts.select("prompt_id", "themes").iter_rows()
        for tag in tags
        if named_arm(tag) is not None and tag not in there
    ]
    return few + gone
