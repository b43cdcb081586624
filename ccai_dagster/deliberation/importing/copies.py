"""Copies of people's files that hold what an import reads and nothing else: no personal code, no column unread.

A file that holds nothing else is copied byte for byte, so that an export keeps its digest. In a plain table the ids of
participants that are no numbers, which may be addresses or codes of a panel, become the numbers that the import gives
them.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.text import printable
from ccai_dagster.deliberation.importing.bodies import BODY, read_bodies
from ccai_dagster.deliberation.importing.cells import whole_numbers
from ccai_dagster.deliberation.importing.columns import (
    ROW,
    SourceFile,
    VoteFiles,
    decoded,
    json_list,
    plain_name,
    read_header,
    read_text_csv,
)
from ccai_dagster.deliberation.importing.demographics import DEMOGRAPHICS
from ccai_dagster.deliberation.importing.group_counts import NOBODY, PLAIN_STATEMENTS, columns_of_counts
from ccai_dagster.deliberation.importing.long_table import (
    STATEMENT_COLUMNS,
    VOTE_COLUMNS,
    Numbering,
    PlainTable,
    names_of,
    numbered,
    read_plain_table,
)
from ccai_dagster.deliberation.importing.moderation_mode import CONVERSATION, STRICT, read_stated_mode
from ccai_dagster.deliberation.importing.noted import Noted
from ccai_dagster.deliberation.importing.polis import COMMENT_ALIASES, MATRIX_ALIASES, VOTE_ALIASES, is_read
from ccai_dagster.deliberation.importing.read_votes import ROLES, find_vote_files, form_of, plain_files
from ccai_dagster.deliberation.importing.wide_table import people_of, read_wide_table

ALIASES = {"comments": COMMENT_ALIASES, "votes": VOTE_ALIASES, "matrix": MATRIX_ALIASES}
ID = re.compile(r"\s*-?\d*([.,]0*)?\s*")
PERSON = {"comments": "author-id", "votes": "voter-id", "matrix": "participant"}
"""Column of each file of Polis with the numbers of people; in place of one an address or a code may stand."""


def copy_without_codes(found: VoteFiles, folder: Path, values: Mapping[str, str] | None = None) -> list[str]:
    """Copy the files that an import reads, under the names that tell what they are for, and of them what it reads.

    Args:
        folder: It is made.
        values: What votes mean, by which the columns of a table of one row a person are known.

    Returns:
        `file: column` of everything that was left out, and what became of ids.

    Raises:
        ConsultationError: A file is not readable.
    """
    folder.mkdir(parents=True)
    form = form_of(found)
    if form == "polis":
        copied = {role: file for role, file in found.files.items() if role != CONVERSATION}
        left = [line for role, file in copied.items() for line in _copy_polis_file(role, file, folder)]
    elif form == "counts":
        left = _copy_counts(found, folder)
    elif form == "long":
        left = _copy_long_table(plain_files(found), folder)
    else:
        left = _copy_wide_table(plain_files(found), folder, values or {})
    if conversation := found.files.get(CONVERSATION):
        left.append(_copy_conversation(conversation, folder))
    return left


def _copy_conversation(file: SourceFile, folder: Path) -> str:
    """Copy the mode of moderation and nothing else: beside it stand who owns the conversation and how it looks."""
    mode = read_stated_mode(file)
    if mode is None:
        return file.name
    (folder / "conversation.json").write_text(json.dumps({STRICT: mode == "strict"}) + "\n", encoding="utf-8")
    return f"{file.name}: all but {STRICT}"


def _copy_polis_file(role: str, file: SourceFile, folder: Path) -> list[str]:
    if role == DEMOGRAPHICS:  # which of its columns are read, consultation.yaml will say
        return [file.name]
    path = folder / _plain_file_name(role, file)
    unread = _unread(role, file)
    if not unread:
        _copy(file, path)
    else:
        path.write_text(_without(role, file, emptied=False), encoding="utf-8")
    return [f"{file.name}: {name}" for name in unread]


def empty_unread_cells(folder: Path) -> None:
    """Empty every cell of a downloaded Polis export that no import needs, above all personal codes.

    A file without such cells keeps its bytes, so that the export keeps its digest. The headings stay, since the import
    report names columns that are not read.

    Raises:
        ConsultationError: No export is there, or a file is not readable as CSV.
    """
    for role, file in find_vote_files(folder).files.items():
        if role not in (DEMOGRAPHICS, CONVERSATION) and isinstance(file.content, Path) and _unread(role, file):
            file.content.write_text(_without(role, file, emptied=True), encoding="utf-8")


def _unread(role: str, file: SourceFile) -> list[str]:
    """The columns, or the lines of summary.csv, that no import needs; and ids of people that are none in Polis."""
    if file.is_empty():
        return []
    if role == "summary":
        names = [plain_name(row[0], {}) for row in csv.reader(io.StringIO(decoded(file))) if row]
        return [name for name in names if name and not is_read(role, name)]
    header = read_header(file, ALIASES.get(role))
    unread = [name or "a column without a name" for name in header.names if name is None or not is_read(role, name)]
    person = PERSON.get(role)
    if person is None or person not in header.named:
        return unread
    if role == "comments":
        ids = read_bodies(file, COMMENT_ALIASES, Noted()).table[person]
    else:
        ids = read_text_csv(file, Noted(), ALIASES[role], lambda name: name == person)[person]
    codes = whole_numbers(ids).null_count() - ids.null_count()
    return [*unread, f"{person} where it is no number ({codes:,})"] if codes else unread


def _without(role: str, file: SourceFile, emptied: bool) -> str:
    """The text of a file without what no import needs; columns are emptied or left out, lines left out."""
    text = decoded(file)
    if role == "summary":
        lines = [row for row in csv.reader(io.StringIO(text)) if row and is_read(role, plain_name(row[0], {}))]
        return _written(lines, ",")
    header = read_header(file, ALIASES.get(role))
    read = [name is not None and is_read(role, name) for name in header.names]
    person = [name is not None and name == PERSON.get(role) for name in header.names]

    def kept(row: Sequence[str]) -> list[str]:
        cells = ["" if coded and not ID.fullmatch(cell) else cell for cell, coded in zip(row, person, strict=False)]
        if emptied:
            return [cell if wanted else "" for cell, wanted in zip(cells, read, strict=False)]
        return [cell for cell, wanted in zip(cells, read, strict=False) if wanted]

    headings = [each for each, wanted in zip(header.headings, read, strict=True) if wanted or emptied]
    if role == "comments" and not (bodies := read_bodies(file, {}, Noted())).quoted:
        rows = bodies.table.drop(ROW).fill_null("").rows()
        return "".join(f"{header.separator.join(row)}\n" for row in (headings, *(kept(row) for row in rows)))
    try:
        rows_read = csv.reader(io.StringIO(text.split("\n", header.above)[-1], newline=""), delimiter=header.separator)
        next(rows_read)
        return _written([headings, *(kept(row) for row in rows_read if any(row))], header.separator)
    except csv.Error as error:
        raise ConsultationError(f"{file.place}: not readable as CSV ({error}). Export it again.") from error


def _written(rows: list[list[str]], separator: str) -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=separator, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _copy_counts(found: VoteFiles, folder: Path) -> list[str]:
    source, columns = columns_of_counts(found)
    names = read_header(source).names
    unread = [name or "a column without a name" for name in names if name not in columns.names]
    if unread:
        table = read_text_csv(source, Noted(), wanted=lambda name: name in columns.names)
        table.drop(ROW).write_csv(folder / "comment-groups.csv")
    else:
        _copy(source, folder / "comment-groups.csv")
    left = [f"{source.name}: {name}" for name in unread]
    listing = found.files.get("statements") or found.files.get("comments")
    if listing is None:
        return left
    if BODY in names_of(listing):
        return left + _copy_polis_file("comments", listing, folder)
    return left + _copy_plain_table("statements", read_plain_table(listing, PLAIN_STATEMENTS, Noted()), NOBODY, folder)


def _copy_long_table(found: VoteFiles, folder: Path) -> list[str]:
    source, listing = found.files["votes"], found.files.get("statements")
    roles = VOTE_COLUMNS if listing is not None else (*VOTE_COLUMNS, "text")
    cast = read_plain_table(source, roles, Noted())
    people = numbered(cast, "participant")
    left = _copy_plain_table("votes", cast, people, folder)
    if listing is not None:
        left += _copy_plain_table("statements", read_plain_table(listing, STATEMENT_COLUMNS, Noted()), people, folder)
    return left


def _copy_plain_table(role: str, read: PlainTable, people: Numbering, folder: Path) -> list[str]:
    """Write the columns of a table that are read, under their plain names, with numbers for people."""
    person = "participant" if role == "votes" else "author"
    coded = person in read.table.columns and not people.given
    beside = [printable(name) for name in json_list(read.file).beside] if read.file.ending == "json" else []
    if not read.unread and not beside and not coded and len(names_of(read.file)) == len(read.columns):
        _copy(read.file, folder / _plain_file_name(role, read.file))
        return []
    table = read.table.select(list(read.columns))
    if coded:
        table = table.with_columns(people.of(table[person].str.strip_chars()).alias(person))
    if read.file.ending == "parquet":
        table.write_parquet(folder / f"{role}.parquet")
    else:
        table.write_csv(folder / f"{role}.csv")
    left = [f"{read.file.name}: {name}" for name in [*read.unread, *beside]]
    return left + ([_numbered(read.file, person)] if coded else [])


def _copy_wide_table(found: VoteFiles, folder: Path, values: Mapping[str, str]) -> list[str]:
    source, listing = found.files["votes"], found.files.get("statements")
    wide = read_wide_table(source, values, Noted())
    if wide is None:
        raise ConsultationError(f"{source.place}: no columns with votes.")
    people = people_of(wide)
    if people.given and not wide.unread and None not in read_header(source).names:
        _copy(source, folder / _plain_file_name("votes", source))
        left = []
    else:
        table = wide.table.select(list(wide.statements)).rename(dict(wide.statements))
        if wide.person:
            numbers = people.of(wide.table[wide.person].str.strip_chars())
            table = table.insert_column(0, numbers.alias("participant"))
        table.write_csv(folder / "votes.csv")
        left = [f"{source.name}: {name}" for name in wide.unread]
        left += [] if people.given or not wide.person else [_numbered(source, wide.person)]
    if listing is not None:
        known = read_plain_table(listing, STATEMENT_COLUMNS, Noted())
        left += _copy_plain_table("statements", known, people, folder)
    return left


def _numbered(file: SourceFile, column: str) -> str:
    return f"{file.name}: {column} (numbers stand in place of ids)"


def _copy(file: SourceFile, path: Path) -> None:
    with file.open() as source:
        path.write_bytes(source.read())


def _plain_file_name(role: str, file: SourceFile) -> str:
    """The shortest name a file of this role and kind may have: without what a download put before it."""
    names = [name for name, each in ROLES.items() if each == role]
    alike = [name for name in names if name.endswith(f".{file.ending}")] or [name for name in names if ".csv" in name]
    return next((name for name in alike if file.name.lower().endswith(name)), alike[0])
