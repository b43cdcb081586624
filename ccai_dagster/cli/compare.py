"""`ccai compare`: two consultations, two ledgers or two runs side by side, in the terminal or as a file.

Belongs here: what the two are, gathering what is compared, and printing it. What differs is found in
`audit.differences`, the page is in `pages.differences`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ccai_dagster.audit.differences import (
    Chapter,
    Compared,
    Difference,
    consultation_differences,
    ledger_differences,
    run_differences,
    standing_after,
)
from ccai_dagster.audit.manifest import CONSULTATION
from ccai_dagster.consultation.folder import LEDGERS
from ccai_dagster.core.digest import file_digest
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.files import check_new_file, csv_text, write_file
from ccai_dagster.core.text import counted, printable, spreadsheet_cell
from ccai_dagster.decisions.ledger import read_ledger
from ccai_dagster.open_consultation import OpenConsultation, open_consultation
from ccai_dagster.pages.differences import render_differences

TABLES = (
    "opinion_groups",
    "gac_scores",
    "consensus_stability",
    "selected_statements",
    "eval_scores",
    "judge_calibration",
)
SHOWN = 10
"""Differences of a chapter that the terminal shows."""
NOTE_WIDTH = 90


def compared(first: str, second: str, consultation: Path | None) -> tuple[tuple[str, str], list[Chapter]]:
    """Compare what two words name: two folders, two ledgers, or two runs of one consultation.

    Returns:
        What the two are called, and what differs.

    Raises:
        ConsultationError: They are not of one kind, or one of them cannot be read.
    """
    paths = Path(first), Path(second)
    if all(path.is_dir() for path in paths):
        opened = [open_consultation(path) for path in paths]
        names = [each.consultation.file.title for each in opened]
        if names[0] == names[1]:
            names = [f"{each.consultation.file.title} ({each.consultation.name})" for each in opened]
        return (names[0], names[1]), consultation_differences(*(gathered(each) for each in opened))
    if all(path.suffix == ".csv" for path in paths):
        ledgers = [{_kind(path): read_ledger(path, _kind(path))} for path in paths]
        if ledgers[0].keys() != ledgers[1].keys():
            raise ConsultationError(
                f"{first} and {second}: these are ledgers of different kinds; name two of one kind."
            )
        return (first, second), [ledger_differences(*ledgers)]
    if any(path.exists() or path.suffix for path in paths):
        raise ConsultationError(f"{first} and {second}: name two consultation folders, two ledgers, or two runs.")
    record = open_consultation(consultation)
    if record.manifest is None:
        raise ConsultationError(f"{record.home.manifest}: no run is on record; `ccai run` writes it at its end.")
    runs = [standing_after(record.manifest, each) for each in (first, second)]
    title = record.consultation.file.title
    return (f"{title}, run {first}", f"{title}, run {second}"), [run_differences(*runs)]


def _kind(path: Path) -> str:
    if path.stem not in LEDGERS:
        raise ConsultationError(f"{path}: a ledger is named after its kind, one of {', '.join(LEDGERS)}, with .csv.")
    return path.stem


def gathered(opened: OpenConsultation) -> Compared:
    """Return what of a consultation is compared."""
    tables = {name: opened.table(name) for name in TABLES}
    return Compared(
        settings=dict(_flat(opened.consultation.file.model_dump(mode="json"))),
        ledgers={kind: opened.ledger(kind) for kind in LEDGERS},
        imported=opened.imported,
        constitutions={arm: opened.constitution(arm) for arm in opened.consultation.arms},
        tables={name: table for name, table in tables.items() if table is not None},
        manifest=opened.manifest,
        changed=_changed_files(opened),
    )


def _changed_files(opened: OpenConsultation) -> list[str]:
    """Files of the folder that are not what the last run read; ledgers are compared row by row."""
    if opened.manifest is None:
        return []
    ledgers = {f"{CONSULTATION}/decisions/{kind}.csv" for kind in LEDGERS}
    read = {
        name.partition("/")[2]: record.sha256
        for name, record in opened.manifest.files.items()
        if name.startswith(f"{CONSULTATION}/") and name not in ledgers
    }
    places = {name: opened.consultation.folder / name for name in read}
    return [name for name, path in places.items() if not path.is_file() or file_digest(path) != read[name]]


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", str(value)


def lines(names: tuple[str, str], chapters: Sequence[Chapter]) -> Iterator[str]:
    """Say what differs, the first differences of each chapter by name."""
    yield f"First   {printable(names[0])}"
    yield f"Second  {printable(names[1])}"
    for chapter in chapters:
        yield ""
        yield f"{printable(chapter.name)}: {printable(chapter.lead)}"
        for each in chapter.differences[:SHOWN]:
            note = f"   {printable(each.note, NOTE_WIDTH)}" if each.note else ""
            yield f"  {printable(each.subject)}: {printable(each.first)} -> {printable(each.second)}{note}"
        if (rest := len(chapter.differences) - SHOWN) > 0:
            yield f"  and {counted(rest, 'difference')} more; --output FILE.csv or FILE.html has all"


def check_output(path: Path) -> None:
    """Check where differences are to be written, before they are found.

    Raises:
        ConsultationError: It is neither a page nor a table by its ending, or cannot be made.
    """
    if path.suffix not in (".csv", ".html"):
        raise ConsultationError(f"{path}: name a file that ends in .html (a page) or .csv (a table).")
    check_new_file(path)


def write_differences(path: Path, names: tuple[str, str], chapters: Sequence[Chapter]) -> None:
    """Write all differences as a page or as a table for spreadsheets, by the file's ending.

    In the table each chapter begins with a row that has its sentence on the whole as the note.
    """
    if path.suffix == ".html":
        write_file(path, render_differences(names, chapters))
        return
    rows = [
        [spreadsheet_cell(cell) for cell in (chapter.name, each.subject, each.first, each.second, each.note)]
        for chapter in chapters
        for each in (Difference("", "", "", chapter.lead), *chapter.differences)
    ]
    write_file(path, csv_text(["chapter", "what", "first", "second", "note"], rows))
