"""How a process that starts others, and those it starts, begin and end: no child outlives the one that started it.

Belongs here: processes and signals. What is run, and for whom, is no matter here; little is imported, because every
process that is started or ended by signals imports this first.
"""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import psutil

T = TypeVar("T")
STARTER = "CCAI_STARTER"
"""Variable with the id of the process that started a stage, through however many launchers."""
SECONDS_TO_END = 5.0
"""How long a child may take to end by itself after it was interrupted."""
SECONDS_BETWEEN_LOOKS = 1.0


def apart(work: Callable[..., T], *given: Any) -> T:
    """Return what a function of a module returns, called in a process of its own: what it imports is gone with that.

    An interruption waits for its end.
    """
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(1, get_context("spawn"), signal.signal, (signal.SIGINT, signal.SIG_IGN)) as process:
        return process.submit(work, *given).result()


def attend(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a command to its end and return its exit status, negative if a signal ended it.

    The command has a session of its own, so that whatever processes it starts can be ended together, and an
    interruption in a terminal reaches it once, through here. If this call is interrupted (a cancelled run, a
    signal), all of them are: first asked to end, then killed.

    Args:
        command: Program and arguments.
        environment: All its variables.
    """
    process = subprocess.Popen(command, env={**environment, STARTER: str(os.getpid())}, start_new_session=True)
    try:
        # A wait without end would not be interrupted: polars lets system calls go on after a signal.
        while True:
            with suppress(subprocess.TimeoutExpired):
                return process.wait(SECONDS_BETWEEN_LOOKS)
    finally:
        end(process)


def heed_signals() -> None:
    """Let SIGINT, SIGTERM and SIGHUP interrupt this process, however it was started.

    What a script starts in its background inherits a SIGINT that is ignored; and Dagster gives SIGTERM whatever
    SIGINT has, so that nothing short of SIGKILL would end a run. Who ignores SIGHUP (`nohup`) means it.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.default_int_handler)


def end_with(starter: int | None) -> None:
    """Kill this process when its parent or the process in `starter` is gone, whatever killed those.

    Otherwise a stage whose Dagster was killed would go on unseen, and write beside the one that takes its place.

    Args:
        starter: Process id; `None` watches the parent only.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent and (starter is None or _runs(starter)):
            time.sleep(SECONDS_BETWEEN_LOOKS)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="end with the starter", daemon=True).start()


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started, if it still runs: first ask, then kill."""
    if process.poll() is not None:
        return
    first = psutil.Process(process.pid)
    family = [first, *first.children(recursive=True)]
    try:
        send_signal(family, signal.SIGINT)
        psutil.wait_procs(family, SECONDS_TO_END)
    finally:
        send_signal(family, signal.SIGKILL)
        process.wait()


def send_signal(family: Sequence[psutil.Process], number: int) -> None:
    """Send a signal to processes, some of which may have ended meanwhile."""
    for each in family:
        with suppress(psutil.NoSuchProcess):
            each.send_signal(number)


def _runs(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
