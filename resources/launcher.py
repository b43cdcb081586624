"""Starts torch stages in a process of their own, through Dagster Pipes.

The child has its own memory and threads, sends progress back, and is ended when the Dagster run is cancelled
or killed. What it needs is written to a request file, what it made is read from a folder; a request that was
interrupted finds its checkpoints again, because the folder's name is the digest of the request.
"""

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
from pydantic import BaseModel

from ccai_dagster.digest import table_digest, value_digest
from resources import faults
from resources.child import attend


class StageRequest(BaseModel):
    """What a stage is asked to do.

    Attributes:
        stage: Name of the function in `resources.stages`.
        folder: Where it works, keeps checkpoints (`work`) and leaves what it made (`made`).
        tables: Parquet files by name.
        models: Model folders by name.
        options: Settings, seed and whatever else, as JSON.
    """

    stage: str
    folder: Path
    tables: dict[str, Path]
    models: dict[str, Path]
    options: dict[str, Any]

    @property
    def work(self) -> Path:
        """Checkpoints."""
        return self.folder / "work"

    @property
    def file(self) -> Path:
        """This request, as the child reads it."""
        return self.folder / "request.json"

    @property
    def error(self) -> Path:
        """Why the stage failed, in words for a person, if it did."""
        return self.folder / "error.txt"

    @property
    def log(self) -> Path:
        """What libraries print."""
        return self.folder / "log.txt"

    @property
    def made(self) -> Path:
        """Results."""
        return self.folder / "made"

    @property
    def samples(self) -> Path:
        """What benchmarks asked and got, as JSON lines."""
        return self.made / "samples"


@dataclass(frozen=True)
class StageResult:
    """What a stage made: tables by name, a model folder if it trained one, figures, and files of samples."""

    tables: dict[str, pl.DataFrame]
    model: Path | None
    report: dict[str, Any]
    samples: tuple[Path, ...]


class Launcher(dg.ConfigurableResource):
    """Runs stages one at a time.

    Attributes:
        work: Scratch folder of the consultation.
        threads: CPU threads of the child.
        accelerate_config: A configuration of `accelerate` for several processes or devices, or empty for one.
    """

    work: str
    threads: int
    accelerate_config: str = ""

    def run(
        self,
        context: dg.AssetExecutionContext,
        stage: str,
        *,
        tables: dict[str, pl.DataFrame],
        models: dict[str, Path],
        options: dict[str, Any],
        environment: dict[str, str] | None = None,
        distributed: bool = False,
    ) -> StageResult:
        """Run one stage to its end.

        Args:
            context: Of the asset.
            stage: Name of the function in `resources.stages`.
            tables: Inputs, handed over as Parquet.
            models: Folders of the model store.
            options: JSON-serialisable settings.
            environment: Further variables, for instance of an open MLflow run.
            distributed: Start it with `accelerate launch`, for stages that train.

        Raises:
            dagster.Failure: The child ended with an error; its message is the failure's.
        """
        try:
            request = self._request(stage, tables, models, options)
        except (
            Exception
        ) as error:  # tables are written by polars, which has errors of its own for a full disk
            work = Path(self.work)
            message = faults.told(error, stage, next(each for each in (work, *work.parents) if each.is_dir()))
            if message is None:
                raise
            raise dg.Failure(message, allow_retries=False) from error
        # Dagster's own client would signal its direct child only, and what that has started would go on.
        with dg.open_pipes_session(
            context=context.op_execution_context,
            context_injector=dg.PipesTempFileContextInjector(),
            message_reader=dg.PipesTempFileMessageReader(),
        ) as session:
            status = attend(
                self._command(distributed, request.file),
                {
                    **os.environ,
                    **self._environment(),
                    **(environment or {}),
                    **session.get_bootstrap_env_vars(),
                },
            )
        if status != 0:
            raise dg.Failure(self._why(request, status), allow_retries=False)
        return self._result(request)

    def finish(self, result: StageResult) -> None:
        """Delete the scratch folder of a stage whose results are kept elsewhere now."""
        shutil.rmtree(Path(result.report["folder"]), ignore_errors=True)

    def _request(
        self, stage: str, tables: dict[str, pl.DataFrame], models: dict[str, Path], options: dict[str, Any]
    ) -> StageRequest:
        digest = value_digest(
            [
                stage,
                {name: table_digest(table) for name, table in tables.items()},
                {name: folder.name for name, folder in models.items()},
                options,
            ]
        )
        folder = Path(self.work) / f"{stage}-{digest[:16]}"
        (folder / "inputs").mkdir(parents=True, exist_ok=True)
        paths = {}
        for name, table in tables.items():
            paths[name] = folder / "inputs" / f"{name.replace('/', '--')}.parquet"
            table.write_parquet(paths[name])
        request = StageRequest(stage=stage, folder=folder, tables=paths, models=models, options=options)
        request.error.unlink(missing_ok=True)
        request.file.write_text(request.model_dump_json(indent=1), encoding="utf-8")
        return request

    def _why(self, request: StageRequest, status: int) -> str:
        if request.error.is_file() and (text := request.error.read_text(encoding="utf-8").strip()):
            return text
        if faults.is_disk_full(request.folder):
            return faults.disk_full(request.stage, request.folder)
        return (
            f"stage {request.stage} ended without a word (exit status {status}); what it printed is in "
            f"{request.log}. If the machine killed it for want of memory: "
            f"{faults.out_of_memory(request.stage, 'of this machine')}"
        )

    def _command(self, distributed: bool, request: Path) -> list[str]:
        if not distributed:
            return [sys.executable, "-m", "resources.worker", str(request)]
        worker = ["--module", "resources.worker", str(request)]
        launch = [sys.executable, "-m", "accelerate.commands.launch"]
        if self.accelerate_config:
            return [*launch, "--config_file", self.accelerate_config, *worker]
        single = [
            "--num_processes",
            "1",
            "--num_machines",
            "1",
            "--mixed_precision",
            "no",
            "--dynamo_backend",
            "no",
        ]
        return [*launch, *single, "--num_cpu_threads_per_process", str(self.threads), *worker]

    def _environment(self) -> dict[str, str]:
        # Without a passive wait policy a neighbour on the same cores makes kernels up to 40 times slower.
        return {
            "OMP_WAIT_POLICY": "PASSIVE",
            "OMP_NUM_THREADS": str(self.threads),
            "TOKENIZERS_PARALLELISM": "false",
            "TQDM_DISABLE": "1",
            "TRANSFORMERS_VERBOSITY": "error",
            "PYTHONWARNINGS": "ignore",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "true",
        }

    def _result(self, request: StageRequest) -> StageResult:
        report = json.loads((request.made / "report.json").read_text(encoding="utf-8"))
        tables = {
            path.stem.replace("--", "/"): pl.read_parquet(path) for path in request.made.glob("*.parquet")
        }
        model = request.made / "model"
        return StageResult(
            tables,
            model if model.is_dir() else None,
            report | {"folder": str(request.folder)},
            tuple(sorted(request.samples.glob("*.jsonl"))),
        )
