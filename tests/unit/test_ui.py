"""`ccai ui` ends all it started, whatever ends it, and tells which of its servers died."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from ccai_dagster.cli import servers, ui
from ccai_dagster.consultation.folder import SAMPLE, read_consultation
from ccai_dagster.core import processes
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.files import held

REPOSITORY = Path(__file__).parents[2]
SERVE = """
import os, sys
from ccai_dagster.cli import servers
from ccai_dagster.core import processes
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.processes import heed_signals
heed_signals()
try:
    servers.attend_servers({"One": ["sh", "-c", sys.argv[1]], "Two": ["sleep", "600"]}, dict(os.environ))
except ConsultationError as error:
    sys.exit(str(error))
"""
FAMILY = "setsid sleep 600 & sleep 600"
"""A server with a child that leaves its session, as Dagster's run workers start stages."""


def foreground() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def background() -> None:
    """What a shell does for `command &` in a script; not what `nohup` does, under which the tests may run."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def within(seconds: float, true: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.02)
    return true()


def start(tmp_path: Path, one: str, how: Callable[[], None] = foreground) -> subprocess.Popen[str]:
    """Serve in another process."""
    paths = ":".join([str(REPOSITORY), *sys.path])
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", SERVE, one],
        env={**os.environ, "PYTHONPATH": paths, servers.MARK: str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=how,
    )


def marked(tmp_path: Path) -> list[psutil.Process]:
    return servers._marked(str(tmp_path))


@pytest.mark.parametrize(
    ("number", "how"),
    [
        pytest.param(signal.SIGINT, foreground, id="SIGINT"),
        pytest.param(signal.SIGTERM, background, id="SIGTERM in the background"),
        pytest.param(signal.SIGHUP, background, id="SIGHUP in the background"),
    ],
)
def test_an_interruption_ends_all_that_was_started(tmp_path: Path, number: int, how: Callable[[], None]) -> None:
    first = start(tmp_path, FAMILY, how)
    try:
        # Itself, two servers, and two children of one of them.
        assert within(60, lambda: len(marked(tmp_path)) == 5)
        first.send_signal(number)
        assert first.wait(30) == 0
        assert marked(tmp_path) == []
    finally:
        for each in marked(tmp_path):
            each.kill()


def test_a_server_that_dies_is_named_and_the_others_are_ended(tmp_path: Path) -> None:
    first = start(tmp_path, "kill -9 $$")
    _, told = first.communicate(timeout=60)
    assert first.returncode == 1
    assert told == "One ended by itself (killed by signal 9), so the other servers were ended, too.\n"
    assert marked(tmp_path) == []


def test_what_does_not_end_when_asked_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "SECONDS_TO_END", 0.2)
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); signal.pause()"
    environment = {**os.environ, servers.MARK: str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", stubborn], env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"1\n"
        assert servers.end_marked(str(tmp_path))
        assert marked(tmp_path) == []
    assert not servers.end_marked(str(tmp_path))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home in which nothing is started: `serve` is refused before."""
    monkeypatch.setenv("CCAI_HOME", str(tmp_path))
    monkeypatch.setattr(ui, "heed_signals", lambda: None)
    monkeypatch.setattr(ui, "open_record", lambda *_: None)
    folder = ui.home_of(read_consultation(SAMPLE)).dagster
    folder.mkdir(parents=True)
    yield folder


def test_a_second_one_on_the_same_consultation_is_refused(home: Path) -> None:
    def fail(holder: str) -> None:
        raise AssertionError(holder)

    with (
        held(home / "ui.lock", "process 7 (http://127.0.0.1:3000)", fail),
        pytest.raises(ConsultationError, match=r"served already, by process 7 \(http://127.0.0.1:3000\)"),
    ):
        ui.serve(read_consultation(SAMPLE), 3000, 5000, print)


def test_a_port_that_is_taken_is_told_with_the_option_for_another(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConsultationError, match=rf"Port {port} .*Name a free one with --dagster-port"):
            ui.serve(read_consultation(SAMPLE), port, 5000, print)


def test_it_names_the_graph_the_experiment_and_the_pages_of_the_consultation(home: Path) -> None:
    sample = read_consultation(SAMPLE)
    own = ui.home_of(sample)
    own.report.mkdir(parents=True)
    (own.report / "summary.html").touch()
    told = list(ui._links(sample, own, "http://127.0.0.1:3000", "http://127.0.0.1:5000", "7"))
    assert told == [
        "Ask Brackwater",
        "Dagster        http://127.0.0.1:3000/asset-groups  (the graph of its assets)",
        "MLflow         http://127.0.0.1:5000/#/experiments/7/runs  (its runs)",
        "Curves         http://127.0.0.1:5000/#/experiments/7/runs?compareRunsMode=CHART&viewStateShareKey=curves"
        "  (its trainings)",
        f"In two sheets  {(own.report / 'summary.html').as_uri()}",
    ]
    untrained = list(ui._links(sample, own, "http://127.0.0.1:3000", "http://127.0.0.1:5000", None))
    assert untrained[2].endswith("http://127.0.0.1:5000  (nothing was trained yet)")


def test_mlflow_has_one_worker_and_everything_listens_on_this_machine_only(home: Path) -> None:
    commands = ui._commands(ui.home_of(read_consultation(SAMPLE)), 3000, 5000)
    assert commands["MLflow"][commands["MLflow"].index("--workers") + 1] == "1"
    assert [
        commands[name][commands[name].index(flag) + 1]
        for name, flag in (("MLflow", "--host"), ("Dagster's web server", "-h"))
    ] == ["127.0.0.1"] * 2


def test_mlflow_is_not_started_where_a_server_keeps_the_trainings(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example.org")
    assert list(ui._commands(ui.home_of(read_consultation(SAMPLE)), 3000, 5000)) == [
        "Dagster's web server",
        "Dagster's daemon",
    ]


def test_what_is_imported_apart_is_gone_with_its_process() -> None:
    assert processes.apart(os.getpid) != os.getpid()
    with pytest.raises(ConsultationError, match="no such thing"):
        processes.apart(refuse, "no such thing")


def refuse(why: str) -> None:
    raise ConsultationError(why)
