"""`ccai status`: how every ledger stands, how often two people agreed, and what is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from ccai_dagster.commands.desk import Desk
from ccai_dagster.consultation import LEDGERS
from ccai_dagster.decisions.agenda import STATES, AgendaItem
from ccai_dagster.decisions.doubles import agreements, asks_for_two, subject_name
from ccai_dagster.decisions.ledger import current
from ccai_dagster.decisions.verdicts import policies
from ccai_dagster.errors import ConsultationError
from ccai_dagster.visible import visible

SHOWN = 12
"""Subjects or findings of a kind that are listed; the rest is counted."""


def overview(desk: Desk, say: Callable[[str], None]) -> None:
    """Print the state of all ledgers; a ledger that cannot be read is told and does not hide the others."""
    say(visible(desk.consultation.file.title))
    say("")
    say(f"{'':<12}" + "".join(f"{state:>16}" for state in STATES) + f"{'policies':>10}{'rows':>7}")
    details: list[str] = []
    for kind in LEDGERS:
        try:
            items = desk.agenda(kind)
            counts = Counter(item.state for item in items)
            ledger = desk.ledger(kind)
            numbers = "".join(f"{counts[state]:>16,}" for state in STATES)
            say(f"{kind:<12}{numbers}{len(policies(ledger)):>10}{ledger.height:>7,}")
            details += _details(desk, kind, items)
        except ConsultationError as error:
            say(f"{kind:<12}  cannot be told: {error}")
    for line in details:
        say(line)


def _details(desk: Desk, kind: str, items: list[AgendaItem]) -> Iterator[str]:
    ledger = desk.ledger(kind)
    told: list[str] = []
    for state in STATES[1:]:
        subjects = [visible(" ".join(item.subject)) for item in items if item.state == state]
        if subjects:
            more = f" and {len(subjects) - SHOWN} more" if len(subjects) > SHOWN else ""
            told.append(f"{state}: {', '.join(subjects[:SHOWN])}{more}")
    if asks_for_two(ledger):
        told.append("the policy asks two people to decide every subject independently")
    for each in agreements(ledger):
        kappa = "not defined, since both always said the same" if each.kappa is None else f"{each.kappa:.2f}"
        told.append(
            f"{visible(each.roles[0])} and {visible(each.roles[1])} decided {each.subjects} independently, "
            f"{each.alike} alike ({each.observed:.0%}); Cohen's kappa {kappa}"
        )
    for choice in policies(ledger):
        told.append(f"policy {visible(choice.subject)} ({choice.decision_id}): {visible(choice.text, 200)}")
    errors = [each for each in desk.findings(kind) if each.severity == "error"]
    for found in errors[:SHOWN]:
        row = f"row {found.decision_id}" if found.decision_id else subject_name(kind, found.subject.split())
        told.append(f"STOPS THE RUN: {visible(row)}: {visible(found.message)}")
    if len(errors) > SHOWN:
        told.append(f"and {len(errors) - SHOWN} more that stop the run")
    if told:
        last = current(ledger).sort("decided_at").tail(1).to_dicts()
        when = f" (last decided {last[0]['decided_at'][:10]})" if last else ""
        yield ""
        yield f"{kind}{when}"
        yield from (f"  {line}" for line in told)
