"""Language-model servers of every kind: what they are asked, how their answers are read, and patience with them."""

from __future__ import annotations

import math
import re
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from local_server import SETTINGS, Server, chat, listed
from pydantic import ValidationError

from ccai_dagster.consultation.settings import (
    FeedbackSettings,
    ModelSettings,
    SentenceModelSettings,
    ServerSettings,
    TunedJudgeSettings,
)
from ccai_dagster.core.errors import ConsultationError, ConversationTooLong, silent
from ccai_dagster.feedback.control_tokens import without_any_control_tokens
from ccai_dagster.feedback.judge import Question, judge_comparisons
from ccai_dagster.feedback.language_model import texts_of
from ccai_dagster.stages.feedback import JudgeAnswersStage, PreferencePairsStage
from ccai_dagster.stages.request import StageFolder
from ccai_dagster.stages.server_check import check_server
from ccai_dagster.stages.server_client import (
    LONGEST_PAUSE,
    MOST_PARALLEL,
    SERVER_KEY,
    Pace,
    Refused,
    asked_patience,
    base_address,
)
from ccai_dagster.stages.server_model import EchoMissing, KeptLines, OpenAIServerModel

ASK = [("user", "Please tell me how I can write a letter.")]
SHORT = [("system", "Be kind."), ("user", "No.")]


@dataclass
class Echoing:
    """Answers as vLLM does, with a tokenizer of the kind that is asked for.

    The log-probability of a token is minus its number, and the numbers follow the order in which tokens are seen.
    """

    pieces: str
    begin: str = ""
    seen: dict[str, int] = field(default_factory=dict)

    def tokens(self, text: str) -> list[int]:
        cut = re.findall(self.pieces, text, re.DOTALL)
        if self.pieces == BYTES:  # a character of several bytes is several tokens
            cut = [part for piece in cut for part in (piece if piece.isascii() else map(str, piece.encode()))]
        assert self.pieces == BYTES or "".join(cut) == text
        return [
            self.seen.setdefault(piece, len(self.seen) + 1) for piece in [*([self.begin] if self.begin else []), *cut]
        ]

    def tokenize(self, body: dict[str, Any]) -> tuple[int, Any]:
        turns = [f"[{turn['role']}]{turn['content']}" for turn in body["messages"]]
        ends = "" if body.get("continue_final_message") else "[end][assistant]"
        tokens = self.tokens("[end]".join(turns) + ends)
        return 200, {"count": len(tokens), "max_model_len": 4096, "tokens": tokens}

    def complete(self, body: dict[str, Any]) -> tuple[int, Any]:
        scores = [None, *(-float(token) for token in body["prompt"][1:]), -0.5]
        # The offsets are those of a server that counts what it does not send: of no use.
        logprobs = {"token_logprobs": scores, "text_offset": [0] * len(scores), "tokens": ["?"] * len(scores)}
        return 200, {"choices": [{"text": "", "logprobs": logprobs, "finish_reason": "length"}]}

    def serve(self, server: Server) -> None:
        server.paths |= {"/tokenize": self.tokenize, "/v1/completions": self.complete}


BYTES = r"\[\w+\]|\w+| \w+|."
WORDS = r"\[\w+\]| ?\w+|[^\w\[]+|\["
CHARACTERS = r"\[\w+\]|."


@pytest.mark.parametrize("begin", ["", "<s>", "<|begin_of_text|>"])
@pytest.mark.parametrize("pieces", [BYTES, WORDS, CHARACTERS])
@pytest.mark.parametrize("response", ["Yes sir", "It was built in 1712.", "Es ist 中文 groß 🙂.", "["])
def test_exactly_the_tokens_of_a_response_are_scored(server: Server, begin: str, pieces: str, response: str) -> None:
    echoing = Echoing(pieces, begin)
    echoing.serve(server)
    ((likelihood, count),) = server.model.log_likelihoods([SHORT], [response])
    own = replace(echoing, begin="").tokens(response)
    assert (likelihood, count) == (-sum(own), len(own))
    # The conversation is written by the server's own template, as in this process by the tokenizer's.
    path, body, _ = server.requests[0]
    assert path == "/tokenize" and body["add_generation_prompt"] is True
    assert body["messages"] == [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "No."}]
    assert server.requests[-1][1]["prompt"] == echoing.tokens(
        f"[system]Be kind.[end][user]No.[end][assistant]{response}"
    )


def test_a_question_is_cut_into_tokens_once_and_nothing_is_asked_twice(server: Server, tmp_path: Path) -> None:
    Echoing(WORDS).serve(server)
    kept = KeptLines(tmp_path / "answers.jsonl")
    model = replace(server.model, settings=ServerSettings(parallel=1), kept=kept)
    scores = model.log_likelihoods([SHORT] * 3, ["Yes", "", "Never"])
    assert scores[1].tolist() == [0.0, 0.0]
    cut_and_echo = ["/tokenize", "/v1/completions"]
    assert [path for path, _, _ in server.requests] == ["/tokenize", *cut_and_echo, *cut_and_echo]
    server.requests.clear()
    again = replace(model, kept=KeptLines(tmp_path / "answers.jsonl")).log_likelihoods(
        [SHORT] * 3, ["Yes", "", "Never"]
    )
    assert again.tolist() == scores.tolist() and server.requests == []


def merging(body: dict[str, Any]) -> tuple[int, Any]:
    """A tokenizer that takes the line break before a response and its own for one token."""
    begun = body["messages"][-1]["role"] == "assistant"
    return 200, {
        "tokens": [1, 3, 5] if begun and body["messages"][-1]["content"].startswith("\n") else [1, 2][: 2 + begun]
    }


NO_TOKENS = {
    "llama.cpp": (200, {"tokens": []}),
    "SGLang": (422, {"detail": [{"loc": ["body", "prompt"], "msg": "Field required"}]}),
    "Ollama": (404, b"404 page not found"),
    "hosted": (404, {"error": {"message": "Unknown request URL: POST /tokenize.", "type": "invalid_request_error"}}),
    "not implemented": (501, {"error": {"message": "This server does not support it."}}),
}


