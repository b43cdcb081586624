"""A team's settings: Dagster and MLflow in PostgreSQL, tables and models in S3; servers of both are started here."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
import sqlalchemy
from botocore.session import get_session
from moto.server import ThreadedMotoServer
from postgres_server import PASSWORD
from upath import UPath

from ccai_dagster.audit.manifest import read_manifest
from ccai_dagster.cli.prune import leftovers
from ccai_dagster.consultation.folder import SAMPLE, Consultation, home_of, read_consultation
from ccai_dagster.core.digest import folder_digest, table_digest
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.postgres import schema_of, server
from ccai_dagster.definitions import build_resources
from ccai_dagster.run import run
from resources.instance import storage_errors
from resources.postgres import VARIABLE
from resources.record import open_record
from resources.tracking import Tracking


@pytest.fixture(scope="module")
def object_store() -> Iterator[str]:
    """The address of a server that speaks S3."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def team(database: str, object_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The settings of a deployment, nothing else; returns `CCAI_HOME`."""
    settings = {
        "AWS_ACCESS_KEY_ID": "team",
        "AWS_SECRET_ACCESS_KEY": PASSWORD,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": object_store,
        "FSSPEC_S3": '{"use_listings_cache": false}',
        "CCAI_HOME": str(tmp_path / "home"),
        "CCAI_POSTGRES_URL": database,
        "CCAI_TABLES_URL": "s3://ccai/tables",
        "CCAI_MODELS_URL": "s3://ccai/models/",
        "MLFLOW_TRACKING_URI": database.replace("postgresql://", "postgresql+psycopg2://"),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DAGSTER_HOME", "")  # what is set there while a record is open is gone afterwards
    get_session().create_client("s3").create_bucket(Bucket="ccai")
    return tmp_path / "home"


def _consultation(folder: Path) -> Consultation:
    folder.mkdir()
    return read_consultation(SAMPLE).model_copy(update={"folder": folder})


@dg.asset
def counted() -> int:
    return 1


def test_two_consultations_on_one_server_know_nothing_of_each_other(team: Path, tmp_path: Path) -> None:
    one, other = _consultation(tmp_path / "one"), _consultation(tmp_path / "other")
    with open_record(home_of(one), one, print) as instance:
        assert dg.materialize([counted], instance=instance).success
        with dg.DagsterInstance.from_ref(instance.get_ref()) as of_a_run:
            assert of_a_run.get_asset_keys() == [counted.key]
    with open_record(home_of(other), other, print) as instance:
        assert (instance.get_asset_keys(), instance.get_runs_count()) == ([], 0)
    with open_record(home_of(one), one, print) as instance:
        assert (instance.get_asset_keys(), instance.get_runs_count()) == ([counted.key], 1)
    assert not list(team.rglob("*.db"))
    engine = sqlalchemy.create_engine(server(VARIABLE))
    assert {"ccai_one", "ccai_other"} <= set(sqlalchemy.inspect(engine).get_schema_names())
    assert "runs" not in sqlalchemy.inspect(engine).get_table_names(schema="public")
    engine.dispose()


def _with_secrets(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and PASSWORD.encode() in path.read_bytes()]


@pytest.mark.parametrize(
    ("name", "schema"),
    [
        ("my_town", "ccai_my_town"),
        ("My town", "ccai_my_town_1da722b7"),
        ("my town", "ccai_my_town_843eb682"),
        ("a" * 70, f"ccai_{'a' * 40}_6bd5e503"),
    ],
)
def test_every_name_has_a_schema_of_its_own(name: str, schema: str) -> None:
    assert schema_of(name) == schema


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (f"postgresql://ccai:{PASSWORD}@127.0.0.1:9/ccai", r"ccai:\*\*\*@127.0.0.1:9/ccai: .*refused"),
        ("sqlite:///record.db", "CCAI_POSTGRES_URL must be like postgresql://"),
        ("postgres", "CCAI_POSTGRES_URL must be like postgresql://"),
    ],
)
def test_a_server_that_does_not_answer_is_told_without_its_password(
    address: str, message: str, team: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    town = _consultation(tmp_path / "town")
    monkeypatch.setenv("CCAI_POSTGRES_URL", address)
    with pytest.raises(ConsultationError, match=message) as told:
        open_record(home_of(town), town, print)
    assert PASSWORD not in str(told.value)


def test_a_server_that_stops_answering_is_told_with_what_to_do(team: Path) -> None:
    engine = sqlalchemy.create_engine(server(VARIABLE))
    with (
        pytest.raises(ConsultationError, match=r'\(relation "gone" does not exist\)\. See whether it runs'),
        storage_errors(team),
        engine.connect() as connection,
    ):
        connection.execute(sqlalchemy.text("SELECT * FROM gone"))
    engine.dispose()


def test_what_is_made_with_these_settings_lies_in_s3_as_its_digests_say_and_no_secret_in_a_file(team: Path) -> None:
    sample = read_consultation(SAMPLE)
    home = home_of(sample)
    outcome = run(sample, team, print, select='key:"raw_statements" or key:"statements"')
    assert (outcome.failed, outcome.materialized[-1]) == ([], "statements")
    made = read_manifest(home.manifest)[0].materializations
    for key in outcome.materialized:
        with UPath(f"s3://ccai/tables/sample/{key}.parquet").open("rb") as handle:
            assert made[key].data_version == table_digest(pl.read_parquet(handle))
    assert not (home.folder / "tables").exists()
    assert "ccai_sample" in (home.dagster / "dagster.yaml").read_text()
    assert _with_secrets(team) == []


def test_a_model_comes_back_from_s3_with_its_digest_and_not_when_it_was_changed(team: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "config.json").write_text("{}")
    (weights / "model.safetensors").write_bytes(bytes(range(256)))
    town = _consultation(tmp_path / "town")
    models = build_resources(home_of(town))["models"]
    digest = models.add(weights)
    assert models.address(digest) == f"s3://ccai/models/town/{digest}"
    assert folder_digest(models.folder(digest)) == digest
    UPath(models.address(digest), "model.safetensors").write_bytes(b"other")
    elsewhere = models.model_copy(update={"cache": str(tmp_path / "other_machine")})
    with pytest.raises(ConsultationError, match="damaged"):
        elsewhere.folder(digest)


def test_what_nothing_cites_is_removed_from_postgresql_and_s3(team: Path, tmp_path: Path) -> None:
    shutil.copytree(SAMPLE, tmp_path / "pruned")
    consultation = read_consultation(tmp_path / "pruned")
    home = home_of(consultation)
    with open_record(home, consultation, pytest.fail) as instance:
        run_id = dg.materialize([counted], instance=instance).run_id
        model = UPath(home.models_url) / ("d" * 64)
        (model / "config.json").write_text("{}")
        listed = leftovers(consultation, 0, remove=False)
        assert [line.split(":")[0] for line in listed[:-1]] == [f"Dagster run {run_id}", f"model {'d' * 64}"]
        assert instance.has_run(run_id) and model.exists()
        leftovers(consultation, 0, remove=True)
        assert not instance.has_run(run_id) and not model.exists()


def test_a_training_is_tracked_and_registered_in_postgresql(team: Path, tmp_path: Path) -> None:
    town = _consultation(tmp_path / "town")
    home = home_of(town)
    tracking = build_resources(home)["tracking"]

    @dg.asset
    def trained(context: dg.AssetExecutionContext, tracking: Tracking) -> None:
        with tracking.run(context, "trained", {"arm": "public"}, {"steps": 2}) as tracked:
            tracked.log({"loss": 0.5})
            tracked.log_json({"a": 1}, "report.json")

    assert dg.materialize([trained], resources={"tracking": tracking}, instance=dg.DagsterInstance.ephemeral()).success
    assert tracking.register("policy", "public", "d" * 64, "s3://ccai/models/town/d", "# A card") == ("town.policy", 1)
    engine = sqlalchemy.create_engine(server(VARIABLE))
    with engine.connect() as connection:
        metrics = connection.execute(sqlalchemy.text("SELECT key, value FROM metrics WHERE key = 'loss'")).all()
    engine.dispose()
    assert metrics == [("loss", 0.5)]
    assert [path.name for path in home.mlflow_artifacts.rglob("report.json")] == ["report.json"]
    assert _with_secrets(team) == []
