"""What every stage does with its request: read tables, load models, leave what it made.

Models are wrapped so that an interrupted stage does not ask again for answers it has.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import polars as pl

from ccai_dagster import settings as sizes
from ccai_dagster.feedback.language_model import LanguageModel, ScoringModel
from resources.launcher import StageRequest


def is_first_process() -> bool:
    """Tell whether this is the first of the processes that run a stage together; only that one writes."""
    return int(os.environ.get("RANK", "0")) == 0


def read_table(request: StageRequest, name: str) -> pl.DataFrame:
    """Return a table of the request."""
    return pl.read_parquet(request.tables[name])


def read_constitutions(request: StageRequest) -> dict[str, pl.DataFrame]:
    """Return the tables named `constitution/ARM`, by arm."""
    prefix = "constitution/"
    return {
        name.removeprefix(prefix): pl.read_parquet(path)
        for name, path in request.tables.items()
        if name.startswith(prefix)
    }


def load_folder(folder: Path, model: sizes.ModelSettings, batch_size: int) -> LanguageModel:
    """Load the language model in a folder; its answers are not kept."""
    from resources.language_models import TransformersModel

    return TransformersModel(folder, model.dtype, batch_size, model.context_tokens)


def load_model(request: StageRequest, name: str, batch_size: int) -> LanguageModel:
    """Load a model of the request, and keep its answers."""
    from resources.kept_answers import KeptAnswers

    model = sizes.ModelSettings.model_validate(request.options["model"])
    return KeptAnswers(load_folder(request.models[name], model, batch_size), request.folder / "answers.jsonl")


def load_model_for_benchmarks(request: StageRequest, batch_size: int) -> LanguageModel:
    """Load the measured model and keep its answers; prompts may be as long as the model can read."""
    from resources.kept_answers import KeptAnswers
    from resources.language_models import TransformersModel

    model = TransformersModel(request.models["policy"], request.options["dtype"], batch_size)
    return KeptAnswers(model, request.folder / "answers.jsonl")


def load_judge(request: StageRequest) -> LanguageModel:
    """Return the feedback model: the one behind the server that the settings name, or the base model."""
    feedback = sizes.FeedbackSettings.model_validate(request.options["feedback"])
    if feedback.server_url:
        from resources.kept_answers import KeptLines
        from resources.language_model_server import OpenAIServerModel

        kept = KeptLines(request.folder / "answers.jsonl")
        return OpenAIServerModel(feedback.server_url, feedback.server_model or "", kept=kept)
    return load_model(request, "base_model", feedback.batch_size)


def load_tuned_judge(request: StageRequest) -> ScoringModel:
    """Load the feedback model that was tuned on labelled comparisons."""
    from resources.feedback_model import TunedFeedbackModel

    feedback = sizes.FeedbackSettings.model_validate(request.options["feedback"])
    tuned = sizes.TunedJudgeSettings.model_validate(request.options["tuned_judge"])
    return TunedFeedbackModel(request.models["feedback_model"], feedback.batch_size, tuned.max_tokens)


def keep_tables(request: StageRequest, **tables: pl.DataFrame) -> dict[str, Any]:
    """Leave tables below `request.made`; return the report of a stage without figures."""
    for name, table in tables.items() if is_first_process() else ():
        table.write_parquet(request.made / f"{name.replace('/', '--')}.parquet")
    return {"metrics": {}}
