"""Which statements and principles depend on which numeric decision.

Belongs here: which alternatives of a decision are tried, alone and combined, and what their selections, once
computed, say about decisions and principles. Doesn't belong here: computing those selections (`recomputation`),
decisions on single statements and participants (`reversals`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import Any, get_args

import numpy as np
import polars as pl

from ccai_dagster.consultation.folder import ModerationMode
from ccai_dagster.contracts import DECISION_IMPORTANCE, DECISION_SENSITIVITY, PRINCIPLE_ROBUSTNESS
from ccai_dagster.core.language import enumerated, gettext, ngettext, number
from ccai_dagster.core.text import natural
from ccai_dagster.decisions.outcomes import wordings
from ccai_dagster.decisions.values import Cut, Thresholds
from ccai_dagster.deliberation.votes import Aggregation, Imputation, Procedure, ProcedureName, Smoothing

MINIMUM_VOTES_STEPS = (-10, -5, 5, 10)
NUMBERS_OF_GROUPS: tuple[int | None, ...] = (None, 2, 3, 4, 5)
THRESHOLD_STEPS = (-0.05, -0.02, 0.02, 0.05)
BUDGET_STEPS = (-0.2, -0.1, 0.1, 0.2)
"""Shares of the idea budget."""
SMALLEST_GROUPS = (1, 5, 10)
FURTHER_SEEDS = 3
IMPORTANCE_WEIGHTS = [1.0, 2.0]
POLIS_PARTICIPATION = 0.05
"""Share of every group that Polis asks to have voted (`consensusThreshold.js` of its report)."""
SCORING = ("smoothing", "aggregation", "selection", "importance_weight")
"""Decisions that are taken after the groups are known, so that trying them costs next to nothing."""
Sources = Mapping[str, frozenset[int]]
"""Statements behind each principle of one constitution, by principle id.

Of a principle of avoidance, which is in only if every group rejects the statement, the complement `~id` stands for it.
"""


@dataclass(frozen=True)
class Alternative:
    """One way to have taken all numeric decisions; one field a decision.

    Attributes:
        moderation: Whether a statement nobody decided on is in (`lenient`) or out (`strict`).
        minimum_votes: Fewest votes for a participant to count.
        procedure: Name of the way groups are computed.
        imputation: What stands for a vote not cast.
        number_of_groups: A fixed number, or None where the data decide.
        smallest_group: Fewest people that make a group.
        smoothing: Of the share of each group that agrees.
        aggregation: Over groups.
        selection: The rule by which statements are selected, and where it draws the line.
        seed: Of k-means, where the procedure has a use for it.
        importance_weight: How often a vote counts with which a statement was marked as important.
    """

    moderation: ModerationMode
    minimum_votes: int
    procedure: ProcedureName
    imputation: Imputation
    number_of_groups: int | None
    smallest_group: int
    smoothing: Smoothing
    aggregation: Aggregation
    selection: Cut
    seed: int
    importance_weight: float = 1.0

    @property
    def method(self) -> Procedure:
        """How groups and consensus are computed in this alternative."""
        return Procedure(
            name=self.procedure,
            imputation=self.imputation,
            number_of_groups=self.number_of_groups,
            smoothing=self.smoothing,
            aggregation=self.aggregation,
            seed=self.seed,
            smallest_group=self.smallest_group,
            importance_weight=self.importance_weight,
        )

    @property
    def way_to_group(self) -> tuple[object, ...]:
        """The decisions that the opinion groups depend on; alternatives with equal ones share their groups."""
        return tuple(getattr(self, name) for name in GROUPING)

    def shown(self) -> dict[str, str]:
        """Every decision's value as people read it, as `auto`, `0.05` or `threshold 0.7`."""
        return {name: _shown(getattr(self, name)) for name in DECISIONS}


def _shown(value: Any) -> str:
    if value is None:
        return "auto"
    if isinstance(value, Cut):
        line = f"threshold {value.threshold:g}" if value.rule == "threshold" else f"ideas {value.idea_budget}"
        voted = f", votes of {value.participation:g} of every group" if value.participation else ""
        return f"{line}{voted}{', rejected ones too' if value.rejected else ''}"
    return f"{value:g}" if isinstance(value, float) else str(value)


