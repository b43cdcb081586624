"""Runs stages in forks of a process that has imported torch, and kills them where a test says.

    killed_stages.py SOCKET      imports, then forks a child for each connection

A connection sends one JSON line: the request's file, and at which operation on a file the child is to kill itself:
`kill_at` counts those below the request's folder, `kill_when` is a part of what the operation is called. Nothing
of the stage is replaced: an audit hook sees each opening, renaming and removing before it happens. The answer is
the child's exit status and what it did to files.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

WATCHED = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree", "os.truncate"}


def serve(address: str) -> None:
    import datasets  # noqa: F401
    import peft  # noqa: F401
    from transformers import Trainer  # noqa: F401
    from trl import RewardTrainer, RLOOTrainer, SFTTrainer  # noqa: F401

    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    while True:
        connection, _ = listener.accept()
        with connection:
            order = json.loads(connection.makefile().readline())
            child = os.fork()
            if not child:
                os._exit(_run(order))
            _, status = os.waitpid(child, 0)
            seen = Path(order["seen"])
            answer = {
                "status": os.waitstatus_to_exitcode(status),
                "operations": seen.read_text().splitlines() if seen.exists() else [],
            }
            connection.sendall(json.dumps(answer).encode() + b"\n")


def _run(order: dict[str, Any]) -> int:
    from ccai_dagster.stages import worker

    request = Path(order["request"])
    seen = os.open(order["seen"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    count = 0

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event not in WATCHED or (event == "open" and not _writes(arguments)):
            return
        paths = [os.fsdecode(each) for each in arguments if isinstance(each, str | bytes | os.PathLike)]
        below = [
            path.removeprefix(f"{request.parent}/") for path in paths if path.startswith(f"{request.parent}/")
        ]
        if not below or below[0].startswith("log"):
            return
        what = " ".join([event, *below])
        os.write(seen, (what + "\n").encode())
        if count == order.get("kill_at") or (order.get("kill_when") and order["kill_when"] in what):
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1

    sys.addaudithook(look)
    if seconds := order.get("terminate_after"):
        signal.setitimer(signal.ITIMER_REAL, seconds)
        signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    return worker.main(request)


def _writes(arguments: tuple[Any, ...]) -> bool:
    _, mode, flags = arguments
    return bool(mode and set(mode) & set("wax+")) or bool(flags & (os.O_WRONLY | os.O_RDWR))


if __name__ == "__main__":
    serve(sys.argv[1])
