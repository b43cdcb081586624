"""What all commands share: how a consultation and a role are named, and how an error ends a command.

Loads nothing heavy, so that commands that only read files answer at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from ccai_dagster.consultation.folder import SAMPLE, chosen_consultation, named_elsewhere
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.files import disk_errors
from ccai_dagster.core.text import printable_lines

ROLE = "Your role, as it goes on record: moderator, editor, steering group ... Never a name."
LONGEST = 4_000
"""Characters of a message that are printed."""


def named_role(role: str) -> str:
    """Return a role without the spaces around it.

    Raises:
        ConsultationError: Nothing else is in it.
    """
    if not role.strip():
        raise ConsultationError("A role is needed; give it with --as.")
    return role.strip()


def _nobody_named(context: typer.Context, folder: Path | None) -> bool:
    """Whether the embedded consultation would be meant, since none is named and the command stands in none."""
    return folder is None and not context.resilient_parsing and named_elsewhere() is None


def named_or_sample(context: typer.Context, folder: Path | None) -> Path | None:
    """Say so where the embedded consultation is meant."""
    if _nobody_named(context, folder):
        typer.echo(f"The embedded consultation: {chosen_consultation().file.title}", err=True)
    return folder


def _named(context: typer.Context, folder: Path | None) -> Path | None:
    """Let nobody decide in the embedded consultation who did not name it."""
    with mendable_errors():
        if _nobody_named(context, folder):
            raise ConsultationError(
                f"Name the consultation, or go to its folder; else the embedded one would be written to: {SAMPLE}"
            )
    return folder


class FolderEitherWay(TyperCommand):
    """A command that takes the consultation's folder as its argument, and as `--consultation FOLDER` as others do."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the folder of `--consultation` where the argument is."""
        for place, word in enumerate(args):
            name, equals, value = word.partition("=")
            if name == "--consultation" and (equals or place + 1 < len(args)):
                rest = [*args[:place], *args[place + (1 if equals else 2) :]]
                return super().parse_args(ctx, [*rest, value if equals else args[place + 1]])
        return super().parse_args(ctx, args)


@contextmanager
def mendable_errors() -> Iterator[None]:
    """End a command with a sentence and the status 1 where a person can mend something."""
    try:
        with disk_errors():
            yield
    except ConsultationError as error:
        typer.secho(printable_lines(str(error), LONGEST), fg=typer.colors.RED, err=True)
        raise typer.Exit(1) from error


_WHICH = "Consultation folder; else CCAI_CONSULTATION, else the one that the working folder is in"
CONSULTATION = Annotated[Path | None, typer.Option(help=f"{_WHICH}, else the sample.", callback=named_or_sample)]
CONSULTATION_IF_ASKED = Annotated[Path | None, typer.Option(help=f"{_WHICH}, else the sample.")]
"""For a command whose argument may name the consultation as well: it calls `named_or_sample` where that is missing."""
CONSULTATION_FOLDER = Annotated[
    Path | None, typer.Argument(help=f"{_WHICH}, else the sample. Or --consultation FOLDER.", callback=named_or_sample)
]
OWN_CONSULTATION = Annotated[Path | None, typer.Option(help=f"{_WHICH}.", callback=_named)]
OWN_CONSULTATION_FOLDER = Annotated[
    Path | None, typer.Argument(help=f"{_WHICH}. Or --consultation FOLDER.", callback=_named)
]
