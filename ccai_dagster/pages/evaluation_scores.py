"""The chapters on benchmarks, on Elo and on opinions.

Belongs here: which evaluation sets and metrics stand in which chapter, how to read them, whose responses are
preferred, and whose opinions a model's answers resemble beside what could be expected of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from ccai_dagster.consultation.folder import BASE
from ccai_dagster.core.text import counted
from ccai_dagster.evaluation.elo import compared_responses
from ccai_dagster.evaluation.findings import VERDICTS, elo_findings, regressions, score_verdict
from ccai_dagster.evaluation.scores import ALL, PEOPLE
from ccai_dagster.evaluation.sets.items import REFUSALS_READ
from ccai_dagster.evaluation.sets.opinion_qa import METRIC
from ccai_dagster.pages.forests import (
    Figure,
    category_name,
    comparisons,
    difference_forest,
    elo_comparisons,
    metric_name,
    plain_forest,
    score_forest,
    with_interval,
    written,
)
from ccai_dagster.pages.inputs import EvaluationInputs
from ccai_dagster.pages.parts import Chapter, Forest, Grid, GridCell
from ccai_dagster.pages.rendering import plain_findings

NAMES_CATEGORY = "(names)"
"""Ends the categories of items that name persons, which are kept apart from those that describe them."""
_SIGNED = pl.col("metric").str.starts_with("bias_")
"""Scores that can be negative have a line of their own."""


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
            "fewer refusals of safe requests are better, more refusals of unsafe ones are.",
            f"{REFUSALS_READ} Only the beginning of a response is read, without a thought that stands before it.",
        ),
    ),
)
_REST = _Kind("further", "Further benchmarks", frozenset(), ("Evaluation sets that fit none of the chapters above.",))


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
        unread=[*unread(scores), *cut_off(scores)],
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
                for name, part in (("scores", whole.filter(~_SIGNED)), ("bias scores", whole.filter(_SIGNED)))
            ),
            difference_forest("Differences, each item against itself", comparisons(whole), _whole),
        ]
    )


def _shown(forests: list[Forest]) -> list[Forest]:
    return [forest for forest in forests if forest.rows]


def _whole(row: Mapping[str, object]) -> str:
    name = metric_name(str(row["metric"]))
    return f"{name[0].upper()}{name[1:]} on “{row['benchmark']}”"


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


def _category(row: Mapping[str, object]) -> str:
    return category_name(str(row["category"]))


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


def cut_off(scores: pl.DataFrame) -> list[str]:
    """Say how many responses were cut off at the limit of tokens, for every benchmark, metric and model with such."""
    whole = scores.filter((pl.col("category") == ALL) & (pl.col("n_cut") > 0))
    some = whole.unique(["arm", "benchmark", "metric"]).sort("benchmark", "metric", "arm")
    return [
        f"“{row['arm']}” on “{row['benchmark']}” ({metric_name(row['metric'])}): {row['n_cut']:,} of "
        f"{counted(row['n'], 'response')} were cut off at the limit of tokens and are scored as they stand."
        for row in some.to_dicts()
    ]


def elo_chapter(inputs: EvaluationInputs) -> Chapter | None:
    """Return the chapter, or None if nothing was compared."""
    differences = inputs.elo_differences.sort("quality", "arm", "other_arm")
    by_people = pl.col("source") == PEOPLE
    sources = {
        "By people": elo_comparisons(differences.filter(by_people)),
        "By the feedback model": elo_comparisons(differences.filter(~by_people)),
    }
    if not any(sources.values()):
        return None
    silent = differences.filter(pl.col("n_unanswered") > 0).to_dicts()
    said = compared_responses(inputs.comparisons).group_by("arm").agg(pl.len(), cut=(~pl.col("finished")).sum())
    unanswered = [
        f"“{row['arm']}” and “{row['other_arm']}” ({row['quality']}): {row['n_unanswered']:,} of "
        f"{counted(row['n'] + row['n_unanswered'], 'comparison')} had no usable answer."
        for row in silent
    ]
    return Chapter(
        anchor="elo",
        title="Helpful and harmless, in comparison",
        paragraphs=[
            "The same prompts went to every model, and pairs of responses were compared: which is more helpful, "
            f"which less harmful? Elo turns that into one figure a model, with the untrained model “{BASE}” at 0: "
            "a model 100 Elo above another wins about 64 of 100 comparisons, one 400 above wins 10 of 11.",
            "Intervals come from drawing prompts anew, and raters where several rated, since answers to one prompt "
            "or by one person are no independent observations."
            + ("" if sources["By people"] else " Nobody has rated these responses yet: all figures are the judge's."),
        ],
        judged=bool(sources["By the feedback model"]),
        findings=plain_findings(elo_findings(inputs.elo_differences, inputs.rater_agreement)),
        forests=[
            difference_forest(f"{source}, with 95% intervals", found, _quality)
            for source, found in sources.items()
            if found
        ],
        unread=[
            *(unanswered or ["Every comparison was answered."]),
            *(
                f"“{arm}”: {cut:,} of {counted(n, 'response')} that were compared were cut off at the limit of tokens."
                for arm, n, cut in said.filter(pl.col("cut") > 0).sort("arm").iter_rows()
            ),
        ],
    )


def _quality(row: Mapping[str, object]) -> str:
    return str(row["metric"]).capitalize()


def opinions_chapter(inputs: EvaluationInputs) -> Chapter | None:
    """Return the chapter, or None if the consultation asks no opinions."""
    table = inputs.opinion_representativeness
    if table is None or table.is_empty():
        return None
    table = table.sort("benchmark", pl.col("attribute") != "everybody", "attribute", "group")
    parts = [table.filter(pl.col("benchmark") == name) for name in table["benchmark"].unique(maintain_order=True)]
    described = [f"“{name}”: {inputs.benchmarks[name][1]}." for name in sorted(set(table["benchmark"]))]
    scores = in_order(inputs.eval_scores.filter(pl.col("metric") == METRIC, pl.col("category") == ALL), inputs)
    together = difference_forest("Differences, the mean over everybody and all groups", comparisons(scores), _whole)
    return Chapter(
        anchor="opinions",
        title="Whose opinions they represent",
        paragraphs=[
            "Models answer questions of opinion that people were asked too. Representativeness is 100 if a model's "
            "distribution of answers is that of a group of people, and lower the further its answers lie from theirs "
            "on the scale of each question.",
            "The scale is squeezed: a model that prefers no option scores high already. So each cell also tells how "
            "far a model lies above that, and the shade follows it. Two columns are yardsticks that follow from the "
            "questions and are no estimates: a model that prefers no option, and one that knows the group exactly.",
            *described,
        ],
        grids=[_grid(part, inputs) for part in parts],
        forests=_shown([together, *map(_forest, parts)]),
    )


def _grid(table: pl.DataFrame, inputs: EvaluationInputs) -> Grid:
    arms = sorted(table["arm"].unique(), key=inputs.place)
    groups = table.select("attribute", "group").unique(maintain_order=True).rows()
    by_cell = {(row["attribute"], row["group"], row["arm"]): row for row in table.to_dicts()}
    reach = max((abs(row["above_uniform"]) for row in by_cell.values()), default=0.0) or 1.0
    cells = []
    for attribute, group in groups:
        rows = [by_cell.get((attribute, group, arm)) for arm in arms]
        known = [row for row in rows if row]
        cells.append(
            [
                *(None if row is None else _cell(row, reach) for row in rows),
                _yardstick([row["uniform"] for row in known]),
                _yardstick([row["ceiling"] for row in known]),
            ]
        )
    n = sorted({row["n"] for row in by_cell.values()})
    return Grid(
        caption=f"Representativeness on “{table['benchmark'][0]}”, in points, over "
        f"{counted(n[-1], 'question') if len(n) == 1 else f'{n[0]:,} to {n[-1]:,} questions'}, with 95% intervals",
        corner="Group",
        columns=[*arms, "no preference", "exact"],
        rows=[_group(attribute, group) for attribute, group in groups],
        cells=cells,
    )


def _cell(row: Mapping[str, Any], reach: float) -> GridCell:
    above, least, most = (row[name] for name in ("above_uniform", "above_uniform_low", "above_uniform_high"))
    over = with_interval(above, least, most, False, sign=True)
    value, low, high = (written(row[name], False) for name in ("value", "low", "high"))
    return GridCell(value, f"{low} to {high};", row["above_uniform"] / reach, f"{over} over no preference")


def _yardstick(values: list[float | None]) -> GridCell | None:
    """Return what is the same for every model that answered these questions."""
    value = next((each for each in values if each is not None), None)
    return None if value is None else GridCell(written(value, False), "yardstick", 0.0)


def _group(attribute: str, group: str) -> str:
    return group if attribute == "everybody" else f"{group} ({attribute.replace('_', ' ').lower()})"


def _forest(table: pl.DataFrame) -> Forest:
    return plain_forest(
        f"Differences on “{table['benchmark'][0]}”, each question against itself, in points",
        list(_figures(table.drop_nulls("difference"))),
        None,
        1,
    )


def _figures(table: pl.DataFrame) -> Iterator[Figure]:
    for row in table.to_dicts():
        low, high = row["difference_low"], row["difference_high"]
        yield Figure(
            _group(row["attribute"], row["group"]),
            f"{row['arm']} against {row['compared_with']}",
            counted(row["n"], "question"),
            100 * row["difference"],
            100 * low,
            100 * high,
            VERDICTS[score_verdict({"metric": METRIC, **row})],
        )
