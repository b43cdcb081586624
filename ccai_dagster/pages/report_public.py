"""The chapters of the report about what the public said.

Belongs here: picking and counting: what opinion groups have in common and what sets them apart, how sure groups and
scores are, the constitution, what waits for a decision, what was left out and why. Doesn't belong here: HTML,
pictures, models.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from ccai_dagster.audit.records import Record, Records
from ccai_dagster.audit.trail import ABOUT_PEOPLE
from ccai_dagster.contracts import FEWEST_TOLD, TOO_FEW_VOTED
from ccai_dagster.core.language import enumerated, gettext, ngettext, number, percent
from ccai_dagster.core.text import counted, quoted
from ccai_dagster.decisions.exported_moderation import differences
from ccai_dagster.decisions.ledger import AVOID, VALUE_KINDS
from ccai_dagster.deliberation.stability import FEW_VOTES, INTERVAL
from ccai_dagster.deliberation.structure import agreement_told, agreement_with_polis, has_structure, separation, verdict
from ccai_dagster.deliberation.votes import group_name
from ccai_dagster.pages.inputs import ReportInputs
from ccai_dagster.pages.parts import Entry, StatementMarks, usual_marks
from ccai_dagster.pages.pictures.opinions import vote_shares
from ccai_dagster.pages.pictures.style import colour
from ccai_dagster.pages.report_decisions import robustness_by_principle
from ccai_dagster.statistics.intervals import wilson_interval

DRAWN = {
    "participants": "When participants are drawn anew at random and grouped again, %(draws)s give %(shares)s of them.",
    "seed": "When the same votes are grouped with other random seeds, %(draws)s give %(shares)s of them.",
}
"""The sentence for each kind of grouping in GROUP_STABILITY."""
FATES = {
    "left out": "Left out by a person",
    "principle": "Principle",
    "undecided": "Undecided",
    "below the cut": "Below the cut",
    TOO_FEW_VOTED: "Too few of a group voted",
    "not scored": "Not scored",
    "moderated out": "Moderated out",
    "never moderated": "Never moderated",
    ABOUT_PEOPLE: "About the people who vote",
}
"""What became of a statement, as a heading."""
PASSED = "%(share)s of %(votes)s passed (95%% interval %(low)s to %(high)s)"
MARKED = "%(share)s of %(votes)s marked it (95%% interval %(low)s to %(high)s)"
ASKED_NEXT = 5
"""Statements that are named as those Polis would show most often."""
EXPLANATIONS = {
    "below the cut": "Not enough agreement in at least one opinion group, or not enough votes to tell. "
    "Behind each consensus stands its 90%% interval.",
    TOO_FEW_VOTED: "By a decision on record, a statement is selected only if a certain share of every opinion group "
    "voted on it. On these, fewer did in at least one group.",
    "never moderated": "Nobody decided on these, so their votes were not counted.",
    ABOUT_PEOPLE: "They say who votes and not what should be done. No group or score rests on them; how the groups "
    "voted on them stands in the chapter on opinion groups.",
    "left out": "They reached the cut; a person decided to leave them out, for the reason given.",
}


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
    """A statement as the report shows it.

    Attributes:
        rejection: Consensus on rejecting it, where it reaches the cut since every group does; else None.
    """

    statement_id: int
    text: str
    original: str | None
    gac: float | None
    gac_low: float | None
    gac_high: float | None
    selection_probability: float | None
    few_votes: bool
    rejection: float | None
    published_gac: float | None
    bars: list[GroupBar]
    decisions: list[Record]
    marks: frozenset[str]


def statement_sources(inputs: ReportInputs, records: Records, marks: StatementMarks) -> dict[int, Source]:
    """Describe every statement that is in, by id."""
    trail = _trail(inputs, "statement")
    few_votes = set(inputs.consensus_stability.filter("few_votes")["statement_id"])
    rejected = inputs.selected_statements.filter(pl.col("selected") & (pl.col("side") == "disagree"))
    rejection = dict(rejected.select("statement_id", "gac").iter_rows())
    sources = {}
    for key, rewritten in inputs.statements.select("statement_id", "rewritten").iter_rows():
        row, few = trail[f"statement:{key}"], key in few_votes
        sources[key] = Source(
            statement_id=key,
            text=row["text"],
            original=row["raw_text"] if rewritten else None,
            gac=row["gac"],
            gac_low=row["gac_low"],
            gac_high=row["gac_high"],
            selection_probability=row["selection_probability"],
            few_votes=few,
            rejection=rejection.get(key),
            published_gac=row["published_gac"],
            bars=_bars(row),
            decisions=[
                *records.on("moderation", key),
                *records.on("idea", key),
                *(each for each in records.on("merge", key) if each.verb == "keep apart"),
            ],
            marks=marks.of(key, rewritten, few, row["selection_probability"]),
        )
    return sources


def _trail(inputs: ReportInputs, kind: str) -> dict[str, dict[str, Any]]:
    """Rows of the decision trail by subject."""
    return {row["subject"]: row for row in inputs.decision_trail.filter(kind=kind).to_dicts()}


def _bars(row: Mapping[str, Any]) -> list[GroupBar]:
    bars = []
    for group, votes, share in zip(row["group_ids"], row["group_votes"], row["group_agreement"], strict=True):
        if share is not None:
            low, high = wilson_interval(share * votes, votes)
            bars.append(GroupBar(group_name(group), colour(group), votes, 100 * share, 100 * low, 100 * high))
    return bars


def most_uniting(sources: Iterable[Source]) -> Source | None:
    """Return the statement with the widest consensus; None if every group rejects what there is."""
    agreed = [source for source in sources if source.gac is not None and source.rejection is None]
    return max(agreed, key=lambda source: (source.gac or 0.0, -source.statement_id), default=None)


def most_dividing(sources: Iterable[Source]) -> Source | None:
    """Return the statement on which the shares of the groups that agree lie furthest apart.

    Only where at least `FEWEST_TOLD` people of every group voted; None if there is none, or one group only.
    """
    told = [each for each in sources if len(each.bars) > 1 and min(bar.votes for bar in each.bars) >= FEWEST_TOLD]

    def apart(source: Source) -> tuple[float, int]:
        shares = [bar.share for bar in source.bars]
        return max(shares) - min(shares), -source.statement_id

    return max(told, key=apart, default=None)


@dataclass(frozen=True)
class PrincipleCard:
    """A principle of the derived constitution with everything behind it.

    Attributes:
        avoids: Whether it says what to avoid, since every group rejects its statements.
    """

    principle_id: str
    text: str
    merged_text: str | None
    gac: float | None
    gac_low: float | None
    gac_high: float | None
    sources: list[Source]
    missing: list[int]
    avoids: bool
    decisions: list[Record]
    replaced: list[Record]
    robustness: str
    use: str
    entry: Entry

    @property
    def earlier_wordings(self) -> list[Record]:
        """Wordings that this one replaced, the nearest first."""
        return [record for record in self.replaced if record.verb in ("principle", AVOID)]

    @property
    def on_statements(self) -> list[tuple[list[Record], list[int]]]:
        """Decisions on its statements, those together that say the same, and the statements they are on."""
        alike: dict[tuple[object, ...], tuple[dict[str, Record], list[int]]] = {}
        for source in self.sources:
            for one in source.decisions:
                # Ideas are shown with their text.
                outcome = one.outcome if one.kind == "idea" else one.verb
                rows, keys = alike.setdefault((outcome, one.superseded, one.told), ({}, []))
                rows[one.decision_id] = one
                if source.statement_id not in keys:
                    keys.append(source.statement_id)
        return [(list(rows.values()), keys) for rows, keys in alike.values()]

    @property
    def every_decision(self) -> list[Record]:
        """Decisions that led here, those replaced since included, each once."""
        every = [*self.decisions, *self.replaced, *(one for source in self.sources for one in source.decisions)]
        return list({record.decision_id: record for record in every}.values())


def principle_cards(inputs: ReportInputs, records: Records, sources: Mapping[int, Source]) -> list[PrincipleCard]:
    """Describe every principle of the derived constitution, in its order."""
    trail = _trail(inputs, "principle")
    robustness = robustness_by_principle(inputs.principle_robustness, inputs.derived_arm)
    depends_on = dict(
        inputs.principle_robustness.filter(arm=inputs.derived_arm).select("principle_id", "hangs_on").iter_rows()
    )
    cards = []
    for row in inputs.constitutions[inputs.derived_arm].to_dicts():
        known = trail.get(f"principle:{inputs.derived_arm}/{row['principle_id']}", {})
        decisions = [records.by_id[key] for key in row["decision_ids"] if key in records.by_id]
        replaced = [earlier for decision in decisions for earlier in records.chain(decision)]
        behind = [sources[key] for key in row["statement_ids"] if key in sources]
        marks = frozenset().union(*(source.marks for source in behind))
        marks |= ({"numbers"} if depends_on.get(row["principle_id"]) else set()) | ({"anew"} if replaced else set())
        cards.append(
            PrincipleCard(
                principle_id=row["principle_id"],
                text=row["text"],
                merged_text=row["merged_text"] if len(row["statement_ids"]) > 1 else None,
                gac=row["gac"],
                gac_low=known.get("gac_low"),
                gac_high=known.get("gac_high"),
                sources=behind,
                missing=[key for key in row["statement_ids"] if key not in sources],
                avoids=row["side"] == "disagree",
                decisions=decisions,
                replaced=replaced,
                robustness=robustness.get(row["principle_id"], ""),
                use=_use(known) if inputs.trained else "",
                entry=Entry("principle", inputs.derived_arm, marks),
            )
        )
    return cards


def _use(row: Mapping[str, Any]) -> str:
    if not row or row["n_pairs"] is None:
        return ""
    text = f"{counted(row['n_pairs'], 'preference pair')} judged under it, {row['n_decided_pairs']:,} decided"
    if row["adherence"] is not None:
        text += f"; mean adherence of its model {percent(row['adherence'])}, by the feedback model's measure"
    return f"{text}."


def waiting(inputs: ReportInputs, sources: Mapping[int, Source]) -> list[Source]:
    """List the statements that reach the cut and that nobody has decided on, the widest consensus first."""
    undecided = inputs.selected_statements.filter(pl.col("fate") == "undecided").sort("rank")
    return [sources[key] for key in undecided["statement_id"] if key in sources]


def opinion_facts(inputs: ReportInputs) -> list[str]:
    """Say from the figures how far groups and scores can be trusted."""
    facts = [
        *([f"{_capital(separation(inputs.group_structure))}."] if inputs.opinion_groups["group_id"].max() else []),
        *(
            _groups(inputs.group_stability.filter(pl.col("varied") == varied), sentence)
            for varied, sentence in DRAWN.items()
            if (inputs.group_stability["varied"] == varied).any()
        ),
    ]
    scored = inputs.consensus_stability.filter(pl.col("gac").is_not_null())
    if scored.is_empty():
        return facts
    width = scored.select((pl.col("gac_high") - pl.col("gac_low")).median()).item()
    same = scored.select((pl.col("gac_high_same_groups") - pl.col("gac_low_same_groups")).median()).item()
    facts.append(
        gettext(
            "In nine draws out of ten a score lies within its 90%% interval. Half of these intervals are wider than "
            "%(width)s; were the groups certain, they would be wider than %(same)s.",
            width=number(width, 2),
            same=number(same, 2),
        )
    )
    selected = inputs.selected_statements.filter("selected").select("statement_id")
    own = scored.join(selected, on="statement_id", how="semi")
    other = scored.join(selected, on="statement_id", how="anti")
    share, (low, high) = pl.col("selection_probability"), INTERVAL
    facts.append(
        ngettext(
            "Of %(count)s selected statement, %(firm)s reach the cut in at least %(high)s of the draws. %(other)s "
            "that were not selected reach it in more than %(low)s.",
            "Of %(count)s selected statements, %(firm)s reach the cut in at least %(high)s of the draws. %(other)s "
            "that were not selected reach it in more than %(low)s.",
            own.height,
            firm=number(own.filter(share >= high).height),
            high=percent(high),
            other=number(other.filter(share > low).height),
            low=percent(low),
        )
    )
    facts.append(
        gettext(
            "On %(statements)s of the selected statements some group cast fewer than %(votes)s votes: too few to tell "
            "what share of it agrees.",
            statements=number(own.filter("few_votes").height),
            votes=FEW_VOTES,
        )
    )
    return facts


def structure_fact(inputs: ReportInputs) -> str:
    """Say whether the votes show a structure at all, and what follows if not."""
    told = gettext("The votes show %(what)s", what=verdict(inputs.group_structure))
    if has_structure(inputs.group_structure):
        why = gettext("how people voted on one statement goes with how they voted on others.")
        return f"{told}: {why}"
    if inputs.group_structure.is_empty():
        follows = gettext("The groups are those of whoever counted the votes.")
    elif inputs.opinion_groups["group_id"].n_unique() == 1:
        follows = gettext("So everybody is taken as one group, and nothing sets groups apart.")
    else:
        follows = gettext("The groups below were kept by a decision; they may be nothing but chance.")
    return f"{told}. {follows}"


def polis_fact(inputs: ReportInputs) -> tuple[str, pl.DataFrame] | None:
    """Say how the groups agree with those that Polis assigned, with the cross table; None if it assigned none."""
    agreement = agreement_with_polis(inputs.opinion_groups, inputs.participants)
    if agreement is None:
        return None
    return f"{_capital(agreement_told(agreement, inputs.import_report))}.", agreement.cross_table


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _groups(draws: pl.DataFrame, sentence: str) -> str:
    numbers = draws["n_groups"].value_counts().sort("count", "n_groups", descending=[True, False])
    shares = [
        ngettext(
            "%(count)s group in %(share)s", "%(count)s groups in %(share)s", n, share=percent(times / draws.height)
        )
        for n, times in numbers.iter_rows()
    ]
    index = draws["adjusted_rand"]
    found = gettext(
        sentence, draws=ngettext("%(count)s draw", "%(count)s draws", draws.height), shares=enumerated(shares)
    )
    likeness = gettext(
        "The likeness to the groups shown here (adjusted Rand index: 1 if the same people stand together, 0 if only by "
        "chance) is %(middle)s in the middle, and from %(lowest)s to %(highest)s.",
        middle=number(index.quantile(0.5, "linear") or 0.0, 2),
        lowest=number(min(index), 2),
        highest=number(max(index), 2),
    )
    return f"{found} {likeness}"


@dataclass(frozen=True)
class GroupCast:
    """How one opinion group voted on one statement: shares of the votes it cast, in percent; the rest passed."""

    name: str
    colour: str
    agree: float
    disagree: float


@dataclass(frozen=True)
class Representative:
    """The statements that set one opinion group apart, with the side it takes and how every group voted."""

    group_id: int
    name: str
    statements: list[tuple[Source, str, list[GroupCast]]]


def representatives(inputs: ReportInputs, sources: Mapping[int, Source]) -> list[Representative]:
    """List what sets each opinion group apart."""
    table = inputs.representative_statements.sort("group_id", "rank")
    shares = vote_shares(inputs.group_votes.filter(pl.col("statement_id").is_in(table["statement_id"].implode())))
    every = inputs.group_votes["group_id"].unique().sort()
    cast = {
        key: [
            GroupCast(group_name(group), colour(group), 100 * voted.shares[1], 100 * voted.shares[-1])
            for group in every
            if (voted := shares.get((key, group))) is not None
        ]
        for key in table["statement_id"].unique()
    }
    return [
        Representative(
            group,
            group_name(group),
            [
                (sources[key], side, cast[key])
                for key, side in table.filter(pl.col("group_id") == group).select("statement_id", "side").iter_rows()
                if key in sources
            ],
        )
        for group in table["group_id"].unique().sort()
    ]


@dataclass(frozen=True)
class SelfDescription:
    """A statement about the people who vote, as the report shows it.

    Attributes:
        bars: Agreement of each group that is told.
        rest: Who disagrees and passes, and of which groups nothing is told.
    """

    statement_id: int
    text: str
    bars: list[GroupBar]
    rest: str


def self_descriptions(group_profile: pl.DataFrame) -> list[SelfDescription]:
    """List the statements about the people who vote, those first on which groups differ most in agreement."""
    spread = (pl.col("agree_share").max() - pl.col("agree_share").min()).over("statement_id").fill_null(-1)
    ordered = group_profile.sort(spread, "statement_id", "group_id", descending=[True, False, False])
    return [
        SelfDescription(
            statement_id=rows["statement_id"][0],
            text=rows["text"][0],
            bars=[
                GroupBar(
                    group_name(row["group_id"]),
                    colour(row["group_id"]),
                    row["n_votes"],
                    *(100 * row[f"agree_{each}"] for each in ("share", "low", "high")),
                )
                for row in rows.drop_nulls("n_votes").to_dicts()
            ],
            rest=" ".join(_others(row) for row in rows.to_dicts()),
        )
        for rows in ordered.partition_by("statement_id", maintain_order=True)
    ]


def _others(row: Mapping[str, Any]) -> str:
    """Who disagrees with a statement about themselves and who passes, in one group."""
    name = group_name(row["group_id"])
    if row["n_votes"] is None:
        return gettext("%(group)s: too few voted to be told.", group=name)
    return gettext(
        "%(group)s: %(disagree)s disagree (%(disagree_low)s to %(disagree_high)s) and %(pass)s pass (%(pass_low)s to "
        "%(pass_high)s).",
        group=name,
        **{
            f"{side}{end}": percent(row[f"{side}{end or '_share'}"])
            for side in ("disagree", "pass")
            for end in ("", "_low", "_high")
        },
    )


def moderated_otherwise(inputs: ReportInputs) -> list[tuple[int, str]]:
    """List the statements on which the export says otherwise than the moderation taken over from it, and what."""
    return [
        (
            each.statement_id,
            gettext("%(export)s, and the ledger says %(recorded)s.", export=each.sentence, recorded=each.recorded),
        )
        for each in differences(inputs.ledgers["moderation"], inputs.raw_statements)
        if not each.by_person
    ]


def whole_public(consensus_statements: pl.DataFrame, sources: Mapping[int, Source]) -> list[tuple[Source, str]]:
    """List the statements that the public as a whole agrees or disagrees with, groups aside, and how far."""
    found = []
    for row in consensus_statements.sort("side", "rank").to_dicts():
        if row["statement_id"] in sources:
            low, high = wilson_interval(row["n_side"], row["n_votes"])
            values = {
                "share": percent(row["n_side"] / row["n_votes"]),
                "votes": number(row["n_votes"]),
                "low": percent(low),
                "high": percent(high),
            }
            told = (
                gettext("%(share)s of %(votes)s votes agree (95%% interval %(low)s to %(high)s)", **values)
                if row["side"] == "agree"
                else gettext("%(share)s of %(votes)s votes disagree (95%% interval %(low)s to %(high)s)", **values)
            )
            found.append((sources[row["statement_id"]], told))
    return found


def retold(written_narrative: pl.DataFrame | None) -> dict[tuple[str, str], tuple[str, str]]:
    """Return what a model wrote of each group and topic, by scope and name, with the model's name."""
    if written_narrative is None:
        return {}
    shown = written_narrative.drop_nulls("text").select("scope", "about", "text", "model")
    return {(scope, about): (text, model) for scope, about, text, model in shown.iter_rows()}


