"""The whole graph, materialized for real with a tiny random model: what its first run leaves."""

from __future__ import annotations

import json

import dagster as dg
import polars as pl
import prov.model
import pytest
from parsed_page import Page
from small_graph import ARMS, EVERYTHING, TRAINED, checked, event, sensor, table

from ccai_dagster import contracts
from ccai_dagster.audit.manifest import read_manifest
from ccai_dagster.audit.verification import verify
from ccai_dagster.consultation.folder import CONTROL_ARMS, LEDGERS, SAMPLE
from ccai_dagster.core.digest import file_digest, table_digest
from ccai_dagster.core.home import Home
from ccai_dagster.evaluation.control import control_scores, follows_the_judge
from ccai_dagster.pages.evaluation_control import control_worth
from resources.history import version_of

# The first test waits for the whole graph.
pytestmark = [pytest.mark.torch, pytest.mark.timeout(1500)]


def test_the_first_run_materializes_everything_once(workplace) -> None:
    assert workplace.first.failed == []
    assert sorted(workplace.first.materialized) == sorted(EVERYTHING)
    assert workplace.first.waiting == {}


def test_every_check_passed_and_tells_what_it_counted(workplace) -> None:
    graph = workplace.defs.resolve_asset_graph()
    records = workplace.instance.event_log_storage.get_latest_asset_check_execution_by_key(list(graph.asset_check_keys))
    assert len(records) == len(graph.asset_check_keys) >= len(EVERYTHING)
    for key, record in records.items():
        evaluation = record.event.dagster_event.asset_check_evaluation_data
        # A random model may follow its judge or not.
        assert evaluation.passed or key.name == "training_follows_the_judge", key
        assert evaluation.blocking, key
        assert "what" in evaluation.metadata, key


def test_every_asset_tells_what_it_is_and_who_answers_for_it(workplace) -> None:
    graph = workplace.defs.resolve_asset_graph()
    for key in graph.toposorted_asset_keys:
        node = graph.get(key)
        assert node.description and node.group_name != "default" and node.kinds, key
        assert node.owners or node.tags.get("owner"), key
        assert node.code_version or not node.is_materializable, key
    sources = {key.to_user_string() for key in graph.toposorted_asset_keys if not graph.get(key).is_materializable}
    assert sources == {"polis_export", "ratings", *(f"{kind}_ledger" for kind in LEDGERS)}


def test_data_versions_are_digests_of_what_is_stored(workplace) -> None:
    for key in ("raw_votes", "gac_scores", "public/preference_pairs", "eval_scores"):
        assert event(workplace, key).tags["dagster/data_version"] == table_digest(table(workplace, key))
    for key in TRAINED:
        digest = event(workplace, key).tags["dagster/data_version"]
        assert (workplace.root / "town" / "models" / digest / "model.safetensors").is_file()
        assert table(workplace, key)["model_digest"].item() == digest


def test_consumers_point_to_the_observation_of_the_ledger_they_used(workplace) -> None:
    tags = event(workplace, "statements").tags
    assert tags["dagster/input_data_version/moderation_ledger"] == version_of(
        dg.AssetKey("moderation_ledger"), workplace.instance
    )
    assert tags["dagster/input_event_pointer/moderation_ledger"]


def test_arms_differ_in_the_constitution_only(workplace) -> None:
    for stage in contracts.ARM_STAGES:
        both = pl.concat(table(workplace, f"{arm}/{stage}") for arm in ARMS)
        assert both.select(pl.n_unique("constitution_digest", "settings")).row(0) == (2, 1)
    assert len({table(workplace, f"{arm}/policy")["model_digest"].item() for arm in ARMS}) == 2
    assert checked(workplace, "eval_scores", "one_difference") == (True, "nothing found")


def test_settings_of_all_trainings_stand_side_by_side(workplace) -> None:
    settings = table(workplace, "training_settings")
    assert settings.filter("differs").select("stage", "setting").rows() == [("every stage", "constitution")]
    every = settings.rows_by_key(["stage", "setting"], named=True, unique=True)
    for stage, steps in (("supervised_policy", "2"), ("preference_model", "1"), ("policy", "1")):
        assert every[stage, "settings.steps"]["in_public"] == steps
        assert every[stage, "seed"]["in_public"] == every[stage, "seed"]["in_standard"] == "7"
        assert len(every[stage, "data order"]["in_public"]) == 64


