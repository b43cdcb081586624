"""Starts torch stages in a process of their own, through Dagster Pipes.

That is a fork of one that has imported torch already, a fresh one, or several under `accelerate launch`. The child
has its own memory and threads, sends progress back, and is ended when the Dagster run is cancelled or killed. What it
needs is written to a request file, what it made is read from a folder; a request that was interrupted finds its
checkpoints again, because the folder's name is the digest of the request. What runs in the child is in
`ccai_dagster.stages`.

Dagster Pipes: https://docs.dagster.io/guides/build/external-pipes
"""

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import dagster as dg

from ccai_dagster.core import processes
from ccai_dagster.stages import worker
from ccai_dagster.stages.request import Stage, StageFolder, StageResult
from ccai_dagster.stages.warm_worker import ACCELERATORS, WarmWorker

WARM: dict[int, WarmWorker] = {}
"""Of this process, by number of threads, which torch reads when it is imported."""


class Launcher(dg.ConfigurableResource["Launcher"]):
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
        self, context: dg.AssetExecutionContext, stage: Stage, environment: Mapping[str, str] | None = None
    ) -> StageResult:
        """Run one stage to its end.

        Args:
            environment: Further variables, for instance of an open MLflow run.

        Raises:
            dagster.Failure: The child ended with an error; its message is the failure's.
        """
        work = Path(self.work)
        folder = StageFolder(work / f"{stage.stage}-{stage.digest()[:16]}")
        try:
            folder.write(stage)
        except Exception as error:
            # Tables are written by polars, which has errors of its own for a full disk.
            existing = next(each for each in (work, *work.parents) if each.is_dir())
            message = worker.explanation(error, stage.stage, existing)
            if message is None:
                raise
            raise dg.Failure(message, allow_retries=False) from error
        # Dagster's own client would signal its direct child only, and what that has started would go on.
        with dg.open_pipes_session(
            context=context.op_execution_context,
            context_injector=dg.PipesTempFileContextInjector(),
            message_reader=dg.PipesTempFileMessageReader(),
        ) as session:
            own = {**os.environ, **self._environment(), **(environment or {}), **session.get_bootstrap_env_vars()}
            status = self._attend(stage, folder.file, own)
        if status != 0:
            raise dg.Failure(self._failure(stage.stage, folder, status), allow_retries=False)
        return folder.result()

    def finish(self, result: StageResult) -> None:
        """Delete the scratch folder of a stage whose results are kept elsewhere now."""
        shutil.rmtree(result.folder.path, ignore_errors=True)

    def _failure(self, stage: str, folder: StageFolder, status: int) -> str:
        if folder.error.is_file() and (text := folder.error.read_text(encoding="utf-8").strip()):
            return text
        if worker.is_disk_full(folder.path):
            return worker.disk_full(stage, folder.path)
        return (
            f"stage {stage} ended without a word (exit status {status}); what it printed is in {folder.log}. If the "
            f"machine killed it for want of memory: {worker.out_of_memory(stage, 'of this machine')}"
        )

    def _attend(self, stage: Stage, request: Path, environment: Mapping[str, str]) -> int:
        if stage.distributed and self.accelerate_config:
            launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", self.accelerate_config]
            return processes.attend([*launch, "--module", worker.__name__, str(request)], environment)
        if sys.platform != "linux" or any(map(os.path.exists, ACCELERATORS)):
            return processes.attend([sys.executable, "-m", worker.__name__, str(request)], environment)
        if self.threads not in WARM or not WARM[self.threads].alive:
            WARM[self.threads] = WarmWorker({**os.environ, **self._environment()})
        return WARM[self.threads].attend(request, stage.libraries, environment)

    def _environment(self) -> dict[str, str]:
        return {
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