DECISIONS = tuple(each.name for each in fields(Alternative))
"""The numeric decisions, in the order in which they take effect."""
GROUPING = tuple(name for name in DECISIONS if name not in SCORING)
"""Decisions that the opinion groups depend on."""


def alternative_on_record(settled: Thresholds, moderation: ModerationMode) -> Alternative:
    """Return the decisions as they were taken."""
    return Alternative(
        moderation=moderation,
        minimum_votes=settled.minimum_votes,
        procedure=settled.procedure.name,
        imputation=settled.procedure.imputation,
        number_of_groups=settled.procedure.number_of_groups,
        smallest_group=settled.procedure.smallest_group,
        smoothing=settled.procedure.smoothing,
        aggregation=settled.procedure.aggregation,
        selection=settled.cut,
        seed=settled.procedure.seed,
        importance_weight=settled.procedure.importance_weight,
    )


def levels(on_record: Alternative, has_ideas: bool, has_importance: bool = False) -> dict[str, tuple[Any, ...]]:
    """Return the values of every decision that are tried, that on record first.

    Args:
        has_ideas: Whether ideas are on record, so that selecting by ideas can be tried.
        has_importance: Whether anybody marked a statement as important, so that another weight of that can be tried.

    Returns:
        Values by decision, in the order of `DECISIONS`. The rule that is not in force is tried where the
        ledger draws its line; the one in force is moved up and down.
    """
    minimum = on_record.minimum_votes
    tried: dict[str, list[Any]] = {
        "moderation": list(get_args(ModerationMode)),
        "minimum_votes": sorted({0, *(minimum + step for step in MINIMUM_VOTES_STEPS if minimum + step > 0)}),
        "procedure": list(get_args(ProcedureName)),
        "imputation": list(get_args(Imputation)),
        "number_of_groups": list(NUMBERS_OF_GROUPS),
        "smallest_group": list(SMALLEST_GROUPS),
        "smoothing": list(get_args(Smoothing)),
        "aggregation": list(get_args(Aggregation)),
        "selection": _cuts(on_record.selection, has_ideas),
        "importance_weight": IMPORTANCE_WEIGHTS if has_importance else [],
        "seed": [on_record.seed + step for step in range(1, FURTHER_SEEDS + 1)],
    }
    return {name: tuple(dict.fromkeys([getattr(on_record, name), *tried[name]])) for name in DECISIONS}


def _cuts(cut: Cut, has_ideas: bool) -> list[Cut]:
    participation = 0.0 if cut.participation else POLIS_PARTICIPATION
    further = [replace(cut, participation=participation), replace(cut, rejected=not cut.rejected)]
    return [*_lines(cut, has_ideas), *further]


def _lines(cut: Cut, has_ideas: bool) -> list[Cut]:
    if cut.rule == "threshold":
        moved = [round(cut.threshold + step, 6) for step in THRESHOLD_STEPS]
        cuts = [replace(cut, threshold=value) for value in moved if 0 <= value <= 1]
    else:
        budgets = [max(1, round(cut.idea_budget * (1 + step))) for step in BUDGET_STEPS]
        cuts = [replace(cut, idea_budget=value) for value in budgets]
    if cut.rule == "ideas":
        return [*cuts, replace(cut, rule="threshold")]
    return [*cuts, replace(cut, rule="ideas")] if has_ideas else cuts


def single_changes(on_record: Alternative, tried: Mapping[str, tuple[Any, ...]]) -> list[Alternative]:
    """Return every alternative that differs from the record in one decision, in the order of the values tried."""
    return [
        replace(on_record, **{name: value})
        for name in DECISIONS
        for value in tried[name]
        if value != getattr(on_record, name)
    ]


def combinations(tried: Mapping[str, tuple[Any, ...]], ways_to_group: int, seed: int) -> list[Alternative]:
    """Return alternatives in which all decisions may differ at once.

    Each way to group people (a combination of the decisions in `GROUPING`) is crossed with all values of the
    others. There are as many ways to group as `ways_to_group`, drawn without replacement, each as likely as
    any other; all of them if there are no more.

    Args:
        tried: Values by decision.
        ways_to_group: How many ways to group are tried, 1 or more; grouping takes nearly all the time.
    """
    ways = list(product(*(tried[name] for name in GROUPING)))
    if len(ways) > ways_to_group:
        drawn = np.random.default_rng(seed).choice(len(ways), ways_to_group, replace=False)
        ways = [ways[place] for place in sorted(drawn.tolist())]
    scored = list(product(*(tried[name] for name in SCORING)))
    return [
        Alternative(**dict(zip(GROUPING, way, strict=True)), **dict(zip(SCORING, score, strict=True)))
        for way in ways
        for score in scored
    ]