def test_the_weight_on_record_stands_among_its_alternatives(workplace) -> None:
    balance = table(workplace, "preference_balance")
    assert balance.select("arm", "harmlessness_weight", "chosen", "decision_ids").rows() == [
        (arm, weight, chosen, ids) for arm in ARMS for weight, chosen, ids in ((0.0, False, []), (0.5, True, ["R2"]))
    ]
    assert (balance["benign_n"] == 30).all()
    metrics = json.loads(table(workplace, "public/preference_model")["metrics"].item())
    chosen = balance.filter(pl.col("arm") == "public", "chosen")
    assert chosen["helpfulness_accuracy"].item() == metrics["held_out_helpfulness_accuracy"]


def test_the_policy_shows_what_it_says_and_what_it_gained(workplace) -> None:
    for arm in ARMS:
        metrics = json.loads(table(workplace, f"{arm}/policy")["metrics"].item())
        assert metrics["held_out_gain_low"] <= metrics["held_out_gain"] <= metrics["held_out_gain_high"]
        assert metrics["kl_largest"] < metrics["kl_limit"]
        shown = event(workplace, f"{arm}/policy").metadata
        assert "| step | prompt | response | reward |" in shown["samples"].value
        assert "| prompt | supervised | policy |" in shown["held out responses"].value


def test_training_and_evaluation_are_runs_in_mlflow(workplace) -> None:
    import mlflow

    client = mlflow.MlflowClient(Home(workplace.root, "town").mlflow_uri)
    experiment = client.get_experiment_by_name("town")
    runs = {run.data.tags["dagster.asset_key"]: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) >= TRAINED | {"judge_answers", "comparisons", "eval_scores"}
    for key in TRAINED:
        run, record = runs[key], table(workplace, key).row(0, named=True)
        assert run.info.status == "FINISHED"
        assert run.data.tags["dagster.run_id"]
        assert run.data.tags["arm"] == record["arm"]
        assert run.data.tags["constitution_digest"] == record["constitution_digest"]
        assert run.data.tags["dagster.data_version"] == record["model_digest"]
        for name, value in json.loads(record["metrics"]).items():
            assert run.data.metrics[f"final/{name}"] == pytest.approx(value)
        assert event(workplace, key).metadata["mlflow run"].value == run.info.run_id
        (logged,) = client.search_logged_models(
            [experiment.experiment_id], filter_string=f"tags.model_digest = '{record['model_digest']}'"
        )
        assert logged.source_run_id == run.info.run_id and logged.model_type == record["stage"]
        registered = client.get_model_version_by_alias(f"town.{record['stage']}", record["arm"])
        assert registered.source == f"models:/{logged.model_id}"
        assert record["constitution_digest"] in registered.description
        assert [each.path for each in client.list_logged_model_artifacts(logged.model_id) if "README" in each.path]
        assert not list((workplace.root / "mlflow-artifacts").rglob("*.safetensors"))
    benchmarks = next(run for key, run in runs.items() if "public/sample_arithmetic" in key)
    kept = {each.path for each in client.list_artifacts(benchmarks.info.run_id, "samples")}
    assert {f"samples/sample_{name}.jsonl" for name in ("knowledge", "arithmetic", "bias", "over_refusal")} <= kept
    inputs = {each.dataset.name: each for each in runs["public/preference_model"].inputs.dataset_inputs}
    digests = {tag.key: tag.value for tag in inputs["preference_pairs"].tags}
    assert digests["digest"] == table_digest(table(workplace, "public/preference_pairs"))


def test_the_control_is_trained_by_rules_and_told_as_it_is(workplace) -> None:
    pairs = {arm: table(workplace, f"{arm}/preference_pairs") for arm in CONTROL_ARMS}
    plain, ornate = pairs.values()
    assert set(plain["method"]) == {"rules"} and plain["status"].to_list().count("labelled") > 1
    both = plain.join(ornate, on=["pair_id", "response_a", "response_b"]).drop_nulls("probability_a")
    assert both.height == plain.drop_nulls("probability_a").height
    assert (both["probability_a"] + both["probability_a_right"]).to_list() == pytest.approx([1.0] * both.height)
    records = {arm: table(workplace, f"{arm}/policy").row(0, named=True) for arm in CONTROL_ARMS}
    untrained = table(workplace, "base_model")["model_digest"].item()
    assert {each["parent_digest"] for each in records.values()} == {untrained}
    assert len({each["settings"] for each in records.values()}) == 1
    assert len({untrained, *(each["model_digest"] for each in records.values())}) == 3
    responses, scores = table(workplace, "control_responses"), table(workplace, "control_scores")
    assert responses.group_by("arm").len().sort("arm").rows() == [
        ("base", 6),
        *((arm, 6) for arm in sorted(CONTROL_ARMS)),
    ]
    assert scores.equals(control_scores(responses, 100, 7))
    passed, what = checked(workplace, "control_scores", "training_follows_the_judge")
    assert passed is follows_the_judge(scores)
    assert passed or "that training follows the judge is not shown" in what
    assert control_worth(scores).headline in Page((workplace.root / "town/report/evaluation.html").read_text()).words()


