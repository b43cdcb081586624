"""The run history: what Dagster has on record of a consultation, and the manifest written from it.

Belongs here: asking Dagster's instance and the folders of results, and Dagster's tags of versions. Doesn't belong here:
what is stale (`ccai_dagster.staleness`), and what is made of the manifest (`ccai_dagster.audit`).

Versions: https://docs.dagster.io/guides/build/assets/asset-versioning-and-caching
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import dagster as dg

from ccai_dagster.audit.ledger_record import RecordedRows, recorded_rows
from ccai_dagster.audit.manifest import (
    CONSULTATION,
    DOWNLOADS,
    MODELS,
    OUTSIDE,
    REPORT,
    SAMPLE_FILES,
    TABLES,
    FileRecord,
    Manifest,
    Materialization,
    Observation,
    Run,
    describe_files,
    last_manifest,
    listed_folder,
    write_manifest,
)
from ccai_dagster.consultation.folder import LEDGERS, SAMPLE, Consultation, is_live, named_files
from ccai_dagster.contracts import MODEL_STAGES
from ccai_dagster.core.home import Home, place
from ccai_dagster.core.schema_version import SCHEMA_VERSION
from ccai_dagster.decisions.ledger import ledger_digest, read_ledger
from ccai_dagster.evaluation.ratings import rating_files

EARLIER = 20
"""Materializations of an asset that the manifest lists; Dagster keeps all of them."""
_DATA_VERSION, _CODE_VERSION = "dagster/data_version", "dagster/code_version"
_INPUT_VERSION, _INPUT_POINTER = "dagster/input_data_version/", "dagster/input_event_pointer/"


def data_version(event: dg.AssetMaterialization | dg.AssetObservation | None) -> str | None:
    """Return the version of the data that was made or seen."""
    return (event.tags or {}).get(_DATA_VERSION) if event is not None else None


def code_version(made: dg.AssetMaterialization) -> str | None:
    """Return the version of the code and settings it was made with."""
    return (made.tags or {}).get(_CODE_VERSION)


def input_versions(made: dg.AssetMaterialization) -> dict[str, str]:
    """Return the data version of each input it was made from, by the input's name."""
    tags = made.tags or {}
    return {name.removeprefix(_INPUT_VERSION): tags[name] for name in tags if name.startswith(_INPUT_VERSION)}


def version_of(key: dg.AssetKey, instance: dg.DagsterInstance) -> str | None:
    """Return the data version an asset was last materialized or observed with."""
    record = instance.get_latest_data_version_record(key)
    return data_version(record.asset_event) if record is not None else None


def latest_materializations(
    keys: Iterable[dg.AssetKey], instance: dg.DagsterInstance
) -> dict[dg.AssetKey, dg.AssetMaterialization]:
    """Return the latest materialization of each asset that has one, all in one query."""
    entries = [record.asset_entry.last_materialization for record in instance.get_asset_records(list(keys))]
    found = [entry.asset_materialization for entry in entries if entry is not None]
    return {made.asset_key: made for made in found if made is not None}


def versions_of(keys: Collection[dg.AssetKey], instance: dg.DagsterInstance) -> dict[dg.AssetKey, str]:
    """Return what `version_of` does of each asset that has a version, asked for together."""
    made = latest_materializations(keys, instance)
    found = {key: data_version(made[key]) if key in made else observed_version(key, instance) for key in keys}
    return {key: version for key, version in found.items() if version}


def observed_version(key: dg.AssetKey, instance: dg.DagsterInstance) -> str | None:
    """Return the data version a source was last observed with; it is never materialized, which need not be asked."""
    records = instance.fetch_observations(key, limit=1).records
    return data_version(records[0].asset_observation) if records else None


def remedy(key: dg.AssetKey) -> str:
    """Return how a person has an asset made again."""
    name = key.to_user_string()
    return f"`ccai run` makes {name} again if need be, and `ccai run --select 'key:\"{name}\"'` in any case."


def refusal(key: dg.AssetKey, instance: dg.DagsterInstance) -> str | None:
    """Tell that the last run that was to make an asset did not store it, if its own checks refused it.

    Returns:
        What they found and what to do. None if they did not, and also if it was made from what there is now all the
        same, so that what stands is right.
    """
    records = instance.get_asset_records([key])
    return made_and_refusal(records[0].asset_entry, instance)[1] if records else None


