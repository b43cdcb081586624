"""The stages of feedback that ask a model: for revisions, responses, and which response is better."""

from __future__ import annotations

from typing import Any

import polars as pl

from ccai_dagster import settings as sizes
from ccai_dagster.decisions.settled_values import FeedbackMethod
from ccai_dagster.feedback.judgements import Judge
from ccai_dagster.progress import Progress
from resources.launcher import StageRequest
from resources.stage_files import keep_tables, load_judge, load_model, load_tuned_judge, read_table


def judge_answers(request: StageRequest, progress: Progress) -> dict[str, Any]:
    """Ask the feedback model about labelled comparisons in every way there is a model for."""
    from ccai_dagster.feedback import calibration

    comparisons = {name: pl.read_parquet(path) for name, path in request.tables.items()}
    judge = load_judge(request)
    settings = sizes.FeedbackSettings.model_validate(request.options["feedback"])
    judges: dict[FeedbackMethod, Judge] = dict.fromkeys(settings.calibration_methods, judge)
    if "feedback_model" in request.models:
        judges["tuned"] = load_tuned_judge(request)
    answers = calibration.judge_answers(judges, comparisons, progress, settings.reasoning)
    return keep_tables(request, judge_answers=answers)


def revisions(request: StageRequest, progress: Progress) -> dict[str, Any]:
    """Answer, criticise and revise."""
    from ccai_dagster.feedback.critique import write_revisions

    settings = sizes.RevisionSettings.model_validate(request.options["settings"])
    table = write_revisions(
        load_model(request, "base_model", settings.batch_size),
        read_table(request, "prompts"),
        read_table(request, "constitution"),
        settings,
        request.options["seed"],
        progress,
    )
    return keep_tables(request, revisions=table)


def response_pairs(request: StageRequest, progress: Progress) -> dict[str, Any]:
    """Sample pairs of responses."""
    from ccai_dagster.feedback.responses import sample_pairs

    settings = sizes.PairSettings.model_validate(request.options["settings"])
    model = load_model(request, "supervised_policy", settings.batch_size)
    table = sample_pairs(model, read_table(request, "prompts"), settings, request.options["seed"], progress)
    return keep_tables(request, response_pairs=table)


def preference_pairs(request: StageRequest, progress: Progress) -> dict[str, Any]:
    """Label pairs of responses under principles."""
    from ccai_dagster.feedback.labels import label_pairs

    method = request.options["method"]
    table = label_pairs(
        load_tuned_judge(request) if method == "tuned" else load_judge(request),
        read_table(request, "response_pairs"),
        read_table(request, "constitution"),
        method,
        request.options["judge_at_chance"],
        request.options["seed"],
        progress,
        weights=request.options["principle_weights"],
        reasoning=sizes.FeedbackSettings.model_validate(request.options["feedback"]).reasoning,
    )
    return keep_tables(request, preference_pairs=table)
