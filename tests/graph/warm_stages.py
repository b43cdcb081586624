"""Runs stages in children of a process that has imported torch and its libraries already.

Each stage of a real run is a fresh interpreter that imports for six to ten seconds, which is most of the time
of a graph with a tiny model. Here the same worker runs with the same request, environment and pipes, in a
fork. Starting a stage afresh is tested in `unit/test_launcher.py` and by every `ccai run`.

    warm_stages.py serve SOCKET          imports, then forks a child for each connection
    warm_stages.py stage SOCKET REQUEST  runs one stage there, with this process's environment and outputs
"""

from __future__ import annotations

import array
import json
import os
import socket
import sys
from pathlib import Path


def serve(address: str) -> None:
    import datasets  # noqa: F401
    import lm_eval.models.huggingface  # noqa: F401
    import mlflow  # noqa: F401
    import peft  # noqa: F401
    from transformers import Trainer  # noqa: F401
    from trl import RewardTrainer, RLOOTrainer, SFTTrainer  # noqa: F401

    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    while True:
        connection, _ = listener.accept()
        with connection:
            child = os.fork()
            if not child:
                os._exit(_run(connection))
            _, status = os.waitpid(child, 0)
            connection.sendall(json.dumps(os.waitstatus_to_exitcode(status)).encode())


def _run(connection: socket.socket) -> int:
    message, fds, _, _ = socket.recv_fds(connection, 1 << 20, 2)
    request = json.loads(message)
    for fd, standard in zip(fds, (1, 2), strict=True):
        os.dup2(fd, standard)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    from ccai_dagster.stages import worker

    status = worker.main(Path(request["request"]))
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def stage(address: str, request: str) -> int:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        message = {"environment": dict(os.environ), "folder": str(Path.cwd()), "request": request}
        fds = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [1, 2]))]
        connection.sendmsg([json.dumps(message).encode()], fds)
        return abs(int(json.loads(connection.recv(100))))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        sys.exit(stage(*sys.argv[2:]))
