"""The record that all consultations of a home shared in earlier versions, and how it is divided among them.

Belongs here: everything that knows this earlier layout. Doesn't belong here: opening a record (`record`).
"""

import shutil
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path, PurePath

import dagster as dg

from ccai_dagster.consultation.folder import EMBEDDED, address_of
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.files import whole_folder, write_file
from ccai_dagster.core.home import Home, is_allowed
from resources.instance import open_instance
from resources.record_files import VERSIONS

SHARED, IN_DIVISION, DIVIDED = "dagster", ".dagster.in_division", ".dagster.divided"
"""Names of the shared record in the home: as it was found, until the last copy is made, and while it is deleted."""
PAGE = 1000
_LEFT_BEHIND = (
    "DELETE FROM asset_check_executions WHERE run_id NOT IN (SELECT run_id FROM event_logs)",
    """UPDATE asset_keys SET last_materialization = NULL, cached_status_data = NULL, last_run_id =
    (SELECT run_id FROM event_logs WHERE event_logs.asset_key = asset_keys.asset_key ORDER BY id DESC LIMIT 1)""",
    "DELETE FROM asset_keys WHERE last_run_id IS NULL",
)
"""After `delete_run`, Dagster still gives what the run made as the latest of its assets and checks."""


def take_over(home: Home, say: Callable[[str], None]) -> None:
    """Give every consultation of a home the part of the shared record that is its own.

    Whoever calls this holds the home's lock. If it is killed, nothing is lost and the next call goes on.

    Args:
        home: Of the consultation that is opened; a record in which nothing was made becomes its own.

    Raises:
        ConsultationError: The shared record cannot be read, or is newer than the consultations' own.
    """
    shared, in_division, divided = (home.root / name for name in (SHARED, IN_DIVISION, DIVIDED))
    shutil.rmtree(divided, ignore_errors=True)
    record = in_division if in_division.is_dir() else shared
    if not (record / VERSIONS).is_file():
        return
    contents = _contents(record)
    homes = [Home(home.root, name) for name in contents.names()] or [home]
    if record == shared:
        if later := [each.dagster for each in homes if each.dagster.exists()]:
            raise ConsultationError(
                f"{shared}: an earlier version kept runs here after {later[0]} was made. Move {shared} away and run "
                "again; what these runs made is made again where it differs."
            )
        shared.rename(in_division)
    say(f"Taking over {shared}, which all consultations shared in earlier versions")
    for each in homes:
        each.folder.mkdir(exist_ok=True)
        if each.consultation in contents.addresses:
            write_file(each.source, f"{contents.addresses[each.consultation]}\n")
    if len(homes) == 1 and not homes[0].dagster.exists():
        in_division.rename(homes[0].dagster)
        return
    for each in homes:
        if not each.dagster.exists():
            _copy(in_division, each.dagster, contents.of_others(each.consultation))
    in_division.rename(divided)
    shutil.rmtree(divided)


@dataclass(frozen=True)
class _Contents:
    """What the shared record holds.

    Attributes:
        runs: The consultations of each run, by where its tables and ledgers lay; a run that made nothing has none.
            Manifests do not tell: of two consultations that shared a record, each names runs of the other.
        addresses: Of the folder that each consultation was last observed in.
    """

    runs: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    addresses: dict[str, str] = field(default_factory=dict)

    def names(self) -> list[str]:
        """Return the consultations; one whose name is no longer allowed cannot be opened and gets no record."""
        return sorted(name for name in set().union(*self.runs.values()) if is_allowed(name))

    def of_others(self, consultation: str) -> list[str]:
        """Return the runs in which only other consultations were made or observed."""
        return sorted(run for run, names in self.runs.items() if consultation not in names)


def _contents(record: Path) -> _Contents:
    found = _Contents()
    with open_instance(record) as instance:
        for key in instance.get_asset_keys():
            for run, metadata in _events(instance, key):
                table, ledger = metadata.get("path"), metadata.get("file")
                if table is not None:
                    found.runs[run].add(_consultation(PurePath(str(table.value)), key))
                elif ledger is not None:
                    address = address_of(PurePath(str(ledger.value)).parents[1])
                    name = "sample" if address == EMBEDDED else PurePath(address).name
                    found.runs[run].add(name)
                    found.addresses.setdefault(name, address)
    return found


def _events(instance: dg.DagsterInstance, key: dg.AssetKey) -> Iterator[tuple[str, Mapping[str, dg.MetadataValue]]]:
    """Yield the run and the metadata of everything made or observed, the latest first."""
    for fetch in (instance.fetch_materializations, instance.fetch_observations):
        cursor, more = None, True
        while more:
            page = fetch(key, limit=PAGE, cursor=cursor)
            cursor, more = page.cursor, page.has_more
            for each in page.records:
                event = each.asset_materialization or each.asset_observation
                if event is not None:
                    yield each.run_id, event.metadata


def _consultation(table: PurePath, key: dg.AssetKey) -> str:
    folder = table.parents[len(key.path) - 1]
    return folder.parent.name if folder.name == "tables" else folder.name


def _copy(record: Path, destination: Path, others: Iterable[str]) -> None:
    """Copy a record without the runs of others; the numbers of observations stay, which events point to."""
    with whole_folder(destination) as folder:
        shutil.copytree(record, folder, dirs_exist_ok=True)
        with open_instance(folder) as instance:
            for run in others:
                instance.delete_run(run)
                shutil.rmtree(folder / "storage" / run, ignore_errors=True)
                for log in (folder / VERSIONS).parent.glob(f"{run}.db*"):
                    log.unlink()
        with closing(sqlite3.connect(folder / VERSIONS)) as database, database:
            for statement in _LEFT_BEHIND:
                database.execute(statement)
