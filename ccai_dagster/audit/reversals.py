"""What would have changed had one decision of a person been taken the other way.

Belongs here: supposing the opposite of a recorded decision on statements, participants, merges, wordings and
ideas, and saying what follows. Doesn't belong here: numeric decisions (`sensitivity`).

Everything but an exclusion is judged with the opinion groups as they are: one statement more or less hardly
moves them, and a statement that was moderated out is scored on the votes really cast on it. Excluded people
have no group, so for them the groups are computed again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import isnan
from typing import Any

import numpy as np
import polars as pl

from ccai_dagster.audit.consequences import consequence
from ccai_dagster.audit.recomputation import (
    Recomputation,
    Scored,
    Scores,
    Selection,
    SharedInputs,
    counts_as_given,
    reached,
    scores_of,
)
from ccai_dagster.audit.sensitivity import Alternative
from ccai_dagster.constitution.selection import cut_scores, ranking
from ccai_dagster.contracts import DECISION_REVERSALS
from ccai_dagster.core.errors import Progress, silent
from ccai_dagster.core.text import counted, natural
from ccai_dagster.decisions.ledger import split_outcome
from ccai_dagster.decisions.outcomes import Wording, decisive, moderation_verdicts, statement_ideas, wordings
from ccai_dagster.deliberation.consensus import group_counts
from ccai_dagster.deliberation.drawing import one_thread
from ccai_dagster.deliberation.votes import ModerationVerdict, Side, vote_matrix, with_importance

SEPARATE_EXCLUSIONS = 50
"""Up to this many exclusions are reversed one by one; more are reversed together only."""
EVERY_EXCLUSION = "every exclusion"


@one_thread()
def decision_reversals(
    record: RecordedDecisions, ledgers: Mapping[str, pl.DataFrame], progress: Progress = silent
) -> pl.DataFrame:
    """Suppose the opposite of every decision on statements, participants, merges, wordings and ideas.

    Args:
        ledgers: LEDGER by kind: moderation, exclusion, merge, idea; wordings are part of the record.
        progress: Called with how many exclusions are done, which is what takes time.

    Returns:
        DECISION_REVERSALS: by kind, in the order of the ledgers. Two exclusions or more are also reversed
        together.
    """
    reversals = [
        *_moderation(record, ledgers["moderation"]),
        *_exclusion(record, ledgers["exclusion"], progress),
        *_merge(record, ledgers["merge"]),
        *_wording(record),
        *_idea(record, ledgers["idea"]),
    ]
    return DECISION_REVERSALS.build([_row(record, reversal) for reversal in reversals])


def _moderation(record: RecordedDecisions, ledger: pl.DataFrame) -> Iterator[_Reversal]:
    """Statements let in are taken out, those out let in, rewritten ones keep their author's words."""
    decided: dict[str, dict[int, ModerationVerdict]] = {}
    for statement, verdict in moderation_verdicts(ledger).items():
        if statement in record.gac:
            decided.setdefault(verdict.decision_ids[0], {})[statement] = verdict
    for decision, own in decided.items():
        subjects, verdicts = frozenset(own), list(own.values())
        resting = record.worded_from(subjects)
        if any(each.text is not None for each in verdicts):
            supposed, after = "kept as its author typed it", Supposition()
        elif verdicts[0].included:
            left = [replace(each, statement_ids=each.statement_ids - subjects) for each in resting]
            supposed, after = "moderated out", record.supposing(subjects, False, resting, left)
        else:
            supposed, after = "let in", record.supposing(subjects, True)
        names = frozenset(each.principle_id for each in resting)
        yield _Reversal(decision, "moderation", (decision,), tuple(sorted(subjects)), supposed, after, names)


@dataclass(frozen=True)
class _Reversal:
    """One decision taken the other way, and what would follow."""

    name: str
    kind: str
    decision_ids: tuple[str, ...]
    subject_ids: tuple[int, ...]
    supposed: str
    after: Supposition
    resting: frozenset[str] = frozenset()
    """Principles that would rest on another text if they are still in."""
    n_groups: int | None = None
    """Opinion groups found anew; None where they are as they are."""


