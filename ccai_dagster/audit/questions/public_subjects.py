"""Answers about statements and principles: their row of the decision trail, from the tables as they stand.

Belongs here: choosing tables and runs. Doesn't belong here: sentences, which `story` makes.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from ccai_dagster.audit.questions.evidence import Evidence, Explanation
from ccai_dagster.audit.trail import decision_trail

DELIBERATED = (
    "raw_statements", "statements", "votes", "opinion_groups", "gac_scores", "consensus_stability",
    "selected_statements",
)  # fmt: skip
JUDGED = ("principle_id", "probability_a")
KEPT = ("arm", "constitution_arm", "principle_id", "prompt_id", "probability")


def trail_of(subjects: Sequence[str], evidence: Evidence) -> list[dict[str, object]]:
    """Return the rows of the decision trail for these subjects, `statement:ID` or `principle:ARM/ID`.

    Training need not have happened: labels and adherence are then not told.

    Raises:
        ConsultationError: The constitution was not made yet, or a table is damaged.
    """
    pairs = {arm: evidence.table_if_made(f"{arm}/preference_pairs", JUDGED) for arm in evidence.arms}
    adherence = {model: evidence.table_if_made(f"{model}/adherence", KEPT) for model in evidence.models}
    return decision_trail(
        raw_statements=evidence.table("raw_statements"),
        statements=evidence.table("statements"),
        gac_scores=evidence.table("gac_scores"),
        consensus_stability=evidence.table("consensus_stability"),
        selected_statements=evidence.table("selected_statements"),
        constitutions={arm: evidence.table(f"{arm}/constitution") for arm in evidence.arms},
        ledgers=evidence.ledgers,
        preference_pairs=_made(pairs),
        adherence=_made(adherence),
        only=subjects,
    ).to_dicts()


def answer_statement(statement_id: int, evidence: Evidence) -> Explanation:
    """Tell a statement's way from submission to constitution."""
    (row,) = trail_of([f"statement:{statement_id}"], evidence)
    keys = [*DELIBERATED, *(f"{arm}/constitution" for arm in evidence.arms)]
    return _answer(row, keys, evidence)


def answer_principle(arm: str, principle_id: str, evidence: Evidence) -> Explanation:
    """Tell where a principle comes from and what was done with it."""
    (row,) = trail_of([f"principle:{arm}/{principle_id}"], evidence)
    names = ("constitution", "signed_constitution", "revisions", "preference_pairs", "preference_model", "policy",
             "adherence")  # fmt: skip
    keys = [*(DELIBERATED[1:] if row["statement_ids"] else ()), *(f"{arm}/{name}" for name in names)]
    return _answer(row, [*keys, "base/adherence"], evidence)


def _answer(row: dict[str, object], keys: Sequence[str], evidence: Evidence) -> Explanation:
    facts = {name: value for name, value in row.items() if name not in ("subject", "text", "story")}
    ids = row["decision_ids"]
    assert isinstance(ids, list) and isinstance(row["story"], list)  # noqa: S101 - contract DECISION_TRAIL
    return Explanation(
        subject=str(row["subject"]),
        text=str(row["text"]),
        story=row["story"],
        facts=facts,
        decisions=[evidence.records.by_id[key] for key in ids],
        seen=evidence.seen(keys),
        notes=evidence.notes(keys),
    )


def _made(tables: dict[str, pl.DataFrame | None]) -> dict[str, pl.DataFrame]:
    return {name: table for name, table in tables.items() if table is not None}
