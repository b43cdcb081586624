"""A model behind an OpenAI-compatible server that returns log-probabilities, and answers that are kept on disk.

Both are the `LanguageModel` of `ccai_dagster.feedback.language_model`, as is the model in this process in
`transformers_model`. How requests are sent, and sent again, is in `server_client`. What was answered, by a server or in
this process, is kept in JSON lines in the stage's folder under the digest of everything the answer depends on, so that
after an interruption only the rest is asked for.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ccai_dagster.consultation.settings import ServerSettings
from ccai_dagster.core.digest import value_digest
from ccai_dagster.core.draws import derived_seed
from ccai_dagster.core.errors import ConsultationError, ConversationTooLong, Progress, silent
from ccai_dagster.core.text import REPLACEMENT, without_thought
from ccai_dagster.feedback.control_tokens import without_any_control_tokens
from ccai_dagster.feedback.language_model import Conversation, LanguageModel, Response, is_plain
from ccai_dagster.stages.server_client import Refused, ServerClient
from ccai_dagster.stages.whole_questions import WholeQuestions

Answer = TypeVar("Answer")
DEFAULTS = ServerSettings()
RESPONSE = "text and whether it is finished"
"""What is kept of a response; earlier programs kept the text alone, under another key."""
ECHOED = "likelihood of the response in the chat template"
"""What is kept of a response that was given; earlier programs scored a plain transcript."""
AFTER_CONTROL_TOKENS = 8
"""Tokens that are asked for where the first one says nothing."""
CONVERSATIONS_A_PART = 512
"""At most this many answers are lost with a process; enough that batches of like length are still found."""

_WORD_BEGINNINGS = "\u0120\u2581\u010a"
"""What stands for a space or a line break in raw names of tokens (byte-level and SentencePiece)."""
_CLOSING = ").:,]\"'*"
_ENDED = ("stop", "eos", "eos_token", "stop_sequence", "end_turn", "complete")
"""What servers call it when the model ended an answer itself; whatever else they say (`length`, `model_length`, a
filter), it did not."""
_ROUNDING = 0.05
"""Nats by which a probability may lie above 1."""


class EchoMissing(ConsultationError):
    """A server cannot say how likely a given response is."""


class TokensUnlike(EchoMissing):
    """The tokens of one response cannot be told from those before it."""


class KeptLines:
    """Values by key in a file of JSON lines that grows by whole lines, whatever happens to the process.

    Several threads may keep values at a time.
    """

    def __init__(self, file: Path) -> None:
        """Read what was kept before; the file is made when there is something to keep."""
        self._file = file
        self._kept = _read_lines(file)
        self._lock = threading.Lock()

    def __contains__(self, key: str) -> bool:
        """Tell whether there is a value for a key."""
        return key in self._kept

    def __getitem__(self, key: str) -> Any:
        """Return the value of a key."""
        return self._kept[key]

    def keep(self, key: str, value: Any) -> None:
        """Keep a value that JSON can hold; it is on disk when this returns."""
        # The line break comes first, so that a line that was cut off does not spoil the next one.
        line = "\n" + json.dumps({"question": key, "answers": value})
        with self._lock:
            self._kept[key] = value
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("a", encoding="utf-8") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())


class KeptAnswers:
    """Asks another model and keeps its answers; they are the same whether they are kept or asked for.

    Attributes:
        name: Name of the other model.
    """

    def __init__(self, model: LanguageModel, file: Path) -> None:
        """Read what was answered before; the model is asked for the rest."""
        self.name = model.name
        self._model = model
        self._kept = KeptLines(file)

    @property
    def provenance(self) -> Mapping[str, str]:
        """How the other model is run."""
        return self._model.provenance

    def prompt_text(self, conversation: Conversation, new_tokens: int = 1, choices: Sequence[str] = ()) -> str:
        """See `LanguageModel.prompt_text`."""
        return self._model.prompt_text(conversation, new_tokens, choices)

    def generate(
        self,
        conversations: Sequence[Conversation],
        *,
        new_tokens: int,
        temperature: float,
        seed: int,
        stops: Sequence[str] = (),
        strip: bool = True,
        progress: Progress = silent,
    ) -> list[Response]:
        """See `LanguageModel.generate`; the parts differ in their seeds."""
        answers: list[Response] = []
        for number, part in enumerate(_parts(conversations)):
            own_seed = seed if number == 0 else derived_seed(seed, "part", number)
            kept = self._kept_or_asked(
                ["responses", part, new_tokens, temperature, own_seed, list(stops), strip],
                partial(
                    self._model.generate,
                    part,
                    new_tokens=new_tokens,
                    temperature=temperature,
                    seed=own_seed,
                    stops=stops,
                    strip=strip,
                    progress=_progress_after(progress, len(answers), len(conversations)),
                ),
            )
            answers += [Response(*each) for each in kept]
            progress("responses written", len(answers), len(conversations))
        return answers

    def choice_log_probabilities(
        self,
        conversations: Sequence[Conversation],
        choices: Sequence[str],
        *,
        prefix: str = "",
        likeliest: bool = False,
        progress: Progress = silent,
    ) -> np.ndarray:
        """See `LanguageModel.choice_log_probabilities`."""
        rows: list[list[float]] = []
        for part in _parts(conversations):
            rows += self._kept_or_asked(
                ["choices", part, list(choices), prefix, likeliest],
                partial(
                    self._model.choice_log_probabilities,
                    part,
                    choices,
                    prefix=prefix,
                    likeliest=likeliest,
                    progress=_progress_after(progress, len(rows), len(conversations)),
                ),
            )
            progress("questions answered", len(rows), len(conversations))
        return np.array(rows, dtype=float).reshape(len(conversations), len(choices) + likeliest)

    def log_likelihoods(self, conversations: Sequence[Conversation], responses: Sequence[str]) -> np.ndarray:
        """See `LanguageModel.log_likelihoods`."""
        rows: list[list[float]] = []
        for part, said in zip(_parts(conversations), _parts(responses), strict=True):
            rows += self._kept_or_asked(["likelihoods", part, said], partial(self._model.log_likelihoods, part, said))
        return np.array(rows, dtype=float).reshape(len(conversations), 2)

    def _kept_or_asked(self, question: list[Any], ask: Callable[[], Any]) -> list[Any]:
        key = value_digest([self.name, *question])
        if key not in self._kept:
            answers = ask()
            self._kept.keep(key, answers if isinstance(answers, list) else answers.tolist())
        kept: list[Any] = self._kept[key]
        return kept


@dataclass(frozen=True)
class OpenAIServerModel:
    """A model behind an OpenAI-compatible server that returns log-probabilities.

    Attributes:
        url: Address, for instance `http://localhost:8000`, with or without `/v1`.
        model: The model's name on the server.
        settings: How the server is asked.
        pause: Seconds before the second attempt, doubled after each; more if the server says so.
        kept: Where answers are kept as they come; None keeps none.
        aside: Where conversations are put that the server's model cannot read; they are answered by what is not a
            number, or by nothing. None raises `ConversationTooLong`.
        setting: Where the server is named in a profile, for errors.
    """

    url: str
    model: str
    settings: ServerSettings = DEFAULTS
    pause: float = 1.0
    kept: KeptLines | None = None
    aside: list[Conversation] | None = None
    setting: str = "feedback"

    @property
    def name(self) -> str:
        """Address and model."""
        return f"{self.url} {self.model}"

    @property
    def provenance(self) -> Mapping[str, str]:
        """Address and model; number format and chat template are the server's own."""
        return {"server": self.name}

    @cached_property
    def client(self) -> ServerClient:
        """Who sends the requests."""
        return ServerClient(self.url, self.settings, self.pause, self.setting)

    def prompt_text(self, conversation: Conversation, new_tokens: int = 1, choices: Sequence[str] = ()) -> str:
        """Return a plain transcript, since a server tells neither chat template nor tokens; it checks by itself."""
        if is_plain(conversation):
            return conversation[0][1]
        turns = [f"{role.capitalize()}: {content}" for role, content in conversation]
        opened = [] if conversation[-1][0] == "assistant" else ["Assistant:"]
        return "\n\n".join([*turns, *opened])

    def generate(
        self,
        conversations: Sequence[Conversation],
        *,
        new_tokens: int,
        temperature: float,
        seed: int,
        stops: Sequence[str] = (),
        strip: bool = True,
        progress: Progress = silent,
    ) -> list[Response]:
        """See `LanguageModel.generate`. What a model thinks before it speaks is no part of the response."""
        times_seen: Counter[str] = Counter()
        seeds = []
        for conversation in conversations:
            content = value_digest(list(conversation))
            # The same conversation asked twice is to be answered in two ways, in whatever order it comes.
            seeds.append(derived_seed(seed, content, times_seen[content]) % 2**31)
            times_seen[content] += 1
        limits = {"max_tokens": new_tokens, "temperature": temperature, **({"stop": list(stops)} if stops else {})}

        def ask(at: int) -> tuple[str, bool]:
            conversation = conversations[at]
            body = {**_prompt_fields(conversation), **limits, "seed": seeds[at]}
            return self._kept_or(
                lambda: self._generated(self._answered(body), conversation), body, RESPONSE, conversation, ("", False)
            )

        responses = []
        for text, finished in self.client.answers(len(conversations), ask):
            text = text if finished else text.rstrip(REPLACEMENT)
            responses.append(Response(text.strip() if strip else text, finished))
            progress("responses written", len(responses), len(conversations))
        return responses

    def choice_log_probabilities(
        self,
        conversations: Sequence[Conversation],
        choices: Sequence[str],
        *,
        prefix: str = "",
        likeliest: bool = False,
        progress: Progress = silent,
    ) -> np.ndarray:
        """See `LanguageModel.choice_log_probabilities`.

        Choices must be single tokens. One that is not among the likeliest that the server tells counts as impossible;
        where none is, the answer is unusable. With a prefix the server must be able to continue a turn.
        """
        wanted = [*choices, *([None] if likeliest else [])]

        def ask(at: int) -> list[float]:
            body = self._next_token_body(_continued(conversations[at], prefix))
            return self._kept_or(
                lambda: _scores_of(wanted, self._next_tokens(self._answered(body), body)),
                body,
                wanted,
                conversations[at],
                [np.nan] * len(wanted),
            )

        rows: list[list[float]] = []
        for row in self.client.answers(len(conversations), ask):
            rows.append(row)
            progress("questions answered", len(rows), len(conversations))
        return np.array(rows, dtype=float).reshape(len(conversations), len(wanted))

    def spoken(
        self, conversation: Conversation, new_tokens: int, temperature: float = 0.0, seed: int = 0
    ) -> tuple[str, list[float]]:
        """Return a response as it comes, with the log-probability of each of its tokens; nothing is kept."""
        limits = {"max_tokens": new_tokens, "temperature": temperature, "seed": seed}
        answer = self._answered({**_prompt_fields(conversation), **limits, "logprobs": True})
        tokens = _list_at(answer, self.url, "choices", 0, "logprobs", "content")
        return _text(answer, self.url), [_log_probability(token, self.url, "logprob") for token in tokens]

    def next_tokens(self, conversation: Conversation, prefix: str = "") -> dict[str, float]:
        """Return the log-probabilities of the likeliest next tokens, without the marks of their spelling."""
        body = self._next_token_body(_continued(conversation, prefix))
        return self._next_tokens(self._posted(body), body)

    def log_likelihoods(self, conversations: Sequence[Conversation], responses: Sequence[str]) -> np.ndarray:
        """See `LanguageModel.log_likelihoods`.

        The tokens are the server's own: of the conversation and of the same with the response, both in its chat
        template. What follows the first in the second is the response.

        Raises:
            ConsultationError: The server does not cut conversations into tokens, or does not echo them with
                log-probabilities.
        """
        prompts: dict[str, list[int]] = {}

        def ask(at: int) -> list[float]:
            conversation, response = conversations[at], responses[at]
            if not response:
                return [0.0, 0.0]
            whole = [*conversation, ("assistant", response)]

            def scored() -> list[float]:
                key = value_digest(list(conversation))
                if key not in prompts:
                    prompts[key] = self._tokens(conversation)
                return self._response_likelihood(prompts[key], self._tokens(whole), response)

            question = {**_prompt_fields(whole), "echo": True}
            return self._kept_or(scored, question, ECHOED, conversation, [np.nan, np.nan])

        rows = list(self.client.answers(len(conversations), ask))
        return np.array(rows, dtype=float).reshape(len(conversations), 2)

    def context_tokens(self) -> int | None:
        """Return how many tokens the model can read on this server, if it says so."""
        listed = self.client.get(f"{self.client.base}/models")
        data = listed.get("data") if isinstance(listed, dict) else None
        models = data if isinstance(data, list) else []
        for each in models:
            if isinstance(each, dict) and (each.get("id") == self.model or len(models) == 1):
                meta = each.get("meta")
                found = [each.get(name) for name in ("max_model_len", "context_length", "max_context_length")]
                found.append(meta.get("n_ctx") if isinstance(meta, dict) else None)
                return next((size for size in found if isinstance(size, int)), None)
        return None

    def _generated(self, answer: Any, conversation: Conversation) -> tuple[str, bool]:
        finished = str(_value_at(answer, self.url, "choices", 0, "finish_reason")).lower() in _ENDED
        text = _text(answer, self.url)
        if "message" not in answer["choices"][0]:
            return text, finished
        if conversation[-1][0] == "assistant" and not is_plain(conversation):
            # llama.cpp repeats the beginning of a turn that it continues.
            text = text.removeprefix(without_any_control_tokens(conversation[-1][1]))
        return without_thought(text), finished

    def _next_token_body(self, conversation: Conversation) -> dict[str, Any]:
        count = self.settings.top_logprobs
        asked = {"logprobs": count} if is_plain(conversation) else {"logprobs": True, "top_logprobs": count}
        return {**_prompt_fields(conversation), "max_tokens": 1, "temperature": 0, **asked}

    def _next_tokens(self, answer: Any, body: Mapping[str, Any]) -> dict[str, float]:
        """Read the likeliest next tokens; where an empty control token comes first, more is asked for once."""
        places = self._places(answer)
        if not any(_spoken(listed) for listed in places) and body["max_tokens"] == 1:
            places = self._places(self._posted({**body, "max_tokens": AFTER_CONTROL_TOKENS}))
        listed = next((each for each in places if _spoken(each)), places[0])
        tokens = [(self._spelt(token), log) for token, log in listed]
        if np.logaddexp.reduce([log for _, log in tokens]) > _ROUNDING:
            raise ConsultationError(
                f"{self.url}: the likeliest tokens that the server tells have a probability above 1 together, so what "
                f"it calls `logprob` is none: {listed[:5]}. Take another server."
            )
        return {
            token: float(np.logaddexp.reduce([log for other, log in tokens if other == token])) for token, _ in tokens
        }

    def _places(self, answer: Any) -> list[list[tuple[str, float]]]:
        """Return the likeliest tokens with their log-probabilities for each token of an answer, the likeliest first."""
        found = _value_at(answer, self.url, "choices", 0, "logprobs")
        likely = found.get("top_logprobs") if isinstance(found, dict) else None
        if isinstance(likely, list) and likely and isinstance(likely[0], dict):  # of a plain completion
            places = [[{"token": token, "logprob": log} for token, log in each.items()] for each in likely if each]
        else:
            content = _list_at(answer, self.url, "choices", 0, "logprobs", "content")
            places = [_list_at(each, self.url, "top_logprobs") for each in content]
        listed = [
            [(str(_value_at(item, self.url, "token")), _log_probability(item, self.url, "logprob")) for item in each]
            for each in places
        ]
        if not listed or not listed[0]:
            raise _missing(self.url, "choices.0.logprobs.content.0.top_logprobs")
        return [sorted(each, key=lambda item: -item[1]) for each in listed]

    def _spelt(self, token: str) -> str:
        """Return the text of a token, as servers spell it in several ways, without surrounding white space."""
        numbered = re.fullmatch(r"token_id:(\d+)", token)
        if numbered:
            token = self._text_of(int(numbered[1]))
        return token.strip(_WORD_BEGINNINGS + " \t\r\n")

    @cached_property
    def _texts(self) -> dict[int, str]:
        return {}

    def _text_of(self, token: int) -> str:
        if token not in self._texts:
            self._texts[token] = self._detokenized([token])
        return self._texts[token]

    def _detokenized(self, tokens: list[int]) -> str:
        answer = self.client.post(f"{self.client.root}/detokenize", {"model": self.model, "tokens": tokens})
        found = [answer.get(name) for name in ("prompt", "content")] if isinstance(answer, dict) else []
        return next((text for text in found if isinstance(text, str)), "")

    def _tokens(self, conversation: Conversation) -> list[int]:
        """Return the tokens of a conversation in the server's chat template, open for the assistant."""
        fields = _prompt_fields(conversation)
        body = {"model": self.model, "add_generation_prompt": True, **fields}
        try:
            answer = self.client.post(f"{self.client.root}/tokenize", body)
        except Refused as error:
            if error.too_long:
                raise
            raise _no_echo(self.url, f"it does not tell the tokens of a conversation ({error})") from error
        tokens = answer.get("tokens") if isinstance(answer, dict) else None
        if not isinstance(tokens, list) or not tokens or not all(isinstance(each, int) for each in tokens):
            raise _no_echo(self.url, "it does not tell the tokens of a conversation")
        return tokens

    def _response_likelihood(self, prompt: list[int], whole: list[int], response: str) -> list[float]:
        begin = len(prompt)
        if whole[:begin] != prompt or len(whole) == begin:
            raise TokensUnlike(
                f"{self.url}: the tokens of a response cannot be told from those before it. Either the chat template "
                "writes an answered turn otherwise than an open one, or the response begins with what belongs to a "
                "token of its question. Use the feedback method `letters`."
            )
        if response != response.strip() and self._detokenized(whole[begin:]) != without_any_control_tokens(response):
            raise TokensUnlike(
                f"{self.url}: a response begins or ends with white space that the server's chat template takes away. "
                "Leave it out of the response."
            )
        body = {"prompt": whole, "max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 1}
        try:
            answer = self._posted(body)
        except Refused as error:
            if error.too_long:
                raise
            raise _no_echo(self.url, str(error)) from error
        try:
            scores = answer["choices"][0]["logprobs"]["token_logprobs"]
            own = [score for score in scores[begin : len(whole)] if _is_log_probability(score)]
        except (KeyError, IndexError, TypeError):
            scores, own = [], []
        if len(own) != len(whole) - begin or len(scores) not in (len(whole), len(whole) + 1):
            raise _no_echo(self.url, "it does not echo what it was sent, with a log-probability of each token")
        return [float(sum(own)), float(len(own))]

    @cached_property
    def _whole(self) -> WholeQuestions:
        return WholeQuestions(self._posted, self.url, self.setting)

    def _answered(self, body: Mapping[str, Any]) -> Any:
        """Return the answer to a request whose question is known to be read whole."""
        answer = self._posted(body)
        self._whole.check(body, answer)
        return answer

    def _posted(self, body: Mapping[str, Any]) -> Any:
        return self.client.post(f"{self.client.base}/{_path(body)}", {"model": self.model, **body})

    def _kept_or(
        self, ask: Callable[[], Answer], body: Mapping[str, Any], part: Any, conversation: Conversation, unread: Answer
    ) -> Answer:
        """Return what was kept of an answer, or ask for it.

        Args:
            ask: Sends the request and reads the answer.
            body: The request, under which it is kept; one with messages is for the chat.
            part: What is wanted of the answer.
            conversation: What is asked, for errors.
            unread: What takes the place of the answer where the model cannot read the conversation.
        """
        question = value_digest([self.url, _path(body), {"model": self.model, **body, **self.settings.arguments}, part])
        if self.kept is not None and question in self.kept:
            kept: Answer = self.kept[question]
            return kept
        try:
            value = ask()
        except (Refused, TokensUnlike) as error:
            too_long = isinstance(error, Refused) and error.too_long
            if self.aside is not None and (too_long or isinstance(error, TokensUnlike)):
                self.aside.append(conversation)
                return unread
            if not too_long:
                raise
            longest = max((content for _, content in conversation), key=len, default="")
            raise ConversationTooLong(f"{error} The question begins: {longest[:80]!r}", conversation) from error
        if self.kept is not None:
            self.kept.keep(question, value)
        return value


def _path(body: Mapping[str, Any]) -> str:
    """Where a request goes: one with messages is for the chat."""
    return "chat/completions" if "messages" in body else "completions"


def _progress_after(progress: Progress, before: int, in_all: int) -> Progress:
    def report(message: str, done: int, total: int) -> None:
        progress(message, before + done, in_all)

    return report


def _parts(items: Sequence[Any]) -> list[Sequence[Any]]:
    return [items[start : start + CONVERSATIONS_A_PART] for start in range(0, len(items), CONVERSATIONS_A_PART)]


def _read_lines(file: Path) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    if file.is_file():
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue
            kept[entry["question"]] = entry["answers"]
    return kept


def _continued(conversation: Conversation, prefix: str) -> Conversation:
    return [*conversation, ("assistant", prefix)] if prefix else conversation


def _prompt_fields(conversation: Conversation) -> dict[str, Any]:
    turns = [(role, without_any_control_tokens(content)) for role, content in conversation]
    if is_plain(conversation):
        return {"prompt": turns[0][1]}
    messages = [{"role": role, "content": content} for role, content in turns]
    if conversation[-1][0] == "assistant":
        return {"messages": messages, "continue_final_message": True, "add_generation_prompt": False}
    return {"messages": messages}


def _spoken(listed: Sequence[tuple[str, float]]) -> bool:
    """Tell whether the likeliest of these tokens is text, and neither empty nor a control token."""
    token = listed[0][0] if listed else ""
    return bool(token) and without_any_control_tokens(token) == token


def _scores_of(choices: Sequence[str | None], logs: Mapping[str, float]) -> list[float]:
    """Return the log-probability of each choice, with a bracket after it as without; None stands for the likeliest."""
    scores = []
    for choice in choices:
        if choice is None:
            scores.append(max(logs.values()))
            continue
        wanted = choice.strip()
        own = [log for token, log in logs.items() if token == wanted or token.rstrip(_CLOSING) == wanted != ""]
        scores.append(float(np.logaddexp.reduce(own)) if own else -np.inf)
    return scores


def _value_at(answer: Any, url: str, *path: str | int) -> Any:
    found = answer
    for step in path:
        try:
            found = found[step]
        except (KeyError, IndexError, TypeError):
            found = None
            break
    if found is None:
        raise _missing(url, ".".join(map(str, path)), answer)
    return found


def _list_at(answer: Any, url: str, *path: str | int) -> list[Any]:
    found = _value_at(answer, url, *path)
    if not isinstance(found, list):
        raise _missing(url, ".".join(map(str, path)), answer)
    return found


def _text(answer: Any, url: str) -> str:
    """Return what an answer says: of a chat or a plain completion, whole or in parts, without those of a thought."""
    choice = _value_at(answer, url, "choices", 0)
    if isinstance(choice, dict) and "message" not in choice and "text" in choice:
        found = choice["text"]
    else:
        message = _value_at(answer, url, "choices", 0, "message")
        if not isinstance(message, dict):
            raise _missing(url, "choices.0.message.content", answer)
        found = message.get("content")
    if isinstance(found, list):
        parts = [each for each in found if isinstance(each, dict) and each.get("type") in ("text", "output_text")]
        found = "".join(str(each.get("text") or "") for each in parts)
    if not isinstance(found, str | None):
        raise _missing(url, "choices.0.message.content", answer)
    # A character that was cut in two comes as one half of a pair, which no file can hold.
    return (found or "").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _log_probability(answer: Any, url: str, name: str) -> float:
    value = _value_at(answer, url, name)
    if not _is_log_probability(value):
        raise _missing(url, name, answer)
    return float(value)


def _is_log_probability(value: Any) -> bool:
    """Tell whether this is the natural logarithm of a probability, minus infinity included."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -1e300 < value <= _ROUNDING or value == -np.inf


def _missing(url: str, what: str, answer: Any = None) -> ConsultationError:
    shown = "" if answer is None else f" It is: {json.dumps(answer)[:300]}."
    return ConsultationError(
        f"{url}: the server's answer has no `{what}`.{shown} An OpenAI-compatible server is needed that returns "
        "log-probabilities, for instance vLLM or llama.cpp."
    )


def _no_echo(url: str, why: str) -> EchoMissing:
    return EchoMissing(
        f"{url}: the server cannot be asked how likely a response is, which `contrast` needs: {why}. Use the feedback "
        "method `letters`, or a server that does, for instance vLLM."
    )
