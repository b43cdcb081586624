"""A cancelled or killed run takes its stages with it, within seconds, through however many processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from ccai_dagster.stages.worker import attend

REPOSITORY = Path(__file__).parents[2]
SECONDS = 8.0
STARTER = """
import os, sys
from ccai_dagster.stages import worker
worker.SECONDS_TO_END = 0.5
worker.attend([sys.executable, "-c", {middle!r}, sys.argv[1]], os.environ)
"""
LAUNCHER = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", {last!r}, sys.argv[1]]).wait()
"""
PATIENT = """
import os, signal, sys, time
from pathlib import Path
from ccai_dagster.stages import worker
{before}
Path(sys.argv[1]).write_text(str(os.getpid()))
time.sleep(600)
"""
WATCHES = "worker.end_with(int(os.environ[worker.STARTER]))"
IGNORES = "signal.signal(signal.SIGINT, signal.SIG_IGN)"


def within(seconds: float, true: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.05)
    return true()


def started(tmp_path: Path, before: str) -> tuple[subprocess.Popen[bytes], list[psutil.Process]]:
    """Start a process that starts one that starts one; return the first and those after it."""
    mark = tmp_path / "pid"
    script = STARTER.format(middle=LAUNCHER.format(last=PATIENT.format(before=before)))
    environment = {**os.environ, "PYTHONPATH": ":".join([str(REPOSITORY), *sys.path])}
    first = subprocess.Popen([sys.executable, "-c", script, mark], env=environment, stderr=subprocess.DEVNULL)
    assert within(20, lambda: mark.exists() and mark.read_text() != ""), "the last process did not start"
    family = psutil.Process(first.pid).children(recursive=True)
    assert int(mark.read_text()) in {each.pid for each in family} and len(family) == 2
    return first, family


@pytest.mark.parametrize(
    ("number", "before"),
    [
        pytest.param(signal.SIGINT, "", id="cancelled"),
        pytest.param(signal.SIGINT, IGNORES, id="cancelled, but the stage does not listen"),
        pytest.param(signal.SIGKILL, WATCHES, id="killed"),
    ],
)
def test_no_process_outlives_the_one_that_started_it(tmp_path: Path, number: int, before: str) -> None:
    first, family = started(tmp_path, before)
    first.send_signal(number)
    assert first.wait(SECONDS) != 0
    # Of a killed starter only the stage itself can know: what stands between them ends with the stage.
    assert within(SECONDS, lambda: not any(each.is_running() for each in family))


def test_the_status_of_a_command_is_told() -> None:
    assert attend([sys.executable, "-c", "raise SystemExit(3)"], os.environ) == 3
    assert attend([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], os.environ) == -signal.SIGKILL


RUN = """
import sys
from pathlib import Path
import dagster as dg
import polars as pl
from ccai_dagster.settings import FeedbackSettings, ModelSettings, TunedJudgeSettings
from ccai_dagster.stages.feedback import JudgeAnswersStage
from resources.launcher import Launcher

@dg.asset
def asset(context: dg.AssetExecutionContext, launcher: Launcher) -> None:
    feedback = FeedbackSettings(server_url="http://127.0.0.1:{port}", server_model="silent")
    pair = {{"pair_id": "1", "prompt": "p", "response_a": "a", "response_b": "b", "probability_a": 1.0, "source": "s"}}
    launcher.run(context, JudgeAnswersStage(
        model=ModelSettings(), feedback=feedback, base_model=Path("none"), feedback_model=None,
        comparisons={{"people": pl.DataFrame([pair])}}, tuned_judge=TunedJudgeSettings()))

dg.materialize([asset], resources={{"launcher": Launcher(work=sys.argv[1], threads=1)}})
"""


def test_cancelling_a_run_of_dagster_ends_its_stage(tmp_path: Path) -> None:
    """The stage waits for a feedback server that never answers; the run gets the signal of a cancellation."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        silent.settimeout(60)
        script = RUN.format(port=silent.getsockname()[1])
        environment = {**os.environ, "PYTHONPATH": ":".join([str(REPOSITORY), *sys.path])}
        environment["DAGSTER_HOME"] = str(tmp_path)
        run = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", script, tmp_path / "work"], env=environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            connection, _ = silent.accept()
            family = psutil.Process(run.pid).children(recursive=True)
            assert any("ccai_dagster.stages.worker" in " ".join(each.cmdline()) for each in family)
            began = time.monotonic()
            run.send_signal(signal.SIGINT)
            assert run.wait(20) != 0
            assert within(SECONDS, lambda: not any(each.is_running() for each in family))
            assert time.monotonic() - began < 15
            connection.close()
        finally:
            run.kill()
            run.wait()
