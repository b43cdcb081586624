"""A cancelled or killed run takes its stages with it, within seconds, through however many processes."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import dagster as dg
import psutil
import pytest

from ccai_dagster.core.processes import attend, heed_signals
from resources.instance import open_instance

REPOSITORY = Path(__file__).parents[2]
SECONDS = 8.0
STARTER = """
import os, sys
from ccai_dagster.core import processes
processes.heed_signals()
processes.SECONDS_TO_END = {patience}
processes.attend([sys.executable, "-c", {middle!r}, sys.argv[1]], os.environ)
"""
LAUNCHER = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", {last!r}, sys.argv[1]]).wait()
"""
PATIENT = """
import os, signal, sys, time
from pathlib import Path
from ccai_dagster.core import processes
{before}
mark = Path(sys.argv[1])
mark.write_text(str(os.getpid()))
try:
    time.sleep(600)
finally:
    mark.with_name("unwound").touch()
"""
WATCHES = "processes.end_with(int(os.environ[processes.STARTER]))"
IGNORES = "signal.signal(signal.SIGINT, signal.SIG_IGN)"


def foreground() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def background() -> None:
    """What a shell does for `command &` in a script."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def no_terminal() -> None:
    foreground()
    os.setsid()


def within(seconds: float, true: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.05)
    return true()


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": ":".join([str(REPOSITORY), *sys.path])}


@contextmanager
def started(
    tmp_path: Path, how: Callable[[], None], before: str, patience: float
) -> Iterator[tuple[subprocess.Popen[bytes], list[psutil.Process]]]:
    """Start a process that starts one that starts one; give the first and those after it."""
    mark = tmp_path / "pid"
    middle = LAUNCHER.format(last=PATIENT.format(before=before))
    first = subprocess.Popen(
        [sys.executable, "-c", STARTER.format(middle=middle, patience=patience), mark],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=how,
    )
    family: list[psutil.Process] = []
    try:
        assert within(20, lambda: mark.exists() and mark.read_text() != ""), "the last process did not start"
        family = psutil.Process(first.pid).children(recursive=True)
        assert int(mark.read_text()) in {each.pid for each in family} and len(family) == 2
        yield first, family
    finally:
        for each in (first, *family):
            with suppress(psutil.NoSuchProcess):
                each.kill()
        first.wait()


def runs(process: psutil.Process) -> bool:
    """Tell whether a process is more than an entry that nobody has asked for yet."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def gone(family: list[psutil.Process]) -> bool:
    return within(SECONDS, lambda: not any(map(runs, family)))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("how", [foreground, background, no_terminal])
def test_an_interrupted_process_lets_what_it_started_end_by_itself(
    tmp_path: Path, how: Callable[[], None], number: int
) -> None:
    with started(tmp_path, how, "", SECONDS) as (first, family):
        first.send_signal(number)
        assert first.wait(SECONDS) != 0
        assert gone(family)
    assert (tmp_path / "unwound").exists()


@pytest.mark.parametrize("how", [foreground, background, no_terminal])
@pytest.mark.parametrize(
    ("number", "before"),
    [
        pytest.param(signal.SIGINT, IGNORES, id="interrupted, but the stage does not listen"),
        pytest.param(signal.SIGKILL, WATCHES, id="killed"),
    ],
)
def test_no_process_outlives_the_one_that_started_it(
    tmp_path: Path, how: Callable[[], None], number: int, before: str
) -> None:
    with started(tmp_path, how, before, 0.5) as (first, family):
        first.send_signal(number)
        assert first.wait(SECONDS) != 0
        # Of a killed starter only the stage itself can know: what stands between them ends with the stage.
        assert gone(family)
    assert not (tmp_path / "unwound").exists()


