"""`ccai ui`: Dagster's web server and daemon, and MLflow; started together, watched together, ended together.

Every process that one of them starts inherits the variable `CCAI_UI`, whose value is the folder of Dagster's record. So
all are found and ended, through however many processes and sessions, also those that a killed `ccai ui` left.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from ccai_dagster.consultation.folder import Consultation, home_of
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.files import held
from ccai_dagster.core.home import Home
from ccai_dagster.definitions import build_resources
from ccai_dagster.stages.worker import heed_signals
from resources.record import open_record
from resources.run_owners import end_dead_runs

HOST = "127.0.0.1"
"""Nothing here asks who somebody is, so nobody else is served; a team puts a proxy in front."""
MARK = "CCAI_UI"
SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_TO_END = 10.0
"""How long servers, and a stage that trains, may take to end by themselves."""


def serve(consultation: Consultation, dagster_port: int, mlflow_port: int, say: Callable[[str], None]) -> None:
    """Serve a consultation until an interruption or until a server ends.

    Raises:
        ConsultationError: It is served already, a port is taken, or a server ended by itself.
    """
    heed_signals()
    home = home_of(consultation)
    instance = open_record(home, consultation, say)
    addresses = f"http://{HOST}:{dagster_port} and http://{HOST}:{mlflow_port}"
    with held(home.dagster / "ui.lock", f"process {os.getpid()} ({addresses})", _refuse):
        if end_marked(str(home.dagster)):
            say("A `ccai ui` that was killed had left servers running; they were ended.")
        for port, option in ((dagster_port, "--dagster-port"), (mlflow_port, "--mlflow-port")):
            _check_port(port, option)
        build_resources(home)["tracking"].prepare()
        end_dead_runs(instance, say)
        say(f"Dagster  http://{HOST}:{dagster_port}  (the lineage is under Assets, View lineage)")
        say(f"MLflow   http://{HOST}:{mlflow_port}")
        say("Ctrl-C stops both.")
        try:
            attend_servers(_commands(home, dagster_port, mlflow_port), _environment(consultation, home, mlflow_port))
        finally:
            end_dead_runs(instance, say)


def attend_servers(commands: Mapping[str, Sequence[str | Path]], environment: Mapping[str, str]) -> None:
    """Run servers until this process is interrupted or one of them ends; then end all that they have started.

    Args:
        commands: By the name of the server.
        environment: All their variables; `CCAI_UI` is theirs alone.

    Raises:
        ConsultationError: A server ended by itself.
    """
    servers: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, command in commands.items():
            # In sessions of their own an interruption in a terminal reaches them once, through here.
            servers[name] = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, start_new_session=True)
        while True:
            for name, server in servers.items():
                if (status := server.poll()) is not None:
                    how = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
                    raise ConsultationError(f"{name} ended by itself ({how}), so the other servers were ended, too.")
            time.sleep(SECONDS_BETWEEN_LOOKS)
    except KeyboardInterrupt:
        return
    finally:
        # Who asks a second time would leave some of them running.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        end_marked(environment[MARK])


def end_marked(mark: str) -> bool:
    """End every process with this value of `CCAI_UI`; return whether there was one.

    They are asked to end, and killed after `SECONDS_TO_END`.
    """
    found = _marked(mark)
    for each in found:
        _signal(each, signal.SIGTERM)
    psutil.wait_procs(found, SECONDS_TO_END)
    while left := _marked(mark):
        for each in left:
            _signal(each, signal.SIGKILL)
        psutil.wait_procs(left, SECONDS_TO_END)
    return bool(found)


def _marked(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:  # it has just ended, or is another person's
            continue
    return [process for process in found if process.pid != os.getpid()]


def _signal(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def _refuse(holder: str) -> None:
    raise ConsultationError(f"This consultation is served already, by {holder}. Look there, or end that one first.")


def _check_port(port: int, option: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise ConsultationError(
                f"Port {port} cannot be used ({error.strerror}). Name a free one with {option}."
            ) from error


def _commands(home: Home, dagster_port: int, mlflow_port: int) -> dict[str, list[str | Path]]:
    programs = Path(sys.executable).parent
    code = ["-m", "ccai_dagster.definitions", "-a", "defs"]
    return {
        "Dagster's web server": [programs / "dagster-webserver", *code, "-h", HOST, "-p", str(dagster_port)],
        "Dagster's daemon": [programs / "dagster-daemon", "run", *code],
        "MLflow": [
            *(sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(mlflow_port), "--workers", "1"),
            *("--backend-store-uri", home.mlflow_uri, "--default-artifact-root", home.mlflow_artifacts.as_uri()),
        ],
    }


def _environment(consultation: Consultation, home: Home, mlflow_port: int) -> dict[str, str]:
    return {
        **os.environ,
        MARK: str(home.dagster),
        "CCAI_HOME": str(home.root),
        "CCAI_CONSULTATION": str(consultation.folder),
        "CCAI_MLFLOW_URL": f"http://{HOST}:{mlflow_port}",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # a dozen processes for what nobody here asks of it
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
    }
