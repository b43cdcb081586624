"""The chapter to read: responses of all models to the same prompts, side by side.

Belongs here: order, what differs between two responses, counts of refusals. Doesn't belong here: measuring
anything else on them; they are too few and chosen by people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

from ccai_dagster.audit.evaluation_page.inputs import EvaluationInputs
from ccai_dagster.audit.evaluation_page.parts import Chapter, Exchange, ShownResponse
from ccai_dagster.consultation import BASE
from ccai_dagster.core.text import counted, listed, natural, readable
from ccai_dagster.statistics.wilson import wilson_interval

UNLIKE = 0.3
"""Two responses with a smaller share of words in common than this are not compared word by word."""


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
            "response it is compared with; where two responses have little in common nothing is underlined.",
        ],
        findings=_findings(rows, exchanges, inputs),
        exchanges=exchanges,
    )


def _exchanges(rows: Sequence[Mapping[str, Any]], inputs: EvaluationInputs) -> list[Exchange]:
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
        exchange = Exchange(prompt, _kind(prompts.get(prompt_id), inputs), DIFFERING[rank], responses)
        found.append(((rank, natural(prompt_id)), exchange))
    return [exchange for _, exchange in sorted(found, key=lambda each: each[0])]


DIFFERING = ("some refuse, some do not", "they answer differently", "all answers are the same, word for word")


def _kind(prompt: Mapping[str, Any] | None, inputs: EvaluationInputs) -> str:
    """Say where a prompt comes from."""
    if prompt is None or prompt["origin"] == "written":
        return "A prompt of the consultation."
    named = [name.split("/", 1) for name in prompt["principles"]]
    texts = {
        arm: dict(table.select("principle_id", "text").iter_rows())
        for arm, table in inputs.constitutions.items()
    }
    principles = listed(
        [f"{key} of “{arm}” ({texts.get(arm, {}).get(key, 'no longer there')})" for arm, key in named]
    )
    origin = "Drafted from" if prompt["origin"] == "drafted" else "A held-out prompt that exercises"
    return f"{origin} a principle that only one of the constitutions compared has: {principles}"


def _response(arm: str, by_arm: Mapping[str, Mapping[str, Any]], baseline: str) -> ShownResponse:
    own = readable(by_arm[arm]["response"])
    other = {BASE: "", baseline: BASE}.get(arm, baseline)
    if other not in by_arm:
        return ShownResponse(arm, by_arm[arm]["refused"], "", False, [(own, True)])
    compared = readable(by_arm[other]["response"])
    same = own == compared
    return ShownResponse(arm, by_arm[arm]["refused"], other, same, _pieces(own, compared))


def _pieces(own: str, other: str) -> list[tuple[str, bool]]:
    """Cut a text where it stops or begins to be the same as another, word by word."""
    words, others = _words(own), _words(other)
    matcher = SequenceMatcher(
        None, [word.strip() for word in words], [word.strip() for word in others], autojunk=False
    )
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


def _findings(
    rows: Sequence[Mapping[str, Any]], exchanges: Sequence[Exchange], inputs: EvaluationInputs
) -> list[str]:
    told = []
    for arm in sorted({row["arm"] for row in rows}, key=inputs.place):
        refused = [row["refused"] for row in rows if row["arm"] == arm]
        low, high = wilson_interval(sum(refused), len(refused))
        told.append(f"“{arm}” refuses {sum(refused)} of {len(refused)} ({low:.0%} to {high:.0%})")
    same = sum(exchange.differing == DIFFERING[2] for exchange in exchanges)
    return [
        f"Of the prompts below, {listed(told)}, with 95% intervals; prompts that people chose stand for no others.",
        f"To {same} of {counted(len(exchanges), 'prompt')} all models answer the same, word for word.",
    ]
