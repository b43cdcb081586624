"""A model behind an OpenAI-compatible server that returns log-probabilities, and answers that are kept on disk.

Both are the `LanguageModel` of `ccai_dagster.feedback.language_model`, as is the model in this process in
`transformers_model`. A server may be slow, busy, or gone in the middle: a request is tried again after ever longer
pauses. What was answered, by a server or in this process, is kept in JSON lines in the stage's folder under the digest
of everything the answer depends on, so that after an interruption only the rest is asked for.
"""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ccai_dagster.core.digest import value_digest
from ccai_dagster.core.draws import derived_seed
from ccai_dagster.core.errors import ConsultationError, Progress, silent
from ccai_dagster.core.text import REPLACEMENT
from ccai_dagster.feedback.language_model import Conversation, LanguageModel, Response, is_plain

SERVER_KEY = "CCAI_SERVER_KEY"
"""Environment variable with the key of the server, if it wants one."""
LONGEST_PAUSE = 60.0
"""Seconds; a busy server that asks for more patience than this is asked again sooner."""
RESPONSE = "text and whether it is finished"
"""What is kept of a response; earlier programs kept the text alone, under another key."""
CONVERSATIONS_A_PART = 512
"""At most this many answers are lost with a process; enough that batches of like length are still found."""


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
    """A model behind an OpenAI-compatible server that returns log-probabilities (vLLM, llama.cpp).

    Attributes:
        url: Address, for instance `http://localhost:8000`, with or without `/v1`.
        model: The model's name on the server.
        timeout: Seconds one request may take.
        attempts: How often a request is tried when the server is busy or out of reach.
        pause: Seconds before the second attempt, doubled after each; more if the server says so.
        parallel: Requests at a time.
        kept: Where answers are kept as they come; None keeps none.
    """

    url: str
    model: str
    timeout: float = 120.0
    attempts: int = 4
    pause: float = 1.0
    parallel: int = 8
    kept: KeptLines | None = None

    @property
    def name(self) -> str:
        """Address and model."""
        return f"{self.url} {self.model}"

    @property
    def provenance(self) -> Mapping[str, str]:
        """Address and model; number format and chat template are the server's own."""
        return {"server": self.name}

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
        """See `LanguageModel.generate`."""
        times_seen: Counter[str] = Counter()
        bodies: list[dict[str, Any]] = []
        for conversation in conversations:
            content = value_digest(list(conversation))
            # The same conversation asked twice is to be answered in two ways, in whatever order it comes.
            own_seed = derived_seed(seed, content, times_seen[content]) % 2**31
            times_seen[content] += 1
            bodies.append(
                {
                    **_prompt_fields(conversation),
                    "max_tokens": new_tokens,
                    "temperature": temperature,
                    "seed": own_seed,
                    **({"stop": list(stops)} if stops else {}),
                }
            )
        responses = []
        for text, finished in self._post(bodies, self._generated, [RESPONSE] * len(bodies)):
            text = text if finished else text.rstrip(REPLACEMENT)
            responses.append(Response(text.strip() if strip else text, finished))
            progress("responses written", len(responses), len(bodies))
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

        Choices must be single tokens. One that is not among the 20 likeliest counts as impossible; where
        none is, the answer is unusable. With a prefix the server must be able to continue a turn.
        """
        bodies = [
            {
                **_prompt_fields([*conversation, ("assistant", prefix)] if prefix else conversation),
                "max_tokens": 1,
                "temperature": 0,
                **({"logprobs": 20} if is_plain(conversation) else {"logprobs": True, "top_logprobs": 20}),
            }
            for conversation in conversations
        ]
        wanted = [[*choices, *([None] if likeliest else [])]] * len(bodies)
        rows: list[list[float]] = []
        for row in self._post(bodies, self._choice_scores, wanted):
            rows.append(row)
            progress("questions answered", len(rows), len(bodies))
        return np.array(rows, dtype=float).reshape(len(bodies), len(choices) + likeliest)

    def log_likelihoods(self, conversations: Sequence[Conversation], responses: Sequence[str]) -> np.ndarray:
        """See `LanguageModel.log_likelihoods`.

        Scored on `/v1/completions` with the conversation as a plain transcript, since a server does not
        tell its chat template.
        """
        transcripts = [
            "".join(f"{role.capitalize()}: {content}\n\n" for role, content in conversation) + "Assistant:"
            for conversation in conversations
        ]
        bodies = [
            {"prompt": f"{transcript} {response}", "max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 1}
            for transcript, response in zip(transcripts, responses, strict=True)
        ]
        lengths = [(len(before), len(said)) for before, said in zip(transcripts, responses, strict=True)]
        rows = list(self._post(bodies, self._response_likelihood, lengths))
        return np.array(rows, dtype=float).reshape(len(bodies), 2)

    def _generated(self, answer: Any, _: str) -> tuple[str, bool]:
        choice = _value_at(answer, self.url, "choices", 0)
        finished = _value_at(answer, self.url, "choices", 0, "finish_reason") != "length"
        if "message" not in choice and "text" in choice:
            return str(choice["text"] or ""), finished
        return str(_value_at(answer, self.url, "choices", 0, "message").get("content") or ""), finished

    def _choice_scores(self, answer: Any, choices: list[str | None]) -> list[float]:
        found = _value_at(answer, self.url, "choices", 0, "logprobs")
        likely = found.get("top_logprobs") if isinstance(found, dict) else None
        if isinstance(likely, list) and likely and isinstance(likely[0], dict):  # of a plain completion
            listed = [{"token": token, "logprob": log} for token, log in likely[0].items()]
        else:
            listed = _value_at(answer, self.url, "choices", 0, "logprobs", "content", 0, "top_logprobs")
        tokens = [
            (str(_value_at(item, self.url, "token")).strip(), _number(item, self.url, "logprob")) for item in listed
        ]
        if not tokens:
            raise _no_log_probabilities(self.url, "top_logprobs")
        logs = {
            token: float(np.logaddexp.reduce([log for other, log in tokens if other == token])) for token, _ in tokens
        }
        return [max(logs.values()) if choice is None else logs.get(choice.strip(), -np.inf) for choice in choices]

    def _response_likelihood(self, answer: Any, lengths: tuple[int, int]) -> list[float]:
        begin, length = lengths
        found = _value_at(answer, self.url, "choices", 0, "logprobs")
        offsets = _value_at(found, self.url, "text_offset")
        scores = _value_at(found, self.url, "token_logprobs")
        end = begin + 1 + length
        own = [score for score, offset in zip(scores, offsets, strict=False) if begin <= offset < end]
        if length and (not own or None in own):
            raise ConsultationError(
                f"{self.url}: the server does not echo the prompt with log-probabilities, which "
                "`contrast` needs. Use the feedback method `letters`, or a server that does."
            )
        return [float(sum(own)), float(len(own))]

    def _post(
        self, bodies: Sequence[dict[str, Any]], read: Callable[[Any, Any], Any], wanted: Sequence[Any] | None = None
    ) -> Iterator[Any]:
        """Yield what is read from each answer, in order; an answer that was kept is not asked for.

        Args:
            bodies: Requests; one with messages is for the chat.
            read: Takes an answer and what is wanted of it.
            wanted: For each request; None if all of it is wanted.
        """
        import httpx

        key = os.environ.get(SERVER_KEY)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        stop = threading.Event()

        def ask(at: int) -> Any:
            body, part = {"model": self.model, **bodies[at]}, wanted[at] if wanted else None
            path = "chat/completions" if "messages" in body else "completions"
            question = value_digest([self.url, path, body, part])
            if self.kept is not None and question in self.kept:
                return self.kept[question]
            value = read(self._answer(client, path, body, stop), part)
            if self.kept is not None:
                self.kept.keep(question, value)
            return value

        with httpx.Client(timeout=self.timeout, headers=headers) as client, ThreadPoolExecutor(self.parallel) as pool:
            try:
                yield from pool.map(ask, range(len(bodies)))
            finally:
                # After an error the requests under way don't wait for a server that is gone.
                stop.set()

    def _answer(self, client: Any, path: str, body: dict[str, Any], stop: threading.Event) -> Any:
        import httpx

        address = f"{self.url.rstrip('/').removesuffix('/v1')}/v1/{path}"
        trouble, wait = "", self.pause
        for attempt in range(self.attempts):
            if attempt and stop.wait(wait):
                break
            wait = self.pause * 2**attempt
            try:
                response = client.post(address, json=body)
            except httpx.TimeoutException:
                trouble = f"no answer within {self.timeout:g} seconds"
                continue
            except httpx.HTTPError as error:
                trouble = f"{type(error).__name__}: {error}"
                continue
            if response.status_code == 429 or response.status_code >= 500:
                trouble = f"status {response.status_code}"
                wait = max(wait, _retry_after(response.headers.get("Retry-After", "")))
                continue
            if response.status_code != 200:
                hint = f" Is {SERVER_KEY} right?" if response.status_code in (401, 403) else ""
                raise ConsultationError(
                    f"{address} refused a request with status {response.status_code}: {response.text[:300]!r}.{hint}"
                )
            try:
                return response.json()
            except ValueError as error:
                raise ConsultationError(f"{address} did not answer with JSON: {response.text[:300]!r}.") from error
        raise ConsultationError(
            f"{address} did not answer in {self.attempts} attempts ({trouble}). Check feedback.server_url in "
            "consultation.yaml and that the server is running, then run again: what it has answered is kept."
        )


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


def _retry_after(header: str) -> float:
    """Seconds a server asks to wait for; 0 if it names none, or a date."""
    return min(float(header), LONGEST_PAUSE) if header.isascii() and header.isdigit() else 0.0


def _prompt_fields(conversation: Conversation) -> dict[str, Any]:
    if is_plain(conversation):
        return {"prompt": conversation[0][1]}
    messages = [{"role": role, "content": content} for role, content in conversation]
    if conversation[-1][0] == "assistant":
        return {"messages": messages, "continue_final_message": True, "add_generation_prompt": False}
    return {"messages": messages}


def _value_at(answer: Any, url: str, *path: str | int) -> Any:
    found = answer
    for step in path:
        try:
            found = found[step]
        except (KeyError, IndexError, TypeError):
            found = None
            break
    if found is None:
        raise _no_log_probabilities(url, *path)
    return found


def _number(answer: Any, url: str, name: str) -> float:
    value = _value_at(answer, url, name)
    if not isinstance(value, int | float):
        raise _no_log_probabilities(url, name)
    return float(value)


def _no_log_probabilities(url: str, *path: str | int) -> ConsultationError:
    return ConsultationError(
        f"{url}: the server's answer has no `{'.'.join(map(str, path))}`. The feedback model needs an "
        "OpenAI-compatible server that returns log-probabilities, for instance vLLM."
    )
