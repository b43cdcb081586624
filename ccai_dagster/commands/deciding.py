"""`ccai review`, `ccai decide` and `ccai status`: people decide at the terminal, and see what is decided.

Nothing is kept but ledger rows: each answer is appended at once, so a review can be stopped, killed and
continued at any moment.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ccai_dagster.consultation import LEDGERS, SAMPLE, read_consultation
from ccai_dagster.errors import ConsultationError

if TYPE_CHECKING:
    from ccai_dagster.commands.desk import Desk

CONSULTATION = Annotated[
    Path | None,
    typer.Option(help="Consultation folder; by default CCAI_CONSULTATION, else the sample."),
]
KIND = Annotated[str, typer.Argument(help=f"One of {', '.join(LEDGERS)}.")]
ROLE = "Your role, as it goes on record: moderator, editor, steering group ... Never a name."


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(review)
    app.command()(decide)
    app.command()(status)


def review(
    kind: KIND,
    consultation: CONSULTATION = None,
    role: Annotated[str, typer.Option("--as", prompt="Your role", help=ROLE)] = "",
    policy_ref: Annotated[str | None, typer.Option(help="The rule that the decisions follow.")] = None,
) -> None:
    """Walk through what is undecided, lapsed or disputed, and decide it one by one."""
    from ccai_dagster.commands.walk import walk

    with sentences():
        walk(desk_of(consultation, kind), kind, role, policy_ref, typer.echo)


def decide(
    kind: KIND,
    subjects: Annotated[str, typer.Argument(help="Ids or names, separated by spaces: '16 19'.")],
    outcome: Annotated[
        str, typer.Argument(help="As in the ledger: in, 'out: duplicate', 'principle: ...', 0.6.")
    ],
    reason: Annotated[str, typer.Option(help="Why, in your own words.")],
    role: Annotated[str, typer.Option("--as", help=ROLE)],
    consultation: CONSULTATION = None,
    supersedes: Annotated[str | None, typer.Option(help="Ids of decisions this one replaces.")] = None,
    policy_ref: Annotated[str | None, typer.Option(help="The rule it follows.")] = None,
    suggested_by: Annotated[str | None, typer.Option(help="What proposed it, if not a person.")] = None,
    digest: Annotated[
        str | None,
        typer.Option(help="Of the constitution signed off, at least 12 characters; only for signoff."),
    ] = None,
) -> None:
    """Record one decision."""
    from ccai_dagster.commands.single import decide_one
    from ccai_dagster.decisions.decision import split_ids
    from ccai_dagster.decisions.recording import Answer

    with sentences():
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
        decide_one(desk_of(consultation, kind), answer, digest, typer.echo)


def status(
    consultation: Annotated[
        Path | None,
        typer.Argument(help="Consultation folder; by default CCAI_CONSULTATION, else the sample."),
    ] = None,
) -> None:
    """Show what is decided, undecided, lapsed and disputed, kind by kind, and how often two people agreed."""
    from ccai_dagster.commands.overview import overview

    with sentences():
        overview(desk_of(consultation), typer.echo)


@contextmanager
def sentences() -> Iterator[None]:
    """End with a sentence where a person can mend something."""
    try:
        yield
    except ConsultationError as error:
        typer.secho(str(error), fg=typer.colors.RED, err=True)
        raise typer.Exit(1) from error


def desk_of(consultation: Path | None, kind: str | None = None) -> Desk:
    """Return the desk of a consultation; by default that of `CCAI_CONSULTATION`, else the sample's.

    Raises:
        ConsultationError: There is no such ledger, or the consultation cannot be read.
    """
    from ccai_dagster.commands.desk import Desk
    from resources.home import Home, home_root

    if kind is not None and kind not in LEDGERS:
        raise ConsultationError(f"There is no ledger {kind!r}; there are {', '.join(LEDGERS)}.")
    chosen = read_consultation(consultation or Path(os.environ.get("CCAI_CONSULTATION") or SAMPLE))
    return Desk(chosen, Home(home_root(), chosen.name))
