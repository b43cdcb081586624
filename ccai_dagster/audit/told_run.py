"""A whole run in the words of W3C PROV: every version, run and decision, and who answers for each.

Belongs here: turning the manifest and the ledgers into records of `provenance`. Doesn't belong here: the
vocabulary itself, asking Dagster.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from ccai_dagster.audit.manifest import TABLES, Manifest, Materialization
from ccai_dagster.audit.provenance import Activity, Agent, Entity, Reference, Value, provenance_document
from ccai_dagster.decisions.ledger import ledger_digest
from ccai_dagster.digest import value_digest


def provenance_of(
    manifest: Manifest, ledgers: Mapping[str, pl.DataFrame], software: Mapping[str, str]
) -> dict[str, Any]:
    """Tell of every asset from what, by which run and by which decisions it was made.

    Args:
        manifest: What was made and observed, by which run.
        ledgers: LEDGER by kind, replaced rows included.
        software: Version of each program that took part; `ccai_dagster`, `dagster` and `mlflow` answer for
            materializations, Dagster runs and MLflow runs.

    Returns:
        A PROV-JSON document, see `provenance.provenance_document`.
    """
    entities = [*_made(manifest), *_observed(manifest, ledgers), *_decided(ledgers)]
    described = {entity.reference for entity in entities}
    pointed = {ref for made in manifest.materializations.values() for ref in made.inputs.items()}
    entities += [
        Entity(asset, version, f"an earlier version of {asset}")
        for asset, version in sorted(pointed - described)
    ]
    activities = [*_runs(manifest), *_materialized(manifest), *_taken(ledgers)]
    roles = {role for ledger in ledgers.values() for role in ledger["decided_by"]}
    agents = [Agent(name, "software", name, {"version": version}) for name, version in software.items()]
    agents += [Agent(f"role/{role}", "role", role) for role in sorted(roles)]
    return provenance_document(entities, activities, agents)


def _made(manifest: Manifest) -> list[Entity]:
    found = []
    for asset, made in manifest.materializations.items():
        file = manifest.files.get(f"{TABLES}/{asset}.parquet")
        attributes: dict[str, Value] = {"made_at": made.made_at}
        if file is not None:
            attributes |= {"file": f"{TABLES}/{asset}.parquet", "sha256": file.sha256, "bytes": file.n_bytes}
        inputs = tuple(sorted(made.inputs.items()))
        found.append(Entity(asset, made.data_version, asset, inputs, attributes=attributes))
    return found


def _observed(manifest: Manifest, ledgers: Mapping[str, pl.DataFrame]) -> list[Entity]:
    """Ledgers and the export as they were last observed; a ledger that is still so consists of its rows."""
    versions = {f"{kind}_ledger": ledger_digest(ledger) for kind, ledger in ledgers.items()}
    found = []
    for asset, seen in manifest.sources.items():
        rows: tuple[Reference, ...] = ()
        if versions.get(asset) == seen.data_version:
            rows = tuple(_row(row) for row in ledgers[asset.removesuffix("_ledger")].to_dicts())
        attributes: dict[str, Value] = {"observed_at": seen.observed_at, "observation": seen.number}
        found.append(Entity(asset, seen.data_version, asset, members=rows, attributes=attributes))
    return found


def _row(row: Mapping[str, Any]) -> Reference:
    return f"decision/{row['decision_id']}", value_digest(dict(row))


def _decided(ledgers: Mapping[str, pl.DataFrame]) -> list[Entity]:
    rows = [row for ledger in ledgers.values() for row in ledger.to_dicts()]
    by_id = {row["decision_id"]: _row(row) for row in rows}
    return [
        Entity(
            *_row(row),
            f"the decision {row['decision_id']}",
            revises=tuple(by_id[key] for key in (row["supersedes"] or "").split() if key in by_id),
        )
        for row in rows
    ]


def _runs(manifest: Manifest) -> list[Activity]:
    found = [
        Activity(
            f"dagster_run/{run_id}",
            "dagster_run",
            f"Dagster run {run_id}",
            started_at=run.started_at,
            ended_at=run.ended_at,
            agents=("dagster",),
            attributes={"status": run.status},
        )
        for run_id, run in manifest.runs.items()
    ]
    tracked: dict[str, list[str]] = {}
    starters: dict[str, str] = {}
    for asset, made in manifest.materializations.items():
        if made.mlflow_run is not None:
            tracked.setdefault(made.mlflow_run, []).append(asset)
            starters[made.mlflow_run] = made.dagster_run
    return found + [
        Activity(
            f"mlflow_run/{run_id}",
            "mlflow_run",
            f"MLflow run {run_id}: {', '.join(assets)}",
            started_by=_starter(starters[run_id], manifest),
            agents=("mlflow",),
        )
        for run_id, assets in tracked.items()
    ]


def _starter(dagster_run: str, manifest: Manifest) -> str | None:
    return f"dagster_run/{dagster_run}" if dagster_run in manifest.runs else None


def _materialized(manifest: Manifest) -> list[Activity]:
    return [
        Activity(
            f"materialization/{made.dagster_run}/{asset}",
            "materialization",
            f"materialization of {asset}",
            ended_at=made.made_at,
            used=tuple(sorted(made.inputs.items())),
            observations=_observations(made),
            generated=((asset, made.data_version),),
            started_by=_starter(made.dagster_run, manifest),
            informed_by=(f"mlflow_run/{made.mlflow_run}",) if made.mlflow_run else (),
            agents=("ccai_dagster",),
        )
        for asset, made in manifest.materializations.items()
    ]


def _observations(made: Materialization) -> dict[Reference, int]:
    return {(asset, made.inputs[asset]): number for asset, number in made.observations.items()
            if asset in made.inputs}  # fmt: skip


def _taken(ledgers: Mapping[str, pl.DataFrame]) -> list[Activity]:
    """The decisions. Only a full time becomes the activity's time: PROV knows no date without one."""
    found = []
    for ledger in ledgers.values():
        for row in ledger.to_dicts():
            told = {name: value for name, value in row.items() if value is not None}
            attributes = {**told, "subject_ids": " ".join(row["subject_ids"])}
            when = row["decided_at"] if "T" in row["decided_at"] else None
            found.append(
                Activity(
                    f"decision/{row['decision_id']}",
                    "decision",
                    f"{row['kind']} decision {row['decision_id']}",
                    ended_at=when,
                    generated=(_row(row),),
                    agents=(f"role/{row['decided_by']}",),
                    attributes=attributes,
                )
            )
    return found
