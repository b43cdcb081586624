"""A limit of time for the whole of something that is waited for piece by piece."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def ended_after(seconds: float, end: Callable[[], object]) -> Iterator[None]:
    """Call `end` in another thread if the block still runs after this long; closing a client ends what it waits for.

    A client's own limit is for each byte, so that a server which sends one now and then is waited for without end.
    """
    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
