"""One decision: what a row of a ledger says, and what makes a row unreadable.

Only what can be seen in the row itself belongs here. Whether its subjects exist, whether it is superseded
and whether it still holds is for `ledger` and `checks`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from ccai_dagster.contracts import LEDGER

COLUMNS = tuple(LEDGER.fields)
"""The header of every ledger, in this order."""

POLICY = "policy"
"""Verb of a choice that is on record and applied to no row; every ledger may hold it."""

WITHDRAWN = "withdrawn"
"""Verb of a row that only takes back the rows it supersedes; every ledger may hold it."""

VERBS: Mapping[str, Mapping[str, bool]] = {
    "moderation": {"in": False, "out": True, "rewrite": True},
    "exclusion": {"exclude": False, "keep": False},
    "merge": {"merge": True, "keep apart": False},
    "wording": {"principle": True, "leave out": False},
    "idea": {"ideas": True},
    "signoff": {"signed off": False},
}
"""What can be decided in each kind of ledger, and whether a text follows the verb.

The kinds `threshold` and `training` have no verbs: their outcome is the value itself.
"""

VALUE_KINDS = frozenset({"threshold", "training"})
NUMBERED_KINDS = frozenset({"moderation", "exclusion", "merge", "wording", "idea"})
"""Kinds whose subjects are ids of statements or participants, that is whole numbers."""

SEPARATE_KINDS = frozenset({"moderation", "exclusion"})
"""Kinds whose row decides on each of its subjects for itself, so that rows can be split."""

SINGLE_SUBJECT_KINDS = frozenset({"idea", "threshold", "training", "signoff"})
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_YEAR_OR_MONTH = re.compile(r"\d{4}(-(0[1-9]|1[0-2]))?")
_NUMBER = re.compile(r"0|[1-9][0-9]*")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Decision:
    """A row of a ledger; the fields are explained in `contracts.LEDGER`."""

    decision_id: str
    kind: str
    subject_ids: tuple[str, ...]
    outcome: str
    reason: str
    decided_by: str
    decided_at: str
    policy_ref: str | None = None
    supersedes: str | None = None
    inputs_digest: str | None = None
    suggested_by: str | None = None

    @property
    def superseded(self) -> tuple[str, ...]:
        """The ids of the decisions that this one replaces."""
        return split_ids(self.supersedes)

    def cells(self) -> list[str]:
        """The row as cells of the file, in the order of the header; an optional cell may be empty."""
        values = {**self.__dict__, "subject_ids": " ".join(self.subject_ids)}
        return [values[name] or "" for name in COLUMNS]


def split_outcome(outcome: str) -> tuple[str, str]:
    """Split `verb: text` at the first colon; the text is empty where there is none."""
    verb, _, text = outcome.partition(":")
    return verb.strip(), text.strip()


def split_ids(cell: str | None) -> tuple[str, ...]:
    """Split ids separated by spaces, as in `supersedes`; none if the cell is empty."""
    return tuple((cell or "").split())


def is_policy(outcome: str) -> bool:
    """Whether this outcome is a choice on record that is applied to no row."""
    return split_outcome(outcome)[0] == POLICY


def is_decision(outcome: str) -> bool:
    """Whether this outcome decides on its subjects: it is neither a policy nor a withdrawal."""
    return split_outcome(outcome)[0] not in (POLICY, WITHDRAWN)


def effect(kind: str, outcome: str) -> str:
    """Return what an outcome brings about; two decisions agree if their effects are equal.

    The criterion after `out:` tells why and not what, so it is no part of it. Ideas are compared as a set, and
    other texts with their white space as single spaces.
    """
    if kind in VALUE_KINDS:
        try:
            return f"{float(outcome):g}"
        except ValueError:
            return outcome.strip()
    verb, text = split_outcome(outcome)
    if verb == "out":
        return verb
    if verb == "ideas":
        return "ideas: " + " | ".join(sorted({" ".join(idea.split()) for idea in text.split("|")}))
    return f"{verb}: {' '.join(text.split())}" if text else verb


def decision_from_cells(cells: Mapping[str, str]) -> Decision:
    """Make a decision of a row's cells by column name; an empty optional cell becomes None."""
    text = {name: cells[name].strip() for name in COLUMNS}
    return Decision(
        decision_id=text["decision_id"],
        kind=text["kind"],
        subject_ids=tuple(text["subject_ids"].split()),
        outcome=text["outcome"],
        reason=text["reason"],
        decided_by=text["decided_by"],
        decided_at=text["decided_at"],
        policy_ref=text["policy_ref"] or None,
        supersedes=" ".join(text["supersedes"].split()) or None,
        inputs_digest=text["inputs_digest"] or None,
        suggested_by=text["suggested_by"] or None,
    )


