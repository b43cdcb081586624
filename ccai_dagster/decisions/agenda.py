"""What is decided and still to be decided in one ledger, subject by subject, and suggestions that help to decide.

What has to be decided, and on which text, the caller passes in; here ledger rows and subjects meet. Suggestions
(statements with the same words, a draft wording, odd votes) are named with what made them, and become decisions only
when a person types one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import log, sqrt
from typing import Literal, get_args

import numpy as np
import polars as pl

from ccai_dagster.decisions.independent_decisions import (
    Row,
    Subject,
    asks_for_two,
    disagreeing,
    rows_by_subject,
    second_opinions,
)
from ccai_dagster.decisions.ledger import VALUE_KINDS, current, is_decision, is_policy
from ccai_dagster.decisions.origins import CARRIED_OVER, by_person
from ccai_dagster.deliberation.topics import common_words

State = Literal["decided", "undecided", "suggested", "lapsed", "disagreeing", "one of two", "not considered"]
STATES: tuple[State, ...] = get_args(State)
"""`suggested`: put forward by a program; nobody has to decide. `lapsed`: taken on something else than there is now, or
taken over from an export that now says otherwise. `disagreeing`: two people decided differently and nobody has resolved
it. `one of two`: the policy asks for a second, independent decision. `not considered`: a starting value that no person
has looked at."""

DIGESTED = frozenset({"moderation", "merge", "idea", "wording", "signoff"})
"""Kinds whose decisions lapse when the text they were taken on changes.

An exclusion is about a person whose votes still come in, and a number is about no text: these do not lapse.
"""

Basis = Callable[[Sequence[str]], str | None]
"""Digest of what a decision on these subjects would be taken on now; None if a subject is not there."""

NEAR_DUPLICATE = 0.4
"""Similarity from which two statements are suggested for merging."""

LARGEST_GROUP = 12
"""Most statements of a group of near duplicates; no merge of Collective Constitutional AI has more than four."""

FEWEST_ODD_VOTES = 15
"""Votes of a participant below which a pattern may be chance."""

_WORD = re.compile(r"\b\w\w+\b")
_WHO = (
    r"(?:(?:the|an?|any|all|our)\s+)?(?:ai|a\.i\.|artificial intelligence|assistants?|chat ?bots?|bots?|models?|"
    r"systems?|it|they)(?:\s+(?:assistants?|chat ?bots?|bots?|models?|systems?))?"
)
_RULE = re.compile(
    rf"{_WHO}\s+(?:should|must|shall|has to|have to|needs to|need to|ought to)"
    r"(?P<no>(?:n't|n’t)|\s+(?:not|never))?\s+(?:(?:always|ever)\s+)?(?P<rest>\S.*)",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True)
class Proposal:
    """A subject that should be decided, and why it is put forward.

    Attributes:
        why: What is noteworthy about it, for a person; may be empty.
        suggested_by: What put it forward, if not the consultation itself.
    """

    subject: Subject
    why: str = ""
    suggested_by: str | None = None


@dataclass(frozen=True)
class AgendaItem:
    """One subject of one kind and how it stands.

    Attributes:
        rows: The decisions on it that count, in the order of the ledger.
    """

    kind: str
    proposal: Proposal
    state: State
    rows: tuple[Row, ...]

    @property
    def subject(self) -> Subject:
        """What it is about."""
        return self.proposal.subject

    @property
    def shown(self) -> tuple[Row, ...]:
        """The rows to show to who decides now: none where it is decided without seeing the first of two decisions."""
        return () if self.state == "one of two" else self.rows

    def open_to(self, role: str) -> bool:
        """Whether somebody in this role can decide it now.

        Who decided one of two differing decisions cannot resolve them, nor be the second of two.
        """
        took_part = role in {row["decided_by"] for row in self.rows}
        return self.state != "decided" and not (self.state in ("disagreeing", "one of two") and took_part)

    def replaced_by(self, role: str) -> tuple[str, ...]:
        """Ids of what an answer in this role replaces: all rows, save another person's independent decision."""
        independent = self.state == "one of two"
        return tuple(row["decision_id"] for row in self.rows if not independent or row["decided_by"] == role)


