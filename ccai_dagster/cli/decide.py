"""`ccai decide`, `ccai take-over`, `ccai status`: rows, checked before they are written, and how ledgers stand."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import polars as pl

from ccai_dagster.audit.ledger_record import amendments, check_rows
from ccai_dagster.checked_decisions import check_signed_digest, confirmation, record_decision
from ccai_dagster.cli.options import LONGEST
from ccai_dagster.consultation.folder import LEDGERS
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.home import pages_in
from ccai_dagster.core.text import printable
from ccai_dagster.decisions.agenda import STATES, AgendaItem
from ccai_dagster.decisions.exported_moderation import Difference
from ccai_dagster.decisions.group_checks import check_group_sizes, check_reachable, check_structure, reachable
from ccai_dagster.decisions.independent_decisions import agreements, asks_for_two, subject_name
from ccai_dagster.decisions.ledger import current, is_decision, split_outcome
from ccai_dagster.decisions.origins import TAKEN_OVER, origins_told
from ccai_dagster.decisions.outcomes import policies
from ccai_dagster.decisions.recording import Answer, take_over
from ccai_dagster.decisions.values import thresholds
from ccai_dagster.deliberation.structure import verdict
from ccai_dagster.open_consultation import OpenConsultation

SHOWN = 12
"""Subjects or findings of a kind that the status lists; the rest is counted."""
STOPS = "STOPS THE RUN"
"""What a line of the status begins with that is put right before anything is computed."""


def decide_one(opened: OpenConsultation, answer: Answer, digest: str | None, say: Callable[[str], None]) -> None:
    """Record one decision and say under which id.

    Args:
        digest: For a sign-off, the digest of the constitution the person read, or its beginning.

    Raises:
        ConsultationError: The decision cannot be recorded; nothing was changed.
    """
    if answer.kind == "signoff" and is_decision(answer.outcome):
        check_signed_digest(opened, answer.subject_ids, digest)
    elif digest is not None:
        raise ConsultationError("--digest belongs to a sign-off; every other digest is computed.")
    for line in confirmation(opened, record_decision(opened, answer)):
        say(line)


def take_over_moderation(opened: OpenConsultation, say: Callable[[str], None]) -> None:
    """Take over what the newest export says of moderation where no person decided, and tell of it.

    Raises:
        ConsultationError: The ledger or the export cannot be read; nothing was changed.
    """
    path = opened.consultation.ledger("moderation")
    raw = opened.imported.raw_statements
    rows = take_over(path, raw, opened.basis("moderation"), opened.taken("moderation"))
    taken = Counter(split_outcome(row.outcome)[0] for row in rows if row.suggested_by == TAKEN_OVER)
    told = ", ".join(f"{n:,} {verb}" for verb, n in sorted(taken.items()))
    say(f"Recorded {len(rows):,} rows in {path}: {told}." if rows else "Nothing to take over; nothing was recorded.")
    for line in _exported(opened.moderated_otherwise(), opened.consultation.folder):
        say(line)


def _exported(found: Sequence[Difference], folder: Path) -> Iterator[str]:
    """Where the export says otherwise than the ledger: what can be taken over, and what people decided."""
    kinds: dict[tuple[bool, str], list[str]] = {}
    for each in found:
        subject = f"{each.statement_id} (ledger: {each.recorded})"
        kinds.setdefault((each.by_person, each.sentence), []).append(subject)
    for (by_person, sentence), subjects in sorted(kinds.items()):
        more = f" and {len(subjects) - SHOWN} more" if len(subjects) > SHOWN else ""
        stands = "; a person decided, which stands" if by_person else ""
        yield f"{sentence}: {', '.join(subjects[:SHOWN])}{more}{stands}"
    if any(not by_person for by_person, _ in kinds):
        named = shlex.quote(str(folder))
        yield (
            f"take that over with `ccai take-over {named}`, or decide with `ccai review moderation "
            f"--consultation {named}`"
        )


def show_status(opened: OpenConsultation, say: Callable[[str], None]) -> None:
    """Print the state of all ledgers; a ledger that cannot be read does not hide the others."""
    say(printable(opened.consultation.file.title))
    say("")
    say(f"{'':<12}" + "".join(f"{state:>16}" for state in STATES) + f"{'policies':>10}{'rows':>7}")
    details: list[str] = []
    ledgers: list[pl.DataFrame] = []
    unread = False
    for kind in LEDGERS:
        try:
            items = opened.agenda(kind)
            counts = Counter(item.state for item in items)
            ledger = opened.ledger(kind)
            ledgers.append(ledger)
            numbers = "".join(f"{counts[state]:>16,}" for state in STATES)
            say(f"{kind:<12}{numbers}{len(policies(ledger)):>10}{ledger.height:>7,}")
            details += _details(opened, kind, items)
        except ConsultationError as error:
            say(f"{kind:<12}  cannot be told: {error}")
            unread = True
    say("")
    say(f"Rows: {origins_told(ledgers)}")
    for line in details:
        say(line)
    say("")
    for name, path in pages_in(opened.home.report).items():
        say(f"{name:<18}{path}")
    stopped = unread or any(STOPS in line for line in details)
    for line in _notices(opened, "What stops the run stands above." if stopped else ""):
        say(line)


def _of_this_kind(opened: OpenConsultation, kind: str) -> list[str]:
    """What only one kind of ledger has."""
    if kind == "moderation":
        contradicted = opened.contradicted_mode()
        told = [f"WARNING: {contradicted}"] if contradicted else []
        return [*told, *_exported(opened.moderated_otherwise(), opened.consultation.folder)]
    return _groups_of_the_last_run(opened) if kind == "threshold" else []


def _groups_of_the_last_run(opened: OpenConsultation) -> list[str]:
    """What the values decided come to with the groups of the last run."""
    groups, tested = opened.table("opinion_groups"), opened.table("group_structure")
    if groups is None or tested is None:
        return []
    settled = thresholds(opened.ledger("threshold"), opened.consultation.file.seed)
    found = [*check_structure(tested, settled), *check_group_sizes(groups), *check_reachable(settled, groups)]
    told = [reachable(settled, groups), *(each.message for each in found)]
    return [f"in the last run: {each}" for each in dict.fromkeys([f"the votes show {verdict(tested)}", *told]) if each]


def _details(opened: OpenConsultation, kind: str, items: list[AgendaItem]) -> Iterator[str]:
    ledger = opened.ledger(kind)
    lines: list[str] = []
    for state in STATES[1:]:
        subjects = [printable(" ".join(item.subject)) for item in items if item.state == state]
        if subjects:
            more = f" and {len(subjects) - SHOWN} more" if len(subjects) > SHOWN else ""
            lines.append(f"{state}: {', '.join(subjects[:SHOWN])}{more}")
    if asks_for_two(ledger):
        lines.append("the policy asks two people to decide every subject independently")
    lines += [printable(each.sentence) for each in agreements(ledger)]
    lines += _of_this_kind(opened, kind)
    for choice in policies(ledger):
        lines.append(f"policy {printable(choice.subject)} ({choice.decision_id}): {printable(choice.text, 200)}")
    if opened.manifest:
        lines += [printable(each) for each in amendments(opened.manifest, kind, ledger)]
    try:
        check_rows(opened.manifest, opened.consultation.ledger(kind), ledger)
    except ConsultationError as error:
        lines.append(f"{STOPS}: {printable(str(error), LONGEST)}")
    errors = [each for each in opened.findings(kind) if each.severity == "error"]
    for found in errors[:SHOWN]:
        row = f"row {found.decision_id}" if found.decision_id else subject_name(found.ledger, found.subject.split())
        lines.append(f"{STOPS}: {printable(row)}: {printable(found.message)}")
    if len(errors) > SHOWN:
        lines.append(f"and {len(errors) - SHOWN} more that stop the run")
    if lines:
        last = current(ledger).sort("decided_at").tail(1).to_dicts()
        when = f" (last decided {last[0]['decided_at'][:10]})" if last else ""
        yield ""
        yield f"{kind}{when}"
        yield from (f"  {line}" for line in lines)


def _notices(opened: OpenConsultation, above: str) -> Iterator[str]:
    """What somebody must look at, as it is sent to the webhook, and whether it could be.

    Args:
        opened: The consultation.
        above: What is said in place of that there is nothing, if there is more to look at.
    """
    from ccai_dagster.notices import notices
    from ccai_dagster.webhook import undelivered
    from resources.record_files import all_ended_well

    try:
        if all_ended_well(opened.home.dagster):
            found = notices(opened, None)
        else:
            from resources.instance import storage_errors
            from resources.record import known_record
            from resources.run_owners import unfinished

            with storage_errors(opened.home.dagster):
                instance = known_record(opened.home)
                found = notices(opened, instance)
                yield from unfinished(instance) if instance is not None else ()
        nothing = "Nothing failed, lapsed or waits for a sign-off."
    except ConsultationError as error:
        yield f"Failed runs cannot be told: {printable(str(error))}"
        found, nothing = notices(opened, None), "Nothing lapsed or waits for a sign-off."
    yield "To be looked at:" if found else above or nothing
    yield from (f"  {printable(each.text)}" for each in found)
    if problem := undelivered(opened.home.notices):
        yield problem
