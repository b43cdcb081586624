"""The child process: reads a request, runs the stage, leaves tables, model and figures.

Started by the launcher, which waits for it; `python -m ccai_dagster.stages.worker REQUEST` also works by
hand, without Dagster. Of several processes that train together the first one reports and writes, all of them can fail.
Its error says what to do where disk or memory did not suffice.
"""

import errno
import logging
import os
import re
import resource
import shutil
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import nullcontext
from pathlib import Path

from dagster_pipes import PipesContext, open_dagster_pipes
from filelock import FileLock, Timeout

from ccai_dagster.core.errors import ConsultationError, Progress, silent
from ccai_dagster.core.files import write_file
from ccai_dagster.core.processes import STARTER, end_with, heed_signals
from ccai_dagster.stages.request import Stage, StageFolder, is_first_process
from ccai_dagster.stages.stages import read_request

SECONDS_BETWEEN_MESSAGES = 3.0
SECONDS_FOR_THE_OTHER = 10.0
"""A stage whose starter was killed ends within a second or two; one that goes on belongs to another run."""
LEAST_FREE_BYTES = 16 << 20
"""A disk with less than this is taken for full when a stage ended without a word."""
BATCH_SETTINGS: Mapping[str, str] = {
    "feedback_model": "tuned_judge.batch_size",
    "judge_answers": "feedback.batch_size",
    "revisions": "revisions.batch_size",
    "supervised_policy": "supervised.batch_size",
    "response_pairs": "pairs.batch_size",
    "preference_pairs": "feedback.batch_size",
    "preference_model": "preference_model.batch_size",
    "policy": "policy.prompts_per_step",
    "benchmarks": "evaluation.batch_size",
    "responses": "evaluation.batch_size",
    "comparison": "evaluation.batch_size",
    "control_responses": "control.batch_size",
}
"""The setting of a profile that decides how much memory a stage takes."""
_DISK_FULL_TEXTS = ("No space left on device", "os error 28", "Disk quota exceeded", "os error 122")
_MEMORY_TEXTS = ("CUDA out of memory", "can't allocate memory", "not enough memory", "Cannot allocate memory")


def main(path: Path) -> int:
    """Run the request in `path`; return the exit status."""
    heed_signals()
    share_threads(os.environ)
    starter = os.environ.get(STARTER)
    if starter is not None:
        end_with(int(starter))
    folder = StageFolder(path.absolute().parent)
    # Progress bars and warnings of libraries go to a file; what people should read goes through pipes.
    with folder.log.open("ab") as log:
        os.dup2(log.fileno(), sys.stderr.fileno())
    # No library asks whoever sits at the terminal, whether it may run a model's code for instance.
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    name = "of this request"
    with open_dagster_pipes() if is_first_process() else nullcontext() as pipes:
        if pipes is not None:
            logging.getLogger("ccai_dagster").addHandler(_ToDagster(pipes))
        try:
            stage = read_request(folder)
            name = stage.stage
            _run(stage, folder, silent if pipes is None else _progress(pipes))
        except Exception as error:
            # The last lines are what a person needs first; the whole trace goes to the log.
            _leave_error(folder, explanation(error, name, folder.path) or traceback.format_exc(limit=-6))
            return 1
    return 0


