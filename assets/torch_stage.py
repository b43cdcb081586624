"""How an asset runs a torch stage: launched in its own process, tracked in MLflow, its model kept.

Belongs here: what assets that train or ask models share, also where one process makes several tables about one model,
any of them alone, because loading it costs more than measuring it. No asset is defined here.

Assets that one function makes: https://docs.dagster.io/guides/build/assets/defining-assets
Dagster Pipes: https://docs.dagster.io/guides/build/external-pipes
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg
import polars as pl

from assets.table_asset import Results, Table, check_spec, markdown_table, picture, publish
from ccai_dagster import contracts
from ccai_dagster.consultation.folder import BASE, Consultation
from ccai_dagster.consultation.settings import PLACELESS, ModelSettings, SentenceModelSettings, ServedModel, Settings
from ccai_dagster.contracts import Contract
from ccai_dagster.core.digest import table_digest, value_digest
from ccai_dagster.core.home import home_root
from ccai_dagster.feedback.language_model import cut_off
from ccai_dagster.pages import pictures
from ccai_dagster.stages.request import Stage, StageResult
from ccai_dagster.training.model_source import content_digest
from resources.launcher import Launcher
from resources.model_store import ModelStore
from resources.tracking import TrackedRun, Tracking

SHOWN_ROWS = 20
KEPT_SAMPLES = 50
TEXTS = {"response", "revision", "response_a"}
"""Columns that hold what a model wrote; MLflow keeps some rows of tables that have one, to look at."""
CUT_OFF = "cut off at the limit of tokens"
"""Entry in the metadata of what holds responses: how many of them did not end by themselves."""
GROUP, OWNER = "evaluation", "team:evaluation"
"""Of what is measured of a model; trainings have those of their modules."""
SAMPLED_BY_A_SERVER = "sampled by a server: 1"
"""Raised when servers are asked for texts otherwise."""
POOL = "accelerator"
"""One torch process at a time: they share cores, memory and the GPU."""
Controlled = Settings | str | float
"""What must be equal in every arm: settings, digests, and numbers from the ledgers."""


def controlled_everywhere(consultation: Consultation) -> dict[str, Controlled]:
    """Return what must be equal in every arm of every training, as kept with each model."""
    file = consultation.file
    return {"model": file.model, "feedback": consultation.profile.feedback, "seed": file.seed}


def judging(consultation: Consultation) -> dict[str, Any]:
    """Return the fields of a `JudgingStage` that follow from the consultation."""
    file, profile = consultation.file, consultation.profile
    return {
        "model": file.model,
        "feedback": profile.feedback,
        "tuned_judge": profile.tuned_judge,
        "sentence_model": file.sentence_model or SentenceModelSettings(),
        "cache": home_root() / "cache",
    }


def sampled(served: ServedModel | None) -> list[Settings | str]:
    """Return what the texts of a model owe to a server, for code versions; empty where this process writes them."""
    return [SAMPLED_BY_A_SERVER, served] if served else []


def only_digest(record: pl.DataFrame) -> str:
    """Return the digest of the one model in a MODEL table."""
    return str(record["model_digest"].item())


def rests_on_chance(record: pl.DataFrame) -> bool:
    """Tell whether a model of a MODEL table, or one it was trained with, learnt from a judge at chance."""
    return bool(json.loads(str(record["metrics"].item())).get("judge_at_chance"))


@dataclass(frozen=True)
class Training:
    """What a model is trained from, and what is kept with it.

    Attributes:
        stage: The training; the asset has its name.
        parent: MODEL table of the model it starts from.
        controlled: Everything that must be equal in every arm, by name, for the comparison of settings.
        constitution_digest: None if it is trained on no constitution.
        judge_at_chance: Whether what it learns from was labelled by a judge not shown to be better than chance;
            None if no judge's labels are in it. Kept among its metrics.
    """

    stage: Stage
    arm: str
    parent: pl.DataFrame
    controlled: Mapping[str, Controlled]
    constitution_digest: str | None = None
    judge_at_chance: bool | None = None

    def settings(self) -> dict[str, Any]:
        """Return what must be equal in every arm, as JSON."""
        return {
            name: value.model_dump(mode="json", context=PLACELESS) if isinstance(value, Settings) else value
            for name, value in self.controlled.items()
        }

    def record(self, digest: str, metrics: Mapping[str, float]) -> pl.DataFrame:
        """Return the MODEL table of the trained model."""
        row = {
            "model_digest": digest,
            "stage": self.stage.stage,
            "arm": self.arm,
            "parent_digest": only_digest(self.parent),
            "constitution_digest": self.constitution_digest,
            "settings_digest": value_digest(self.settings()),
            "settings": json.dumps(self.settings(), sort_keys=True),
            "metrics": json.dumps(metrics, sort_keys=True),
        }
        return contracts.MODEL.build([row])


def train(
    context: dg.AssetExecutionContext, launcher: Launcher, models: ModelStore, tracking: Tracking, training: Training
) -> Table:
    """Train a model in its own process and keep it; one MLflow run.

    Returns:
        The MODEL record, with training curves; its data version is the digest of the model.
    """
    stage, settings = training.stage, training.settings()
    tags = {
        "stage": stage.stage,
        "arm": training.arm,
        "constitution_digest": training.constitution_digest or "",
        "settings_digest": value_digest(settings),
    }
    with tracking.run(context, context.asset_key.to_user_string(), tags, _flat(settings | stage.parameters())) as run:
        for title, table in stage.tables().items():
            run.log_table(table, title, "training", table_digest(table))
        result = launcher.run(context, stage, run.environment)
        if not result.folder.model.is_dir():
            raise dg.Failure(f"stage {stage.stage} left no model in {result.folder.path}")
        digest = models.add(result.folder.model)
        metrics = dict(result.report.metrics)
        if training.judge_at_chance is not None:
            metrics["judge_at_chance"] = float(training.judge_at_chance)
        run.log({f"final/{key}": value for key, value in metrics.items()})
        kept = {title: table for title, table in result.tables.items() if title != "history"}
        for title, table in kept.items():
            run.keep_table(table, title)
        run.log(result.report.memory())
        run.log_model(stage.stage, tags | {"model_digest": digest, "address": models.address(digest)}, metrics)
        run.tag("dagster.data_version", digest)
    launcher.finish(result)
    return Table(
        training.record(digest, metrics),
        {
            "mlflow": dg.MetadataValue.url(run.url),
            "mlflow run": run.run_id,
            "training curves": picture(pictures.training_curves(result.tables["history"])),
            **{
                title.replace("_", " "): dg.MetadataValue.md(markdown_table(table.head(SHOWN_ROWS)))
                for title, table in kept.items()
            },
            **_calibration_picture(kept),
            **{f"final {key}": value for key, value in metrics.items()},
            "most memory held, GiB": result.report.peak_memory_bytes / 2**30,
            **({"most memory of a GPU held, GiB": gpu / 2**30} if (gpu := result.report.peak_gpu_memory_bytes) else {}),
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
    """Run a stage that measures or writes tables, in one MLflow run, and return what it made."""
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
            if TEXTS & set(table.columns):
                run.keep_table(table.head(KEPT_SAMPLES), f"samples/{title}")
        run.log(_means(result.tables))
        run.log(result.report.memory())
    launcher.finish(result)
    return result, run


def _means(tables: Mapping[str, pl.DataFrame]) -> dict[str, float]:
    """Mean of every metric of a benchmark, for MLflow's comparison of runs."""
    return {
        f"{benchmark}/{metric}": value
        for table in tables.values()
        if {"benchmark", "metric", "value"} <= set(table.columns)
        for benchmark, metric, value in table.group_by("benchmark", "metric")
        .agg(pl.col("value").sort().mean())
        .iter_rows()
    }


