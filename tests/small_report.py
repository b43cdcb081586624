"""What a small report is made of, for the tests of its text and of its page in a browser."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import polars as pl
import pytest
from small_consultation import SmallConsultation

from ccai_dagster.audit.trail import decision_trail
from ccai_dagster.contracts import (
    COMMENT_PRIORITIES,
    CONSENSUS_STATEMENTS,
    CONSTITUTION_COMPARISON,
    CONSTITUTION_OVERLAP,
    DECISION_IMPORTANCE,
    DECISION_REVERSALS,
    DECISION_SENSITIVITY,
    EVAL_SCORES,
    GROUP_PROFILE,
    GROUP_STABILITY,
    GROUP_STRUCTURE,
    GROUP_VOTES,
    IMPORT_REPORT,
    IMPORTANT_STATEMENTS,
    JUDGE_CALIBRATION,
    MODEL,
    NARRATIVE,
    OPINION_GROUPS,
    PARTICIPANTS,
    PRINCIPLE_ROBUSTNESS,
    QUALITATIVE_PROMPTS,
    QUALITATIVE_RESPONSES,
    REPRESENTATIVE_STATEMENTS,
    SAMPLE_REPRESENTATIVENESS,
    UNCERTAIN_STATEMENTS,
    WEIGHTED_CONSENSUS,
)
from ccai_dagster.pages.inputs import ReportInputs

HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)> [a](http://evil.example) {{ 7*7 }} =1+1"

BY_GROUP = ("n_agree", "n_disagree", "n_pass", "important_agree", "important_disagree", "important_pass")


def calibration(low: float, high: float, method: str = "letters") -> dict[str, Any]:
    return {
        "method": method,
        "comparison_set": "sample_judge",
        "feedback_model": "m",
        "n": 50,
        "n_unanswered": 0,
        "accuracy": (low + high) / 2,
        "accuracy_low": low,
        "accuracy_high": high,
        "position_bias": 0.5,
        "position_bias_low": 0.4,
        "position_bias_high": 0.6,
        "flip_rate": 0.5,
        "flip_rate_low": 0.4,
        "flip_rate_high": 0.6,
        "longer_labelled": 0.5,
        "length_bias": 0.25,
        "length_bias_low": 0.1,
        "length_bias_high": 0.4,
        "calibration_error": 0.1,
        "calibration_error_low": 0.05,
        "calibration_error_high": 0.2,
        "at_chance": low <= 0.5,
        "blind_scorer": "fitted words",
        "blind_accuracy": 0.5,
        "blind_accuracy_low": 0.4,
        "blind_accuracy_high": 0.6,
        "over_blind": (low + high) / 2 - 0.5,
        "over_blind_low": low - 0.5,
        "over_blind_high": high - 0.5,
        "label_distance": 0.125,
        "ties": 0.25,
        "scores_models": method == "letters",
    }


def model(stage: str, arm: str, constitution: str | None, settings: str) -> dict[str, Any]:
    return {
        "model_digest": f"{arm}-{stage}-digest",
        "stage": stage,
        "arm": arm,
        "parent_digest": None,
        "constitution_digest": constitution,
        "settings_digest": settings,
        "settings": "{}",
        "metrics": json.dumps({"loss": 1.25, "note": "text"}),
    }


def eval_score(arm: str, value: float) -> dict[str, Any]:
    return {
        "arm": arm,
        "benchmark": "elo",
        "metric": "harmlessness",
        "category": "all",
        "n": 20,
        "n_unanswered": 1,
        "n_cut": None,
        "value": value,
        "low": value - 30,
        "high": value + 30,
        "compared_with": None if arm == "base" else "base",
        "difference": None if arm == "base" else value,
        "difference_low": None if arm == "base" else -2.0,
        "difference_high": None if arm == "base" else 55.0,
        "p_value": None,
        "adjusted_p": None,
        "smallest_detectable": None,
        "judge_at_chance": True,
    }


def group_structure(p_value: float) -> pl.DataFrame:
    return GROUP_STRUCTURE.build(
        [
            {
                "statistic": statistic,
                "value": 0.3,
                "shuffled_mean": 0.2,
                "shuffled_high": 0.25,
                "n_shuffles": 199,
                "p_value": p_value,
                "decides": statistic == "explained variance",
            }
            for statistic in ("explained variance", "silhouette")
        ]
    )


@pytest.fixture(scope="session")
def inputs(small_consultation: SmallConsultation) -> ReportInputs:
    """What the report of the small consultation is made of, hostile text included."""
    small = small_consultation
    trail = decision_trail(**vars(small))
    people = [
        {
            "participant_id": who,
            "n_votes": 4,
            "kept": who < 20,
            "fate": "kept" if who < 20 else "excluded",
            "polis_group": None,
            "decision_ids": [],
        }
        for who in range(22)
    ]
    groups = [
        {"participant_id": who, "group_id": int(who >= 12), "x": float(who), "y": float(who % 3)} for who in range(20)
    ]
    changes = [
        ("0.6", False, [5], [], [], ["P2"]),
        ("0.7", True, [], [], [], []),
        ("0.9", False, [], [1, 2, 6], ["P1"], []),
    ]
    reversed_alone = {
        "regrouped": False,
        "n_groups": 2,
        "entering": [],
        "reworded_principles": [],
        "waiting": [],
        "gained_principles": [],
    }
    return ReportInputs(
        title=f"Rules {HOSTILE}",
        public="Twenty neighbours",
        question="What should it do?",
        derived_arm="public",
        baseline="standard",
        arms={"public": "from the votes", "standard": HOSTILE},
        preference_pairs=small.preference_pairs,
        raw_statements=small.raw_statements,
        participants=PARTICIPANTS.build(people),
        statements=small.statements,
        group_votes=GROUP_VOTES.build(
            [
                {"statement_id": 5, "group_id": group, "n_members": size, **dict(zip(BY_GROUP, counts, strict=True))}
                for group, size, counts in [(0, 12, (2, 0, 1, 0, 0, 0)), (1, 8, (0, 2, 0, 0, 0, 0))]
            ]
        ),
        import_report=IMPORT_REPORT.empty(),
        group_structure=group_structure(0.005),
        opinion_groups=OPINION_GROUPS.build(groups),
        group_profile=GROUP_PROFILE.empty(),
        sample_representativeness=SAMPLE_REPRESENTATIVENESS.empty(),
        weighted_consensus=WEIGHTED_CONSENSUS.empty(),
        representative_statements=REPRESENTATIVE_STATEMENTS.build(
            [
                {
                    "group_id": 1,
                    "statement_id": 5,
                    "rank": 1,
                    "side": "disagree",
                    "best_agreed": False,
                    "eligible": True,
                    "n_side": 2,
                    "n_votes": 2,
                    "probability": 0.75,
                    "ratio": 3.0,
                    "ratio_z": 2.0,
                    "probability_z": 1.5,
                }
            ]
        ),
        consensus_statements=CONSENSUS_STATEMENTS.build(
            [
                {
                    "side": side,
                    "statement_id": key,
                    "rank": 1,
                    "n_side": 15,
                    "n_votes": 20,
                    "probability": 16 / 22,
                    "probability_z": 2.0,
                }
                for side, key in (("agree", 5), ("disagree", 1))
            ]
        ),
        narrative=NARRATIVE.build(
            [
                {
                    "scope": scope,
                    "scope_id": 0,
                    "about": about,
                    "place": 1,
                    "sentence": "Most agree with <b>it</b>.",
                    "statement_ids": [5],
                }
                for scope, about in (("group", "Group A"), ("topic", "<i>harbour</i>, ships"))
            ]
        ),
        uncertain_statements=UNCERTAIN_STATEMENTS.build(
            [
                {
                    "statement_id": key,
                    "rank": rank,
                    "n_votes": 20,
                    "n_pass": passed,
                    "share": passed / 20,
                    "low": passed / 20 - 0.1,
                    "high": passed / 20 + 0.1,
                    "by_polis": passed > 6,
                    "by_sensemaker": True,
                    "group_ids": [0, 1],
                    "group_votes": [12, 8],
                    "group_passes": [1, passed - 1],
                }
                for rank, (key, passed) in enumerate([(5, 8), (2, 5)], start=1)
            ]
        ),
        important_statements=IMPORTANT_STATEMENTS.build(
            [
                {
                    "statement_id": 2,
                    "rank": 1,
                    "n_votes": 20,
                    "n_important": 9,
                    "share": 0.45,
                    "low": 0.3,
                    "high": 0.6,
                    "group_ids": [0, 1],
                    "group_votes": [12, 8],
                    "group_important": [8, 1],
                }
            ]
        ),
        comment_priorities=COMMENT_PRIORITIES.build(
            [
                {
                    "statement_id": key,
                    "n_votes": 20,
                    "n_agree": 10,
                    "n_pass": 1,
                    "extremity": 1.0,
                    "is_meta": None,
                    "priority": priority,
                }
                for key, priority in ((1, 1.0), (2, 4.0), (5, 4.0))
            ]
        ),
        group_stability=GROUP_STABILITY.build(
            [
                {"varied": varied, "draw": draw, "n_groups": number, "adjusted_rand": index}
                for varied, draw, number, index in [
                    ("participants", 1, 2, 0.9),
                    ("participants", 2, 3, 0.4),
                    ("participants", 3, 2, 1.0),
                    ("participants", 4, 2, 0.8),
                    ("seed", 1, 2, 1.0),
                    ("seed", 2, 2, 0.9),
                ]
            ]
        ),
        gac_scores=small.gac_scores,
        consensus_stability=small.consensus_stability,
        selected_statements=small.selected_statements,
        constitutions=small.constitutions,
        constitution_overlap=CONSTITUTION_OVERLAP.build(
            [
                {
                    "arm": "standard",
                    "principle_id": "S1",
                    "other_arm": "public",
                    "nearest_principle_id": "P1",
                    "similarity": 0.25,
                    "shared": False,
                    "tags": [],
                    "same_tag_principle_ids": [],
                    "shared_by_tags": None,
                    "framing": "do",
                }
            ]
        ),
        constitution_comparison=CONSTITUTION_COMPARISON.build(
            [
                {
                    "arm": arm,
                    "other_arm": other,
                    "measure": "says what to do",
                    "n": n,
                    "value": value,
                    "low": low,
                    "high": 1.0,
                    "difference": difference,
                    "difference_low": -0.6,
                    "difference_high": 0.6,
                    "published": published,
                }
                for arm, other, n, value, low, difference, published in (
                    ("public", "standard", 3, 0.75, 0.3, -0.25, "over <half>"),
                    ("standard", "public", 1, 1.0, 0.2, 0.25, None),
                )
            ]
        ),
        ledgers=small.ledgers,
        decision_trail=trail,
        decision_sensitivity=DECISION_SENSITIVITY.build(
            [
                {
                    "decision": "gac_threshold",
                    "alternative": value,
                    "chosen": chosen,
                    "n_groups": 2,
                    "n_selected": 3,
                    "entering": entering,
                    "leaving": leaving,
                    "lost_principles": lost,
                    "gained_principles": gained,
                }
                for value, chosen, entering, leaving, lost, gained in changes
            ]
        ),
        decision_importance=DECISION_IMPORTANCE.build(
            [
                {
                    "rank": 1,
                    "decision": "gac_threshold",
                    "chosen": "0.7",
                    "decision_ids": ["T2"],
                    "n_alternatives": 2,
                    "n_principles": 2,
                    "lost_principles": ["P1"],
                    "gained_principles": ["P2"],
                    "n_statements": 4,
                    "difference": 1.0,
                    "difference_if_equal": 0.25,
                    "share": 0.75,
                }
            ]
        ),
        principle_robustness=PRINCIPLE_ROBUSTNESS.build(
            [
                {
                    "arm": "public",
                    "principle_id": key,
                    "statement_ids": ids,
                    "in_on_record": inside,
                    "n_worlds": 8,
                    "n_in": n_in,
                    "share_in": n_in / 8,
                    "hangs_on": ["gac_threshold"],
                }
                for key, ids, inside, n_in in [("P1", [1, 2], True, 6), ("P2", [5], False, 2)]
            ]
        ),
        decision_reversals=DECISION_REVERSALS.build(
            [
                {
                    "reversal": "W2",
                    "kind": "wording",
                    "decision_ids": ["W2"],
                    "subject_ids": [1, 2],
                    "supposed": "left out",
                    "gac": 0.81,
                    "smallest_group_votes": 10,
                    "leaving": [1, 2],
                    "lost_principles": ["P1"],
                    "consequence": "Had statements 1 and 2 been left out, P1 would be lost.",
                    **reversed_alone,
                },
                {
                    "reversal": "M3",
                    "kind": "moderation",
                    "decision_ids": ["M3"],
                    "subject_ids": [3],
                    "supposed": "let in",
                    "gac": None,
                    "smallest_group_votes": None,
                    "leaving": [],
                    "lost_principles": [],
                    "consequence": "Had statement 3 been let in, nothing would change.",
                    **reversed_alone,
                },
            ]
        ),
        judge_calibration=JUDGE_CALIBRATION.build([calibration(0.4, 0.6)]),
        models=MODEL.build(
            [
                model("policy", "public", "c1", "s"),
                model("policy", "standard", "c2", "s"),
                model("base_model", "base", None, "b"),
            ]
        ),
        settings={"policy": {"steps": 4, "kl_weight": 0.05}},
        eval_scores=EVAL_SCORES.build([eval_score("base", 0.0), eval_score("public", 26.0)]),
        findings=[f"No difference was shown. {HOSTILE}"],
        qualitative_prompts=QUALITATIVE_PROMPTS.build(
            [{"prompt_id": "q1", "text": "Who are you?", "origin": "drafted", "principles": ["public/P1"]}]
        ),
        qualitative_responses=QUALITATIVE_RESPONSES.build(
            [
                {
                    "arm": arm,
                    "prompt_id": "q1",
                    "prompt": "Who are you?",
                    "response": HOSTILE,
                    "finished": True,
                    "refused": arm == "base",
                }
                for arm in ("public", "base")
            ]
        ),
        digests={"statements": "a" * 64, "public/policy": "b" * 64},
    )


def unworded(inputs: ReportInputs) -> ReportInputs:
    """The same before anything is trained and before anybody has worded a principle."""
    of_principles = pl.col("kind") == "principle"
    return replace(
        inputs,
        models=inputs.models.clear(),
        selected_statements=inputs.selected_statements.with_columns(
            fate=pl.when("selected").then(pl.lit("undecided")).otherwise("fate")
        ),
        constitutions={**inputs.constitutions, "public": inputs.constitutions["public"].clear()},
        constitution_overlap=inputs.constitution_overlap.clear(),
        constitution_comparison=inputs.constitution_comparison.clear(),
        decision_trail=inputs.decision_trail.filter(~of_principles).with_columns(
            fate=pl.col("fate").replace("principle", "undecided")
        ),
        principle_robustness=inputs.principle_robustness.filter(pl.col("arm") != "public"),
    )
