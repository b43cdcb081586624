"""The chapters of the report about decisions: what depends on which, which were taken twice, which were taken back.

Belongs here: picking and counting what was computed about other choices, who agreed with whom, what stood in the
ledgers before. Doesn't belong here: HTML, computing it (`sensitivity`, `reversals`), applying decisions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from ccai_dagster.audit.records import Record, Records
from ccai_dagster.core.text import counted, listed, natural, percent
from ccai_dagster.decisions.independent_decisions import NOUNS, Agreement, agreements, second_opinions
from ccai_dagster.decisions.ledger import is_decision
from ccai_dagster.pages.inputs import ReportInputs
from ccai_dagster.pages.parts import Entry

MOST_NAMED = 12
"""Principles that a sentence names; more are counted."""
KINDS = {
    "moderation": "Moderation",
    "exclusion": "Participants excluded",
    "merge": "Statements merged",
    "wording": "Principles worded",
    "idea": "Statements split into ideas",
}
"""Kinds of decisions that were reversed, as headings, in the order in which they take effect."""
OFTEN = 5
"""Decisions of which the same is said, from which on it is said once for all of them."""
EFFECTS = ("entering", "leaving", "lost_principles", "gained_principles", "reworded_principles", "waiting")
"""Columns of DECISION_REVERSALS that are empty where nothing would change."""
STATEMENT_KINDS = ("moderation", "merge", "wording", "idea")
"""Kinds of decisions whose subjects are statements."""


def robustness_by_principle(robustness: pl.DataFrame, arm: str) -> dict[str, str]:
    """Say for every principle of an arm how often it is in when numeric decisions vary, by principle id."""
    return {row["principle_id"]: _robustness(row) for row in robustness.filter(arm=arm).iter_rows(named=True)}


def _robustness(row: Mapping[str, Any]) -> str:
    combinations = f"{row['n_worlds']:,} combinations of numbers"
    if row["n_in"] == row["n_worlds"]:
        share = f"It is in under each of {combinations} that were tried."
    elif row["n_in"] == 0:
        share = f"It is in under none of {combinations} that were tried."
    else:
        share = f"It is in under {_rounded(row['share_in'])} of {combinations} that were tried."
    if not row["hangs_on"]:
        return share
    numbers = " or ".join(name.replace("_", " ") for name in row["hangs_on"])
    return f"{share} Another choice of {numbers} alone would {'take it out' if row['in_on_record'] else 'bring it in'}."


def _rounded(share: float) -> str:
    """A share strictly between none and all is never printed as 0 % or 100 %."""
    if share > 0.99:
        return "more than 99%"
    return "less than 1%" if share < 0.01 else percent(share)


@dataclass(frozen=True)
class NumericDecision:
    """A number on record and what depends on it.

    Attributes:
        alternatives: Those under which, alone, statements or principles would come in or drop out, and which.
        unchanged: Those under which nothing would.
    """

    name: str
    chosen: str
    n_principles: int
    share: str
    alternatives: list[dict[str, Any]]
    unchanged: list[str]


def numeric_decisions(inputs: ReportInputs) -> list[NumericDecision]:
    """List the numeric decisions, those first on which most principles hang."""
    tried: dict[str, list[dict[str, Any]]] = {}
    unchanged: dict[str, list[str]] = {}
    for row in inputs.decision_sensitivity.filter(~pl.col("chosen")).iter_rows(named=True):
        names = {column: sorted(row[column], key=natural) for column in ("lost_principles", "gained_principles")}
        if not (row["entering"] or row["leaving"] or any(names.values())):
            unchanged.setdefault(row["decision"], []).append(row["alternative"])
            continue
        tried.setdefault(row["decision"], []).append({**row, **names})
    return [
        NumericDecision(
            row["decision"].replace("_", " "),
            row["chosen"],
            row["n_principles"],
            "–" if row["share"] is None else _accounted(row["share"]),
            tried.get(row["decision"], []),
            unchanged.get(row["decision"], []),
        )
        for row in inputs.decision_importance.sort("rank").iter_rows(named=True)
    ]


def _accounted(share: float) -> str:
    return "less than 1%" if 0 < share < 0.01 else percent(share)


def numbers_sentence(inputs: ReportInputs) -> str:
    """Say in one or two sentences how much depends on the numbers, changed alone."""
    tried = inputs.decision_sensitivity.filter(~pl.col("chosen"))
    lost = sorted({key for keys in tried["lost_principles"] for key in keys}, key=natural)
    gained = sorted({key for keys in tried["gained_principles"] for key in keys}, key=natural)
    total = inputs.constitutions[inputs.derived_arm].height
    alternatives = counted(tried.height, "alternative")
    if lost:
        text = (
            f"Of {counted(total, 'principle')}, {total - len(lost)} stay under all of {alternatives} that were "
            f"tried, and {len(lost)} would be lost under at least one{_named(lost)}."
        )
    else:
        text = f"Of {counted(total, 'principle')}, none would be lost under any of {alternatives}."
    if gained:
        text += (
            f" {counted(len(gained), 'worded principle')} that {'is' if len(gained) == 1 else 'are'} not in would "
            f"come in under at least one{_named(gained)}."
        )
    return text


def _named(principles: list[str]) -> str:
    return f": {listed(principles)}" if len(principles) <= MOST_NAMED else ""


def often_told(shown: Iterable[Record]) -> dict[tuple[str, ...], tuple[int, list[Record]]]:
    """Return what is said alike of at least OFTEN of the decisions that are shown, numbered, with those decisions."""
    found: dict[tuple[str, ...], dict[str, Record]] = {}
    for record in shown:
        found.setdefault(record.told, {})[record.decision_id] = record
    often = [(told, list(rows.values())) for told, rows in found.items() if len(rows) >= OFTEN]
    return {told: (number, rows) for number, (told, rows) in enumerate(often, start=1)}


def consequences(reversals: pl.DataFrame) -> dict[str, list[str]]:
    """Say for each decision of a person what its reversal would have changed, by decision id.

    Args:
        reversals: DECISION_REVERSALS; several decisions reversed together are left out.
    """
    found: dict[str, list[str]] = {}
    for row in reversals.iter_rows(named=True):
        if row["decision_ids"] == [row["reversal"]]:
            found.setdefault(row["reversal"], []).append(row["consequence"])
    return found


def changing(reversals: pl.DataFrame) -> pl.DataFrame:
    """Return the reversals under which the constitution would be another."""
    return reversals.filter(pl.any_horizontal(pl.col(EFFECTS).list.len() > 0))


@dataclass(frozen=True)
class Reversals:
    """The decisions of one kind that would change the constitution if they were reversed.

    Attributes:
        beside: Decisions that the page tells of elsewhere together with what would follow, and the anchor there.
        rows: Others (a decision id, or words for several together) and what would follow.
    """

    heading: str
    sentence: str
    beside: list[tuple[str, str]]
    rows: list[tuple[str, str]]


def reversals_by_kind(reversals: pl.DataFrame, told: Mapping[str, str]) -> list[Reversals]:
    """List by kind which decisions in DECISION_REVERSALS would change the constitution if they were reversed.

    Args:
        told: Where the page tells what would follow from reversing a decision: its anchor, by decision id.
    """
    found = []
    for kind, heading in KINDS.items():
        own = reversals.filter(pl.col("kind") == kind)
        different = changing(own)
        rows = list(different.select("reversal", "consequence").iter_rows())
        if own.height:
            found.append(
                Reversals(
                    heading,
                    f"{different.height:,} of {counted(own.height, 'reversal')} would change the constitution.",
                    [(name, told[name]) for name, _ in rows if name in told],
                    [row for row in rows if row[0] not in told],
                )
            )
    return found


@dataclass(frozen=True)
class Correction:
    """A decision that counts, and those it replaced, the nearest first.

    Attributes:
        resolves: Whether it settled what two people had decided differently.
    """

    latest: Record
    earlier: list[Record]
    resolves: bool

    @property
    def entry(self) -> Entry:
        """What it can be found by."""
        return Entry(marks=frozenset({"anew", "twice"} if self.resolves else {"anew"}))


def corrections(records: Records) -> list[Correction]:
    """List every decision that counts and replaced others of people, in the order of the ledgers."""
    found = []
    for record in records.by_id.values():
        if not record.counts or not record.superseded:
            continue
        direct = [replaced for each in record.superseded if (replaced := records.by_id[each]).by_person]
        if not direct:
            continue
        roles = {each.decided_by for each in direct}
        found.append(Correction(record, records.chain(record), len(direct) > 1 and len(roles) > 1))
    return found


def corrections_sentence(found: list[Correction]) -> str:
    """Say in numbers what was corrected."""
    if not found:
        return "No decision was replaced by a later one."
    resolved = sum(correction.resolves for correction in found)
    own = len(found) - resolved
    parts = [f"{counted(own, 'decision')} replaced an earlier one"] if own else []
    parts += [f"{counted(resolved, 'decision')} settled what two people had decided differently"] if resolved else []
    return f"{listed(parts)}. Nothing was erased: both stand here."


def agreement_sentences(inputs: ReportInputs) -> list[str]:
    """Say for each two roles how often they decided alike, with Cohen's kappa."""
    return [_agreement(each) for kind in sorted(inputs.ledgers) for each in agreements(inputs.ledgers[kind])]


def _agreement(each: Agreement) -> str:
    noun = NOUNS.get(each.kind, "subject")
    text = (
        f"{each.kind.capitalize()}: {listed(each.roles)} decided on {counted(each.subjects, noun)} independently, and "
        f"alike on {each.alike:,} ({percent(each.observed)})."
    )
    if each.kappa is None:
        return f"{text} Both always decided the same one thing, so that Cohen’s kappa tells nothing."
    return f"{text} Cohen’s kappa is {each.kappa:.2f} (1 if they always agree, 0 if they agree as often as by chance)."


def decided_twice(inputs: ReportInputs) -> frozenset[int]:
    """Return the statements on which two people decided independently."""
    return frozenset(
        int(each)
        for kind in STATEMENT_KINDS
        if kind in inputs.ledgers
        for subject in second_opinions(inputs.ledgers[kind])
        for each in subject
    )


def decided_anew(found: list[Correction]) -> frozenset[int]:
    """Return the statements on which an earlier decision was replaced."""
    return frozenset(
        int(subject)
        for correction in found
        if correction.latest.kind in STATEMENT_KINDS
        for record in (correction.latest, *correction.earlier)
        if is_decision(record.outcome)
        for subject in record.subject_ids
    )