def _exclusion(record: RecordedDecisions, ledger: pl.DataFrame, progress: Progress) -> Iterator[_Reversal]:
    """Excluded votes count again, those kept are excluded; groups are computed again."""
    people: dict[tuple[str, str], list[int]] = {}
    for (participant,), row in decisive(ledger).items():
        verb = split_outcome(row["outcome"])[0]
        people.setdefault((verb, row["decision_id"]), []).append(int(participant))
    excluding = tuple(decision for verb, decision in people if verb == "exclude")
    every = [each for (verb, _), own in people.items() if verb == "exclude" for each in own]
    tried: list[tuple[str, tuple[str, ...], str, list[int]]] = []
    if len(people) <= SEPARATE_EXCLUSIONS:
        tried = [(decision, (decision,), verb, own) for (verb, decision), own in people.items()]
    if len(excluding) > 1:
        tried.append((EVERY_EXCLUSION, excluding, "exclude", every))
    enough = pl.col("n_votes") >= record.numeric.minimum_votes
    counting = frozenset(record.inputs.raw_participants.filter(enough)["participant_id"].to_list())
    for done, (name, decisions, verb, own) in enumerate(tried, start=1):
        excluded = {key: value for key, value in record.inputs.excluded.items() if key not in own}
        if verb == "keep":
            excluded |= dict.fromkeys(own, name)
        after, n_groups = Supposition(), None
        # Whoever voted too little does not count, excluded or not, except with Polis, which looks at all.
        if record.numeric.procedure == "polis" or not counting.isdisjoint(own):
            again = Recomputation(replace(record.inputs, excluded=excluded))
            after = Supposition.between(record.selected, again.selected(record.numeric))
            n_groups = again.scored(record.numeric).n_groups
        yield _Reversal(
            name,
            "exclusion",
            decisions,
            tuple(sorted(own)),
            "excluded" if verb == "keep" else "counted",
            after,
            n_groups=n_groups,
        )
        progress("counting votes otherwise", done, len(tried))


def _merge(record: RecordedDecisions, ledger: pl.DataFrame) -> Iterator[_Reversal]:
    """Merged statements stay apart, those kept apart are merged: what they were worded as rests on nothing."""
    for row in decisive(ledger).values():
        subjects = frozenset(int(each) for each in row["subject_ids"])
        merged = split_outcome(row["outcome"])[0] == "merge"
        without = [
            each
            for each in record.worded_from(subjects)
            if (each.statement_ids == subjects if merged else each.statement_ids <= subjects)
        ]
        yield _Reversal(
            row["decision_id"],
            "merge",
            (row["decision_id"],),
            tuple(sorted(subjects)),
            "kept apart" if merged else "merged",
            Supposition(without=tuple(without)),
        )


def _wording(record: RecordedDecisions) -> Iterator[_Reversal]:
    """Statements worded as a principle are left out, those left out wait for a wording."""
    for each in record.worded:
        instead = (replace(each, is_principle=False),) if each.is_principle else ()
        yield _Reversal(
            each.decision_id,
            "wording",
            (each.decision_id,),
            tuple(sorted(each.statement_ids)),
            "left out" if each.is_principle else "not left out",
            Supposition(without=(each,), instead=instead),
        )


def _idea(record: RecordedDecisions, ledger: pl.DataFrame) -> Iterator[_Reversal]:
    """A statement that was split into ideas counts as one idea of its own."""
    for statement, own in statement_ideas(ledger).items():
        yield _Reversal(
            own.decision_id,
            "idea",
            (own.decision_id,),
            (statement,),
            "taken as one idea of its own",
            record.supposing(frozenset({statement}), statement in record.included, without_ideas=True),
        )


def _row(record: RecordedDecisions, reversal: _Reversal) -> dict[str, Any]:
    statements = () if reversal.kind == "exclusion" else reversal.subject_ids
    known = [each for each in statements if each in record.gac and not isnan(record.gac[each])]
    best = max(known, key=lambda each: (record.gac[each], -each), default=None)
    before, after = record.around(reversal.after, frozenset(statements))
    row = {
        "reversal": reversal.name,
        "kind": reversal.kind,
        "decision_ids": list(reversal.decision_ids),
        "subject_ids": list(reversal.subject_ids),
        "supposed": reversal.supposed,
        "regrouped": reversal.n_groups is not None,
        "n_groups": record.n_groups if reversal.n_groups is None else reversal.n_groups,
        "gac": None if best is None else record.gac[best],
        "smallest_group_votes": None if best is None else record.smallest_group_votes[best],
        "entering": sorted(after.behind - before.behind),
        "leaving": sorted(before.behind - after.behind),
        "lost_principles": sorted(before.principles - after.principles, key=natural),
        "gained_principles": sorted(after.principles - before.principles, key=natural),
        "reworded_principles": sorted(reversal.resting & after.principles, key=natural),
        "waiting": sorted(after.waiting - before.waiting),
    }
    return {**row, "consequence": consequence(row, record.n_groups)}


def reversal_sentences(reversals: pl.DataFrame) -> dict[str, str]:
    """Say for each kind of decision, in words, how many of them change the constitution if reversed."""
    sentences = {}
    different = pl.any_horizontal(
        pl.col(
            "entering", "leaving", "lost_principles", "gained_principles", "reworded_principles", "waiting"
        ).list.len()
        > 0
    )
    for kind, supposed in reversals.select("kind", "supposed").unique(maintain_order=True).iter_rows():
        own = reversals.filter((pl.col("kind") == kind) & (pl.col("supposed") == supposed))
        counting = own.filter(different).height
        sentences[f"{kind}: {supposed}"] = f"{counting} of {counted(own.height, 'reversal')} would change something."
    return sentences


