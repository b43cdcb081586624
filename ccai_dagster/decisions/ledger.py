"""The ledger file: reading it, adding to it, and which of its rows still count.

Ledgers are append only. A correction is a new row that supersedes an earlier one; the earlier row stays
in the file and no longer counts.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import polars as pl

from ccai_dagster.contracts import LEDGER
from ccai_dagster.core.files import lock_beside, write_file, written_alone
from ccai_dagster.decisions.chains import chain_roots
from ccai_dagster.decisions.decision import COLUMNS, Decision, decision_from_cells, problems, split_ids
from ccai_dagster.digest import table_digest
from ccai_dagster.errors import ConsultationError

SHOWN = 10
"""Problems shown at once; the rest is counted."""


def read_ledger(path: Path, kind: str) -> pl.DataFrame:
    """Read a ledger and check every row by itself.

    Args:
        path: A CSV file in UTF-8 with the header of `contracts.LEDGER`, in that order.

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

    Returns:
        The rows that count, policies and withdrawals included, in the order given, with one more column:
        `root_id`, the id of the first decision of the chain that each row ends.

    Raises:
        ConsultationError: Two rows have the same id, or the chains are broken: see `chains.chain_roots`.
    """
    kind = ledger["kind"][0] if ledger.height else ""
    earlier: dict[str, tuple[str, ...]] = {}
    for decision_id, supersedes in ledger.select("decision_id", "supersedes").iter_rows():
        if decision_id in earlier:
            raise ConsultationError(
                f"{kind} ledger: `decision_id` {decision_id} stands twice; give one row a new id."
            )
        earlier[decision_id] = split_ids(supersedes)
    subjects = dict(ledger.select("decision_id", "subject_ids").iter_rows())
    roots = chain_roots(kind, earlier, subjects)
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
    """Add one row to a ledger, as `append_decisions` does."""
    append_decisions(path, lambda ledger: [row])


def append_decisions(path: Path, compose: Callable[[pl.DataFrame], Sequence[Decision]]) -> list[Decision]:
    """Add rows to a ledger, all of them or none; what stands there already is kept byte for byte.

    Several processes may add at once: a lock file beside the ledger (`.<name>.lock`) lets one at a time
    in. The new content is written under a temporary name and then renamed, so that a reader sees either
    the old ledger or the new one, and a process that is killed leaves one of the two.

    Args:
        path: The ledger `<kind>.csv`, which must exist.
        compose: Is given the ledger as it is now, and returns the rows to add. Nobody else writes meanwhile.

    Returns:
        The rows added.

    Raises:
        ConsultationError: The ledger or a row is malformed, an id is taken, or what a row supersedes is
            unknown or superseded already. The ledger is then unchanged.
    """
    path = path.resolve()
    kind = path.stem
    if not path.is_file():
        raise ConsultationError(f"{path}: not found; an empty ledger still needs its header.")
    with written_alone(path, lock_beside(path), "nothing was added"):
        old = path.read_bytes()
        rows = list(compose(ledger_table(_parse(old, path, kind))))
        separator = b"" if old.endswith(b"\n") else b"\n"
        new = old + separator + "".join(_line(row.cells()) for row in rows).encode()
        current(ledger_table(_parse(new, path, kind)))
        write_file(path, new)
        return rows


def _parse(content: bytes, path: Path, kind: str) -> list[Decision]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = content[: error.start].count(b"\n") + 1
        raise ConsultationError(f"{path}, line {row}: not UTF-8; save the file as UTF-8.") from error
    lines = _rows(text, path)
    if not lines or tuple(cell.strip() for cell in lines[0]) != COLUMNS:
        raise ConsultationError(f"{path}, row 1: the header must be exactly {','.join(COLUMNS)}")
    found: list[str] = []
    decisions: list[Decision] = []
    numbers: dict[str, list[int]] = {}
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
        numbers.setdefault(decision.decision_id, []).append(number)
    found += [
        f"rows {' and '.join(map(str, rows))}: `decision_id` {decision_id} is the same; remove the copy, or give "
        "each row its own id"
        for decision_id, rows in numbers.items()
        if len(rows) > 1 and decision_id
    ]
    if found:
        more = [f"and {len(found) - SHOWN} more problems"] if len(found) > SHOWN else []
        raise ConsultationError("\n".join(f"{path}, {problem}." for problem in found[:SHOWN] + more))
    return decisions


def _rows(text: str, path: Path) -> list[list[str]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    lines: list[list[str]] = []
    try:
        for line in reader:
            lines.append(line)
    except csv.Error as error:
        raise ConsultationError(
            f"{path}, row {len(lines) + 1}: not readable as CSV ({error}); close the quotes in this row, or complete "
            "it from a copy if the file was cut off."
        ) from error
    return lines


def _line(cells: Iterable[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()
