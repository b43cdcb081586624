"""Pictures that an asset and a report show of the same tables: a process draws each of them once.

They are kept in memory only. What is shown is drawn of a table that this process has read and checked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable

import polars as pl

from ccai_dagster.pages.pictures.style import Picture

KEPT = 64
"""Pictures of some 20 kB each; a run has about thirty."""
_kept: dict[tuple[Hashable, ...], Picture] = {}


def once(draw: Callable[..., Picture], *of: pl.DataFrame | str | float | None) -> Picture:
    """Return what `draw` makes of tables and values; it is not called again for the same content.

    Args:
        draw: A function of a module that returns the same picture for the same content.
        of: Its arguments.
    """
    known = (draw, *(_content(each) if isinstance(each, pl.DataFrame) else each for each in of))
    if known not in _kept:
        picture = draw(*of)
        if len(_kept) >= KEPT:
            del _kept[next(iter(_kept))]
        _kept[known] = picture
    return _kept[known]


def _content(table: pl.DataFrame) -> tuple[str, str]:
    """Columns and rows of a table, faster than by the digest that its data version is: millions of votes are shown."""
    return str(table.schema), hashlib.sha256(table.hash_rows().to_numpy().tobytes()).hexdigest()
