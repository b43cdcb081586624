"""What the public wrote and voted, as imported."""

from __future__ import annotations

import polars as pl

from ccai_dagster.contracts.schema import (
    PARTICIPANT_ID,
    STATEMENT_ID,
    TIME,
    VOTE,
    Check,
    Field,
    contract,
    count,
    one_of,
)

RAW_STATEMENTS = contract(
    "raw_statements",
    ("statement_id",),
    statement_id=STATEMENT_ID,
    author_id=Field(pl.Int64, "participant who wrote it", nullable=True),
    created_at=Field(TIME, "when it was submitted", nullable=True),
    moderated=Field(
        pl.Int8,
        "moderation in the export: 1 in, -1 out, 0 never moderated",
        checks=(Check.isin([-1, 0, 1]),),
    ),
    is_seed=Field(
        pl.Boolean, "written by the organisers before it opened, if the export tells", nullable=True
    ),
    is_meta=Field(
        pl.Boolean, "about the conversation itself and not its subject, if the export tells", nullable=True
    ),
    text=Field(pl.String, "the statement as its author typed it (untrusted)"),
)
RAW_VOTES = contract(
    "raw_votes",
    ("participant_id", "statement_id"),
    participant_id=PARTICIPANT_ID,
    statement_id=STATEMENT_ID,
    vote=VOTE,
    voted_at=Field(TIME, "when the vote that counts was cast", nullable=True),
    times_voted=Field(pl.Int32, "votes cast by this participant on this statement; the last counts"),
)
RAW_PARTICIPANTS = contract(
    "raw_participants",
    ("participant_id",),
    participant_id=PARTICIPANT_ID,
    n_votes=count("statements voted on, counted from the votes"),
    polis_group=Field(pl.Int64, "the opinion group Polis itself assigned, if exported", nullable=True),
)
IMPORT_REPORT = contract(
    "import_report",
    ("item",),
    item=Field(pl.String, "what was counted or found"),
    kind=one_of(
        "found as it is, repaired while importing, or unknown from the export alone",
        "found",
        "repaired",
        "unknown",
    ),
    count=Field(pl.Int64, "how many", nullable=True),
    explanation=Field(pl.String, "what it means and what was done about it"),
)
