"""Dagster's record of a consultation: divided once, opened by one process at a time, of one folder only."""

from __future__ import annotations

import errno
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy
from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.runs.sqlite import sqlite_run_storage
from dagster._core.storage.schedules.sqlite import sqlite_schedule_storage
from filelock import FileLock
from typer.testing import CliRunner

from ccai_dagster.audit.manifest import Manifest, write_manifest
from ccai_dagster.cli.app import app
from ccai_dagster.consultation.folder import SAMPLE, Consultation, address_of, has_moved, home_of, read_consultation
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.home import Home
from resources import instance as instances
from resources import shared_record
from resources.history import version_of
from resources.instance import (
    check_database,
    database_errors,
    kept_connections,
    open_instance,
    opened_alone,
    storage_errors,
)
from resources.record import open_record
from resources.record_files import RUNS, VERSIONS, all_ended_well

MADE, CHECK, LEDGER = dg.AssetKey(["public", "constitution"]), "passes", dg.AssetKey("wording_ledger")
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def make(instance: dg.DagsterInstance, root: Path, folder: Path, version: str) -> tuple[str, str]:
    """Observe and materialize, as `ccai run` does, and return the ids of the two runs."""

    @dg.asset(key=MADE)
    def constitution() -> dg.MaterializeResult[None]:
        path = root / folder.name / "tables" / "public" / "constitution.parquet"
        return dg.MaterializeResult(
            metadata={"path": dg.MetadataValue.path(path)}, data_version=dg.DataVersion(f"made {version}")
        )

    @dg.asset_check(asset=MADE, name=CHECK)
    def passes() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=True)

    @dg.observable_source_asset(key=LEDGER)
    def ledger() -> dg.ObserveResult:
        file = dg.MetadataValue.path(folder / "decisions" / "wording.csv")
        return dg.ObserveResult(metadata={"file": file}, data_version=dg.DataVersion(f"seen {version}"))

    jobs = [dg.define_asset_job("observe", [LEDGER]), dg.define_asset_job("materialize", [MADE])]
    defs = dg.Definitions([ledger, constitution], asset_checks=[passes], jobs=jobs)
    observed, made = (defs.resolve_job_def(job.name).execute_in_process(QUIET, instance) for job in jobs)
    return observed.run_id, made.run_id


def fail(instance: dg.DagsterInstance) -> str:
    @dg.op
    def fails() -> None:
        raise ZeroDivisionError

    @dg.job
    def failing() -> None:
        fails()

    return failing.execute_in_process(QUIET, instance, raise_on_error=False).run_id


@pytest.fixture(scope="module", autouse=True)
def nothing_is_waited_for() -> Iterator[None]:
    """Nothing is waited for until it is on the disk: after a power failure nobody goes on with a test."""

    def engine(address: str, **options: Any) -> sqlalchemy.Engine:
        made = sqlalchemy.create_engine(address, **options)
        sqlalchemy.event.listen(made, "connect", lambda connection, _: connection.execute("PRAGMA synchronous = OFF"))
        return made

    with pytest.MonkeyPatch.context() as patch:
        for storage in (sqlite_event_log, sqlite_run_storage, sqlite_schedule_storage):
            patch.setattr(storage, "create_engine", engine)
        yield


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, tuple[str, ...]]]:
    """A home of an earlier version in which A was made, then B, then A, and a run failed; and the runs of each."""
    root = tmp_path_factory.mktemp("shared")
    (root / "dagster").mkdir()
    with open_instance(root / "dagster") as instance:
        first = make(instance, root, Path("/folders/a"), "a1")
        other = make(instance, root, Path("/folders/b"), "b1")
        again = make(instance, root, Path("/folders/a"), "a2")
        failed = fail(instance)
    return root, {"a": (*first, *again), "b": other, "nobody": (failed,)}