def share_threads(environment: MutableMapping[str, str]) -> None:
    """Divide the threads that a stage may use among the processes of this machine that run it together."""
    processes, threads = int(environment.get("LOCAL_WORLD_SIZE", "1")), environment.get("OMP_NUM_THREADS")
    if processes > 1 and threads is not None:
        environment["OMP_NUM_THREADS"] = str(max(1, int(threads) // processes))


def explanation(error: BaseException, stage: str, folder: Path) -> str | None:
    """Say what a person can do about an error or one of its causes; `None` if only its trace can help.

    Args:
        error: As it was raised.
        stage: Its name.
        folder: Where the stage works; its disk is the one that may be full.
    """
    for each in _with_causes(error):
        if isinstance(each, ConsultationError):
            return str(each)
        if _is_disk_full(each, folder):
            return disk_full(stage, folder)
        if isinstance(each, MemoryError) or any(text in str(each) for text in _MEMORY_TEXTS):
            where = "of the GPU" if "CUDA" in str(each) else "of this machine"
            return out_of_memory(stage, where)
    return None


def disk_full(stage: str, folder: Path) -> str:
    """Say that the disk of `folder` is full and what to do."""
    return (
        f"stage {stage}: the disk of {folder} is full ({shutil.disk_usage(folder).free >> 20} MiB free). Make room "
        "there (the folders in `work` of CCAI_HOME/CONSULTATION belong to stages that were not finished) or set "
        "CCAI_HOME to a larger disk, and run again: what is finished is kept, and a training goes on from its last "
        "whole checkpoint."
    )


def out_of_memory(stage: str, where: str) -> str:
    """Say that memory ran out and which setting decides how much is taken."""
    setting = BATCH_SETTINGS.get(stage)
    remedy = (
        f"make `{setting}` smaller in the profile of consultation.yaml (half of it takes about half the memory "
        "beyond the model's own)"
        if setting
        else "use a machine with more, or a smaller model"
    )
    return f"stage {stage}: the memory {where} is not enough; {remedy}, and run again."


def is_disk_full(folder: Path) -> bool:
    """Tell whether hardly anything can be written to the disk of `folder`."""
    return shutil.disk_usage(folder).free < LEAST_FREE_BYTES


def peak_memory_bytes() -> int:
    """Return the most memory this process has held so far, in bytes."""
    status = Path("/proc/self/status")
    if status.is_file():
        # The resource usage of Linux counts what the process that started this one held before.
        found = re.search(r"^VmHWM:\s*(\d+) kB", status.read_text(encoding="utf-8"), re.MULTILINE)
        if found is not None:
            return int(found[1]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def peak_gpu_memory_bytes() -> int:
    """Return the most memory of its GPU this process has held so far, in bytes; 0 without one."""
    torch = sys.modules.get("torch")
    return int(torch.cuda.max_memory_allocated()) if torch is not None and torch.cuda.is_available() else 0


def _run(stage: Stage, folder: StageFolder, progress: Progress) -> None:
    if not is_first_process():
        stage.run(folder, progress)
        return
    try:
        with FileLock(folder.path / "lock", timeout=SECONDS_FOR_THE_OTHER):
            shutil.rmtree(folder.made, ignore_errors=True)
            folder.made.mkdir(parents=True)
            report = stage.run(folder, progress)
            report.peak_memory_bytes, report.peak_gpu_memory_bytes = peak_memory_bytes(), peak_gpu_memory_bytes()
            write_file(folder.report, report.model_dump_json())
    except Timeout as error:
        raise ConsultationError(
            f"stage {stage.stage}: another run is at the same work in {folder.path}. Wait for it, or cancel it."
        ) from error


def _leave_error(folder: StageFolder, message: str) -> None:
    try:
        traceback.print_exc()
        # Where several processes fail, the first message is the cause and the others follow from it.
        with folder.error.open("x", encoding="utf-8") as file:
            file.write(message)
    except OSError:  # the disk is full, which the starter sees for itself; or another was first
        return


def _progress(pipes: PipesContext) -> Progress:
    last = 0.0

    def report(message: str, done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_MESSAGES or done >= total:
            last = now
            pipes.log.info(f"{message}: {done} of {total}")

    return report


class _ToDagster(logging.Handler):
    """Shows what this package warns of among the progress of the run."""

    def __init__(self, pipes: PipesContext) -> None:
        super().__init__(logging.WARNING)
        self._pipes = pipes

    def emit(self, record: logging.LogRecord) -> None:
        self._pipes.log.warning(record.getMessage())


def _is_disk_full(error: BaseException, folder: Path) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    if any(text in str(error) for text in _DISK_FULL_TEXTS):
        return True
    # torch's writer says only that it could not write.
    return "inline_container.cc" in str(error) and is_disk_full(folder)


def _with_causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
