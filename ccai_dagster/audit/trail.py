"""The decision trail: one row for every statement ever submitted and for every principle of every arm.

Belongs here: joining finished tables by id and counting. Doesn't belong here: the sentences (`trail_sentences`),
computing scores, applying decisions.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import polars as pl

from ccai_dagster.audit.records import Feedback, Records, StatementFacts, read_records
from ccai_dagster.audit.trail_sentences import principle_story, statement_story
from ccai_dagster.consultation.folder import BASE
from ccai_dagster.contracts import DECISION_TRAIL

ABOUT_PEOPLE = "about the people who vote"
"""Fate of a statement that moderation set apart as metadata."""


def decision_trail(
    raw_statements: pl.DataFrame,
    statements: pl.DataFrame,
    gac_scores: pl.DataFrame,
    consensus_stability: pl.DataFrame,
    selected_statements: pl.DataFrame,
    constitutions: Mapping[str, pl.DataFrame],
    ledgers: Mapping[str, pl.DataFrame],
    preference_pairs: Mapping[str, pl.DataFrame],
    adherence: Mapping[str, pl.DataFrame],
    only: Collection[str] | None = None,
) -> pl.DataFrame:
    """Say of every statement and principle what became of it, by whose decision and for what reason.

    Args:
        raw_statements: RAW_STATEMENTS; every row gets a row in the trail.
        constitutions: CONSTITUTION by arm; every principle gets a row in the trail.
        ledgers: LEDGER by kind, replaced rows included.
        preference_pairs: PREFERENCE_PAIRS by arm.
        adherence: ADHERENCE by the arm of the model that responded (`base` included).
        only: Subjects to have rows for; all by default.

    Returns:
        DECISION_TRAIL: statements by id, then principles by arm in the order of their constitution.
        `decision_ids` holds every decision that touched the row, replaced ones included.
    """
    records = read_records(ledgers)
    facts = _facts(raw_statements, statements, gac_scores, consensus_stability, selected_statements, constitutions)
    wanted = None if only is None else set(only)
    rows = [
        _statement_row(facts[statement_id], records)
        for statement_id in sorted(facts)
        if wanted is None or f"statement:{statement_id}" in wanted
    ]
    for arm in sorted(constitutions):
        feedback = _feedback(arm, preference_pairs, adherence)
        rows += [
            _principle_row(principle, arm, feedback.get(principle["principle_id"], Feedback()), records, facts)
            for principle in constitutions[arm].to_dicts()
            if wanted is None or f"principle:{arm}/{principle['principle_id']}" in wanted
        ]
    return DECISION_TRAIL.build(rows)


def _facts(
    raw_statements: pl.DataFrame,
    statements: pl.DataFrame,
    gac_scores: pl.DataFrame,
    consensus_stability: pl.DataFrame,
    selected_statements: pl.DataFrame,
    constitutions: Mapping[str, pl.DataFrame],
) -> dict[int, StatementFacts]:
    scores, intervals = _by_id(gac_scores), _by_id(consensus_stability)
    kept, chosen = _by_id(statements), _by_id(selected_statements)
    leads_to = _principles_of(constitutions)
    n_scored = gac_scores["gac"].drop_nulls().len()
    return {
        raw["statement_id"]: StatementFacts(
            raw=raw,
            statement=kept.get(raw["statement_id"]),
            gac=scores.get(raw["statement_id"]),
            stability=intervals.get(raw["statement_id"]),
            selected=chosen.get(raw["statement_id"]),
            principles=tuple(leads_to.get(raw["statement_id"], ())),
            n_scored=n_scored,
        )
        for raw in raw_statements.to_dicts()
    }


def _statement_row(facts: StatementFacts, records: Records) -> dict[str, Any]:
    story, decision_ids = statement_story(facts, records)
    gac, stability, selected = facts.gac or {}, facts.stability or {}, facts.selected or {}
    return {
        "subject": f"statement:{facts.raw['statement_id']}",
        "kind": "statement",
        "text": facts.text,
        "raw_text": facts.raw["text"],
        "author_id": facts.raw["author_id"],
        "fate": _fate(facts, records),
        "n_votes": gac.get("n_votes"),
        "group_ids": gac.get("group_ids", []),
        "group_votes": gac.get("group_votes", []),
        "group_agreement": gac.get("group_agreement", []),
        "gac": gac.get("gac"),
        "gac_low": stability.get("gac_low"),
        "gac_high": stability.get("gac_high"),
        "published_gac": gac.get("published_gac"),
        "rank": selected.get("rank"),
        "selected": selected.get("selected"),
        "selection_probability": stability.get("selection_probability"),
        "statement_ids": [facts.raw["statement_id"]],
        "principle_ids": [f"{arm}/{principle}" for arm, principle in facts.principles],
        "decision_ids": decision_ids,
        "n_pairs": None,
        "n_decided_pairs": None,
        "n_responses": None,
        "adherence": None,
        "base_adherence": None,
        "story": story,
    }


def _fate(facts: StatementFacts, records: Records) -> str:
    if facts.selected is not None:
        return str(facts.selected["fate"])
    if facts.statement is not None:
        return "not scored"
    moderation = records.on("moderation", facts.raw["statement_id"])
    if any(row.verb == "metadata" for row in moderation):
        return ABOUT_PEOPLE
    out = [row for row in moderation if row.verb == "out"]
    if out:
        return f"moderated out: {out[-1].text}" if out[-1].text else "moderated out"
    return "never moderated"


def _principle_row(
    principle: dict[str, Any], arm: str, feedback: Feedback, records: Records, facts: Mapping[int, StatementFacts]
) -> dict[str, Any]:
    sources = [facts[key] for key in principle["statement_ids"] if key in facts]
    story, decision_ids = principle_story(principle, arm, feedback, records, sources)
    ends = _highest(sources, "gac_disagree" if principle.get("side") == "disagree" else "gac")
    return {
        "subject": f"principle:{arm}/{principle['principle_id']}",
        "kind": "principle",
        "text": principle["text"],
        "raw_text": None,
        "author_id": None,
        "fate": f"in the constitution {arm}",
        "n_votes": None,
        "group_ids": [],
        "group_votes": [],
        "group_agreement": [],
        "gac": principle["gac"],
        "gac_low": ends[0],
        "gac_high": ends[1],
        "published_gac": None,
        "rank": None,
        "selected": None,
        "selection_probability": None,
        "statement_ids": principle["statement_ids"],
        "principle_ids": [f"{arm}/{principle['principle_id']}"],
        "decision_ids": decision_ids,
        "n_pairs": feedback.n_pairs,
        "n_decided_pairs": feedback.n_decided,
        "n_responses": feedback.n_responses,
        "adherence": feedback.adherence,
        "base_adherence": feedback.base_adherence,
        "story": story,
    }


def _highest(sources: list[StatementFacts], score: str) -> tuple[float | None, float | None]:
    """The interval of the statement with the highest consensus on the principle's side, which is its own score."""
    known = [each.stability for each in sources if each.stability and each.stability[score] is not None]
    if not known:
        return None, None
    highest = max(known, key=lambda row: (row[score], -row["statement_id"]))
    return highest[f"{score}_low"], highest[f"{score}_high"]


