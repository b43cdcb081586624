"""Runs stages in children of a process that has imported torch and its libraries already.

Each stage of a real run is a fresh interpreter that imports for six to ten seconds, which is most of the time
of a graph with a tiny model. Here the same worker runs the same request in a fork. Starting a stage afresh is
tested in `unit/test_launcher.py` and by every `ccai run`.

    warm_stages.py serve SOCKET PID         imports, then forks children for each connection, as long as PID runs
    warm_stages.py stage SOCKET REQUEST...  runs stages there, one after another in one process, with this process's
                                            environment and outputs

An order (`ask`) may say at which operation on a file the child is to kill itself: `kill_at` counts those below the
first request's folder, `kill_when` is a part of what the operation is called. Nothing of the stage is replaced: an
audit hook sees each opening, renaming and removing before it happens. The answer is the child's exit status and, where
they were asked for, its operations on files.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

WATCHED = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree", "os.truncate"}
LIBRARIES = (
    "datasets",
    "lm_eval.models.huggingface",
    "mlflow.store.tracking.sqlalchemy_store",
    "peft",
    "sklearn.linear_model",
    "sklearn.model_selection",
    "transformers.models.llama.modeling_llama",
    "transformers.trainer",
    "trl.trainer.reward_trainer",
    "trl.trainer.rloo_trainer",
    "trl.trainer.sft_trainer",
)
"""What stages import when they first need it; a fork would import it each time."""
SECONDS_TO_IMPORT = 200.0


def ask(address: str, requests: Sequence[Path], environment: dict[str, str], **how: Any) -> dict[str, Any]:
    """Have stages run until one fails; their outputs are this process's."""
    order = {"requests": [str(each) for each in requests], "folder": str(Path.cwd()), "environment": environment, **how}
    end = time.monotonic() + SECONDS_TO_IMPORT
    while not Path(address).exists() and time.monotonic() < end:
        if (why := Path(f"{address}.failed")).exists():
            raise RuntimeError(why.read_text())
        time.sleep(0.1)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        socket.send_fds(connection, [b"\0"], [1, 2])
        connection.sendall(json.dumps(order).encode() + b"\n")
        answer: dict[str, Any] = json.loads(connection.makefile().readline())
        return answer


def attending(address: str) -> Callable[..., int]:
    """Return how a launcher has a stage run in the process at this address, which all processes of the tests share."""
    from ccai_dagster.core import processes

    def attend(launcher: object, stage: object, request: Path, environment: Mapping[str, str]) -> int:
        return processes.attend([sys.executable, "-I", __file__, "stage", address, str(request)], environment)

    return attend


def serve(address: str, session: int) -> None:
    starter = os.getpid()
    if os.fork():
        return
    # Whoever watches its parent while that is still ending would take it for killed, and end too.
    while os.getppid() == starter:
        time.sleep(0.01)
    try:
        _import_everything(session)
    except BaseException:
        # Nobody waits for a process that cannot start.
        Path(f"{address}.failed").write_text(traceback.format_exc())
        raise
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{address}.partial")
    listener.listen()
    Path(f"{address}.partial").rename(address)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        connection, _ = listener.accept()
        with connection:
            if not os.fork():
                _in_child(_answer, connection)


def _import_everything(session: int) -> None:
    import ccai_dagster
    import resources
    from ccai_dagster.core import processes

    # Workers come and go; the process ends with the session.
    processes.end_with(session)
    for name in LIBRARIES:
        importlib.import_module(name)
    for package in (ccai_dagster, resources):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if "portal" not in found.name:  # which no stage needs, and Django imports its models for a consultation
                importlib.import_module(found.name)
    # As the product's own process does.
    gc.collect()
    gc.freeze()


def _in_child(work: Callable[..., int], *arguments: Any) -> None:
    status = 1
    try:
        status = work(*arguments)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _answer(connection: socket.socket) -> int:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, fds, _, _ = socket.recv_fds(connection, 1, 2)
    order = json.loads(connection.makefile().readline())
    stage = os.fork()
    if not stage:
        _in_child(_run, order, fds)
    _, status = os.waitpid(stage, 0)
    answer: dict[str, Any] = {"status": os.waitstatus_to_exitcode(status)}
    if "seen" in order:
        answer["operations"] = Path(order["seen"]).read_text().splitlines()
    connection.sendall(json.dumps(answer).encode() + b"\n")
    return 0


def _run(order: dict[str, Any], fds: list[int]) -> int:
    for fd, standard in zip(fds, (1, 2), strict=True):
        os.dup2(fd, standard)
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["folder"])
    from ccai_dagster.stages import worker

    if "ACCELERATE_USE_FSDP" in os.environ:
        _shard_on_cpus()
    if "seen" in order:
        _watch(order)
    status = next((status for each in order["requests"] if (status := worker.main(Path(each)))), 0)
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def _shard_on_cpus() -> None:
    """Have accelerate take CPUs for devices that can share a model; it knows better and would give each a whole one."""
    from accelerate import state

    kinds = state.DistributedType.__members__
    state.DistributedType = SimpleNamespace(**kinds | {"MULTI_MUSA": kinds["MULTI_CPU"]})


def _watch(order: dict[str, Any]) -> None:
    folder = Path(order["requests"][0]).parent
    seen = os.open(order["seen"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    count = 0

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event not in WATCHED or (event == "open" and not _writes(arguments)):
            return
        paths = [os.fsdecode(each) for each in arguments if isinstance(each, str | bytes | os.PathLike)]
        below = [path.removeprefix(f"{folder}/") for path in paths if path.startswith(f"{folder}/")]
        if not below or below[0].startswith("log"):
            return
        what = " ".join([event, *below])
        os.write(seen, (what + "\n").encode())
        if count == order.get("kill_at") or (order.get("kill_when") and order["kill_when"] in what):
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1

    sys.addaudithook(look)
    if seconds := order.get("terminate_after"):
        signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _writes(arguments: tuple[Any, ...]) -> bool:
    _, mode, flags = arguments
    return bool(mode and set(mode) & set("wax+")) or bool(flags & (os.O_WRONLY | os.O_RDWR))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2], int(sys.argv[3]))
    else:
        sys.exit(abs(ask(sys.argv[2], [Path(each) for each in sys.argv[3:]], dict(os.environ))["status"]))
