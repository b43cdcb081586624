"""The command `ccai`: make a consultation folder, decide, run what is missing or stale, and audit what came out.

All commands are registered here, those that take more than a few lines from modules of their own. What takes long to
load is imported by the command that needs it, so that the others answer at once.
"""

import atexit
import gc
import os
import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ccai_dagster.cli import audit, prompts, ratings, sheet
from ccai_dagster.cli.options import (
    CONSULTATION,
    CONSULTATION_FOLDER,
    OWN_CONSULTATION,
    OWN_CONSULTATION_FOLDER,
    ROLE,
    FolderEitherWay,
    mendable_errors,
)
from ccai_dagster.consultation.folder import LEDGERS, ModerationMode, chosen_consultation, home_of
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.home import check_name, home_root
from ccai_dagster.core.text import counted, printable_lines

# Modules and rows of ledgers are many objects and no garbage: looking for it as often as Python does by itself is 6 %
# of a command that only reads.
gc.set_threshold(50_000)
# Neither are they at the end, when Python would look through all of them once more: a second of every run.
atexit.register(gc.freeze)
app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Collective Constitutional AI: from a public's votes to an evaluated model, every decision on record.",
)
KIND = Annotated[str, typer.Argument(help=f"One of {', '.join(LEDGERS)}.")]


@app.command()
@mendable_errors()
def review(
    kind: KIND,
    consultation: OWN_CONSULTATION = None,
    role: Annotated[str, typer.Option("--as", prompt="Your role", help=ROLE)] = "",
    policy_ref: Annotated[str | None, typer.Option(help="The rule that the decisions follow.")] = None,
    with_server: Annotated[
        bool, typer.Option("--with-server", help="Have the feedback server draft wordings; each is marked so.")
    ] = False,
) -> None:
    """Walk through what is undecided, lapsed or disputed, and decide it one by one."""
    from ccai_dagster.cli.review import review_ledger
    from ccai_dagster.open_consultation import open_consultation

    review_ledger(open_consultation(consultation, kind), kind, role, policy_ref, typer.echo, with_server)


@app.command()
@mendable_errors()
def decide(
    kind: KIND,
    subjects: Annotated[str, typer.Argument(help="Ids or names, separated by spaces: '16 19'.")],
    outcome: Annotated[str, typer.Argument(help="As in the ledger: in, 'out: duplicate', 'principle: ...', 0.6.")],
    reason: Annotated[str, typer.Option(help="Why, in your own words.")],
    role: Annotated[str, typer.Option("--as", help=ROLE)],
    consultation: OWN_CONSULTATION = None,
    supersedes: Annotated[str | None, typer.Option(help="Ids of decisions this one replaces.")] = None,
    policy_ref: Annotated[str | None, typer.Option(help="The rule it follows.")] = None,
    suggested_by: Annotated[str | None, typer.Option(help="What proposed it, if not a person.")] = None,
    digest: Annotated[
        str | None, typer.Option(help="Of the constitution signed off, at least 12 characters; only for signoff.")
    ] = None,
) -> None:
    """Record one decision."""
    from ccai_dagster.cli.decide import decide_one
    from ccai_dagster.decisions.ledger import split_ids
    from ccai_dagster.decisions.recording import Answer
    from ccai_dagster.open_consultation import open_consultation

    answer = Answer(
        kind=kind,
        subject_ids=tuple(subjects.split()),
        outcome=outcome,
        reason=reason,
        decided_by=role,
        supersedes=split_ids(supersedes),
        policy_ref=policy_ref,
        suggested_by=suggested_by,
    )
    decide_one(open_consultation(consultation, kind), answer, digest, typer.echo)


@app.command(cls=FolderEitherWay)
@mendable_errors()
def status(consultation: CONSULTATION_FOLDER = None) -> None:
    """Show what is decided, undecided, lapsed and disputed, kind by kind, and how often two people agreed."""
    from ccai_dagster.cli.decide import show_status
    from ccai_dagster.open_consultation import open_consultation

    show_status(open_consultation(consultation, as_imported=True), typer.echo)


