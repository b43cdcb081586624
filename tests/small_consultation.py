"""A consultation small enough to check by eye, for everything that tells what happened."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from ccai_dagster.contracts import (
    ADHERENCE,
    CONSENSUS_STABILITY,
    CONSTITUTION,
    GAC_SCORES,
    GROUP_PROFILE,
    LEDGER,
    PREFERENCE_PAIRS,
    RAW_STATEMENTS,
    SELECTED_STATEMENTS,
    STATEMENTS,
)
from ccai_dagster.statistics.intervals import wilson_interval

HOSTILE = "<script>alert('x')</script> **bold** =SUM(A1) \u202etxet\x07"


@dataclass(frozen=True)
class SmallConsultation:
    """Six statements, two arms, one replaced decision."""

    raw_statements: pl.DataFrame
    statements: pl.DataFrame
    gac_scores: pl.DataFrame
    consensus_stability: pl.DataFrame
    selected_statements: pl.DataFrame
    constitutions: dict[str, pl.DataFrame]
    ledgers: dict[str, pl.DataFrame]
    preference_pairs: dict[str, pl.DataFrame]
    adherence: dict[str, pl.DataFrame]


def _ledger(*rows: tuple[str, str, list[str], str, str, str | None]) -> pl.DataFrame:
    return LEDGER.build(
        [
            {
                "decision_id": decision_id,
                "kind": kind,
                "subject_ids": subjects,
                "outcome": outcome,
                "reason": reason,
                "policy_ref": None,
                "decided_by": "moderators",
                "decided_at": "2025-03-04",
                "supersedes": supersedes,
                "inputs_digest": None,
                "suggested_by": None,
            }
            for decision_id, kind, subjects, outcome, reason, supersedes in rows
        ]
    )


def _raw(key: int, author: int | None, moderated: int, seed: bool | None, text: str) -> dict[str, Any]:
    return {
        "statement_id": key,
        "author_id": author,
        "created_at": datetime(2025, 3, 2, 9, tzinfo=UTC),
        "moderated": moderated,
        "is_seed": seed,
        "is_meta": None,
        "text": text,
    }


def _statement(key: int, text: str, raw: str, decisions: list[str]) -> dict[str, Any]:
    return {
        "statement_id": key,
        "author_id": 7,
        "text": text,
        "raw_text": raw,
        "rewritten": text != raw,
        "decision_ids": decisions,
    }


def _score(key: int, gac: float, votes: list[int], agreement: list[float]) -> dict[str, Any]:
    agree = sum(round(count * share) for count, share in zip(votes, agreement, strict=True))
    return {
        "statement_id": key,
        "n_votes": sum(votes),
        "n_agree": agree,
        "n_disagree": sum(votes) - agree,
        "n_pass": 0,
        "gac": gac,
        "gac_if_unanimous": None,
        "gac_disagree": 1 - gac,
        "least_participation": 0.5,
        "polarization_index": 0.2,
        "adjusted_polarization_index": 0.2,
        "group_ids": [0, 1],
        "group_votes": votes,
        "group_agreement": agreement,
        "group_rejection": [None if each is None else 1 - each for each in agreement],
        "published_gac": None,
    }


def _selected(key: int, gac: float, rank: int, selected: bool, fate: str) -> dict[str, Any]:
    return {
        "statement_id": key,
        "text": "t",
        "gac": gac,
        "side": "agree",
        "rank": rank,
        "selected": selected,
        "ideas": [],
        "new_ideas": 1,
        "fate": fate,
        "decision_ids": [],
    }


def with_metadata(small: SmallConsultation) -> SmallConsultation:
    """The same, but that moderation set statement 4 apart as one about the people who vote."""
    row = _ledger(("M4", "moderation", ["4"], "metadata", "it says who votes", None))
    moderation = pl.concat([small.ledgers["moderation"], row])
    return replace(small, ledgers={**small.ledgers, "moderation": moderation})


def profile_row(group: int, size: int, agree: int, disagree: int, passes: int) -> dict[str, Any]:
    """How a group voted on statement 4, in which somebody typed what could do harm; a row of GROUP_PROFILE."""
    votes = agree + disagree + passes
    row: dict[str, Any] = {"statement_id": 4, "group_id": group, "text": HOSTILE, "group_size": size, "n_votes": votes}
    for side, n in (("agree", agree), ("disagree", disagree), ("pass", passes)):
        low, high = wilson_interval(n, votes)
        row |= {f"n_{side}": n, f"{side}_share": n / votes, f"{side}_low": low, f"{side}_high": high}
    return {**row, "decision_ids": ["M4"]}


def profile_of_statement_4() -> pl.DataFrame:
    """Eight of the first group voted on it, five agreeing; of the second too few did."""
    untold = [name for name in GROUP_PROFILE.fields if name.startswith(("n_", "agree", "disagree", "pass"))]
    row = profile_row(0, 10, 5, 2, 1)
    return GROUP_PROFILE.build([row, row | {"group_id": 1, "group_size": 9} | dict.fromkeys(untold)])


@pytest.fixture(scope="session")
def small_consultation() -> SmallConsultation:
    ledgers = {
        "moderation": _ledger(
            ("M1", "moderation", ["1", "5", "6"], "in", "fits the question", None),
            ("M2", "moderation", ["2"], "rewrite: The AI should tell the truth.", "spelling", None),
            ("M3", "moderation", ["3"], "out: nonsensical", "cannot be answered", None),
        ),
        "exclusion": _ledger(("E1", "exclusion", ["9"], "exclude", "voted without reading", None)),
        "merge": _ledger(("G1", "merge", ["1", "2"], "merge: The AI should be honest.", "same idea", None)),
        "wording": _ledger(
            ("P1", "wording", ["1", "2"], "principle: Be honest.", "first draft", None),
            ("W2", "wording", ["1", "2"], "principle: Choose the honest response.", "template", "P1"),
            ("P2", "wording", ["5"], "principle: Choose the short response.", "template", None),
        ),
        "idea": _ledger(),
        "threshold": _ledger(
            ("T1", "threshold", ["selection_rule"], "threshold", "as published", None),
            ("T2", "threshold", ["gac_threshold"], "0.7", "seven in ten", None),
        ),
        "training": _ledger(
            ("R1", "training", ["feedback_method"], "letters", "simplest", None),
            ("R2", "training", ["prompt_database"], "policy: the same prompts for both arms", "fair", None),
        ),
        "signoff": _ledger(("S1", "signoff", ["public"], "signed off", "reads well", None)),
    }
    principles = [
        ("public", "P1", "Choose the honest response.", [1, 2], "The AI should be honest.", 0.81, ["W2", "G1"]),
        ("standard", "S1", "Choose the harmless response.", [], None, None, []),
    ]
    constitutions = {
        row[0]: CONSTITUTION.build(
            [
                {
                    "principle_id": row[1],
                    "arm": row[0],
                    "text": row[2],
                    "statement_ids": row[3],
                    "merged_text": row[4],
                    "gac": row[5],
                    "side": None if row[5] is None else "agree",
                    "decision_ids": row[6],
                }
            ]
        )
        for row in principles
    }
    pairs = PREFERENCE_PAIRS.build(
        [
            {
                "pair_id": f"pair-{number}",
                "prompt_id": "x",
                "prompt": "x",
                "response_a": "a",
                "response_b": "b",
                "finished_a": True,
                "finished_b": False,
                "principle_id": "P1",
                "forward_probability": label,
                "reversed_probability": label,
                "probability_a": label,
                "answer_mass": 1.0,
                "forward_reasoning": None,
                "reversed_reasoning": None,
                "clamped": False,
                "status": "unanswered" if label is None else "labelled",
                "method": "letters",
                "feedback_model": "m",
                "judge_at_chance": False,
            }
            for number, label in enumerate([0.5, 0.8, 0.3, None])
        ]
    )
    adherence = {
        arm: ADHERENCE.build(
            [
                {
                    "arm": arm,
                    "constitution_arm": "public",
                    "principle_id": "P1",
                    "prompt_id": f"h{number}",
                    "response": "r",
                    "finished": True,
                    "probability": value,
                    "judge_at_chance": False,
                }
                for number, value in enumerate(values)
            ]
        )
        for arm, values in {"base": [0.25, 0.25], "public": [0.5, 1.0]}.items()
    }
    return SmallConsultation(
        raw_statements=RAW_STATEMENTS.build(
            [
                _raw(1, 0, 1, True, "The AI should be honest"),
                _raw(2, 7, 1, False, "teh AI shuold tell the truth"),
                _raw(3, 8, -1, False, HOSTILE),
                _raw(4, None, 0, None, "Late idea"),
                _raw(5, 7, 1, False, "The AI should be short"),
                _raw(6, 9, 1, False, "The AI should cite sources"),
            ]
        ),
        statements=STATEMENTS.build(
            [
                _statement(1, "The AI should be honest", "The AI should be honest", ["M1"]),
                _statement(2, "The AI should tell the truth.", "teh AI shuold tell the truth", ["M2"]),
                _statement(5, "The AI should be short", "The AI should be short", ["M1"]),
                _statement(6, "The AI should cite sources", "The AI should cite sources", ["M1"]),
            ]
        ),
        gac_scores=GAC_SCORES.build(
            [
                _score(1, 0.81, [10, 10], [0.9, 0.9]),
                _score(2, 0.72, [10, 10], [0.9, 0.8]),
                _score(5, 0.4, [10, 10], [0.8, 0.5]),
                _score(6, 0.8, [10, 5], [1.0, 0.8]),
            ]
        ),
        consensus_stability=CONSENSUS_STABILITY.build(
            [
                {
                    "statement_id": key,
                    "gac": gac,
                    "gac_low": gac - 0.1,
                    "gac_high": gac + 0.1,
                    "gac_disagree": 1 - gac,
                    "gac_disagree_low": 0.9 - gac,
                    "gac_disagree_high": 1.1 - gac,
                    "gac_low_same_groups": gac - 0.05,
                    "gac_high_same_groups": gac + 0.05,
                    "gac_low_seeds": gac - 0.02,
                    "gac_high_seeds": gac,
                    "selection_probability": share,
                    "selection_share_seeds": float(share > 0.5),
                    "smallest_group_votes": 5 if key == 6 else 30,
                    "few_votes": key == 6,
                }
                for key, gac, share in [(1, 0.81, 0.95), (2, 0.72, 0.6), (5, 0.4, 0.0), (6, 0.8, 0.9)]
            ]
        ),
        selected_statements=SELECTED_STATEMENTS.build(
            [
                _selected(1, 0.81, 1, True, "principle"),
                _selected(6, 0.8, 2, True, "undecided"),
                _selected(2, 0.72, 3, True, "principle"),
                _selected(5, 0.4, 4, False, "below the cut"),
            ]
        ),
        constitutions=constitutions,
        ledgers=ledgers,
        preference_pairs={"public": pairs, "standard": pairs.clear()},
        adherence=adherence,
    )
