"""What all commands share: how a consultation and a role are named, and how an error ends a command.

Loads nothing heavy, so that commands that only read files answer at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.text import printable_lines

_WHICH = "Consultation folder; by default CCAI_CONSULTATION, else the sample."
CONSULTATION = Annotated[Path | None, typer.Option(help=_WHICH)]
CONSULTATION_FOLDER = Annotated[Path | None, typer.Argument(help=_WHICH)]
ROLE = "Your role, as it goes on record: moderator, editor, steering group ... Never a name."
LONGEST = 4_000
"""Characters of a message that are printed."""


@contextmanager
def mendable_errors() -> Iterator[None]:
    """End a command with a sentence and the status 1 where a person can mend something."""
    try:
        yield
    except ConsultationError as error:
        typer.secho(printable_lines(str(error), LONGEST), fg=typer.colors.RED, err=True)
        raise typer.Exit(1) from error