def made_and_refusal(entry: Any, instance: dg.DagsterInstance) -> tuple[dg.AssetMaterialization | None, str | None]:
    """Return the latest materialization of an asset, if there is one, and what `refusal` tells.

    Args:
        entry: What Dagster has on record of the asset, a type that it does not export.
    """
    key, stored, last_run = entry.asset_key, entry.last_materialization_record, entry.last_run_id
    made = stored.asset_materialization if stored is not None else None
    if made is None or last_run in (None, stored.run_id):
        return made, None
    used = input_versions(made)
    if all(version_of(dg.AssetKey.from_user_string(name), instance) == used[name] for name in used):
        return made, None
    found = instance.get_records_for_run(str(last_run), of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    for each in found.records:
        event = each.event_log_entry.dagster_event
        checked = event.asset_check_evaluation_data if event is not None else None
        if checked is None or checked.asset_key != key or checked.passed:
            continue
        if checked.severity == dg.AssetCheckSeverity.ERROR:
            return made, (
                f"{key.to_user_string()} was refused when it was last to be made, and what is there is of before: "
                f"{checked.metadata['what'].value} Mend that first. {remedy(key)}"
            )
    return made, None


def refused_ancestors(
    selected: Collection[dg.AssetKey],
    parents: Mapping[dg.AssetKey, Collection[dg.AssetKey]],
    instance: dg.DagsterInstance,
) -> list[str]:
    """Tell, in the words of `refusal`, what was refused and not selected while what follows from it is.

    Args:
        parents: Of every asset that can be materialized.
    """
    above: set[dg.AssetKey] = set()
    waiting = set(selected)
    while waiting:
        waiting = {parent for key in waiting for parent in parents.get(key, ())} - above
        above |= waiting
    unselected = sorted((above & set(parents)) - set(selected))
    return [told for key in unselected if (told := refusal(key, instance)) is not None]


def record(
    consultation: Consultation, home: Home, instance: dg.DagsterInstance, keys: Iterable[dg.AssetKey]
) -> Manifest:
    """Write the manifest of everything that was made so far, and return it; `keys` are all assets of the graph."""
    manifest = describe(consultation, home, instance, keys)
    write_manifest(home.manifest, manifest)
    return manifest


def record_with_file(home: Home, manifest: Manifest, path: Path) -> None:
    """Write a manifest and in it one more file of the report, which was written after the manifest was described."""
    files = {**manifest.files, **describe_files({f"{REPORT}/{path.name}": path})}
    write_manifest(home.manifest, manifest.model_copy(update={"files": files}))


def describe(
    consultation: Consultation, home: Home, instance: dg.DagsterInstance, keys: Iterable[dg.AssetKey]
) -> Manifest:
    """Collect what Dagster knows and what lies in the folders."""
    before = last_manifest(home.manifest)
    ordered = sorted(set(keys), key=lambda key: key.to_user_string())
    # One question tells of which assets nothing is on record, and of which there are only observations.
    known = {each.asset_entry.asset_key: each.asset_entry for each in instance.get_asset_records(ordered)}
    stored = [key for key in ordered if key in known and known[key].last_materialization is not None]
    made = {key.to_user_string(): _materializations(instance, key) for key in stored}
    latest = {name: found[0] for name, found in made.items() if found}
    unmade = [key for key in ordered if key in known and key.to_user_string() not in latest]
    sources = {key.to_user_string(): found for key in unmade if (found := _observation(instance, key)) is not None}
    bare: dict[str, Any] = {"inputs": {}, "observations": {}}
    earlier = {
        name: [each.model_copy(update=bare) for each in found[1:]] for name, found in made.items() if len(found) > 1
    }
    runs = {each.dagster_run for found in made.values() for each in found}
    runs |= {each.dagster_run for each in sources.values()}
    votes = sources.get("polis_export")
    rows = {kind: _rows(before, consultation, kind, latest) for kind in LEDGERS}
    return Manifest(
        schema_version=SCHEMA_VERSION,
        consultation=consultation.name,
        folder=str(consultation.folder),
        materializations=latest,
        earlier=earlier,
        sources=sources,
        runs=_runs(instance, sorted(runs)),
        files=_files(
            input_paths(consultation, home, votes.data_version if votes else None),
            home,
            [key for key in ordered if key.to_user_string() in latest],
            latest,
            before,
        ),
        rows={kind: each.rows for kind, each in rows.items()},
        unused_rows={kind: each.unused_rows for kind, each in rows.items() if each.unused_rows},
        amended_rows={kind: each.amended_rows for kind, each in rows.items() if each.amended_rows},
    )


def input_paths(consultation: Consultation, home: Home, observed: str | None) -> dict[str, Path]:
    """Return every file that the results were made of, by its name in the manifest.

    Args:
        observed: The version of the votes that was last observed, if they were.
    """
    paths = [consultation.folder / "consultation.yaml", *named_files(consultation)]
    paths += rating_files(consultation.ratings)
    if is_live(consultation.votes):
        paths += sorted((home.downloads / (observed or "nothing")).glob("[!.]*"))
    paths += [each for path in paths if path.is_dir() for each in sorted(path.rglob("[!.]*"))]
    found = {}
    places = (
        (CONSULTATION, consultation.folder),
        (SAMPLE_FILES, SAMPLE),
        (DOWNLOADS, home.downloads),
        (OUTSIDE, Path("/")),
    )
    for path in filter(Path.is_file, paths):
        for name, folder in places:
            if path.is_relative_to(folder):
                found[f"{name}/{path.relative_to(folder).as_posix()}"] = path
                break
    return found


def _rows(
    before: Manifest | None, consultation: Consultation, kind: str, latest: Mapping[str, Materialization]
) -> RecordedRows:
    ledger = read_ledger(consultation.ledger(kind), kind)
    version = ledger_digest(ledger)
    used = any(made.inputs.get(f"{kind}_ledger") == version for made in latest.values())
    return recorded_rows(before, kind, ledger, used)


def _files(
    inputs: dict[str, Path],
    home: Home,
    keys: Collection[dg.AssetKey],
    latest: dict[str, Materialization],
    before: Manifest | None,
) -> dict[str, FileRecord]:
    """The digests of all files.

    What an earlier manifest says of a version that still stands is kept and not read again: a file that was
    changed behind the run's back must not become the record.
    """
    kept: dict[str, FileRecord] = {}
    paths = dict(inputs)
    tables = place(home.tables_url)
    for key in keys:
        asset, name = key.to_user_string(), f"{TABLES}/{'/'.join(key.path)}.parquet"
        if before is not None and name in before.files and before.materializations.get(asset) == latest[asset]:
            kept[name] = before.files[name]
        elif (path := tables / f"{'/'.join(key.path)}.parquet").exists():
            paths[name] = path
    versions = {each.data_version for each in latest.values()}
    for path in sorted(home.report.glob("[!.]*")):
        name = f"{REPORT}/{path.name}"
        if before is not None and name in before.files and before.files[name].sha256 in versions:
            kept[name] = before.files[name]
        elif path.is_file():
            paths[name] = path
    made = {each.data_version for name, each in latest.items() if name.rpartition("/")[2] in MODEL_STAGES}
    for digest in sorted(made):
        folder = f"{MODELS}/{digest}"
        stored = {
            name: each for name, each in (before.files if before else {}).items() if name.startswith(f"{folder}/")
        }
        if stored and listed_folder(stored, folder) == digest:
            kept |= stored
        else:
            stored_in = place(home.models_url) / digest
            paths |= {
                f"{folder}/{path.relative_to(stored_in).as_posix()}": path
                for path in stored_in.rglob("*")
                if path.is_file()
            }
    return describe_files(paths) | kept


def _materializations(instance: dg.DagsterInstance, key: dg.AssetKey) -> list[Materialization]:
    found = []
    for each in instance.fetch_materializations(key, limit=EARLIER).records:
        event = each.asset_materialization
        if event is None or (version := data_version(event)) is None:
            continue
        observations = {
            tag.removeprefix(_INPUT_POINTER): int(value)
            for tag, value in (event.tags or {}).items()
            if tag.startswith(_INPUT_POINTER) and str(value).isdecimal()
        }
        found.append(
            Materialization(
                data_version=version,
                dagster_run=each.run_id,
                mlflow_run=_mlflow_run(event),
                made_at=_time(each.timestamp),
                inputs=input_versions(event),
                observations=observations,
            )
        )
    return found


def _mlflow_run(event: dg.AssetMaterialization) -> str | None:
    """The run's id, from its own entry or from the end of its address."""
    if "mlflow run" in event.metadata:
        return str(event.metadata["mlflow run"].value)
    if "mlflow" in event.metadata:
        return urlparse(str(event.metadata["mlflow"].value)).fragment.rpartition("/runs/")[2] or None
    return None


def _observation(instance: dg.DagsterInstance, key: dg.AssetKey) -> Observation | None:
    records = instance.fetch_observations(key, limit=1).records
    event = records[0].asset_observation if records else None
    if (version := data_version(event)) is None:
        return None
    return Observation(
        data_version=version,
        dagster_run=records[0].run_id,
        number=records[0].storage_id,
        observed_at=_time(records[0].timestamp),
    )


def _runs(instance: dg.DagsterInstance, run_ids: list[str]) -> dict[str, Run]:
    """Those of the runs that are on record."""
    found = {}
    for each in instance.get_run_records(dg.RunsFilter(run_ids=run_ids)) if run_ids else []:
        started = _time(each.start_time) if each.start_time else None
        ended = _time(each.end_time) if each.end_time else None
        found[each.dagster_run.run_id] = Run(started_at=started, ended_at=ended, status=each.dagster_run.status.value)
    return {run_id: found[run_id] for run_id in run_ids if run_id in found}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
