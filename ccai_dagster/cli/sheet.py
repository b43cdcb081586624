"""`ccai sheet`: what is undecided goes out as a table for a spreadsheet, and what was decided there comes back whole.

A row shows what `ccai review` shows on a subject. What comes back is held against the consultation as it is now, row by
row; one row that is wrong keeps all of them out.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ccai_dagster.cli.options import CONSULTATION, OWN_CONSULTATION, ROLE, mendable_errors, named_role
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.files import csv_text, sheet_rows, write_sheet
from ccai_dagster.core.text import counted, printable, printable_lines, spreadsheet_cell

if TYPE_CHECKING:
    from ccai_dagster.checked_decisions import FilledIn

app = typer.Typer(no_args_is_help=True, help="Decide in a spreadsheet: what is undecided out, and decisions back.")
COLUMNS = ("subject", "to_know", "allowed", "draft", "seen", "digest", "decision", "reason")
"""`seen` are the rows on a subject that were shown when the sheet was made, `digest` that of the text to decide on."""
NEEDED = ("subject", "seen", "digest", "decision", "reason")
"""Columns that are read again; others may be added, moved or left out."""


class Kind(StrEnum):
    """Ledgers that are decided in a sheet; numbers and sign-offs are read one by one."""

    moderation = "moderation"
    exclusion = "exclusion"
    merge = "merge"
    idea = "idea"
    wording = "wording"


KIND = Annotated[Kind, typer.Argument(help="The ledger.")]
ROLE_OF_ALL = Annotated[str, typer.Option("--as", help=ROLE)]


@app.command("export")
@mendable_errors()
def export_sheet(
    kind: KIND,
    file: Annotated[Path, typer.Argument(help="CSV file to write; it must not exist.")],
    role: ROLE_OF_ALL,
    consultation: CONSULTATION = None,
) -> None:
    """Write what is open to a role as CSV, a row a subject, with all that one needs to know."""
    from ccai_dagster.background import Background, choices
    from ccai_dagster.checked_decisions import seen_rows
    from ccai_dagster.open_consultation import open_consultation

    role = named_role(role)
    opened = open_consultation(consultation, kind)
    items = [item for item in opened.agenda(kind) if item.open_to(role)]
    if not items:
        raise ConsultationError(f"{kind}: nothing to decide for {printable(role)}; no file was written.")
    background, basis = Background(opened, kind), opened.basis(kind)
    rows = [
        (
            " ".join(item.subject),
            spreadsheet_cell("\n".join(background.lines(item))),
            choices(item),
            spreadsheet_cell(next((each.outcome for each in background.drafts(item)), "")),
            " ".join(seen_rows(item)),
            basis(item.subject) or "",
            "",
            "",
        )
        for item in items
    ]
    write_sheet(file, csv_text(COLUMNS, rows))
    typer.echo(f"{counted(len(rows), 'row')} in {file}. Fill in `decision` and `reason`, save it as CSV, then")
    words = (
        "ccai",
        "sheet",
        "import",
        kind,
        str(file),
        "--as",
        role,
        "--consultation",
        str(opened.consultation.folder),
    )
    typer.echo(printable_lines(shlex.join(words)))


@app.command("import")
@mendable_errors()
def import_sheet(
    kind: KIND,
    file: Annotated[Path, typer.Argument(help="The CSV file with decisions filled in.")],
    role: ROLE_OF_ALL,
    consultation: OWN_CONSULTATION = None,
    policy_ref: Annotated[str | None, typer.Option(help="The rule that the decisions follow.")] = None,
) -> None:
    """Record the decisions of a sheet, all of them or, if one cannot be recorded, none."""
    from ccai_dagster.background import Background
    from ccai_dagster.checked_decisions import record_filled_in
    from ccai_dagster.open_consultation import open_consultation

    role = named_role(role)
    opened = open_consultation(consultation, kind)
    background = Background(opened, kind)
    filled = list(_filled(file))
    recorded = record_filled_in(opened, kind, role, filled, background.suggested_by, policy_ref)
    typer.echo(f"{counted(len(filled), 'decision')} recorded, as {recorded[0].decision_id} and on.")


def _filled(file: Path) -> Iterator[FilledIn]:
    """The rows of a sheet in which something was decided.

    Raises:
        ConsultationError: There is none, or a subject has two.
    """
    from ccai_dagster.checked_decisions import FilledIn

    first: dict[str, int] = {}
    for number, cells in sheet_rows(file, NEEDED):
        if not cells["decision"].strip() and not cells["reason"].strip():
            continue
        subject = " ".join(cells["subject"].split())
        if subject in first:
            raise ConsultationError(
                f"{file}, row {number}: {subject} is decided in row {first[subject]} as well. Nothing was recorded."
            )
        first[subject] = number
        yield FilledIn(
            where=f"{file}, row {number}",
            subject=tuple(subject.split()),
            seen=tuple(cells["seen"].split()),
            digest=cells["digest"].strip(),
            decision=cells["decision"],
            reason=cells["reason"],
        )
    if not first:
        raise ConsultationError(f"{file}: no row has a decision; fill in `decision` and `reason`.")
