"""The command `ccai`."""

import os
import subprocess
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.prompt import Prompt

from ccai_dagster.commands import auditing, comparing, deciding, judge_set, prompting
from ccai_dagster.consultation import SAMPLE, read_consultation
from ccai_dagster.errors import ConsultationError
from resources.child import heed_signals
from resources.home import Home, home_root

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Collective Constitutional AI: from a public's votes to an evaluated model, every decision on record.",
)

deciding.register(app)
comparing.register(app)
prompting.register(app)


def _say(line: str) -> None:
    typer.echo(line)


def _fail(error: object) -> typer.Exit:
    typer.secho(str(error), fg=typer.colors.RED, err=True)
    return typer.Exit(1)


class Moderation(StrEnum):
    """What becomes of statements that nobody moderated."""

    strict = "strict"
    lenient = "lenient"


def asked_moderation() -> Moderation:
    """Ask how the conversation was moderated; an export does not tell, so it is never guessed."""
    if not sys.stdin.isatty():
        raise _fail(
            "Name --moderation strict (a statement nobody moderated is out) or --moderation lenient (it is in). It is "
            "a setting of the conversation in Polis that no export states."
        )
    _say(
        "Was the conversation moderated strictly (a statement nobody moderated is out) or leniently (it is in)?"
    )
    return Moderation(Prompt.ask("Moderation", choices=[each.value for each in Moderation]))


@app.command()
def run(
    consultation: Annotated[
        Path | None,
        typer.Argument(help="Consultation folder; by default CCAI_CONSULTATION, else the sample."),
    ] = None,
    select: Annotated[
        str | None, typer.Option(help="Assets in Dagster's selection syntax: these, fresh or not.")
    ] = None,
    profile: Annotated[str, typer.Option(help="demo: two cores, minutes. full: a GPU, hours.")] = "demo",
) -> None:
    """Materialize what is missing or stale, and end with a summary."""
    from ccai_dagster import run as running
    from ccai_dagster.summary import summary

    heed_signals()
    folder = consultation or Path(os.environ.get("CCAI_CONSULTATION") or SAMPLE)
    root = home_root()
    try:
        chosen = read_consultation(folder, profile)
        os.environ["CCAI_CONSULTATION"] = str(chosen.folder)
        outcome = running.run(chosen, root, _say, select)
    except ConsultationError as error:
        raise _fail(error) from error
    _say("")
    if outcome.failed:
        for message in outcome.failed:
            typer.secho(message, fg=typer.colors.RED, err=True)
        raise _fail("The run stopped. What was made before stands; mend what is named above and run again.")
    made = f"{len(outcome.materialized)} assets materialized in {outcome.seconds:.0f} s"
    if outcome.fresh:
        made += f"; {len(outcome.fresh)} skipped, since their inputs, code and settings have not changed"
    _say(made)
    for arm, digest in outcome.waiting.items():
        _say(
            f"{arm}: its constitution {digest} is not signed off, so nothing that follows was started. Read it, "
            "then append a row with this inputs_digest to decisions/signoff.csv."
        )
    for line in summary(chosen, Home(root, chosen.name)):
        _say(line)


@app.command()
def new(
    destination: Annotated[Path, typer.Argument(help="Folder to make; it must not exist or be empty.")],
    from_export: Annotated[
        str | None,
        typer.Option(
            help="An export of your own: a folder or zip from Polis, a table of votes (CSV or Parquet), or the "
            "address of a report's export, https://HOST/api/v3/reportExport/REPORT."
        ),
    ] = None,
    moderation: Annotated[
        Moderation | None,
        typer.Option(help="Whether statements nobody moderated are out (strict) or in (lenient)."),
    ] = None,
    from_ccai: Annotated[
        Path | None,
        typer.Option(help="Files of the public CCAI repository with the decision tables beside them."),
    ] = None,
) -> None:
    """Make a consultation folder, from an export of your own or from the published files of CCAI."""
    from ccai_dagster import starting

    if (from_export is None) == (from_ccai is None):
        raise _fail("Name one source: --from-export EXPORT or --from-ccai FOLDER.")
    if from_ccai is not None and moderation is not None:
        raise _fail("--moderation goes with --from-export; how CCAI was moderated is known.")
    try:
        if from_export is not None:
            lines = starting.from_export(from_export, destination, (moderation or asked_moderation()).value)
        else:
            lines = starting.from_ccai(Path(str(from_ccai)), destination)
    except ConsultationError as error:
        raise _fail(error) from error
    for line in lines:
        _say(line)


@app.command()
def ui(
    dagster_port: Annotated[int, typer.Option(help="Port of Dagster.")] = 3000,
    mlflow_port: Annotated[int, typer.Option(help="Port of MLflow.")] = 5000,
) -> None:
    """Start Dagster and MLflow together and print their addresses; Ctrl-C stops both."""
    from ccai_dagster.run import prepare_instance

    heed_signals()
    root = home_root()
    prepare_instance(root)
    consultation = read_consultation(Path(os.environ.get("CCAI_CONSULTATION") or SAMPLE))
    home = Home(root, consultation.name)
    environment = {
        **os.environ,
        "CCAI_HOME": str(root),
        "CCAI_CONSULTATION": str(consultation.folder),
        "CCAI_MLFLOW_URL": f"http://127.0.0.1:{mlflow_port}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
    }
    commands = [
        [sys.executable, "-m", "dagster", "dev", "-m", "ccai_dagster.definitions", "-a", "defs",
         "-h", "127.0.0.1", "-p", str(dagster_port)],
        [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", home.mlflow_uri,
         "--default-artifact-root", (root / "mlflow-artifacts").as_uri(),
         "--host", "127.0.0.1", "--port", str(mlflow_port)],
    ]  # fmt: skip
    _say(f"Dagster  http://127.0.0.1:{dagster_port}  (the lineage is under Assets, View lineage)")
    _say(f"MLflow   http://127.0.0.1:{mlflow_port}")
    _say("Ctrl-C stops both.")
    servers = [subprocess.Popen(command, env=environment) for command in commands]
    try:
        for server in servers:
            server.wait()
    except KeyboardInterrupt:
        for server in servers:
            server.terminate()
        for server in servers:
            server.wait()


app.command()(auditing.audit)
app.command()(auditing.verify)
app.command()(judge_set.judge_set)


if __name__ == "__main__":
    app()