def topics(
    narrative: pl.DataFrame, gac_scores: pl.DataFrame, sources: Mapping[int, Source]
) -> list[tuple[str, list[str]]]:
    """List what is told of each topic: its name, where groups agree most widely on it, and where they part."""
    scores = {row["statement_id"]: row for row in gac_scores.to_dicts()}
    told = narrative.filter(pl.col("scope") == "topic").sort("scope_id", "place")
    return [
        (
            str(name),
            [
                _on_topic(place, sources[key], scores[key])
                for place, (key,) in own.select("place", "statement_ids").iter_rows()
                if key in sources
            ],
        )
        for (_, name), own in told.group_by("scope_id", "about", maintain_order=True)
    ]


def _on_topic(place: int, source: Source, row: Mapping[str, Any]) -> str:
    shares = [
        gettext(
            "%(share)s of %(votes)s votes of %(group)s", share=percent(share), votes=number(n), group=group_name(key)
        )
        for key, n, share in zip(row["group_ids"], row["group_votes"], row["group_agreement"], strict=True)
        if n
    ]
    values = {"text": quoted(source.text), "number": source.statement_id, "shares": enumerated(shares)}
    if place == 1:
        return gettext("Groups agree most widely on %(text)s (statement %(number)s): %(shares)s agree.", **values)
    return gettext("They part most on %(text)s (statement %(number)s): %(shares)s agree.", **values)


