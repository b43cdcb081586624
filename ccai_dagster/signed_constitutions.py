"""The constitution that was last signed, word for word, and what has changed since.

A ledger keeps the digest of what was signed; the text is kept below `CCAI_HOME` when somebody signs. Signed before
that was done, it is found as long as a table of the last run still has it.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from ccai_dagster.constitution.principles import constitution_digest
from ccai_dagster.core.files import read_table, table_content, write_file
from ccai_dagster.core.text import natural
from ccai_dagster.decisions.independent_decisions import Row
from ccai_dagster.decisions.ledger import is_decision
from ccai_dagster.open_consultation import OpenConsultation


@dataclass(frozen=True)
class SinceSigned:
    """What differs from the constitution that was last signed.

    Attributes:
        signed: The row of the ledger.
        entered: Principles that are new, by id.
        left: Principles that are gone, by id.
        changed: Principles that are worded otherwise, by id: the text signed and the text now.
    """

    signed: Row
    entered: dict[str, str]
    left: dict[str, str]
    changed: dict[str, tuple[str, str]]

    @property
    def nothing(self) -> bool:
        """Whether the principles are those that were signed."""
        return not (self.entered or self.left or self.changed)


def keep_signed(opened: OpenConsultation, arm: str) -> None:
    """Keep the text of an arm's constitution, which somebody is about to sign.

    Raises:
        ConsultationError: It cannot be written.
    """
    constitution = opened.constitution(arm)
    if constitution is not None:
        path = opened.home.signed / f"{constitution_digest(constitution)}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, table_content(constitution))


def last_signed(opened: OpenConsultation, arm: str) -> Row | None:
    """Return the latest row that signs an arm's constitution, whether it still counts or not."""
    rows = opened.ledger("signoff").to_dicts()
    own = [row for row in rows if is_decision(row["outcome"]) and row["subject_ids"] == [arm]]
    return own[-1] if own else None


def since_signed(opened: OpenConsultation, arm: str) -> SinceSigned | None:
    """Compare an arm's constitution with the one that was last signed.

    Returns:
        None where nobody has signed one, none is made, or the text that was signed is nowhere any more.
    """
    row, now = last_signed(opened, arm), opened.constitution(arm)
    before = None if row is None else _signed_text(opened, arm, row["inputs_digest"])
    if row is None or before is None or now is None:
        return None
    old, new = (dict(each.select("principle_id", "text").iter_rows()) for each in (before, now))
    ids = sorted(old.keys() | new.keys(), key=natural)
    return SinceSigned(
        signed=row,
        entered={each: new[each] for each in ids if each not in old},
        left={each: old[each] for each in ids if each not in new},
        changed={
            each: (old[each], new[each]) for each in ids if each in old and each in new and old[each] != new[each]
        },
    )


def _signed_text(opened: OpenConsultation, arm: str, digest: str) -> pl.DataFrame | None:
    kept = read_table(opened.home.signed / f"{digest}.parquet")
    others = (opened.table(arm, "signed_constitution"), opened.constitution(arm)) if kept is None else (kept,)
    return next((each for each in others if each is not None and constitution_digest(each) == digest), None)
