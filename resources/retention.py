"""What nothing cites any more: old runs of Dagster and MLflow, models, tables, downloads and unfinished stages.

Belongs here: finding it, which changes nothing, and removing what was found. What a report, a manifest, a ledger, a
table of the present graph or the latest record in Dagster names is cited, by its id or by the first eight characters
of it or more, and stays however old it is.
"""

import re
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import dagster as dg
import polars as pl
from upath import UPath

from ccai_dagster.audit.manifest import manifest_text
from ccai_dagster.consultation.folder import Consultation
from ccai_dagster.contracts import MODEL_STAGES
from ccai_dagster.core.files import read_table
from ccai_dagster.core.home import Home, place
from ccai_dagster.core.text import counted
from ccai_dagster.evaluation.ratings import rating_files
from resources import run_tags
from resources.history import describe
from resources.tracking import Tracking
from resources.vote_source import holds_unread_cells

DAYS = 90
"""Younger things are not looked at, unless somebody says otherwise."""
SECONDS_A_DAY = 86_400
SHORTEST = 8
"""Characters of an id that cite it."""
_ID = re.compile(rf"[0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}|[0-9a-f]{{{SHORTEST},64}}")


@dataclass(frozen=True)
class Leftover:
    """Something that nothing cites.

    Attributes:
        kind: What it is, as people call it.
        name: Its id, or the name of its folder or file.
        changed: When it was last changed, in seconds since 1970.
        n_bytes: What its removal frees.
        remark: What else is worth knowing.
        has_codes: Whether personal codes are in it, so that it is listed however young it is.
    """

    kind: str
    name: str
    changed: float
    n_bytes: int
    remark: str
    remove: Callable[[], object]
    has_codes: bool = False

    def __str__(self) -> str:
        day = datetime.fromtimestamp(self.changed, UTC).date().isoformat()
        remark = f", {self.remark}" if self.remark else ", with personal codes" if self.has_codes else ""
        return f"{self.kind} {self.name}: {day}, {_size(self.n_bytes)}{remark}"


@dataclass(frozen=True)
class Cited:
    """The ids in texts, whole or shortened."""

    ids: frozenset[str]

    def __contains__(self, name: str) -> bool:
        return any(name[:length] in self.ids for length in range(SHORTEST, len(name) + 1))


def find_leftovers(
    consultation: Consultation,
    home: Home,
    instance: dg.DagsterInstance,
    tracking: Tracking,
    keys: Collection[dg.AssetKey],
    days: int = DAYS,
) -> list[Leftover]:
    """Return what nothing cites and is older; personal codes in a download make it old enough. Nothing is changed.

    Args:
        keys: All assets of the graph.
        days: Since it was last changed.

    Raises:
        ConsultationError: Something that may cite cannot be read.
    """
    before = time.time() - days * SECONDS_A_DAY
    cited = find_cited(consultation, home, instance, keys)
    found = [
        *_dagster_runs(home, instance, cited, before),
        *_mlflow_runs(tracking, cited),
        *_model_versions(tracking, cited),
        *_folders("model", UPath(home.models_url), cited),
        *_tables(UPath(home.tables_url), keys),
        *_downloads(home, cited),
        *_folders("unfinished stage", UPath(home.work), cited),
    ]
    return [each for each in found if each.changed < before or each.has_codes]


def told(found: Sequence[Leftover], removed: bool) -> list[str]:
    """Return a line for each and one for all of them."""
    if not found:
        return ["Nothing is old enough that nothing cites."]
    whole = f"{counted(len(found), 'thing')}, {_size(sum(each.n_bytes for each in found))}"
    return [
        *map(str, found),
        f"Removed: {whole}." if removed else f"Nothing cites these: {whole}. Nothing was removed.",
    ]


def find_cited(
    consultation: Consultation, home: Home, instance: dg.DagsterInstance, keys: Collection[dg.AssetKey]
) -> Cited:
    """Collect the ids that anything names."""
    texts = [manifest_text(describe(consultation, home, instance, keys))]
    files = [home.manifest, *home.report.glob("[!.]*"), *rating_files(consultation.ratings)]
    files += (consultation.folder / "decisions").glob("*.csv")
    texts += [path.read_text(encoding="utf-8", errors="replace") for path in files if path.is_file()]
    ids = {each for text in texts for each in _ID.findall(text)}
    for key in keys:
        table = read_table(place(home.tables_url).joinpath(*key.path[:-1], f"{key.path[-1]}.parquet"))
        if table is not None:
            ids |= _in_table(table)
    return Cited(frozenset(ids | _on_record(instance, keys)))


def _in_table(table: pl.DataFrame) -> set[str]:
    return {
        each
        for column in table.select(pl.selectors.string())
        for found in column.drop_nulls().unique().to_list()
        for each in _ID.findall(found)
    }


def _on_record(instance: dg.DagsterInstance, keys: Collection[dg.AssetKey]) -> set[str]:
    """The ids in the latest materializations, and the runs that Dagster, sensors and observations made of need."""
    ids: set[str] = set()
    pointers: set[int] = set()
    records = instance.get_asset_records(list(keys))
    for record in records:
        entry = record.asset_entry
        ids |= {entry.last_run_id} if entry.last_run_id else set()
        event = entry.last_materialization
        made = event.asset_materialization if event is not None else None
        if made is not None:
            ids |= set(_ID.findall(f"{made.tags} {[each.value for each in made.metadata.values()]}"))
            pointers |= {int(value) for value in (made.tags or {}).values() if value.isdecimal()}
    for record in records:
        for number, observed in enumerate(_observations(instance, record.asset_entry.asset_key)):
            if number == 0 or observed.storage_id in pointers:
                ids.add(observed.run_id)
    runs = [each for each in ids if each.count("-") == 4]
    named = instance.get_runs(dg.RunsFilter(run_ids=runs)) if runs else []
    compared = {run.tags.get(run_tags.COMPARED) for run in named}
    attempts = [instance.get_runs(dg.RunsFilter(tags={run_tags.COMPARED: each})) for each in compared if each]
    return ids | {run.run_id for tried in attempts for run in tried}