def uncertainties(uncertain: pl.DataFrame, sources: Mapping[int, Source]) -> list[tuple[Source, str]]:
    """List the statements that are uncertain by the rule of Polis, those that most people passed on first."""
    return _ranked(uncertain.filter("by_polis"), sources, "group_passes", PASSED)


def marked_important(important: pl.DataFrame, sources: Mapping[int, Source]) -> list[tuple[Source, str]]:
    """List the statements that somebody marked as important, those of the largest share first."""
    return _ranked(important.filter(pl.col("n_important") > 0), sources, "group_important", MARKED)


def _ranked(table: pl.DataFrame, sources: Mapping[int, Source], column: str, did: str) -> list[tuple[Source, str]]:
    """Statements by rank, each with how many did something."""
    return [
        (sources[row["statement_id"]], _by_group(row, column, did))
        for row in table.sort("rank").to_dicts()
        if row["statement_id"] in sources
    ]


def _by_group(row: Mapping[str, Any], column: str, did: str) -> str:
    """How many did something, with the interval, and how many in each group, in words."""
    groups = zip(row["group_ids"], row["group_votes"], row[column], strict=True)
    shares = [
        gettext("%(group)s %(those)s of %(votes)s", group=group_name(group), those=number(those), votes=number(votes))
        for group, votes, those in groups
    ]
    told = gettext(
        did,
        share=percent(row["share"]),
        votes=number(row["n_votes"]),
        low=percent(row["low"]),
        high=percent(row["high"]),
    )
    return f"{told}; {', '.join(shares)}" if len(shares) > 1 else told


