"""The positive control on the evaluation page: whether training follows the judge, in short and in a chapter.

Belongs here: words and figures for CONTROL_SCORES, and a few responses. Doesn't belong here: when training is said to
follow the judge, which is settled in `evaluation.control`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from ccai_dagster.consultation.folder import BASE, ORNATE, PLAIN
from ccai_dagster.core.text import counted, natural, readable
from ccai_dagster.evaluation.control import LIKELIHOOD, WORDS, against_untrained, follows_the_judge
from ccai_dagster.evaluation.findings import VERDICTS, verdict
from ccai_dagster.feedback.rules import EASE_OF_READING, KEEPS_TO_THE_QUESTION
from ccai_dagster.pages.forests import Figure, plain_forest
from ccai_dagster.pages.inputs import EvaluationInputs
from ccai_dagster.pages.parts import Chapter, ShownExchange, ShownResponse
from ccai_dagster.pages.rendering import decimals

TITLE = "Does training follow the judge?"
NAMES = {BASE: "untrained", PLAIN: "taught to write plainly", ORNATE: "taught to write ornately"}
METHODS = {"dpo": "direct preferences", "rloo": "reinforcement learning"}
SHOWN = 3
"""Prompts whose responses are shown."""


@dataclass(frozen=True)
class ControlWorth:
    """What the positive control showed.

    Attributes:
        follows: Whether both arms moved as their judges prefer.
        headline: The same in words, with figures and intervals.
    """

    follows: bool
    headline: str


def control_worth(scores: pl.DataFrame) -> ControlWorth:
    """Sum up the positive control.

    Args:
        scores: CONTROL_SCORES.
    """
    rows = against_untrained(scores)
    judged = (
        "Two control models were trained by direct preferences on the labels of a judge whose taste is known, a rule "
        "of reading ease."
    )
    if follows_the_judge(scores):
        easier, harder = rows[PLAIN], rows[ORNATE]
        plain = [decimals(easier[key], 1) for key in ("difference", "low", "high")]
        ornate = [decimals(-harder[key], 1) for key in ("difference", "high", "low")]
        return ControlWorth(
            True,
            f"Training follows the judge. {judged} Beside the untrained model, the one {NAMES[PLAIN]} became easier to "
            f"read by {plain[0]} points (95% interval {plain[1]} to {plain[2]}), the one {NAMES[ORNATE]} harder by "
            f"{ornate[0]} ({ornate[1]} to {ornate[2]}). So a model does afterwards what its judge prefers; what that "
            "says of a constitution depends on what its judge is worth and on how much is learnt from it.",
        )
    return ControlWorth(
        False,
        f"That training follows the judge was not shown. {judged} The one {NAMES[PLAIN]} changed by "
        f"{_span(rows[PLAIN])} points against the untrained model, the one {NAMES[ORNATE]} by {_span(rows[ORNATE])}; "
        "both should have moved beyond doubt, the first up and the second down. So no difference between the models "
        "below, and none that is missing, says what a constitution changes.",
    )


def control_line(scores: pl.DataFrame) -> str:
    """Say the same in one line of a terminal.

    Args:
        scores: CONTROL_SCORES.
    """
    rows = against_untrained(scores)
    found = "follows" if follows_the_judge(scores) else "is not shown to follow"
    changes = ", ".join(f"{NAMES[arm]} {_span(rows[arm])}" for arm in (PLAIN, ORNATE))
    return f"training {found} a judge whose taste is known: {changes} points of reading ease beside the untrained model"


def control_chapter(inputs: EvaluationInputs) -> Chapter | None:
    """Return the chapter, or None without a control."""
    scores, responses = inputs.control_scores, inputs.control_responses
    if scores is None or responses is None:
        return None
    return Chapter(
        anchor="control",
        title=TITLE,
        paragraphs=[
            "A positive control, as in a laboratory: before anything is said of the constitutions, two more models "
            "were trained on labels of a judge whose taste is known, through the same stages. One was taught by a rule "
            "that prefers what is easy to read (Flesch), the other by the same rule turned round. Both started from "
            "the untrained model and learnt from the same pairs of its responses. Then all three responded to prompts "
            "that none was trained on, and the rule scored what they wrote: 90 is easy for a child, 30 hard for "
            "most.",
            "Differences are paired by prompt and seed. A rule that nobody was trained on is shown beside it as it "
            "came out.",
        ],
        findings=[*_findings(scores), *_method(inputs)],
        forests=[
            plain_forest(
                "Change against the untrained model in points of reading ease, with 95% intervals",
                _figures(scores, EASE_OF_READING.name),
                None,
                1,
            ),
            plain_forest(
                "The rule nobody was trained on: change in words taken from the question, of a hundred",
                _figures(scores, KEEPS_TO_THE_QUESTION.name),
                None,
                1,
            ),
        ],
        exchanges=_exchanges(responses),
    )


def _span(row: Mapping[str, Any], digits: int = 1) -> str:
    if row["difference"] is None:
        return "an unknown number of"
    value, low, high = (decimals(row[key], digits, True) for key in ("difference", "low", "high"))
    return f"{value} (95% interval {low} to {high})"


def _rows(scores: pl.DataFrame, measure: str) -> dict[tuple[str, str], dict[str, Any]]:
    own = scores.filter(pl.col("measure") == measure).to_dicts()
    return {(row["arm"], row["compared_with"]): row for row in own}


def _figures(scores: pl.DataFrame, measure: str) -> list[Figure]:
    rows = _rows(scores, measure)
    return [
        Figure(
            measure.capitalize(),
            NAMES[arm],
            counted(row["n_prompts"], "prompt"),
            row["difference"],
            row["low"],
            row["high"],
            VERDICTS[verdict(row["low"], row["high"], 0.0)],
        )
        for arm in (PLAIN, ORNATE)
        if (row := rows[arm, BASE])["difference"] is not None
    ]


def _findings(scores: pl.DataFrame) -> list[str]:
    ease = _rows(scores, EASE_OF_READING.name)
    apart = ease[PLAIN, ORNATE]
    found = [f"The two lie {_span(apart)} points of reading ease apart."]
    if apart["value"] is not None:
        means = {BASE: ease[PLAIN, BASE]["other_value"], PLAIN: apart["value"], ORNATE: apart["other_value"]}
        listed = ", ".join(f"{NAMES[arm]} {decimals(mean, 1)}" for arm, mean in means.items() if mean is not None)
        found.append(f"Mean reading ease: {listed}.")
    words, likelihood = _rows(scores, WORDS), _rows(scores, LIKELIHOOD)
    for arm in (PLAIN, ORNATE):
        found.append(
            f"The model {NAMES[arm]} changed by {_span(words[arm, BASE])} words a response, and by "
            f"{_span(likelihood[arm, BASE], 2)} nats a token in how likely the untrained model finds its responses."
        )
    return [*found, "A likelihood that fell much means that a model left ordinary language to please its rule."]


def _method(inputs: EvaluationInputs) -> list[str]:
    if inputs.policy_method is None or inputs.policy_steps is None:
        return []
    arms, control = inputs.policy_steps
    trained = f"The models of the constitutions were trained by {METHODS[inputs.policy_method]}"
    if inputs.policy_method != "dpo":
        return [f"{trained}, and these by direct preferences: of that method the control says nothing."]
    if arms >= control:
        return [f"{trained} in {counted(arms, 'step')}, as these were in {control}."]
    return [
        f"{trained}, too, but in {counted(arms, 'step')} where these took {control}: that a model follows its judge "
        f"after {control} does not say that theirs do after {arms}."
    ]


def _exchanges(responses: pl.DataFrame) -> list[ShownExchange]:
    first = responses.filter(pl.col("sample") == 0)
    said = {(row["prompt_id"], row["arm"]): (row["response"], row["finished"]) for row in first.to_dicts()}
    prompts = dict(first.select("prompt_id", "prompt").iter_rows())
    return [
        ShownExchange(
            prompts[prompt_id],
            "The first response of each model to the first prompts by id; nobody chose them.",
            "held out",
            [
                ShownResponse(NAMES[arm], False, not finished, "", False, [(readable(text), True)])
                for arm in (BASE, PLAIN, ORNATE)
                for text, finished in [said[prompt_id, arm]]
            ],
        )
        for prompt_id in sorted(prompts, key=natural)[:SHOWN]
    ]
