"""Whether a server reads the whole of a question: some cut what is beyond their context and say nothing of it.

How many tokens such a server counts stays the same however many words are put before what it cuts. So the longest
question so far is asked once more with some before it, and what is no longer than that is known to be read whole.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.stages.server_client import Refused

LEAST_SHORTENED = 2000
"""Bytes; shorter questions fit into the context of any server."""
FURTHER_WORDS = 64


class WholeQuestions:
    """Questions that a server is known to read whole; several threads may ask at a time."""

    def __init__(self, post: Callable[[Mapping[str, Any]], Any], url: str, setting: str) -> None:
        """Nothing is known yet.

        Args:
            post: Sends a request and returns the answer.
            url: Of the server, for errors.
            setting: Where the server is named in a profile, for errors.
        """
        self._post, self._url, self._setting = post, url, setting
        self._bytes = 0
        self._lock = threading.Lock()

    def check(self, body: Mapping[str, Any], answer: Any) -> None:
        """Make sure that the question of a request was read whole, as far as the server counts tokens.

        Raises:
            ConsultationError: The server shortens questions.
        """
        length, counted = len(_question(body).encode()), _prompt_tokens(answer)
        if length < LEAST_SHORTENED or not counted:
            return
        with self._lock:
            if length <= self._bytes:
                return
            # The number keeps a server that counts new tokens only from finding the words among those it has read.
            words = f"{length}{' more' * FURTHER_WORDS} "
            try:
                longer = _prompt_tokens(self._post({**body, **_begun_with(words, body), "max_tokens": 1}))
            except Refused as error:
                if not error.too_long:  # such a server says so by itself
                    raise
            else:
                if longer - counted < FURTHER_WORDS // 2:
                    raise ConsultationError(
                        f"{self._url}: the server shortens long questions without a word: it counts {counted} tokens "
                        f"of one of {length} bytes, and {longer} with {FURTHER_WORDS} words more. Give it a larger "
                        "context (Ollama: OLLAMA_CONTEXT_LENGTH, LM Studio: the context length of the loaded model), "
                        f"or name another one in {self._setting}.server_url. The question begins: "
                        f"{_question(body)[:80]!r}"
                    )
            self._bytes = length + len(words)


def _question(body: Mapping[str, Any]) -> str:
    """Return all texts of a request."""
    return "\n".join(turn["content"] for turn in body["messages"]) if "messages" in body else str(body["prompt"])


def _begun_with(words: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the texts of a request with words before the first that is no system's; earlier turns are cut first."""
    if "messages" not in body:
        return {"prompt": words + body["prompt"]}
    first = next((at for at, turn in enumerate(body["messages"]) if turn["role"] != "system"), 0)
    turns = [
        {**turn, "content": words + turn["content"]} if at == first else turn
        for at, turn in enumerate(body["messages"])
    ]
    return {"messages": turns}


def _prompt_tokens(answer: Any) -> int:
    """Return how many tokens of a question a server says it has read; 0 if it does not say."""
    usage = answer.get("usage") if isinstance(answer, dict) else None
    found = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    return found if isinstance(found, int) else 0
