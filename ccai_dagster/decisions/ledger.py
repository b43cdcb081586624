"""The ledger file: reading it, adding to it, and which of its rows still count.

Ledgers are append only. A correction is a new row that supersedes an earlier one; the earlier row stays
in the file and no longer counts.
"""

from __future__ import annotations

import csv
import io
import os
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import polars as pl
from filelock import FileLock

from ccai_dagster.contracts import LEDGER
from ccai_dagster.decisions.decision import COLUMNS, Decision, decision_from_cells, problems
from ccai_dagster.digest import table_digest
from ccai_dagster.errors import ConsultationError

SHOWN = 10
"""Problems shown at once; the rest is counted."""


def read_ledger(path: Path, kind: str) -> pl.DataFrame:
    """Read a ledger and check every row by itself.

    Args:
        path: A CSV file in UTF-8 with the header of `contracts.LEDGER`, in that order.
        kind: The kind of decision that every row must have.

    Returns:
        All rows in file order, superseded ones included, as contract `LEDGER`.

    Raises:
        ConsultationError: The file is missing, not UTF-8, has another header, or a row is malformed. Names
            the file, the row (the header being row 1, as in a spreadsheet) and the remedy.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ConsultationError(f"{path}: not found; an empty ledger still needs its header.") from error
    except OSError as error:
        raise ConsultationError(f"{path}: cannot be read ({error.strerror}).") from error
    return ledger_table(_parse(content, path, kind))


def ledger_table(decisions: Iterable[Decision]) -> pl.DataFrame:
    """Make a table (contract `LEDGER`) of decisions, in the order given."""
    return LEDGER.build([{**asdict(each), "subject_ids": list(each.subject_ids)} for each in decisions])


def current(ledger: pl.DataFrame) -> pl.DataFrame:
    """Return the rows that no other row supersedes.

    Args:
        ledger: Contract `LEDGER`.

    Returns:
        The rows that count, in the order given, with one more column: `root_id`, the id of the first
        decision of the chain that each row ends.

    Raises:
        ConsultationError: A row supersedes an unknown decision, two rows supersede the same one, rows
            supersede each other in a circle, or two rows have the same id.
    """
    replaced: dict[str, str | None] = {}
    for decision_id, kind, supersedes in ledger.select("decision_id", "kind", "supersedes").iter_rows():
        if decision_id in replaced:
            raise ConsultationError(
                f"{kind} ledger: `decision_id` {decision_id} stands twice; give one row a new id."
            )
        replaced[decision_id] = supersedes
    kinds = dict(ledger.select("decision_id", "kind").iter_rows())
    by_replaced: dict[str, str] = {}
    for decision_id, earlier in replaced.items():
        if earlier is None:
            continue
        if earlier not in replaced:
            raise ConsultationError(
                f"{kinds[decision_id]} ledger, decision {decision_id}: supersedes {earlier}, which is not in "
                "this ledger; correct the id."
            )
        if earlier in by_replaced:
            raise ConsultationError(
                f"{kinds[decision_id]} ledger: {by_replaced[earlier]} and {decision_id} both supersede "
                f"{earlier}; let the later one supersede the other instead."
            )
        by_replaced[earlier] = decision_id
    roots = {last: _root(last, replaced) for last in replaced if last not in by_replaced}
    if circular := sorted(set(replaced) - _reached(roots, replaced)):
        raise ConsultationError(
            f"{kinds[circular[0]]} ledger: {', '.join(circular)} supersede each other in a circle; empty "
            "`supersedes` in the row that was decided first."
        )
    rows = ledger.filter(pl.col("decision_id").is_in(list(roots)))
    return rows.with_columns(
        pl.Series("root_id", [roots[each] for each in rows["decision_id"]], dtype=pl.String)
    )


def ledger_digest(ledger: pl.DataFrame) -> str:
    """Return the digest of a ledger's rows, independent of their order."""
    return table_digest(ledger.select(COLUMNS).sort("decision_id"))


