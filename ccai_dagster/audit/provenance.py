"""A whole run in the vocabulary of W3C PROV (https://www.w3.org/TR/prov-dm/): versions, runs, decisions, agents.

Belongs here: turning the manifest and the ledgers into records of the library `prov`, how things are named in it,
and what makes a document complete. Doesn't belong here: asking Dagster what happened.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import polars as pl
from prov.constants import PROV
from prov.identifier import Namespace, QualifiedName
from prov.model import ProvDocument
from prov.serializers.provjson import encode_json_document

from ccai_dagster.audit.manifest import TABLES, Manifest, Materialization
from ccai_dagster.core.digest import value_digest
from ccai_dagster.decisions.ledger import ledger_digest

NAMESPACE = Namespace("ccai", "urn:ccai:")
Value = str | int
Reference = tuple[str, str]
"""A version of an asset or a row of a ledger, as (asset, version)."""


def provenance_of(
    manifest: Manifest, ledgers: Mapping[str, pl.DataFrame], software: Mapping[str, str]
) -> dict[str, Any]:
    """Describe from what every asset was made, by which run and by which decisions it was made.

    Args:
        manifest: What was made and observed, by which run.
        ledgers: LEDGER by kind, replaced rows included.
        software: Version of each program that took part; `ccai_dagster`, `dagster` and `mlflow` answer for
            materializations, Dagster runs and MLflow runs.

    Returns:
        A PROV-JSON document, see `provenance.prov_json`.

    Raises:
        ValueError: Something is described twice, or points to what is not described.
    """
    document = ProvDocument(namespaces=[NAMESPACE])
    for name, version in software.items():
        document.agent(agent_name(name), attributes(name, PROV["SoftwareAgent"], {"version": version}))
    for role in {role for ledger in ledgers.values() for role in ledger["decided_by"]}:
        document.agent(agent_name(f"role/{role}"), attributes(role, PROV["Person"]))
    _add_runs(document, manifest)
    for asset, made in manifest.materializations.items():
        _add_materialization(document, manifest, asset, made)
    _add_observations(document, manifest, ledgers)
    _add_decisions(document, ledgers)
    described = {(asset, made.data_version) for asset, made in manifest.materializations.items()}
    described |= {(asset, seen.data_version) for asset, seen in manifest.sources.items()}
    for made in manifest.materializations.values():
        for reference in made.inputs.items() - described:
            _add_version(document, reference, f"an earlier version of {reference[0]}")
            described.add(reference)
    return prov_json(document)


def _add_runs(document: ProvDocument, manifest: Manifest) -> None:
    for run_id, run in manifest.runs.items():
        name = activity_name(f"dagster_run/{run_id}")
        known = attributes(f"Dagster run {run_id}", NAMESPACE["dagster_run"], {"status": run.status})
        document.activity(name, run.started_at, run.ended_at, known)
        document.wasAssociatedWith(name, agent_name("dagster"))
    tracked: dict[str, list[str]] = {}
    for asset, made in manifest.materializations.items():
        if made.mlflow_run is not None:
            tracked.setdefault(made.mlflow_run, []).append(asset)
    for run_id, assets in tracked.items():
        name = activity_name(f"mlflow_run/{run_id}")
        label = f"MLflow run {run_id}: {', '.join(assets)}"
        document.activity(name, other_attributes=attributes(label, NAMESPACE["mlflow_run"]))
        document.wasAssociatedWith(name, agent_name("mlflow"))
        _add_starter(document, manifest, f"mlflow_run/{run_id}", manifest.materializations[assets[-1]])


def _add_starter(document: ProvDocument, manifest: Manifest, activity: str, made: Materialization) -> None:
    if made.dagster_run in manifest.runs:
        starter = activity_name(f"dagster_run/{made.dagster_run}")
        document.wasStartedBy(activity_name(activity), starter=starter)


def _add_materialization(document: ProvDocument, manifest: Manifest, asset: str, made: Materialization) -> None:
    known: dict[str, Value] = {"made_at": made.made_at}
    if file := manifest.files.get(f"{TABLES}/{asset}.parquet"):
        known |= {"file": f"{TABLES}/{asset}.parquet", "sha256": file.sha256, "bytes": file.n_bytes}
    entity, activity = (asset, made.data_version), f"materialization/{made.dagster_run}/{asset}"
    version, name = entity_name(entity), activity_name(activity)
    _add_version(document, entity, asset, known)
    label = attributes(f"materialization of {asset}", NAMESPACE["materialization"])
    document.activity(name, endTime=made.made_at, other_attributes=label)
    document.wasGeneratedBy(version, name, made.made_at)
    document.wasAssociatedWith(name, agent_name("ccai_dagster"))
    _add_starter(document, manifest, activity, made)
    if made.mlflow_run:
        document.wasInformedBy(name, activity_name(f"mlflow_run/{made.mlflow_run}"))
    for used in made.inputs.items():
        number = made.observations.get(used[0])
        observed = [] if number is None else [(NAMESPACE["observation"], number)]
        document.used(name, entity_name(used), other_attributes=observed)
        document.wasDerivedFrom(version, entity_name(used))


def _add_version(
    document: ProvDocument,
    reference: Reference,
    label: str,
    known: Mapping[str, Value] | None = None,
    collection: bool = False,
) -> None:
    asset, version = reference
    kind = PROV["Collection"] if collection else None
    own = {"asset": asset, "version": version, **(known or {})}
    document.entity(entity_name(reference), attributes(label, kind, own))


def _add_observations(document: ProvDocument, manifest: Manifest, ledgers: Mapping[str, pl.DataFrame]) -> None:
    """Ledgers and the export as they were last observed; a ledger that is still so consists of its rows."""
    versions = {f"{kind}_ledger": ledger_digest(ledger) for kind, ledger in ledgers.items()}
    for asset, seen in manifest.sources.items():
        entity = (asset, seen.data_version)
        rows = []
        if versions.get(asset) == seen.data_version:
            rows = ledgers[asset.removesuffix("_ledger")].to_dicts()
        known: dict[str, Value] = {"observed_at": seen.observed_at, "observation": seen.number}
        _add_version(document, entity, asset, known, collection=bool(rows))
        for row in rows:
            document.hadMember(entity_name(entity), entity_name(_row(row)))


def _row(row: Mapping[str, Any]) -> Reference:
    return f"decision/{row['decision_id']}", value_digest(dict(row))


def _add_decisions(document: ProvDocument, ledgers: Mapping[str, pl.DataFrame]) -> None:
    """The decisions. Only a full time becomes the activity's time: PROV knows no date without one."""
    rows = [row for ledger in ledgers.values() for row in ledger.to_dicts()]
    by_id = {row["decision_id"]: entity_name(_row(row)) for row in rows}
    for row in rows:
        key = row["decision_id"]
        entity, name = by_id[key], activity_name(f"decision/{key}")
        when = row["decided_at"] if "T" in row["decided_at"] else None
        known = {**row, "subject_ids": " ".join(row["subject_ids"])}
        label = attributes(f"{row['kind']} decision {key}", NAMESPACE["decision"], known)
        _add_version(document, _row(row), f"the decision {key}")
        document.activity(name, endTime=when, other_attributes=label)
        document.wasGeneratedBy(entity, name, when)
        document.wasAssociatedWith(name, agent_name(f"role/{row['decided_by']}"))
        for replaced in dict.fromkeys((row["supersedes"] or "").split()):
            if replaced in by_id:
                document.wasDerivedFrom(entity, by_id[replaced], other_attributes=[("prov:type", PROV["Revision"])])