@pytest.mark.parametrize("kind", NO_TOKENS)
def test_a_server_that_cannot_tell_the_tokens_of_a_response_is_refused(server: Server, kind: str) -> None:
    server.answer = lambda body: NO_TOKENS[kind]
    with pytest.raises(EchoMissing, match=r"which `contrast` needs: it does not tell the tokens.*`letters`"):
        server.model.log_likelihoods([SHORT], ["Yes"])


@pytest.mark.parametrize(
    "logprobs",
    [None, {"content": [{"token": "x", "logprob": -1.0}]}, {"token_logprobs": [-1.0]}, {"token_logprobs": [None] * 9}],
)
def test_a_server_that_does_not_echo_is_refused(server: Server, logprobs: Any) -> None:
    Echoing(WORDS).serve(server)
    server.paths["/v1/completions"] = lambda body: (200, {"choices": [{"text": "", "logprobs": logprobs}]})
    with pytest.raises(EchoMissing, match="does not echo"):
        server.model.log_likelihoods([SHORT], ["Yes"])


def test_a_response_that_changes_the_tokens_before_it_is_refused_or_set_aside(server: Server) -> None:
    Echoing(WORDS).serve(server)
    server.paths["/tokenize"] = merging
    with pytest.raises(EchoMissing, match="cannot be told from those before it"):
        server.model.log_likelihoods([SHORT], ["\nYes"])
    aside: list[Any] = []
    assert np.isnan(replace(server.model, aside=aside).log_likelihoods([SHORT], ["\nYes"])).all()
    assert aside == [SHORT]


@pytest.mark.parametrize("text", [" Yes.", " Yes", ""])
def test_white_space_that_a_template_takes_away_is_not_scored_as_if_it_were_there(server: Server, text: str) -> None:
    Echoing(WORDS).serve(server)
    server.paths["/detokenize"] = lambda body: (200, {"prompt": text})
    model = replace(server.model, aside=[])
    assert np.isfinite(model.log_likelihoods([SHORT], [" Yes"])).all() == (text == " Yes")
    assert model.aside == ([] if text == " Yes" else [SHORT])


def test_white_space_before_a_letter_is_a_token_like_others(server: Server) -> None:
    server.answer = lambda body: (200, chat("", listed(**{"\n": -0.5, "A": -1.0, "B": -9.0})))
    assert server.model.choice_log_probabilities([SHORT], ["A", "B"]).tolist() == [[-1.0, -9.0]]
    assert len(server.requests) == 1


# What is asked and how it is read


def test_a_server_answers_in_order_with_a_seed_of_each_request(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SERVER_KEY, "secret")
    server.answer = lambda body: (200, chat(f" {body['messages'][-1]['content']}! "))
    asked = [ASK, SHORT, ASK]
    assert texts_of(server.model.generate(asked, new_tokens=9, temperature=0.5, seed=4)) == [
        "Please tell me how I can write a letter.!",
        "No.!",
        "Please tell me how I can write a letter.!",
    ]
    path, body, key = server.requests[0]
    assert (path, key) == ("/v1/chat/completions", "Bearer secret")
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("judge-7b", 9, 0.5)
    assert len({body["seed"] for _, body, _ in server.requests}) == 3
    assert server.model.name.endswith(" judge-7b")


def test_a_server_s_letters_are_read_with_their_variants(server: Server) -> None:
    server.answer = lambda body: (200, chat("A", listed(**{"A": -1.0, " A": -2.0, "B": -3.0, "C": -0.9})))
    scores = server.model.choice_log_probabilities([SHORT], ["A", "B", "D"], prefix="It is (")
    assert scores[0, 0] == pytest.approx(np.logaddexp(-1.0, -2.0))
    assert scores[0, 1:].tolist() == [-3.0, -np.inf]
    body = server.requests[0][1]
    assert body["messages"][-1] == {"role": "assistant", "content": "It is ("}
    assert body["continue_final_message"] is True


@pytest.mark.parametrize("spelling", ["{}", " {}", "Ġ{}", "▁{}", "{})", "Ċ{}", "{}).", "\n{}"])
def test_a_letter_is_known_in_every_spelling(server: Server, spelling: str) -> None:
    names = {spelling.format("A"): -0.25, spelling.format("B"): -2.0, "Apple": -4.0}
    server.answer = lambda body: (200, chat("A", listed(**names)))
    assert server.model.choice_log_probabilities([SHORT], ["A", "B"]).tolist() == [[-0.25, -2.0]]


@pytest.mark.parametrize("text", ["prompt", "content"])  # of vLLM, of llama.cpp
def test_a_token_that_is_named_by_its_number_is_looked_up_once(server: Server, text: str) -> None:
    server.answer = lambda body: (200, chat("A", listed(**{"token_id:32": -0.25, "token_id:33": -2.0})))
    server.paths["/detokenize"] = lambda body: (200, {text: {32: "A", 33: " B"}[body["tokens"][0]]})
    model = replace(server.model, settings=ServerSettings(parallel=1))
    assert model.choice_log_probabilities([SHORT, ASK], ["A", "B"]).tolist() == [[-0.25, -2.0]] * 2
    assert [path for path, _, _ in server.requests].count("/detokenize") == 2


def test_an_empty_control_token_before_the_letter_is_passed_over(server: Server) -> None:
    empty = {"token": "", "top_logprobs": [{"token": "<|channel|>", "logprob": 0.0}]}
    letter = {"token": "A", "top_logprobs": [{"token": "B", "logprob": -2.0}, {"token": "A", "logprob": -0.25}]}
    server.answer = lambda body: (200, chat("A", {"content": [empty, letter][: body["max_tokens"]]}))
    assert server.model.choice_log_probabilities([SHORT], ["A", "B"]).tolist() == [[-0.25, -2.0]]
    assert [body["max_tokens"] for _, body, _ in server.requests] == [1, 8]


