"""The stages that run in the child process: each unpacks a request, calls one method, leaves what it made.

No method lives here. A stage returns figures as JSON; tables and models are files below `request.made`.
"""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from ccai_dagster import settings as sizes
from ccai_dagster.consultation import EvaluationSet
from ccai_dagster.feedback.judgements import Judge, Method
from ccai_dagster.feedback.language_model import LanguageModel, ScoringModel
from ccai_dagster.feedback.number_format import computing_format
from ccai_dagster.progress import Progress
from resources.launcher import StageRequest

Stage = Callable[[StageRequest, Progress], dict[str, Any]]


def base_model(request: StageRequest, progress: Progress) -> dict[str, Any]:
    """Fetch, check and convert the base model."""
    from ccai_dagster.training.base_model import prepare_base_model

    settings = sizes.ModelSettings.model_validate(request.options["model"])
    prepare_base_model(settings, Path(request.options["cache"]), request.made / "model", progress)
    return {"metrics": {}}


def feedback_model(request: StageRequest, progress: Progress) -> dict[str, Any]:
    """Tune the feedback model on labelled comparisons."""
    from ccai_dagster.training.feedback_model import train_feedback_model

    outcome = train_feedback_model(
        request.models["base_model"],
        {name: pl.read_parquet(path) for name, path in request.tables.items()},
        sizes.TunedJudgeSettings.model_validate(request.options["settings"]),
        request.options["seed"],
        request.work,
        request.made / "model",
        progress,
    )
    return _keep(request, history=outcome.history) | {"metrics": outcome.metrics}


def judge_answers(request: StageRequest, progress: Progress) -> dict[str, Any]:
    """Ask the feedback model about labelled comparisons in every way there is a model for."""
    from ccai_dagster.feedback import calibration

    comparisons = {name: pl.read_parquet(path) for name, path in request.tables.items()}
    judge = _judge(request)
    settings = sizes.FeedbackSettings.model_validate(request.options["feedback"])
    judges: dict[Method, Judge] = dict.fromkeys(settings.calibration_methods, judge)
    if "feedback_model" in request.models:
        judges["tuned"] = _tuned_judge(request)
    answers = calibration.judge_answers(judges, comparisons, progress, settings.reasoning)
    return _keep(request, judge_answers=answers)


def revisions(request: StageRequest, progress: Progress) -> dict[str, Any]:
    """Answer, criticise and revise."""
    from ccai_dagster.feedback.critique import write_revisions

    settings = sizes.RevisionSettings.model_validate(request.options["settings"])
    table = write_revisions(
        _model(request, "base_model", settings.batch_size),
        _table(request, "prompts"),
        _table(request, "constitution"),
        settings,
        request.options["seed"],
        progress,
    )
    return _keep(request, revisions=table)


def supervised_policy(request: StageRequest, progress: Progress) -> dict[str, Any]:
    """Fine-tune on revisions."""
    from ccai_dagster.training.supervised import train_supervised_policy

    outcome = train_supervised_policy(
        request.models["base_model"],
        _table(request, "revisions"),
        _table(request, "helpfulness_pairs"),
        sizes.SupervisedSettings.model_validate(request.options["settings"]),
        request.options["seed"],
        request.work,
        request.made / "model",
        progress,
    )
    return _keep(request, history=outcome.history) | {"metrics": outcome.metrics}


def response_pairs(request: StageRequest, progress: Progress) -> dict[str, Any]:
    """Sample pairs of responses."""
    from ccai_dagster.feedback.responses import sample_pairs

    settings = sizes.PairSettings.model_validate(request.options["settings"])
    model = _model(request, "supervised_policy", settings.batch_size)
    table = sample_pairs(model, _table(request, "prompts"), settings, request.options["seed"], progress)
    return _keep(request, response_pairs=table)


def preference_pairs(request: StageRequest, progress: Progress) -> dict[str, Any]:
    """Label pairs of responses under principles."""
    from ccai_dagster.feedback.labels import label_pairs

    method = request.options["method"]
    table = label_pairs(
        _tuned_judge(request) if method == "tuned" else _judge(request),
        _table(request, "response_pairs"),
        _table(request, "constitution"),
        method,
        request.options["judge_at_chance"],
        request.options["seed"],
        progress,
        weights=request.options["principle_weights"],
        reasoning=sizes.FeedbackSettings.model_validate(request.options["feedback"]).reasoning,
    )
    return _keep(request, preference_pairs=table)


