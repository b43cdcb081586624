"""What somebody must look at: failed runs, lapsed decisions, and what waits for a sign-off.

`ccai status` prints these lines, and the sensor `notices` sends them to a webhook. How they are sent is in `webhook`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ccai_dagster.consultation.folder import EXPORT, LEDGERS, is_address
from ccai_dagster.core.digest import SHORT
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.text import counted, printable
from ccai_dagster.open_consultation import OpenConsultation

if TYPE_CHECKING:
    import dagster as dg

SHOWN = 12
"""Decisions that one line names."""


@dataclass(frozen=True)
class Notice:
    """One line.

    Attributes:
        causes: What it tells of. It is news as long as one of them was not told.
    """

    text: str
    causes: frozenset[str]


def notices(opened: OpenConsultation, instance: dg.DagsterInstance | None) -> list[Notice]:
    """Return what stands now.

    Args:
        instance: Dagster's record; None if there is none, or nothing in it failed.
    """
    return [*(_failures(instance) if instance is not None else ()), *_of_ledgers(opened)]


def _failures(instance: dg.DagsterInstance) -> Iterator[Notice]:
    from ccai_dagster.run_failures import standing_failures

    for each in standing_failures(instance):
        yield Notice(str(each), frozenset({f"{each.tells_of} {'given up' if each.given_up else 'failed'}"}))


def _of_ledgers(opened: OpenConsultation) -> Iterator[Notice]:
    told = set()
    for kind in LEDGERS:
        try:
            if is_address(opened.consultation.votes) and opened.last_import is None:
                return  # nothing was read yet, so nothing rests on it
            yield from _signoffs(opened) if kind == "signoff" else _lapsed(opened, kind)
        except ConsultationError as error:
            text = printable(str(error))
            if text not in told:  # all ledgers rest on the same export
                told.add(text)
                yield Notice(text, frozenset({text}))


def _lapsed(opened: OpenConsultation, kind: str) -> Iterator[Notice]:
    if rows := opened.lapsed(kind):
        more = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
        text = (
            f"{counted(len(rows), 'decision')} in the {kind} ledger lapsed, since what was decided on has changed: "
            f"{printable(', '.join(rows[:SHOWN]))}{more}. `ccai review {kind}`."
        )
        yield Notice(text, frozenset(f"{row} lapsed" for row in rows))


def _signoffs(opened: OpenConsultation) -> Iterator[Notice]:
    basis = opened.basis("signoff")
    for item in opened.agenda("signoff"):
        digest = basis(item.subject)
        if item.state == "decided" or digest is None:
            continue
        name = item.subject[0]
        if name == EXPORT:
            doubts = "; ".join(opened.doubtful.doubts) if opened.doubtful else ""
            text = f"The export may not be whole ({doubts}). Get it again, or sign it off with `ccai review signoff`."
        else:
            text = f"{name}: its constitution {digest[:SHORT]} waits for a sign-off. `ccai review signoff`."
        yield Notice(text, frozenset({f"{name} {digest} waits"}))
