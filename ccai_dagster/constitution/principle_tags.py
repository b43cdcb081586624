"""People's tags of principles: a word or two for what each is about, as the authors of the paper gave them.

Huang et al. (2024, section 4.2) counted the overlap of two constitutions by such tags. Only the file is read here;
counting belongs to `overlap`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import polars as pl

from ccai_dagster.errors import ConsultationError

COLUMNS = ("arm", "principle_id", "tags")
Tags = Mapping[str, Mapping[str, tuple[str, ...]]]
"""By arm and principle."""


def read_principle_tags(path: Path, arms: Collection[str]) -> dict[str, dict[str, tuple[str, ...]]]:
    """Read who tagged which principle how.

    Args:
        path: CSV with the columns `arm,principle_id,tags`; tags separated by spaces, one word each. Principles that
            are not in a constitution at the moment may have tags, and not every principle needs them.

    Returns:
        Tags by arm and principle, each tag once, sorted.

    Raises:
        ConsultationError: Unreadable, other columns, an unknown arm, a principle twice or without tags; names the row.
    """
    try:
        table = pl.read_csv(path, infer_schema=False)
    except (OSError, UnicodeDecodeError, pl.exceptions.PolarsError) as error:
        raise ConsultationError(f"{path}: not readable as CSV in UTF-8 ({error}).") from error
    if tuple(table.columns) != COLUMNS:
        raise ConsultationError(
            f"{path}: columns are {', '.join(table.columns)}; they must be {', '.join(COLUMNS)}."
        )
    tags: dict[str, dict[str, tuple[str, ...]]] = {}
    for number, row in enumerate(table.iter_rows(named=True), start=1):
        arm, key, own = ((row[name] or "").strip() for name in COLUMNS)
        if arm not in arms:
            raise ConsultationError(
                f"{path}, data row {number}: there is no arm {arm!r}; there are {', '.join(arms)}."
            )
        if not key or not own:
            raise ConsultationError(f"{path}, data row {number}: principle_id or tags is empty. Fill it in.")
        if key in tags.setdefault(arm, {}):
            raise ConsultationError(
                f"{path}, data row {number}: {arm}/{key} stands twice. Put its tags in one row."
            )
        tags[arm][key] = tuple(sorted(set(own.split())))
    return tags