def agenda(
    kind: str,
    ledger: pl.DataFrame,
    wanted: Iterable[Proposal],
    basis: Basis,
    policy_subjects: Sequence[str] = (),
    otherwise: Collection[Subject] = (),
) -> list[AgendaItem]:
    """Return every subject that should be or is decided, and how it stands.

    Args:
        wanted: What has to be decided, in the order in which it should be.
        policy_subjects: Subjects that must be decided by a policy.
        otherwise: Subjects of which the export says otherwise than what was taken over from it.

    Returns:
        What has to be decided, in the order given, then every other subject that rows decide on, in the order
        of the ledger. Subjects that no longer exist or are moderated out are left out.

    Raises:
        ConsultationError: The ledger's chains are broken.
    """
    rows = [
        row
        for row in current(ledger).to_dicts()
        if is_decision(row["outcome"]) or (is_policy(row["outcome"]) and set(row["subject_ids"]) & set(policy_subjects))
    ]
    own = rows_by_subject(rows)
    proposals = {each.subject: each for each in wanted}
    for subject in own:
        proposals.setdefault(subject, Proposal(subject))
    both = second_opinions(ledger) if asks_for_two(ledger) else None
    gone = {row["decision_id"] for row in rows if has_lapsed(row, basis)}  # once a row, of however many subjects
    items = []
    for subject, proposal in proposals.items():
        if kind in DIGESTED and basis(subject) is None:
            continue
        decided = tuple(own.get(subject, ()))
        state = _state(decided, gone, both is None or subject in both)
        if state == "undecided" and proposal.suggested_by:
            state = "suggested"
        if decided and subject in otherwise:
            state = "lapsed"
        items.append(AgendaItem(kind, proposal, state, decided))
    return items


def has_lapsed(row: Row, basis: Basis) -> bool:
    """Whether a row was taken on something else than there is now; it names one subject that has changed."""
    return row["kind"] in DIGESTED and row["inputs_digest"] != basis(row["subject_ids"])


def _state(rows: Sequence[Row], gone: Collection[str], enough: bool) -> State:
    if not rows:
        return "undecided"
    if any(row["decision_id"] in gone for row in rows):
        return "lapsed"
    if len(rows) > 1 and disagreeing(rows):
        return "disagreeing"
    if all(row["kind"] in VALUE_KINDS and not by_person(row) for row in rows):
        return "not considered"
    return "decided" if enough else "one of two"


@dataclass(frozen=True)
class Repeated:
    """An outcome and a reason that somebody gave, to be given again."""

    decision_id: str
    outcome: str
    reason: str


def repeated_reasons(ledger: pl.DataFrame, role: str, outcomes: bool = False) -> list[Repeated]:
    """Return the reasons that a role gave in one ledger, each once, the latest first.

    Only the role's own: what another person gave must not be seen by the second of two.

    Args:
        outcomes: Whether the same reason for another outcome is another one.
    """
    found: dict[tuple[str, str], Repeated] = {}
    for row in reversed(ledger.filter(decided_by=role).to_dicts()):
        if is_decision(row["outcome"]) and row["suggested_by"] != CARRIED_OVER:
            found.setdefault(
                (row["outcome"] if outcomes else "", row["reason"]),
                Repeated(row["decision_id"], row["outcome"], row["reason"]),
            )
    return list(found.values())


