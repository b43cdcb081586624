"""Files that are written whole or not at all, by one process at a time.

What stands in a file belongs to whoever writes it: ledgers, prompts, ratings, comparisons.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ccai_dagster.errors import ConsultationError

LOCK_SECONDS = 30
UNFINISHED = ".unfinished"
"""End of the name of a file that is being written; one left by a killed process is removed by the next."""


@contextmanager
def written_alone(place: Path, lock: Path, outcome: str = "nothing was changed") -> Iterator[None]:
    """Let nobody else write meanwhile.

    Args:
        place: File or folder that is written, for messages.
        lock: The lock file.
        outcome: What a failure left, for messages.

    Raises:
        ConsultationError: Another process holds the lock for `LOCK_SECONDS`, or something cannot be written.
    """
    try:
        with FileLock(lock, timeout=LOCK_SECONDS):
            yield
    except Timeout as error:
        raise ConsultationError(
            f"{place}: another process has been writing for {LOCK_SECONDS} s; {outcome}. Try again."
        ) from error
    except OSError as error:
        raise ConsultationError(f"{place}: cannot be written ({error.strerror}); {outcome}.") from error


def lock_beside(path: Path) -> Path:
    """Return the lock file of a file."""
    return path.with_name(f".{path.name}.lock")


def replace_content(path: Path, content: bytes) -> None:
    """Put new content in place of a file's, whole or not at all; whoever calls this holds the file's lock."""
    for left_behind in path.parent.glob(f".{path.name}.*{UNFINISHED}"):
        left_behind.unlink(missing_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{UNFINISHED}")
    try:
        with temporary.open("wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        if path.exists():
            shutil.copymode(path, temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
