"""The file of drafted prompts in the consultation folder, and how a draft gets into the prompt database.

No stage reads the drafts. Both files keep every byte of the rows that stay, and are replaced as a whole or not at
all. What is drafted is in `prompt_drafts`; the record of who accepted a draft is a row of the training ledger, and
writing it is for the command.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ccai_dagster.core.files import check_new_id, csv_rows, lock_beside, write_file, written_alone
from ccai_dagster.core.text import FORMULA
from ccai_dagster.digest import text_digest
from ccai_dagster.errors import ConsultationError
from ccai_dagster.feedback.prompt_drafts import Draft
from ccai_dagster.feedback.prompts import PROMPT_HEADER, check_prompt

FILE_NAME = "prompts_drafted.csv"
DRAFT_HEADER = (*PROMPT_HEADER, "principle", "drafted_by", "draft_digest")


@dataclass(frozen=True)
class WaitingDraft:
    """A row of the file of drafts, perhaps changed by a person since it was drafted.

    Attributes:
        where: File and line.
        cells: Cells by column name.
    """

    where: str
    cells: Mapping[str, str]

    @property
    def changed(self) -> bool:
        """Whether somebody has changed the text since it was drafted."""
        return text_digest(self.cells["text"]) != self.cells["draft_digest"]


def read_drafts(path: Path) -> dict[str, WaitingDraft]:
    """Read the drafts that wait, by id; none if there is no file.

    Raises:
        ConsultationError: Another header, a row with other cells, an empty or doubled id; names the line.
    """
    if not path.exists():
        return {}
    first_line: dict[str, int] = {}
    drafts = {}
    for line, row in csv_rows(path, DRAFT_HEADER):
        where = f"{path}, line {line}"
        check_new_id(where, "prompt_id", row["prompt_id"], line, first_line)
        drafts[row["prompt_id"]] = WaitingDraft(where, row)
    return drafts


def add_drafts(path: Path, drafts: Sequence[Draft]) -> None:
    """Add drafts to the file, and make it if there is none.

    Raises:
        ConsultationError: The file cannot be read or written, or an id stands in it; it is then unchanged.
    """
    rows = [
        [
            each.wanted.prompt_id, each.text, each.wanted.purpose, " ".join(each.wanted.themes), each.wanted.principle,
            each.drafted_by, each.digest,
        ]
        for each in drafts
    ]  # fmt: skip
    with written_alone(path, lock_beside(path)):
        present = read_drafts(path)
        if doubled := [row[0] for row in rows if row[0] in present]:
            raise ConsultationError(
                f"{present[doubled[0]].where}: `prompt_id` {doubled[0]} is there already."
            )
        old = path.read_bytes() if path.exists() else _appended(b"", [DRAFT_HEADER])
        write_file(path, _appended(old, rows))


def checked_drafts(
    path: Path,
    ids: Collection[str],
    themes: Path,
    words: Mapping[str, tuple[str, ...]],
    arms: Collection[str],
) -> list[WaitingDraft]:
    """Return the drafts with these ids, each of them fit for the prompt database.

    Args:
        path: The file of drafts.
        ids: Which ones.
        themes: The file that the themes are in, for messages.
        words: Words of each theme.
        arms: Names of the arms.

    Raises:
        ConsultationError: No such draft, or one without text, with an unknown purpose or theme, or with a text that
            a spreadsheet would compute.
    """
    drafts = read_drafts(path)
    if unknown := [each for each in ids if each not in drafts]:
        waiting = f"there are {', '.join(sorted(drafts)[:20])}" if drafts else "no draft waits there"
        raise ConsultationError(f"{path}: no draft {', '.join(unknown)}; {waiting}.")
    chosen = [drafts[each] for each in dict.fromkeys(ids)]
    for draft in chosen:
        check_prompt(draft.where, draft.cells, themes, words, arms)
        if FORMULA.match(draft.cells["text"]):
            raise ConsultationError(
                f"{draft.where}: the text begins like a formula, which spreadsheets would compute; begin with a letter."
            )
    return chosen


def new_prompts(path: Path, drafts: Iterable[WaitingDraft]) -> list[list[str]]:
    """Return the rows that accepting drafts adds to the prompt database: all but what stands there word for word.

    Raises:
        ConsultationError: The file cannot be read, or another prompt has the id.
    """
    present = {row["prompt_id"]: row for _, row in csv_rows(path, PROMPT_HEADER)}
    rows = []
    for draft in drafts:
        cells = {name: draft.cells[name] for name in PROMPT_HEADER}
        known = present.get(cells["prompt_id"])
        if known is not None and known != cells:
            raise ConsultationError(
                f"{path}: another prompt has the id {cells['prompt_id']}. Give the draft another one ({draft.where})."
            )
        if known is None:
            rows.append(list(cells.values()))
    return rows


def add_prompts(path: Path, drafts: Iterable[WaitingDraft]) -> list[str]:
    """Add accepted drafts to the prompt database and return the ids that were not there yet.

    Raises:
        ConsultationError: As `new_prompts`, or the file cannot be written; it is then unchanged.
    """
    with written_alone(path, lock_beside(path)):
        rows = new_prompts(path, drafts)
        if rows:
            write_file(path, _appended(path.read_bytes(), rows))
    return [row[0] for row in rows]


def remove_drafts(path: Path, ids: Collection[str]) -> None:
    """Take drafts out of the file; the other rows are kept byte for byte.

    Raises:
        ConsultationError: The file cannot be read or written; it is then unchanged.
    """
    with written_alone(path, lock_beside(path)):
        gone = {each for each in read_drafts(path) if each in ids}
        kept = [record for key, record in _records(path.read_bytes().decode()) if key not in gone]
        write_file(path, "".join(kept))


def _records(content: str) -> Iterator[tuple[str, str]]:
    """Yield the first cell of each record of a CSV, and the record as it is written, over several lines perhaps."""
    lines = list(io.StringIO(content, newline=""))
    reader, read = csv.reader(lines), 0
    for cells in reader:
        yield cells[0] if cells else "", "".join(lines[read : reader.line_num])
        read = reader.line_num


def _appended(old: bytes, rows: Iterable[Sequence[str]]) -> bytes:
    """Add rows to the content of a CSV, with the line ends it has."""
    end = "\r\n" if b"\r\n" in old else "\n"
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator=end).writerows(rows)
    missing = b"" if old.endswith(b"\n") or not old else end.encode()
    return old + missing + buffer.getvalue().encode()
