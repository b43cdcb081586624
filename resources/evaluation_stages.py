"""The stages that measure trained models: alone, and against each other."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import polars as pl

from ccai_dagster import settings as sizes
from ccai_dagster.consultation import EvaluationSet
from ccai_dagster.progress import Progress
from resources.launcher import StageRequest
from resources.stage_files import (
    keep_tables,
    load_judge,
    load_model,
    load_model_for_benchmarks,
    read_constitutions,
    read_table,
)


def evaluation(request: StageRequest, progress: Progress) -> dict[str, Any]:
    """Run the chosen evaluations on one model: benchmarks, adherence, margins, qualitative responses."""
    from ccai_dagster.evaluation import benchmarks

    settings = sizes.EvaluationSettings.model_validate(request.options["settings"])
    seed = request.options["seed"]
    made: dict[str, pl.DataFrame] = {}
    provenance: dict[str, Any] = {}
    if request.options["benchmarks"]:
        chosen = {
            name: EvaluationSet.model_validate(set_) for name, set_ in request.options["benchmarks"].items()
        }
        model = load_model_for_benchmarks(request, settings.batch_size)
        run = benchmarks.run_benchmarks(model, chosen, settings, seed, progress)
        made |= run.items
        provenance = dict(run.provenance)
        _keep_samples(request, run.samples)
    measures = set(request.options["measures"])
    if measures:
        made |= _measured(request, measures, settings, progress)
    return keep_tables(request, **made) | {"provenance": provenance}


def _measured(
    request: StageRequest, measures: set[str], settings: sizes.EvaluationSettings, progress: Progress
) -> dict[str, pl.DataFrame]:
    """Let one model respond and score, and the feedback model judge; each of them is loaded only if needed."""
    from ccai_dagster.evaluation import adherence, contrast_margins, controls, qualitative

    seed, arm, chance = request.options["seed"], request.options["arm"], request.options["judge_at_chance"]
    made: dict[str, pl.DataFrame] = {}
    judged = measures & {"adherence", "control_adherence"}
    prompts = read_table(request, "prompts")
    if measures - {"judged_examples"}:
        model = load_model(request, "policy", settings.batch_size)
    if "qualitative_responses" in measures:
        made["qualitative_responses"] = qualitative.write_qualitative_responses(
            model, read_table(request, "qualitative_prompts"), arm, settings, seed, progress
        )
    if "contrast_margins" in measures:
        pairs = read_table(request, "contrast_pairs")
        made["contrast_margins"] = contrast_margins.contrast_margins(model, pairs, arm, progress)
    if judged:
        responses = adherence.write_responses(model, prompts, arm, settings, seed, progress)
    if judged or "judged_examples" in measures:
        judge = load_judge(request)
    if "judged_examples" in measures:
        examples = read_table(request, "adherence_examples")
        made["judged_examples"] = adherence.judge_examples(judge, examples, chance, progress)
    if "adherence" in measures:
        made["adherence"] = adherence.measure_adherence(
            responses, judge, prompts, read_constitutions(request), settings, chance, seed, progress
        )
    if "control_adherence" in measures:
        chosen = adherence.adherence_prompts(prompts, settings, seed)
        drawn = controls.drawn_controls(
            chosen, read_table(request, "control_statements"), settings.controls_per_prompt, seed
        )
        made["control_adherence"] = adherence.judge_responses(responses, judge, drawn, chance, progress)
    return made


def _keep_samples(request: StageRequest, samples: Mapping[str, list[dict[str, Any]]]) -> None:
    """Leave what was asked and answered as JSON lines, one file a benchmark."""
    request.samples.mkdir(parents=True, exist_ok=True)
    for name, rows in samples.items():
        lines = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
        (request.samples / f"{name}.jsonl").write_text(lines, encoding="utf-8")


def comparison(request: StageRequest, progress: Progress) -> dict[str, Any]:
    """Let every model respond and the feedback model compare the responses."""
    from ccai_dagster.evaluation import adherence
    from ccai_dagster.evaluation.comparison import compare_responses

    settings = sizes.EvaluationSettings.model_validate(request.options["settings"])
    seed, prompts = request.options["seed"], read_table(request, "prompts")
    responses = {}
    for arm in sorted(request.options["arms"]):
        model = load_model(request, arm, settings.batch_size)
        responses[arm] = adherence.write_responses(model, prompts, arm, settings, seed, progress)
    comparisons = compare_responses(
        responses, load_judge(request), settings, request.options["judge_at_chance"], seed, progress
    )
    return keep_tables(request, comparisons=comparisons)
