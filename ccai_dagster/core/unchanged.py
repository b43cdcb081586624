"""What was read, kept by this process for as long as its source is as it was.

Belongs here: telling that files are as they were without reading them. What is read is known to who asks. Evidence is
read anew each time and does not come through here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

SECONDS_TO_SETTLE = 2.0
"""Age from which a file's times tell every later change; two changes within their resolution look the same."""

Read = TypeVar("Read")
State: TypeAlias = tuple[tuple[Any, ...], ...]
"""What is equal only as long as nothing was changed."""
_kept: dict[tuple[Callable[[Path], Any], Path], tuple[State, Any]] = {}


def while_unchanged(read: Callable[[Path], Read], place: Path, files: Iterable[Path]) -> Read:
    """Return what `read` makes of a place, and call it again only when one of its files has changed.

    Args:
        read: A function of a module, not one that is made anew for each call.
        files: What it reads, and the folders that it lists.
    """
    return while_same(read, place, files_state(files))


def while_same(read: Callable[[Path], Read], place: Path, state: State | None) -> Read:
    """Return what `read` makes of a place, and call it again only when the state is another, or cannot be told."""
    if state is None:
        return read(place)
    known = _kept.get((read, place))
    if known is not None and known[0] == state:
        found: Read = known[1]
        return found
    found = read(place)
    _kept[read, place] = (state, found)
    return found


def files_state(files: Iterable[Path]) -> State | None:
    """Return place, size and times of each; None if one is missing, or changed so lately that they may not tell.

    A time of change (`st_ctime`) cannot be set back as that of the content can.
    """
    settled = (time.time() - SECONDS_TO_SETTLE) * 1e9
    try:
        found = [(path, path.stat()) for path in files]
    except OSError:
        return None
    if any(max(now.st_mtime_ns, now.st_ctime_ns) > settled for _, now in found):
        return None
    return tuple((str(path), now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns) for path, now in found)
