"""Plain files: read as UTF-8, row by row, and written whole or not at all, by one process at a time.

What a file means is known to the module that writes it: ledgers, prompts, ratings, tables, models, pages.
"""

from __future__ import annotations

import csv
import errno
import glob
import io
import os
import platform
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from filelock import FileLock, Timeout

from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.schema_version import SCHEMA_VERSION, check_schema_version

if TYPE_CHECKING:
    import polars as pl

LOCK_SECONDS = 30
SCHEMA_ENTRY = "ccai_schema_version"
"""Entry in the metadata of a Parquet file, which is no part of a table's content and so of its digest."""
SECONDS_BETWEEN_TRIES = 1.0
UNFINISHED = ".unfinished"
"""End of the name of what is being written; what a killed process left is removed by the next that writes there."""

DISK_FULL = "the disk is full. Make room and run again; what was made before stands."
NOT_WRITABLE = "cannot be written. Get the right to write there, or name another folder; results are kept in CCAI_HOME."
_FILE = "a file, where a folder is needed. Move it away, or name another folder; results are kept in CCAI_HOME."
_FOLDER = "a folder, where a file is needed. Move it away and run again."
_SENTENCES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), DISK_FULL),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), NOT_WRITABLE),
    **dict.fromkeys((errno.EEXIST, errno.ENOTDIR), _FILE),
    errno.EISDIR: _FOLDER,
}
"""What a person is told by the number of an error, after the name of the file."""


@contextmanager
def disk_errors(place: Path | None = None) -> Iterator[None]:
    """Tell in a sentence what the disk does not do.

    Args:
        place: Where, if the error does not tell.

    Raises:
        ConsultationError: The disk is full, nothing can be written there, or something is in the way.
    """
    try:
        yield
    except OSError as error:
        found = error.filename2 or error.filename or place
        if error.errno not in _SENTENCES or found is None:
            raise
        raise ConsultationError(f"{found}: {_SENTENCES[error.errno]}") from error


@contextmanager
def written_alone(place: Path, lock: Path, outcome: str = "nothing was changed") -> Iterator[None]:
    """Let nobody else write meanwhile.

    Args:
        place: File or folder that is written, for messages.
        outcome: What a failure left, for messages.

    Raises:
        ConsultationError: Another process holds the lock for `LOCK_SECONDS`, or something cannot be written.
    """
    try:
        with FileLock(lock, timeout=LOCK_SECONDS):
            yield
    except Timeout as error:
        raise ConsultationError(
            f"{place}: another process has been writing for {LOCK_SECONDS} s; {outcome}. Try again."
        ) from error
    except OSError as error:
        raise ConsultationError(f"{place}: cannot be written ({error.strerror}); {outcome}.") from error


@contextmanager
def held(lock: Path, holder: str, busy: Callable[[str], None]) -> Iterator[None]:
    """Hold a lock for as long as the block runs; a process that dies lets go of it, whatever killed it.

    Args:
        lock: Its file, in a folder that exists.
        holder: Who holds it from now on, for those who wait.
        busy: Called each second with who holds it, for as long as somebody else does; raises to give up.
    """
    own = FileLock(lock)
    patience = 0.0
    while True:
        try:
            own.acquire(timeout=patience)
            break
        except Timeout:
            busy(holder_of(lock) or "another process")
            patience = SECONDS_BETWEEN_TRIES
    try:
        write_file(_note(lock), holder)
        yield
    finally:
        _note(lock).unlink(missing_ok=True)
        own.release()


def holder_of(lock: Path) -> str | None:
    """Return who holds a lock of `held`; None if nobody does."""
    try:
        with FileLock(lock, timeout=0):
            return None
    except Timeout:
        try:
            return _note(lock).read_text(encoding="utf-8")
        except FileNotFoundError:  # between taking the lock and saying so
            return "another process"


def _note(lock: Path) -> Path:
    return lock.with_suffix(".holder")


