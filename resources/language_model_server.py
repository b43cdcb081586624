"""The language model as a resource: an OpenAI-compatible server that returns log-probabilities.

Answers to `ccai_dagster.feedback.language_model.LanguageModel`, as does the model in this process in
`language_models`.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from ccai_dagster.digest import value_digest
from ccai_dagster.errors import ConsultationError
from ccai_dagster.feedback.draws import derived_seed
from ccai_dagster.feedback.language_model import Conversation
from ccai_dagster.progress import Progress, silent

SERVER_KEY = "CCAI_SERVER_KEY"
"""Environment variable with the key of the server, if it wants one."""


@dataclass(frozen=True)
class OpenAIServerModel:
    """A model behind an OpenAI-compatible server that returns log-probabilities (vLLM, llama.cpp).

    Attributes:
        url: Address without `/v1`, for instance `http://localhost:8000`.
        model: The model's name on the server.
        timeout: Seconds one request may take.
        attempts: How often a request is tried when the server is busy or out of reach.
        pause: Seconds before the second attempt, doubled after each.
        parallel: Requests at a time.
    """

    url: str
    model: str
    timeout: float = 120.0
    attempts: int = 4
    pause: float = 1.0
    parallel: int = 8

    @property
    def name(self) -> str:
        """Address and model."""
        return f"{self.url} {self.model}"

    def generate(
        self,
        conversations: Sequence[Conversation],
        *,
        new_tokens: int,
        temperature: float,
        seed: int,
        progress: Progress = silent,
    ) -> list[str]:
        """See `LanguageModel.generate`."""
        times_seen: Counter[str] = Counter()
        bodies = []
        for conversation in conversations:
            content = value_digest(list(conversation))
            # The same conversation asked twice is to be answered in two ways, in whatever order it comes.
            own_seed = derived_seed(seed, content, times_seen[content]) % 2**31
            times_seen[content] += 1
            bodies.append(
                {
                    "messages": _messages(conversation),
                    "max_tokens": new_tokens,
                    "temperature": temperature,
                    "seed": own_seed,
                }
            )
        responses = []
        for answer in self._post("chat/completions", bodies):
            message = _found(answer, self.url, "choices", 0, "message")
            responses.append(str(message.get("content") or "").strip())
            progress("responses written", len(responses), len(bodies))
        return responses

    def choice_log_probabilities(
        self, conversations: Sequence[Conversation], choices: Sequence[str], *, prefix: str = ""
    ) -> np.ndarray:
        """See `LanguageModel.choice_log_probabilities`.

        Choices must be single tokens. One that is not among the 20 likeliest counts as impossible; where
        none is, the answer is unusable. With a prefix the server must be able to continue a turn.
        """
        opened = {"continue_final_message": True, "add_generation_prompt": False} if prefix else {}
        bodies = [
            {
                "messages": _messages([*conversation, ("assistant", prefix)] if prefix else conversation),
                "max_tokens": 1,
                "temperature": 0,
                "logprobs": True,
                "top_logprobs": 20,
                **opened,
            }
            for conversation in conversations
        ]
        rows = []
        for answer in self._post("chat/completions", bodies):
            listed = _found(answer, self.url, "choices", 0, "logprobs", "content", 0, "top_logprobs")
            rows.append(
                [
                    np.logaddexp.reduce(
                        [item["logprob"] for item in listed if item["token"].strip() == choice] or [-np.inf]
                    )
                    for choice in choices
                ]
            )
        return np.array(rows, dtype=float).reshape(len(bodies), len(choices))

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
            {
                "prompt": f"{transcript} {response}",
                "max_tokens": 1,
                "temperature": 0,
                "echo": True,
                "logprobs": 1,
            }
            for transcript, response in zip(transcripts, responses, strict=True)
        ]
        rows = []
        for answer, transcript, response in zip(
            self._post("completions", bodies), transcripts, responses, strict=True
        ):
            found = _found(answer, self.url, "choices", 0, "logprobs")
            offsets = _found(found, self.url, "text_offset")
            scores = _found(found, self.url, "token_logprobs")
            begin, end = len(transcript), len(transcript) + 1 + len(response)
            own = [score for score, offset in zip(scores, offsets, strict=True) if begin <= offset < end]
            if response and not own:
                raise ConsultationError(
                    f"{self.url}: the server does not echo the prompt with log-probabilities, which "
                    "`contrast` needs. Use the feedback method `letters`, or a server that does."
                )
            rows.append([sum(own), len(own)])
        return np.array(rows, dtype=float).reshape(len(bodies), 2)

    def _post(self, path: str, bodies: Sequence[dict[str, Any]]) -> Iterator[Any]:
        import httpx

        key = os.environ.get(SERVER_KEY)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        with (
            httpx.Client(timeout=self.timeout, headers=headers) as client,
            ThreadPoolExecutor(self.parallel) as pool,
        ):
            yield from pool.map(
                lambda body: self._answer(client, path, {"model": self.model, **body}), bodies
            )

    def _answer(self, client: Any, path: str, body: dict[str, Any]) -> Any:
        import httpx

        address = f"{self.url.rstrip('/')}/v1/{path}"
        trouble = ""
        for attempt in range(self.attempts):
            if attempt:
                time.sleep(self.pause * 2 ** (attempt - 1))
            try:
                response = client.post(address, json=body)
            except httpx.HTTPError as error:
                trouble = f"{type(error).__name__}: {error}"
                continue
            if response.status_code == 429 or response.status_code >= 500:
                trouble = f"status {response.status_code}"
                continue
            if response.status_code != 200:
                hint = f" Is {SERVER_KEY} right?" if response.status_code in (401, 403) else ""
                raise ConsultationError(
                    f"{address} refused a request with status {response.status_code}: "
                    f"{response.text[:300]!r}.{hint}"
                )
            try:
                return response.json()
            except ValueError as error:
                raise ConsultationError(
                    f"{address} did not answer with JSON: {response.text[:300]!r}."
                ) from error
        raise ConsultationError(
            f"{address} did not answer in {self.attempts} attempts ({trouble}). "
            "Check feedback.server_url in consultation.yaml and that the server is running."
        )


def _messages(conversation: Conversation) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in conversation]


def _found(answer: Any, url: str, *path: str | int) -> Any:
    found = answer
    for step in path:
        try:
            found = found[step]
        except (KeyError, IndexError, TypeError):
            found = None
            break
    if found is None:
        raise ConsultationError(
            f"{url}: the server's answer has no `{'.'.join(map(str, path))}`. The feedback model needs an "
            "OpenAI-compatible server that returns log-probabilities, for instance vLLM."
        )
    return found