def asked_next(priorities: pl.DataFrame, sources: Mapping[int, Source]) -> list[Source]:
    """List the statements that Polis would show most often if people went on voting, the likeliest first."""
    order = priorities.sort("priority", "statement_id", descending=[True, False])
    return [sources[key] for key in order["statement_id"] if key in sources][:ASKED_NEXT]


@dataclass(frozen=True)
class LeftOutStatement:
    """A statement that led to no principle.

    Attributes:
        agreement: Of each of `groups_told`, a dash where nobody of it voted.
        because: By whose decision and why; empty if nobody decided.
        worded: Principles it was worded as, and how often each is in.
        ids: Of all decisions on it, that one first and replaced ones included, but for those that its part tells.
    """

    statement_id: int
    text: str
    original: str | None
    gac: float | None
    gac_low: float | None
    gac_high: float | None
    agreement: list[str]
    because: str
    decision_id: str | None
    worded: list[tuple[str, str]]
    ids: list[str]
    entry: Entry


@dataclass(frozen=True)
class LeftOutPart:
    """Statements that were decided on by the same role with the same words.

    Attributes:
        because: The words, and whose; empty if nobody decided.
        ids: What stands before the statement's number in the id of a decision on each of them, which then is said once.
        decision_id: The one decision on all of them, which then is said once; empty if each has its own.
        marks: What its statements are marked with where nothing else is told.
    """

    because: str
    ids: list[str]
    decision_id: str
    marks: frozenset[str]
    statements: list[LeftOutStatement]


