"""The record as evidence: what was altered, refused or lost stops what would rest on it, and is told."""

from __future__ import annotations

import json
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from small_graph import Workplace, observe, sensor, table

from ccai_dagster.audit.manifest import read_manifest
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.home import Home
from ccai_dagster.definitions import build_defs, build_resources
from resources.retention import find_leftovers
from resources.tracking import CURVES

pytestmark = [pytest.mark.torch, pytest.mark.timeout(1500)]


def test_an_altered_table_is_not_read_and_is_made_anew_with_what_is_made_together(copy: Workplace) -> None:
    path, before = copy.root / "town" / "tables" / "raw_votes.parquet", table(copy, "raw_votes")
    before.with_columns(vote=-pl.col("vote")).write_parquet(path)
    (told,) = copy.run(select="key:votes").failed
    assert told.startswith(f"votes: {path} was changed or damaged since it was made. `ccai run` makes raw_votes again")
    done = copy.run()
    assert done.failed == []
    assert set(done.materialized) == {
        "raw_votes",
        "raw_statements",
        "raw_participants",
        "raw_group_votes",
        "import_report",
    }
    assert table(copy, "raw_votes").equals(before)


def test_what_follows_a_refused_table_is_not_computed_on_the_one_before(copy: Workplace) -> None:
    ledger = copy.folder / "decisions" / "moderation.csv"
    whole = ledger.read_text()
    ledger.write_text(whole + "M999,moderation,999,out: odd,because,,moderator,2026-01-01,,,\n")
    (refused,) = copy.run(select="key:statements").failed
    assert "statements was not stored: moderation ledger row M999 (999)" in refused
    with pytest.raises(ConsultationError, match=r"statements was refused .* row M999 .* Mend that first"):
        copy.run(select="key:selected_statements")
    ledger.write_text(whole)  # nothing was made of the row
    assert copy.run(select="key:votes").failed == []


def test_a_lost_row_stops_the_command_and_the_sensors(copy: Workplace) -> None:
    ledger = copy.folder / "decisions" / "wording.csv"
    *kept, lost = ledger.read_text().splitlines(keepends=True)
    ledger.write_text("".join(kept))
    before = sensor(copy, "changed_deliberation")
    stopped = copy.run()
    assert stopped.materialized == []
    assert f"wording.csv: row {lost.partition(',')[0]} was removed since results were made of them" in stopped.failed[0]
    with pytest.raises(Exception, match="was removed since results were made"):
        observe(copy)
    assert sensor(copy, "changed_deliberation") == before


def test_a_run_that_dagster_started_leaves_a_manifest_to_compare_with(copy: Workplace) -> None:
    manifest = Home(copy.root, "town").manifest
    manifest.unlink()
    repository = copy.defs.get_repository_def()
    for job, writes in (("observe_inputs", False), ("deliberate", True)):
        selected = [dg.AssetKey("votes")] if writes else None
        done = repository.get_job(job).execute_in_process(instance=copy.instance, asset_selection=selected)
        context = dg.build_run_status_sensor_context(
            sensor_name="manifest",
            dagster_event=done.get_run_success_event(),
            dagster_instance=copy.instance,
            dagster_run=done.dagster_run,
            repository_def=repository,
        )
        repository.get_sensor_def("manifest")(context)
        assert manifest.exists() == writes
    assert read_manifest(manifest)[0].materializations["votes"].dagster_run == done.run_id


def test_mlflow_has_a_view_of_the_curves_that_trainings_log(copy: Workplace) -> None:
    import mlflow

    tracking = build_resources(Home(copy.root, "town"))["tracking"]
    client, experiment = mlflow.MlflowClient(tracking.uri), tracking.open()
    shown = json.loads(client.get_experiment(experiment).tags["mlflow.sharedViewState.curves"])
    trainings = client.search_runs([experiment], filter_string=shown["searchFilter"])
    logged = {run.data.tags["stage"]: run.data.metrics.keys() for run in trainings}
    assert logged.keys() == {"supervised_policy", "preference_model", "policy"}
    assert [chart["metricKey"] for chart in shown["compareRunCharts"]] == list(CURVES)
    assert set(CURVES) <= set().union(*logged.values())


def test_nothing_that_a_run_left_is_without_a_citation(copy: Workplace) -> None:
    home = Home(copy.root, "town")
    keys = build_defs(copy.consultation, copy.root).resolve_asset_graph().get_all_asset_keys()
    tracking = build_resources(home)["tracking"]
    assert tracking.known_experiment() is not None and list(Path(home.models_url).iterdir())
    assert [str(each) for each in find_leftovers(copy.consultation, home, copy.instance, tracking, keys, 0)] == []
