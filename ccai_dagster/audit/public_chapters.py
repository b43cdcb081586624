"""The chapters of the report about what the public said: statements, constitution, what waits.

Belongs here: picking and counting what these chapters show. Doesn't belong here: HTML, opinion groups, models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from ccai_dagster.audit.filters import Entry, StatementMarks
from ccai_dagster.audit.hanging_chapter import robustness_by_principle
from ccai_dagster.audit.records import Record, Records
from ccai_dagster.audit.report_inputs import ReportInputs
from ccai_dagster.core.text import counted, listed, percent
from ccai_dagster.deliberation.group_names import group_name
from ccai_dagster.pictures.style import colour
from ccai_dagster.statistics.wilson import wilson_interval


@dataclass(frozen=True)
class GroupBar:
    """Agreement of one opinion group with one statement; shares and interval ends in percent."""

    name: str
    colour: str
    votes: int
    share: float
    low: float
    high: float


@dataclass(frozen=True)
class Source:
    """A statement as the report shows it."""

    statement_id: int
    text: str
    original: str | None
    gac: float | None
    gac_low: float | None
    gac_high: float | None
    selection_probability: float | None
    few_votes: bool
    published_gac: float | None
    bars: list[GroupBar]
    decisions: list[Record]
    marks: frozenset[str]


def statement_sources(inputs: ReportInputs, records: Records, marks: StatementMarks) -> dict[int, Source]:
    """Describe every statement that is in, by id."""
    trail = {row["subject"]: row for row in inputs.decision_trail.to_dicts()}
    few_votes = set(inputs.consensus_stability.filter("few_votes")["statement_id"])
    sources = {}
    for key, rewritten in inputs.statements.select("statement_id", "rewritten").iter_rows():
        told, few = trail[f"statement:{key}"], key in few_votes
        sources[key] = Source(
            statement_id=key,
            text=told["text"],
            original=told["raw_text"] if rewritten else None,
            gac=told["gac"],
            gac_low=told["gac_low"],
            gac_high=told["gac_high"],
            selection_probability=told["selection_probability"],
            few_votes=few,
            published_gac=told["published_gac"],
            bars=_bars(told),
            decisions=[*records.on("moderation", key), *records.on("idea", key)],
            marks=marks.of(key, rewritten, few, told["selection_probability"]),
        )
    return sources


def _bars(told: Mapping[str, Any]) -> list[GroupBar]:
    bars = []
    for group, votes, share in zip(
        told["group_ids"], told["group_votes"], told["group_agreement"], strict=True
    ):
        if share is not None:
            low, high = wilson_interval(share * votes, votes)
            bars.append(GroupBar(group_name(group), colour(group), votes, 100 * share, 100 * low, 100 * high))
    return bars


def summary(inputs: ReportInputs) -> list[str]:
    """Say in a few sentences what happened, in numbers."""
    people, kept = inputs.participants.height, int(inputs.participants["kept"].sum())
    derived = inputs.constitutions[inputs.derived_arm]
    chosen = inputs.selected_statements.filter("selected")
    counts = dict(chosen.group_by("fate").len().iter_rows())
    fates = listed([f"{counts[fate]:,} {told}" for fate, told in SELECTED_FATES.items() if fate in counts])
    sizes = inputs.opinion_groups.group_by("group_id").len().sort("group_id").iter_rows()
    groups = [f"{size:,} people in {group_name(group)}" for group, size in sizes]
    votes = int(inputs.gac_scores["n_votes"].sum())
    decisions = sum(ledger.height for ledger in inputs.ledgers.values())
    sentences = [
        f"{counted(people, 'participant')} took part; the votes of {kept:,} count.",
        f"They submitted {counted(inputs.raw_statements.height, 'statement')}, seeds of the organisers "
        f"included; {inputs.statements.height:,} remained after moderation and received {votes:,} votes.",
        f"By their votes, participants fall into {counted(len(groups), 'opinion group')}: {listed(groups)}."
        if groups
        else "No opinion groups were found.",
        f"{counted(chosen.height, 'statement')} reached the cut of agreement across groups: {fates}.",
        f"The constitution that follows has {counted(derived.height, 'principle')}.",
    ]
    arms = [
        f"{arm} ({counted(inputs.constitutions[arm].height, 'principle')})" for arm in inputs.constitutions
    ]
    sentences.append(f"One model was trained on each of {listed(arms)}, and compared with the untrained one.")
    sentences.append(f"{counted(decisions, 'decision')} by people are on record.")
    return sentences


SELECTED_FATES = {
    "principle": "behind principles",
    "left out": "left out by a person",
    "undecided": "waiting for a decision",
}


@dataclass(frozen=True)
class PrincipleCard:
    """A principle of the derived constitution with everything behind it."""

    principle_id: str
    text: str
    merged_text: str | None
    gac: float | None
    gac_low: float | None
    gac_high: float | None
    sources: list[Source]
    missing: list[int]
    decisions: list[Record]
    replaced: list[Record]
    robustness: str
    use: str
    entry: Entry

    @property
    def earlier_wordings(self) -> list[Record]:
        """Wordings that this one replaced, the nearest first."""
        return [record for record in self.replaced if record.verb == "principle"]

    @property
    def n_decisions(self) -> int:
        """Decisions that led here, those replaced since included."""
        every = [
            *self.decisions,
            *self.replaced,
            *(one for source in self.sources for one in source.decisions),
        ]
        return len({record.decision_id for record in every})


def principle_cards(
    inputs: ReportInputs, records: Records, sources: Mapping[int, Source]
) -> list[PrincipleCard]:
    """Describe every principle of the derived constitution, in its order."""
    trail = {row["subject"]: row for row in inputs.decision_trail.to_dicts()}
    robustness = robustness_by_principle(inputs.principle_robustness, inputs.derived_arm)
    depends_on = dict(
        inputs.principle_robustness.filter(arm=inputs.derived_arm)
        .select("principle_id", "hangs_on")
        .iter_rows()
    )
    cards = []
    for row in inputs.constitutions[inputs.derived_arm].to_dicts():
        told = trail.get(f"principle:{inputs.derived_arm}/{row['principle_id']}", {})
        decisions = [records.by_id[key] for key in row["decision_ids"] if key in records.by_id]
        replaced = [earlier for decision in decisions for earlier in records.chain(decision)]
        behind = [sources[key] for key in row["statement_ids"] if key in sources]
        marks = frozenset().union(*(source.marks for source in behind))
        marks |= ({"numbers"} if depends_on.get(row["principle_id"]) else set()) | (
            {"anew"} if replaced else set()
        )
        cards.append(
            PrincipleCard(
                principle_id=row["principle_id"],
                text=row["text"],
                merged_text=row["merged_text"] if len(row["statement_ids"]) > 1 else None,
                gac=row["gac"],
                gac_low=told.get("gac_low"),
                gac_high=told.get("gac_high"),
                sources=behind,
                missing=[key for key in row["statement_ids"] if key not in sources],
                decisions=decisions,
                replaced=replaced,
                robustness=robustness.get(row["principle_id"], ""),
                use=_use(told),
                entry=Entry("principle", inputs.derived_arm, marks),
            )
        )
    return cards


def _use(told: Mapping[str, Any]) -> str:
    if not told or told["n_pairs"] is None:
        return ""
    text = (
        f"{counted(told['n_pairs'], 'preference pair')} judged under it, {told['n_decided_pairs']:,} decided"
    )
    if told["adherence"] is not None:
        text += f"; mean adherence of its model {percent(told['adherence'])}, by the feedback model's measure"
    return f"{text}."


def waiting(inputs: ReportInputs, sources: Mapping[int, Source]) -> list[Source]:
    """List the statements that reach the cut and that nobody has decided on, the widest consensus first."""
    undecided = inputs.selected_statements.filter(pl.col("fate") == "undecided").sort("rank")
    return [sources[key] for key in undecided["statement_id"] if key in sources]