def test_a_server_tells_what_its_limit_cut(server: Server) -> None:
    said = {"Why?": chat("Because it is \u6f22\ufffd", None, "length"), "How?": chat("Like this.")}
    server.answer = lambda body: (200, said[body["messages"][-1]["content"]])
    asked = [[("user", text)] for text in said]
    assert server.model.generate(asked, new_tokens=3, temperature=0, seed=1) == [
        ("Because it is \u6f22", False),
        ("Like this.", True),
    ]
    server.answer = lambda body: (200, {"choices": [{"message": {"content": "No."}}]})
    with pytest.raises(ConsultationError, match="finish_reason"):
        server.model.generate([SHORT], new_tokens=3, temperature=0, seed=1)


def test_a_turn_that_a_server_repeats_before_going_on_is_not_part_of_the_response(server: Server) -> None:
    begun = [*ASK, ("assistant", "Dear")]
    for content in ("Dear Sir", " Sir"):
        server.answer = lambda body, content=content: (200, chat(content))
        assert server.model.generate([begun], new_tokens=3, temperature=0, seed=1) == [("Sir", True)]


def test_a_server_continues_plain_text(server: Server) -> None:
    plain = [("assistant", "2 + 2 =")]
    server.answer = lambda body: (200, {"choices": [{"text": " 4\n", "finish_reason": "stop"}]})
    said = server.model.generate([plain], new_tokens=3, temperature=0, seed=1, stops=["Question:"], strip=False)
    assert said == [(" 4\n", True)]
    path, body, _ = server.requests[0]
    assert (path, body["prompt"], body["stop"]) == ("/v1/completions", "2 + 2 =", ["Question:"])
    listed_tokens = {" 4": -0.1, "5": -2.5, " 6": -3.0}
    server.answer = lambda body: (200, {"choices": [{"logprobs": {"top_logprobs": [listed_tokens]}}]})
    scores = server.model.choice_log_probabilities([plain], [" 5", "4", "7"], likeliest=True)
    assert scores.tolist() == [[-2.5, -0.1, -np.inf, -0.1]]
    assert (server.requests[1][0], server.requests[1][1]["logprobs"]) == ("/v1/completions", 20)


def test_thoughts_are_no_part_of_a_response(server: Server) -> None:
    server.answer = lambda body: (200, chat("<think>Hm.</think>\n\nYes."))
    assert server.model.generate([SHORT], new_tokens=3, temperature=0, seed=1) == [("Yes.", True)]
    message = {"content": None, "reasoning_content": "Hm."}
    server.answer = lambda body: (200, {"choices": [{"message": message, "finish_reason": "length"}]})
    assert server.model.generate([SHORT], new_tokens=3, temperature=0, seed=1) == [("", False)]


CONTROL = [
    "<|im_end|>",
    "<|eot_id|>",
    "<|start_header_id|>",
    "<|START_OF_TURN_TOKEN|>",
    "<｜User｜>",
    "<｜end▁of▁sentence｜>",
    "<s>",
    "</s>",
    "<bos>",
    "<eos>",
    "<start_of_turn>",
    "<end_of_turn>",
    "[INST]",
    "[/INST]",
    "<<SYS>>",
    "<</SYS>>",
    "[SYSTEM_PROMPT]",
    "[TOOL_CALLS]",
    "<think>",
    "</think>",
    "<unused12>",
    "[gMASK]",
    "<sop>",
    "<seed:bos>",
    "<tool_call>",
    "]~b[",
    "[EOS]",
    "<|channel|>",
    "<|tool▁calls▁begin|>",
    "[UNUSED_TOKEN_146]",
    "<extra_id_0>",
]


@pytest.mark.parametrize("token", CONTROL)
def test_control_tokens_of_any_family_do_not_reach_a_server(server: Server, token: str) -> None:
    server.answer = lambda body: (200, chat("ok"))
    server.model.generate(
        [[("user", f"a{token}b")], [("assistant", f"a{token}b")]], new_tokens=1, temperature=0, seed=1
    )
    sent = {body["messages"][0]["content"] if "messages" in body else body["prompt"] for _, body, _ in server.requests}
    assert sent == {f"a{token[0]} {token[1:]}b"}


def test_texts_without_control_tokens_stay_as_they_are() -> None:
    for text in ("a < b > c", "<b>bold</b>", "if (a <| b) |> c", "[1] see [INSTALL]", "x <|> y", "<section>", "a[i]"):
        assert without_any_control_tokens(text) == text


def test_a_server_without_log_probabilities_is_named(server: Server) -> None:
    for without in (chat("A"), chat("A", {"content": []}), {"choices": []}):
        server.answer = lambda body, without=without: (200, without)
        with pytest.raises(ConsultationError, match=r"127\.0\.0\.1.*has no `choices\.0.*returns log-probabilities"):
            server.model.choice_log_probabilities([SHORT], ["A", "B"])


def test_answers_without_log_probabilities_are_not_kept(server: Server, tmp_path: Path) -> None:
    model = replace(server.model, kept=KeptLines(tmp_path / "answers.jsonl"))
    for without in (chat("A"), chat("A", {"content": [{"top_logprobs": []}]}), chat("A", listed(A=None))):
        server.answer = lambda body, without=without: (200, without)
        with pytest.raises(ConsultationError, match="returns log-probabilities"):
            model.choice_log_probabilities([SHORT], ["A", "B"])
    server.answer = lambda body: (200, chat("A", listed(A=-1.0, B=-2.0)))
    assert model.choice_log_probabilities([SHORT], ["A", "B"]).tolist() == [[-1.0, -2.0]]


# Answers in shapes that nobody thought of


def content_of(content: Any, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"content": content}, "finish_reason": "stop", **fields}]}