def problems(decision: Decision, kind: str) -> list[str]:
    """Say what is wrong with a row of the ledger of `kind`, each with its remedy; empty if nothing is."""
    found = [
        f"`{name}` is empty; every decision needs one"
        for name in ("decision_id", "outcome", "reason", "decided_by", "decided_at")
        if not getattr(decision, name).strip()
    ]
    if decision.kind != kind:
        found.append(f"`kind` is {decision.kind!r}, but this is the {kind} ledger; move the row")
    if decision.decision_id and not _ID.fullmatch(decision.decision_id):
        found.append(f"`decision_id` {decision.decision_id!r} may hold only letters, digits and `._-`")
    if decision.decided_at and not _is_date(decision.decided_at):
        found.append(f"`decided_at` {decision.decided_at!r} is no ISO 8601 date; write it as 2023-07-18")
    if decision.inputs_digest and not _DIGEST.fullmatch(decision.inputs_digest):
        found.append("`inputs_digest` is not 64 hexadecimal characters; leave it empty or give the SHA-256")
    if decision.outcome:
        found += _outcome_problems(decision, kind)
    return found + _subject_problems(decision, kind)


def _is_date(text: str) -> bool:
    """ISO 8601, down to a year or month where nobody published the day."""
    if _YEAR_OR_MONTH.fullmatch(text):
        return True
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _outcome_problems(decision: Decision, kind: str) -> list[str]:
    verb, text = split_outcome(decision.outcome)
    if verb == POLICY:
        return [] if text else ["`outcome` is `policy:` without a text; say what the policy is"]
    if verb == WITHDRAWN:
        if text:
            return [f"`outcome` `{WITHDRAWN}` takes no text; move it to `reason`"]
        return (
            []
            if decision.supersedes
            else [f"`outcome` `{WITHDRAWN}` needs the rows it takes back in `supersedes`"]
        )
    if kind in VALUE_KINDS:
        return []
    verbs = VERBS[kind]
    if verb not in verbs:
        known = ", ".join(f"`{name}{': ...' if takes_text else ''}`" for name, takes_text in verbs.items())
        return [f"`outcome` {decision.outcome!r} is unknown here; use {known} or `policy: ...`"]
    found = []
    if verbs[verb] and not text:
        found.append(f"`outcome` `{verb}` needs a text: write `{verb}: ...`")
    if not verbs[verb] and ":" in decision.outcome:
        found.append(f"`outcome` `{verb}` takes no text; move it to `reason`")
    if kind == "signoff" and not decision.inputs_digest:
        found.append("`inputs_digest` is empty; a sign-off names the digest of the constitution it is for")
    return found


def _subject_problems(decision: Decision, kind: str) -> list[str]:
    subjects = decision.subject_ids
    if not subjects:
        return ["`subject_ids` is empty; name what was decided on"]
    found = []
    if repeated := sorted({subject for subject in subjects if subjects.count(subject) > 1}):
        found.append(f"`subject_ids` names {', '.join(repeated)} more than once; name each subject once")
    if is_policy(decision.outcome):
        return found
    verb = split_outcome(decision.outcome)[0]
    if len(subjects) > 1 and (kind in SINGLE_SUBJECT_KINDS or verb == "rewrite") and verb != WITHDRAWN:
        found.append("`subject_ids` names several subjects; this kind of decision has one row a subject")
    if len(subjects) < 2 and verb == "keep apart":
        found.append("`subject_ids` names one statement; name all that are kept apart")
    bad = [subject for subject in subjects if not _NUMBER.fullmatch(subject)]
    if kind in NUMBERED_KINDS and bad:
        found.append(f"`subject_ids` {', '.join(map(repr, bad))}: an id is a whole number, as in the votes")
    return found