NOTHING = Selection(frozenset(), frozenset())


@dataclass(frozen=True)
class Supposition:
    """What is otherwise than on record.

    Attributes:
        changed: Statements whose selection, or side, may be another.
        selected: Of those, the ones that are selected then.
        without: Decisions on wording that are not taken.
        instead: Those that are taken instead.
    """

    changed: frozenset[int] = frozenset()
    selected: Selection = NOTHING
    without: tuple[Worded, ...] = ()
    instead: tuple[Worded, ...] = ()

    @classmethod
    def between(cls, before: Selection, after: Selection) -> Supposition:
        """Return what another selection changes."""
        changed = (before.ids ^ after.ids) | (before.rejected ^ after.rejected)
        return cls(changed, after.among(changed))


@dataclass(frozen=True)
class RecordedDecisions:
    """The record, ready to be supposed otherwise.

    Attributes:
        inputs: Votes and decisions on single statements and participants.
        numeric: The numeric decisions.
        n_groups: Number of opinion groups.
        gac: Consensus on agreement by statement id, moderated out or not, with the groups as they are; NaN for none.
        scores: All that the cut looks at, in ascending order of statement ids.
        smallest_group_votes: Votes of the group that voted least, by statement id.
        included: Statements that moderation let in.
        selected: Of those, the ones that reach the cut.
        worded: All decisions on wording that count.
    """

    inputs: SharedInputs
    numeric: Alternative
    n_groups: int
    gac: Mapping[int, float]
    scores: Scores
    smallest_group_votes: Mapping[int, int]
    included: frozenset[int]
    selected: Selection
    worded: tuple[Worded, ...]

    def worded_from(self, statements: Iterable[int]) -> list[Worded]:
        """Return the decisions on wording that are for at least one of the statements, in order."""
        places = {place for statement in statements for place in self._worded_from.get(statement, ())}
        return [self.worded[place] for place in sorted(places)]

    def supposing(
        self,
        subjects: frozenset[int],
        included: bool,
        without: Sequence[Worded] = (),
        instead: Sequence[Worded] = (),
        without_ideas: bool = False,
    ) -> Supposition:
        """Suppose that statements are in, or out, with the groups as they are.

        Args:
            without: Decisions on wording that are not taken.
            instead: Those that are taken instead.
            without_ideas: Whether each of them counts as one idea of its own.
        """
        selection = Supposition()
        if self.numeric.selection.rule == "threshold":
            selection = Supposition(subjects, self._reaching.among(subjects if included else frozenset()))
        elif any(self._ranks[each] <= self._last_looked_at for each in subjects):
            those = self.included | subjects if included else self.included - subjects
            another = _select(
                self.inputs,
                self.numeric,
                list(self.gac),
                self.scores,
                those,
                subjects if without_ideas else frozenset(),
            )
            selection = Supposition.between(self.selected, another)
        return replace(selection, without=tuple(without), instead=tuple(instead))

    def around(
        self, supposed: Supposition, statements: frozenset[int]
    ) -> tuple[ConstitutionContent, ConstitutionContent]:
        """Return what the record and a supposition come to, of all that may differ between them.

        Only decisions on wording that share a statement with what changed are looked at, so that asking costs the
        same however large the consultation is: elsewhere both are equal.

        Args:
            statements: Whose decisions on wording are looked at as well.
        """
        near = self.worded_from(statements | supposed.changed | _statements_of(supposed.without))
        near = self.worded_from(statements | supposed.changed | _statements_of(near))
        looked_at = supposed.changed | _statements_of(near)
        before = self.selected.among(looked_at)
        unchanged = before.among(looked_at - supposed.changed)
        after = Selection(unchanged.ids | supposed.selected.ids, unchanged.rejected | supposed.selected.rejected)
        others = [each for each in near if each not in supposed.without]
        return content_of(before, near), content_of(after, [*others, *supposed.instead])

    @cached_property
    def _worded_from(self) -> dict[int, list[int]]:
        """Places of decisions on wording by statement."""
        places: dict[int, list[int]] = {}
        for place, each in enumerate(self.worded):
            for statement in each.statement_ids:
                places.setdefault(statement, []).append(place)
        return places

    @cached_property
    def _reaching(self) -> Selection:
        """All statements that reach a threshold, in or not."""
        return reached(list(self.gac), self.scores, self.inputs.ideas, self.numeric)

    @cached_property
    def _ranks(self) -> dict[int, int]:
        """The place of every statement in the order in which ideas are counted."""
        ids = np.array(list(self.gac))
        scores = cut_scores(
            self.numeric.selection, self.scores.gac, self.scores.gac_disagree, self.scores.participation
        )
        return {key: rank for rank, key in enumerate(ids[ranking(scores[0], ids)].tolist())}

    @cached_property
    def _last_looked_at(self) -> int:
        """The rank at which counting ideas ended: of the first statement that had no room, or of the last one."""
        last = max((self._ranks[each] for each in self.selected.ids), default=-1)
        beyond = (rank for each, rank in self._ranks.items() if rank > last and each in self.included)
        return min(beyond, default=len(self._ranks))