def decision_sensitivity(alternatives: pl.DataFrame, sources: Sources) -> pl.DataFrame:
    """Say for each numeric decision what every alternative alone would change.

    Args:
        sources: Of the constitution derived from the votes.

    Returns:
        DECISION_SENSITIVITY: the decisions in the order in which they take effect; for each the value on
        record (`chosen`), then its alternatives.
    """
    record, changes = _single_changes(alternatives)
    selected = frozenset(record["statement_ids"])
    before = principles_in(sources, record)
    rows: list[dict[str, Any]] = []
    for decision in _that_matter(changes):
        for alternative in [record, *changes[decision]]:
            other = frozenset(alternative["statement_ids"])
            after = principles_in(sources, alternative)
            rows.append(
                {
                    "decision": decision,
                    "alternative": alternative[decision],
                    "chosen": alternative is record,
                    "n_groups": alternative["n_groups"],
                    "n_selected": alternative["n_selected"],
                    "entering": sorted(other - selected),
                    "leaving": sorted(selected - other),
                    "lost_principles": sorted(before - after, key=natural),
                    "gained_principles": sorted(after - before, key=natural),
                }
            )
    return DECISION_SENSITIVITY.build(rows)


def _single_changes(alternatives: pl.DataFrame) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """The alternative on record, and by decision the alternatives in which it alone was taken otherwise."""
    ordered = alternatives.filter(pl.col("changed").list.len() <= 1).sort("world_id")
    record, *others = ordered.iter_rows(named=True)
    changes: dict[str, list[dict[str, Any]]] = {name: [] for name in DECISIONS}
    for alternative in others:
        changes[alternative["changed"][0]].append(alternative)
    return record, changes


def _that_matter(changes: Mapping[str, list[dict[str, Any]]]) -> list[str]:
    """All decisions, but the weight of importance only if others were tried: if nobody marked any it weighs nothing."""
    return [name for name in DECISIONS if changes[name] or name != "importance_weight"]


def principle_robustness(alternatives: pl.DataFrame, arms: Mapping[str, Sources]) -> pl.DataFrame:
    """Say for each principle in what share of the combinations it is in.

    Args:
        arms: Sources by arm; principles of a constitution from a file are in where one of the statements
            it names reaches the cut.

    Returns:
        PRINCIPLE_ROBUSTNESS: by arm, principles that are in most often first.
    """
    record, changes = _single_changes(alternatives)
    combined = alternatives.filter("combination")
    rows: list[dict[str, Any]] = []
    for arm, sources in arms.items():
        before = principles_in(sources, record)
        n_in = dict(zip(sources, _membership(combined, sources).sum(axis=0).tolist(), strict=True))
        hangs_on: dict[str, list[str]] = {principle: [] for principle in sources}
        for decision in DECISIONS:
            for principle in _changed(sources, before, changes[decision]):
                hangs_on[principle].append(decision)
        rows += [
            {
                "arm": arm,
                "principle_id": principle,
                "statement_ids": sorted(max(each, ~each) for each in sources[principle]),
                "in_on_record": principle in before,
                "n_worlds": combined.height,
                "n_in": n_in[principle],
                "share_in": n_in[principle] / combined.height,
                "hangs_on": hangs_on[principle],
            }
            for principle in sorted(sources, key=lambda each: (-n_in[each], natural(each)))
        ]
    return PRINCIPLE_ROBUSTNESS.build(rows)