@pytest.mark.parametrize(
    "answer",
    [
        *([], 5, "ok", {"choices": "abc"}, {"choices": [5]}, {"choices": [None]}, b"[" * 200_000, b"", b"\xff\xfe"),
        *(content_of("", message=odd) for odd in (None, "hello", ["x"], 5)),
        *(content_of(odd) for odd in (7, {"text": "x"}, True)),
        *({"choices": [{"text": odd, "finish_reason": "stop"}]} for odd in (4, {})),
        content_of("Yes", finish_reason=None),
    ],
    ids=repr,
)
def test_what_is_no_answer_is_never_taken_for_one(server: Server, answer: Any) -> None:
    server.answer = lambda body: (200, answer)
    with pytest.raises(ConsultationError, match=r"has no `choices\.0|did not answer with JSON"):
        server.model.generate([SHORT], new_tokens=1, temperature=0, seed=1)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (
            [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Yes"}, {"type": "text", "text": "."}],
            "Yes.",
        ),
        ("Yes \ud83d", "Yes \ufffd"),
        ("Yes \ud83d\ude42", "Yes \U0001f642"),
        (None, ""),
    ],
)
def test_a_text_in_parts_or_with_half_a_character_is_a_text(server: Server, content: Any, text: str) -> None:
    server.answer = lambda body: (200, content_of(content))
    assert server.model.generate([SHORT], new_tokens=1, temperature=0, seed=1) == [(text, True)]


def test_only_the_model_ends_a_response(server: Server) -> None:
    ended = dict.fromkeys(("stop", "STOP", "eos_token", "end_turn"), True)
    for reason, finished in (ended | dict.fromkeys(("length", "model_length", "MAX_TOKENS", "safety"), False)).items():
        server.answer = lambda body, reason=reason: (200, chat("Yes", finish_reason=reason))
        assert server.model.generate([SHORT], new_tokens=1, temperature=0, seed=1) == [("Yes", finished)]
    broken = [chat("Ye", finish_reason="abort"), content_of("", error={"message": "worker died"}), chat("Yes")]
    answers = iter(broken)
    server.answer = lambda body: (200, next(answers))
    assert server.model.generate([SHORT], new_tokens=1, temperature=0, seed=1) == [("Yes", True)]
    server.answer = lambda body: (200, broken[1])
    with pytest.raises(ConsultationError, match=r"in 4 attempts .*\(an error: 'worker died'\)"):
        server.model.generate([SHORT], new_tokens=1, temperature=0, seed=1)


def test_another_model_midway_is_noticed(server: Server) -> None:
    names = iter(["judge-7b", "judge-7b", "judge-1b", None])
    server.answer = lambda body: (200, chat("Yes") | {"model": next(names)})
    model = replace(server.model, settings=ServerSettings(parallel=1))
    assert len(model.generate([SHORT, ASK], new_tokens=1, temperature=0, seed=1)) == 2
    with pytest.raises(
        ConsultationError, match=r"from the model 'judge-7b' and now come from 'judge-1b'.*server_model"
    ):
        model.generate([SHORT], new_tokens=1, temperature=0, seed=1)
    assert model.generate([SHORT], new_tokens=1, temperature=0, seed=1) == [("Yes", True)]


NO_LOGS = [math.nan, math.inf, 0.9, True, "-0.5", None, -(10**400), 10**400]


@pytest.mark.parametrize("log", NO_LOGS, ids=lambda log: repr(log)[:9])
def test_what_is_no_log_probability_is_refused_wherever_one_is_read(server: Server, log: Any) -> None:
    server.answer = lambda body: (200, chat("A", listed(A=log, B=-2.0)))
    with pytest.raises(ConsultationError, match="has no `logprob`"):
        server.model.choice_log_probabilities([SHORT], ["A", "B"])
    server.answer = lambda body: (200, chat("A", {"content": [{"token": "A", "logprob": log}]}))
    with pytest.raises(ConsultationError, match="has no `logprob`"):
        server.model.spoken(SHORT, 1)
    server.paths["/tokenize"] = lambda body: (200, {"tokens": [1, 2, 3][: len(body["messages"])]})
    server.answer = lambda body: (200, {"choices": [{"text": "", "logprobs": {"token_logprobs": [None, -1.0, log]}}]})
    with pytest.raises(EchoMissing, match="with a log-probability of each token"):
        server.model.log_likelihoods([SHORT], ["Yes"])


@pytest.mark.parametrize("logprobs", ["x", {"content": "abc"}, {"content": 3}, {"content": [{"top_logprobs": 5}]}])
def test_log_probabilities_in_no_list_are_named(server: Server, logprobs: Any) -> None:
    server.answer = lambda body: (200, chat("A", logprobs))
    with pytest.raises(ConsultationError, match=r"has no `(choices\.0\.logprobs|top_logprobs)"):
        server.model.choice_log_probabilities([SHORT], ["A", "B"])


def test_probabilities_in_the_place_of_their_logarithms_are_noticed(server: Server) -> None:
    twice = {"content": [{"top_logprobs": [{"token": "A", "logprob": -0.1}] * 2}]}
    for logs in (twice, listed(A=0.0, B=0.0)):
        server.answer = lambda body, logs=logs: (200, chat("A", logs))
        with pytest.raises(ConsultationError, match="have a probability above 1 together"):
            server.model.choice_log_probabilities([SHORT], ["A", "B"])


@pytest.mark.parametrize("told", [[], {"data": 5}, {"data": {"a": 1}}, {"data": [{"id": "judge-7b", "meta": "x"}]}])
def test_a_context_that_a_server_does_not_tell_is_unknown(server: Server, told: Any) -> None:
    server.listed = told
    assert server.model.context_tokens() is None


# Settings


@pytest.mark.parametrize(
    "url", ["", "localhost:8000", "http://", "ftp://x", "http://[::1", "http://a:b", "http://\0", "http://a/v1?key=1"]
)
def test_what_is_no_address_is_told_before_anything_is_asked(url: str) -> None:
    model = OpenAIServerModel(url, "m", SETTINGS, setting="sampling.base_model")
    with pytest.raises(ConsultationError, match=r"sampling\.base_model\.server_url '.*' is no address of a server"):
        model.generate([SHORT], new_tokens=1, temperature=0, seed=1)


