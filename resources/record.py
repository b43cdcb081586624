"""Dagster's record of a consultation's runs and versions: whose it is, and opening it for the first time or again.

Belongs here: everything that happens before Dagster is asked. Doesn't belong here: what it is asked (`history`), and
what runs (`ccai_dagster.run`).
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import dagster as dg

from ccai_dagster.audit.manifest import last_manifest, read_manifest
from ccai_dagster.consultation.folder import Consultation, address_of, has_moved
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.files import write_file
from ccai_dagster.core.home import Home, make_private
from resources.instance import (
    CONFIGURATION,
    DATABASES,
    open_instance,
    opened_alone,
    reopen_instance,
    schema_of,
    storage_errors,
    what_is_lost,
)
from resources.record_files import VERSIONS, keeps_files
from resources.shared_record import take_over


def open_record(home: Home, consultation: Consultation, say: Callable[[str], None]) -> dg.DagsterInstance:
    """Open the record of a consultation's runs; one process at a time, since the first makes the databases.

    Args:
        say: Prints a line about what is not as it was.

    Raises:
        ConsultationError: The results are another folder's, or a file, the disk or a database is in the way.
    """
    with storage_errors(home.root):
        make_private(home.root)
    with opened_alone(home.dagster, home.lock):
        take_over(home, say)
        _claim(home, consultation, say)
        for line in _lost(home):
            say(line)
        home.dagster.mkdir(exist_ok=True)
        instance = open_instance(home.dagster, schema_of(home.consultation))
        if last_manifest(home.manifest) is None and _has_finished(instance):
            say(
                f"{home.manifest} is gone, or was changed since it was written: rows of ledgers cannot be compared "
                "with those that results were made of. Put a copy back before a run ends, which begins a new one."
            )
        return instance


def known_record(home: Home) -> dg.DagsterInstance | None:
    """Open the record of a consultation's runs to look at it; None if there is none yet.

    Raises:
        ConsultationError: It cannot be opened.
    """
    files = [home.dagster / CONFIGURATION.name, *([home.dagster / VERSIONS] if keeps_files() else [])]
    if not all(file.is_file() for file in files):
        return None
    return reopen_instance(home.dagster)


def _claim(home: Home, consultation: Consultation, say: Callable[[str], None]) -> None:
    """Note whose results are kept here, unless they are another folder's."""
    known = _known(home)
    moved = known is not None and has_moved(consultation, home, known)
    if moved:
        say(f"{known} is no longer there; its results in {home.folder} are taken for those of {consultation.folder}")
    if moved or not home.source.is_file():
        home.folder.mkdir(exist_ok=True)
        write_file(home.source, f"{consultation.address}\n")


def _known(home: Home) -> str | None:
    """The address of the consultation that results are kept of; earlier versions wrote it into the manifest only."""
    if home.source.is_file():
        return home.source.read_text(encoding="utf-8").strip()
    with suppress(ConsultationError):
        return address_of(Path(read_manifest(home.manifest)[0].folder))
    return None


def _has_finished(instance: dg.DagsterInstance) -> bool:
    """Whether a run has made something and come to its end, where the manifest is written."""
    entries = [each.asset_entry.last_materialization_record for each in instance.get_asset_records()]
    runs = [entry.run_id for entry in entries if entry is not None]
    return bool(runs) and bool(
        instance.get_runs(dg.RunsFilter(run_ids=runs, statuses=[dg.DagsterRunStatus.SUCCESS]), limit=1)
    )


def _lost(home: Home) -> Iterator[str]:
    """Say which databases are gone or empty although a run has come to its end."""
    databases = [home.dagster / name for name in DATABASES] if keeps_files() else []
    wanted = databases if home.manifest.is_file() else []
    if home.mlflow_uri.startswith("sqlite:") and (home.mlflow_artifacts / home.consultation).is_dir():
        wanted = [*wanted, home.mlflow_database]
    for database in wanted:
        if not database.is_file() or database.stat().st_size == 0:
            yield f"{database} is gone or empty: a new one begins, and {what_is_lost(database)}"
