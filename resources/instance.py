"""Dagster's instance in a folder, and what it means when its databases cannot be read or written.

Belongs here: opening an instance, and sentences for errors of the disk and of databases. Doesn't belong here: whose
instance it is (`record`).

Instances: https://docs.dagster.io/deployment/oss/dagster-yaml
"""

import logging
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from functools import cache, partial
from pathlib import Path
from threading import RLock
from typing import Any

import dagster as dg
import yaml
from filelock import FileLock, Timeout

from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.files import DISK_FULL, NOT_WRITABLE, disk_errors
from ccai_dagster.core.postgres import schema_of as postgres_schema
from resources.record_files import RUNS, VERSIONS, keeps_files

CONFIGURATION = Path(__file__).parents[1] / "dagster.yaml"
DATABASES = {
    VERSIONS: "everything counts as not made and is made again",
    RUNS: "earlier runs are no longer listed",
    "schedules/schedules.db": "sensors and schedules forget what they saw",
}
"""Dagster's databases in its folder, and what follows when one begins anew."""
LOST = {**DATABASES, "mlflow.db": "MLflow no longer lists earlier trainings and evaluations"}
WAIT_SECONDS = 300
_PRIMARY = 0xFF
"""Bits of SQLite's error codes that name the kind; https://www.sqlite.org/rescode.html."""


@contextmanager
def opened_alone(database: Path, lock: Path) -> Iterator[None]:
    """Let nobody else make or move databases meanwhile, and tell in a sentence why something cannot be opened.

    Args:
        database: Or the folder of several, for messages.

    Raises:
        ConsultationError: Another process holds the lock for `WAIT_SECONDS`, or as `storage_errors`.
    """
    try:
        with storage_errors(database):
            lock.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(lock, timeout=WAIT_SECONDS):
                yield
    except Timeout as error:
        raise ConsultationError(
            f"{database}: another process has been opening it for {WAIT_SECONDS} s. Let it end, and try again."
        ) from error


def open_instance(folder: Path, schema: str | None = None) -> dg.DagsterInstance:
    """Put `dagster.yaml` where Dagster reads it, set `DAGSTER_HOME` and open the instance.

    Args:
        schema: In PostgreSQL, where the record is kept in place of the files of the folder.

    Raises:
        ConsultationError: It cannot be opened.
    """
    if schema is None:
        shutil.copyfile(CONFIGURATION, folder / CONFIGURATION.name)
    else:
        _name_schema(folder, schema)
    return reopen_instance(folder)


def reopen_instance(folder: Path) -> dg.DagsterInstance:
    """Set `DAGSTER_HOME` and open the instance that was opened there before.

    Raises:
        ConsultationError: It cannot be opened.
    """
    os.environ["DAGSTER_HOME"] = str(folder)
    for pool in ("NullPool", "QueuePool"):
        logging.getLogger(f"sqlalchemy.pool.impl.{pool}").addFilter(_is_no_interruption)
    try:
        with storage_errors(folder):
            instance = dg.DagsterInstance.get()
            instance.get_asset_keys(limit=1)  # otherwise the versions are opened when they are first asked for
            _keep_from_interruptions(instance)
            return instance
    except (ConsultationError, OSError):
        raise
    except Exception as error:  # alembic, which Dagster sets up its tables with, has errors of its own
        raise ConsultationError(
            f"{folder}: Dagster cannot open its record there ({str(error).splitlines()[0]}). Move {folder / 'history'} "
            f"away and run again; {LOST[VERSIONS]}."
        ) from error


def _keep_from_interruptions(instance: dg.DagsterInstance) -> None:
    """Let Ctrl-C not reach the processes that show what steps print; Dagster ends them when the step does.

    A terminal interrupts every process of its group, and each would print a trace before the run says that it was
    interrupted. Processes inherit which signals are held back while they are started.
    """
    logs = instance.compute_log_manager
    capture = logs.capture_logs

    @contextmanager
    def capture_logs(log_key: Sequence[str]) -> Iterator[Any]:
        with ExitStack() as stack:
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                context = stack.enter_context(capture(log_key))
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
            yield context

    logs.capture_logs = capture_logs  # type: ignore[method-assign]


@contextmanager
def kept_connections(instance: dg.DagsterInstance) -> Iterator[None]:
    """Keep the databases of versions and of the run that is written open for as long as the block runs.

    Dagster's SQLite storage makes an engine for every event, compiles the same statements anew with it, and opens and
    closes the file, whereupon SQLite copies its write-ahead log: two thirds of what a run of small steps computes.
    Other processes read and write meanwhile as they did. A record in PostgreSQL keeps its connections by itself.
    """
    if not keeps_files():
        yield
        return
    events: Any = instance.event_log_storage
    kept: dict[str, Any] = {}
    lock = RLock()  # one transaction may be asked for within another

    @contextmanager
    def connection(database: str, opened: Callable[[], AbstractContextManager[Any]]) -> Iterator[Any]:
        with lock:
            if database not in kept:
                for other in kept.keys() - {VERSIONS}:  # runs come one after the other
                    kept.pop(other).close()
                with opened() as first:  # Dagster makes the database, if there is none yet
                    engine = first.engine
                kept[database] = engine.connect()
            with nullcontext() if kept[database].in_transaction() else kept[database].begin():
                yield kept[database]

    of_run, of_versions = events.run_connection, events.index_connection
    events.run_connection = lambda run_id=None: connection(f"{run_id}.db", partial(of_run, run_id))
    events.index_connection = lambda: connection(VERSIONS, of_versions)
    events.has_table = cache(events.has_table)  # which has an engine of its own
    try:
        yield
    finally:
        del events.run_connection, events.index_connection, events.has_table
        for each in kept.values():
            each.close()


