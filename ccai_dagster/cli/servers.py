"""Servers that are started together, watched together and ended together.

Every process that one of them starts inherits the variable `CCAI_UI`. So all are found and ended, through however many
processes and sessions, also those that were left by a starter that was killed.
"""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.processes import send_signal

MARK = "CCAI_UI"
SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_TO_END = 10.0
"""How long servers, and a stage that trains, may take to end by themselves."""


def attend_servers(commands: Mapping[str, Sequence[str | Path]], environment: Mapping[str, str]) -> None:
    """Run servers until this process is interrupted or one of them ends; then end all that they have started.

    Args:
        commands: By the name of the server.
        environment: All their variables; `CCAI_UI` is theirs alone.

    Raises:
        ConsultationError: A server ended by itself.
    """
    servers: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, command in commands.items():
            # In sessions of their own an interruption in a terminal reaches them once, through here.
            servers[name] = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, start_new_session=True)
        while True:
            for name, server in servers.items():
                if (status := server.poll()) is not None:
                    how = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
                    raise ConsultationError(f"{name} ended by itself ({how}), so the other servers were ended, too.")
            time.sleep(SECONDS_BETWEEN_LOOKS)
    except KeyboardInterrupt:
        return
    finally:
        # Who asks a second time would leave some of them running.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        end_marked(environment[MARK])


def end_marked(mark: str) -> bool:
    """End every process with this value of `CCAI_UI`; return whether there was one.

    They are asked to end, and killed after `SECONDS_TO_END`.
    """
    found = _marked(mark)
    send_signal(found, signal.SIGTERM)
    psutil.wait_procs(found, SECONDS_TO_END)
    while left := _marked(mark):
        send_signal(left, signal.SIGKILL)
        psutil.wait_procs(left, SECONDS_TO_END)
    return bool(found)


def _marked(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:  # it has just ended, or is another person's
            continue
    return [process for process in found if process.pid != os.getpid()]
