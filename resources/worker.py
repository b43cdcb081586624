"""The child process: reads a request, runs the stage, leaves tables, model and figures.

Started by `resources.launcher`; `python -m resources.worker REQUEST` also works by hand, without Dagster. Of
several processes that train together the first one speaks and writes, all of them can fail.
"""

import json
import os
import re
import resource
import shutil
import sys
import time
import traceback
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from dagster_pipes import PipesContext, open_dagster_pipes
from filelock import FileLock, Timeout

from ccai_dagster.errors import ConsultationError
from ccai_dagster.progress import Progress, silent
from resources import child, faults
from resources.launcher import StageRequest
from resources.stage_files import is_first_process
from resources.stages import STAGES

SECONDS_BETWEEN_MESSAGES = 3.0
SECONDS_FOR_THE_OTHER = 10.0
"""A stage whose starter was killed ends within a second or two; one that goes on belongs to another run."""


def main(path: Path) -> int:
    """Run the request in `path`; return the exit status."""
    child.heed_signals()
    starter = os.environ.get(child.STARTER)
    if starter is not None:
        child.end_with(int(starter))
    request = StageRequest.model_validate_json(path.read_text(encoding="utf-8"))
    # Progress bars and warnings of libraries go to a file; what people should read goes through pipes.
    with request.log.open("ab") as log:
        os.dup2(log.fileno(), sys.stderr.fileno())
    first = is_first_process()
    with open_dagster_pipes() if first else nullcontext() as pipes:
        try:
            _run(request, silent if pipes is None else _progress(pipes))
        except Exception as error:
            # The last lines are what a person needs first; the whole trace goes to the log.
            _tell(
                request, faults.told(error, request.stage, request.folder) or traceback.format_exc(limit=-6)
            )
            return 1
    return 0


def _run(request: StageRequest, progress: Progress) -> dict[str, Any]:
    if not is_first_process():
        return STAGES[request.stage](request, progress)
    try:
        with FileLock(request.folder / "lock", timeout=SECONDS_FOR_THE_OTHER):
            shutil.rmtree(request.made, ignore_errors=True)
            request.made.mkdir(parents=True)
            report = STAGES[request.stage](request, progress)
            report["peak_memory_bytes"] = peak_memory_bytes()
            partial = request.made / "report.partial"
            partial.write_text(json.dumps(report), encoding="utf-8")
            partial.rename(request.made / "report.json")
            return report
    except Timeout as error:
        raise ConsultationError(
            f"stage {request.stage}: another run is at the same work in {request.folder}. Wait for it, or cancel it."
        ) from error


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


def _tell(request: StageRequest, message: str) -> None:
    try:
        traceback.print_exc()
        # Where several processes fail, the first message is the cause and the others follow from it.
        with request.error.open("x", encoding="utf-8") as file:
            file.write(message)
    except OSError:  # the disk is full, which the starter sees for itself; or another has told already
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


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
