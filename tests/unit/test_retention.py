"""What nothing cites any more is listed, and removed only if somebody says so; what anything cites survives."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from small_export import write_export
from small_town import Town
from typer.testing import CliRunner

from assets import public_input
from ccai_dagster.cli import prune
from ccai_dagster.cli.app import app
from ccai_dagster.core.digest import value_digest
from ccai_dagster.core.files import table_content
from ccai_dagster.housekeeping import RETENTION
from ccai_dagster.terminal import OBSERVE
from resources import history, run_owners, run_tags
from resources.retention import Leftover, find_leftovers
from resources.tracking import Tracking
from resources.vote_source import holds_unread_cells

LONG_AGO = 1_700_000_000
CODED = "timestamp,datetime,comment-id,voter-id,vote,xid\n1700000000000,,0,1,1,kim@example.org\n"


def digest(number: int) -> str:
    return value_digest(number)


class Kept:
    """A town and what has gathered in its home."""

    def __init__(self, town: Town) -> None:
        self.town, self.home, self.instance = town, town.home, town.instance
        self.tracking = Tracking(
            uri=f"sqlite:///{self.home.mlflow_database}",
            artifacts=str(self.home.mlflow_artifacts),
            experiment="town",
            ui="http://127.0.0.1:5000",
        )

    def import_votes(self) -> tuple[list[str], str]:
        """Observe twice, import, observe again, leave a manifest; returns who looked and who made it."""
        for path in self.town.votes.iterdir():
            os.utime(path, (LONG_AGO, LONG_AGO))  # nobody is writing any more
        looks = [self.observe(), self.observe()]
        keys = [dg.AssetKey(name) for name in public_input.TABLES]
        job = self.town.repository.get_job("deliberate")
        made = job.execute_in_process(instance=self.instance, asset_selection=keys).run_id
        looks.append(self.observe())
        history.record(self.town.consultation, self.home, self.instance, self.keys)
        return looks, made

    def observe(self, **tags: str) -> str:
        job = self.town.repository.get_job(OBSERVE)
        looked = job.execute_in_process(instance=self.instance, asset_selection=[public_input.POLIS_EXPORT], tags=tags)
        return looked.run_id

    @property
    def keys(self) -> set[dg.AssetKey]:
        return self.town.repository.asset_graph.get_all_asset_keys()

    def found(self, days: int = 0) -> list[Leftover]:
        return find_leftovers(self.town.consultation, self.home, self.instance, self.tracking, self.keys, days)

    def clear(self, days: int = 0) -> dict[str, list[str]]:
        """Remove what nothing cites; returns the names of what was removed, by kind."""
        names: dict[str, list[str]] = {}
        for each in self.found(days):
            each.remove()
            names.setdefault(each.kind, []).append(each.name)
        return names

    def folder(self, place: Path, name: str, file: str = "config.json", old: bool = True) -> Path:
        path = place / name
        path.mkdir(parents=True)
        (path / file).write_text("{}")
        if old:
            os.utime(path / file, (LONG_AGO, LONG_AGO))
        return path

    def state(self) -> dict[str, object]:
        """Every file with its content, and every run."""
        files = {str(path): path.read_bytes() for path in self.home.root.rglob("*") if path.is_file()}
        return {**files, "runs": sorted(run.run_id for run in self.instance.get_runs())}


@pytest.fixture
def kept(town: Town) -> Kept:
    return Kept(town)


def test_runs_stay_that_made_or_observed_what_is_there(kept: Kept) -> None:
    (first, used, last), made = kept.import_votes()
    run = kept.instance.get_run_by_id(first)
    assert run is not None
    under_way = kept.instance.add_run(run.with_status(dg.DagsterRunStatus.STARTED)._replace(run_id="b" * 32)).run_id
    attempts = [kept.observe(**{run_tags.COMPARED: "c" * 64}) for _ in range(2)]
    # The last look before the attempts is named by the manifest; of the attempts the second is the latest observation.
    assert kept.clear() == {"Dagster run": [first]}
    assert {run.run_id for run in kept.instance.get_runs()} == {used, last, made, under_way, *attempts}
    event = kept.instance.get_latest_materialization_event(dg.AssetKey("raw_votes"))
    assert event is not None and event.run_id == made
    assert history.version_of(public_input.POLIS_EXPORT, kept.instance) is not None


def test_models_stay_that_a_report_a_table_or_a_ledger_names(kept: Kept) -> None:
    models = Path(kept.home.models_url)
    for number in range(5):
        kept.folder(models, digest(number))
    kept.folder(models, f".{digest(9)}.damaged.1")
    kept.folder(models, digest(8), old=False)
    kept.home.report.mkdir(parents=True)
    (kept.home.report / "audit_report.html").write_text(f"<p>model {digest(1)[:12]}, by the run</p>")
    table = pl.DataFrame({"metrics": [f'{{"judge": "{digest(2)}"}}'], "n": [1]})
    path = Path(kept.home.tables_url) / "public" / "policy.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(table_content(table))
    ledger = kept.town.consultation.ledger("signoff")
    ledger.write_text(ledger.read_text() + f"S9,signoff,public,signed off,read,,us,2025-01-01,,{digest(3)},\n")
    assert kept.clear(days=1) == {"model": sorted([digest(0), digest(4), f".{digest(9)}.damaged.1"])}
    assert sorted(path.name for path in models.iterdir()) == sorted(map(digest, (1, 2, 3, 8)))


def test_tables_of_an_arm_that_is_gone_and_stages_that_nobody_went_on_with_go(kept: Kept) -> None:
    tables = Path(kept.home.tables_url)
    (tables / "old_arm").mkdir(parents=True)
    for name in ("old_arm/constitution", "raw_votes"):
        (tables / f"{name}.parquet").write_bytes(table_content(pl.DataFrame({"text": ["Be kind."]})))
        os.utime(tables / f"{name}.parquet", (LONG_AGO, LONG_AGO))
    kept.folder(kept.home.work, "policy-0123456789abcdef", "request.json")
    kept.folder(kept.home.work, "policy-fedcba9876543210", "request.json", old=False)
    assert kept.clear(days=1) == {
        "table": ["old_arm/constitution.parquet"],
        "unfinished stage": ["policy-0123456789abcdef"],
    }
    assert [path.name for path in tables.rglob("*.parquet")] == ["raw_votes.parquet"]


def test_a_download_with_personal_codes_is_listed_however_young_it_is(kept: Kept) -> None:
    downloads = kept.home.downloads
    for number in range(3):
        write_export(downloads / digest(number), 5)
    (downloads / digest(1) / "votes.csv").write_text(CODED)
    (downloads / digest(2) / "votes.csv").write_text(CODED.replace("kim@example.org", ""))
    assert [holds_unread_cells(downloads / digest(number)) for number in range(3)] == [False, True, False]
    (one,) = (each for each in kept.found(days=1) if each.kind == "download")
    assert one.name == digest(1) and str(one).endswith("with personal codes")
    ledger = kept.town.consultation.ledger("signoff")
    ledger.write_text(ledger.read_text() + f"S9,signoff,polis_export,signed off,right,,us,2025-01-01,,{digest(1)},\n")
    assert kept.clear(days=1) == {}


def test_a_run_of_mlflow_stays_if_it_or_its_model_is_cited(kept: Kept) -> None:
    import mlflow

    assert kept.tracking.known_experiment() is None and not kept.home.mlflow_database.exists()
    experiment = kept.tracking.open()
    client = mlflow.MlflowClient()
    runs = []
    for number in range(3):
        run = client.create_run(experiment, tags={"model_digest": digest(number)})
        client.log_dict(run.info.run_id, {}, "provenance.json")
        client.set_terminated(run.info.run_id)
        runs.append(run.info.run_id)
    name = kept.tracking.registered_name("policy")
    client.create_registered_model(name)
    for number in range(3):
        client.create_model_version(name, "file:///nowhere", tags={"model_digest": digest(number)})
    client.set_registered_model_alias(name, "public", "3")
    kept.home.report.mkdir(parents=True)
    (kept.home.report / "provenance.json").write_text(f'["{runs[0]}", "{digest(1)}"]')
    assert kept.clear() == {"MLflow run": [runs[2]], "MLflow model": [f"{name} version 1"]}
    assert {run.info.run_id for run in client.search_runs([experiment])} == set(runs[:2])
    assert {path.name for path in (kept.home.mlflow_artifacts / "town").iterdir()} == set(runs[:2])
    assert {str(each.version) for each in client.search_model_versions(f"name = '{name}'")} == {"2", "3"}


@pytest.fixture
def command(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kept]:
    """The command finds the record and the home of the town, and a model that nothing cites."""
    kept.folder(Path(kept.home.models_url), digest(0))
    monkeypatch.setenv("CCAI_HOME", str(kept.home.root))
    monkeypatch.delenv("CCAI_MODELS_URL", raising=False)
    monkeypatch.setattr(prune, "known_record", lambda home: kept.instance)
    yield kept


def test_the_command_lists_and_changes_nothing_until_it_is_told_to(command: Kept) -> None:
    folder, before = str(command.town.consultation.folder), command.state()
    listed = CliRunner().invoke(app, ["prune", folder, "--older-than", "1"])
    assert listed.output.splitlines() == [
        f"model {digest(0)}: 2023-11-14, 2 bytes",
        "Nothing cites these: 1 thing, 2 bytes. Nothing was removed.",
    ]
    assert command.state() == before
    removed = CliRunner().invoke(app, ["prune", folder, "--older-than", "1", "--remove"])
    assert removed.output.splitlines()[-1] == "Removed: 1 thing, 2 bytes."
    assert set(before) - set(command.state()) == {f"{command.home.models_url}/{digest(0)}/config.json"}


def test_nothing_is_removed_while_a_run_is_at_work(command: Kept) -> None:
    folder = str(command.town.consultation.folder)
    with run_owners.turn(command.instance, "a training", lambda why: None):
        refused = CliRunner().invoke(app, ["prune", folder, "--older-than", "1", "--remove"])
    assert refused.exit_code == 1 and "Nothing was removed: a training" in refused.output
    assert (Path(command.home.models_url) / digest(0)).is_dir()


def test_the_job_does_what_the_command_does(command: Kept) -> None:
    job = command.town.repository.get_job(RETENTION)
    model = Path(command.home.models_url) / digest(0)
    before = command.state()
    ops = {"leftovers": {"config": {"older_than": 1}}}
    assert job.execute_in_process(instance=command.instance, run_config={"ops": ops}).success
    after = command.state()
    assert {**after, "runs": before["runs"]} == before and model.is_dir()
    ops["leftovers"]["config"]["remove"] = True
    result = job.execute_in_process(instance=command.instance, run_config={"ops": ops})
    assert result.success and not model.exists()
    said = [each.user_message for each in command.instance.all_logs(result.run_id)]
    assert f"model {digest(0)}: 2023-11-14, 2 bytes" in said and "Removed: 1 thing, 2 bytes." in said
    assert job.run_tags[run_tags.BECAUSE] == "a person asked for it"