def test_databases_that_are_kept_open_are_not_opened_again_and_others_read_what_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    town, opened = tmp_path / "town", []
    connect = sqlite3.dbapi2.connect
    with open_instance(tmp_path) as instance:
        make(instance, tmp_path, town, "before")
        monkeypatch.setattr(
            sqlite3.dbapi2, "connect", lambda path, **rest: opened.append(Path(path).name) or connect(path, **rest)
        )
        with kept_connections(instance):
            runs = make(instance, tmp_path, town, "meanwhile")
            opened.clear()
            run = instance.get_run_by_id(runs[1])
            for _ in range(3):
                instance.report_engine_event("said", run)
                assert version_of(MADE, instance) == "made meanwhile"
            assert set(opened) == {"runs.db"}, "which other runs are in as well"
            assert len(instance.all_logs(runs[1], of_type=dg.DagsterEventType.ENGINE_EVENT)) >= 3
            assert {path.name for path in (tmp_path / VERSIONS).parent.glob("*-wal")} == {
                "index.db-wal",
                f"{runs[1]}.db-wal",
            }
            with open_instance(tmp_path) as other:
                assert version_of(MADE, other) == "made meanwhile"
            with instance.event_log_storage.index_connection(), instance.event_log_storage.run_connection(runs[1]):
                assert version_of(MADE, instance) == "made meanwhile", "asked within another question"
            with pytest.raises(ZeroDivisionError), instance.event_log_storage.index_connection() as connection:
                connection.execute(sqlalchemy.text("DELETE FROM asset_keys"))
                raise ZeroDivisionError
        assert not list((tmp_path / VERSIONS).parent.glob("*-wal"))
        assert version_of(MADE, instance) == "made meanwhile", "what was not finished was taken back"
        make(instance, tmp_path, town, "afterwards")
        assert version_of(MADE, instance) == "made afterwards"


def ids(instance: dg.DagsterInstance) -> set[str]:
    return {run.run_id for run in instance.get_runs()}


def test_of_a_shared_record_each_consultation_gets_what_is_its_own(
    shared: tuple[Path, dict[str, tuple[str, ...]]], tmp_path: Path
) -> None:
    before, runs = shared
    root = Path(shutil.copytree(before, tmp_path / "home"))
    with open_instance(root / "dagster") as instance:
        number = instance.fetch_observations(LEDGER, limit=1).records[0].storage_id
    told: list[str] = []

    shared_record.take_over(Home(root, "a"), told.append)

    assert told == [f"Taking over {root / 'dagster'}, which all consultations shared in earlier versions"]
    assert sorted(path.name for path in root.iterdir()) == ["a", "b"]
    for name, versions in (("a", ("made a2", "seen a2")), ("b", ("made b1", "seen b1"))):
        home = Home(root, name)
        assert home.source.read_text() == f"/folders/{name}\n"
        with open_instance(home.dagster) as instance:
            assert ids(instance) == {*runs[name], *runs["nobody"]}
            latest = instance.get_latest_materialization_event(MADE)
            assert latest is not None and latest.run_id == runs[name][-1]
            assert (version_of(MADE, instance), version_of(LEDGER, instance)) == versions
            assert len(instance.fetch_materializations(MADE, limit=9).records) == len(runs[name]) / 2
            (check,) = instance.event_log_storage.get_latest_asset_check_execution_by_key(
                [dg.AssetCheckKey(MADE, CHECK)]
            ).values()
            assert check.run_id == runs[name][-1]
            if name == "a":
                assert instance.fetch_observations(LEDGER, limit=1).records[0].storage_id == number
        logs = {path.stem for path in (home.dagster / "history" / "runs").glob("*.db")}
        assert logs == {*runs[name], *runs["nobody"], "index"}
    shared_record.take_over(Home(root, "a"), told.append)
    assert len(told) == 1


