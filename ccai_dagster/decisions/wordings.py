"""From statements to principles: what the merge and wording ledgers decide, and what each rests on.

Whether the texts are still those the decisions were taken on is for `checks`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from ccai_dagster.decisions.decision import split_outcome
from ccai_dagster.decisions.doubles import decisive_rows
from ccai_dagster.decisions.verdicts import decided_rows
from ccai_dagster.digest import text_digest
from ccai_dagster.errors import ConsultationError


@dataclass(frozen=True)
class Merge:
    """Several statements that say the same, and the one text that stands for them."""

    decision_id: str
    statement_ids: tuple[int, ...]
    text: str
    inputs_digest: str | None


@dataclass(frozen=True)
class Wording:
    """What became of one or more statements: a principle, or left out by a person.

    Attributes:
        principle_id: Id of the first decision of the chain; stays the same when the wording is corrected.
        decision_id: Id of the decision that counts.
        statement_ids: The statements behind it, in the order of the ledger.
        text: The principle, or None where the statements were left out.
        inputs_digest: Digest of the text it was worded from, as the ledger has it.
    """

    principle_id: str
    decision_id: str
    statement_ids: tuple[int, ...]
    text: str | None
    inputs_digest: str | None


@dataclass(frozen=True)
class WordingSource:
    """The text a principle is worded from, and the merge it comes from, if any."""

    text: str
    merge_id: str | None

    @property
    def digest(self) -> str:
        """What the wording's `inputs_digest` should be."""
        return text_digest(self.text)


def merges(ledger: pl.DataFrame) -> tuple[Merge, ...]:
    """Return the merges that count, in ledger order.

    Raises:
        ConsultationError: Two of them are for exactly the same statements and contradict each other.
    """
    return tuple(
        Merge(row["decision_id"], _ids(row), split_outcome(row["outcome"])[1], row["inputs_digest"])
        for row in decisive_rows(decided_rows(ledger)).values()
        if split_outcome(row["outcome"])[0] == "merge"
    )


def wordings(ledger: pl.DataFrame) -> tuple[Wording, ...]:
    """Return the wordings that count, in ledger order.

    Raises:
        ConsultationError: Two of them are for exactly the same statements and contradict each other.
    """
    return tuple(
        Wording(
            principle_id=row["root_id"],
            decision_id=row["decision_id"],
            statement_ids=_ids(row),
            text=split_outcome(row["outcome"])[1] or None,
            inputs_digest=row["inputs_digest"],
        )
        for row in decisive_rows(decided_rows(ledger)).values()
    )


def wording_source(wording: Wording, merged: Sequence[Merge], texts: Mapping[int, str]) -> WordingSource:
    """Return the text a principle is worded from.

    It is the merged text where a merge has exactly these statements, else the text of the one statement.

    Args:
        texts: Text of every statement that is in, after rewrites, by id.

    Raises:
        ConsultationError: Several statements without a merge of exactly these, or the statement is not in.
    """
    wanted = frozenset(wording.statement_ids)
    for merge in merged:
        if frozenset(merge.statement_ids) == wanted:
            return WordingSource(merge.text, merge.decision_id)
    names = " ".join(map(str, wording.statement_ids))
    if len(wanted) > 1:
        raise ConsultationError(
            f"wording ledger, decision {wording.decision_id}: statements {names} are not merged; add a row "
            "with exactly these subjects to the merge ledger."
        )
    if wording.statement_ids[0] not in texts:
        raise ConsultationError(
            f"wording ledger, decision {wording.decision_id}: statement {names} does not exist or was "
            "moderated out; supersede the row."
        )
    return WordingSource(texts[wording.statement_ids[0]], None)


def _ids(row: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(int(subject) for subject in row["subject_ids"])