def write_ledger(path: Path, decisions: Iterable[Decision]) -> None:
    """Write a new ledger with these rows.

    Raises:
        ConsultationError: The file exists (a ledger is never overwritten) or a row is malformed.
    """
    content = _line(COLUMNS) + "".join(_line(decision.cells()) for decision in decisions)
    _parse(content.encode(), path, path.stem)
    try:
        with path.open("x", encoding="utf-8", newline="") as handle:
            handle.write(content)
    except FileExistsError as error:
        raise ConsultationError(f"{path}: exists already; add rows to it instead.") from error


def append_decision(path: Path, row: Decision) -> None:
    """Add one row to a ledger; what stands there already is kept byte for byte.

    Several processes may add at once: a lock file beside the ledger (`.<name>.lock`) lets one at a time
    in. The new content is written under a temporary name and then renamed, so that a reader sees either
    the old ledger or the new one.

    Args:
        path: The ledger `<kind>.csv`, which must exist.
        row: The decision to add.

    Raises:
        ConsultationError: The ledger or the row is malformed, its id is taken, or what it supersedes is
            unknown or superseded already. The ledger is then unchanged.
    """
    path = path.resolve()
    kind = path.stem
    if not path.is_file():
        raise ConsultationError(f"{path}: not found; an empty ledger still needs its header.")
    with FileLock(path.with_name(f".{path.name}.lock")):
        old = path.read_bytes()
        _parse(old, path, kind)
        separator = b"" if old.endswith(b"\n") else b"\n"
        new = old + separator + _line(row.cells()).encode()
        after = _parse(new, path, kind)
        current(ledger_table(after))
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with temporary.open("wb") as handle:
                handle.write(new)
                handle.flush()
                os.fsync(handle.fileno())
            shutil.copymode(path, temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def _parse(content: bytes, path: Path, kind: str) -> list[Decision]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = content[: error.start].count(b"\n") + 1
        raise ConsultationError(f"{path}, line {row}: not UTF-8; save the file as UTF-8.") from error
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise ConsultationError(f"{path}: not readable as CSV ({error}); mend the quotes.") from error
    if not lines or tuple(cell.strip() for cell in lines[0]) != COLUMNS:
        raise ConsultationError(f"{path}, row 1: the header must be exactly {','.join(COLUMNS)}")
    found: list[str] = []
    decisions: list[Decision] = []
    for number, cells in enumerate(lines[1:], start=2):
        if not cells:
            continue
        if len(cells) != len(COLUMNS):
            found.append(
                f"row {number}: {len(cells)} cells instead of {len(COLUMNS)}; fill in the missing ones, or "
                "put a cell that contains commas in double quotes"
            )
            continue
        decision = decision_from_cells(dict(zip(COLUMNS, cells, strict=True)))
        found += [f"row {number}: {problem}" for problem in problems(decision, kind)]
        decisions.append(decision)
    counts = Counter(decision.decision_id for decision in decisions)
    found += [
        f"`decision_id` {decision_id} stands {count} times; give each row its own id"
        for decision_id, count in counts.items()
        if count > 1 and decision_id
    ]
    if found:
        more = [f"and {len(found) - SHOWN} more problems"] if len(found) > SHOWN else []
        raise ConsultationError("\n".join(f"{path}, {problem}." for problem in found[:SHOWN] + more))
    return decisions


def _line(cells: Iterable[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()


def _root(decision_id: str, replaced: dict[str, str | None]) -> str:
    while (earlier := replaced[decision_id]) is not None:
        decision_id = earlier
    return decision_id


def _reached(ends: Iterable[str], replaced: dict[str, str | None]) -> set[str]:
    reached: set[str] = set()
    for end in ends:
        each: str | None = end
        while each is not None:
            reached.add(each)
            each = replaced[each]
    return reached
