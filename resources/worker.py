"""The child process: reads a request, runs the stage, leaves tables, model and figures.

Started by `resources.launcher`; `python -m resources.worker REQUEST` also works by hand, without Dagster.
"""

import json
import os
import sys
import time
import traceback
from pathlib import Path

from dagster_pipes import PipesContext, open_dagster_pipes

from ccai_dagster.errors import ConsultationError
from ccai_dagster.progress import Progress
from resources import stages
from resources.launcher import StageRequest

SECONDS_BETWEEN_MESSAGES = 3.0


def main(path: Path) -> int:
    """Run the request in `path`; return the exit status."""
    request = StageRequest.model_validate_json(path.read_text(encoding="utf-8"))
    # Progress bars and warnings of libraries go to a file; what people should read goes through pipes.
    with request.log.open("ab") as log:
        os.dup2(log.fileno(), sys.stderr.fileno())
    with open_dagster_pipes() as pipes:
        try:
            report = stages.STAGES[request.stage](request, _progress(pipes))
        except ConsultationError as error:
            (request.folder / "error.txt").write_text(str(error), encoding="utf-8")
            return 1
        except Exception:
            # The last lines are what a person needs first; the whole trace goes to the log as well.
            (request.folder / "error.txt").write_text(traceback.format_exc(limit=-6), encoding="utf-8")
            traceback.print_exc()
            return 1
    partial = request.made / "report.partial"
    partial.write_text(json.dumps(report), encoding="utf-8")
    partial.rename(request.made / "report.json")
    return 0


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