def lock_beside(path: Path) -> Path:
    """Return the lock file of a file."""
    return path.with_name(f".{path.name}.lock")


def csv_text(header: Sequence[object] | None, rows: Iterable[Sequence[object]]) -> str:
    """Return rows as CSV, after a header if there is one."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if header is not None:
        writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def check_new_file(path: Path) -> None:
    """Check, before anything is made for it, that a file can be written where nothing is yet.

    Raises:
        ConsultationError: There is something, or the folder is missing or cannot be written to.
    """
    if path.exists():
        raise ConsultationError(f"{path}: is there already; name a new file.")
    if not path.resolve().parent.is_dir():
        raise ConsultationError(f"{path}: the folder {path.parent} does not exist; make it first.")
    if not os.access(path.resolve().parent, os.W_OK):
        raise ConsultationError(f"{path}: the folder {path.parent} cannot be written to.")


def write_file(path: Path, content: str | bytes | Callable[[IO[bytes]], object]) -> None:
    """Write a file whole or not at all; it is on the disk when it gets its name, and keeps the rights it had.

    Args:
        path: In a folder that exists. Who writes what others write too holds its lock.
        content: Text is written as UTF-8; a function is called with the open file.
    """
    unfinished = _unfinished(path)
    try:
        with unfinished.open("wb") as handle:
            if callable(content):
                content(handle)
            else:
                handle.write(content.encode() if isinstance(content, str) else content)
            handle.flush()
            os.fsync(handle.fileno())
        if path.exists():
            shutil.copymode(path, unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder to fill, which gets the name `folder` at the end, or goes if an error is raised.

    What has that name then must be an empty folder or nothing.
    """
    unfinished = _unfinished(folder)
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        unfinished.replace(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _unfinished(place: Path) -> Path:
    """Return the name under which this process writes, and remove what killed processes left."""
    # The same number may be another process's on another machine, or in another container, that shares the disk.
    prefix = f".{place.name}.{platform.node()}."
    for left_behind in place.parent.glob(f"{glob.escape(prefix)}*{UNFINISHED}"):
        process = left_behind.name.removesuffix(UNFINISHED).removeprefix(prefix)
        if process != str(os.getpid()) and _runs(process):
            continue
        if left_behind.is_dir():
            shutil.rmtree(left_behind, ignore_errors=True)
        else:
            left_behind.unlink(missing_ok=True)
    return place.with_name(f"{prefix}{os.getpid()}{UNFINISHED}")


def _runs(process: str) -> bool:
    import psutil

    return process.isdecimal() and psutil.pid_exists(int(process))


def read_table(path: Path, columns: Sequence[str] | None = None) -> pl.DataFrame | None:
    """Read a finished table, or some of its columns; None if it was not made yet.

    Raises:
        ConsultationError: The file is damaged, or a later version of this program wrote it.
    """
    try:
        return parsed_table(path.read_bytes(), path, columns)
    except FileNotFoundError:
        return None


def parsed_table(content: bytes, path: object, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """Read a table from the bytes of its file; `path` is for messages. Raises what `read_table` does."""
    import polars as pl

    try:
        check_schema_version(path, pl.read_parquet_metadata(io.BytesIO(content)).get(SCHEMA_ENTRY))
        return pl.read_parquet(io.BytesIO(content), columns=list(columns) if columns else None)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise ConsultationError(
            f"{path}: not readable as a table ({str(error).splitlines()[0]}). `ccai run` makes it again."
        ) from error


def table_content(table: pl.DataFrame) -> bytes:
    """Return the bytes of the file of a table, which are the same for the same table."""
    content = io.BytesIO()
    table.write_parquet(content, compression="zstd", metadata={SCHEMA_ENTRY: str(SCHEMA_VERSION)})
    return content.getvalue()


def check_new_id(where: str, name: str, value: str, line: int, first_line: dict[str, int]) -> None:
    """Refuse an id that is empty, has spaces or was on an earlier line already, and remember its line.

    Args:
        where: File and line, for the message.
        name: Of the column.
        first_line: Ids seen so far, with their lines; the new one is added.
    """
    if not value or value.split() != [value]:
        raise ConsultationError(f"{where}: `{name}` {value!r} must be one word without spaces.")
    if value in first_line:
        raise ConsultationError(
            f"{where}: `{name}` {value!r} is already used on line {first_line[value]}. Give it another one."
        )
    first_line[value] = line


def csv_rows(path: Path, header: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a CSV with exactly this header, each with its first line and its cells by name.

    Raises:
        ConsultationError: The file cannot be read, has another header, or a row with more or fewer cells.
    """
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        found = next(reader, [])
        if tuple(found) != header:
            raise ConsultationError(f"{path}, line 1: the header must be {','.join(header)}, found {','.join(found)}.")
        line = reader.line_num + 1
        for cells in reader:
            if cells:
                if len(cells) != len(header):
                    raise ConsultationError(
                        f"{path}, line {line}: expected {len(header)} cells, found {len(cells)}. "
                        "A cell with a comma needs double quotes around it."
                    )
                yield line, dict(zip(header, cells, strict=True))
            line = reader.line_num + 1
    except csv.Error as error:
        raise ConsultationError(f"{path}, line {reader.line_num}: not readable as CSV: {error}.") from error


def write_sheet(path: Path, text: str) -> None:
    """Write a new CSV file for a spreadsheet, with a mark at its beginning by which that knows that it is UTF-8.

    Raises:
        ConsultationError: It is there already, or cannot be written.
    """
    try:
        with path.open("x", encoding="utf-8-sig", newline="") as handle:
            handle.write(text)
    except FileExistsError as error:
        raise ConsultationError(f"{path}: exists already and may hold decisions; name another file.") from error
    except OSError as error:
        raise ConsultationError(f"{path}: cannot be written ({error.strerror}).") from error


def sheet_rows(path: Path, needed: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield row number (the header being row 1) and cells by column of a spreadsheet's CSV, empty lines left out.

    Cells are separated by commas, by semicolons as where a comma is the decimal sign, or by tabs.

    Args:
        path: A CSV file in UTF-8, with any columns.
        needed: Columns it must have.

    Raises:
        ConsultationError: The file is missing, not readable, or lacks a column or a cell.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise ConsultationError(f"{path}: not found.") from error
    except UnicodeDecodeError as error:
        raise ConsultationError(f"{path}: not UTF-8; save it as CSV in UTF-8.") from error
    except OSError as error:
        raise ConsultationError(f"{path}: cannot be read ({error.strerror}).") from error
    try:
        first = text.partition("\n")[0]
        separator = max((",", ";", "\t"), key=first.count)
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=separator))
    except csv.Error as error:
        raise ConsultationError(f"{path}: not readable as CSV ({error}); close the quotes.") from error
    header = [cell.strip() for cell in lines[0]] if lines else []
    if missing := [name for name in needed if header.count(name) != 1]:
        raise ConsultationError(
            f"{path}, row 1: the columns {', '.join(missing)} must stand there once each, separated by commas, "
            "semicolons or tabs."
        )
    for number, cells in enumerate(lines[1:], start=2):
        if not any(cells):
            continue
        if len(cells) != len(header):
            raise ConsultationError(
                f"{path}, row {number}: {len(cells)} cells instead of {len(header)}; put cells that contain what "
                "separates them in double quotes."
            )
        yield number, dict(zip(header, cells, strict=True))


def read_text(path: Path) -> str:
    """Read a file as UTF-8, with or without a byte order mark.

    Raises:
        ConsultationError: There is none, or it is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConsultationError(
            f"{path}: cannot be read ({error.strerror}). Add the file or correct its name."
        ) from error
    except UnicodeDecodeError as error:
        raise ConsultationError(f"{path}: not UTF-8 at byte {error.start}. Save it as UTF-8.") from error
