"""The chapter on the constitutions: how much they have in common before any model is trained."""

from __future__ import annotations

import polars as pl

from ccai_dagster.audit.evaluation_page.forests import Figure, plain_forest
from ccai_dagster.audit.evaluation_page.inputs import EvaluationInputs
from ccai_dagster.audit.evaluation_page.parts import Chapter
from ccai_dagster.constitution.comparison import AGREEMENT, BY_LIKENESS, BY_TAGS, MEASURES
from ccai_dagster.core.text import counted, natural

NAMES = {
    BY_LIKENESS: "A principle worded alike is in",
    BY_TAGS: "A principle with the same tag is in",
}
"""How the forest calls the shares that depend on the other constitution."""


def overlap_chapter(inputs: EvaluationInputs) -> Chapter | None:
    """Return the chapter, or None with one constitution only."""
    comparison = inputs.constitution_comparison.drop_nulls("value")
    if comparison.is_empty():
        return None
    return Chapter(
        anchor="overlap",
        title="How far the constitutions overlap",
        paragraphs=[
            "Where two constitutions say the same, no difference between their models is to be expected. A principle "
            "has a counterpart if one of the other constitution is worded alike enough; shared words understate how "
            "much two texts mean the same. Where people tagged principles, one with the same tag counts as well.",
            "Intervals tell how far each share would vary were the principles drawn from many like them.",
        ],
        findings=[*_published(inputs), *_agreement(comparison), *_alone(inputs)],
        forests=[
            plain_forest(
                "Share of a constitution's principles, in percent, with 95% intervals",
                _shares(comparison),
                (0, 100),
                0,
            )
        ],
    )


def _shares(comparison: pl.DataFrame) -> list[Figure]:
    """Shares in the order of `MEASURES`; what a constitution says of itself is told once, whatever it stands beside."""
    figures, told = [], set()
    shares = comparison.filter(pl.col("measure") != AGREEMENT).sort("arm", "other_arm").to_dicts()
    for row in sorted(shares, key=lambda row: MEASURES.index(row["measure"])):
        name = NAMES.get(row["measure"])
        label = f"{name} “{row['other_arm']}”" if name else f"It {row['measure']}"
        if (label, row["arm"]) not in told:
            told.add((label, row["arm"]))
            n, ends = counted(row["n"], "principle"), (100 * row[key] for key in ("value", "low", "high"))
            figures.append(Figure(label, row["arm"], n, *ends))
    return figures


def _published(inputs: EvaluationInputs) -> list[str]:
    rows = inputs.constitution_comparison.drop_nulls("published").to_dicts()
    return [
        f"Of “{row['arm']}” and “{row['other_arm']}” a published comparison, made by hand, prints {row['published']} "
        f"for what is called here “{row['measure']}”."
        for row in rows
    ]


def _agreement(comparison: pl.DataFrame) -> list[str]:
    return [
        f"Likeness and tags agree on which principles of “{row['arm']}” have a counterpart in “{row['other_arm']}” "
        f"with a kappa of {row['value']:z.2f} (95% interval {row['low']:z.2f} to {row['high']:z.2f}; 1 is always, 0 "
        "as often as by chance).".replace("-", "−")
        for row in comparison.filter(pl.col("measure") == AGREEMENT).sort("arm", "other_arm").to_dicts()
    ]


def _alone(inputs: EvaluationInputs) -> list[str]:
    """Name the principles that have no counterpart in the constitution they are compared with."""
    shared = pl.coalesce("shared_by_tags", "shared")
    beside = (pl.col("arm") == inputs.baseline) | (pl.col("other_arm") == inputs.baseline)
    rows = inputs.constitution_overlap.filter(beside & ~shared)
    told = []
    for (arm, other), own in rows.sort("arm", "other_arm").group_by(
        ["arm", "other_arm"], maintain_order=True
    ):
        names = ", ".join(sorted(own["principle_id"], key=natural))
        told.append(f"In “{arm}” and not in “{other}”: {names}.")
    return told