def _changed(sources: Sources, before: frozenset[str], changes: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """Principles that come in or drop out in at least one of the alternatives."""
    return frozenset().union(*(principles_in(sources, alternative) ^ before for alternative in changes))


def decision_importance(
    alternatives: pl.DataFrame, sources: Sources, decision_ids: Mapping[str, list[str]]
) -> pl.DataFrame:
    """Rank the numeric decisions by how many principles depend on them.

    A principle depends on a decision if one alternative of this decision alone brings it in or takes it out.
    Beside that count stands what the decision accounts for when all others vary too: how much closer two
    combinations are, on average, if they agree on it. This is the first-order index of variance-based
    sensitivity analysis (Sobol 1993; for several outcomes at once Lamboni et al. 2011), written as distances.
    What all shares together leave open to 1 comes from decisions acting together. Where only a sample of the
    ways to group was tried, the shares of decisions on groups are uncertain by several percentage points (of 40
    ways on the votes of CCAI, the number of groups got 0.07 to 0.24).

    Args:
        sources: Of the constitution derived from the votes.
        decision_ids: Ledger rows that settled each decision; none for those in consultation.yaml.

    Returns:
        DECISION_IMPORTANCE: most principles first, then the larger share, then in the order of effect.
    """
    record, changes = _single_changes(alternatives)
    selected = frozenset(record["statement_ids"])
    before = principles_in(sources, record)
    combined = alternatives.filter("combination")
    membership = _membership(combined, sources)
    anywhere = _distance(combined, [], membership)
    rows: list[dict[str, Any]] = []
    for decision in _that_matter(changes):
        moved = [frozenset(alternative["statement_ids"]) ^ selected for alternative in changes[decision]]
        affected = _changed(sources, before, changes[decision])
        equal = _distance(combined, [decision], membership)
        rows.append(
            {
                "decision": decision,
                "chosen": record[decision],
                "decision_ids": list(decision_ids.get(decision, [])),
                "n_alternatives": len(changes[decision]),
                "n_principles": len(affected),
                "lost_principles": sorted(affected & before, key=natural),
                "gained_principles": sorted(affected - before, key=natural),
                "n_statements": len(frozenset().union(*moved)),
                "difference": anywhere,
                "difference_if_equal": equal,
                "share": _share(anywhere, equal),
            }
        )
    rows.sort(key=lambda row: (-row["n_principles"], -(row["share"] or 0.0)))
    return DECISION_IMPORTANCE.build([{"rank": rank, **row} for rank, row in enumerate(rows, start=1)])


def _membership(combined: pl.DataFrame, sources: Sources) -> np.ndarray:
    """Shape (alternatives, principles), bool, where a principle is in; as `principles_in` tells for one of them."""
    worlds = combined.select("rejected_ids", each="statement_ids").with_row_index("world")
    asked = {max(each, ~each) for ids in sources.values() for each in ids}
    behind = pl.DataFrame(
        [(principle, source) for principle, ids in enumerate(sources.values()) for source in ids],
        schema={"principle": pl.Int64, "source": pl.Int64},
        orient="row",
    )
    selected = worlds.select("world", "each").explode("each").filter(pl.col("each").is_in(asked))
    rejected = worlds.select("world", each="rejected_ids").explode("each").with_columns(against=True)
    on_a_side = selected.join(rejected, on=["world", "each"], how="left").select(
        "world", source=pl.when("against").then(-1 - pl.col("each")).otherwise("each")
    )
    membership = np.zeros((combined.height, len(sources)), dtype=bool)
    inside = on_a_side.join(behind, on="source").select("world", "principle").to_numpy()
    membership[inside[:, 0], inside[:, 1]] = True
    return membership


def _distance(combined: pl.DataFrame, equal: list[str], membership: np.ndarray) -> float | None:
    """Mean number of principles in which two alternatives differ that are equal in these decisions.

    Pairs that share their way to group are left out: in a sample of ways they would be too frequent. Among n
    alternatives of which k have a principle in, 2 k (n - k) ordered pairs differ in it.
    """
    differing = pairs = 0.0
    for sign, columns in ((1, equal), (-1, [*equal, "grouping_id"])):
        for rows in _parts(combined, columns):
            inside = membership[rows].sum(axis=0)
            differing += sign * float((2 * inside * (len(rows) - inside)).sum())
            pairs += sign * len(rows) ** 2
    return differing / pairs if pairs else None


def _parts(table: pl.DataFrame, columns: list[str]) -> list[np.ndarray]:
    """Row numbers of each set of rows that are equal in all columns; of all rows for no columns."""
    if not columns:
        return [np.arange(table.height)]
    numbered = table.select(columns).with_row_index("row").group_by(columns, maintain_order=True).agg("row")
    return [rows.to_numpy() for rows in numbered["row"]]


def _share(anywhere: float | None, equal: float | None) -> float | None:
    if anywhere is None or equal is None:
        return None
    return min(1.0, max(0.0, 1 - equal / anywhere)) if anywhere else 0.0


def robustness_sentences(robustness: pl.DataFrame) -> dict[str, str]:
    """Say for each arm, in words, which principles depend on how the numbers were chosen."""
    sentences = {}
    for arm in robustness["arm"].unique(maintain_order=True):
        own = robustness.filter(pl.col("arm") == arm)
        always = own.filter(pl.col("n_in") == pl.col("n_worlds")).height
        out = sorted(own.filter(~pl.col("in_on_record"))["principle_id"], key=natural)
        rare = sorted(own.filter(pl.col("share_in") < 0.5)["principle_id"], key=natural)
        of = ngettext(
            "Of %(count)s principle with statements of the public behind it,",
            "Of %(count)s principles with statements of the public behind them,",
            own.height,
        )
        worlds = number(own["n_worlds"][0])
        inside = ngettext(
            "%(count)s is in under each of %(worlds)s combinations of decisions.",
            "%(count)s are in under each of %(worlds)s combinations of decisions.",
            always,
            worlds=worlds,
        )
        others = gettext(
            "Not in on record: %(out)s. In under fewer than half: %(rare)s.",
            out=enumerated(out) or gettext("none"),
            rare=enumerated(rare) or gettext("none"),
        )
        sentences[arm] = f"{of} {inside} {others}"
    return sentences


def importance_sentence(importance: pl.DataFrame) -> str:
    """Say in words how much depends on which decision."""
    deciding = importance.filter(pl.col("n_principles") > 0)
    if deciding.is_empty():
        return gettext("No principle comes in or drops out under any alternative of any single numeric decision.")
    counts = enumerated(
        [
            ngettext(
                "%(name)s (%(count)s principle)",
                "%(name)s (%(count)s principles)",
                row["n_principles"],
                name=_name(row["decision"]),
            )
            for row in deciding.iter_rows(named=True)
        ]
    )
    text = gettext(
        "Changed alone, these decisions bring principles in or take them out: %(decisions)s.", decisions=counts
    )
    by_share = deciding.filter(pl.col("share") > 0).sort("share", descending=True, maintain_order=True)
    if by_share.is_empty():
        return text
    first = by_share.row(0, named=True)
    differ = gettext(
        "Two combinations drawn at random differ in %(principles)s principles on average; if they agree on %(name)s, "
        "in %(fewer)s.",
        principles=number(first["difference"], 1),
        name=_name(first["decision"]),
        fewer=number(first["difference_if_equal"], 1),
    )
    return f"{text} {differ}"


def _name(decision: str) -> str:
    return decision.replace("_", " ")


def worded_sources(wording_ledger: pl.DataFrame) -> dict[str, frozenset[int]]:
    """Return the statements behind every principle that somebody has worded, in or not on record."""
    return {
        each.principle_id: frozenset(key if each.side == "agree" else ~key for key in each.statement_ids)
        for each in wordings(wording_ledger)
        if each.text is not None
    }


def constitution_sources(constitution: pl.DataFrame) -> dict[str, frozenset[int]]:
    """Return the statements behind the principles of a constitution, without principles that have none.

    Args:
        constitution: CONSTITUTION, of any arm. Principles that no statement stands behind do not depend on votes.
    """
    return {
        principle: frozenset(ids)
        for principle, ids in constitution.select("principle_id", "statement_ids").iter_rows()
        if ids
    }


def principles_in(sources: Sources, world: Mapping[str, Any]) -> frozenset[str]:
    """Return the principles of which at least one statement is selected in a row of DECISION_WORLDS, on its side."""
    rejected = frozenset(world["rejected_ids"])
    selected = frozenset(~each if each in rejected else each for each in world["statement_ids"])
    return frozenset(principle for principle, ids in sources.items() if not ids.isdisjoint(selected))


def deciding_rows(settled: Thresholds) -> dict[str, list[str]]:
    """Return the ledger rows that settled each numeric decision; selecting rests on its rule and its line."""
    names: dict[str, tuple[str, ...]] = {name: (name,) for name in DECISIONS if name in settled.decision_ids}
    line = "gac_threshold" if settled.cut.rule == "threshold" else "idea_budget"
    further = (name for name in ("group_participation", "rejected_statements") if name in settled.decision_ids)
    names["selection"] = ("selection_rule", line, *further)
    return {decision: [settled.decision_ids[name] for name in own] for decision, own in names.items()}