@dataclass(frozen=True)
class LeftOut:
    """Statements that are not in the constitution for the same reason, by whose decision and why.

    Attributes:
        scored: Whether any has a score.
    """

    fate: str
    heading: str
    explanation: str
    n: int
    scored: bool
    parts: list[LeftOutPart]


def left_out(inputs: ReportInputs, records: Records, sources: Mapping[int, Source]) -> list[LeftOut]:
    """Group every statement that led to no principle by why; those waiting for a decision are not there.

    Within a group, statements that were decided on by the same role with the same words stand together, if ids of
    decisions on them follow from their numbers in the same way.
    """
    trail = inputs.decision_trail.filter(
        (pl.col("kind") == "statement") & ~pl.col("fate").is_in(["principle", "undecided"])
    )
    robustness = robustness_by_principle(inputs.principle_robustness, inputs.derived_arm)
    groups = groups_told(inputs)
    by_fate: dict[str, dict[str, list[LeftOutStatement]]] = {}
    for row in trail.sort("gac", descending=True, nulls_last=True, maintain_order=True).to_dicts():
        shown = _left_out_statement(row, records, sources, robustness, groups)
        by_fate.setdefault(row["fate"], {}).setdefault(shown.because, []).append(shown)
    return [
        LeftOut(
            fate=fate,
            heading=fate_told(fate),
            explanation=gettext(EXPLANATIONS[fate]) if fate in EXPLANATIONS else "",
            n=sum(len(rows) for rows in by_fate[fate].values()),
            scored=any(row.gac is not None for rows in by_fate[fate].values() for row in rows),
            parts=[
                part
                for because, rows in sorted(by_fate[fate].items(), key=lambda part: -len(part[1]))
                for part in _parts(because, rows)
            ],
        )
        for fate in sorted(by_fate, key=_order)
    ]