def preference_model(request: StageRequest, progress: Progress) -> dict[str, Any]:
    """Train the preference model."""
    from ccai_dagster.training.preference_model import train_preference_model

    outcome = train_preference_model(
        request.models["base_model"],
        _table(request, "preference_pairs"),
        _table(request, "helpfulness_pairs"),
        request.options["harmlessness_weight"],
        sizes.PreferenceModelSettings.model_validate(request.options["settings"]),
        request.options["seed"],
        request.work,
        request.made / "model",
        progress,
    )
    return _keep(request, history=outcome.history, **outcome.tables) | {"metrics": outcome.metrics}


def preference_balance(request: StageRequest, progress: Progress) -> dict[str, Any]:
    """Measure preference models with other weights beside the one on record."""
    from ccai_dagster.training.preference_balance import balance_table, measure_balance
    from ccai_dagster.training.preference_model import train_preference_model

    options, seed = request.options, request.options["seed"]
    settings = sizes.PreferenceModelSettings.model_validate(options["settings"])
    rows = []
    for about in options["rows"]:
        arm, weight = about["arm"], about["harmlessness_weight"]
        folder, metrics = request.models.get(f"preference_model/{arm}"), options["metrics"].get(arm, {})
        if not about["chosen"] or folder is None:
            work = request.work / f"{arm}-{weight}"
            folder = work / "model"
            metrics = train_preference_model(
                request.models["base_model"],
                _table(request, f"preference_pairs/{arm}"),
                _table(request, "helpfulness_pairs"),
                weight,
                settings,
                seed,
                work / "checkpoints",
                folder,
                progress,
            ).metrics
        rows.append(
            measure_balance(
                folder,
                _table(request, "benign_pairs"),
                metrics,
                about,
                settings.max_tokens,
                settings.batch_size,
                seed,
            )
        )
        progress("weights measured", len(rows), len(options["rows"]))
    return _keep(request, preference_balance=balance_table(rows))


def policy(request: StageRequest, progress: Progress) -> dict[str, Any]:
    """Train the policy as the ledger says, and compare it with the supervised policy on held-out prompts."""
    from ccai_dagster.training import direct_preference, preference_pairs
    from ccai_dagster.training.policy import train_policy
    from ccai_dagster.training.reward_gain import reward_gain

    options, models, made = request.options, request.models, request.made / "model"
    settings = sizes.PolicySettings.model_validate(options["settings"])
    supervised, preferences, seed = models["supervised_policy"], models["preference_model"], options["seed"]
    if options["method"] == "dpo":
        learnt = sizes.PreferenceModelSettings.model_validate(options["preference_model"])
        table = preference_pairs.comparisons(
            _table(request, "preference_pairs"),
            _table(request, "helpfulness_pairs"),
            options["harmlessness_weight"],
            learnt.held_out_share,
            seed,
        )
        outcome = direct_preference.train_policy_directly(
            supervised, table, learnt.max_tokens, settings, seed, request.work, made, progress
        )
    else:
        outcome = train_policy(
            supervised, preferences, options["prompts"], settings, seed, request.work, made, progress
        )
    tables = {"history": outcome.history, **outcome.tables}
    gc.collect()  # the trainer and its models refer to each other; three more models are loaded now
    model = sizes.ModelSettings.model_validate(options["model"])
    batch = settings.prompts_per_step * settings.samples_per_prompt
    gain, tables["held_out_responses"] = reward_gain(
        _load(made, model, batch),
        _load(supervised, model, batch),
        preferences,
        _table(request, "prompts"),
        model.context_tokens,
        settings,
        seed,
        progress,
    )
    return _keep(request, **tables) | {"metrics": outcome.metrics | gain}


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
        dtype = computing_format(request.options["dtype"])
        run = benchmarks.run_benchmarks(request.models["policy"], chosen, settings, dtype, seed, progress)
        made |= run.items
        provenance = dict(run.provenance)
        _keep_samples(request, run.samples)
    measures = set(request.options["measures"])
    if measures:
        made |= _measured(request, measures, settings, progress)
    return _keep(request, **made) | {"provenance": provenance}