@app.command()
@mendable_errors()
def what_if(
    kind: Annotated[str, typer.Argument(help="The ledger: threshold, moderation, exclusion, merge, idea, wording.")],
    subjects: Annotated[str, typer.Argument(help="What it would be about, as in the ledger, several with spaces.")],
    outcome: Annotated[str, typer.Argument(help="What would be decided, as in the ledger.")],
    consultation: CONSULTATION = None,
) -> None:
    """Say which groups, statements and principles would follow from a decision; nothing is recorded."""
    from ccai_dagster.cli.what_if import what_if as supposed
    from ccai_dagster.open_consultation import open_consultation

    for line in supposed(open_consultation(consultation, kind, as_imported=True), kind, subjects.split(), outcome):
        typer.echo(line)


@app.command()
@mendable_errors()
def compare(
    first: Annotated[str, typer.Argument(help="A consultation folder, a ledger (CSV), or how the id of a run begins.")],
    second: Annotated[str, typer.Argument(help="Another of the same.")],
    output: Annotated[Path | None, typer.Option(help="File to write all of it to: .html or .csv.")] = None,
    consultation: Annotated[Path | None, typer.Option(help="The consultation whose runs are meant.")] = None,
) -> None:
    """Say what differs between two consultations, two ledgers, or two runs of one consultation."""
    from ccai_dagster.cli.compare import check_output, compared, lines, write_differences

    if output is not None:
        check_output(output)
    names, chapters = compared(first, second, consultation)
    for line in lines(names, chapters):
        typer.echo(line)
    if output is not None:
        write_differences(output, names, chapters)
        typer.echo(f"\nWritten to {output}")


@app.command(cls=FolderEitherWay)
@mendable_errors()
def take_over(consultation: OWN_CONSULTATION_FOLDER = None) -> None:
    """Take moderation over from the newest export, where it says otherwise and no person decided."""
    from ccai_dagster.cli.decide import take_over_moderation
    from ccai_dagster.open_consultation import open_consultation

    take_over_moderation(open_consultation(consultation), typer.echo)


class IfBusy(StrEnum):
    """What `ccai run` does while another run is at work on the consultation."""

    wait = "wait"
    stop = "stop"


class Moderation(StrEnum):
    """What becomes of statements that nobody moderated."""

    strict = "strict"
    lenient = "lenient"


def asked_moderation() -> Moderation:
    """Ask how the conversation was moderated, where the export does not tell; it is never guessed."""
    if not sys.stdin.isatty():
        raise ConsultationError(
            "Name --moderation strict (a statement nobody moderated is out) or --moderation lenient (it is in). It is "
            "a setting of the conversation in Polis, which its conversation.json states (strict_moderation) and no CSV "
            "does; there is none that states it here, and the votes do not tell it."
        )
    from rich.prompt import Prompt

    typer.echo("Was the conversation moderated strictly (a statement nobody moderated is out) or leniently (it is in)?")
    return Moderation(Prompt.ask("Moderation", choices=[each.value for each in Moderation]))


