"""What can be done with each kind of server, found with answers of its shape, as the documentation says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from documented import expect_only, expect_row
from local_server import Server, chat

from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.stages.server_check import check_server
from ccai_dagster.stages.server_model import OpenAIServerModel

TABLE = "Servers"
CONTEXT = 500
Answer = tuple[int, Any]


@dataclass(frozen=True)
class Kind:
    """A server as it answers; a word is a token.

    Attributes:
        beyond: What it says of a question beyond its context; None cuts it without a word.
        tokenize: What it says to `/tokenize`; None tells the tokens.
        echoes: Whether it echoes log-probabilities.
        most: The largest `top_logprobs` it takes; 0 gives none at all.
        arguments: Settings that are needed with it.
    """

    beyond: Answer | None
    tokenize: Answer | None
    echoes: bool = False
    most: int = 20
    settings: Mapping[str, Any] = field(default_factory=dict)


NOT_FOUND = (404, b"404 page not found")
KINDS = {
    "vLLM": Kind((400, {"object": "error", "message": "maximum context length is 500 tokens."}), None, echoes=True),
    "llama.cpp": Kind(
        (400, {"error": {"code": 400, "message": "request exceeds the available context size"}}), (200, {"tokens": []})
    ),
    "SGLang": Kind(
        (400, {"message": "The input is longer than the model's context length."}),
        (422, {"detail": [{"loc": ["body", "prompt"], "msg": "Field required"}]}),
    ),
    "Ollama": Kind(None, NOT_FOUND),
    "LM Studio without `logprobs`": Kind(None, NOT_FOUND, most=0),
    "hosted, few `top_logprobs`": Kind(
        (400, {"error": {"message": "Too long.", "code": "context_length_exceeded"}}), NOT_FOUND, most=5
    ),
    "the same with `server: {top_logprobs: 5}`": Kind(
        (400, {"error": {"message": "context_length_exceeded"}}), NOT_FOUND, most=5, settings={"top_logprobs": 5}
    ),
}


def start(server: Server, kind: Kind) -> OpenAIServerModel:
    numbers: dict[str, int] = {}

    def tokens(body: Mapping[str, Any]) -> list[int]:
        text = " ".join(f"[{turn['role']}] {turn['content']}" for turn in body["messages"])
        begun = body["messages"][-1]["role"] == "assistant"
        return [numbers.setdefault(word, len(numbers)) for word in f"{text}{'' if begun else ' [assistant]'}".split()]

    def answer(body: dict[str, Any]) -> Answer:
        read = len(tokens(body))
        if read > CONTEXT and kind.beyond is not None:
            return kind.beyond
        if body.get("top_logprobs", 0) > kind.most > 0:
            return 400, {"error": {"message": f"top_logprobs must be at most {kind.most}"}}
        likely = [{"token": "A", "logprob": -0.5}, {"token": "B", "logprob": -1.0}]
        logprobs = {"content": [{"token": "A", "logprob": -0.5, "top_logprobs": likely}]} if kind.most else None
        return 200, chat("A", logprobs) | {"usage": {"prompt_tokens": min(read, CONTEXT)}}

    def complete(body: dict[str, Any]) -> Answer:
        scores = [None, *[-1.0] * len(body["prompt"])]
        return 200, {"choices": [{"text": "", "logprobs": {"token_logprobs": scores} if kind.echoes else None}]}

    server.answer = answer
    server.paths = {"/tokenize": lambda body: kind.tokenize or (200, {"tokens": tokens(body)})}
    server.paths["/v1/completions"] = complete
    model = replace(server.model, aside=[])
    return replace(model, settings=model.settings.model_copy(update=dict(kind.settings)))


def said(model: OpenAIServerModel, ask: Callable[[], str]) -> str:
    """Return what becomes of a question, or the sentence that it ends with."""
    try:
        return ask()
    except ConsultationError as error:
        sentence = str(error).replace(model.url, "ADDRESS").removeprefix("ADDRESS: ")
        return f"refused: {sentence.partition(' It is: ')[0].partition('. Give')[0]}"


def letters(model: OpenAIServerModel) -> str:
    return f"yes, {check_server(model, {'letters'}, 32)['answer_mass']} on two letters"


def contrast(model: OpenAIServerModel) -> str:
    found = check_server(model, {"contrast"}, 32)
    return (
        found["contrast"].partition("needs: ")[2].partition(". Use")[0].partition(" (")[0]
        if "contrast" in found
        else "yes"
    )


def beyond(model: OpenAIServerModel) -> str:
    scores = model.choice_log_probabilities([[("user", "Is this so? " * 400)]], ["A", "B"])
    assert np.isnan(scores).all() and model.aside is not None and len(model.aside) == 1
    return "no label, the pair is named"


def writes(model: OpenAIServerModel) -> str:
    text, logs = model.spoken([("user", "Is this so?")], 4)
    assert (text, logs) == ("A", [-0.5])
    return "yes, once proven"


@pytest.mark.parametrize("name", KINDS)
def test_what_can_be_done_with_a_server_is_documented(server: Server, name: str) -> None:
    model = start(server, KINDS[name])
    asked = (letters, contrast, beyond, writes)
    expect_row(TABLE, name, *(said(model, lambda ask=ask: ask(model)) for ask in asked))
    expect_only(TABLE, KINDS)
