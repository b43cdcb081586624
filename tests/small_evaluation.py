"""What a small evaluation page is made of, hostile text included."""

from __future__ import annotations

from typing import Any

import pytest
from small_report import HOSTILE, calibration

from ccai_dagster.contracts import (
    ADHERENCE_SCORES,
    COMPARISONS,
    CONFLICTS,
    CONSTITUTION,
    CONSTITUTION_COMPARISON,
    CONSTITUTION_OVERLAP,
    ELO_DIFFERENCES,
    EVAL_SCORES,
    GROUP_ADHERENCE,
    JUDGE_CALIBRATION,
    OPINION_REPRESENTATIVENESS,
    QUALITATIVE_PROMPTS,
    QUALITATIVE_RESPONSES,
    RATER_AGREEMENT,
    SPECIFICITY,
)
from ccai_dagster.pages.inputs import EvaluationInputs


def score(
    arm: str,
    benchmark: str,
    metric: str,
    value: tuple[float, float, float],
    other: str | None = None,
    difference: tuple[float, float, float] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """One row of EVAL_SCORES."""
    apart = difference or (None, None, None)
    return {
        "arm": arm,
        "benchmark": benchmark,
        "metric": metric,
        "category": "all",
        "n": 40,
        "n_unanswered": 0,
        "n_cut": 0,
        "value": value[0],
        "low": value[1],
        "high": value[2],
        "compared_with": other,
        "difference": apart[0],
        "difference_low": apart[1],
        "difference_high": apart[2],
        "p_value": None,
        "adjusted_p": None,
        "smallest_detectable": None,
        "judge_at_chance": False,
    } | more


def elo(arm: str, other: str, ends: tuple[float, float, float], **more: Any) -> dict[str, Any]:
    """One row of ELO_DIFFERENCES."""
    source = more.get("source", "feedback model")
    return {
        "arm": arm,
        "other_arm": other,
        "quality": "helpfulness",
        "source": source,
        "n": 20,
        "n_unanswered": 0,
        "n_ties": 0,
        "n_prompts": 20,
        "n_raters": 0,
        "difference": ends[0],
        "difference_low": ends[1],
        "difference_high": ends[2],
        "separated": False,
        "smallest_difference": 80.0,
        "detectable_difference": 110.0,
        "judge_at_chance": source == "feedback model",
    } | more


def adherence(
    arm: str, of: str, principle: str, ends: tuple[float, float, float] | None, **more: Any
) -> dict[str, Any]:
    """One row of ADHERENCE_SCORES."""
    value, low, high = ends or (None, None, None)
    return {
        "arm": arm,
        "constitution_arm": of,
        "principle_id": principle,
        "status": "measured",
        "n_relevant": 5,
        "n": 5,
        "n_cut": 2,
        "n_unanswered": 0,
        "judged": value,
        "judged_low": low,
        "judged_high": high,
        "labels": "pooled",
        "n_labels": 8,
        "judge_weight": 1.0,
        "adherence": value,
        "low": low,
        "high": high,
        "lift": None,
        "lift_low": None,
        "lift_high": None,
        "judge_at_chance": True,
    } | more


def lift(
    arm: str, kind: str, measure: str, ends: tuple[float, float, float] | None, adjusted: float | None
) -> dict[str, Any]:
    """One row of SPECIFICITY."""
    value, low, high = ends or (None, None, None)
    return {
        "arm": arm,
        "kind": kind,
        "measure": measure,
        "n_principles": 3,
        "n": 9,
        "n_prompts": 4,
        "lift": value,
        "low": low,
        "high": high,
        "p_value": adjusted,
        "adjusted_p": adjusted,
        "judge_at_chance": measure == "judge",
    }


def opinion(
    attribute: str,
    group: str,
    arm: str,
    value: float,
    against: tuple[str, float, float, float] | None = None,
    ceiling: float | None = None,
) -> dict[str, Any]:
    """One row of OPINION_REPRESENTATIVENESS."""
    other, middle, low, high = against or (None, None, None, None)
    return {
        "benchmark": "views",
        "attribute": attribute,
        "group": group,
        "arm": arm,
        "n": 30,
        "value": value,
        "low": value - 0.02,
        "high": value + 0.02,
        "uniform": 0.82,
        "above_uniform": value - 0.82,
        "above_uniform_low": value - 0.84,
        "above_uniform_high": value - 0.8,
        "ceiling": ceiling,
        "nearest_group": None,
        "nearest_value": None,
        "compared_with": other,
        "difference": middle,
        "difference_low": low,
        "difference_high": high,
        "p_value": None,
        "adjusted_p": None,
    }


def constitution(arm: str, **texts: str) -> Any:
    """A constitution that comes from a file."""
    return CONSTITUTION.build(
        [
            {
                "principle_id": key,
                "arm": arm,
                "text": text,
                "statement_ids": [],
                "merged_text": None,
                "gac": None,
                "side": None,
                "decision_ids": [],
            }
            for key, text in texts.items()
        ]
    )


@pytest.fixture(scope="session")
def evaluation() -> EvaluationInputs:
    """Three models, one benchmark of each kind, a judge at chance, and responses that differ and refuse."""
    answers = {
        ("base", "q1"): ("The sky is blue today.", False),
        ("standard", "q1"): ("The sky is grey today.", False),
        ("public", "q1"): ("The sky is grey today.", False),
        ("base", "q2"): (HOSTILE, False),
        ("standard", "q2"): ("I can't help with that.", True),
        ("public", "q2"): (HOSTILE, False),
    }
    prompts = {"q1": "What colour is it?", "q2": HOSTILE}
    return EvaluationInputs(
        title=f"Rules {HOSTILE}",
        baseline="standard",
        arms={"public": "from the votes", "standard": HOSTILE},
        benchmarks={
            "know": ("multiple_choice", "Questions"),
            "people": ("social_bias", "Two people"),
            "views": ("opinion_qa", "Opinions"),
            "tea leaves": ("of_another_kind", HOSTILE),
        },
        constitutions={
            "public": constitution("public", P1=f"Be honest. {HOSTILE}"),
            "standard": constitution("standard", S1="Be kind."),
        },
        eval_scores=EVAL_SCORES.build(
            [
                score("base", "know", "accuracy", (0.5, 0.4, 0.6), n_unanswered=3, n_cut=12),
                score("standard", "know", "accuracy", (0.3, 0.2, 0.4), "base", (-0.2, -0.3, -0.1), adjusted_p=0.01),
                score("public", "know", "accuracy", (0.31, 0.2, 0.4), "standard", (0.01, -0.02, 0.04)),
                score("public", "know", "accuracy", (0.31, 0.2, 0.4), "base", (-0.19, -0.3, -0.08), adjusted_p=0.2),
                score("base", "people", "bias_ambiguous", (0.1, -0.2, 0.4)),
                score(
                    "standard",
                    "people",
                    "bias_ambiguous",
                    (0.1, -0.3, 0.5),
                    "base",
                    (0.0, -0.4, 0.4),
                    smallest_detectable=0.6,
                ),
                score(
                    "standard",
                    "people",
                    "bias_ambiguous",
                    (-0.5, -0.9, 0.1),
                    "base",
                    (-0.6, -1.0, 0.1),
                    category=f"age {HOSTILE} (names)",
                ),
                score("base", "tea leaves", "luck", (1.0, 0.5, 1.0)),
                score("base", "adherence", "adherence", (0.5, 0.4, 0.6), category="public", judge_at_chance=True),
                score(
                    "public",
                    "adherence",
                    "adherence",
                    (0.7, 0.6, 0.8),
                    "base",
                    (0.2, 0.1, 0.3),
                    category="public",
                    judge_at_chance=True,
                ),
            ]
        ),
        judge_calibration=JUDGE_CALIBRATION.build([calibration(0.4, 0.6)]),
        constitution_overlap=CONSTITUTION_OVERLAP.build(
            [
                {
                    "arm": arm,
                    "principle_id": key,
                    "other_arm": other,
                    "nearest_principle_id": near,
                    "similarity": 0.25,
                    "shared": False,
                    "tags": [],
                    "same_tag_principle_ids": [],
                    "shared_by_tags": None,
                    "framing": "do",
                }
                for arm, key, other, near in (("public", "P1", "standard", "S1"), ("standard", "S1", "public", "P1"))
            ]
        ),
        constitution_comparison=CONSTITUTION_COMPARISON.build(
            [
                {
                    "arm": arm,
                    "other_arm": other,
                    "measure": measure,
                    "n": 20,
                    "value": value,
                    "low": 0.0,
                    "high": 1.0,
                    "difference": None,
                    "difference_low": None,
                    "difference_high": None,
                    "published": published,
                }
                for arm, other, measure, value, published in (
                    ("public", "standard", "says what to do", 0.75, None),
                    ("public", "standard", "shared by likeness", 0.25, "about half"),
                    ("standard", "public", "shared by likeness", 0.5, None),
                    ("public", "standard", "agreement of likeness and tags", 0.5, None),
                    ("public", "standard", "shared by tags", None, None),
                )
            ]
        ),
        comparisons=COMPARISONS.build(
            [
                {
                    "pair_id": f"pair-{prompt}",
                    "quality": "helpfulness",
                    "prompt_id": f"h{prompt}",
                    "prompt": "Why?",
                    "arm_a": "base",
                    "arm_b": "public",
                    "response_a": "Because it",
                    "finished_a": False,
                    "response_b": "So.",
                    "finished_b": prompt > 0,
                    "forward_probability": 0.5,
                    "reversed_probability": 0.5,
                    "probability_a": 0.5,
                    "status": "compared",
                    "judge": "m",
                    "judge_at_chance": True,
                }
                for prompt in range(3)
            ]
        ),
        elo_differences=ELO_DIFFERENCES.build(
            [
                elo("public", "base", (12.0, -18.0, 31.0), n_unanswered=2),
                elo("public", "standard", (-90.0, -160.0, -20.0), source="people", n_raters=1),
                elo("standard", "base", (0.0, -600.0, 600.0), n=0, n_unanswered=20),
            ]
        ),
        rater_agreement=RATER_AGREEMENT.build(
            [
                {
                    "quality": "helpfulness",
                    "arm_a": "public",
                    "arm_b": "standard",
                    "between": "feedback model and people",
                    "n": 18,
                    "n_undecided": 2,
                    "n_prompts": 18,
                    "n_raters": 1,
                    "agreement": 0.5,
                    "kappa": 0.0,
                    "kappa_low": -0.4,
                    "kappa_high": 0.4,
                    "judge_at_chance": True,
                }
            ]
        ),
        adherence_scores=ADHERENCE_SCORES.build(
            [
                adherence("public", "public", "all principles", (0.7, 0.5, 0.9)),
                adherence("base", "public", "all principles", (0.5, 0.3, 0.7), n_unanswered=1),
                adherence("public", "public", "P1", (0.6, 0.2, 0.95)),
                adherence("public", "public", "P2", None, status="no relevant prompt"),
                adherence("public", "public", "P10", None, status="no relevant prompt"),
            ]
        ),
        group_adherence=GROUP_ADHERENCE.build(
            [
                {
                    "arm": "public",
                    "constitution_arm": "public",
                    "group_id": group,
                    "worst": worst,
                    "n": 12,
                    "value": value,
                    "low": 0.1,
                    "high": 0.9,
                    "judge_at_chance": True,
                }
                for group, worst, value in ((0, False, 0.6), (1, True, 0.45))
            ]
        ),
        specificity=SPECIFICITY.build(
            [
                lift("public", "own", "judge", (0.2, 0.1, 0.3), 0.01),
                lift("public", "rejected", "judge", (0.02, -0.03, 0.07), 0.5),
                lift("public", "own", "margin", (-0.125, -0.25, 0.0), 0.06),
                lift("public", "shared", "margin", None, None),
            ]
        ),
        conflicts=CONFLICTS.build(
            [
                {
                    "arm": arm,
                    "constitution_arm": "public",
                    "principle_id": "P1",
                    "against_id": "P2",
                    "n": 4,
                    "n_prompts": 4,
                    "margin": middle,
                    "low": middle - 0.5,
                    "high": middle + 0.5,
                    "follows": follows,
                    "lift": None,
                    "lift_low": None,
                    "lift_high": None,
                }
                for arm, middle, follows in (("base", 0.25, None), ("public", -1.0, "P2"))
            ]
        ),
        opinion_representativeness=OPINION_REPRESENTATIVENESS.build(
            [
                opinion("everybody", "everybody", "base", 0.84),
                opinion("PARTY", f"left {HOSTILE}", "base", 0.8),
                opinion("PARTY", f"left {HOSTILE}", "public", 0.85, ("base", 0.05, 0.02, 0.08), ceiling=0.97),
            ]
        ),
        qualitative_prompts=QUALITATIVE_PROMPTS.build(
            [
                {"prompt_id": "q1", "text": prompts["q1"], "origin": "written", "principles": []},
                {"prompt_id": "q2", "text": prompts["q2"], "origin": "drafted", "principles": ["public/P1"]},
            ]
        ),
        qualitative_responses=QUALITATIVE_RESPONSES.build(
            [
                {
                    "arm": arm,
                    "prompt_id": key,
                    "prompt": prompts[key],
                    "response": text,
                    "finished": key != "q2",
                    "refused": refused,
                }
                for (arm, key), (text, refused) in answers.items()
            ]
        ),
        audit_report="audit_report.html",
    )
