"""Recording a person's decision in its ledger: id, time, and the rows that must come with it.

Reading what the person wants is for the commands; what makes a row readable is for `ledger`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import polars as pl

from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.text import FORMULA, counted
from ccai_dagster.decisions.agenda import Basis, agenda, has_lapsed
from ccai_dagster.decisions.exported_moderation import differences, taken_over
from ccai_dagster.decisions.independent_decisions import Row, Subject, rows_by_subject, subject_name, subjects_of
from ccai_dagster.decisions.ledger import (
    COLUMNS,
    SEPARATE_KINDS,
    Decision,
    append_decisions,
    as_kept,
    is_decision,
    is_policy,
    ledger_table,
)
from ccai_dagster.decisions.ledger import problems as problems_of
from ccai_dagster.decisions.origins import CARRIED_OVER, TAKEN_OVER, by_person
from ccai_dagster.decisions.outcomes import decided_rows

NOTHING = ". Nothing was recorded."


@dataclass(frozen=True)
class Answer:
    """What a person decided, before it has an id and a time; the fields are those of a ledger row.

    Verbs may be typed in any case, as spreadsheets and telephones write them.
    """

    kind: str
    subject_ids: tuple[str, ...]
    outcome: str
    reason: str
    decided_by: str
    supersedes: tuple[str, ...] = ()
    policy_ref: str | None = None
    inputs_digest: str | None = None
    suggested_by: str | None = None

    def __post_init__(self) -> None:
        """Keep the outcome as ledgers do."""
        object.__setattr__(self, "outcome", as_kept(self.kind, self.outcome))


def record(
    path: Path,
    answer: Answer,
    basis: Basis,
    taken: Collection[str] = (),
    seen: Collection[str] | None = None,
    now: datetime | None = None,
) -> list[Decision]:
    """Append a decision to its ledger.

    Where it replaces a row that also decides on other subjects (in moderation and exclusion), a second row
    keeps what was decided on those, unless it has lapsed. What no person decided on its subjects it always replaces.

    Args:
        basis: What decisions on given subjects would be taken on now.
        taken: Ids of decisions in the other ledgers.
        seen: Ids of the rows that counted on these subjects when the person looked, those apart that wait for a second,
            independent decision; None to leave that out.
        now: The present by default.

    Returns:
        The rows added, the decision first.

    Raises:
        ConsultationError: A cell is empty or unsafe, the same role decided on the subject already, somebody
            else decided on it since the person looked, or a superseded row is about something else. Nothing is
            added then.
    """
    check_safe(answer)
    time = _written(now)
    return append_decisions(
        path, lambda ledger: _composed(_Rows(ledger, answer.kind, taken), answer, basis, seen, time)
    )


def record_all(
    path: Path,
    answers: Sequence[tuple[str, Answer]],
    basis: Basis,
    taken: Collection[str] = (),
    problems: Sequence[str] = (),
    seen: Collection[str] | None = None,
    now: datetime | None = None,
) -> list[Decision]:
    """Append several decisions to their ledger, as `record` does each; all of them or none.

    Args:
        answers: Each with where it stands, for messages. None of them knows of the others: where one replaces what
            another has replaced, it replaces what that left.
        problems: What is known already to be wrong, so that all is told at once.
        seen: Ids of the rows that counted on all these subjects when the answers were read, as for `record`.

    Raises:
        ConsultationError: Something is wrong with one of them; every such is told. Nothing is added then.
    """
    time = _written(now)

    def compose(ledger: pl.DataFrame) -> list[Decision]:
        rows = _Rows(ledger, path.stem, taken)
        found, known = list(problems), None if seen is None else set(seen)
        for where, answer in answers:
            try:
                check_safe(answer)
                following = replace(answer, supersedes=_left_of(answer, rows.added))
                own = _composed(rows, following, basis, known, time)
            except ConsultationError as error:
                found.append(f"{where}: {str(error).removesuffix(NOTHING)}")
                continue
            rows.add(own)
            if known is not None:
                known |= {row.decision_id for row in own}
        if found:
            raise ConsultationError(
                "\n".join([*found, f"Nothing was recorded of {counted(len(answers) + len(problems), 'row')}."])
            )
        return rows.added

    return append_decisions(path, compose)


def _left_of(answer: Answer, added: Sequence[Decision]) -> tuple[str, ...]:
    """What an answer replaces, after others were added: of a row that one of them replaced, what it left of it."""
    if not answer.supersedes:
        return ()
    standing = dict.fromkeys(answer.supersedes)
    for row in added:
        if standing.keys() & set(row.superseded) and set(row.subject_ids) & set(answer.subject_ids):
            standing[row.decision_id] = None
    replaced = {each for row in added for each in row.superseded}
    return tuple(each for each in standing if each not in replaced)


class _Rows:
    """The rows of a ledger and what is added to it: by id, and those that count by subject.

    Attributes:
        by_id: All rows.
        counting: Those that count, by id, without policies and withdrawals.
        names: Ids that none has, nor a row of another ledger.
        added: What was added, in order.
    """

    def __init__(self, ledger: pl.DataFrame, kind: str, taken: Collection[str]) -> None:
        self.by_id: dict[str, Row] = {row["decision_id"]: row for row in ledger.to_dicts()}
        self.counting: dict[str, Row] = {}
        self.names = _new_ids(kind, {*self.by_id, *taken})
        self.added: list[Decision] = []
        self._ledger = ledger
        self._on: dict[Subject, list[str]] = {}
        self._place: dict[str, int] = {}
        for row in decided_rows(ledger):
            self._count(row)

    def on(self, subjects: Iterable[Subject]) -> list[Row]:
        """Return the rows that count on any of these subjects, in the order of the ledger."""
        found = {each for subject in subjects for each in self._on.get(subject, ()) if each in self.counting}
        return [self.counting[each] for each in sorted(found, key=self._place.__getitem__)]

    def add(self, decisions: Sequence[Decision]) -> None:
        """Add rows, which count instead of those that they replace."""
        self.added += decisions
        for decision in decisions:
            row = {**vars(decision), "subject_ids": list(decision.subject_ids)}
            self.by_id[decision.decision_id] = row
            for each in decision.superseded:
                self.counting.pop(each, None)
            if is_decision(decision.outcome):
                self._count(row)

    def table(self) -> pl.DataFrame:
        """Return all as a table."""
        return pl.concat([self._ledger, ledger_table(self.added)])

    def _count(self, row: Row) -> None:
        self.counting[row["decision_id"]] = row
        self._place[row["decision_id"]] = len(self._place)
        for subject in subjects_of(row["kind"], row["outcome"], row["subject_ids"]):
            self._on.setdefault(subject, []).append(row["decision_id"])


def _composed(rows: _Rows, answer: Answer, basis: Basis, seen: Collection[str] | None, time: str) -> list[Decision]:
    """The rows that a decision adds to a ledger."""
    _check_present(rows, answer, basis, seen)
    supersedes = (*answer.supersedes, *_taken_over(answer, rows))
    replaced = [rows.by_id[each] for each in supersedes if each in rows.by_id]
    _check_superseded(answer, replaced)
    names = rows.names
    decided = Decision(
        decision_id=next(names),
        kind=answer.kind,
        subject_ids=answer.subject_ids,
        outcome=answer.outcome,
        reason=answer.reason.strip(),
        decided_by=answer.decided_by.strip(),
        decided_at=time,
        policy_ref=answer.policy_ref,
        supersedes=" ".join(supersedes) or None,
        inputs_digest=answer.inputs_digest,
        suggested_by=answer.suggested_by,
    )
    if wrong := problems_of(decided, answer.kind):
        raise ConsultationError("; ".join(wrong) + NOTHING)
    if answer.kind not in SEPARATE_KINDS:
        return [decided]
    kept = [_remainder(row, answer.subject_ids, basis) for row in replaced if row["decision_id"] in rows.counting]
    return [decided, *(replace(row, decision_id=next(names)) for row in kept if row is not None)]


def take_over(
    path: Path, raw_statements: pl.DataFrame, basis: Basis, taken: Collection[str] = (), now: datetime | None = None
) -> list[Decision]:
    """Append to the moderation ledger what the export says otherwise, a row a statement, where no person decided.

    Args:
        raw_statements: RAW_STATEMENTS of the newest export.
        basis: What decisions on given subjects would be taken on now.
        taken: Ids of decisions in the other ledgers.
        now: The present by default.

    Returns:
        The rows added: first those taken over, then those that keep what replaced rows say of other statements.

    Raises:
        ConsultationError: The ledger cannot be read. Nothing is added then.
    """
    time = _written(now)

    def compose(ledger: pl.DataFrame) -> list[Decision]:
        found = [each for each in differences(ledger, raw_statements) if not each.by_person]
        names = _new_ids("moderation", {*ledger["decision_id"], *taken})
        rows = [taken_over(each, next(names), f"whoever ran `{TAKEN_OVER}`", time, TAKEN_OVER) for each in found]
        anew = {str(each.statement_id) for each in found}
        replaced = {row["decision_id"]: row for each in found for row in each.rows}
        kept = [_remainder(row, anew, basis) for row in replaced.values()]
        return [*rows, *(replace(row, decision_id=next(names)) for row in kept if row is not None)]

    return append_decisions(path, compose)


def _written(now: datetime | None) -> str:
    return (now or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _remainder(row: Row, decided: Collection[str], basis: Basis) -> Decision | None:
    """What a replaced row decided on the subjects that are not decided anew; None if nothing is left of it."""
    rest = tuple(each for each in row["subject_ids"] if each not in decided)
    if not rest or has_lapsed(row, basis):
        return None
    cells: dict[str, Any] = {name: row[name] for name in COLUMNS}
    anew = subject_name(row["kind"], [each for each in row["subject_ids"] if each not in rest])
    return Decision(
        **cells
        | {
            "subject_ids": rest,
            "reason": f"As in {row['decision_id']}, of which only {anew} was decided anew: {row['reason']}",
            "supersedes": row["decision_id"],
            "inputs_digest": basis(rest) if row["inputs_digest"] else None,
            "suggested_by": CARRIED_OVER if by_person(row) else row["suggested_by"],
        }
    )


def _taken_over(answer: Answer, rows: _Rows) -> list[str]:
    """Ids of what no person decided on the subjects, and the answer does not name itself."""
    if not is_decision(answer.outcome):
        return []
    asked = subjects_of(answer.kind, answer.outcome, answer.subject_ids)
    return [
        row["decision_id"]
        for row in rows.on(asked)
        if not by_person(row) and row["decision_id"] not in answer.supersedes
    ]


def _check_present(rows: _Rows, answer: Answer, basis: Basis, seen: Collection[str] | None) -> None:
    policy = is_policy(answer.outcome)
    asked = [] if policy else subjects_of(answer.kind, answer.outcome, answer.subject_ids)
    own = rows_by_subject(rows.on(asked))
    now = {row["decision_id"]: row for subject in asked for row in own.get(subject, ())}
    named = subject_name(answer.kind, answer.subject_ids)
    news = set() if seen is None else {each for each in now if each not in seen}
    if news:
        # A row that waits for a second, independent one is not shown, and is no news.
        items = [item for item in agenda(answer.kind, rows.table(), (), basis) if item.subject in asked]
        news -= {row["decision_id"] for item in items if item.state == "one of two" for row in item.rows}
    if new := sorted(news):
        by = ", ".join(f"{now[each]['decided_by']} ({each})" for each in new)
        raise ConsultationError(f"{named} was decided by {by} in the meantime. Nothing was recorded; look at it again.")
    for decision_id, row in now.items():
        if decision_id not in answer.supersedes and row["decided_by"] == answer.decided_by:
            raise ConsultationError(
                f"{named} is decided by {decision_id}, in the same role ({answer.decided_by}). Nothing was recorded; "
                f"to replace it name it with --supersedes {decision_id}."
            )


def _check_superseded(answer: Answer, replaced: Sequence[Row]) -> None:
    for row in replaced:
        if not set(row["subject_ids"]) & set(answer.subject_ids):
            raise ConsultationError(
                f"{row['decision_id']} is about {subject_name(row['kind'], row['subject_ids'])} and not about "
                f"{subject_name(answer.kind, answer.subject_ids)}. Nothing was recorded; correct --supersedes."
            )


def _new_ids(kind: str, taken: set[str]) -> Iterator[str]:
    """Yield ids `kind-1`, `kind-2` ... from the first that is higher than all there are."""
    numbers = [int(found[1]) for each in taken if (found := re.fullmatch(rf"{kind}-([0-9]+)", each))]
    return (f"{kind}-{number}" for number in count(max(numbers, default=0) + 1))


def check_safe(answer: Answer) -> None:
    """Refuse cells that nobody should write: ledgers are opened in spreadsheets and printed on terminals.

    Raises:
        ConsultationError: One of them begins like a formula or holds a control character.
    """
    if found := _unsafe(answer):
        raise ConsultationError("; ".join(found) + NOTHING)


def _unsafe(answer: Answer) -> list[str]:
    cells = {
        "subject_ids": " ".join(answer.subject_ids),
        "outcome": answer.outcome,
        "reason": answer.reason,
        "decided_by": answer.decided_by,
        "policy_ref": answer.policy_ref or "",
    }
    found = [
        f"`{name}` begins like a formula ({text.strip()[:1]!r}), which spreadsheets would compute; begin with a letter"
        for name, text in cells.items()
        if FORMULA.match(text)
    ]
    return found + [
        f"`{name}` holds a control character; retype it"
        for name, text in cells.items()
        if any(unicodedata.category(each) == "Cc" and each not in "\n\t" for each in text)
    ]
