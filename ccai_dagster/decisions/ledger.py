"""Ledgers: what a row may say, which rows replace which, and the file they stand in.

Ledgers are append only. A correction is a new row that supersedes earlier ones; those stay in the file and no longer
count. Several rows may be replaced by one: a resolving row replaces the decisions of two people, a merge two smaller
ones. One row may be replaced by several only where it decides on each of its subjects for itself, and no two of these
name the same subject.

Only what can be seen in the ledger itself belongs here; whether its subjects exist and a decision still holds is for
`checks`.
"""

from __future__ import annotations

import csv
import functools
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from graphlib import CycleError, TopologicalSorter
from itertools import combinations
from pathlib import Path

import polars as pl

from ccai_dagster.contracts import LEDGER
from ccai_dagster.core.digest import table_digest
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.files import lock_beside, write_file, written_alone

COLUMNS = tuple(LEDGER.fields)
"""The header of every ledger, in this order."""

POLICY = "policy"
"""Verb of a choice that is on record and applied to no row; every ledger may hold it."""

WITHDRAWN = "withdrawn"
"""Verb of a row that only takes back the rows it supersedes; every ledger may hold it."""

AMENDED = "amended"
"""Verb of a row that says why rows on record, which are its subjects, were changed or removed; every ledger may hold
it."""

AVOID = "avoid"
"""Verb of a principle that says what to avoid, worded from statements that every group rejects."""

VERBS: Mapping[str, Mapping[str, bool]] = {
    "moderation": {"in": False, "out": True, "rewrite": True, "metadata": False},
    "exclusion": {"exclude": False, "keep": False},
    "merge": {"merge": True, "keep apart": False},
    "wording": {"principle": True, AVOID: True, "leave out": False},
    "idea": {"ideas": True},
    "signoff": {"signed off": False},
}
"""What can be decided in each kind of ledger, and whether a text follows the verb.

The kinds `threshold` and `training` have no verbs: their outcome is the value itself.
"""

LET_IN = ("in", "rewrite")
"""Verbs of moderation by which a statement is in. `out` takes it out; `metadata` sets it apart, as one about the people
who vote and not about the subject."""

VALUE_KINDS = frozenset({"threshold", "training"})
NUMBERED_KINDS = frozenset({"moderation", "exclusion", "merge", "wording", "idea"})
"""Kinds whose subjects are ids of statements or participants, that is whole numbers."""

SEPARATE_KINDS = frozenset({"moderation", "exclusion"})
"""Kinds whose row decides on each of its subjects for itself, so that rows can be split."""

SINGLE_SUBJECT_KINDS = frozenset({"idea", "threshold", "training", "signoff"})

SHOWN = 10
"""Problems shown at once; the rest is counted."""

LIKE_A_VERB = 0.75
"""Likeness (`difflib`, 0 to 1) from which on what stands before a colon is taken for a mistyped verb."""

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


def as_kept(kind: str, outcome: str) -> str:
    """Return what a person typed as ledgers keep it: a verb of this kind in lower case, everything else as it is.

    A sentence among wordings is a principle. What looks like a verb, of any kind or mistyped, is left to be refused.
    """
    typed = outcome.strip()
    verb, colon, text = typed.partition(":")
    lower = verb.strip().lower()
    known = {*VERBS.get(kind, ()), POLICY, WITHDRAWN, AMENDED}
    if lower in known:
        return f"{lower}{colon}{text}"
    verbs = known.union(*VERBS.values())
    if kind == "wording" and " " in typed and not get_close_matches(lower, verbs, n=1, cutoff=LIKE_A_VERB):
        return f"principle: {typed}"
    return typed


def split_ids(cell: str | None) -> tuple[str, ...]:
    """Split ids separated by spaces, as in `supersedes`; none if the cell is empty."""
    return tuple((cell or "").split())


def is_policy(outcome: str) -> bool:
    """Whether this outcome is a choice on record that is applied to no row."""
    return split_outcome(outcome)[0] == POLICY


