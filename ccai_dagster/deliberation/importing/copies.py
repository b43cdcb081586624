"""Copies of people's files that hold what an import reads and nothing else: no personal code, no column unread.

A file that holds nothing else is copied byte for byte, so that an export keeps its digest. Ids of participants that are
no numbers, which may be addresses or codes of a panel, become the numbers that the import gives them; one without a
number is left out. So is what stands above the header.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

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
    PlainTable,
    names_of,
    read_plain_table,
)
from ccai_dagster.deliberation.importing.moderation_mode import CONVERSATION, STRICT, read_stated_mode
from ccai_dagster.deliberation.importing.noted import Noted
from ccai_dagster.deliberation.importing.numbering import ADDRESS, Numbering, numbered
from ccai_dagster.deliberation.importing.polis import (
    COMMENT_ALIASES,
    MATRIX_ALIASES,
    VOTE_ALIASES,
    is_read,
    numbers_of_people,
)
from ccai_dagster.deliberation.importing.read_votes import ROLES, find_vote_files, form_of, plain_files
from ccai_dagster.deliberation.importing.vote_values import vote_column
from ccai_dagster.deliberation.importing.wide_table import people_of, read_wide_table

ALIASES = {"comments": COMMENT_ALIASES, "votes": VOTE_ALIASES, "matrix": MATRIX_ALIASES}
ID = re.compile(r"\s*-?(\d*([.,]0*)?|\d{1,3}([.,\s'’]\d{3})+)\s*")
ABOVE = "lines above the header"
NUMBERED = "numbers stand in place of ids"
PERSON = {"comments": "author-id", "votes": "voter-id", "matrix": "participant"}
"""Column of each file of Polis with the numbers of people; in place of one an address or a code may stand."""


def copy_without_codes(found: VoteFiles, folder: Path, values: Mapping[str, str] | None = None) -> list[str]:
    """Copy the files that an import reads, under the names that tell what they are for, and of them what it reads.

    Args:
        folder: It is made.
        values: What votes mean, by which columns with votes, and who cast one, are known.

    Returns:
        `file: column` of everything that was left out, and what became of ids.

    Raises:
        ConsultationError: A file is not readable.
    """
    folder.mkdir(parents=True)
    form = form_of(found)
    if form == "polis":
        people = numbers_of_people(found) or NOBODY
        copied = {role: file for role, file in found.files.items() if role != CONVERSATION}
        left = [line for role, file in copied.items() for line in _copy_polis_file(role, file, folder, people)]
    elif form == "counts":
        left = _copy_counts(found, folder)
    elif form == "long":
        left = _copy_long_table(plain_files(found), folder, values or {})
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


def _copy_polis_file(role: str, file: SourceFile, folder: Path, people: Numbering) -> list[str]:
    if role == DEMOGRAPHICS:  # which of its columns are read, consultation.yaml will say
        return [file.name]
    path = folder / _plain_file_name(role, file)
    unread = _unread(role, file, people)
    if not unread:
        _copy(file, path)
    else:
        path.write_text(_without(role, file, people, emptied=False), encoding="utf-8")
    return [f"{file.name}: {name}" for name in unread]


def empty_unread_cells(folder: Path) -> None:
    """Empty every cell of a downloaded Polis export that no import needs, above all personal codes.

    A file without such cells keeps its bytes, so that the export keeps its digest. The headings stay, since the import
    report names columns that are not read.

    Raises:
        ConsultationError: No export is there, or a file is not readable as CSV.
    """
    found = find_vote_files(folder)
    people = numbers_of_people(found) or NOBODY
    changed = {
        file.content: _without(role, file, people, emptied=True)
        for role, file in found.files.items()
        if role not in (DEMOGRAPHICS, CONVERSATION) and isinstance(file.content, Path) and _unread(role, file, people)
    }
    for path, text in changed.items():
        path.write_text(text, encoding="utf-8")


def _unread(role: str, file: SourceFile, people: Numbering) -> list[str]:
    """The columns, or the lines of summary.csv, that no import needs; ids of people that are none; lines of a title."""
    if file.is_empty():
        return []
    if role == "summary":
        names = [plain_name(row[0], {}) for row in csv.reader(io.StringIO(decoded(file))) if row]
        return [name for name in names if name and not is_read(role, name)]
    header = read_header(file, ALIASES.get(role))
    unread = [name or "a column without a name" for name in header.names if name is None or not is_read(role, name)]
    unread += _title(file)
    person = PERSON.get(role)
    if person is None or person not in header.named:
        return unread
    if role == "comments":
        table = read_bodies(file, COMMENT_ALIASES, Noted()).table
    else:
        table = read_text_csv(file, Noted(), ALIASES[role], lambda name: is_read(role, name))
    table = table.select(name for name in table.columns if is_read(role, name))
    codes = whole_numbers(table[person]).null_count() - table[person].null_count()
    unread += [_coded(person, people, codes)] if codes or not people.given else []
    return unread + _without_addresses(table, person, BODY)[1]


def _without_addresses(table: pl.DataFrame, *apart: str) -> tuple[pl.DataFrame, list[str]]:
    """Empty cells with addresses, in rows that are out of place, in all columns but some; and name them."""
    left = []
    for name in (name for name, kind in table.schema.items() if kind == pl.String and name not in apart):
        # A text that stands where the id of a statement would may have the sign in it.
        address = table[name].str.contains(ADDRESS if name == "statement" else "@").fill_null(False)
        if address.any():
            table = table.with_columns(table[name].set(address, None))
            left.append(f"{name} where there is an address ({int(address.sum()):,})")
    return table, left


def _without(role: str, file: SourceFile, people: Numbering, emptied: bool) -> str:
    """The text of a file without what no import needs; columns are emptied or left out, lines left out."""
    numbers = {} if people.given else {code: str(number) for code, number in people.table.iter_rows()}
    text = decoded(file)
    if role == "summary":
        lines = [row for row in csv.reader(io.StringIO(text)) if row and is_read(role, plain_name(row[0], {}))]
        return _written(lines, ",")
    header = read_header(file, ALIASES.get(role))
    read = [name is not None and is_read(role, name) for name in header.names]

    def kept(row: Sequence[str]) -> list[str]:
        cells = [
            _id(cell, people, numbers) if name == PERSON.get(role) else "" if "@" in cell and name != BODY else cell
            for cell, name in zip(row, header.names, strict=False)
        ]
        if emptied:
            return [cell if wanted else "" for cell, wanted in zip(cells, read, strict=False)]
        return [cell for cell, wanted in zip(cells, read, strict=False) if wanted]

    headings = [each for each, wanted in zip(header.headings, read, strict=True) if wanted or emptied]
    if role == "comments" and not (bodies := read_bodies(file, {}, Noted())).quoted:
        rows = bodies.table.drop(ROW).fill_null("").rows()
        return "".join(f"{header.separator.join(row)}\n" for row in (headings, *(kept(row) for row in rows)))
    try:
        rows_read = csv.reader(io.StringIO(text.split("\n", header.above)[-1], newline=""), delimiter=header.separator)
        again = next(rows_read)
        return _written([headings, *(kept(row) for row in rows_read if any(row) and row != again)], header.separator)
    except csv.Error as error:
        raise ConsultationError(f"{file.place}: not readable as CSV ({error}). Export it again.") from error


def _id(cell: str, people: Numbering, numbers: Mapping[str, str]) -> str:
    """What a copy has in place of an id."""
    if people.given:
        return cell if ID.fullmatch(cell) else ""
    code = cell.strip()
    return numbers.get(code.lower() if "@" in code else code, "")


def _coded(column: str, people: Numbering, codes: int) -> str:
    """Say what became of ids that are no numbers."""
    return f"{column} where it is no number ({codes:,})" if people.given else f"{column} ({NUMBERED})"


def _written(rows: list[list[str]], separator: str) -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=separator, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _copy_counts(found: VoteFiles, folder: Path) -> list[str]:
    source, columns = columns_of_counts(found)
    names = read_header(source).names
    unread = [name or "a column without a name" for name in names if name not in columns.names]
    unread += _title(source)
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
        return left + _copy_polis_file("comments", listing, folder, NOBODY)
    return left + _copy_plain_table("statements", read_plain_table(listing, PLAIN_STATEMENTS, Noted()), NOBODY, folder)


def _copy_long_table(found: VoteFiles, folder: Path, values: Mapping[str, str]) -> list[str]:
    source, listing = found.files["votes"], found.files.get("statements")
    roles = VOTE_COLUMNS if listing is not None else (*VOTE_COLUMNS, "text")
    cast = read_plain_table(source, roles, Noted())
    people = numbered(cast.table, "participant", vote_column(cast.table["vote"], values).cast)
    left = _copy_plain_table("votes", cast, people, folder)
    if listing is not None:
        left += _copy_plain_table("statements", read_plain_table(listing, STATEMENT_COLUMNS, Noted()), people, folder)
    return left


def _copy_plain_table(role: str, read: PlainTable, people: Numbering, folder: Path) -> list[str]:
    """Write the columns of a table that are read, under their plain names, with numbers for people."""
    person = "participant" if role == "votes" else "author"
    table, left = read.table.select(list(read.columns)), [*read.unread, *_title(read.file)]
    if person in table.columns:
        codes = whole_numbers(table[person]).null_count() - table[person].null_count()
        if codes or not people.given:
            table = table.with_columns(people.of_cells(table[person]).alias(person))
            left.append(_coded(person, people, codes))
    table, emptied = _without_addresses(table, person, "text")
    left += emptied
    if read.file.ending == "json":
        left += [printable(name) for name in json_list(read.file).beside]
    if not left and len(names_of(read.file)) == len(read.columns):
        _copy(read.file, folder / _plain_file_name(role, read.file))
    elif read.file.ending == "parquet":
        table.write_parquet(folder / f"{role}.parquet")
    else:
        table.write_csv(folder / f"{role}.csv")
    return [f"{read.file.name}: {name}" for name in left]


def _copy_wide_table(found: VoteFiles, folder: Path, values: Mapping[str, str]) -> list[str]:
    source, listing = found.files["votes"], found.files.get("statements")
    wide = read_wide_table(source, values, Noted())
    if wide is None:
        raise ConsultationError(f"{source.place}: no columns with votes.")
    people = people_of(wide)
    table, emptied = _without_addresses(wide.table.select(list(wide.statements)))
    table, left = table.rename(dict(wide.statements)), [*wide.unread, *_title(source), *emptied]
    if wide.person:
        cells = wide.table[wide.person]
        codes = whole_numbers(cells).null_count() - cells.null_count()
        if codes or not people.given:
            left.append(_coded(wide.person, people, codes))
        table = table.insert_column(0, people.of_cells(cells).alias("participant"))
    if left or None in read_header(source).names:
        table.write_csv(folder / "votes.csv")
    else:
        _copy(source, folder / _plain_file_name("votes", source))
    left = [f"{source.name}: {name}" for name in left]
    if listing is not None:
        known = read_plain_table(listing, STATEMENT_COLUMNS, Noted())
        left += _copy_plain_table("statements", known, people, folder)
    return left


def _title(file: SourceFile) -> list[str]:
    """Name what stands above the header of a table, if something does."""
    return [ABOVE] if file.ending not in ("parquet", "json") and read_header(file).above else []


def _copy(file: SourceFile, path: Path) -> None:
    with file.open() as source:
        path.write_bytes(source.read())


def _plain_file_name(role: str, file: SourceFile) -> str:
    """The shortest name a file of this role and kind may have: without what a download put before it."""
    names = [name for name, each in ROLES.items() if each == role]
    alike = [name for name in names if name.endswith(f".{file.ending}")] or [name for name in names if ".csv" in name]
    return next((name for name in alike if file.name.lower().endswith(name)), alike[0])