def groups_told(inputs: ReportInputs) -> list[str]:
    """List the groups whose agreement with statements is told."""
    return [group_name(key) for key in inputs.decision_trail["group_ids"].explode().drop_nulls().unique().sort()]


def fate_told(fate: str) -> str:
    """Return what became of a statement, as a heading; what somebody typed stays as it is."""
    known, colon, criterion = fate.partition(": ")
    return f"{gettext(FATES[known])}{colon}{criterion}" if known in FATES else fate


def _parts(because: str, rows: Sequence[LeftOutStatement]) -> list[LeftOutPart]:
    """Say once which decision is on all, and which ids of others follow from the statements' numbers."""
    decisions = {row.decision_id for row in rows}
    shared = (rows[0].decision_id or "") if len(decisions) == 1 and len(rows) > 1 else ""
    alike: dict[tuple[str, ...], list[LeftOutStatement]] = {}
    for row in rows:
        number, ids = str(row.statement_id), [each for each in row.ids if each != shared]
        numbered = sorted(each.removesuffix(number) for each in ids if each.endswith(number))
        alike.setdefault(tuple(numbered), []).append(replace(row, ids=ids))
    parts = []
    for before, own in alike.items():
        said = list(before) if len(own) > 1 else []
        told = [
            replace(row, ids=[each for each in row.ids if each not in {f"{one}{row.statement_id}" for one in said}])
            for row in own
        ]
        parts.append(LeftOutPart(because, said, shared, usual_marks(row.entry for row in own), told))
    return parts