def is_decision(outcome: str) -> bool:
    """Whether this outcome decides on its subjects: it is no policy or withdrawal, and not about other rows."""
    return split_outcome(outcome)[0] not in (POLICY, WITHDRAWN, AMENDED)


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
        found += outcome_problems(kind, decision.outcome, bool(decision.supersedes), bool(decision.inputs_digest))
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


def outcome_problems(kind: str, outcome: str, supersedes: bool, digested: bool) -> list[str]:
    """Say what is wrong with an outcome of the ledger of `kind`, each with its remedy; empty if nothing is.

    Args:
        supersedes: Whether its row replaces others.
        digested: Whether its row names the digest of what was decided on.
    """
    verb, text = split_outcome(outcome)
    if verb == POLICY:
        return [] if text else ["`outcome` is `policy:` without a text; say what the policy is"]
    if verb in (WITHDRAWN, AMENDED):
        if text:
            return [f"`outcome` `{verb}` takes no text; move it to `reason`"]
        return (
            []
            if verb == AMENDED or supersedes
            else [f"`outcome` `{WITHDRAWN}` needs the rows it takes back in `supersedes`"]
        )
    if kind in VALUE_KINDS:
        return []
    verbs = VERBS[kind]
    if verb not in verbs:
        known = ", ".join(f"`{name}{': ...' if takes_text else ''}`" for name, takes_text in verbs.items())
        return [f"`outcome` {outcome!r} is unknown here; use {known} or `policy: ...`"]
    found = []
    if verbs[verb] and not text:
        found.append(f"`outcome` `{verb}` needs a text: write `{verb}: ...`")
    if not verbs[verb] and ":" in outcome:
        found.append(f"`outcome` `{verb}` takes no text; move it to `reason`")
    if kind == "signoff" and not digested:
        found.append("`inputs_digest` is empty; a sign-off names the digest of the constitution it is for")
    return found


def _subject_problems(decision: Decision, kind: str) -> list[str]:
    subjects = decision.subject_ids
    if not subjects:
        return ["`subject_ids` is empty; name what was decided on"]
    found = []
    if len(set(subjects)) < len(subjects):
        repeated = sorted(subject for subject, times in Counter(subjects).items() if times > 1)
        found.append(f"`subject_ids` names {', '.join(repeated)} more than once; name each subject once")
    verb = split_outcome(decision.outcome)[0]
    if verb in (POLICY, AMENDED):
        return found
    if len(subjects) > 1 and (kind in SINGLE_SUBJECT_KINDS or verb == "rewrite") and verb != WITHDRAWN:
        found.append("`subject_ids` names several subjects; this kind of decision has one row a subject")
    if len(subjects) < 2 and verb == "keep apart":
        found.append("`subject_ids` names one statement; name all that are kept apart")
    bad = [subject for subject in subjects if not _NUMBER.fullmatch(subject)]
    if kind in NUMBERED_KINDS and bad:
        found.append(f"`subject_ids` {', '.join(map(repr, bad))}: an id is a whole number, as in the votes")
    return found


def chain_roots(
    kind: str, earlier: Mapping[str, Sequence[str]], subjects: Mapping[str, Iterable[str]]
) -> dict[str, str]:
    """Return the rows that no other row replaces, each with the first row of its chain.

    Where a row replaces several, the chain goes on with the one it names first.

    Args:
        earlier: For every row the rows it replaces, by id.
        subjects: The subjects of every row, by id.

    Raises:
        ConsultationError: A row replaces an unknown one, two rows replace the same one, or rows replace each
            other in a circle. The message is the same for any order of rows.
    """
    later: dict[str, list[str]] = {}
    for decision_id in sorted(earlier):
        for replaced in earlier[decision_id]:
            if replaced not in earlier:
                raise ConsultationError(
                    f"{kind} ledger, decision {decision_id}: supersedes {replaced}, which is not in this ledger; "
                    "correct the id."
                )
            later.setdefault(replaced, []).append(decision_id)
    try:
        TopologicalSorter({each: sorted(earlier[each]) for each in sorted(earlier) if earlier[each]}).prepare()
    except CycleError as error:
        circle = ", ".join(sorted(set(error.args[1])))
        raise ConsultationError(
            f"{kind} ledger: {circle} supersede each other in a circle; empty `supersedes` in the row that was "
            "decided first."
        ) from None
    for replaced, rows in later.items():
        for one, other in combinations(rows, 2):
            if kind not in SEPARATE_KINDS or set(subjects[one]) & set(subjects[other]):
                raise ConsultationError(
                    f"{kind} ledger: {one} and {other} both supersede {replaced}; let the later one supersede "
                    "the other instead."
                )
    return {last: _root(last, earlier) for last in earlier if last not in later}


def replaced_rows(decision_id: str, earlier: Mapping[str, Sequence[str]]) -> list[str]:
    """Return every row that a row replaces, directly or through others, the nearest first, each once."""
    found: dict[str, None] = {}
    waiting = list(earlier[decision_id])
    while waiting:
        each = waiting.pop(0)
        if each not in found:
            found[each] = None
            waiting += earlier[each]
    return list(found)


def _root(decision_id: str, earlier: Mapping[str, Sequence[str]]) -> str:
    while earlier[decision_id]:
        decision_id = earlier[decision_id][0]
    return decision_id


def read_ledger(path: Path, kind: str) -> pl.DataFrame:
    """Read a ledger and check every row by itself.

    Args:
        path: A CSV file in UTF-8 with the header of `contracts.LEDGER`, in that order.

    Returns:
        All rows in file order, superseded ones included, as contract `LEDGER`.

    Raises:
        ConsultationError: The file is missing, not UTF-8, has another header, or a row is malformed. Names
            the file, the row (the header being row 1, as in a spreadsheet) and the remedy.
    """
    path = path.resolve()
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ConsultationError(f"{path}: not found; an empty ledger still needs its header.") from error
    except OSError as error:
        raise ConsultationError(f"{path}: cannot be read ({error.strerror}).") from error
    return _table(content, path, kind)


@functools.lru_cache(maxsize=16)
def _table(content: bytes, path: Path, kind: str) -> pl.DataFrame:
    """The table of a ledger's bytes, which are read each time; in one run several assets read the same ones."""
    return ledger_table(_parse(content, path, kind))


def ledger_table(decisions: Iterable[Decision]) -> pl.DataFrame:
    """Make a table (contract `LEDGER`) of decisions, in the order given."""
    return LEDGER.build([{**vars(each), "subject_ids": list(each.subject_ids)} for each in decisions])


def current(ledger: pl.DataFrame) -> pl.DataFrame:
    """Return the rows that no other row supersedes.

    Returns:
        The rows that count, policies and withdrawals included, in the order given, with one more column:
        `root_id`, the id of the first decision of the chain that each row ends.

    Raises:
        ConsultationError: Two rows have the same id, or the chains are broken: see `chain_roots`.
    """
    if ledger["supersedes"].null_count() == ledger.height == ledger["decision_id"].n_unique():
        return ledger.with_columns(root_id="decision_id")  # as below, where nothing was replaced yet
    kind = ledger["kind"][0] if ledger.height else ""
    earlier: dict[str, tuple[str, ...]] = {}
    for decision_id, supersedes in ledger.select("decision_id", "supersedes").iter_rows():
        if decision_id in earlier:
            raise ConsultationError(f"{kind} ledger: `decision_id` {decision_id} stands twice; give one row a new id.")
        earlier[decision_id] = split_ids(supersedes)
    subjects = dict(ledger.select("decision_id", "subject_ids").iter_rows())
    roots = chain_roots(kind, earlier, subjects)
    rows = ledger.filter(pl.col("decision_id").is_in(list(roots)))
    return rows.with_columns(pl.Series("root_id", [roots[each] for each in rows["decision_id"]], dtype=pl.String))


def ledger_digest(ledger: pl.DataFrame) -> str:
    """Return the digest of a ledger's rows, independent of their order."""
    return table_digest(ledger.select(COLUMNS).sort("decision_id"))


def write_ledger(path: Path, decisions: Iterable[Decision]) -> None:
    """Write a new ledger with these rows.

    Raises:
        ConsultationError: The file exists (a ledger is never overwritten) or a row is malformed.
    """
    content = _line(COLUMNS) + "".join(_line(decision.cells()) for decision in decisions)
    _parse(content.encode(), path, path.stem)
    try:
        with path.open("x", encoding="utf-8", newline="") as handle:
            handle.write(content)
    except FileExistsError as error:
        raise ConsultationError(f"{path}: exists already; add rows to it instead.") from error


def append_decision(path: Path, row: Decision) -> None:
    """Add one row to a ledger, as `append_decisions` does."""
    append_decisions(path, lambda ledger: [row])


def append_decisions(path: Path, compose: Callable[[pl.DataFrame], Sequence[Decision]]) -> list[Decision]:
    """Add rows to a ledger, all of them or none; what stands there already is kept byte for byte.

    Several processes may add at once: a lock file beside the ledger (`.<name>.lock`) lets one at a time
    in. The new content is written under a temporary name and then renamed, so that a reader sees either
    the old ledger or the new one, and a process that is killed leaves one of the two.

    Args:
        path: The ledger `<kind>.csv`, which must exist.
        compose: Is given the ledger as it is now, and returns the rows to add. Nobody else writes meanwhile.

    Returns:
        The rows added.

    Raises:
        ConsultationError: The ledger or a row is malformed, an id is taken, or what a row supersedes is
            unknown or superseded already. The ledger is then unchanged.
    """
    path = path.resolve()
    kind = path.stem
    if not path.is_file():
        raise ConsultationError(f"{path}: not found; an empty ledger still needs its header.")
    with written_alone(path, lock_beside(path), "nothing was added"):
        old = path.read_bytes()
        rows = list(compose(ledger_table(_parse(old, path, kind))))
        separator = b"" if old.endswith(b"\n") else b"\n"
        new = old + separator + "".join(_line(row.cells()) for row in rows).encode()
        current(ledger_table(_parse(new, path, kind)))
        write_file(path, new)
        return rows


def _parse(content: bytes, path: Path, kind: str) -> list[Decision]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = content[: error.start].count(b"\n") + 1
        raise ConsultationError(f"{path}, line {row}: not UTF-8; save the file as UTF-8.") from error
    lines = _rows(text, path)
    if not lines or tuple(cell.strip() for cell in lines[0]) != COLUMNS:
        raise ConsultationError(f"{path}, row 1: the header must be exactly {','.join(COLUMNS)}")
    found: list[str] = []
    decisions: list[Decision] = []
    numbers: dict[str, list[int]] = {}
    for number, cells in enumerate(lines[1:], start=2):
        if not cells:
            continue
        if len(cells) != len(COLUMNS):
            found.append(
                f"row {number}: {len(cells)} cells instead of {len(COLUMNS)}; fill in the missing ones, or "
                "put a cell that contains commas in double quotes"
            )
            continue
        decision = decision_from_cells(dict(zip(COLUMNS, cells, strict=True)))
        found += [f"row {number}: {problem}" for problem in problems(decision, kind)]
        decisions.append(decision)
        numbers.setdefault(decision.decision_id, []).append(number)
    found += [
        f"rows {' and '.join(map(str, rows))}: `decision_id` {decision_id} is the same; remove the copy, or give "
        "each row its own id"
        for decision_id, rows in numbers.items()
        if len(rows) > 1 and decision_id
    ]
    if found:
        more = [f"and {len(found) - SHOWN} more problems"] if len(found) > SHOWN else []
        raise ConsultationError("\n".join(f"{path}, {problem}." for problem in found[:SHOWN] + more))
    return decisions


def _rows(text: str, path: Path) -> list[list[str]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    lines: list[list[str]] = []
    try:
        for line in reader:
            lines.append(line)
    except csv.Error as error:
        raise ConsultationError(
            f"{path}, row {len(lines) + 1}: not readable as CSV ({error}); close the quotes in this row, or complete "
            "it from a copy if the file was cut off."
        ) from error
    return lines


def _line(cells: Iterable[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()
