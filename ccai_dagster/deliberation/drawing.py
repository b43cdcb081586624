"""Many draws of the same votes: one after the other, or on all cores that the process may use.

A draw is a function of its number, with random numbers of its own (`core.draws.generator`), so that neither the number
of workers nor the order in which they finish changes anything.

Belongs here: where draws are computed, how workers begin and end, how many threads numerical libraries use. Doesn't
belong here: what is drawn (`structure`, `stability`).
"""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

from ccai_dagster.core.errors import Progress, silent
from ccai_dagster.core.processes import SECONDS_BETWEEN_LOOKS, end_with

PROGRESS_EVERY = 25
"""Draws between two reports of progress."""
VOTES_FOR_THREADS = 1_000_000
"""With as many votes, workers are threads.

A redraw on two cores, beside one: with 33,306 votes two threads take 0.92 to 1.03 of the time and two processes 0.52,
with 301,111 votes 0.83 and 0.50, since most of it goes into calls that hold the lock of the interpreter. With 2,005,888
votes threads take 0.55, processes 0.50 and a copy of the votes each.
"""
VOTES_FOR_PROCESSES = 15_000_000
"""With fewer votes, of all draws together, everything stays in this process: others need a second or two to begin."""
MOST_WORKERS = 8
"""So that memory has a bound on a machine of many cores."""
THREADS_OF_OPENMP = "OMP_NUM_THREADS"
ONE_THREAD_EACH = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
"""What numerical libraries of a worker process read when they are loaded."""

Drawn = TypeVar("Drawn")


class Drawing:
    """Workers for draws, from `with` to its end; none is left behind, whatever ends it.

    Worker processes come from loky, which is part of joblib: they import this package and not the program that was
    started, and get the votes, numbers all of them, through a pipe. An error of a worker is raised here, with its own
    message. When this process is killed, its workers kill themselves within a second or two.
    """

    def __init__(self, votes: int, draws: int, progress: Progress = silent, workers: int | None = None) -> None:
        """Decide where draws are computed.

        Args:
            votes: In the matrix that each draw reads.
            draws: To expect, all calls of `each` together.
            workers: None for as many as there are cores, where that is worth it.
        """
        self._progress = progress
        self._threads = votes >= VOTES_FOR_THREADS
        if workers is None:
            worth_it = self._threads or votes * draws >= VOTES_FOR_PROCESSES
            workers = min(_cores(), MOST_WORKERS, max(draws, 1)) if worth_it else 1
        self._workers = workers
        self._pool: Executor | None = None

    def __enter__(self) -> Self:
        """Start the workers."""
        if self._workers > 1 and self._threads:
            self._pool = ThreadPoolExecutor(self._workers, initializer=_limit_threads)
        elif self._workers > 1:
            from joblib.externals.loky import ProcessPoolExecutor

            self._pool = ProcessPoolExecutor(
                self._workers, initializer=_begin, initargs=(os.getpid(),), env=ONE_THREAD_EACH
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the workers: at once, if something went wrong."""
        if isinstance(self._pool, ThreadPoolExecutor):
            self._pool.shutdown(cancel_futures=True)
        elif self._pool is not None:
            ended: Any = self._pool
            ended.shutdown(kill_workers=kind is not None)

    def each(self, draw: Callable[[int], Drawn], draws: int, message: str) -> list[Drawn]:
        """Return draw(0), draw(1) and so on, and report progress every 25 draws and at the end.

        Args:
            draw: What one draw gives; a function of a module, or `partial` of one.
            draws: How many.
            message: Of the progress.
        """
        found: list[Drawn] = []
        for part in self._parts(draw, draws):
            before = len(found) // PROGRESS_EVERY
            found += part
            if len(found) // PROGRESS_EVERY > before or len(found) == draws:
                self._progress(message, len(found), draws)
        return found

    def _parts(self, draw: Callable[[int], Drawn], draws: int) -> Iterator[list[Drawn]]:
        pool = self._pool
        if pool is None:
            yield from ([draw(number)] for number in range(draws))
            return
        # Four parts for each worker at least, so that none waits long for the last.
        length = max(1, min(PROGRESS_EVERY, draws // (4 * self._workers)))
        waiting: deque[Future[list[Drawn]]] = deque()
        for first in range(0, draws, length):
            # Few wait at a time: of more, loky stumbles over those that are left when its workers are killed.
            if len(waiting) == 2 * self._workers:
                yield _result(waiting.popleft())
            waiting.append(pool.submit(_in_turn, draw, range(first, min(first + length, draws))))
        while waiting:
            yield _result(waiting.popleft())


def _result(future: Future[Drawn]) -> Drawn:
    # A wait without end would not be interrupted: polars lets system calls go on after a signal.
    while not wait([future], SECONDS_BETWEEN_LOOKS).done:
        pass
    return future.result()


def _in_turn(draw: Callable[[int], Drawn], numbers: range) -> list[Drawn]:
    return [draw(number) for number in numbers]


def _cores() -> int:
    """How many cores this process may use, by its affinity and its container."""
    from joblib import cpu_count

    return int(cpu_count())


def _begin(starter: int) -> None:
    """Prepare a process: it ends with the one that started it, which is the one to be interrupted."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with(starter)


def _limit_threads() -> Any:
    import scipy.linalg  # noqa: F401  only libraries that are loaded can be limited
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let numerical libraries use one thread, for many small computations; works as a decorator, too.

    Grouping a thousand people takes a few hundredths of a second; sharing that among threads costs more than it
    gains, and many times more where something else runs on the same cores. It is not for a single large computation.
    scikit-learn, which takes two seconds to load, is not loaded for it; if it is loaded meanwhile, its OpenMP reads how
    many threads it may have.
    """
    before = os.environ.get(THREADS_OF_OPENMP)
    os.environ[THREADS_OF_OPENMP] = "1"
    try:
        with _limit_threads():
            yield
    finally:
        if before is None:
            os.environ.pop(THREADS_OF_OPENMP, None)
        else:
            os.environ[THREADS_OF_OPENMP] = before
