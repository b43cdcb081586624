"""The chapters of the report about decisions: what depends on which, which were taken twice, which were taken back.

Belongs here: picking and counting what was computed about other choices, who agreed with whom, what stood in the
ledgers before. Doesn't belong here: HTML, computing it (`sensitivity`, `reversals`), applying decisions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from ccai_dagster.audit.consequences import consequence
from ccai_dagster.audit.records import Record, Records
from ccai_dagster.core.language import SOURCE, enumerated, gettext, ngettext, number, percent, spoken
from ccai_dagster.core.text import natural
from ccai_dagster.decisions.independent_decisions import Agreement, agreements, second_opinions
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
LEDGER_KINDS = {
    "moderation": "moderation",
    "exclusion": "exclusion",
    "merge": "merging",
    "idea": "ideas",
    "wording": "wording",
    "threshold": "numbers",
    "training": "training",
    "signoff": "sign-off",
}
"""What pages call the decisions of each ledger."""
MOST_LINKED = 100
"""Decisions of a kind that are linked to; more are named, since each link is four times as long as its name."""
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
    worlds = number(row["n_worlds"])
    if row["n_in"] == row["n_worlds"]:
        told = gettext("It is in with each of %(worlds)s combinations of numbers.", worlds=worlds)
    elif row["n_in"] == 0:
        told = gettext("It is in with none of %(worlds)s combinations of numbers.", worlds=worlds)
    else:
        told = gettext(
            "It is in with %(share)s of %(worlds)s combinations of numbers.",
            share=_rounded(row["share_in"]),
            worlds=worlds,
        )
    if not row["hangs_on"]:
        return told
    names = [name.replace("_", " ") for name in row["hangs_on"]]
    if row["in_on_record"]:
        alone = gettext("Hangs on %(numbers)s.", numbers=", ".join(names))
    else:
        either = gettext("or")
        alone = gettext("Another choice of %(numbers)s alone would bring it in.", numbers=f" {either} ".join(names))
    return f"{told} {alone}"


def _rounded(share: float) -> str:
    """A share strictly between none and all is never printed as 0 % or 100 %."""
    if share > 0.99:
        return gettext("more than %(share)s", share=percent(0.99))
    return gettext("less than %(share)s", share=percent(0.01)) if share < 0.01 else percent(share)


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
    return gettext("less than %(share)s", share=percent(0.01)) if 0 < share < 0.01 else percent(share)


def numbers_sentence(inputs: ReportInputs) -> str:
    """Say in one or two sentences how much depends on the numbers, changed alone."""
    tried = inputs.decision_sensitivity.filter(~pl.col("chosen"))
    lost = sorted({key for keys in tried["lost_principles"] for key in keys}, key=natural)
    gained = sorted({key for keys in tried["gained_principles"] for key in keys}, key=natural)
    total = inputs.constitutions[inputs.derived_arm].height
    alternatives = ngettext("%(count)s alternative", "%(count)s alternatives", tried.height)
    if lost:
        text = ngettext(
            "Of %(count)s principle, %(stay)s stay under all of %(alternatives)s that were tried, and %(lost)s would "
            "be lost under at least one%(named)s.",
            "Of %(count)s principles, %(stay)s stay under all of %(alternatives)s that were tried, and %(lost)s would "
            "be lost under at least one%(named)s.",
            total,
            stay=number(total - len(lost)),
            alternatives=alternatives,
            lost=number(len(lost)),
            named=_named(lost),
        )
    else:
        text = ngettext(
            "Of %(count)s principle, none would be lost under any of %(alternatives)s.",
            "Of %(count)s principles, none would be lost under any of %(alternatives)s.",
            total,
            alternatives=alternatives,
        )
    if gained:
        come_in = ngettext(
            "%(count)s worded principle that is not in would come in under at least one%(named)s.",
            "%(count)s worded principles that are not in would come in under at least one%(named)s.",
            len(gained),
            named=_named(gained),
        )
        text = f"{text} {come_in}"
    return text


def _named(principles: list[str]) -> str:
    return f": {enumerated(principles)}" if len(principles) <= MOST_NAMED else ""


def often_told(shown: Iterable[Record]) -> dict[tuple[str, ...], tuple[int, list[Record]]]:
    """Return what is said alike of at least OFTEN of the decisions that are shown, numbered, with those decisions."""
    found: dict[tuple[str, ...], dict[str, Record]] = {}
    for record in shown:
        found.setdefault(record.told, {})[record.decision_id] = record
    often = [(told, list(rows.values())) for told, rows in found.items() if len(rows) >= OFTEN]
    return {told: (number, rows) for number, (told, rows) in enumerate(often, start=1)}


def consequences(reversals: pl.DataFrame, n_groups: int) -> dict[str, list[str]]:
    """Say for each decision of a person what its reversal would have changed, by decision id.

    Args:
        reversals: DECISION_REVERSALS; several decisions reversed together are left out.
        n_groups: Opinion groups on record.
    """
    found: dict[str, list[str]] = {}
    for row in reversals.iter_rows(named=True):
        if row["decision_ids"] == [row["reversal"]]:
            found.setdefault(row["reversal"], []).append(_consequence(row, n_groups))
    return found


def briefly(reversals: pl.DataFrame, n_groups: int, constitution: pl.DataFrame) -> dict[tuple[str, str], str]:
    """Say in a few words what the reversal of a decision would have changed, where that is nothing or one principle.

    Args:
        reversals: DECISION_REVERSALS.
        n_groups: Opinion groups on record.
        constitution: CONSTITUTION; of a principle that would be lost alone, its statements need not be named.

    Returns:
        By decision id and the id of the principle beside which that is so, which is empty where nothing would change.
        Statements that would have been let in are not among them, since more is told of these.
    """
    behind = dict(constitution.select("principle_id", "statement_ids").iter_rows())
    found = {}
    for row in reversals.filter(pl.col("supposed") != "let in", n_groups=n_groups).iter_rows(named=True):
        changed = {name for name in EFFECTS if row[name]}
        if not changed:
            found[row["reversal"], ""] = gettext("Otherwise the same.")
        elif changed <= {"leaving", "lost_principles"} and len(row["lost_principles"]) == 1:
            (principle,) = row["lost_principles"]
            if set(row["leaving"]) <= set(behind.get(principle, ())):
                found[row["reversal"], principle] = gettext("Otherwise lost.")
    return found


def _consequence(row: Mapping[str, Any], n_groups: int) -> str:
    """The table has it in English."""
    return str(row["consequence"]) if spoken().code == SOURCE else consequence(row, n_groups)


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

    @property
    def linked(self) -> bool:
        """Whether those told of elsewhere are few enough to be linked to."""
        return len(self.beside) <= MOST_LINKED


def reversals_by_kind(reversals: pl.DataFrame, told: Mapping[str, str], n_groups: int) -> list[Reversals]:
    """List by kind which decisions in DECISION_REVERSALS would change the constitution if they were reversed.

    Args:
        told: Where the page tells what would follow from reversing a decision: its anchor, by decision id.
        n_groups: Opinion groups on record.
    """
    found = []
    for kind, heading in KINDS.items():
        own = reversals.filter(pl.col("kind") == kind)
        different = changing(own)
        rows = [(row["reversal"], _consequence(row, n_groups)) for row in different.iter_rows(named=True)]
        if own.height:
            found.append(
                Reversals(
                    gettext(heading),
                    ngettext(
                        "%(changing)s of %(count)s reversal would change the constitution.",
                        "%(changing)s of %(count)s reversals would change the constitution.",
                        own.height,
                        changing=number(different.height),
                    ),
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
        return gettext("No decision was replaced by a later one.")
    resolved = sum(correction.resolves for correction in found)
    own = len(found) - resolved
    replaced = ngettext(
        "%(count)s decision replaced an earlier one", "%(count)s decisions replaced an earlier one", own
    )
    settled = ngettext(
        "%(count)s decision settled what two people had decided differently",
        "%(count)s decisions settled what two people had decided differently",
        resolved,
    )
    parts = [text for text, n in ((replaced, own), (settled, resolved)) if n]
    both = gettext("Nothing was erased: both stand here.")
    return f"{enumerated(parts)}. {both}"


def agreement_sentences(inputs: ReportInputs) -> list[str]:
    """Say for each two roles how often they decided alike, with Cohen's kappa."""
    return [_agreement(each) for kind in sorted(inputs.ledgers) for each in agreements(inputs.ledgers[kind])]


