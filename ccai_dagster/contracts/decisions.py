"""What people decided: every ledger has these columns."""

from __future__ import annotations

import polars as pl

from ccai_dagster.contracts.schema import (
    IDS,
    Field,
    contract,
)

LEDGER = contract(
    "ledger",
    ("decision_id",),
    decision_id=Field(pl.String, "unique id of the decision in its consultation"),
    kind=Field(pl.String, "which kind of decision"),
    subject_ids=Field(IDS, "what was decided on"),
    outcome=Field(pl.String, "the decision, as `verb` or `verb: text`"),
    reason=Field(pl.String, "why, in the words of whoever decided"),
    policy_ref=Field(pl.String, "the rule it follows, if any", nullable=True),
    decided_by=Field(pl.String, "role of whoever decided"),
    decided_at=Field(pl.String, "ISO 8601 date or time"),
    supersedes=Field(
        pl.String, "the earlier decisions that this one replaces, separated by spaces", nullable=True
    ),
    inputs_digest=Field(pl.String, "digest of what the decision was taken on", nullable=True),
    suggested_by=Field(pl.String, "what proposed it, if not a person", nullable=True),
)
