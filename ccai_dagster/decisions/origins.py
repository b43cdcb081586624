"""Where rows of ledgers come from: a person, a draft that a person accepted, or a command that decided nothing.

What `ccai new` and `ccai take-over` take over from an export, or a folder begins with, stands until a person decides:
then it no longer counts, and it is never one of two independent decisions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from ccai_dagster.decisions.ledger import VALUE_KINDS

STARTING = "ccai new"
"""`suggested_by` of what a new folder starts with: moderation of the export, and values."""
TAKEN_OVER = "ccai take-over"
"""`suggested_by` of moderation that was taken over from a later export."""
CARRIED_OVER = "carried over by ccai"
"""`suggested_by` of a row that keeps what a replaced row decided on other subjects."""
SAME_WORDS = "shared-words search, version 1"
SAME_MEANING = "sentence model search, version 1"
DRAFT = "wording template, version 1"
ODD_VOTES = "voting-pattern search, version 1"
"""`suggested_by` of what each search and the template put forward."""

ORIGINS = (
    "taken over from the export",
    "starting values",
    "kept of rows replaced in part",
    "drafts accepted",
    "decided by people",
)


def by_person(row: Mapping[str, Any]) -> bool:
    """Whether a person decided this row of a ledger, or accepted it."""
    return row["suggested_by"] not in (STARTING, TAKEN_OVER)


def origin(row: Mapping[str, Any]) -> str:
    """Return which of `ORIGINS` a row has; what a search only put forward was decided by people."""
    if not by_person(row):
        return ORIGINS[1] if row["kind"] in VALUE_KINDS else ORIGINS[0]
    if row["suggested_by"] == CARRIED_OVER:
        return ORIGINS[2]
    return ORIGINS[4] if row["suggested_by"] in (None, SAME_WORDS, SAME_MEANING, ODD_VOTES) else ORIGINS[3]


def origins_told(ledgers: Iterable[pl.DataFrame]) -> str:
    """Count all rows, replaced ones included: `180 taken over from the export, 10 decided by people`."""
    return ", ".join(f"{count:,} {each}" for each, count in counted_origins(ledgers).items()) or "none"


def counted_origins(ledgers: Iterable[pl.DataFrame]) -> dict[str, int]:
    """Count all rows by where they come from, replaced ones included, in the order of ORIGINS."""
    counts = Counter(origin(row) for ledger in ledgers for row in ledger.iter_rows(named=True))
    return {each: counts[each] for each in ORIGINS if counts[each]}
