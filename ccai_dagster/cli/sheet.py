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
    from ccai_dagster.decisions.agenda import AgendaItem, Basis

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
    from ccai_dagster.cli.review import Background, choices
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
            spreadsheet_cell(background.draft(item) or ""),
            _seen(item),
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
    from ccai_dagster.checked_decisions import record_decisions
    from ccai_dagster.cli.review import Background
    from ccai_dagster.decisions.recording import Answer
    from ccai_dagster.open_consultation import open_consultation

    role = named_role(role)
    opened = open_consultation(consultation, kind)
    items = {item.subject: item for item in opened.agenda(kind)}
    background, basis = Background(opened, kind), opened.basis(kind)
    answers: list[tuple[str, Answer]] = []
    problems: list[str] = []
    for where, cells in _filled(file):
        item = items.get(tuple(cells["subject"].split()))
        problem = _problem(item, cells, role, basis)
        if problem is not None or item is None:
            problems.append(f"{where}: {problem}")
            continue
        answer = Answer(
            kind=kind.value,
            subject_ids=item.subject,
            outcome=cells["decision"],
            reason=cells["reason"].strip(),
            decided_by=role,
            supersedes=item.replaced_by(role),
            policy_ref=policy_ref,
            suggested_by=background.suggested_by(item, cells["decision"]),
        )
        answers.append((where, answer))
    checked_with = [row["decision_id"] for item in items.values() for row in item.rows]
    recorded = record_decisions(opened, kind, answers, problems, checked_with)
    typer.echo(f"{counted(len(answers), 'decision')} recorded, as {recorded[0].decision_id} and on.")


def _seen(item: AgendaItem) -> str:
    return " ".join(row["decision_id"] for row in item.shown)


def _filled(file: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a sheet in which something was decided, and where each stands.

    Raises:
        ConsultationError: There is none, or a subject has two.
    """
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
        yield f"{file}, row {number}", cells
    if not first:
        raise ConsultationError(f"{file}: no row has a decision; fill in `decision` and `reason`.")


def _problem(item: AgendaItem | None, cells: dict[str, str], role: str, basis: Basis) -> str | None:
    """What speaks against recording a row: it is not asked for, incomplete, or made on something else."""
    if item is None:
        return f"{cells['subject']!r} is nothing that is to be decided here; leave `subject` as it was."
    if not cells["decision"].strip() or not cells["reason"].strip():
        return "a decision needs a reason, and a reason a decision."
    if (basis(item.subject) or "") != cells["digest"].strip():
        return "its text is another one since the sheet was made; export it again and read it."
    # What came in the meantime and waits for a second, independent decision is no news: nobody is to see it.
    if item.state != "one of two" and _seen(item) != " ".join(cells["seen"].split()):
        return "it was decided in the meantime; export the sheet again and look at it."
    if not item.open_to(role):
        return f"it is not open to {printable(role)}: it is decided, or waits for another role."
    return None
