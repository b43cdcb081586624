"""A language-model server on this machine that holds real models, as OpenAI's interface serves them.

served_models.py PORT NAME=FOLDER...   serves as long as the process that started it runs
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from local_server import Server, chat

from ccai_dagster.stages.transformers_model import TransformersModel

ONE_AT_A_TIME = threading.Lock()
"""Requests come in threads, which share torch's random numbers."""


def spoken(held: TransformersModel, body: Mapping[str, Any]) -> tuple[str, bool, float, int]:
    """What a model answers to a request, whether it ends there, its log-likelihood and its tokens."""
    conversation = [(turn["role"], turn["content"]) for turn in body["messages"]]
    limits = {"new_tokens": body["max_tokens"], "seed": body["seed"], "strip": False}
    with ONE_AT_A_TIME:
        ((text, finished),) = held.generate([conversation], temperature=body["temperature"], **limits)
        ((likelihood, tokens),) = held.log_likelihoods([conversation], [text])
    return text, finished, float(likelihood), int(tokens)


def answering(models: Mapping[str, TransformersModel]) -> Callable[[dict[str, Any]], tuple[int, Any]]:
    """Return how a server answers that holds these models."""

    def answer(body: dict[str, Any]) -> tuple[int, Any]:
        text, finished, likelihood, tokens = spoken(models[body["model"]], body)
        logs = {"content": [{"token": "?", "logprob": likelihood / max(1, tokens)}] * tokens}
        return 200, chat(text, logs if "logprobs" in body else None, "stop" if finished else "length")

    return answer


def main(port: int, named: Mapping[str, str]) -> None:
    server = Server(port)
    server.answer = answering({name: TransformersModel(Path(folder), "float32", 1) for name, folder in named.items()})
    starter = os.getppid()
    print("ready", flush=True)
    while os.getppid() == starter:
        time.sleep(0.5)


if __name__ == "__main__":
    main(int(sys.argv[1]), dict(each.split("=", 1) for each in sys.argv[2:]))