def test_secrets_are_neither_put_on_record_nor_told(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConsultationError, match="addresses are put on record") as found:
        OpenAIServerModel("http://me:secret@host", "m", SETTINGS).generate([SHORT], new_tokens=1, temperature=0, seed=1)
    assert "secret" not in str(found.value)
    server.answer = lambda body: (200, chat("ok"))
    for key in ("s\u00e4cret", "secret\nX: 1"):
        monkeypatch.setenv(SERVER_KEY, key)
        with pytest.raises(ConsultationError, match=f"^{SERVER_KEY} holds characters that no key has. Set it anew.$"):
            replace(server.model).generate([SHORT], new_tokens=1, temperature=0, seed=1)
    monkeypatch.setenv(SERVER_KEY, "secret\n")  # as it comes from a file
    replace(server.model).generate([SHORT], new_tokens=1, temperature=0, seed=1)
    assert server.requests[-1][2] == "Bearer secret"


def test_settings_change_what_is_sent(server: Server) -> None:
    server.answer = lambda body: (200, chat("A", listed(A=-1.0, B=-2.0)))
    arguments = {"continue_final_message": None, "chat_template_kwargs": {"enable_thinking": False}}
    model = replace(server.model, settings=ServerSettings(top_logprobs=5, arguments=arguments))
    model.choice_log_probabilities([SHORT], ["A", "B"], prefix="(")
    body = server.requests[0][1]
    assert body["top_logprobs"] == 5 and body["chat_template_kwargs"] == {"enable_thinking": False}
    assert "continue_final_message" not in body and "add_generation_prompt" in body
    with pytest.raises(ValidationError, match="take seed out"):
        ServerSettings(arguments={"seed": 3})


def test_patience_and_pace_make_no_other_answers() -> None:
    plain = FeedbackSettings(server_url="http://a", server_model="m")
    patient = plain.model_copy(update={"server": ServerSettings(timeout=1, patience=2, parallel=3)})
    fewer = plain.model_copy(update={"server": ServerSettings(top_logprobs=5, timeout=1)})
    assert plain.digest() == patient.digest() != fewer.digest()
    # They reach the process that asks all the same.
    assert FeedbackSettings.model_validate_json(patient.model_dump_json()) == patient


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        ("top_logprobs must be at most 5", r"feedback\.server\.top_logprobs"),
        ("Extra inputs are not permitted: continue_final_message", r"\{continue_final_message: null\}"),
    ],
)
def test_a_field_that_a_server_refuses_is_told_with_the_setting(server: Server, words: str, remedy: str) -> None:
    server.answer = lambda body: (400, {"error": {"message": words, "code": None}})
    with pytest.raises(ConsultationError, match=f"status 400: '{words}'.*{remedy}"):
        server.model.choice_log_probabilities([SHORT], ["A", "B"], prefix="(")


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://h:8000", "http://h:8000/v1"),
        ("http://h:8000/", "http://h:8000/v1"),
        ("http://h:8000/v1/", "http://h:8000/v1"),
        ("http://h/llm", "http://h/llm/v1"),
        ("https://h/v1beta/openai", "https://h/v1beta/openai"),
        ("https://h/api/paas/v4/", "https://h/api/paas/v4"),
        ("https://h/openai/v1", "https://h/openai/v1"),
    ],
)
def test_an_address_may_name_its_version_anywhere(url: str, base: str) -> None:
    assert base_address(url) == base


# Questions that a server shortens


def counting(server: Server, context: int, refuses: bool = False) -> None:
    """Answer as a server that cuts what is beyond its context, or refuses it; a word is a token."""

    def answer(body: dict[str, Any]) -> tuple[int, Any]:
        text = body.get("prompt") or " ".join(turn["content"] for turn in body["messages"])
        tokens = len(text.split()) + 5
        if refuses and tokens > context:
            return 400, BEYOND["vLLM"]
        usage = {"usage": {"prompt_tokens": min(tokens, context)}}
        return 200, chat("A", listed(A=-0.5, B=-2.0)) | usage

    server.answer = answer


LONG = [("system", "Be kind."), ("user", "Is this so? " * 300)]  # 3,600 bytes, 907 tokens


@pytest.mark.parametrize("context", [400, 906, 930])
@pytest.mark.parametrize("asked", [LONG, [("user", "Hm. " * 900), ("assistant", "No."), ("user", "Why?")]])
def test_a_server_that_shortens_questions_without_a_word_is_refused(
    server: Server, tmp_path: Path, context: int, asked: list[tuple[str, str]]
) -> None:
    counting(server, context)
    kept = KeptLines(tmp_path / "answers.jsonl")
    model = replace(server.model, setting="sampling.base_model", kept=kept)
    with pytest.raises(
        ConsultationError,
        match=rf"shortens .* counts \d+ tokens of one of 3\d* bytes, and {context} with.*sampling\.base",
    ):
        model.choice_log_probabilities([asked] * 3, ["A", "B"])
    with pytest.raises(ConsultationError, match="OLLAMA_CONTEXT_LENGTH"):
        model.generate([asked], new_tokens=3, temperature=0, seed=1)
    assert not (tmp_path / "answers.jsonl").exists()


def test_that_questions_are_read_whole_is_asked_once_for_the_longest(server: Server) -> None:
    model = replace(server.model, settings=ServerSettings(parallel=1))
    counting(server, 4096)
    model.choice_log_probabilities([SHORT, LONG, LONG, [*SHORT, ("user", "x" * 3000)]], ["A", "B"])
    assert len(server.requests) == 5
    longer = [body for _, body, _ in server.requests if body["messages"][1]["content"].startswith("3609 more more")]
    assert [len(body["messages"][1]["content"].split()) for body in longer] == [965]
    # One that refuses what is too long says so by itself, and one that counts nothing cannot be held to it.
    counting(server, 930, refuses=True)
    replace(model).choice_log_probabilities([LONG], ["A", "B"])
    server.answer = lambda body: (200, chat("A", listed(A=-0.5, B=-2.0)))
    replace(model).choice_log_probabilities([LONG], ["A", "B"])
    assert len(server.requests) == 8


# Patience


