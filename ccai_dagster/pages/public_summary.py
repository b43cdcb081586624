"""The short page for the public: the principles, how far each opinion group agrees, and what divides people most.

Before the first principle is worded, the statements that wait for a wording stand in their place. Once models are
trained, the same page is made again as another, which ends with what came of the principles.

What stands behind each principle is in the report, to which every one of them leads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from ccai_dagster.audit.records import read_records
from ccai_dagster.consultation.folder import BASE
from ccai_dagster.core.language import speaking
from ccai_dagster.deliberation.votes import group_name
from ccai_dagster.evaluation.findings import Verdict
from ccai_dagster.evaluation.scores import ADHERENCE_SCORES
from ccai_dagster.pages.evaluation import in_short
from ccai_dagster.pages.forests import ShownComparison, comparisons
from ccai_dagster.pages.inputs import ReportInputs
from ccai_dagster.pages.judge import judge_worth
from ccai_dagster.pages.parts import StatementMarks
from ccai_dagster.pages.pictures.style import colour
from ccai_dagster.pages.rendering import render
from ccai_dagster.pages.report_public import GroupBar, most_dividing, principle_cards, statement_sources, waiting
from ccai_dagster.pages.summary import constitution_version, one_model_each, summary

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


def render_results(inputs: ReportInputs, report: str, elo_differences: pl.DataFrame, evaluation_page: str) -> str:
    """Render the page with what came of the principles.

    Args:
        inputs: With the scores and the calibration of the judge.
        report: Name of the file beside it that tells everything behind each principle.
        elo_differences: ELO_DIFFERENCES.
        evaluation_page: Name of the file beside it that tells what the constitutions changed.

    Returns:
        A self-contained HTML document without a script.
    """
    with speaking(inputs.language):
        return _rendered(inputs, report, outcome(inputs, elo_differences), evaluation_page)


def outcome(inputs: ReportInputs, elo_differences: pl.DataFrame) -> list[str]:
    """Say what was trained, whether models keep to these principles, and what all scores show, as they are counted.

    A judge's figure by itself is left to the evaluation page: it says little without how the judge was measured.
    """
    _, ngettext = inputs.language.gettext, inputs.language.ngettext
    keep = inputs.eval_scores.filter(benchmark=ADHERENCE_SCORES, metric=ADHERENCE_SCORES, category=inputs.derived_arm)
    judged = [_kept_to(inputs, each) for each in comparisons(keep) if inputs.derived_arm == each.row["arm"]]
    short = in_short(inputs.eval_scores, elo_differences)
    found = len(short.differ) + len(short.alike) + len(short.unclear)
    sentences = [one_model_each(inputs), *judged]
    if judged:
        sentences.append(
            _("Whether a response keeps to a principle is judged by a model that was found to be better than guessing.")
            if judge_worth(inputs.judge_calibration).trusted
            else _(
                "Whether a response keeps to a principle is judged by a model that was not found to be better than "
                "guessing everywhere, so these differences say little."
            )
        )
    sentences.append(
        ngettext(
            "By all scores there is %(count)s comparison of two models: %(differ)s with a difference, %(alike)s with "
            "one too small to matter, if any, and %(unclear)s that cannot be told.",
            "By all scores there are %(count)s comparisons of two models: %(differ)s with a difference, %(alike)s with "
            "one too small to matter, if any, and %(unclear)s that cannot be told.",
            found,
            differ=inputs.language.number(len(short.differ)),
            alike=inputs.language.number(len(short.alike)),
            unclear=inputs.language.number(len(short.unclear)),
        )
    )
    return sentences


def _kept_to(inputs: ReportInputs, one: ShownComparison) -> str:
    """Say whether the model of these principles keeps more to them than another one."""
    _ = inputs.language.gettext
    other = _("the untrained model") if one.other == BASE else _("the one trained on “%(arm)s”", arm=one.other)
    verdicts: Mapping[Verdict, str] = {
        "higher": _("The model trained on these principles keeps to them more than %(other)s", other=other),
        "lower": _("The model trained on these principles keeps to them less than %(other)s", other=other),
        "alike": _("The model trained on these principles keeps to them about as much as %(other)s", other=other),
        "unclear": _(
            "It cannot be told whether the model trained on these principles keeps to them more than %(other)s",
            other=other,
        ),
    }
    difference, low, high = (_points(inputs, value) for value in (one.difference, one.low, one.high))
    interval = _(
        "%(difference)s points of a hundred, 95%% interval %(low)s to %(high)s",
        difference=difference,
        low=low,
        high=high,
    )
    return f"{verdicts[one.verdict]} ({interval})."


def _points(inputs: ReportInputs, difference: float) -> str:
    """Write a difference of two shares in points of a hundred, with its sign."""
    points = round(100 * difference, 1) + 0.0  # never -0.0
    written = inputs.language.number(points, 1).replace("-", "−")
    return f"+{written}" if points > 0 else written


def _rendered(
    inputs: ReportInputs, report: str, came_of: Sequence[str] = (), evaluation_page: str | None = None
) -> str:
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
        came_of=came_of,
        evaluation_page=evaluation_page,
    )


def _sizes(inputs: ReportInputs) -> list[GroupSize]:
    sizes = inputs.opinion_groups.group_by("group_id").len("people").sort("group_id")
    return [
        GroupSize(group_name(group), colour(group), people, 100 * people / inputs.opinion_groups.height)
        for group, people in sizes.iter_rows()
    ]
