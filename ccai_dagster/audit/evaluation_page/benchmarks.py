"""The chapters on benchmarks: what a model knows, how biased it answers, what it refuses, and the rest.

Belongs here: which evaluation sets and metrics stand in which chapter, and how to read them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import polars as pl

from ccai_dagster.audit.evaluation_page.forests import difference_forest, score_forest
from ccai_dagster.audit.evaluation_page.inputs import EvaluationInputs
from ccai_dagster.audit.evaluation_page.measures import category_name, metric_name
from ccai_dagster.audit.evaluation_page.parts import Chapter, Forest
from ccai_dagster.audit.evaluation_page.verdicts import comparisons
from ccai_dagster.core.text import counted
from ccai_dagster.evaluation.benchmark_sets.opinion_qa import METRIC
from ccai_dagster.evaluation.findings import regressions
from ccai_dagster.evaluation.scores import ALL

NAMES_CATEGORY = "(names)"
"""Ends the categories of items that name persons, which are told apart from those that describe them."""


@dataclass(frozen=True)
class _Kind:
    anchor: str
    title: str
    formats: frozenset[str]
    paragraphs: tuple[str, ...]


_KINDS = (
    _Kind(
        "knowledge",
        "What they know and can work out",
        frozenset({"multiple_choice", "numeric_answer", "mmlu", "gsm8k"}),
        (
            "Training on a constitution should not cost knowledge. These sets ask questions that have one right "
            "answer; the score is the share answered correctly, so more is better.",
        ),
    ),
    _Kind(
        "bias",
        "Social bias",
        frozenset({"social_bias", "bbq"}),
        (
            "Each question is about two people of whom a stereotype would point to one. Without the facts the right "
            "answer is that it cannot be known. With the facts, the text says who it was.",
            "The bias score is 100 if every answer follows the stereotype, −100 if every answer goes against it, and "
            "0 if neither prevails, so nearer to 0 is better. Accuracy stands apart from it: more is better.",
            "Items made from one template are not independent of each other; intervals and tests treat a template, "
            "not an item, as one observation.",
        ),
    ),
    _Kind(
        "refusals",
        "What they refuse",
        frozenset({"over_refusal", "xstest"}),
        (
            "Some requests only sound dangerous, others are. A model should answer the first and decline the second: "
            "fewer refusals of safe requests are better, more refusals of unsafe ones are. Refusals are recognised "
            "by their wording, in English, and only at the beginning of a response.",
        ),
    ),
)
_SIGNED = pl.col("metric").str.starts_with("bias_")
"""Scores that can be negative have a line of their own."""
_REST = _Kind(
    "further", "Further benchmarks", frozenset(), ("Evaluation sets that fit none of the chapters above.",)
)


def benchmark_chapters(inputs: EvaluationInputs) -> list[Chapter]:
    """Return a chapter for each kind of benchmark the consultation has."""
    placed = {
        name: next((kind for kind in _KINDS if format_ in kind.formats), _REST)
        for name, (format_, _) in inputs.benchmarks.items()
    }
    found = []
    for kind in (*_KINDS, _REST):
        names = [name for name, own in placed.items() if own is kind]
        # Whose opinions a model represents has a chapter of its own.
        scores = inputs.eval_scores.filter(pl.col("benchmark").is_in(names) & (pl.col("metric") != METRIC))
        if not scores.is_empty():
            found.append(_chapter(kind, scores, inputs))
    return found


def _chapter(kind: _Kind, scores: pl.DataFrame, inputs: EvaluationInputs) -> Chapter:
    ordered = in_order(scores, inputs)
    described = [f"“{name}”: {inputs.benchmarks[name][1]}." for name in sorted(set(scores["benchmark"]))]
    return Chapter(
        anchor=kind.anchor,
        title=kind.title,
        paragraphs=[*kind.paragraphs, *described],
        findings=_worse(scores) if kind is _KINDS[0] else (),
        forests=_forests(ordered),
        folds=list(_folds(ordered)),
        unread=unread(scores),
    )


def _worse(scores: pl.DataFrame) -> list[str]:
    """Say what training cost: questions that a model answers measurably worse than the untrained one."""
    return [f"“{found.subject}”: {found.message}." for found in regressions(scores)] or [
        "No model answers measurably fewer questions rightly than the untrained model does. What is too small to be "
        "seen with so many items is told with the differences below."
    ]


def _forests(ordered: pl.DataFrame) -> list[Forest]:
    whole = ordered.filter(pl.col("category") == ALL)
    return _shown(
        [
            *(
                score_forest(f"{name[0].upper()}{name[1:]} with 95% intervals", part, _whole)
                for name, part in (
                    ("scores", whole.filter(~_SIGNED)),
                    ("bias scores", whole.filter(_SIGNED)),
                )
            ),
            difference_forest("Differences, each item against itself", comparisons(whole), _whole),
        ]
    )


def _folds(ordered: pl.DataFrame) -> Iterator[tuple[str, list[Forest]]]:
    parts = ordered.filter(pl.col("category") != ALL)
    for benchmark, metric in parts.select("benchmark", "metric").unique(maintain_order=True).rows():
        own = parts.filter((pl.col("benchmark") == benchmark) & (pl.col("metric") == metric))
        title = f"{metric_name(metric)} on “{benchmark}”, by category"
        forests = [
            score_forest("Scores with 95% intervals", own, _category),
            difference_forest("Differences, each item against itself", comparisons(own), _category),
        ]
        yield title[0].upper() + title[1:], _shown(forests)


def _shown(forests: list[Forest]) -> list[Forest]:
    return [forest for forest in forests if forest.rows]


def in_order(scores: pl.DataFrame, inputs: EvaluationInputs) -> pl.DataFrame:
    """Sort scores as they are shown: measure by measure, `base` first, and categories of names last."""
    places = {arm: at for at, arm in enumerate(sorted(scores["arm"].unique(), key=inputs.place))}
    return scores.sort(
        "benchmark",
        "metric",
        pl.col("category").str.ends_with(NAMES_CATEGORY),
        "category",
        pl.col("arm").replace_strict(places, return_dtype=pl.Int64),
        "compared_with",
    )


def _whole(row: Mapping[str, object]) -> str:
    name = metric_name(str(row["metric"]))
    return f"{name[0].upper()}{name[1:]} on “{row['benchmark']}”"


def _category(row: Mapping[str, object]) -> str:
    return category_name(str(row["category"]))


def unread(scores: pl.DataFrame) -> list[str]:
    """Say of how many answers nothing could be read, for every benchmark, metric and model with such answers."""
    whole = scores.filter(pl.col("category") == ALL).unique(
        ["arm", "benchmark", "metric"], keep="first", maintain_order=True
    )
    some = whole.filter(pl.col("n_unanswered") > 0).sort("benchmark", "metric", "arm")
    if some.is_empty():
        return ["Every answer could be read."]
    return [
        f"“{row['arm']}” on “{row['benchmark']}” ({metric_name(row['metric'])}): {row['n_unanswered']:,} of "
        f"{counted(row['n'], 'answer')} could not be read."
        for row in some.to_dicts()
    ]
