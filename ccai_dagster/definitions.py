"""The code location: the one module that puts assets and resources together.

`CCAI_CONSULTATION` names the consultation folder (the embedded sample by default), `CCAI_PROFILE` the
profile (`demo` by default), `CCAI_HOME` where results are kept. No asset or resource is defined here.
"""

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

import dagster as dg

from assets import (
    adherence,
    audit,
    constitution,
    decisions,
    deliberation,
    evaluation,
    feedback,
    positive_control,
    public_input,
    public_opinion,
    replication,
    topics,
    training,
)
from ccai_dagster import automation, housekeeping
from ccai_dagster.consultation.folder import Consultation, chosen_consultation, home_of
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.home import Home
from ccai_dagster.terminal import terminal_logger
from resources.launcher import Launcher
from resources.model_store import ModelStore
from resources.run_owners import named_owner
from resources.tables import Tables
from resources.tracking import Tracking
from resources.vote_source import VoteSource

# Observable sources are marked beta and the pipes reader preview; nothing else does what they do.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)

MLFLOW_UI = "http://127.0.0.1:5000"


def build_assets(consultation: Consultation, home: Home) -> list[dg.AssetsDefinition | dg.SourceAsset]:
    """Return the whole graph of a consultation, in the order of its stages."""
    assets: list[dg.AssetsDefinition | dg.SourceAsset] = [
        *public_input.build(consultation),
        *decisions.build(consultation, home),
        *deliberation.build(consultation),
        *public_opinion.build(consultation),
        *topics.build(consultation),
        *constitution.build(consultation),
        *replication.build(consultation, home),
        *feedback.build(consultation),
        *training.build(consultation),
        *positive_control.build(consultation),
        *adherence.build(consultation),
        *evaluation.build(consultation),
    ]
    return [*assets, *audit.build(consultation, home, assets)]


class Resources(TypedDict):
    """Everything the graph runs with, by the names that assets give their parameters."""

    vote_source: VoteSource
    tables: Tables
    models: ModelStore
    tracking: Tracking
    launcher: Launcher


def build_resources(home: Home) -> Resources:
    """Return the resources for results kept in `home`."""
    return {
        "vote_source": VoteSource(downloads=str(home.downloads), portal=str(home.portal)),
        "tables": Tables(url=home.tables_url),
        "models": ModelStore(url=home.models_url, cache=str(home.cache / "models")),
        "tracking": Tracking(
            uri=home.mlflow_uri,
            artifacts=str(home.mlflow_artifacts),
            experiment=home.consultation,
            ui=os.environ.get("CCAI_MLFLOW_URL") or MLFLOW_UI,
        ),
        "launcher": Launcher(
            work=str(home.work),
            threads=_number("CCAI_THREADS", os.cpu_count() or 1),
            accelerate_config=os.environ.get("CCAI_ACCELERATE_CONFIG", ""),
        ),
    }


def build_defs(consultation: Consultation, root: Path) -> dg.Definitions:
    """Build the code location for a consultation whose results are kept in `root` (`CCAI_HOME`)."""
    home = Home(root, consultation.name)
    assets, resources = build_assets(consultation, home), build_resources(home)
    keys = {key for each in assets for key in (each.keys if isinstance(each, dg.AssetsDefinition) else [each.key])}
    return dg.Definitions(
        assets=assets,
        resources=resources,
        jobs=[
            *automation.build_jobs(consultation),
            housekeeping.build_retention_job(consultation, home, resources["tracking"], keys),
        ],
        sensors=[
            *automation.build_sensors(consultation, home, resources["tables"], resources["models"]),
            housekeeping.build_manifest_sensor(consultation, home),
            housekeeping.build_notice_sensor(consultation, home),
        ],
        schedules=automation.build_schedules(),
        executor=_executor(automation.by_hand(consultation)),
        loggers={"console": terminal_logger},
    )


def _executor(tags: Mapping[str, str]) -> dg.ExecutorDefinition:
    """In this process by default: what is heavy has a process of its own anyway.

    Args:
        tags: Of runs that have none of these, as those that Dagster's button `Materialize` starts.
    """
    chosen = os.environ.get("CCAI_EXECUTOR") or "in_process"
    if chosen == "multiprocess":
        processes = _number("CCAI_PROCESSES", 2)
        return named_owner(dg.multiprocess_executor.configured({"max_concurrent": processes}), tags)
    if chosen != "in_process":
        raise ConsultationError(f"CCAI_EXECUTOR is {chosen!r}; it must be in_process or multiprocess.")
    return named_owner(dg.in_process_executor, tags)


def _number(variable: str, default: int) -> int:
    """Return a number that the environment sets, at least 1.

    Raises:
        ConsultationError: It is none.
    """
    given = os.environ.get(variable) or str(default)
    if not given.isdecimal() or int(given) < 1:
        raise ConsultationError(f"{variable} is {given!r}; it must be a whole number, at least 1.")
    return int(given)


def defs() -> dg.Definitions:
    """Build the code location that the environment names."""
    consultation = chosen_consultation(profile=os.environ.get("CCAI_PROFILE") or "demo")
    return build_defs(consultation, home_of(consultation).root)
