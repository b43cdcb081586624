"""A language-model server on this machine, whose answers a test decides."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from ccai_dagster.consultation.settings import ServerSettings
from ccai_dagster.stages.server_model import OpenAIServerModel

SETTINGS = ServerSettings(timeout=5, patience=1)


class Server:
    """A local server whose answers a test decides; it keeps what it was sent."""

    def __init__(self, port: int = 0) -> None:
        self.requests: list[tuple[str, dict[str, Any], str | None]] = []
        self.answer: Callable[[dict[str, Any]], tuple[int, Any]] = lambda _: (404, {})
        self.paths: dict[str, Callable[[dict[str, Any]], tuple[int, Any]]] = {}
        self.listed: Any = None
        self.headers: dict[str, str] = {}
        kept = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                kept.requests.append((self.path, body, self.headers.get("Authorization")))
                status, content = kept.paths.get(self.path, kept.answer)(body)
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                if not status:
                    return
                self.send_response(abs(status))
                for name, value in {"Content-Length": str(len(data)), **kept.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                # A negative status: the connection ends in the middle of the answer.
                self.wfile.write(data if status > 0 else data[: len(data) // 2])

            def do_GET(self) -> None:
                data = json.dumps(kept.listed).encode()
                self.send_response(404 if kept.listed is None else 200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *arguments: Any) -> None:
                pass

        class Listening(ThreadingHTTPServer):
            request_queue_size = 256

        self.http = Listening(("127.0.0.1", port), Handler)
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()
        self.model = OpenAIServerModel(f"http://127.0.0.1:{self.http.server_port}", "judge-7b", SETTINGS, pause=0.01)


def chat(content: str, logprobs: Any = None, finish_reason: str = "stop") -> dict[str, Any]:
    return {"choices": [{"message": {"content": content}, "logprobs": logprobs, "finish_reason": finish_reason}]}


def listed(**logs: float) -> dict[str, Any]:
    return {"content": [{"top_logprobs": [{"token": token, "logprob": log} for token, log in logs.items()]}]}


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.http.shutdown()
    running.http.server_close()