def test_a_busy_server_is_asked_again_and_a_refusal_is_not(server: Server) -> None:
    statuses = iter([503, 429, 500, 200])
    server.answer = lambda body: (next(statuses), chat("ok"))
    assert server.model.generate([SHORT], new_tokens=1, temperature=0, seed=1) == [("ok", True)]
    server.answer = lambda body: (500, b"broken")
    with pytest.raises(ConsultationError, match=r"did not answer in 4 attempts .*\(status 500: 'broken'\)"):
        server.model.generate([SHORT], new_tokens=1, temperature=0, seed=1)
    before = len(server.requests)
    server.answer = lambda body: (401, b"who are you")
    with pytest.raises(ConsultationError, match=f"status 401.*who are you.*Is {SERVER_KEY} right"):
        server.model.generate([SHORT], new_tokens=1, temperature=0, seed=1)
    assert len(server.requests) == before + 1
    server.answer = lambda body: (200, b"<html>")
    with pytest.raises(ConsultationError, match="did not answer with JSON"):
        server.model.generate([SHORT], new_tokens=1, temperature=0, seed=1)


def test_an_error_inside_a_200_is_told_in_the_server_s_words(server: Server) -> None:
    answers = iter([{"error": {"message": "model is loading", "code": 503}}, {"error": "rate limit"}, chat("ok")])
    server.answer = lambda body: (200, next(answers))
    assert server.model.generate([SHORT], new_tokens=1, temperature=0, seed=1) == [("ok", True)]
    server.answer = lambda body: (200, {"error": {"message": "there is no model judge-7b"}})
    with pytest.raises(ConsultationError, match="refused a request with status 200: 'there is no model judge-7b'"):
        server.model.choice_log_probabilities([SHORT], ["A", "B"])


def test_a_slow_server_is_asked_again_and_then_named(server: Server) -> None:
    slow = replace(server.model, settings=ServerSettings(timeout=0.1, patience=0))
    pauses = iter([0.3, 0.0])

    def late(body: dict[str, Any]) -> tuple[int, Any]:
        time.sleep(next(pauses))
        return 200, chat("ok")

    server.answer = late
    assert slow.generate([SHORT], new_tokens=1, temperature=0, seed=1) == [("ok", True)]
    pauses = iter([0.3, 0.3])
    with pytest.raises(ConsultationError, match=r"in 2 attempts .*\(no answer within 0\.1 seconds\).*answered is kept"):
        slow.generate([SHORT], new_tokens=1, temperature=0, seed=1)


def test_an_answer_that_comes_drop_by_drop_takes_no_longer_than_one_may() -> None:
    def drip(listening: socket.socket) -> None:
        with suppress(OSError):
            connection, _ = listening.accept()
            threading.Thread(target=drip, args=(listening,), daemon=True).start()
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            for _ in range(200):
                connection.sendall(b" ")
                time.sleep(0.05)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=drip, args=(listening,), daemon=True).start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        model = OpenAIServerModel(url, "m", ServerSettings(timeout=0.2, patience=0), pause=0.001)
        began = time.monotonic()
        with pytest.raises(ConsultationError, match=r"no answer within 0\.2 seconds"):
            model.generate([SHORT], new_tokens=1, temperature=0, seed=1)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("status", [408, 425, 429, 502, 503, 504, 522, 529])
def test_what_passes_is_waited_for_as_long_as_the_settings_say(server: Server, status: int) -> None:
    statuses = iter([200, *[status] * 6, 200])
    server.answer = lambda body: (next(statuses), chat("ok"))
    model = replace(server.model, pause=0.001, settings=ServerSettings(parallel=1, patience=30))
    assert len(model.generate([SHORT] * 2, new_tokens=1, temperature=0, seed=1)) == 2


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_an_address_that_points_elsewhere_is_told_with_the_place(server: Server, status: int) -> None:
    server.headers = {"Location": "https://elsewhere.example/v1"}
    server.answer = lambda body: (status, b"<html>Moved</html>")
    with pytest.raises(
        ConsultationError, match=r"to https://elsewhere\.example/v1: name that server in feedback\.server"
    ):
        server.model.generate([SHORT], new_tokens=1, temperature=0, seed=1)
    assert len(server.requests) == 1


def test_a_server_s_wish_for_patience_is_read_in_every_form() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    nowhere = "Sun, 06 Nov 2094 08:49:37 +99999999999999999999"
    wishes = {"7": 7, "2.5": 2.5, "9999": LONGEST_PAUSE, "soon": 0, "": 0, "-3": 0, nowhere: 0}
    assert {text: asked_patience({"retry-after": text}) for text in wishes} == wishes
    assert 25 < asked_patience({"retry-after": soon}) <= 30
    assert asked_patience({"retry-after": "Sun, 06 Nov 1994 08:49:37 GMT"}) == 0
    assert asked_patience({"retry-after-ms": "1500", "retry-after": "60"}) == 1.5
    assert asked_patience({}) == 0


@pytest.mark.parametrize(
    "words",
    [
        "Please reduce the length of the messages or completion.",
        "`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 4090 `inputs` tokens and 32 `max_new_tokens`",
        "the request exceeds the available context size",
    ],
)
def test_a_question_beyond_the_context_is_known_by_the_words_of_each_kind(words: str) -> None:
    assert Refused("", words).too_long and not Refused("", "The model is overloaded.").too_long


def test_a_quota_that_is_spent_is_not_waited_for(server: Server) -> None:
    error = {"message": "You exceeded your current quota, please check your plan.", "code": "insufficient_quota"}
    server.answer = lambda body: (429, {"error": error})
    with pytest.raises(ConsultationError, match="status 429: 'You exceeded your current quota"):
        server.model.generate([SHORT], new_tokens=1, temperature=0, seed=1)
    assert len(server.requests) == 1


@pytest.mark.parametrize(("name", "value"), [("ALL_PROXY", "foo://x:1"), ("SSL_CERT_FILE", "/nowhere.pem")])
def test_what_the_environment_forbids_is_told(
    server: Server, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConsultationError, match=r"No request can be sent to http://.* SSL_CERT_FILE"):
        server.model.generate([SHORT], new_tokens=1, temperature=0, seed=1)


