"""One thread for many small computations.

Grouping a thousand people takes a few hundredths of a second; sharing that among threads costs more than it
gains, and many times more where something else runs on the same cores. A single large computation should not use
this.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[None]:
    """Let numerical libraries use one thread; works as a decorator, too."""
    # Only libraries that are loaded can be limited.
    import scipy.linalg  # noqa: F401
    import sklearn.cluster  # noqa: F401
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield
