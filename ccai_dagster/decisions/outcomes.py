"""What the ledgers decide on statements, participants and principles, as values that methods take.

Every function takes a whole ledger and leaves out superseded rows. Whether subjects exist and texts are still those
that decisions were taken on is for `checks`; numeric and named decisions are in `values`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from ccai_dagster.core.digest import text_digest
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.decisions.independent_decisions import (
    Row,
    Subject,
    asks_for_two,
    decisive_rows,
    disagreeing,
    rows_by_subject,
    second_opinions,
)
from ccai_dagster.decisions.ledger import (
    AVOID,
    LET_IN,
    POLICY,
    current,
    is_decision,
    is_policy,
    split_ids,
    split_outcome,
)
from ccai_dagster.decisions.origins import by_person
from ccai_dagster.deliberation.votes import ModerationVerdict, Side


@dataclass(frozen=True)
class PolicyChoice:
    """A choice on record that is applied to no row."""

    decision_id: str
    kind: str
    subject: str
    text: str
    reason: str


@dataclass(frozen=True)
class Ideas:
    """The distinct ideas of one statement, and the decision that split it into them."""

    ideas: tuple[str, ...]
    decision_id: str


def moderation_verdicts(ledger: pl.DataFrame) -> dict[int, ModerationVerdict]:
    """Return what moderation decided on each statement, by id and in its order.

    Raises:
        ConsultationError: Rows that count contradict each other.
    """
    found = {}
    for (subject,), row in decisive(ledger).items():
        verb, text = split_outcome(row["outcome"])
        found[int(subject)] = ModerationVerdict(
            included=verb in LET_IN,
            text=text if verb == "rewrite" else None,
            decision_ids=(row["decision_id"],),
            criterion=text if verb == "out" else None,
            metadata=verb == "metadata",
        )
    return dict(sorted(found.items()))


def exclusions(ledger: pl.DataFrame) -> dict[int, str]:
    """Return the decision that excluded each excluded participant, by participant id and in its order.

    Raises:
        ConsultationError: Rows that count contradict each other.
    """
    found = {
        int(subject): row["decision_id"]
        for (subject,), row in decisive(ledger).items()
        if split_outcome(row["outcome"])[0] == "exclude"
    }
    return dict(sorted(found.items()))


def statement_ideas(ledger: pl.DataFrame) -> dict[int, Ideas]:
    """Return the distinct ideas of every statement that somebody has split, by statement id and in its order.

    Ideas are separated by `|` in the ledger; equal text is the same idea.

    Raises:
        ConsultationError: Rows that count contradict each other, or an idea is empty.
    """
    found = {}
    for (subject,), row in decisive(ledger).items():
        ideas = [idea.strip() for idea in split_outcome(row["outcome"])[1].split("|")]
        if not all(ideas):
            raise ConsultationError(
                f"idea ledger, decision {row['decision_id']}: empty idea; write `ideas: first | second`."
            )
        found[int(subject)] = Ideas(tuple(dict.fromkeys(ideas)), row["decision_id"])
    return dict(sorted(found.items()))


def policies(ledger: pl.DataFrame) -> tuple[PolicyChoice, ...]:
    """Return the choices on record that are applied to no row, in ledger order, one a subject."""
    return tuple(
        PolicyChoice(row["decision_id"], row["kind"], subject, split_outcome(row["outcome"])[1], row["reason"])
        for row in current(ledger).iter_rows(named=True)
        if split_outcome(row["outcome"])[0] == POLICY
        for subject in row["subject_ids"]
    )


def signoffs(ledger: pl.DataFrame) -> dict[str, str]:
    """Return the constitution digest that each arm is signed off for, by arm.

    Raises:
        ConsultationError: Rows that count contradict each other.
    """
    return {arm: row["inputs_digest"] for (arm,), row in sorted(decisive(ledger).items(), key=lambda each: each[0])}


def decided_rows(ledger: pl.DataFrame) -> list[Row]:
    """Return the rows that count, without policies and withdrawals, in ledger order, with their `root_id`."""
    return [row for row in current(ledger).iter_rows(named=True) if is_decision(row["outcome"])]


def before_differences(ledger: pl.DataFrame) -> pl.DataFrame:
    """Return a ledger whose subjects stand alone as it was before two people differed on some of them.

    Such a subject is taken out of the rows that differ, so that what these superseded counts until a third row
    resolves them; what a row superseded that stays for other subjects does not. Where one role decided twice, nothing
    is taken out.
    """
    waiting = {
        (row["decision_id"], subject)
        for (subject,), own in rows_by_subject(decided_rows(ledger)).items()
        if disagreeing(own)
        for row in own
    }
    rows = [
        row | {"subject_ids": [each for each in row["subject_ids"] if (row["decision_id"], each) not in waiting]}
        for row in ledger.iter_rows(named=True)
    ]
    return pl.DataFrame([row for row in rows if row["subject_ids"]], ledger.schema) if waiting else ledger


def before_one_of_two(ledger: pl.DataFrame) -> pl.DataFrame:
    """Return a ledger whose subjects stand alone as it was before the first of two decided, if a policy asks for two.

    A subject on which no two people have decided is taken out of the rows of people, so that what a command began with
    counts; what a row superseded that stays for other subjects does not.
    """
    if not asks_for_two(ledger):
        return ledger
    both = second_opinions(ledger)
    rows = {}
    for row in ledger.iter_rows(named=True):
        if by_person(row) and not is_policy(row["outcome"]):
            row["subject_ids"] = [each for each in row["subject_ids"] if (each,) in both]
        if row["subject_ids"]:
            replaced = [each for each in split_ids(row["supersedes"]) if each in rows]
            rows[row["decision_id"]] = row | {"supersedes": " ".join(replaced) or None}
    return pl.DataFrame([*rows.values()], ledger.schema)


def decisive(ledger: pl.DataFrame) -> dict[Subject, Row]:
    """Return the row that decides on each subject."""
    return decisive_rows(decided_rows(ledger))


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
        text: The principle, or None where the statements were left out.
        inputs_digest: Digest of the text it was worded from, as the ledger has it.
        side: `disagree` for a principle of avoidance, worded from statements that every group rejects.
    """

    principle_id: str
    decision_id: str
    statement_ids: tuple[int, ...]
    text: str | None
    inputs_digest: str | None
    side: Side = "agree"

    def rests_on(self, side: Side) -> bool:
        """Whether it decides on a statement that every group takes this side of; leaving out decides on both."""
        return self.text is None or self.side == side


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
        ConsultationError: Rows that count contradict each other.
    """
    return tuple(
        Merge(row["decision_id"], _ids(row), split_outcome(row["outcome"])[1], row["inputs_digest"])
        for row in decisive(ledger).values()
        if split_outcome(row["outcome"])[0] == "merge"
    )


def wordings(ledger: pl.DataFrame) -> tuple[Wording, ...]:
    """Return the wordings that count, in ledger order.

    Raises:
        ConsultationError: Rows that count contradict each other.
    """
    return tuple(wording_of(row) for row in decisive(ledger).values())


def wording_of(row: Row) -> Wording:
    """Return the wording that a row that counts says, whether or not another differs."""
    return Wording(
        principle_id=row["root_id"],
        decision_id=row["decision_id"],
        statement_ids=_ids(row),
        text=split_outcome(row["outcome"])[1] or None,
        inputs_digest=row["inputs_digest"],
        side="disagree" if split_outcome(row["outcome"])[0] == AVOID else "agree",
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


def _ids(row: Row) -> tuple[int, ...]:
    return tuple(int(subject) for subject in row["subject_ids"])
