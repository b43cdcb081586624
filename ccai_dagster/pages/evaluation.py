"""The evaluation page as one HTML file: its first screen, its chapters in their order, and two of them.

Belongs here: choosing and ordering the sentences of the first screen; the chapters on the overlap of constitutions
and on responses side by side. Doesn't belong here: the chapters with scores (`evaluation_scores`,
`evaluation_adherence`), what a single comparison shows (`forests`). Nothing more is measured on the responses than
refusals: they are too few and chosen by people.

Prompts, responses and principles are untrusted text and go through the template's escaping.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import polars as pl

from ccai_dagster.constitution.comparison import AGREEMENT, BY_LIKENESS, BY_TAGS, MEASURES
from ccai_dagster.consultation.folder import BASE
from ccai_dagster.core.digest import table_digest
from ccai_dagster.core.text import counted, listed, natural, readable
from ccai_dagster.evaluation.findings import SMALL_ELO, SMALL_SHARE, SMALL_SHARES
from ccai_dagster.evaluation.scores import ADHERENCE_SCORES, ALL
from ccai_dagster.evaluation.sets.items import REFUSALS_READ
from ccai_dagster.evaluation.sets.opinion_qa import METRIC
from ccai_dagster.pages import evaluation_adherence, evaluation_control, evaluation_scores
from ccai_dagster.pages.forests import Figure, ShownComparison, comparisons, elo_comparisons, plain_forest
from ccai_dagster.pages.inputs import EvaluationInputs
from ccai_dagster.pages.judge import judge_worth
from ccai_dagster.pages.parts import Chapter, ShownExchange, ShownResponse
from ccai_dagster.pages.rendering import render
from ccai_dagster.statistics.intervals import wilson_interval

NAMES = {BY_LIKENESS: "A principle worded alike is in", BY_TAGS: "A principle with the same tag is in"}
"""How the forest calls the shares that depend on the other constitution."""
UNLIKE = 0.3
"""Two responses with a smaller share of words in common than this are not compared word by word."""
DIFFERING = ("some refuse, some do not", "they answer differently", "all answers are the same, word for word")
SHOWN = 6
"""Sentences of one sort on the first screen; the others unfold."""
UNTRAINED = "the model as it was before any training here"


def render_evaluation(inputs: EvaluationInputs) -> str:
    """Render the page.

    Returns:
        A self-contained HTML document without scripts or addresses outside itself, but for the link to the
        audit report beside it. The same tables give the same text.
    """
    return render(
        "evaluation.html.j2",
        title=inputs.title,
        audit_report=inputs.audit_report,
        arms=_arms(inputs),
        short=in_short(inputs.eval_scores, inputs.elo_differences),
        shown=SHOWN,
        small=f"{SMALL_SHARE:.0%} of the scale, {SMALL_SHARES[METRIC]:.0%} for representativeness, {SMALL_ELO:.0f} Elo",
        control=None if inputs.control_scores is None else evaluation_control.control_worth(inputs.control_scores),
        judge=judge_worth(inputs.judge_calibration),
        chapters=chapters(inputs),
        digests={name: table_digest(table) for name, table in sorted(inputs.tables.items())},
    )


def _arms(inputs: EvaluationInputs) -> list[tuple[str, str]]:
    """Name every model and what it is."""
    names = sorted({BASE, *inputs.arms}, key=inputs.place)
    descriptions = {BASE: UNTRAINED} | {
        arm: f"{text} (the baseline, which the others are compared with)" if arm == inputs.baseline else text
        for arm, text in inputs.arms.items()
    }
    return [(name, descriptions[name]) for name in names]


def chapters(inputs: EvaluationInputs) -> list[Chapter]:
    """Return the chapters in the order to read them: control, benchmarks, what rests on a judge, responses."""
    control = evaluation_control.control_chapter(inputs)
    found = [
        evaluation_scores.opinions_chapter(inputs),
        overlap_chapter(inputs),
        evaluation_adherence.adherence_chapter(inputs),
        evaluation_scores.elo_chapter(inputs),
        responses_chapter(inputs),
    ]
    every = [control, *evaluation_scores.benchmark_chapters(inputs), *found]
    return [chapter for chapter in every if chapter is not None]


@dataclass(frozen=True)
class InShort:
    """Sentences of the first screen, those that say most first; `lead` counts them.

    Attributes:
        lead: How many comparisons there are and what became of them.
        differ: One sentence for each difference.
        alike: One for each comparison whose difference, if there is any, is too small to matter.
        unclear: One for each comparison that is inconclusive.
    """

    lead: str
    differ: Sequence[str]
    alike: Sequence[str]
    unclear: Sequence[str]


def in_short(scores: pl.DataFrame, elo_differences: pl.DataFrame) -> InShort:
    """Sum up what was measured; categories of a benchmark are left to its chapter.

    Args:
        scores: EVAL_SCORES.
    """
    whole = scores.filter((pl.col("category") == ALL) | (pl.col("benchmark") == ADHERENCE_SCORES))
    columns = ["judge_at_chance", "benchmark", "metric", "category", "arm", "compared_with"]
    found = [
        *comparisons(whole.sort(columns)),
        *elo_comparisons(elo_differences.sort("quality", "source", "arm", "other_arm")),
    ]
    differ = _largest_first([one for one in found if one.verdict in ("higher", "lower")])
    alike = [one for one in found if one.verdict == "alike"]
    unclear = _largest_first([one for one in found if one.verdict == "unclear"])
    lead = _lead(found, len(differ), len(alike), len(unclear))
    return InShort(lead, *([one.sentence for one in part] for part in (differ, alike, unclear)))


def _largest_first(found: Sequence[ShownComparison]) -> list[ShownComparison]:
    """Largest difference first, those of a judge that only guesses last."""
    return sorted(found, key=lambda one: (one.row["judge_at_chance"], -one.size))


def _lead(found: Sequence[ShownComparison], differ: int, alike: int, unclear: int) -> str:
    if not found:
        return "Nothing was compared yet."
    apart = [one for one in found if one.verdict in ("higher", "lower")]
    judged = sum(one.row["judge_at_chance"] for one in apart)
    deaf = sum(one.row["judge_at_chance"] for one in found if one.verdict == "alike")
    which = [counted(judged, "difference")] if judged else []
    which += [f"{deaf} of those too small to matter"] if deaf else []
    rest = f"{'rests' if judged + deaf == 1 else 'rest'} on a judge at chance{', which may hear none' if deaf else ''}"
    guessed = f" {listed(which)} {rest}." if which else ""
    loose = sum(one.row["adjusted_p"] is None for one in apart)
    chance = (
        f" {loose} of the differences could not be corrected for how many comparisons there are; chance alone would "
        "single out about one comparison in twenty."
        if loose
        else ""
    )
    return (
        f"Of {counted(len(found), 'comparison')} of two models by one score, "
        f"{counted(differ, 'shows a difference', 'show a difference')}, "
        f"{counted(alike, 'shows', 'show')} one too small to matter, if any, and "
        f"{counted(unclear, 'leaves it open', 'leave it open')}.{guessed}{chance}"
    )


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
        findings=[*_published(inputs), *_agreement(comparison), *_without_counterpart(inputs)],
        forests=[
            plain_forest(
                "Share of a constitution's principles, in percent, with 95% intervals", _shares(comparison), (0, 100), 0
            )
        ],
    )


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


def _without_counterpart(inputs: EvaluationInputs) -> list[str]:
    """Name the principles that have no counterpart in the constitution they are compared with."""
    shared = pl.coalesce("shared_by_tags", "shared")
    beside = (pl.col("arm") == inputs.baseline) | (pl.col("other_arm") == inputs.baseline)
    rows = inputs.constitution_overlap.filter(beside & ~shared)
    sentences = []
    for (arm, other), own in rows.sort("arm", "other_arm").group_by(["arm", "other_arm"], maintain_order=True):
        names = ", ".join(sorted(own["principle_id"], key=natural))
        sentences.append(f"In “{arm}” and not in “{other}”: {names}.")
    return sentences


def _shares(comparison: pl.DataFrame) -> list[Figure]:
    """Shares in the order of `MEASURES`; what a constitution says of itself is there once."""
    figures, shown = [], set()
    shares = comparison.filter(pl.col("measure") != AGREEMENT).sort("arm", "other_arm").to_dicts()
    for row in sorted(shares, key=lambda row: MEASURES.index(row["measure"])):
        name = NAMES.get(row["measure"])
        label = f"{name} “{row['other_arm']}”" if name else f"It {row['measure']}"
        if (label, row["arm"]) not in shown:
            shown.add((label, row["arm"]))
            n, ends = counted(row["n"], "principle"), (100 * row[key] for key in ("value", "low", "high"))
            figures.append(Figure(label, row["arm"], n, *ends))
    return figures


def responses_chapter(inputs: EvaluationInputs) -> Chapter | None:
    """Return the chapter, or None if there were no prompts for it."""
    rows = inputs.qualitative_responses.to_dicts()
    if not rows:
        return None
    exchanges = _exchanges(rows, inputs)
    return Chapter(
        anchor="responses",
        title="Their answers side by side",
        paragraphs=[
            "Written by the models; nobody edited or chose them. Prompts to which models refuse differently come "
            "first, then those they answer differently, then the rest. Words that are underlined are not in the "
            "response it is compared with; where two responses have little in common nothing is underlined."
        ],
        findings=_findings(rows, exchanges, inputs),
        exchanges=exchanges,
    )


def _exchanges(rows: Sequence[Mapping[str, Any]], inputs: EvaluationInputs) -> list[ShownExchange]:
    prompts = {row["prompt_id"]: row for row in inputs.qualitative_prompts.to_dicts()}
    by_prompt: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        by_prompt.setdefault(row["prompt_id"], {})[row["arm"]] = row
    found = []
    for prompt_id, by_arm in by_prompt.items():
        responses = [_response(arm, by_arm, inputs.baseline) for arm in sorted(by_arm, key=inputs.place)]
        refusing = {response.refused for response in responses}
        same = len({row["response"] for row in by_arm.values()}) == 1
        rank = 0 if len(refusing) > 1 else 2 if same else 1
        prompt = next(iter(by_arm.values()))["prompt"]
        exchange = ShownExchange(prompt, _origin(prompts.get(prompt_id), inputs), DIFFERING[rank], responses)
        found.append(((rank, natural(prompt_id)), exchange))
    return [exchange for _, exchange in sorted(found, key=lambda each: each[0])]


def _response(arm: str, by_arm: Mapping[str, Mapping[str, Any]], baseline: str) -> ShownResponse:
    own, cut = readable(by_arm[arm]["response"]), not by_arm[arm]["finished"]
    other = {BASE: "", baseline: BASE}.get(arm, baseline)
    if other not in by_arm:
        return ShownResponse(arm, by_arm[arm]["refused"], cut, "", False, [(own, True)])
    compared = readable(by_arm[other]["response"])
    same = own == compared
    return ShownResponse(arm, by_arm[arm]["refused"], cut, other, same, _pieces(own, compared))


def _pieces(own: str, other: str) -> list[tuple[str, bool]]:
    """Cut a text where it stops or begins to be the same as another, word by word."""
    words, others = _words(own), _words(other)
    matcher = SequenceMatcher(None, [word.strip() for word in words], [word.strip() for word in others], autojunk=False)
    if matcher.ratio() < UNLIKE:
        return [(own, True)]
    pieces: list[tuple[str, bool]] = []
    for kind, start, end, _, _ in matcher.get_opcodes():
        text = "".join(words[start:end])
        bare = text.rstrip()  # the space behind what differs is not underlined
        pieces += [(text, True)] if kind == "equal" else [(bare, False), (text[len(bare) :], True)]
    return [piece for piece in pieces if piece[0]]


def _words(text: str) -> list[str]:
    """Split a text into words, each with the space behind it."""
    words: list[str] = []
    for letter in text:
        if words and (letter.isspace() or not words[-1][-1].isspace()):
            words[-1] += letter
        else:
            words.append(letter)
    return words


def _origin(prompt: Mapping[str, Any] | None, inputs: EvaluationInputs) -> str:
    """Say where a prompt comes from."""
    if prompt is None or prompt["origin"] == "written":
        return "A prompt of the consultation."
    named = [name.split("/", 1) for name in prompt["principles"]]
    texts = {arm: dict(table.select("principle_id", "text").iter_rows()) for arm, table in inputs.constitutions.items()}
    principles = listed([f"{key} of “{arm}” ({texts.get(arm, {}).get(key, 'no longer there')})" for arm, key in named])
    origin = "Drafted from" if prompt["origin"] == "drafted" else "A held-out prompt that exercises"
    return f"{origin} a principle that only one of the constitutions compared has: {principles}"


def _findings(
    rows: Sequence[Mapping[str, Any]], exchanges: Sequence[ShownExchange], inputs: EvaluationInputs
) -> list[str]:
    refusals = []
    for arm in sorted({row["arm"] for row in rows}, key=inputs.place):
        refused = [row["refused"] for row in rows if row["arm"] == arm]
        low, high = wilson_interval(sum(refused), len(refused))
        refusals.append(f"“{arm}” refuses {sum(refused)} of {len(refused)} ({low:.0%} to {high:.0%})")
    same = sum(exchange.differing == DIFFERING[2] for exchange in exchanges)
    cut = sum(not row["finished"] for row in rows)
    beginnings = (
        f"{cut} of {counted(len(rows), 'response')} were cut off at the limit of tokens: read them as beginnings."
    )
    return [
        *([beginnings] if cut else []),
        f"Of the prompts below, {listed(refusals)}, with 95% intervals; prompts that people chose stand for no others. "
        f"{REFUSALS_READ}",
        f"To {same} of {counted(len(exchanges), 'prompt')} all models answer the same, word for word.",
    ]
