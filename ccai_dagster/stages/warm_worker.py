"""A process that has imported what stages need, and runs each of them in a fork of itself.

A fresh interpreter imports torch and what is built on it for five to ten seconds, which for a small model is longer
than many a stage. A fork has its own memory and dies alone. Used where no accelerator is: one that a process has seen
cannot be used by its forks, and loading a model that needs one takes longer than importing anyway. Which libraries a
stage imports, it says itself (`Stage.libraries`).
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import socket
import struct
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ccai_dagster.core import processes

ACCELERATORS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg", "/dev/dri", "/dev/accel")
"""Where Linux shows a GPU or another accelerator of any maker."""
_NUMBER = struct.Struct("!i")


class WarmWorker:
    """This end of such a process, which ends with this one.

    Args:
        environment: Variables that libraries read when they are imported.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._connection, other = socket.socketpair()
        with other:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", __name__, str(other.fileno())],
                env=environment,
                pass_fds=[other.fileno()],
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it takes requests."""
        return self._process.poll() is None

    def attend(self, request: Path, libraries: Sequence[str], environment: Mapping[str, str]) -> int:
        """Run a stage to its end and return its exit status, negative if a signal ended it.

        If this call is interrupted (a cancelled run, a signal), the stage and the process are ended: first asked
        to, then killed.

        Args:
            request: Its file.
            libraries: Modules to import before, which later stages need not import again.
            environment: All variables of the stage.
        """
        variables = {**environment, processes.STARTER: str(os.getpid())}
        order = json.dumps([str(request), list(libraries), variables]).encode()
        status = None
        try:
            with suppress(BrokenPipeError, ConnectionResetError):
                socket.send_fds(self._connection, [_NUMBER.pack(len(order))], [1, 2])
                self._connection.sendall(order)
            # A wait without end would not be interrupted: polars lets system calls go on after a signal.
            self._connection.settimeout(processes.SECONDS_BETWEEN_LOOKS)
            while status is None:
                with suppress(TimeoutError):
                    answer = self._connection.recv(_NUMBER.size)
                    status = _NUMBER.unpack(answer)[0] if answer else self._process.wait()
            return int(status)
        finally:
            self._connection.settimeout(None)
            if status is None:
                processes.end(self._process)


def serve(connection: socket.socket) -> None:
    """Run each request in a fork and answer with its exit status, until the other end is closed."""
    while order := _received(connection):
        (request, libraries, environment), outputs = order
        import_libraries(libraries)
        child = os.fork()
        if not child:
            connection.close()
            _run(Path(request), environment, outputs)
        for each in outputs:
            os.close(each)
        _, status = os.waitpid(child, 0)
        connection.sendall(_NUMBER.pack(os.waitstatus_to_exitcode(status)))


def import_libraries(names: Sequence[str]) -> None:
    """Import what a fork would import each time; what cannot be imported is left to the fork, which says why."""
    if all(each in sys.modules for each in names):
        return
    for name in names:
        with suppress(Exception):
            importlib.import_module(name)
    # What is imported stays: a child need not look through it for what it can free, nor copy its pages.
    gc.collect()
    gc.freeze()


def _received(connection: socket.socket) -> tuple[list, list[int]] | None:  # type: ignore[type-arg]
    head, outputs, _, _ = socket.recv_fds(connection, _NUMBER.size, 2)
    if not head:
        return None
    (size,) = _NUMBER.unpack(head)
    return json.loads(connection.recv(size, socket.MSG_WAITALL)), outputs


def _run(request: Path, environment: Mapping[str, str], outputs: Sequence[int]) -> None:
    from ccai_dagster.stages import worker

    status = 1
    try:
        for own, standard in zip(outputs, (1, 2), strict=True):
            os.dup2(own, standard)
        os.environ.clear()
        os.environ.update(environment)
        status = worker.main(request)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as this_end, suppress(BrokenPipeError):
        serve(this_end)