def _by_id(table: pl.DataFrame) -> dict[int, dict[str, Any]]:
    return {row["statement_id"]: row for row in table.to_dicts()}


def _principles_of(constitutions: Mapping[str, pl.DataFrame]) -> dict[int, list[tuple[str, str]]]:
    leads_to: dict[int, list[tuple[str, str]]] = {}
    for arm in sorted(constitutions):
        for principle_id, statement_ids in constitutions[arm].select("principle_id", "statement_ids").iter_rows():
            for statement_id in statement_ids:
                leads_to.setdefault(statement_id, []).append((arm, principle_id))
    return leads_to


def _feedback(
    arm: str, preference_pairs: Mapping[str, pl.DataFrame], adherence: Mapping[str, pl.DataFrame]
) -> dict[str, Feedback]:
    """How often each principle of an arm was judged under, and how well its model keeps to it."""
    judged: dict[str, tuple[int, int]] = {}
    if arm in preference_pairs:
        counts = (
            preference_pairs[arm]
            .group_by("principle_id")
            .agg(pl.len().alias("n_pairs"), (pl.col("probability_a") != 0.5).sum().alias("n_decided"))
        )
        judged = {row[0]: (row[1], row[2]) for row in counts.iter_rows()}
    own, base = _mean_adherence(arm, arm, adherence), _mean_adherence(arm, BASE, adherence)
    return {
        principle_id: Feedback(
            *judged.get(principle_id, (0, 0)),
            *own.get(principle_id, (None, 0)),
            base_adherence=base.get(principle_id, (None, 0))[0],
        )
        for principle_id in judged.keys() | own.keys() | base.keys()
    }


def _mean_adherence(arm: str, model: str, adherence: Mapping[str, pl.DataFrame]) -> dict[str, tuple[float | None, int]]:
    """Mean probability that a model keeps to each principle of an arm, and the responses it is over."""
    if model not in adherence:
        return {}
    own = adherence[model].filter(pl.col("constitution_arm") == arm).sort("principle_id", "prompt_id")
    means = own.group_by("principle_id").agg(pl.col("probability").sort().mean(), pl.len())
    return {principle_id: (mean, count) for principle_id, mean, count in means.iter_rows()}