def _left_out_statement(
    row: Mapping[str, Any],
    records: Records,
    sources: Mapping[int, Source],
    robustness: Mapping[str, str],
    groups: Sequence[str],
) -> LeftOutStatement:
    (key,) = row["statement_ids"]
    source = sources.get(key)
    agreement = {bar.name: percent(bar.share / 100) for bar in source.bars} if source else {}
    decision = None
    if row["fate"].startswith("moderated out") or row["fate"] == ABOUT_PEOPLE:
        decision = next(iter(records.on("moderation", key)), None)
    elif row["fate"] == "left out":
        decision = next((one for one in records.on("wording", key) if one.verb == "leave out"), None)
    worded = [one.root_id for one in records.on("wording", key) if one.verb in ("principle", AVOID)]
    decided = [
        one for one in row["decision_ids"] if one in records.by_id and records.by_id[one].kind not in VALUE_KINDS
    ]
    return LeftOutStatement(
        statement_id=key,
        text=row["text"],
        original=source.original if source else None,
        gac=row["gac"],
        gac_low=row["gac_low"],
        gac_high=row["gac_high"],
        agreement=[agreement.get(name, "–") for name in groups],
        because=f"{decision.because} ({decision.decided_by}, {decision.decided_at[:10]})" if decision else "",
        decision_id=decision.decision_id if decision else None,
        worded=[(principle, robustness.get(principle, "")) for principle in worded],
        ids=list(dict.fromkeys([*([decision.decision_id] if decision else []), *decided])),
        entry=Entry(row["fate"], marks=source.marks if source else frozenset()),
    )


def _order(fate: str) -> tuple[int, str]:
    first = ("left out", "below the cut", TOO_FEW_VOTED, "not scored")
    return (first.index(fate) if fate in first else 8 if fate == "never moderated" else 5, fate)