def _flat(parameters: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in parameters.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        elif not isinstance(value, list):
            flat[f"{prefix}{key}"] = value
    return flat


@dataclass(frozen=True)
class MeasuredTable:
    """One table about a model; `version` is the code version of its asset."""

    key: dg.AssetKey
    contract: Contract
    description: str
    version: str


def of_disk(model: ModelSettings | SentenceModelSettings) -> list[str]:
    """Return the digest of a model that a folder or a file on this disk is, for code versions; empty for others."""
    return content_digest(model.source, home_root() / "cache")


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
    return [check_spec("contract", each.key) for each in tables.values()]


def published(
    tables: Mapping[str, MeasuredTable],
    wanted: Collection[str],
    frames: Mapping[str, pl.DataFrame],
    run: TrackedRun,
    shown: Mapping[str, pl.DataFrame] | None = None,
) -> Results:
    """Yield the checks and tables of what is wanted; everything is by output name.

    Args:
        shown: Scores to show in each table's metadata.
    """
    metadata = {"mlflow": dg.MetadataValue.url(run.url), "mlflow run": run.run_id}
    for output, each in tables.items():
        if output in wanted:
            frame = frames[output]
            scores = {"scores": dg.MetadataValue.md(markdown_table(shown[output]))} if shown else {}
            # A response that was judged under several principles is one response; scores of benchmarks tell it.
            responses = {"prompt_id", "finished"} <= set(frame.columns)
            cut = {CUT_OFF: cut_off(frame.unique("prompt_id")["finished"])} if responses else {}
            yield from publish(Table(frame, metadata | scores | cut), each.contract, each.key)
