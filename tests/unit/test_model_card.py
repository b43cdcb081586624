"""Cards of models and their place in MLflow's registry."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import polars as pl
import pytest
from small_report import calibration as measured
from sqlalchemy.exc import DatabaseError

from ccai_dagster.contracts import CONSTITUTION, JUDGE_CALIBRATION
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.training.model_card import model_card
from resources.tracking import Tracking, alias_of, remove_half_made

RECORD = {
    "stage": "policy",
    "arm": "public",
    "model_digest": "d" * 64,
    "parent_digest": "p" * 64,
    "constitution_digest": "c" * 64,
    "settings_digest": "s" * 64,
    "settings": "{}",
    "metrics": '{"reward_last": 1.25}',
}
CONSTITUTIONS = CONSTITUTION.build(
    [
        {
            "principle_id": "P1",
            "arm": "public",
            "text": "Choose the <b>kind</b> response. | # *really*\n\n# no",
            "statement_ids": [1],
            "merged_text": "be kind",
            "gac": 0.8,
            "side": "agree",
            "decision_ids": [],
        }
    ]
)


def calibration(low: float, method: str = "letters") -> pl.DataFrame:
    row = measured(low, 0.69, method) | {"comparison_set": "hhh", "feedback_model": "model", "n": 100, "accuracy": 0.6}
    return JUDGE_CALIBRATION.build([row])


def card(low: float = 0.52, method: str = "letters", alike: bool = True, base: str = "{}", **changed: Any) -> str:
    return model_card(
        RECORD | changed,
        {"model_digest": "b" * 64, "settings": base},
        "embedded",
        "A <town>",
        CONSTITUTIONS,
        method,
        calibration(low),
        alike,
    )


def test_a_card_says_what_the_model_is_and_who_judged() -> None:
    text = card()
    for digest in "dpcsb":
        assert f"`{digest * 64}`" in text
    assert "# Policy of the arm public" in text and "reward\\_last: 1.25" in text
    assert "hhh: 60% of 100, 95 % interval 52% to 69%" in text and "chance" not in text
    assert "feedback model: none" not in text
    assert "revisions that the untrained model wrote itself." in card(stage="supervised_policy")
    assert "It is the lower half of the untrained model, its score the mean" in card(stage="preference_model")


def test_a_card_names_the_model_that_wrote_the_revisions_where_it_is_another_one() -> None:
    told = card(stage="supervised_policy", settings='{"revision model": {"source": "folder:<b>helpful</b>"}}')
    assert "revisions that another model (folder:&lt;b&gt;helpful&lt;/b&gt;) wrote." in told
    assert "its own" not in told and "itself" not in told


def test_a_card_tells_what_every_conversation_begins_with() -> None:
    assert "every conversation" not in card()
    told = card(base='{"source": "embedded", "system_turn": "You are <b>Bo</b>."}')
    assert "| before every conversation | “You are &lt;b&gt;Bo&lt;/b&gt;.”, by its chat template" in told


def test_responses_that_were_cut_off_are_a_limit_of_the_model() -> None:
    assert "Cut off" not in card() and "Cut off" not in card(metrics='{"cut_share": 0.0}')
    told = card(metrics='{"cut_share_first": 0.5, "cut_share_last": 0.75, "held_out_cut_share": 1.0}')
    assert (
        "Cut off at the limit of tokens, and so no whole answers: 75% of its responses in the last steps of training, "
        "100% of its responses to held-out prompts." in told
    )


def test_a_judge_at_chance_or_unmeasured_is_a_limit_of_the_model() -> None:
    text = card(low=0.49)
    assert "**not told from chance**" in text and "could not be told from somebody who guesses" in text
    assert "in which it was not measured" in card(method="contrast")
    assert "Nothing is known about its judgement" in card(method="contrast")


def test_a_card_tells_whether_other_arms_have_the_same_settings() -> None:
    assert f"`{'s' * 64}` (equal in every arm) |" in card()
    assert f"`{'s' * 64}` (not equal in every arm: the table training_settings tells in what) |" in card(alike=False)


def test_text_from_outside_is_no_markup() -> None:
    text = card()
    assert "<b>" not in text and "A &lt;town&gt;" in text
    assert "1. Choose the &lt;b&gt;kind&lt;/b&gt; response. \\| \\# \\*really\\* \\# no\n" in text


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Tracking:
    folder = tmp_path_factory.mktemp("mlflow")
    return Tracking(
        uri=f"sqlite:///{folder / 'mlflow.db'}", artifacts=str(folder / "artifacts"), experiment="town", ui="http://x"
    )


def test_a_trained_model_is_logged_with_its_data_and_registered_under_its_arm(tracking: Tracking) -> None:
    import mlflow

    context: Any = SimpleNamespace(run=SimpleNamespace(run_id="1"))
    with tracking.run(context, "public/policy", {"arm": "public"}, {"settings.steps": 3}) as run:
        table = pl.DataFrame({"prompt": ["Why?"], "response": ["<b>Because</b>"]})
        run.log_table(table, "pairs", "training", "e" * 64)
        run.keep_table(table, "samples/pairs")
        run.log_model("policy", {"model_digest": "d" * 64, "arm": "public", "address": "/m/d"}, {"reward": 1.5})
    client = mlflow.MlflowClient(tracking.uri)
    seen = client.get_run(run.run_id)
    assert seen.data.params == {"settings.steps": "3"} and seen.info.status == "FINISHED"
    assert {tag.key: tag.value for tag in seen.inputs.dataset_inputs[0].tags}["digest"] == "e" * 64
    kept = mlflow.artifacts.load_dict(f"runs:/{run.run_id}/samples/pairs.json")
    assert kept == {"columns": ["prompt", "response"], "data": [["Why?", "<b>Because</b>"]]}

    first = tracking.register("policy", "public", "d" * 64, "/m/d", "# card")
    again = tracking.register("policy", "public", "d" * 64, "/m/d", "# another card")
    assert first == again == ("town.policy", 1)
    version = client.get_model_version_by_alias("town.policy", "public")
    assert version.description == "# another card" and version.tags["address"] == "/m/d"
    logged = client.get_logged_model(version.source.removeprefix("models:/"))
    assert logged.source_run_id == run.run_id and logged.metrics[0].value == 1.5
    text = mlflow.artifacts.load_text(f"{logged.artifact_location}/README.md")
    assert text == "# another card"

    other = tracking.register("policy", "public", "f" * 64, "/m/f", "# other model")
    assert other == ("town.policy", 2)
    assert client.get_model_version_by_alias("town.policy", "public").tags["model_digest"] == "f" * 64
    assert tracking.register("policy", "standard", "f" * 64, "/m/f", "# other arm") == ("town.policy", 3)
    assert client.get_model_version_by_alias("town.policy", "public").version == 2


def test_a_run_that_fails_is_marked(tracking: Tracking) -> None:
    import mlflow

    context: Any = SimpleNamespace(run=SimpleNamespace(run_id="1"))
    with pytest.raises(dg.Failure), tracking.run(context, "x", {}, {}) as run:
        raise dg.Failure("no")
    assert mlflow.MlflowClient(tracking.uri).get_run(run.run_id).info.status == "FAILED"


def test_names_that_mlflow_keeps_for_itself_are_no_alias() -> None:
    assert [alias_of(each) for each in ("public", "latest", "v2", "v2x")] == ["public", "arm-latest", "arm-v2", "v2x"]


@pytest.mark.parametrize(
    ("left", "is_removed"),
    [
        ([], True),
        (["CREATE TABLE experiments (name)", "CREATE TABLE webhooks (name)"], True),
        (["CREATE TABLE experiments (name)", "INSERT INTO experiments VALUES ('Default')"], False),
        (["CREATE TABLE somebody_elses (name)"], False),
    ],
)
def test_tables_that_mlflow_was_killed_while_making_are_made_anew(
    tmp_path: Path, left: list[str], is_removed: bool
) -> None:
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database, database:
        database.execute("VACUUM")
        for each in left:
            database.execute(each)
    remove_half_made(tmp_path / "mlflow.db")
    assert [path.name for path in tmp_path.iterdir()] == ([] if is_removed else ["mlflow.db"])


def test_a_damaged_database_is_named_with_a_remedy(
    tracking: Tracking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow
    from mlflow.exceptions import MlflowException

    path = tmp_path / "mlflow.db"
    damaged = Tracking(uri=f"sqlite:///{path}", artifacts="", experiment="town", ui="")
    remedy = r"Move it away .*, and MLflow no longer lists earlier trainings and evaluations\.$"
    path.write_text("no database" * 100)
    with pytest.raises(ConsultationError, match=f"^{path}: this database is damaged .*{remedy}"):
        damaged.prepare()
    assert tracking.prepare() is None

    def fails(name: str) -> None:
        try:
            raise DatabaseError("SELECT 1", {}, sqlite3.DatabaseError("file is not a database"))
        except DatabaseError as error:
            raise MlflowException(error)  # noqa: B904  as MLflow does

    monkeypatch.setattr(mlflow, "get_experiment_by_name", fails)
    with pytest.raises(ConsultationError, match=rf"^{path}: this database is damaged \(file is not a database\)"):
        damaged.open()


def test_other_errors_of_mlflow_stay_what_they_are(tracking: Tracking, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow
    from mlflow.exceptions import MlflowException

    def fails(name: str) -> None:
        raise MlflowException("no such thing")

    monkeypatch.setattr(mlflow, "get_experiment_by_name", fails)
    with pytest.raises(MlflowException, match="no such thing"):
        tracking.open()