def _is_no_interruption(record: logging.LogRecord) -> bool:
    """Whether something else than Ctrl-C met a connection that was closing: the command itself says that it ended."""
    return record.exc_info is None or isinstance(record.exc_info[1], Exception)


def schema_of(consultation: str) -> str | None:
    """Return the schema of a consultation's record; None if it is kept in files.

    Raises:
        ConsultationError: What PostgreSQL needs is not installed.
    """
    if keeps_files():
        return None
    try:
        import dagster_postgres  # noqa: F401
    except ImportError as error:
        raise ConsultationError(
            f"CCAI_POSTGRES_URL is set, but {error.name} is not installed: pip install --constraint constraints.txt "
            "'.[team]'"
        ) from error
    return postgres_schema(consultation)


def _name_schema(folder: Path, schema: str) -> None:
    from resources.postgres import make_record_schema

    make_record_schema(schema)
    settings = yaml.safe_load(CONFIGURATION.read_text(encoding="utf-8"))
    record = {"module": "resources.postgres", "class": "PostgresRecord", "config": {"schema": schema}}
    settings["storage"] = {"custom": record}
    (folder / CONFIGURATION.name).write_text(yaml.safe_dump(settings), encoding="utf-8")


@contextmanager
def storage_errors(place: Path) -> Iterator[None]:
    """Tell in a sentence what is wrong with the disk or with a database.

    Args:
        place: A database, or a folder in which a damaged one is looked for.

    Raises:
        ConsultationError: The disk is full, nothing can be written there, something is in the way, or a database is
            damaged.
    """
    with disk_errors(place), database_errors(place):
        yield


@contextmanager
def database_errors(place: Path) -> Iterator[None]:
    """Tell in a sentence what is wrong with a database; as `storage_errors`, of which it is a part."""
    from sqlalchemy.exc import (
        DBAPIError,
    )  # takes as long as a third of Dagster, and not all who load this open a database

    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        if not isinstance(cause, sqlite3.Error):
            said = str(cause).strip().partition("\n")[0]
            raise ConsultationError(
                f"PostgreSQL did not do what it was asked ({said}). See whether it runs, and run again; what was made "
                "before stands."
            ) from error
        raise ConsultationError(_database_error(place, str(cause))) from error


def _database_error(place: Path, message: str) -> str:
    if "is full" in message or "disk I/O" in message:
        return f"{place}: {DISK_FULL}"
    if "readonly" in message or "unable to open" in message:
        return f"{place}: {NOT_WRITABLE}"
    if "locked" in message:
        return f"{place}: another process keeps a database locked. Wait for it or end it, and run again."
    for damaged in damaged_databases(place):
        return _damaged(damaged, message)
    return f"{place}: cannot be read ({message}). Restore it from a copy, or move it away, and run again."


def _damaged(database: Path, message: str) -> str:
    return (
        f"{database}: this database is damaged ({message}). Move it away together with the files {database.name}-* "
        f"beside it; put a copy in its place, or run again: a new one begins, and {what_is_lost(database)}."
    )


def check_database(database: Path) -> None:
    """Check that a database is whole, in place of a program that would end with a trace.

    Raises:
        ConsultationError: It is damaged.
    """
    for damaged in damaged_databases(database):
        raise ConsultationError(_damaged(damaged, "SQLite finds it malformed"))


def what_is_lost(database: Path) -> str:
    """Say what follows when a database begins anew."""
    found = (lost for name, lost in LOST.items() if database.match(name))
    return next(found, "what one run logged is lost")


def damaged_databases(place: Path) -> Iterator[Path]:
    """Yield the databases that SQLite finds damaged: this one, or any below a folder."""
    for path in sorted(place.rglob("*.db")) if place.is_dir() else [place]:
        try:
            with opened_database(path) as database:
                sound = database.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
        except sqlite3.DatabaseError as error:  # others are of a disk or of who else is at work
            sound = error.sqlite_errorcode & _PRIMARY not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
        if not sound:
            yield path


@contextmanager
def opened_database(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a database that exists, as those who write there do.

    A process that was killed leaves a journal of what it had not finished; SQLite takes that back when the database is
    next opened to be written, and refuses to read it until then.
    """
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)) as database:
        yield database
