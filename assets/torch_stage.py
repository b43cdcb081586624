"""How an asset runs a torch stage: launched in its own process, tracked in MLflow, its model kept.

Used by the modules of the graph that train or ask models; no asset is defined here.

[measured_model] How several tables about one model are assets that one process makes, any of them alone.

Used where loading the model costs more than measuring it; no asset is defined here.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg
import polars as pl

from assets.table_asset import Table, markdown_table, picture, publish
from ccai_dagster import contracts
from ccai_dagster.consultation.folder import BASE, Consultation
from ccai_dagster.consultation.settings import Settings
from ccai_dagster.contracts import Contract
from ccai_dagster.core.digest import table_digest, value_digest
from ccai_dagster.pages import pictures
from ccai_dagster.stages.request import Stage, StageResult
from resources.launcher import Launcher
from resources.model_store import ModelStore
from resources.tracking import TrackedRun, Tracking

SHOWN_ROWS = 20
KEPT_SAMPLES = 50
SAID = {"response", "revision", "response_a"}
"""Columns of tables that hold what a model said; MLflow keeps some rows of those to look at."""
POOL = "accelerator"
"""One torch process at a time: they share cores, memory and the GPU."""
Controlled = Settings | str | float
"""What must be equal in every arm: settings, digests, and numbers from the ledgers."""


def controlled_everywhere(consultation: Consultation) -> dict[str, Controlled]:
    """Return what must be equal in every arm of every training, as kept with each model."""
    file = consultation.file
    return {"model": file.model, "feedback": consultation.profile.feedback, "seed": file.seed}


def only_digest(record: pl.DataFrame) -> str:
    """Return the digest of the one model in a MODEL table."""
    return str(record["model_digest"].item())


def rests_on_chance(record: pl.DataFrame) -> bool:
    """Tell whether a model of a MODEL table, or one it was trained with, learnt from a judge at chance."""
    return bool(json.loads(str(record["metrics"].item())).get("judge_at_chance"))


def train(
    context: dg.AssetExecutionContext,
    launcher: Launcher,
    models: ModelStore,
    tracking: Tracking,
    stage: Stage,
    *,
    arm: str,
    parent: pl.DataFrame,
    controlled: Mapping[str, Controlled],
    constitution: str | None,
    judge_at_chance: bool | None = None,
) -> Table:
    """Train a model in its own process and keep it; one MLflow run.

    Args:
        context: Of the asset.
        launcher: Starts the process.
        models: Where the model is kept.
        tracking: MLflow.
        stage: The training; the asset has its name.
        arm: Whose constitution.
        parent: MODEL table of the model it starts from.
        controlled: Everything that must be equal in every arm, by name, for the comparison of settings.
        constitution: Digest of the constitution, if it is trained on one.
        judge_at_chance: Whether what it learns from was labelled by a judge not shown to be better than chance;
            None if no judge's labels are in it. Kept among its metrics.

    Returns:
        The MODEL record, with training curves; its data version is the digest of the model.
    """
    equal = {
        name: value.model_dump(mode="json") if isinstance(value, Settings) else value
        for name, value in controlled.items()
    }
    settings_digest = value_digest(equal)
    name = context.asset_key.to_user_string()
    tags = {
        "stage": stage.stage,
        "arm": arm,
        "constitution_digest": constitution or "",
        "settings_digest": settings_digest,
    }
    with tracking.run(context, name, tags, _flat(equal | stage.parameters())) as run:
        for title, table in stage.tables().items():
            run.log_table(table, title, "training", table_digest(table))
        result = launcher.run(context, stage, run.environment)
        if not result.folder.model.is_dir():
            raise dg.Failure(f"stage {stage.stage} left no model in {result.folder.path}")
        digest = models.add(result.folder.model)
        metrics = dict(result.report.metrics)
        if judge_at_chance is not None:
            metrics["judge_at_chance"] = float(judge_at_chance)
        run.log({f"final/{key}": value for key, value in metrics.items()})
        kept = {title: table for title, table in result.tables.items() if title != "history"}
        for title, table in kept.items():
            run.keep_table(table, title)
        run.log({"peak_memory_gib": result.report.peak_memory_bytes / 2**30})
        run.log_model(stage.stage, tags | {"model_digest": digest, "address": models.address(digest)}, metrics)
        run.tag("dagster.data_version", digest)
    launcher.finish(result)
    record = contracts.MODEL.build(
        [
            {
                "model_digest": digest,
                "stage": stage.stage,
                "arm": arm,
                "parent_digest": only_digest(parent),
                "constitution_digest": constitution,
                "settings_digest": settings_digest,
                "settings": json.dumps(equal, sort_keys=True),
                "metrics": json.dumps(metrics, sort_keys=True),
            }
        ]
    )
    history = result.tables["history"]
    return Table(
        record,
        {
            "mlflow": dg.MetadataValue.url(run.url),
            "mlflow run": run.run_id,
            "training curves": picture(pictures.training_curves(history)),
            **{
                title.replace("_", " "): dg.MetadataValue.md(markdown_table(table.head(SHOWN_ROWS)))
                for title, table in kept.items()
            },
            **_calibration_picture(kept),
            **{f"final {key}": value for key, value in metrics.items()},
            "most memory held, GiB": result.report.peak_memory_bytes / 2**30,
        },
        version=digest,
    )


def _calibration_picture(tables: Mapping[str, pl.DataFrame]) -> dict[str, dg.MetadataValue]:
    curve = tables.get("calibration_curve")
    if curve is None or curve.is_empty():
        return {}
    return {"calibration": picture(pictures.calibration_curve(curve))}


def measure(
    context: dg.AssetExecutionContext, launcher: Launcher, tracking: Tracking, stage: Stage, *, arm: str
) -> tuple[StageResult, TrackedRun]:
    """Run a stage that measures or writes tables, in one MLflow run, and return what it made.

    Args:
        context: Of the asset.
        launcher: Starts the process.
        tracking: MLflow.
        stage: What is asked.
        arm: Whose model.
    """
    keys = ", ".join(sorted(key.to_user_string() for key in context.selected_asset_keys))
    tags = {"stage": stage.stage, "arm": arm}
    with tracking.run(context, keys, tags, _flat(stage.parameters())) as run:
        result = launcher.run(context, stage)
        if result.report.provenance:
            run.log_json(result.report.provenance, "provenance.json")
        for path in sorted(result.folder.samples.glob("*.jsonl")):
            run.keep_file(path, "samples")
        for title, table in result.tables.items():
            run.log_table(table, title, "evaluation", table_digest(table))
            if SAID & set(table.columns):
                run.keep_table(table.head(KEPT_SAMPLES), f"samples/{title}")
        run.log(_means(result.tables))
        run.log({"peak_memory_gib": result.report.peak_memory_bytes / 2**30})
    launcher.finish(result)
    return result, run


def _means(tables: Mapping[str, pl.DataFrame]) -> dict[str, float]:
    """Mean of every metric of a benchmark, for MLflow's comparison of runs."""
    return {
        f"{benchmark}/{metric}": value
        for table in tables.values()
        if {"benchmark", "metric", "value"} <= set(table.columns)
        for benchmark, metric, value in table.group_by("benchmark", "metric").agg(pl.col("value").mean()).iter_rows()
    }