@app.command(cls=FolderEitherWay)
@mendable_errors()
def run(
    consultation: CONSULTATION_FOLDER = None,
    select: Annotated[
        str | None, typer.Option(help="Assets in Dagster's selection syntax: these, fresh or not.")
    ] = None,
    profile: Annotated[str, typer.Option(help="demo: two cores, minutes. full: a GPU, hours.")] = "demo",
    if_busy: Annotated[
        IfBusy, typer.Option(help="While another run is at work on the consultation: wait for it, or stop.")
    ] = IfBusy.wait,
) -> None:
    """Materialize what is missing or stale, and end with a summary."""
    from ccai_dagster import run as running
    from ccai_dagster.cli.summary import summary
    from ccai_dagster.core.processes import heed_signals
    from ccai_dagster.open_consultation import OpenConsultation
    from resources.instance import storage_errors

    heed_signals()
    root = home_root()
    chosen = chosen_consultation(consultation, profile)
    os.environ["CCAI_CONSULTATION"] = str(chosen.folder)
    home = home_of(chosen)
    with storage_errors(home.dagster):
        outcome = running.run(chosen, root, typer.echo, select, wait=if_busy is IfBusy.wait)
    typer.echo("")
    if outcome.imported:
        typer.echo(f"The import: {outcome.imported}")
    for message in outcome.failed:
        typer.secho(printable_lines(message), fg=typer.colors.RED, err=True)
    if outcome.interrupted:
        made = counted(len(outcome.materialized), "asset")
        raise ConsultationError(
            f"The run was interrupted after it had made {made}. What was made stands; run again to go on."
        )
    if outcome.failed:
        raise ConsultationError("The run stopped. What was made before stands; mend what is named above and run again.")
    made = f"{counted(len(outcome.materialized), 'asset')} materialized in {outcome.seconds:.0f} s"
    if outcome.fresh:
        made += f"; {len(outcome.fresh)} skipped, since their inputs, code and settings have not changed"
    typer.echo(made)
    for arm, reach in outcome.unworded.items():
        typer.echo(
            f"{arm}: no principle is worded yet, so there is nothing to sign off, and nothing was trained. "
            f"{counted(reach, 'statement reaches', 'statements reach')} the cut: `ccai review wording --consultation "
            f"{shlex.quote(str(chosen.folder))}` asks for them one by one. Then run again."
        )
    for arm, digest in outcome.waiting.items():
        typer.echo(
            f"{arm}: its constitution {digest} is not signed off, so nothing that follows was started. Read it, "
            "then append a row with this inputs_digest to decisions/signoff.csv."
        )
    for line in summary(OpenConsultation(chosen, home), home.report):
        typer.echo(line)


@app.command()
@mendable_errors()
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
        typer.Option(
            help="Whether statements nobody moderated are out (strict) or in (lenient); else as the export tells."
        ),
    ] = None,
    vote_values: Annotated[
        str | None,
        typer.Option(help="What votes mean that are a scale or 0 and 1, as 1..2=disagree,3=pass,4..5=agree."),
    ] = None,
    for_portal: Annotated[
        bool,
        typer.Option("--for-portal", help="Votes are cast in the portal, on statements of the sample to begin with."),
    ] = False,
    from_ccai: Annotated[
        Path | None, typer.Option(help="A clone of the public CCAI repository, https://github.com/saffronh/ccai.")
    ] = None,
    texts: Annotated[
        list[Path] | None,
        typer.Option(help="With --from-ccai: the paper, saved as PDF or text from https://arxiv.org/pdf/2406.07814."),
    ] = None,
) -> None:
    """Make a consultation folder: from an export of your own, for the portal, or from the published files of CCAI."""
    from ccai_dagster.cli import new as folders
    from ccai_dagster.deliberation.importing.vote_values import parsed_values

    check_name(destination.resolve().name)
    if (from_export is not None) + (from_ccai is not None) + for_portal != 1:
        raise ConsultationError("Name one source: --from-export EXPORT, --for-portal or --from-ccai FOLDER.")
    if from_ccai is None and texts:
        raise ConsultationError("--texts goes with --from-ccai.")
    if from_export is None and moderation is not None:
        raise ConsultationError("--moderation goes with --from-export.")
    if for_portal:
        lines = folders.from_sample(destination)
    elif from_export is not None:

        def mode() -> ModerationMode:
            return "strict" if (moderation or asked_moderation()) is Moderation.strict else "lenient"

        values = parsed_values(vote_values) if vote_values else None
        lines = folders.from_export(from_export, destination, mode() if moderation else mode, values)
    else:
        lines = folders.from_ccai(Path(str(from_ccai)), destination, texts or ())
    for line in lines:
        typer.echo(printable_lines(line))


@app.command()
@mendable_errors()
def export(
    folder: Annotated[Path, typer.Argument(help="Folder to make; it must not exist or be empty.")],
    consultation: CONSULTATION = None,
) -> None:
    """Write votes, groups, scores and priorities of the last run as Polis's JSON and CSV files, for other tools."""
    from ccai_dagster.cli import export as exporting
    from ccai_dagster.open_consultation import open_consultation

    exporting.export(open_consultation(consultation), folder, typer.echo)


@app.command(cls=FolderEitherWay)
@mendable_errors()
def prepare(consultation: CONSULTATION_FOLDER = None) -> None:
    """Open the records of a consultation and print its DAGSTER_HOME, for Dagster's own programs to be started on it."""
    from ccai_dagster.definitions import build_resources
    from resources.record import open_record

    chosen = chosen_consultation(consultation)
    home = home_of(chosen)
    open_record(home, chosen, lambda line: typer.echo(line, err=True)).dispose()
    build_resources(home)["tracking"].prepare()
    typer.echo(home.dagster)


@app.command(cls=FolderEitherWay)
@mendable_errors()
def prune(
    consultation: CONSULTATION_FOLDER = None,
    older_than: Annotated[int, typer.Option(min=0, help="Days since something was last changed.")] = 90,
    remove: Annotated[bool, typer.Option("--remove", help="Remove what is listed.")] = False,
) -> None:
    """List what nothing cites any more: old runs, models, tables, downloads; with --remove, remove it."""
    from ccai_dagster.cli.prune import leftovers

    for line in leftovers(chosen_consultation(consultation), older_than, remove):
        typer.echo(printable_lines(line))


@app.command(cls=FolderEitherWay)
@mendable_errors()
def ui(
    consultation: CONSULTATION_FOLDER = None,
    dagster_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of Dagster.")] = 3000,
    mlflow_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of MLflow.")] = 5000,
) -> None:
    """Start Dagster and MLflow together and print their addresses; Ctrl-C stops both."""
    from ccai_dagster.cli.ui import serve

    serve(chosen_consultation(consultation), dagster_port, mlflow_port, typer.echo)


@app.command(cls=FolderEitherWay)
@mendable_errors()
def serve(
    consultation: CONSULTATION_FOLDER = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on this machine.")] = 8000,
    host: Annotated[str, typer.Option(help="Address to listen at; another one is for a proxy on another machine.")] = (
        "127.0.0.1"
    ),
    workers: Annotated[int, typer.Option(min=1, help="Processes that answer; more than one for large crowds.")] = 1,
) -> None:
    """Let people vote, where `votes` is `portal`, and the team decide in a browser; Ctrl-C stops it."""
    from ccai_dagster.cli import serve as serving

    serving.serve(chosen_consultation(consultation), port, typer.echo, host, workers)


@app.command(cls=FolderEitherWay)
@mendable_errors()
def account(
    name: Annotated[str, typer.Argument(help="What somebody signs in with; it goes on no record.")],
    consultation: OWN_CONSULTATION_FOLDER = None,
    role: Annotated[str | None, typer.Option(help="The role that goes on record with every decision.")] = None,
    rater: Annotated[bool, typer.Option("--rater", help="It compares responses, and comes to no desk.")] = False,
    may: Annotated[
        list[str] | None, typer.Option("--may", help="What it may do at the desk: moderate (if not named), edit, sign.")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the account.")] = False,
) -> None:
    """Make an account for the team's desk or a rater, or give it a new password, which is printed once."""
    from ccai_dagster.cli import serve as serving

    if (role is None) != remove:
        raise ConsultationError("Name the role with --role, or --remove the account.")
    serving.account(chosen_consultation(consultation), name, role, rater, may or ["moderate"], typer.echo)


app.command()(audit.audit)
app.command()(audit.verify)
app.command()(prompts.judge_set)
app.add_typer(ratings.app, name="ratings")
app.add_typer(prompts.app, name="prompts")
app.add_typer(sheet.app, name="sheet")


if __name__ == "__main__":
    app()
