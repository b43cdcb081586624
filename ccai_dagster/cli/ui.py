"""`ccai ui`: Dagster's web server and daemon, and MLflow, for one consultation.

How they are watched and ended is in `ccai_dagster.cli.servers`.
"""

import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from ccai_dagster.cli.servers import MARK, attend_servers, end_marked
from ccai_dagster.consultation.folder import Consultation, home_of
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.files import held
from ccai_dagster.core.home import Home, pages_in
from ccai_dagster.core.processes import apart, heed_signals
from ccai_dagster.core.text import printable
from resources.record import open_record
from resources.run_owners import end_dead_runs
from resources.tracking import curves_address

HOST = "127.0.0.1"
"""Nothing here asks who somebody is, so nobody else is served; a team puts a proxy in front."""


def serve(consultation: Consultation, dagster_port: int, mlflow_port: int, say: Callable[[str], None]) -> None:
    """Serve a consultation until an interruption or until a server ends.

    Raises:
        ConsultationError: It is served already, a port is taken, or a server ended by itself.
    """
    heed_signals()
    home = home_of(consultation)
    instance = open_record(home, consultation, say)
    mlflow = _mlflow_server(home) or f"http://{HOST}:{mlflow_port}"
    addresses = f"http://{HOST}:{dagster_port} and {mlflow}"
    with held(home.dagster / "ui.lock", f"process {os.getpid()} ({addresses})", _refuse):
        if end_marked(str(home.dagster)):
            say("A `ccai ui` that was killed had left servers running; they were ended.")
        check_port(dagster_port, "--dagster-port")
        if not _mlflow_server(home):
            check_port(mlflow_port, "--mlflow-port")
        experiment = apart(_experiment, home)
        end_dead_runs(instance, say)
        for line in _links(consultation, home, f"http://{HOST}:{dagster_port}", mlflow, experiment):
            say(line)
        say("Ctrl-C stops both.")
        try:
            attend_servers(_commands(home, dagster_port, mlflow_port), _environment(consultation, home, mlflow))
        finally:
            end_dead_runs(instance, say)


def _experiment(home: Home) -> str | None:
    """Prepare MLflow's tables and return the id of the trainings' experiment; None before anything was trained."""
    from ccai_dagster.definitions import build_resources

    tracking = build_resources(home)["tracking"]
    tracking.prepare()
    experiment: str | None = tracking.known_experiment()
    if experiment is not None:
        tracking.open()  # an earlier version left no view of the curves
    return experiment


def _links(consultation: Consultation, home: Home, dagster: str, mlflow: str, experiment: str | None) -> Iterator[str]:
    """Addresses to open: the graph, the runs and curves of trainings, and the pages that are there.

    Args:
        experiment: Its id in MLflow; None before anything was trained.
    """
    yield printable(consultation.file.title)
    yield f"{'Dagster':<15}{dagster}/asset-groups  (the graph of its assets)"
    if experiment is None:
        yield f"{'MLflow':<15}{mlflow}  (nothing was trained yet)"
    else:
        yield f"{'MLflow':<15}{mlflow}/#/experiments/{experiment}/runs  (its runs)"
        yield f"{'Curves':<15}{curves_address(mlflow, experiment)}  (its trainings)"
    yield from (f"{name:<15}{path.as_uri()}" for name, path in pages_in(home.report).items())


def _refuse(holder: str) -> None:
    raise ConsultationError(f"This consultation is served already, by {holder}. Look there, or end that one first.")


def check_port(port: int, option: str) -> None:
    """Check that a server can listen there.

    Raises:
        ConsultationError: Another one does; names the option to choose another port with.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise ConsultationError(
                f"Port {port} cannot be used ({error.strerror}). Name a free one with {option}."
            ) from error


def _mlflow_server(home: Home) -> str | None:
    """The address of a server that runs elsewhere; None if one has to be started here."""
    return home.mlflow_uri if home.mlflow_uri.startswith(("http://", "https://")) else None


def _commands(home: Home, dagster_port: int, mlflow_port: int) -> dict[str, list[str | Path]]:
    programs = Path(sys.executable).parent
    code = ["-m", "ccai_dagster.definitions", "-a", "defs"]
    commands: dict[str, list[str | Path]] = {
        "Dagster's web server": [programs / "dagster-webserver", *code, "-h", HOST, "-p", str(dagster_port)],
        "Dagster's daemon": [programs / "dagster-daemon", "run", *code],
    }
    if not _mlflow_server(home):
        commands["MLflow"] = [
            *(sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(mlflow_port), "--workers", "1"),
            *("--default-artifact-root", home.mlflow_artifacts.as_uri()),
        ]
    return commands


def _environment(consultation: Consultation, home: Home, mlflow: str) -> dict[str, str]:
    return {
        **os.environ,
        MARK: str(home.dagster),
        "CCAI_HOME": str(home.root),
        "CCAI_CONSULTATION": str(consultation.folder),
        "CCAI_MLFLOW_URL": os.environ.get("CCAI_MLFLOW_URL", mlflow) if _mlflow_server(home) else mlflow,
        "MLFLOW_BACKEND_STORE_URI": home.mlflow_uri,  # not in the command, which everybody on the machine can read
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # a dozen processes for what nobody here asks of it
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
    }
