"""Answers about runs: what a Dagster or MLflow run made, and what of it still stands.

Belongs here: reading the manifest by run. Doesn't belong here: opening Dagster or MLflow.
"""

from __future__ import annotations

from ccai_dagster.audit.manifest import Manifest, Materialization
from ccai_dagster.audit.questions.evidence import Evidence, Explanation, Seen
from ccai_dagster.core.text import counted, listed
from ccai_dagster.digest import SHORT


def run_ids(manifest: Manifest) -> list[str]:
    """Return the ids of all Dagster and MLflow runs on record."""
    tracked = {each.mlflow_run for _, each, _ in _all(manifest) if each.mlflow_run}
    return sorted(set(manifest.runs) | tracked)


def answer_run(run_id: str, evidence: Evidence) -> Explanation:
    """Tell what a run made."""
    manifest = evidence.manifest
    assert manifest is not None  # noqa: S101 - runs are found in the manifest
    own = [(asset, each, stands) for asset, each, stands in _all(manifest)
           if run_id in (each.dagster_run, each.mlflow_run)]  # fmt: skip
    run = manifest.runs.get(run_id)
    if run is not None:
        story = [
            f"A Dagster run that began at {run.started_at or 'an unknown time'}, ended at "
            f"{run.ended_at or 'an unknown time'}, status {run.status}."
        ]
    else:
        story = [
            f"An MLflow run of the Dagster run {listed(sorted({each.dagster_run for _, each, _ in own}))}."
        ]
    observed = [asset for asset, each in manifest.sources.items() if each.dagster_run == run_id]
    if observed:
        story.append(f"The latest look at {listed(observed)} was in it.")
    standing = [asset for asset, _, stands in own if stands]
    replaced = [asset for asset, _, stands in own if not stands]
    story.append(
        f"Of what it made, {counted(len(standing), 'asset')} still stand"
        + ("s." if len(standing) == 1 else ".")
    )
    story += [
        f"{asset} in the version {each.data_version[:SHORT]}{'' if stands else ', since replaced'}"
        f"{f', MLflow run {each.mlflow_run}' if each.mlflow_run and run is not None else ''}."
        for asset, each, stands in own
    ]
    inputs = {name: version for _, each, _ in own for name, version in each.inputs.items()
              if name.endswith("_ledger") or name in ("polis_export", "ratings")}  # fmt: skip
    if inputs:
        parts = [f"{name} {version[:SHORT]}" for name, version in sorted(inputs.items())]
        story.append(f"Decisions, votes and ratings that it used: {listed(parts)}.")
    return Explanation(
        f"run:{run_id}",
        "Dagster run" if run is not None else "MLflow run",
        story,
        {"standing": standing, "replaced": replaced, "observed": observed, "inputs": inputs},
        seen=[
            Seen(asset, each.data_version, each.made_at, each.dagster_run, each.mlflow_run)
            for asset, each, _ in own
        ],
    )


def _all(manifest: Manifest) -> list[tuple[str, Materialization, bool]]:
    standing = [(asset, each, True) for asset, each in manifest.materializations.items()]
    return standing + [(asset, each, False) for asset, found in manifest.earlier.items() for each in found]