def prov_json(document: ProvDocument) -> dict[str, Any]:
    """Return a document as PROV-JSON, the same whatever the order in which records were added.

    Raises:
        ValueError: Two records share a name, or a record points to one that is not there.
    """
    names = Counter(record.identifier for record in document.get_records() if record.is_element())
    if twice := sorted(str(name) for name, times in names.items() if times > 1):
        raise ValueError(f"provenance: {', '.join(twice)} is described twice")
    if missing := sorted({str(name) for name in _pointers(document) if name not in names}):
        raise ValueError(f"provenance: a record points to {', '.join(missing)}, which is not described")
    ordered = ProvDocument(sorted(document.get_records(), key=lambda record: record.get_provn()), [NAMESPACE])
    return encode_json_document(ordered)


def _pointers(document: ProvDocument) -> Iterator[QualifiedName]:
    for record in document.get_records():
        if record.is_relation():
            yield from (name for _, name in record.formal_attributes if isinstance(name, QualifiedName))


def entity_name(reference: Reference) -> QualifiedName:
    """Return the name of a version of an asset, or of a row of a ledger."""
    return _name("entity", "@".join(reference))


def _name(kind: str, local: str) -> QualifiedName:
    """A name with nothing in it that a qualified name may not hold (PROV-N, section 3.7.1)."""
    return NAMESPACE[f"{kind}/{quote(local, safe='@/-_.')}"]


def activity_name(activity: str) -> QualifiedName:
    """Return the name of a run or a decision, as `dagster_run/1f3a` or `decision/M17`."""
    return _name("activity", activity)


def agent_name(agent: str) -> QualifiedName:
    """Return the name of a program, or of a role of people as `role/moderation team`."""
    return _name("agent", agent)


def attributes(
    label: str, kind: QualifiedName | None = None, known: Mapping[str, Value | None] | None = None
) -> list[tuple[str | QualifiedName, Any]]:
    """Return what a record says beside its name: a label for people, its type, and whatever else is known."""
    own = [(NAMESPACE[name], value) for name, value in sorted((known or {}).items()) if value is not None]
    return [("prov:label", label), *([("prov:type", kind)] if kind else []), *own]
