"""Labels by a real llama.cpp server, against a bare client that keeps it full with the same requests.

Every pass asks questions that the server has not seen, so that none is answered from its cache. What labelling does
beside the bare client is to make the questions, to find out how many go at a time, to read the answers and to keep each
on disk. The server is that of `make servers`; `python -m bench.serving` takes minutes.
"""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.pairs import compare
from ccai_dagster.consultation.settings import ServerSettings
from ccai_dagster.feedback.judge import Question, judge_comparisons
from ccai_dagster.stages.server_client import ServerClient
from ccai_dagster.stages.server_model import KeptLines, OpenAIServerModel
from tests.servers import KINDS, NAME, base_model, install, questions, served

COMPARISONS, RUNS, TOGETHER = 12, 9, 16
"""Comparisons a pass, each asked in both orders; pairs of passes; requests that the bare client has under way."""


def main() -> None:
    """Print how long labelling takes and how long the bare client."""
    kind = KINDS["llama.cpp"]
    install(kind)
    with served(kind, base_model()) as running, tempfile.TemporaryDirectory() as place:
        model = OpenAIServerModel(f"http://127.0.0.1:{running.port}", NAME, ServerSettings(timeout=300))
        asked = unseen(questions(COMPARISONS))
        bodies = requests(model, asked)
        files = (Path(place) / f"{number}.jsonl" for number in itertools.count())
        compare(
            f"{2 * COMPARISONS} questions for labels",
            lambda: judge_comparisons(replace(model, kept=KeptLines(next(files))), next(asked), "letters"),
            bare(model, bodies),
            f"a bare client with {TOGETHER} of the same requests under way",
            1.2,
            RUNS,
        )


def unseen(known: list[Question]) -> Iterator[list[Question]]:
    """Yield the questions again and again, each time with other beginnings."""
    for number in itertools.count():
        yield [replace(each, prompt=f"[{number:03d}] {each.prompt}") for each in known]


def requests(model: OpenAIServerModel, asked: Iterator[list[Question]]) -> Iterator[list[dict[str, Any]]]:
    """Yield what is sent for further questions, taken down without a server."""
    for comparisons in asked:
        sent: list[dict[str, Any]] = []

        class Heard(ServerClient):
            def post(self, address: str, body: Any, sent: list[dict[str, Any]] = sent) -> Any:
                sent.append(json.loads(json.dumps(body)))
                tokens = [{"token": letter, "logprob": -1.0} for letter in "AB"]
                return {"choices": [{"logprobs": {"content": [{"top_logprobs": tokens}]}}]}

        silent = replace(model)
        silent.__dict__["client"] = Heard(model.url, model.settings)
        judge_comparisons(silent, comparisons, "letters")
        yield sent


def bare(model: OpenAIServerModel, bodies: Iterator[list[dict[str, Any]]]) -> Callable[[], None]:
    """Return a pass that posts requests as fast as the server takes them, and reads nothing of the answers."""
    import httpx

    client = httpx.Client(timeout=300)

    def post(body: dict[str, Any]) -> None:
        client.post(f"{model.client.base}/chat/completions", json=body).raise_for_status()

    def run() -> None:
        with ThreadPoolExecutor(TOGETHER) as pool:
            list(pool.map(post, next(bodies)))

    return run


if __name__ == "__main__":
    main()
