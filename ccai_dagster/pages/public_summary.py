"""The short page for the public: the principles, how far each opinion group agrees, and what divides people most.

Before the first principle is worded, the statements that wait for a wording stand in their place.

What stands behind each principle is in the report, to which every one of them leads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ccai_dagster.audit.records import read_records
from ccai_dagster.core.language import speaking
from ccai_dagster.deliberation.votes import group_name
from ccai_dagster.pages.inputs import ReportInputs
from ccai_dagster.pages.parts import StatementMarks
from ccai_dagster.pages.pictures.style import colour
from ccai_dagster.pages.rendering import render
from ccai_dagster.pages.report_public import GroupBar, most_dividing, principle_cards, statement_sources, waiting
from ccai_dagster.pages.summary import constitution_version, summary

MANY = 40
"""Principles above which shares stand without bars in print, so that all go on two sheets."""


@dataclass(frozen=True)
class ShortPrinciple:
    """A principle in one line, and who agrees with the statement behind it that has the widest consensus."""

    principle_id: str
    text: str
    bars: Sequence[GroupBar]


@dataclass(frozen=True)
class GroupSize:
    """An opinion group and its share of everybody, in percent."""

    name: str
    colour: str
    people: int
    share: float


def render_summary(inputs: ReportInputs, report: str) -> str:
    """Render the page.

    Args:
        report: Name of the file beside it that tells everything behind each principle.

    Returns:
        A self-contained HTML document without a script.
    """
    with speaking(inputs.language):
        return _rendered(inputs, report)


def _rendered(inputs: ReportInputs, report: str) -> str:
    records = read_records(inputs.ledgers)
    sources = statement_sources(inputs, records, StatementMarks())
    principles = [
        ShortPrinciple(
            card.principle_id,
            card.text,
            max(card.sources, key=lambda source: source.gac or 0.0).bars if card.sources else [],
        )
        for card in principle_cards(inputs, records, sources)
    ]
    return render(
        "public_summary.html.j2",
        language=inputs.language,
        inputs=inputs,
        report=report,
        version=constitution_version(inputs),
        summary=summary(inputs),
        groups=_sizes(inputs),
        principles=principles,
        waiting=waiting(inputs, sources),
        many=MANY,
        dividing=most_dividing(sources.values()),
    )


def _sizes(inputs: ReportInputs) -> list[GroupSize]:
    sizes = inputs.opinion_groups.group_by("group_id").len("people").sort("group_id")
    return [
        GroupSize(group_name(group), colour(group), people, 100 * people / inputs.opinion_groups.height)
        for group, people in sizes.iter_rows()
    ]
