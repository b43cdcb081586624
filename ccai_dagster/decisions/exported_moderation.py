"""What the export says of each statement's moderation, and where the moderation ledger says otherwise.

The platform goes on: moderators reject a statement that was in, let in one that waited, mark one as metadata. What was
taken over from an earlier export then no longer says what its source does, and can be taken over again. What a person
decided here stays; it is only told that the export says otherwise. An export in which nobody moderated anything, or
that does not mark metadata, says nothing of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from ccai_dagster.consultation.folder import ModerationMode
from ccai_dagster.core.digest import text_digest
from ccai_dagster.core.language import gettext
from ccai_dagster.core.text import counted
from ccai_dagster.decisions.independent_decisions import Row, rows_by_subject
from ccai_dagster.decisions.ledger import LET_IN, WITHDRAWN, Decision, current, split_outcome
from ccai_dagster.decisions.origins import by_person
from ccai_dagster.decisions.outcomes import decided_rows
from ccai_dagster.deliberation.importing.moderation_mode import METADATA, exported_moderation, moderation_evidence

REASON = "taken over from the export; the reasons were not exported"
UNDECIDED = "undecided"


@dataclass(frozen=True)
class Difference:
    """A statement on which the export says otherwise than the ledger.

    Attributes:
        text: As its author typed it.
        outcome: What the export's moderation comes to as an outcome; None if nobody moderated it there.
        rows: What counts on it in the ledger; none if nobody decided.
    """

    statement_id: int
    text: str
    outcome: str | None
    rows: tuple[Row, ...]

    @property
    def by_person(self) -> bool:
        """Whether a person decided on it, so that it is told and not taken over."""
        return any(by_person(row) for row in self.rows)

    @property
    def exported(self) -> str:
        """What the export says, in a word."""
        return UNDECIDED if self.outcome is None else split_outcome(self.outcome)[0]

    @property
    def recorded(self) -> str:
        """What the ledger says, in a word."""
        return split_outcome(self.rows[0]["outcome"])[0] if self.rows else UNDECIDED

    @property
    def sentence(self) -> str:
        """What the export says, as the end of a sentence."""
        if self.exported == METADATA:
            return gettext("the export marks it as metadata, a statement about the people who vote")
        return gettext("the export now says %(what)s", what=self.exported)


def exported_outcome(moderated: int, is_meta: bool | None) -> str | None:
    """Return what an export's moderation of a statement comes to; None if nobody moderated it.

    See `exported_moderation`.
    """
    said = exported_moderation(moderated, is_meta)
    return "out: moderated out in Polis" if said == "out" else said


def differences(ledger: pl.DataFrame, raw_statements: pl.DataFrame) -> list[Difference]:
    """Return where the export says otherwise than the moderation ledger, by statement id.

    Args:
        raw_statements: RAW_STATEMENTS of the newest export.

    Returns:
        Every statement on which nobody decided and that the export moderates, or on which what was taken over is no
        longer what the export says; and those on which a person decided otherwise than the export says, unless it said
        so already when it was taken over.

    Raises:
        ConsultationError: The ledger's chains are broken.
    """
    moderated = raw_statements.filter((pl.col("moderated") != 0) | pl.col("is_meta").fill_null(False))
    if moderated.is_empty():
        return []
    counting = current(ledger).to_dicts()
    own = rows_by_subject(decided_rows(ledger))
    taken_back = [row for row in counting if split_outcome(row["outcome"])[0] == WITHDRAWN and by_person(row)]
    withdrawn = rows_by_subject(taken_back)
    ever_taken = rows_by_subject(row for row in ledger.to_dicts() if not by_person(row))
    found = []
    for raw in raw_statements.sort("statement_id").iter_rows(named=True):
        outcome, subject = exported_outcome(raw["moderated"], raw["is_meta"]), (str(raw["statement_id"]),)
        rows = own.get(subject) or withdrawn.get(subject, [])
        if any(by_person(row) for row in rows):
            # A ledger that never took anything over does not follow the export.
            earlier = ever_taken.get(subject, [])
            told = bool(ever_taken) and outcome is not None and not _alike([*rows, *earlier], outcome, raw["is_meta"])
        else:
            told = not _alike(rows, outcome, raw["is_meta"]) if rows else outcome is not None
        if told:
            found.append(Difference(raw["statement_id"], raw["text"], outcome, tuple(rows)))
    return found


def _alike(rows: Sequence[Row], outcome: str | None, is_meta: bool | None) -> bool:
    """Whether one of these rows has the effect that the export's moderation has."""
    exported = UNDECIDED if outcome is None else split_outcome(outcome)[0]
    verbs = {split_outcome(row["outcome"])[0] for row in rows}
    if METADATA in verbs and is_meta is None and exported != "out":
        return True
    return exported in verbs or (exported == "in" and not verbs.isdisjoint(LET_IN))


def contradicted_mode(
    ledger: pl.DataFrame,
    raw_statements: pl.DataFrame,
    raw_votes: pl.DataFrame,
    mode: ModerationMode,
    stated: ModerationMode | None = None,
) -> str | None:
    """Say that the export tells another mode of moderation than the one that is set, and what that does; else None.

    The mode only matters for statements that neither the export nor the ledger moderates: None if there are none.

    Args:
        raw_votes: RAW_VOTES of the newest export. Where only counts by group are there, it has no rows, and nobody is
            contradicted by them: whoever counted may have left out what was not shown.
        stated: The mode that the export states, see `stated_mode`; it counts more than what votes tell.

    Raises:
        ConsultationError: The ledger's chains are broken.
    """
    evidence = moderation_evidence(raw_statements, raw_votes)
    told = stated or (None if raw_votes.is_empty() else evidence.mode)
    if told in (None, mode):
        return None
    decided = {int(subject) for row in decided_rows(ledger) for subject in row["subject_ids"]}
    waiting = set(raw_statements.filter(pl.col("moderated") == 0)["statement_id"]) - decided
    if not waiting:
        return None
    votes = int(raw_votes["statement_id"].is_in(list(waiting)).sum())
    number = counted(len(waiting), "statement")
    effect = (
        f"{number} with {counted(votes, 'vote')} {'is' if len(waiting) == 1 else 'are'} left out"
        if mode == "strict"
        else f"{number} {'comes' if len(waiting) == 1 else 'come'} in that hardly anybody was shown"
    )
    why = f"the export states that it is {told}" if stated else f"the votes tell that it was {told}"
    return (
        f"moderation is {mode}, but {why}. {evidence.sentence()}. As it is set, "
        f"{effect}. If that is not meant, write `moderation: {told}` in consultation.yaml"
    )


def taken_over(difference: Difference, decision_id: str, decided_by: str, decided_at: str, origin: str) -> Decision:
    """Return the row that takes over what the export says of a statement.

    Args:
        origin: Its `suggested_by`, which says that no person decided it.
    """
    outcome = difference.outcome or WITHDRAWN
    return Decision(
        decision_id=decision_id,
        kind="moderation",
        subject_ids=(str(difference.statement_id),),
        outcome=outcome,
        reason=REASON,
        decided_by=decided_by,
        decided_at=decided_at,
        supersedes=" ".join(row["decision_id"] for row in difference.rows) or None,
        inputs_digest=None if outcome == WITHDRAWN else text_digest(difference.text),
        suggested_by=origin,
    )