@pytest.mark.parametrize("step", ["the second copy", "a deletion in a copy", "the deletion of what was divided"])
def test_a_division_that_is_killed_is_ended_by_the_next_start(
    shared: tuple[Path, dict[str, tuple[str, ...]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    before, runs = shared
    root = Path(shutil.copytree(before, tmp_path / "home"))
    copytree, rmtree = shutil.copytree, shutil.rmtree

    def killed(*arguments: Any) -> None:
        raise KeyboardInterrupt

    def copy(source: Path, *arguments: Any, **options: Any) -> Any:
        return killed() if (root / "a" / "dagster").exists() else copytree(source, *arguments, **options)

    def remove(folder: Path, ignore_errors: bool = False) -> None:
        return killed() if folder == root / shared_record.DIVIDED and folder.exists() else rmtree(folder, ignore_errors)

    with monkeypatch.context() as patch:
        if step == "the second copy":
            patch.setattr(shutil, "copytree", copy)
        elif step == "a deletion in a copy":
            patch.setattr(dg.DagsterInstance, "delete_run", killed)
        else:
            patch.setattr(shutil, "rmtree", remove)
        with pytest.raises(KeyboardInterrupt):
            shared_record.take_over(Home(root, "a"), print)
    shared_record.take_over(Home(root, "b"), print)

    assert sorted(path.name for path in root.iterdir()) == ["a", "b"]
    for name in ("a", "b"):
        assert sorted(path.name for path in (root / name).iterdir()) == ["dagster", "folder.txt"]
        with open_instance(Home(root, name).dagster) as instance:
            assert ids(instance) == {*runs[name], *runs["nobody"]}


def test_a_record_of_one_consultation_becomes_its_own_with_every_run(tmp_path: Path) -> None:
    root = tmp_path / "home"
    (root / "dagster").mkdir(parents=True)
    with open_instance(root / "dagster") as instance:
        runs = {*make(instance, root, Path("/folders/a"), "a1"), fail(instance)}

    shared_record.take_over(Home(root, "other"), print)

    assert [path.name for path in root.iterdir()] == ["a"]
    with open_instance(Home(root, "a").dagster) as instance:
        assert ids(instance) == runs
    # An earlier version is run once more.
    (root / "dagster").mkdir(parents=True)
    with open_instance(root / "dagster") as instance:
        make(instance, root, Path("/folders/a"), "a2")
    with pytest.raises(ConsultationError, match=rf"an earlier version kept runs here .* Move {root / 'dagster'} away"):
        shared_record.take_over(Home(root, "a"), print)
    assert (root / "dagster").is_dir()


@pytest.fixture
def town(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Consultation:
    monkeypatch.setenv("CCAI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DAGSTER_HOME", "set by who opens a record")
    return read_consultation(Path(shutil.copytree(SAMPLE, tmp_path / "town")))


def opened(consultation: Consultation) -> list[str]:
    """Open a record and close it; return what was said."""
    told: list[str] = []
    open_record(home_of(consultation), consultation, told.append).dispose()
    return told


def test_results_of_another_folder_of_the_same_name_are_refused(town: Consultation, tmp_path: Path) -> None:
    assert opened(town) == []
    assert opened(read_consultation(town.folder)) == []
    other = read_consultation(Path(shutil.copytree(town.folder, tmp_path / "elsewhere" / "town")))
    with pytest.raises(ConsultationError) as raised:
        home_of(other)
    assert str(raised.value) == (
        f"{tmp_path / 'home' / 'town'} keeps the results of {town.folder}, so {other.folder} cannot. Rename one of the "
        "two folders, or set CCAI_HOME to another place for one of them."
    )


def test_results_go_with_a_folder_that_was_moved(town: Consultation, tmp_path: Path) -> None:
    opened(town)
    home, before = home_of(town), town.folder
    moved = read_consultation(Path(shutil.move(before, tmp_path / "moved" / "town")))
    assert opened(moved) == [
        f"{before} is no longer there; its results in {home.folder} are taken for those of {moved.folder}"
    ]
    assert opened(moved) == []


def test_a_folder_that_only_an_earlier_manifest_names_is_known(town: Consultation, tmp_path: Path) -> None:
    home, other = home_of(town), tmp_path / "elsewhere" / "town"
    shutil.copytree(town.folder, other)
    home.folder.mkdir(parents=True)
    write_manifest(home.manifest, Manifest(consultation="town", folder=str(other), materializations={}, files={}))
    with pytest.raises(ConsultationError, match=f"keeps the results of {other}, so"):
        opened(town)


def test_the_embedded_consultation_is_the_same_in_every_checkout(tmp_path: Path) -> None:
    checkout = tmp_path.joinpath(*SAMPLE.parts[-3:])
    assert address_of(checkout) == address_of(SAMPLE) == read_consultation(SAMPLE).address
    own = read_consultation(Path(shutil.copytree(SAMPLE, tmp_path / "sample")))
    with pytest.raises(ConsultationError, match="keeps the results of the embedded consultation"):
        has_moved(own, Home(tmp_path, "sample"), address_of(checkout))


@pytest.mark.parametrize(
    "name", ["cache", "Dagster", "mlflow.db", "mlflow-artifacts", "Default", ".town", "to\nwn", ""]
)
def test_names_that_the_home_uses_or_that_are_none_are_refused(name: str) -> None:
    with pytest.raises(ConsultationError, match="cannot be the name of a consultation folder"):
        Home(Path("home"), name)


def test_no_folder_is_made_whose_results_could_not_be_kept(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["new", str(tmp_path / "cache"), "--from-export", str(SAMPLE / "votes")])
    assert done.exit_code == 1 and "'cache' cannot be the name of a consultation folder" in done.output
    assert list(tmp_path.iterdir()) == []


def test_who_opens_waits_for_who_is_opening(town: Consultation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instances, "WAIT_SECONDS", 0.01)
    home = home_of(town)
    with FileLock(home.lock), pytest.raises(ConsultationError, match="another process has been opening it"):
        opened(town)
    assert not home.dagster.exists()
    assert opened(town) == []


@pytest.mark.parametrize(
    ("database", "lost"),
    [
        ("history/runs.db", "earlier runs are no longer listed"),
        ("history/runs/index.db", "everything counts as not made and is made again"),
        ("schedules/schedules.db", "sensors and schedules forget what they saw"),
    ],
)
def test_of_a_damaged_or_lost_database_file_and_remedy_are_told(town: Consultation, database: str, lost: str) -> None:
    opened(town)
    home = home_of(town)
    path = home.dagster / database
    whole = path.read_bytes()
    for content in (bytes(len(whole)), whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(ConsultationError) as raised:
            opened(town)
        assert str(raised.value).startswith(f"{path}: this database is damaged (")
        assert str(raised.value).endswith(
            f"the files {path.name}-* beside it; put a copy in its place, or run again: a new one begins, and {lost}."
        )
    write_manifest(home.manifest, Manifest(consultation="town", folder="", materializations={}, files={}))
    for remove in (path.unlink, lambda: path.write_bytes(b"")):
        remove()
        assert opened(town) == [f"{path} is gone or empty: a new one begins, and {lost}"]
        assert opened(town) == []


def test_the_home_becomes_private_and_the_folder_of_a_database_elsewhere_stays_as_it_is(
    town: Consultation, tmp_path: Path
) -> None:
    opened(town)
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    with opened_alone(shared / "mlflow.db", shared / ".mlflow.db.lock"):
        pass
    assert [stat.S_IMODE(each.stat().st_mode) for each in (home_of(town).root, shared)] == [0o700, 0o755]


def test_a_manifest_that_is_gone_or_was_changed_after_a_run_is_told(town: Consultation) -> None:
    home = home_of(town)
    with open_record(home, town, print) as instance:
        make(instance, home.root, town.folder, "1")
    (gone,) = opened(town)
    assert gone.startswith(f"{home.manifest} is gone, or was changed since it was written: rows of ledgers cannot be")
    write_manifest(home.manifest, Manifest(consultation="town", folder="", materializations={}, files={}))
    assert opened(town) == []
    home.manifest.write_bytes(home.manifest.read_bytes() + b" ")
    assert opened(town) == [gone]


@pytest.mark.parametrize("journal", ["DELETE", "PERSIST", "WAL"])
def test_what_a_killed_process_left_or_another_holds_is_no_damage(
    tmp_path: Path, journal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that dies while it writes leaves a journal, which is taken back by whoever writes next."""
    path = tmp_path / "mlflow.db"
    dies = (
        "import os, sqlite3, sys\n"
        "database = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "database.execute(f'PRAGMA journal_mode={sys.argv[2]}')\n"
        "database.execute('CREATE TABLE notes (note)')\n"
        "database.executemany('INSERT INTO notes VALUES (?)', [('whole' * 100,)] * 50)\n"
        "database.execute('PRAGMA cache_size=5')\n"
        "database.execute('BEGIN IMMEDIATE')\n"
        "database.execute('UPDATE notes SET note = zeroblob(500)')\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", dies, str(path), journal], check=False)
    assert path.with_name(f"{path.name}-{'wal' if journal == 'WAL' else 'journal'}").stat().st_size
    check_database(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        assert database.execute("SELECT DISTINCT note FROM notes").fetchall() == [("whole" * 100,)]
        database.execute("PRAGMA locking_mode=EXCLUSIVE")
        database.execute("BEGIN EXCLUSIVE")
        monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, timeout=0))
        check_database(path)


def test_a_set_of_tables_that_two_versions_made_is_told(town: Consultation) -> None:
    """Two first starts at once, in an earlier version, could leave this."""
    opened(town)
    index = home_of(town).dagster / "history" / "runs" / "index.db"
    with closing(sqlite3.connect(index)) as database, database:
        database.execute("INSERT INTO alembic_version VALUES ('567bc23fd1ac')")
    with pytest.raises(ConsultationError, match=r"Dagster cannot open its record there .* Move .*/history away"):
        opened(town)


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (errno.ENOSPC, "the disk is full. Make room and run again"),
        (errno.EROFS, "cannot be written. Get the right to write there, or name another folder"),
        (errno.ENOTDIR, "a file, where a folder is needed. Move it away"),
        (errno.EISDIR, "a folder, where a file is needed. Move it away"),
    ],
)
def test_what_the_disk_does_not_do_is_told_with_a_remedy(tmp_path: Path, code: int, sentence: str) -> None:
    with pytest.raises(ConsultationError, match=f"^/a/b: {sentence}"), storage_errors(tmp_path):
        raise OSError(code, "no", "/a/b")
    with pytest.raises(ConsultationError, match=f"^{tmp_path}: {sentence}"), storage_errors(tmp_path):
        raise OSError(code, "no")


def test_other_errors_of_the_system_are_not_explained_away(tmp_path: Path) -> None:
    with pytest.raises(ConnectionResetError), storage_errors(tmp_path):
        raise ConnectionResetError(errno.ECONNRESET, "Connection reset")


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        ("database or disk is full", "the disk is full"),
        ("attempt to write a readonly database", "cannot be written"),
        ("database is locked", "another process keeps a database locked"),
        ("no such table: runs", r"cannot be read \(no such table: runs\)"),
    ],
)
def test_what_a_database_does_not_do_is_told(tmp_path: Path, message: str, sentence: str) -> None:
    with pytest.raises(ConsultationError, match=f"^{tmp_path}: {sentence}"), database_errors(tmp_path):
        raise sqlite3.OperationalError(message)


@pytest.mark.parametrize("where", ["", "town", "town/dagster"])
def test_a_file_where_results_are_kept_in_a_folder_is_named(town: Consultation, tmp_path: Path, where: str) -> None:
    path = tmp_path / "home" / where
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("a file")
    with pytest.raises(ConsultationError, match=f"^{path}: a file, where a folder is needed"):
        opened(town)


def test_whether_all_ended_well_is_told_without_dagster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fails = True

    @dg.asset(key=MADE)
    def constitution() -> None:
        if fails:
            raise dg.Failure("the disk is full.")

    job = dg.Definitions([constitution]).resolve_implicit_global_asset_job_def()
    assert all_ended_well(tmp_path), "nothing is on record yet"
    with open_instance(tmp_path) as instance:
        for fails, expected in ((False, True), (True, False), (False, True)):  # noqa: B007, read by the asset
            job.execute_in_process(QUIET, instance, raise_on_error=False)
            assert all_ended_well(tmp_path) is expected
        begun = instance.create_run_for_job(job)
        assert not all_ended_well(tmp_path), "a run is under way"
        instance.delete_run(begun.run_id)
        assert all_ended_well(tmp_path)
    monkeypatch.setenv("CCAI_POSTGRES_URL", "postgresql://nowhere")
    assert not all_ended_well(tmp_path), "of another record a query of files tells nothing"
    monkeypatch.delenv("CCAI_POSTGRES_URL")
    (tmp_path / RUNS).write_bytes(b"")
    assert not all_ended_well(tmp_path), "nor does a database that lost its tables"
