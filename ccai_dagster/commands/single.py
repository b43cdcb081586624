"""`ccai decide`: one decision without a conversation."""

from __future__ import annotations

from collections.abc import Callable

from ccai_dagster.commands.clerk import SIGNED, enter, outcome_of
from ccai_dagster.commands.desk import Desk
from ccai_dagster.decisions.decision import is_decision
from ccai_dagster.decisions.recording import Answer
from ccai_dagster.errors import ConsultationError


def decide_one(desk: Desk, answer: Answer, digest: str | None, say: Callable[[str], None]) -> None:
    """Record one decision and say under which id.

    Args:
        desk: The consultation.
        answer: What was decided.
        digest: For a sign-off, the digest of the constitution the person read, or its beginning.
        say: Prints a line.

    Raises:
        ConsultationError: The decision cannot be recorded; nothing was changed.
    """
    if answer.kind == "signoff" and is_decision(answer.outcome):
        _check_digest(desk, answer.subject_ids, digest)
    elif digest is not None:
        raise ConsultationError("--digest belongs to a sign-off; every other digest is computed.")
    for line in outcome_of(desk, enter(desk, answer)):
        say(line)


def _check_digest(desk: Desk, arms: tuple[str, ...], digest: str | None) -> None:
    present = desk.basis("signoff")(arms) if len(arms) == 1 else None
    if present is None:
        return  # `enter` says why nothing can be signed
    if digest is None or len(digest) < SIGNED or not present.startswith(digest):
        given = f"not {digest}" if digest else "and no --digest was given"
        raise ConsultationError(
            f"The constitution {arms[0]} has the digest {present}, {given}. Nothing was signed. Read it (`ccai review "
            f"signoff`), then sign with --digest {present[:SIGNED]}."
        )
