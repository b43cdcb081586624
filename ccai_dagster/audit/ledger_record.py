"""Ledger rows against those on record: which were changed or removed, which rows say why, and what stays on record.

Rows of a ledger are never changed. Where results were made of one, and it differs from the last manifest or is gone, a
run stops until it is restored or a later row of the same ledger, with the outcome `amended`, names it and says why. Its
earlier digest stays in every manifest after that.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from ccai_dagster.audit.manifest import Manifest, row_digests
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.text import listed
from ccai_dagster.decisions.ledger import AMENDED, split_outcome


@dataclass(frozen=True)
class RowChanges:
    """Ids of the rows of one ledger that are not as they are on record, in the order of record or ledger."""

    changed: tuple[str, ...]
    removed: tuple[str, ...]
    added: tuple[str, ...]


def row_changes(recorded: Mapping[str, str], ledger: pl.DataFrame) -> RowChanges:
    """Compare the rows of a ledger with their digests on record, by decision."""
    rows = row_digests(ledger.to_dicts())
    return RowChanges(
        changed=tuple(key for key in recorded if key in rows and rows[key] != recorded[key]),
        removed=tuple(key for key in recorded if key not in rows),
        added=tuple(key for key in rows if key not in recorded),
    )


def unexplained(manifest: Manifest | None, kind: str, ledger: pl.DataFrame) -> RowChanges:
    """Compare a ledger with what results were made of; rows of which one that was added since says why are left out."""
    found = row_changes(_used(manifest, kind), ledger)
    named = {
        subject for row in _amending(ledger) if row["decision_id"] in found.added for subject in row["subject_ids"]
    }
    return RowChanges(
        changed=tuple(key for key in found.changed if key not in named),
        removed=tuple(key for key in found.removed if key not in named),
        added=found.added,
    )


def check_rows(manifest: Manifest | None, path: Path, ledger: pl.DataFrame) -> None:
    """Refuse a ledger whose rows are not those that results were made of.

    Args:
        manifest: The last one; None if there is none.
        path: The ledger `<kind>.csv`, in the folder `decisions` of its consultation.

    Raises:
        ConsultationError: Rows were changed or removed, and no row says why.
    """
    found = unexplained(manifest, path.stem, ledger)
    if found.changed or found.removed:
        ids = " ".join([*found.removed, *found.changed])
        raise ConsultationError(
            f"{path}: {_told(found)} since results were made of them, and rows are never changed. Restore them from a "
            f'copy, or say why with `ccai decide {path.stem} "{ids}" {AMENDED} --reason WHY --as ROLE --consultation '
            f"{shlex.quote(str(path.parents[1]))}`. Until then nothing is computed."
        )


@dataclass(frozen=True)
class RecordedRows:
    """What a manifest says of one ledger; the fields are those of `Manifest`, for one kind."""

    rows: dict[str, str]
    unused_rows: list[str]
    amended_rows: dict[str, list[str]]


def recorded_rows(before: Manifest | None, kind: str, ledger: pl.DataFrame, used: bool) -> RecordedRows:
    """Return what to record of a ledger.

    A row that was changed or removed keeps the digest it had until another row says why; one that no result was made
    of, since a check refused it, may be mended without.

    Args:
        before: The manifest before; None if there is none.
        used: Whether something was made of the ledger as it is now.
    """
    recorded = _used(before, kind)
    every, open_ = row_changes(recorded, ledger), unexplained(before, kind, ledger)
    kept = {key: recorded[key] for key in (*open_.changed, *open_.removed)}
    amended = {key: list(digests) for key, digests in (before.amended_rows.get(kind, {}) if before else {}).items()}
    for key in (*every.changed, *every.removed):
        if key not in kept:
            amended.setdefault(key, []).append(recorded[key])
    return RecordedRows(row_digests(ledger.to_dicts()) | kept, [] if used else list(every.added), amended)


def _used(manifest: Manifest | None, kind: str) -> dict[str, str]:
    if manifest is None:
        return {}
    unused = manifest.unused_rows.get(kind, [])
    return {key: digest for key, digest in manifest.rows.get(kind, {}).items() if key not in unused}


def amendments(manifest: Manifest, kind: str, ledger: pl.DataFrame) -> list[str]:
    """Tell, in a sentence each, of the rows that are not as they once were on record, and why."""
    return [
        f"{kind} ledger: row {key} is not as it was first on record ("
        + (
            "; ".join(
                f"{row['decision_id']}, {row['decided_by']}: {row['reason']}"
                for row in _amending(ledger)
                if key in row["subject_ids"]
            )
            or "no row says why"
        )
        + ")."
        for key in manifest.amended_rows.get(kind, {})
    ]


def _amending(ledger: pl.DataFrame) -> list[dict[str, Any]]:
    return [row for row in ledger.to_dicts() if split_outcome(row["outcome"])[0] == AMENDED]


def _told(found: RowChanges) -> str:
    parts = [
        f"{'row' if len(ids) == 1 else 'rows'} {listed(ids)} {'was' if len(ids) == 1 else 'were'} {what}"
        for what, ids in (("removed", found.removed), ("changed", found.changed))
        if ids
    ]
    return " and ".join(parts)