def test_a_server_that_asks_for_patience_gets_it(server: Server) -> None:
    server.headers = {"Retry-After": "0.2"}
    statuses = iter([429, 200])
    server.answer = lambda body: (next(statuses), chat("ok"))
    began = time.monotonic()
    assert server.model.generate([SHORT], new_tokens=1, temperature=0, seed=1) == [("ok", True)]
    assert time.monotonic() - began >= 0.2


def test_a_restart_is_outlasted_and_an_address_without_a_server_is_not(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    answers = iter(
        [(200, chat("ok")), *[(0, b"")] * 6, (503, {"error": {"message": "Loading model"}}), (200, chat("ok"))]
    )
    server.answer = lambda body: next(answers)
    model = replace(server.model, pause=0.001, settings=ServerSettings(parallel=1, patience=30))
    assert len(model.generate([SHORT] * 2, new_tokens=1, temperature=0, seed=1)) == 2
    silent, again = caplog.messages
    assert re.fullmatch(rf"{model.client.base} is silent: .+; asked again for up to 30 seconds", silent)
    assert again == f"{model.client.base} answers again: after 0 seconds"
    gone = OpenAIServerModel("http://127.0.0.1:9", "m", SETTINGS, pause=0.01)
    with pytest.raises(ConsultationError, match=r"127\.0\.0\.1:9/v1/chat/completions did not answer in [2-4] attempts"):
        gone.generate([SHORT], new_tokens=1, temperature=0, seed=1)
    writer = replace(gone, setting="sampling.base_model")
    with pytest.raises(
        ConsultationError, match=r"Check sampling\.base_model\.server_url .* sampling\.base_model\.server"
    ):
        writer.generate([SHORT], new_tokens=1, temperature=0, seed=1)


@pytest.mark.parametrize("death", ["closes the connection", "answers half", "answers with an error"])
def test_what_a_dying_server_answered_is_kept_and_not_asked_again(server: Server, tmp_path: Path, death: str) -> None:
    questions = [[("user", f"Question {at}")] for at in range(6)]

    def model() -> OpenAIServerModel:
        kept = KeptLines(tmp_path / "answers.jsonl")
        return replace(server.model, settings=ServerSettings(parallel=1, patience=0), kept=kept)

    def answer(body: dict[str, Any]) -> tuple[int, Any]:
        number = int(body["messages"][0]["content"].split()[1])
        if number < 4 or alive:
            return 200, chat("A", listed(A=-0.5 - number, B=-2.0))
        return {
            "closes the connection": (0, b""),
            "answers half": (-200, chat("A")),
            "answers with an error": (500, b""),
        }[death]

    server.answer, alive = answer, False
    with pytest.raises(ConsultationError, match=r"did not answer in 2 attempts.*server is running, then run again"):
        model().choice_log_probabilities(questions, ["A", "B"], prefix="(")
    server.requests.clear()
    alive = True
    scores = model().choice_log_probabilities(questions, ["A", "B"], prefix="(")
    assert scores.tolist() == [[-0.5 - at, -2.0] for at in range(6)]
    assert [body["messages"][0]["content"] for _, body, _ in server.requests] == ["Question 4", "Question 5"]
    server.requests.clear()
    # Other letters are another question, although the same is sent.
    assert model().choice_log_probabilities(questions[:1], ["B", "A"], prefix="(").tolist() == [[-2.0, -0.5]]
    assert len(server.requests) == 1


# Requests at a time


@pytest.mark.parametrize("parallel", [1, 3, 20])
def test_as_many_requests_go_at_a_time_as_is_set(server: Server, parallel: int) -> None:
    together, most, lock = 0, 0, threading.Condition()

    def answer(body: dict[str, Any]) -> tuple[int, Any]:
        nonlocal together, most
        with lock:
            together += 1
            most = max(most, together)
            lock.notify_all()
            lock.wait_for(lambda: most >= parallel, timeout=5)
            together -= 1
        return 200, chat("ok")

    server.answer = answer
    model = replace(server.model, settings=ServerSettings(parallel=parallel))
    assert len(model.generate([SHORT] * 2 * parallel, new_tokens=1, temperature=0, seed=1)) == 2 * parallel
    assert most == parallel


def paced(capacity: float, answers: int = 40_000) -> Pace:
    """The pace with a server that answers one request in a second, but no more than so many in all."""
    pace, now = Pace(), 0.0
    for _ in range(answers):
        now += 1 / min(pace.limit, capacity)
        pace.answered(now)
    return pace


def test_the_number_of_requests_grows_while_that_brings_more_answers() -> None:
    assert paced(capacity=1).limit == 8
    assert paced(capacity=8).limit == 8
    assert paced(capacity=40).limit == 64  # 32 at a time leave it idle
    assert paced(capacity=1e9).limit == MOST_PARALLEL


def test_a_server_that_asks_for_less_gets_less_once_for_all_under_way() -> None:
    pace = Pace()
    for _ in range(8):
        pace.refused()
    assert pace.limit == 4
    for at in range(8):
        pace.answered(float(at))
    pace.refused()
    assert pace.limit == 2
    fixed = Pace(5)
    fixed.refused()
    assert fixed.limit == 5


@pytest.mark.parametrize(("provenance", "calls"), [({"server": "s"}, [1200]), ({"dtype": "float32"}, [512, 512, 176])])
def test_a_server_is_asked_for_many_labels_in_one_call(provenance: dict[str, str], calls: list[int]) -> None:
    seen: list[int] = []

    class Judge:
        def choice_log_probabilities(self, conversations: list[Any], *choices: Any, **how: Any) -> np.ndarray:
            seen.append(len(conversations))
            return np.log(np.full((len(conversations), 2), 0.5))

    judge = Judge()
    judge.provenance = provenance
    judge_comparisons(judge, [Question("Why?", "Yes.", "No.", "Be kind.")] * 600, "letters")
    assert seen == calls


# One plain question before all others


def judging(letters: dict[str, float]) -> Callable[[dict[str, Any]], tuple[int, Any]]:
    return lambda body: (200, chat("A", listed(**letters)) if "logprobs" in body else chat("Because."))


def test_a_plain_question_tells_what_a_server_can_do(server: Server) -> None:
    server.answer = judging({"A": math.log(0.5), "B": math.log(0.25)})
    server.listed = {"data": [{"id": "judge-7b", "max_model_len": 4096}]}
    found = check_server(server.model, {"letters", "contrast", "reasoned_letters"}, 64)
    assert (found["answer_mass"], found["context_tokens"]) == ("0.750", "4096")
    assert "it does not tell the tokens of a conversation" in found["contrast"]
    Echoing(WORDS).serve(server)
    server.listed = {"data": [{"id": "model.gguf", "meta": {"n_ctx": 1024}}]}
    assert check_server(server.model, {"contrast"}, 64) == {"server": server.model.name, "context_tokens": "1024"}
    # A server that takes any name says in its answers whom it holds.
    answer = server.answer
    server.answer = lambda body: (200, answer(body)[1] | {"model": "another.gguf"})
    assert check_server(server.model, {"letters"}, 64)["answers_as"] == "another.gguf"


def test_a_judge_that_does_not_answer_with_letters_is_stopped_before_anything_is_asked(server: Server) -> None:
    server.answer = judging({"Response": -0.1, "The": -3.0, "A": -9.0})
    with pytest.raises(ConsultationError, match=r"probability of 0\.000.*'Response' \(0\.90\).*enable_thinking"):
        check_server(server.model, {"letters"}, 64)
    assert len(server.requests) == 2


def test_a_judge_that_thinks_without_an_end_is_stopped(server: Server) -> None:
    thinking = {"choices": [{"message": {"content": None, "reasoning_content": "Hm"}, "finish_reason": "length"}]}
    server.answer = lambda body: (200, chat("A", listed(A=-1.0, B=-1.0)) if "logprobs" in body else thinking)
    with pytest.raises(ConsultationError, match=r"says nothing; it thinks.*reasoning\.new_tokens"):
        check_server(server.model, {"reasoned_letters"}, 64)


# Stages


def stage_folder(path: Path) -> StageFolder:
    folder = StageFolder(path)
    folder.made.mkdir()
    return folder


def fields(server: Server, **feedback: Any) -> dict[str, Any]:
    return {
        "model": ModelSettings(),
        "feedback": FeedbackSettings(server_url=server.model.url, server_model="judge-7b", server=SETTINGS, **feedback),
        "base_model": Path("/nowhere"),
        "feedback_model": None,
        "tuned_judge": TunedJudgeSettings(),
        "sentence_model": SentenceModelSettings(),
        "cache": Path("/nowhere"),
        "seed": 1,
    }


def comparisons(count: int = 2) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "pair_id": [f"p{at}" for at in range(count)],
            "prompt": [f"Question {at}?" for at in range(count)],
            "response_a": ["Yes."] * count,
            "response_b": ["No."] * count,
            "probability_a": [1.0] * count,
            "source": ["people"] * count,
        }
    )