def _statements_of(worded: Iterable[Worded]) -> frozenset[int]:
    return frozenset().union(*(each.statement_ids for each in worded))


def _select(
    inputs: SharedInputs,
    numeric: Alternative,
    ids: Sequence[int],
    scores: Scores,
    included: frozenset[int],
    without_ideas: frozenset[int],
) -> Selection:
    """Return which statements reach the cut if exactly these are in."""
    ideas = {key: value for key, value in inputs.ideas.items() if key not in without_ideas}
    return reached([each for each in ids if each in included], scores.at(np.isin(ids, list(included))), ideas, numeric)


def recorded_decisions(
    inputs: SharedInputs, numeric: Alternative, opinion_groups: pl.DataFrame, wording_ledger: pl.DataFrame
) -> RecordedDecisions:
    """Score every statement with the groups as they are, and return what follows from the record.

    Args:
        numeric: The numeric decisions on record.
        opinion_groups: OPINION_GROUPS; only these people's votes count, as they do on record.
    """
    people = opinion_groups.sort("participant_id")
    cast = inputs.raw_votes.join(people, on="participant_id", how="semi").join(
        inputs.raw_statements, on="statement_id", how="semi"
    )
    matrix = vote_matrix(cast, people["participant_id"], inputs.raw_statements["statement_id"])
    matrix, labels = with_importance(matrix, inputs.raw_votes), people["group_id"].to_numpy()
    given = inputs.raw_group_votes.height
    counts = counts_as_given(inputs, matrix) if given else group_counts(matrix, labels)
    scores = scores_of(Scored(matrix, labels, counts), counts, numeric)
    ids = matrix.statement_ids.tolist()
    gac: dict[int, float] = dict(zip(ids, scores.gac.tolist(), strict=True))
    lenient = numeric.moderation == "lenient"
    included = frozenset(
        each for each in ids if (inputs.moderation[each].included if each in inputs.moderation else lenient)
    )
    selected = _select(inputs, numeric, ids, scores, included, frozenset())
    return RecordedDecisions(
        inputs=inputs,
        numeric=numeric,
        n_groups=len(counts.votes),
        gac=gac,
        scores=scores,
        smallest_group_votes=dict(zip(ids, counts.fewest.tolist(), strict=True)),
        included=included,
        selected=selected,
        worded=worded_of(wordings(wording_ledger)),
    )


@dataclass(frozen=True)
class Worded:
    """A decision on wording: the statements it is for, and whether they became a principle or were left out.

    Attributes:
        side: What every group must do with them for the principle to be in.
    """

    decision_id: str
    principle_id: str
    statement_ids: frozenset[int]
    is_principle: bool
    side: Side = "agree"

    def decides(self, selected: Selection) -> frozenset[int]:
        """Return the selected statements that it decides on: of its side, or of both where they are left out."""
        own = self.statement_ids & selected.ids
        if not self.is_principle:
            return own
        return own & selected.rejected if self.side == "disagree" else own - selected.rejected


def worded_of(counting: Iterable[Wording]) -> tuple[Worded, ...]:
    """Return decisions on wording without their texts."""
    return tuple(
        Worded(each.decision_id, each.principle_id, frozenset(each.statement_ids), each.text is not None, each.side)
        for each in counting
    )


@dataclass(frozen=True)
class ConstitutionContent:
    """What a selection comes to.

    Attributes:
        principles: Those that are in.
        behind: Statements behind a principle that is in, or waiting for a wording.
        waiting: Statements that reach the cut and that nobody has worded or left out.
    """

    principles: frozenset[str]
    behind: frozenset[int]
    waiting: frozenset[int]


def content_of(selected: Selection, worded: Sequence[Worded]) -> ConstitutionContent:
    """Return what a selection comes to under these wordings."""
    inside = [each for each in worded if each.is_principle and each.decides(selected)]
    waiting = selected.ids.difference(*(each.decides(selected) for each in worded))
    return ConstitutionContent(
        frozenset(each.principle_id for each in inside),
        waiting.union(*(each.statement_ids for each in inside)),
        waiting,
    )