def _measured(
    request: StageRequest, measures: set[str], settings: sizes.EvaluationSettings, progress: Progress
) -> dict[str, pl.DataFrame]:
    """Let one model respond and score, and the feedback model judge; each of them is loaded only if needed."""
    from ccai_dagster.evaluation import adherence, contrast_margins, controls, qualitative

    seed, arm, chance = request.options["seed"], request.options["arm"], request.options["judge_at_chance"]
    made: dict[str, pl.DataFrame] = {}
    judged = measures & {"adherence", "control_adherence"}
    prompts = _table(request, "prompts")
    if measures - {"judged_examples"}:
        model = _model(request, "policy", settings.batch_size)
    if "qualitative_responses" in measures:
        made["qualitative_responses"] = qualitative.write_qualitative_responses(
            model, _table(request, "qualitative_prompts"), arm, settings, seed, progress
        )
    if "contrast_margins" in measures:
        pairs = _table(request, "contrast_pairs")
        made["contrast_margins"] = contrast_margins.contrast_margins(model, pairs, arm, progress)
    if judged:
        responses = adherence.write_responses(model, prompts, arm, settings, seed, progress)
    if judged or "judged_examples" in measures:
        judge = _judge(request)
    if "judged_examples" in measures:
        examples = _table(request, "adherence_examples")
        made["judged_examples"] = adherence.judge_examples(judge, examples, chance, progress)
    if "adherence" in measures:
        drawn = adherence.drawn_principles(prompts, _constitutions(request), settings, seed)
        made["adherence"] = adherence.judge_responses(responses, judge, drawn, chance, progress)
    if "control_adherence" in measures:
        chosen = adherence.adherence_prompts(prompts, settings, seed)
        drawn = controls.drawn_controls(
            chosen, _table(request, "control_statements"), settings.controls_per_prompt, seed
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
    seed, prompts = request.options["seed"], _table(request, "prompts")
    responses = {}
    for arm in sorted(request.options["arms"]):
        model = _model(request, arm, settings.batch_size)
        responses[arm] = adherence.write_responses(model, prompts, arm, settings, seed, progress)
    comparisons = compare_responses(
        responses, _judge(request), settings, request.options["judge_at_chance"], seed, progress
    )
    return _keep(request, comparisons=comparisons)


STAGES: Mapping[str, Stage] = {
    stage.__name__: stage
    for stage in (
        base_model,
        feedback_model,
        judge_answers,
        revisions,
        supervised_policy,
        response_pairs,
        preference_pairs,
        preference_model,
        preference_balance,
        policy,
        evaluation,
        comparison,
    )
}


def is_first_process() -> bool:
    """Tell whether this is the first of the processes that run a stage together; only that one writes."""
    return int(os.environ.get("RANK", "0")) == 0


def _table(request: StageRequest, name: str) -> pl.DataFrame:
    return pl.read_parquet(request.tables[name])


def _constitutions(request: StageRequest) -> dict[str, pl.DataFrame]:
    prefix = "constitution/"
    return {
        name.removeprefix(prefix): pl.read_parquet(path)
        for name, path in request.tables.items()
        if name.startswith(prefix)
    }


def _model(request: StageRequest, name: str, batch_size: int) -> LanguageModel:
    model = sizes.ModelSettings.model_validate(request.options["model"])
    return _keeping(request, _load(request.models[name], model, batch_size))


def _load(folder: Path, model: sizes.ModelSettings, batch_size: int) -> LanguageModel:
    from resources.language_models import TransformersModel

    return TransformersModel(folder, model.dtype, batch_size, model.context_tokens)


def _judge(request: StageRequest) -> LanguageModel:
    feedback = sizes.FeedbackSettings.model_validate(request.options["feedback"])
    if feedback.server_url:
        from resources.kept_answers import KeptLines
        from resources.language_model_server import OpenAIServerModel

        kept = KeptLines(request.folder / "answers.jsonl")
        return OpenAIServerModel(feedback.server_url, feedback.server_model or "", kept=kept)
    return _model(request, "base_model", feedback.batch_size)


def _keeping(request: StageRequest, model: LanguageModel) -> LanguageModel:
    from resources.kept_answers import KeptAnswers

    return KeptAnswers(model, request.folder / "answers.jsonl")


def _tuned_judge(request: StageRequest) -> ScoringModel:
    from resources.feedback_model import TunedFeedbackModel

    feedback = sizes.FeedbackSettings.model_validate(request.options["feedback"])
    tuned = sizes.TunedJudgeSettings.model_validate(request.options["tuned_judge"])
    return TunedFeedbackModel(request.models["feedback_model"], feedback.batch_size, tuned.max_tokens)


def _keep(request: StageRequest, **tables: pl.DataFrame) -> dict[str, Any]:
    for name, table in tables.items() if is_first_process() else ():
        table.write_parquet(request.made / f"{name.replace('/', '--')}.parquet")
    return {"metrics": {}}