def test_contrast_is_left_out_of_the_calibration_of_a_server_that_does_not_echo(server: Server, tmp_path: Path) -> None:
    server.answer = judging({"A": -0.5, "B": -1.0})
    server.paths["/tokenize"] = lambda body: NO_TOKENS["llama.cpp"]
    folder = stage_folder(tmp_path)
    report = JudgeAnswersStage(**fields(server), comparisons={"set": comparisons()}).run(folder, silent)
    answers = pl.read_parquet(folder.made / "judge_answers.parquet")
    assert answers["method"].unique().sort().to_list() == ["letters", "letters_few_shot"]
    assert answers["probability_a"].null_count() == 0
    assert "`contrast` needs" in report.provenance["contrast"]
    only = JudgeAnswersStage(**fields(server, calibration_methods=("contrast",)), comparisons={"set": comparisons()})
    with pytest.raises(ConsultationError, match=r"`contrast` needs.*Add `letters` to feedback\.calibration_methods"):
        only.run(folder, silent)


def test_labels_by_contrast_are_refused_where_a_server_does_not_echo(server: Server, tmp_path: Path) -> None:
    server.answer = lambda body: NO_TOKENS["Ollama"]
    stage = PreferencePairsStage(
        **fields(server),
        response_pairs=comparisons().drop("probability_a", "source"),
        constitution=pl.DataFrame(),
        method="contrast",
        judge_at_chance=False,
        principle_weights=None,
    )
    with pytest.raises(ConsultationError, match="method on record is `contrast`"):
        stage.run(stage_folder(tmp_path), silent)


BEYOND = {
    "llama.cpp": {
        "error": {"code": 400, "message": "request (31 tokens) exceeds the available context size (8 tokens)"}
    },
    "vLLM": {"object": "error", "message": "This model's maximum context length is 4096 tokens.", "code": 400},
    "OpenAI": {"error": {"message": "Too long.", "code": "context_length_exceeded"}},
    "SGLang": {"message": "The input (9000 tokens) is longer than the model's context length (4096 tokens)."},
}


@pytest.mark.parametrize("kind", BEYOND)
def test_a_question_beyond_the_context_is_named_and_set_aside(server: Server, tmp_path: Path, kind: str) -> None:
    def answer(body: dict[str, Any]) -> tuple[int, Any]:
        too_long = any("Question 1?" in turn["content"] for turn in body["messages"])
        return (400, BEYOND[kind]) if too_long else judging({"A": -0.5, "B": -1.0})(body)

    server.answer = answer
    folder = stage_folder(tmp_path)
    feedback = fields(server, calibration_methods=("letters", "reasoned_letters"))
    report = JudgeAnswersStage(**feedback, comparisons={"set": comparisons(3)}).run(folder, silent)
    answers = pl.read_parquet(folder.made / "judge_answers.parquet")
    unanswered = answers.filter(pl.col("probability_a").is_null())
    assert set(unanswered["pair_id"]) == {"p1"} and answers.height == 6
    assert report.provenance["pairs that the server could not read"] == "p1"
    with pytest.raises(ConversationTooLong, match=r"status 400.*The question begins: 'A user wrote.*Question 1\?"):
        judge_comparisons(server.model, [Question("Question 1?", "Yes.", "No.", "Be kind.")], "letters")