def _observations(instance: dg.DagsterInstance, key: dg.AssetKey) -> Iterator[dg.EventLogRecord]:
    cursor: str | None = None
    while True:
        page = instance.fetch_observations(key, limit=1000, cursor=cursor)
        yield from page.records
        if not page.has_more:
            return
        cursor = page.cursor


def _dagster_runs(home: Home, instance: dg.DagsterInstance, cited: Cited, before: float) -> Iterator[Leftover]:
    history = home.dagster / "history" / "runs"
    for record in instance.get_run_records(dg.RunsFilter(created_before=datetime.fromtimestamp(before, UTC))):
        run = record.dagster_run
        if not run.is_finished or run.run_id in cited:
            continue
        files = [*history.glob(f"{run.run_id}.db*"), *(home.dagster / "storage" / run.run_id).rglob("*")]
        yield Leftover(
            "Dagster run",
            run.run_id,
            record.update_timestamp.timestamp(),
            sum(path.stat().st_size for path in files if path.is_file()),
            f"{run.job_name}, {run.status.value}",
            partial(_delete_run, instance, run.run_id, history),
        )


def _delete_run(instance: dg.DagsterInstance, run_id: str, history: Path) -> None:
    instance.delete_run(run_id)
    instance.compute_log_manager.delete_logs(prefix=[run_id])
    for path in history.glob(f"{run_id}.db*"):  # Dagster leaves the file of a run's events, with nothing in it
        path.unlink()


def _mlflow_runs(tracking: Tracking, cited: Cited) -> Iterator[Leftover]:
    if (experiment := tracking.known_experiment()) is None:
        return
    import mlflow

    client = mlflow.MlflowClient()
    for run in _pages(partial(client.search_runs, [experiment])):
        if run.info.run_id in cited or run.data.tags.get("model_digest", "") in cited:
            continue
        address = urlparse(run.info.artifact_uri)
        folder = Path(unquote(address.path)).parent if address.scheme in ("", "file") else None
        yield Leftover(
            "MLflow run",
            run.info.run_id,
            (run.info.end_time or run.info.start_time) / 1000,
            _bytes(UPath(folder)) if folder else 0,
            str(run.info.run_name) if folder else f"{run.info.run_name}; its artifacts are for `mlflow gc` there",
            partial(_delete_mlflow_run, client, run.info.run_id, folder),
        )


def _delete_mlflow_run(client: Any, run_id: str, folder: Path | None) -> None:
    client.delete_run(run_id)
    if folder is not None and folder.name == run_id:
        shutil.rmtree(folder, ignore_errors=True)


def _model_versions(tracking: Tracking, cited: Cited) -> Iterator[Leftover]:
    if tracking.known_experiment() is None:
        return
    import mlflow

    client = mlflow.MlflowClient()
    own = {tracking.registered_name(stage) for stage in MODEL_STAGES}
    for name in sorted(own & {each.name for each in _pages(client.search_registered_models)}):
        # A search of versions does not tell aliases.
        in_use = {str(version) for version in client.get_registered_model(name).aliases.values()}
        for each in _pages(partial(client.search_model_versions, f"name = '{name}'")):
            if str(each.version) not in in_use and each.tags.get("model_digest", "") not in cited:
                delete = partial(client.delete_model_version, name, each.version)
                changed = each.last_updated_timestamp / 1000
                yield Leftover("MLflow model", f"{name} version {each.version}", changed, 0, "", delete)


def _pages(search: Callable[..., Any]) -> Iterator[Any]:
    """Yield all that a search of MLflow's finds."""
    token = None
    while True:
        page = search(page_token=token)
        yield from page
        if not (token := page.token):
            return


def _folders(kind: str, folder: UPath, cited: Cited) -> Iterator[Leftover]:
    """What lies in a folder whose subfolders have ids as names; other names are of what was not finished."""
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if path.name not in cited:
                yield Leftover(kind, path.name, _changed(path), _bytes(path), "", partial(_remove, path))


def _tables(folder: UPath, keys: Collection[dg.AssetKey]) -> Iterator[Leftover]:
    """Tables of assets that are no longer there, for instance of an arm that was renamed."""
    known = {f"{'/'.join(key.path)}.parquet" for key in keys}
    for path in sorted(folder.rglob("*.parquet")) if folder.is_dir() else []:
        name = path.relative_to(folder).as_posix()
        if name not in known:
            yield Leftover("table", name, _changed(path), _bytes(path), "", partial(_remove, path))


def _downloads(home: Home, cited: Cited) -> Iterator[Leftover]:
    for each in _folders("download", UPath(home.downloads), cited):
        yield replace(each, has_codes=holds_unread_cells(home.downloads / each.name))


def _changed(path: UPath) -> float:
    """When the youngest file was written; a folder without files counts by itself."""
    files = [each for each in path.rglob("*") if each.is_file()] if path.is_dir() else []
    return float(max(each.stat().st_mtime for each in files or [path]))


def _bytes(path: UPath) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(each.stat().st_size for each in files if each.is_file())


def _remove(path: UPath) -> None:
    path.fs.rm(path.path, recursive=True)


def _size(n_bytes: float) -> str:
    for unit in ("bytes", "KB", "MB"):
        if n_bytes < 1000:
            return f"{n_bytes:,.0f} {unit}" if unit == "bytes" else f"{n_bytes:,.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:,.1f} GB"