def test_labels_carry_their_evidence(workplace) -> None:
    pairs = table(workplace, "public/preference_pairs")
    assert set(pairs["method"]) == {"likeness"} and set(pairs["status"]) <= {"labelled", "identical"}
    assert pairs.filter(pl.col("status") == "labelled")["probability_a"].n_unique() > 1
    measured = table(workplace, "judge_calibration").filter(method="likeness")
    assert set(pairs["feedback_model"]) == set(measured["feedback_model"])
    assert set(table(workplace, "comparisons")["judge"]) == set(measured["feedback_model"])
    assert set(pairs["principle_id"]) <= set(table(workplace, "public/constitution")["principle_id"])


def test_a_judge_at_chance_is_marked_in_everything_that_rests_on_it(workplace) -> None:
    calibration = table(workplace, "judge_calibration")
    assert set(calibration["method"]) == {"letters", "contrast", "likeness"} and calibration["at_chance"].all()
    assert dict(calibration.select("method", "n").rows()) == {"letters": 4, "contrast": 4, "likeness": 142}
    assert calibration.filter("scores_models")["method"].to_list() == ["likeness"]
    assert (calibration["blind_accuracy"] == 0.5).all()
    base = table(workplace, "base_model")["model_digest"].item()
    assert table(workplace, "feedback_model").select("model_digest", "stage").rows() == [(base, "feedback_model")]
    assert table(workplace, "judge_calibration_curve")["n"].sum() == (
        calibration["n"].sum() - calibration["n_unanswered"].sum()
    )
    for arm in ARMS:
        assert table(workplace, f"{arm}/preference_pairs")["judge_at_chance"].all()
        assert table(workplace, f"{arm}/adherence")["judge_at_chance"].all()
        for stage, marked in (("supervised_policy", None), ("preference_model", 1.0), ("policy", 1.0)):
            metrics = json.loads(table(workplace, f"{arm}/{stage}")["metrics"].item())
            assert metrics.get("judge_at_chance") == marked
    scores = table(workplace, "eval_scores")
    judged = scores["benchmark"].is_in(["adherence", "elo"])
    assert scores.filter(judged)["judge_at_chance"].all()
    assert not scores.filter(~judged)["judge_at_chance"].any()
    for key in ("comparisons", "elo_scores", "elo_differences"):
        assert table(workplace, key)["judge_at_chance"].all()
    report = (workplace.root / "town" / "report" / "audit_report.html").read_text()
    assert "labelled by a judge that was not shown to be better than guessing" in report


def test_report_and_provenance_are_files_with_their_digest(workplace) -> None:
    for key, name in (
        ("audit_report", "audit_report.html"),
        ("constitution_report", "constitution.html"),
        ("public_summary", "summary.html"),
        ("public_results", "results.html"),
        ("provenance", "provenance.json"),
    ):
        path = workplace.root / "town" / "report" / name
        assert table(workplace, key)["file_digest"].item() == file_digest(path)
    document = json.loads((workplace.root / "town" / "report" / "provenance.json").read_text())
    assets = {entity["ccai:asset"] for entity in document["entity"].values()}
    assert assets >= (EVERYTHING - {"provenance"}) | {f"{kind}_ledger" for kind in LEDGERS}


def test_what_the_run_left_verifies_and_its_provenance_is_valid(workplace) -> None:
    home = Home(workplace.root, "town")
    manifest, untouched = read_manifest(home.manifest)
    places = {name: home.folder / name for name in ("tables", "models", "report")}
    found = verify(manifest, untouched, {**places, "consultation": workplace.folder, "sample": SAMPLE})
    assert found.mismatches == () and found.notes == ()
    assert found.counted["tables"] == len(EVERYTHING) == len(manifest.materializations)
    assert {manifest.materializations[key].mlflow_run for key in TRAINED} == {
        event(workplace, key).metadata["mlflow run"].value for key in TRAINED
    }
    text = (home.report / "provenance.json").read_text()
    document = prov.model.ProvDocument.deserialize(content=text, format="json")
    assert prov.model.ProvDocument.deserialize(content=document.serialize(format="json"), format="json") == document
    tracked = [each for each in json.loads(text)["activity"] if each.startswith("ccai:activity/mlflow_run/")]
    assert len(tracked) == len({each.mlflow_run for each in manifest.materializations.values()} - {None})


def test_sensors_rest_while_nothing_changes(workplace) -> None:
    for name in ("new_inputs", "changed_deliberation", "signed_off_training"):
        assert isinstance(sensor(workplace, name), dg.SkipReason), name
