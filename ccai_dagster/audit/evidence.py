"""What answers rest on (tables, ledgers, and which run made what), and the form of an answer.

Belongs here: reading, and saying what is missing or out of date. Doesn't belong here: any one kind of subject.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from ccai_dagster.audit.manifest import TABLES, Manifest, describe_file
from ccai_dagster.audit.records import Record, Records, read_records
from ccai_dagster.consultation.folder import BASE, LEDGERS, Consultation
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.files import read_table
from ccai_dagster.core.text import counted, listed
from ccai_dagster.decisions.ledger import ledger_digest, read_ledger


@dataclass(frozen=True)
class AssetVersion:
    """Where something can be looked at: an asset, and the runs that made its present version."""

    asset: str
    data_version: str
    made_at: str
    dagster_run: str
    mlflow_run: str | None = None


@dataclass(frozen=True)
class Explanation:
    """Why something is as it is.

    Attributes:
        subject: What was asked about, with its kind, as `statement:17`.
        text: What it says, as somebody or some model wrote it (untrusted).
        story: What happened to it, in sentences (they quote untrusted text).
        facts: The same in numbers and ids.
        decisions: The decisions that touched it.
        seen: The runs it can be seen in.
        notes: What a reader must know about the answer itself.
    """

    subject: str
    text: str
    story: Sequence[str]
    facts: Mapping[str, Any] = field(default_factory=dict)
    decisions: Sequence[Record] = ()
    seen: Sequence[AssetVersion] = ()
    notes: Sequence[str] = ()

    def content(self) -> dict[str, Any]:
        """The answer as JSON can hold it."""
        return {
            "subject": self.subject,
            "text": self.text,
            "story": list(self.story),
            "facts": dict(self.facts),
            "decisions": [asdict(each) for each in self.decisions],
            "seen": [asdict(each) for each in self.seen],
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class Evidence:
    """Everything an answer may rest on.

    Attributes:
        consultation: The consultation.
        tables: Folder of the tables.
        manifest: Which run made what; None before the first run ended.
    """

    consultation: Consultation
    tables: Path
    manifest: Manifest | None

    @cached_property
    def ledgers(self) -> dict[str, pl.DataFrame]:
        """The ledgers as they stand."""
        return {kind: read_ledger(self.consultation.ledger(kind), kind) for kind in LEDGERS}

    @cached_property
    def records(self) -> Records:
        """The ledgers, to be asked by decision and subject."""
        return read_records(self.ledgers)

    @property
    def arms(self) -> list[str]:
        """The arms, without the untrained model."""
        return list(self.consultation.arms)

    @property
    def models(self) -> list[str]:
        """The untrained model and the arms."""
        return [BASE, *self.arms]

    def table(self, key: str, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Read a table.

        Args:
            key: Asset key, as `public/constitution`.
            columns: All by default.

        Raises:
            ConsultationError: It was not made yet, or its file is damaged.
        """
        if (found := self.table_if_made(key, columns)) is None:
            raise ConsultationError(
                f"{self.tables / f'{key}.parquet'}: {key} was not made yet, and the answer rests on it. "
                "`ccai run` makes it."
            )
        return found

    def table_if_made(self, key: str, columns: Sequence[str] | None = None) -> pl.DataFrame | None:
        """Read a table that may not have been made yet."""
        path = self.tables / f"{key}.parquet"
        if not path.exists():
            return None
        with suppress(OSError):  # `read_table` says what cannot be read
            self._check(path, f"{TABLES}/{key}.parquet")
        return read_table(path, columns)

    def seen(self, keys: Iterable[str]) -> list[AssetVersion]:
        """Return the runs that made the present versions of these assets; those not made yet are left out."""
        if self.manifest is None:
            return []
        made = self.manifest.materializations
        return [
            AssetVersion(key, made[key].data_version, made[key].made_at, made[key].dagster_run, made[key].mlflow_run)
            for key in dict.fromkeys(keys)
            if key in made
        ]

    def notes(self, keys: Iterable[str]) -> list[str]:
        """Say in which respect tables are older than the ledgers, or than each other."""
        keys = list(dict.fromkeys(keys))
        if self.manifest is None:
            return ["No run has ended yet, so it is not on record which run made what. `ccai run`."]
        notes = []
        for kind, version in self._versions.items():
            older = [
                key
                for key in keys
                if (one := self.manifest.materializations.get(key)) is not None
                and one.inputs.get(f"{kind}_ledger", version) != version
            ]
            if older:
                notes.append(
                    f"The {kind} ledger has changed since {counted(len(older), 'table')} ({listed(older)}) "
                    f"{'was' if len(older) == 1 else 'were'} made: the newest decisions are told, what follows "
                    "from them is not computed yet. `ccai run`."
                )
        made = self.manifest.materializations
        present = {key: each.data_version for key, each in made.items()}
        older = [
            key
            for key in keys
            if key in made and any(present.get(name, version) != version for name, version in made[key].inputs.items())
        ]
        if older:
            notes.append(
                f"{listed(older)} {'was' if len(older) == 1 else 'were'} made from earlier versions of other tables "
                "than those that stand: what is told of them may not fit the rest. `ccai run`."
            )
        return notes

    def _check(self, path: Path, name: str) -> None:
        """Refuse a file that is not the one on record; one wrong byte can make Polars abort."""
        expected = self.manifest.files.get(name) if self.manifest is not None else None
        if expected is not None and describe_file(path) != expected:
            raise ConsultationError(
                f"{path}: not the file that is on record, so nothing is told from it. `ccai verify` names all such "
                "files. If a run made it, `ccai run` brings the record up to date; if not, delete it first."
            )

    @cached_property
    def _versions(self) -> dict[str, str]:
        return {kind: ledger_digest(ledger) for kind, ledger in self.ledgers.items()}