@dataclass(frozen=True)
class SameWords:
    """Statements compared by the words they share.

    Similarity is the cosine between counts of words, each weighted by how rare it is in this consultation
    (term frequency, sublinear, times inverse document frequency), English stop words and the words most rules
    have in common left out. It sees words and not meaning: of the 53 pairs of statements that the authors of
    Collective Constitutional AI merged, 30 are among the three nearest of one another, 10 above 0.4.
    """

    texts: Mapping[int, str]
    """By statement id."""

    @cached_property
    def _ids(self) -> list[int]:
        return sorted(self.texts)

    @cached_property
    def _words_of(self) -> list[list[tuple[str, float]]]:
        """Words of each statement with their weights, whose squares add up to 1, in the order of the ids.

        As scikit-learn's `TfidfVectorizer(stop_words=common_words(), sublinear_tf=True)` weighs them, without it: to
        load it takes longer than all that `ccai status` does.
        """
        common = set(common_words())
        counts = [
            Counter(word for word in _WORD.findall(self.texts[each].lower()) if word not in common)
            for each in self._ids
        ]
        statements_with = Counter(word for each in counts for word in each)
        rarity = {word: log((1 + len(counts)) / (1 + n)) + 1 for word, n in statements_with.items()}
        weights = [{word: (log(n) + 1) * rarity[word] for word, n in sorted(each.items())} for each in counts]
        lengths = [sqrt(sum(value * value for value in each.values())) for each in weights]
        return [
            [(word, value / length) for word, value in each.items()]
            for each, length in zip(weights, lengths, strict=True)
        ]

    @cached_property
    def _statements_with(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Places of the statements that have a word, and its weight in each."""
        found: dict[str, list[tuple[int, float]]] = {}
        for place, words in enumerate(self._words_of):
            for word, value in words:
                found.setdefault(word, []).append((place, value))
        return {
            word: (np.array([place for place, _ in each]), np.array([value for _, value in each]))
            for word, each in found.items()
        }

    def _likeness(self, place: int) -> np.ndarray:
        """Similarity of all statements to one, which is 0 to itself; a row at a time, since all may be too many."""
        similarity = np.zeros(len(self._ids))
        for word, value in self._words_of[place]:
            places, values = self._statements_with[word]
            similarity[places] += value * values
        similarity[place] = 0
        return np.minimum(similarity, 1)

    def nearest(self, statement_id: int, count: int = 3) -> list[tuple[int, float]]:
        """Return the most similar other statements and their similarity in (0, 1], the nearest first."""
        if statement_id not in self.texts:
            return []
        similarity = self._likeness(self._ids.index(statement_id))
        likest = np.partition(similarity, -count)[-count] if count < len(similarity) else 0.0
        # A little below: what differs by rounding alone goes by id.
        near = np.flatnonzero((similarity > 0) & (similarity >= likest - 1e-8))
        found = [(self._ids[place], float(similarity[place])) for place in near]
        return sorted(found, key=lambda each: (-round(each[1], 9), each[0]))[:count]

    def pairs(self, at_least: float = NEAR_DUPLICATE) -> list[tuple[int, int, float]]:
        """Return pairs of statements (lower id first) at least this similar, the most similar first."""
        found = []
        for place, own in enumerate(self._ids):
            similarity = self._likeness(place)
            similarity[:place] = 0
            near = np.flatnonzero((similarity >= at_least) & (similarity > 0))
            found += [(own, self._ids[other], float(similarity[other])) for other in near]
        return sorted(found, key=lambda each: (-round(each[2], 9), each[:2]))

    @cached_property
    def groups(self) -> list[list[int]]:
        """Statements in groups of near duplicates, see `grouped`; those like none are in no group."""
        return grouped((one, other) for one, other, _ in self.pairs())


def grouped(pairs: Iterable[tuple[int, int]], largest: int = LARGEST_GROUP) -> list[list[int]]:
    """Put statements into groups by pairs that are alike, the likest pair first.

    Chains of likeness would join what has nothing in common, so two groups become one only while it has no more than
    `largest` members. That leaves statements of a larger one in several groups, which a person joins.

    Returns:
        Groups of two or more in the order of their lowest ids, which are sorted.
    """
    group: dict[int, list[int]] = {}
    for pair in pairs:
        one, other = (group.setdefault(each, [each]) for each in pair)
        if one is not other and len(one) + len(other) <= largest:
            one.extend(other)
            group.update(dict.fromkeys(other, one))
    whole = {id(each): sorted(each) for each in group.values() if len(each) > 1}
    return sorted(whole.values())


def draft_principle(text: str, rejected: bool = False) -> str:
    """Return a first draft of the principle a statement leads to, by template.

    A rule about being something becomes a degree of it ("is most ...", "is least ..."), any other rule "does
    most to ..." or "does least to ...", after the form the authors of Collective Constitutional AI gave most
    of their principles (Huang et al. 2024, section 3.4). What fits neither is quoted. A draft can be wrong in
    grammar and in sense; it is there to be rewritten.

    Args:
        rejected: Whether everybody rejects the statement, so that the principle says the opposite. To reject that
            something should always be done is not to say that it never should: the draft needs a person.
    """
    whole = " ".join(text.split())
    rule = _RULE.fullmatch(whole.rstrip(".! "))
    if rule is None:
        return f'Choose the response that agrees {"least" if rejected else "best"} with this: "{whole}"'
    degree, rest = ("least" if bool(rule["no"]) != rejected else "most"), rule["rest"]
    if being := re.fullmatch(r"be\s+(?:(?:always|never|as)\s+)?(?P<what>\S.*)", rest, re.IGNORECASE):
        return f"Choose the response that is {degree} {being['what']}."
    return f"Choose the response that does {degree} to {rest}."


def odd_participants(votes: pl.DataFrame) -> list[tuple[tuple[str, ...], str]]:
    """Find participants whose votes may not be a person's considered ones.

    Args:
        votes: `participant_id`, `statement_id`, `vote`, one row a vote that counts.

    Returns:
        Participants (one, or those with equal votes) and what is odd about them, by id: everybody with at
        least `FEWEST_ODD_VOTES` votes who always agreed or always disagreed, or who voted on the same
        statements in the same way as somebody else.
    """
    people = (
        votes.sort("participant_id", "statement_id")
        .group_by("participant_id", maintain_order=True)
        .agg(
            pl.len().alias("n"),
            pl.col("vote").min().alias("lowest"),
            pl.col("vote").max().alias("highest"),
            pl.struct("statement_id", "vote").hash().alias("cells"),
        )
        .filter(pl.col("n") >= FEWEST_ODD_VOTES)
    )
    found: list[tuple[tuple[str, ...], str]] = []
    uniform = people.filter((pl.col("lowest") == pl.col("highest")) & (pl.col("lowest") != 0))
    for row in uniform.iter_rows(named=True):
        verb = "agreed" if row["lowest"] == 1 else "disagreed"
        found.append(((str(row["participant_id"]),), f"{verb} in all of {row['n']} votes"))
    rest = people.join(uniform, on="participant_id", how="anti")
    twins: dict[tuple[int, ...], list[int]] = {}
    for participant, cells in rest.select("participant_id", "cells").iter_rows():
        twins.setdefault(tuple(cells), []).append(participant)
    for cells, group in twins.items():
        if len(group) > 1:
            message = f"voted on the same {len(cells)} statements in the same way"
            found.append((tuple(str(each) for each in sorted(group)), message))
    return sorted(found, key=lambda each: int(each[0][0]))