@pytest.fixture
def from_the_background() -> Iterator[None]:
    """Dagster gives SIGTERM whatever SIGINT has, and a script gives its background a SIGINT that is ignored."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    background()
    heed_signals()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_process_that_ran_dagster_in_the_background_can_still_be_ended(from_the_background: None) -> None:
    @dg.asset
    def asset() -> None: ...

    with dg.DagsterInstance.ephemeral() as instance:
        assert dg.materialize([asset], instance=instance).success
    for number in (signal.SIGINT, signal.SIGTERM):
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)


def test_the_status_of_a_command_is_told() -> None:
    assert attend([sys.executable, "-c", "raise SystemExit(3)"], os.environ) == 3
    assert attend([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], os.environ) == -signal.SIGKILL


RUN = """
import sys
from pathlib import Path
import dagster as dg
import polars as pl
from ccai_dagster.consultation.settings import (
    FeedbackSettings, ModelSettings, SentenceModelSettings, TunedJudgeSettings
)
from ccai_dagster.stages.feedback import JudgeAnswersStage
from resources.launcher import Launcher

@dg.asset
def asset(context: dg.AssetExecutionContext, launcher: Launcher) -> None:
    feedback = FeedbackSettings(server_url="http://127.0.0.1:{port}", server_model="silent")
    pair = {{"pair_id": "1", "prompt": "p", "response_a": "a", "response_b": "b", "probability_a": 1.0, "source": "s"}}
    launcher.run(context, JudgeAnswersStage(
        model=ModelSettings(), feedback=feedback, base_model=Path("none"), feedback_model=None,
        comparisons={{"people": pl.DataFrame([pair])}}, seed=7, tuned_judge=TunedJudgeSettings(),
        sentence_model=SentenceModelSettings(), cache=Path("none")))

dg.materialize([asset], resources={{"launcher": Launcher(work=sys.argv[1], threads=1)}})
"""


@pytest.mark.parametrize(
    ("how", "number"),
    [
        pytest.param(foreground, signal.SIGINT, id="foreground-SIGINT"),
        pytest.param(background, signal.SIGTERM, id="background-SIGTERM"),
        pytest.param(foreground, signal.SIGKILL, id="killed"),
    ],
)
def test_cancelling_a_run_of_dagster_ends_its_stage(tmp_path: Path, how: Callable[[], None], number: int) -> None:
    """The stage waits for a feedback server that never answers; the run is cancelled by a signal, or killed."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        silent.settimeout(60)
        script = RUN.format(port=silent.getsockname()[1])
        run = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", script, tmp_path / "work"],
            env={**environment(), "DAGSTER_HOME": str(tmp_path)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=how,
        )
        try:
            connection, _ = silent.accept()
            family = psutil.Process(run.pid).children(recursive=True)
            assert any("ccai_dagster.stages.warm_worker" in " ".join(each.cmdline()) for each in family)
            began = time.monotonic()
            run.send_signal(number)
            assert run.wait(20) != 0
            assert gone(family)
            assert time.monotonic() - began < 15
            connection.close()
        finally:
            run.kill()
            run.wait()


def test_what_shows_the_output_of_a_step_hears_no_interruption(
    from_the_background: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal interrupts every process of its group, and Dagster's helpers would print a trace each."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with open_instance(tmp_path) as instance:
        logs, key = instance.compute_log_manager, ["a run", "compute_logs", "a step"]
        others = psutil.Process().children()  # what other tests of this process left running
        with logs.capture_logs(key):
            helpers = [each for each in psutil.Process().children() if each not in others]
            for each in helpers:
                each.send_signal(signal.SIGINT)
            assert len(helpers) == 4 and not within(0.3, lambda: not all(map(runs, helpers)))
            assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ()), "what the step starts hears it"
            print("said by the step", flush=True)
        assert gone(helpers) and b"said by the step" in (logs.get_log_data(key).stdout or b"")


def test_an_interruption_while_a_connection_closes_is_not_told_by_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    open_instance(tmp_path).dispose()
    pool = logging.getLogger("sqlalchemy.pool.impl.NullPool")
    for error in (KeyboardInterrupt(), dg.DagsterExecutionInterruptedError(), OSError("no space")):
        pool.error("Exception closing connection", exc_info=error)
    assert [str(record.exc_info and record.exc_info[1]) for record in caplog.records] == ["no space"]