def _flat(parameters: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in parameters.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        elif not isinstance(value, list):
            flat[f"{prefix}{key}"] = value
    return flat


GROUP = "evaluation"
OWNER = "team:evaluation"


@dataclass(frozen=True)
class MeasuredTable:
    """One table about a model.

    Attributes:
        key: Of its asset.
        contract: What it keeps.
        description: A sentence about it.
        version: Code version of its asset.
    """

    key: dg.AssetKey
    contract: Contract
    description: str
    version: str


def model_key(name: str) -> dg.AssetKey:
    """Return the key of an arm's policy, or of the untrained model."""
    return dg.AssetKey(["base_model"] if name == BASE else [name, "policy"])


def outs(tables: Mapping[str, MeasuredTable], kinds: set[str]) -> dict[str, dg.AssetOut]:
    """Return the outs of an asset that makes these tables, by output name."""
    return {
        output: dg.AssetOut(
            key=each.key,
            is_required=False,
            dagster_type=dg.Any,
            io_manager_key="tables",
            group_name=GROUP,
            description=each.description,
            owners=[OWNER],
            kinds=kinds,
            code_version=each.version,
        )
        for output, each in tables.items()
    }


def check_specs(tables: Mapping[str, MeasuredTable]) -> list[dg.AssetCheckSpec]:
    """Return the checks that these tables keep their contracts."""
    return [dg.AssetCheckSpec("contract", asset=each.key, blocking=True) for each in tables.values()]


def published(
    tables: Mapping[str, MeasuredTable],
    wanted: Collection[str],
    frames: Mapping[str, pl.DataFrame],
    run: TrackedRun,
    shown: Mapping[str, pl.DataFrame] | None = None,
) -> Iterator[Any]:
    """Yield the checks and tables of what is wanted.

    Args:
        tables: All tables the asset can make, by output name.
        wanted: Output names that are materialized now.
        frames: What was made, by output name.
        run: The run in MLflow that measured it.
        shown: Scores to show in each table's metadata, by output name.
    """
    metadata = {"mlflow": dg.MetadataValue.url(run.url), "mlflow run": run.run_id}
    for output, each in tables.items():
        if output in wanted:
            scores = {"scores": dg.MetadataValue.md(markdown_table(shown[output]))} if shown else {}
            yield from publish(Table(frames[output], metadata | scores), each.contract, each.key)