def _agreement(each: Agreement) -> str:
    values = {
        "kind": kind_told(each.kind).capitalize(),
        "roles": enumerated(list(each.roles)),
        "alike": number(each.alike),
        "share": percent(each.observed),
    }
    text = (
        ngettext(
            "%(kind)s: %(roles)s decided on %(count)s statement independently, and alike on %(alike)s (%(share)s).",
            "%(kind)s: %(roles)s decided on %(count)s statements independently, and alike on %(alike)s (%(share)s).",
            each.subjects,
            **values,
        )
        if each.kind in STATEMENT_KINDS
        else ngettext(
            "%(kind)s: %(roles)s decided on %(count)s subject independently, and alike on %(alike)s (%(share)s).",
            "%(kind)s: %(roles)s decided on %(count)s subjects independently, and alike on %(alike)s (%(share)s).",
            each.subjects,
            **values,
        )
    )
    if each.kappa is None:
        kappa = gettext("Both always decided the same one thing, so that Cohen’s kappa tells nothing.")
    else:
        kappa = gettext(
            "Cohen’s kappa is %(kappa)s (1 if they always agree, 0 if they agree as often as by chance).",
            kappa=number(each.kappa, 2),
        )
    return f"{text} {kappa}"


def kind_told(kind: str) -> str:
    """Return what a page calls the decisions of one ledger."""
    return gettext(LEDGER_KINDS[kind])


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
