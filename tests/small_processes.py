"""The programs of the project as processes that can be killed, on the sample with the tiny model.

The command is forked from a process that has imported all and opened nothing, so that a kill costs no start. Dagster's
daemon starts as it does for everybody, with the code location `daemon_location`.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import daemon_location
import psutil
import warm_stages as warm
from conftest import REPOSITORY

from ccai_dagster.cli import servers
from ccai_dagster.consultation.folder import read_consultation
from ccai_dagster.core.home import Home
from ccai_dagster.core.processes import heed_signals
from ccai_dagster.run import run

SECONDS_TO_END = 30.0


def serve_stages(address: Path) -> None:
    """Start the process in which stages run; it ends with this one."""
    serve = [sys.executable, "-W", "ignore", warm.__file__, "serve", str(address), str(os.getpid())]
    subprocess.run(serve, env=with_paths(), check=True)


def run_command(town: Path, root: Path, address: Path, chosen: str | None = None) -> int:
    """Do what `ccai run` does, with the stages in the warm process; return its exit status."""
    heed_signals()
    os.environ["CCAI_HOME"] = str(root)
    daemon_location.hasten(str(address))
    outcome = run(read_consultation(town), root, lambda line: print(line, flush=True), chosen)
    print(*outcome.failed, sep="\n", flush=True)
    return 1 if outcome.failed else 0


def daemon_environment(town: Path, root: Path, address: Path) -> dict[str, str]:
    """The variables with which `ccai ui` starts servers, and those of `daemon_location`."""
    dagster = Home(root, read_consultation(town).name).dagster
    return with_paths() | {
        "PYTHONUNBUFFERED": "1",
        "DAGSTER_HOME": str(dagster),
        servers.MARK: str(dagster),
        "CCAI_HOME": str(root),
        "CCAI_CONSULTATION": str(town),
        daemon_location.WARM: str(address),
    }


@contextmanager
def daemon_of(
    town: Path, root: Path, address: Path, log: Path, trains: bool
) -> Iterator[tuple[psutil.Process, Iterator[str]]]:
    """Start Dagster's daemon; give it and what it and its family print. In the end it is asked to end."""
    environment = daemon_environment(town, root, address) | ({daemon_location.TRAINS: "1"} if trains else {})
    program = [Path(sys.executable).parent / "dagster-daemon", "run", "-m", "daemon_location", "-a", "defs"]
    with log.open("ab") as written, log.open("rb") as reading:
        reading.seek(0, os.SEEK_END)
        streams = {"stdin": subprocess.DEVNULL, "stdout": written, "stderr": written}
        process = subprocess.Popen(program, env=environment, start_new_session=True, **streams)
        try:
            yield psutil.Process(process.pid), tailed(reading)
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(SECONDS_TO_END)
            process.kill()
            process.wait()


@contextmanager
def forked(work: Callable[[], int]) -> Iterator[tuple[int, Iterator[str]]]:
    """Do something in a fork; give its id and what it prints."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reading)
        os.dup2(writing, 1)
        os.dup2(writing, 2)
        status = 1
        try:
            status = work()
        finally:
            sys.stdout.flush()
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        yield pid, lines_of(pipe, pid)


def lines_of(pipe: Any, pid: int) -> Iterator[str]:
    """Lines until the process has ended, empty ones while it says nothing.

    What it started may keep the pipe open for longer.
    """
    rest = b""
    while True:
        # Looked at first, so that what it printed last is read.
        ended = psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        if not select.select([pipe], [], [], 0.1)[0]:
            if ended:
                return
            yield ""
            continue
        if not (read := pipe.read(1 << 16)):
            return
        *whole, rest = (rest + read).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace")


def tailed(file: IO[bytes]) -> Iterator[str]:
    """Lines that are written to a file, empty ones while there is none."""
    rest = b""
    while True:
        if not (read := file.read()):
            time.sleep(0.1)
            yield ""
        *whole, rest = (rest + read).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace")


def in_fork(work: Callable[[], Any]) -> Any:
    """Do something in a fork, so that this process opens nothing; None if it failed."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reading)
        try:
            with os.fdopen(writing, "w") as pipe:
                json.dump(work(), pipe)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    _, status = os.waitpid(pid, 0)
    return json.loads(text) if status == 0 else None


def with_paths() -> dict[str, str]:
    """This process's environment, in which another one finds the same modules."""
    return {**os.environ, "PYTHONPATH": ":".join([str(REPOSITORY), *sys.path])}


def started_for(root: Path) -> list[tuple[int, list[str]]]:
    """Processes whose results would go into a home, each with its command."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("CCAI_HOME") == str(root) and process.status() != psutil.STATUS_ZOMBIE:
                found.append((process.pid, process.cmdline()))
    return found
