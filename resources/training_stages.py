"""The stages that make a model: each unpacks a request, calls one method, leaves the model and its figures."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import polars as pl

from ccai_dagster import settings as sizes
from ccai_dagster.progress import Progress
from resources.launcher import StageRequest
from resources.stage_files import keep_tables, load_folder, read_table


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
    return keep_tables(request, history=outcome.history) | {"metrics": outcome.metrics}


def supervised_policy(request: StageRequest, progress: Progress) -> dict[str, Any]:
    """Fine-tune on revisions."""
    from ccai_dagster.training.supervised import train_supervised_policy

    outcome = train_supervised_policy(
        request.models["base_model"],
        read_table(request, "revisions"),
        read_table(request, "helpfulness_pairs"),
        sizes.SupervisedSettings.model_validate(request.options["settings"]),
        request.options["seed"],
        request.work,
        request.made / "model",
        progress,
    )
    return keep_tables(request, history=outcome.history) | {"metrics": outcome.metrics}


def preference_model(request: StageRequest, progress: Progress) -> dict[str, Any]:
    """Train the preference model."""
    from ccai_dagster.training.preference_model import train_preference_model

    outcome = train_preference_model(
        request.models["base_model"],
        read_table(request, "preference_pairs"),
        read_table(request, "helpfulness_pairs"),
        request.options["harmlessness_weight"],
        sizes.PreferenceModelSettings.model_validate(request.options["settings"]),
        request.options["seed"],
        request.work,
        request.made / "model",
        progress,
    )
    return keep_tables(request, history=outcome.history, **outcome.tables) | {"metrics": outcome.metrics}


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
                read_table(request, f"preference_pairs/{arm}"),
                read_table(request, "helpfulness_pairs"),
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
                read_table(request, "benign_pairs"),
                metrics,
                about,
                settings.max_tokens,
                settings.batch_size,
                seed,
            )
        )
        progress("weights measured", len(rows), len(options["rows"]))
    return keep_tables(request, preference_balance=balance_table(rows))


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
            read_table(request, "preference_pairs"),
            read_table(request, "helpfulness_pairs"),
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
        load_folder(made, model, batch),
        load_folder(supervised, model, batch),
        preferences,
        read_table(request, "prompts"),
        model.context_tokens,
        settings,
        seed,
        progress,
    )
    return keep_tables(request, **tables) | {"metrics": outcome.metrics | gain}
