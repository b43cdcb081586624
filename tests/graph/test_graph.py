"""The whole graph, materialized for real with a tiny random model.

Tests run in the order of the file: later ones bring new votes and decisions to the same consultation.
"""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import dagster as dg
import polars as pl
import prov.model
import pytest
import yaml

from ccai_dagster import contracts
from ccai_dagster.audit.manifest import read_manifest
from ccai_dagster.audit.verification import verify
from ccai_dagster.consultation import LEDGERS, SAMPLE
from ccai_dagster.definitions import build_defs
from ccai_dagster.digest import file_digest, table_digest
from ccai_dagster.evaluation.rating_sheets import blinded_sheet, export_sheet
from ccai_dagster.evaluation.ratings import import_ratings
from ccai_dagster.sample.build import build_more
from resources.history import version_of
from resources.home import Home

# The first test waits for the whole graph, one after another starts a training again.
pytestmark = [pytest.mark.torch, pytest.mark.timeout(1500)]
ARMS = ("public", "standard")
ONCE = {
    "raw_statements", "raw_participants", "raw_votes", "import_report", "statements", "participants", "votes",
    "opinion_groups", "gac_scores", "representative_statements", "consensus_statements", "comment_priorities",
    "consensus_stability", "group_stability", "selected_statements",
    "constitution_overlap", "constitution_comparison", "opinion_representativeness", "base_model", "prompts",
    "prompt_coverage", "feedback_model", "judge_answers", "judge_calibration", "judge_calibration_curve",
    "helpfulness_pairs",
    "comparisons", "elo_scores", "elo_differences",
    "rater_agreement", "eval_scores",
    "model_cards", "decision_trail", "decision_worlds", "decision_sensitivity", "decision_importance",
    "principle_robustness", "decision_reversals", "preference_balance", "training_settings",
    "qualitative_prompts", "evaluation_page",
    "audit_report", "provenance", "adherence_examples", "contrast_pairs", "control_statements", "judged_examples",
    "adherence_scores", "group_adherence", "specificity", "conflicts",
}  # fmt: skip
BY_ARM = {
    "constitution", "signed_constitution", "revisions", "supervised_policy", "response_pairs", "preference_pairs",
    "preference_model", "policy",
}  # fmt: skip
EVALUATED = {
    "adherence", "control_adherence", "contrast_margins", "qualitative_responses", "sample_knowledge",
    "sample_arithmetic", "sample_bias", "sample_over_refusal", "sample_opinions",
}  # fmt: skip
EVERYTHING = (
    ONCE
    | {f"{arm}/{name}" for arm in ARMS for name in BY_ARM}
    | {f"{arm}/{name}" for arm in ("base", *ARMS) for name in EVALUATED}
)
TRAINED = {f"{arm}/{name}" for arm in ARMS for name in ("supervised_policy", "preference_model", "policy")}


def table(workplace, key: str) -> pl.DataFrame:
    return pl.read_parquet(workplace.root / "town" / "tables" / f"{key}.parquet")


def event(workplace, key: str) -> dg.AssetMaterialization:
    found = workplace.instance.get_latest_materialization_event(dg.AssetKey(key.split("/")))
    assert found is not None and found.asset_materialization is not None, key
    return found.asset_materialization


def checked(workplace, key: str, name: str) -> tuple[bool, str]:
    """Whether a check of an asset passed when it was last made, and what it told."""
    check = dg.AssetCheckKey(dg.AssetKey(key.split("/")), name)
    (record,) = workplace.instance.event_log_storage.get_latest_asset_check_execution_by_key([check]).values()
    found = record.event.dagster_event.asset_check_evaluation_data
    return found.passed, str(found.metadata["what"].value)


def test_the_first_run_materializes_everything_once(workplace) -> None:
    assert workplace.first.failed == []
    assert sorted(workplace.first.materialized) == sorted(EVERYTHING)
    assert workplace.first.waiting == {}


def test_every_check_passed_and_tells_what_it_counted(workplace) -> None:
    graph = build_defs(workplace.consultation, workplace.root).resolve_asset_graph()
    records = workplace.instance.event_log_storage.get_latest_asset_check_execution_by_key(
        list(graph.asset_check_keys)
    )
    assert len(records) == len(graph.asset_check_keys) >= len(EVERYTHING)
    for key, record in records.items():
        evaluation = record.event.dagster_event.asset_check_evaluation_data
        assert evaluation.passed, key
        assert evaluation.blocking, key
        assert "what" in evaluation.metadata, key


def test_every_asset_tells_what_it_is_and_who_answers_for_it(workplace) -> None:
    graph = build_defs(workplace.consultation, workplace.root).resolve_asset_graph()
    for key in graph.toposorted_asset_keys:
        node = graph.get(key)
        assert node.description and node.group_name != "default" and node.kinds, key
        assert node.owners or node.tags.get("owner"), key
        assert node.code_version or not node.is_materializable, key
    sources = {
        key.to_user_string() for key in graph.toposorted_asset_keys if not graph.get(key).is_materializable
    }
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
        (arm, weight, chosen, ids)
        for arm in ARMS
        for weight, chosen, ids in ((0.0, False, []), (0.5, True, ["R2"]))
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
        assert [
            each.path for each in client.list_logged_model_artifacts(logged.model_id) if "README" in each.path
        ]
        assert not list((workplace.root / "mlflow-artifacts").rglob("*.safetensors"))
    benchmarks = next(run for key, run in runs.items() if "public/sample_arithmetic" in key)
    kept = {each.path for each in client.list_artifacts(benchmarks.info.run_id, "samples")}
    assert {
        f"samples/sample_{name}.jsonl" for name in ("knowledge", "arithmetic", "bias", "over_refusal")
    } <= kept
    inputs = {each.dataset.name: each for each in runs["public/preference_model"].inputs.dataset_inputs}
    digests = {tag.key: tag.value for tag in inputs["preference_pairs"].tags}
    assert digests["digest"] == table_digest(table(workplace, "public/preference_pairs"))


def test_labels_carry_their_evidence(workplace) -> None:
    pairs = table(workplace, "public/preference_pairs")
    assert set(pairs["method"]) == {"contrast"} and set(pairs["status"]) <= {"labelled", "identical"}
    assert pairs.filter(pl.col("status") == "labelled")["probability_a"].n_unique() > 1
    assert set(pairs["feedback_model"]) == {table(workplace, "base_model")["model_digest"].item()}
    assert set(pairs["principle_id"]) <= set(table(workplace, "public/constitution")["principle_id"])


def test_a_judge_at_chance_is_marked_in_everything_that_rests_on_it(workplace) -> None:
    calibration = table(workplace, "judge_calibration")
    assert set(calibration["method"]) == {"letters", "contrast"} and calibration["at_chance"].all()
    base = table(workplace, "base_model")["model_digest"].item()
    assert table(workplace, "feedback_model").select("model_digest", "stage").rows() == [
        (base, "feedback_model")
    ]
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
    assert "labelled by a judge that could not be told from guessing" in report


def test_report_and_provenance_are_files_with_their_digest(workplace) -> None:
    for key, name in (("audit_report", "audit_report.html"), ("provenance", "provenance.json")):
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
    assert (
        prov.model.ProvDocument.deserialize(content=document.serialize(format="json"), format="json")
        == document
    )
    tracked = [each for each in json.loads(text)["activity"] if each.startswith("ccai:activity/mlflow_run/")]
    assert len(tracked) == len({each.mlflow_run for each in manifest.materializations.values()} - {None})


def test_a_second_run_does_nothing(workplace) -> None:
    again = workplace.run()
    assert again.failed == [] and again.materialized == []
    assert set(again.fresh) == EVERYTHING


def test_what_was_lost_is_made_again_and_nothing_else(workplace) -> None:
    (workplace.root / "town" / "report" / "audit_report.html").unlink()
    (workplace.root / "town" / "tables" / "gac_scores.parquet").unlink()
    again = workplace.run()
    assert set(again.materialized) == {"gac_scores", "audit_report"}


def test_a_selection_is_materialized_even_if_fresh(workplace) -> None:
    assert workplace.run(select="key:gac_scores or key:votes").materialized == ["votes", "gac_scores"]
    together = {"raw_votes", "raw_statements", "raw_participants", "import_report"}
    assert set(workplace.run(select="key:raw_votes").materialized) == together


def test_what_people_rate_stands_beside_what_the_judge_says(workplace) -> None:
    # The tiny models may all respond alike; people are asked here all the same.
    compared = table(workplace, "comparisons").with_columns(status=pl.lit("compared"))
    quality, one, other = compared.select("quality", "arm_a", "arm_b").row(0)
    folder, output = workplace.folder / "ratings", workplace.root / "sheet.csv"
    export_sheet(folder, blinded_sheet(compared, (one, other), quality, 1, 7), output)
    pl.read_csv(output, infer_schema=False).with_columns(rating=pl.lit("tie")).write_csv(output)
    import_ratings(folder, output, "rater-1")
    assert isinstance(sensor(workplace, "new_inputs"), dg.RunRequest)
    before = event(workplace, "comparisons").tags["dagster/data_version"]
    done = workplace.run()
    assert done.failed == []
    assert {"elo_scores", "elo_differences", "rater_agreement", "audit_report"} <= set(done.materialized)
    assert not set(done.materialized) & (TRAINED | {"comparisons"})
    assert event(workplace, "comparisons").tags["dagster/data_version"] == before
    people = table(workplace, "elo_differences").filter(source="people")
    assert people.select("n", "n_ties", "n_raters", "judge_at_chance").rows() == [(1, 1, 1, False)]
    manifest, _ = read_manifest(Home(workplace.root, "town").manifest)
    assert {"consultation/ratings/rater-1.csv", "consultation/ratings/keys/pairs.csv"} <= set(manifest.files)


def sensor(workplace, name: str) -> dg.RunRequest | dg.SkipReason:
    defs = build_defs(workplace.consultation, workplace.root)
    repository = defs.get_repository_def()
    with dg.build_sensor_context(instance=workplace.instance, repository_def=repository) as context:
        return repository.get_sensor_def(name)(context)


def observe(workplace) -> None:
    defs = build_defs(workplace.consultation, workplace.root)
    assert defs.resolve_job_def("observe_inputs").execute_in_process(instance=workplace.instance).success


def test_sensors_rest_while_nothing_changes(workplace) -> None:
    for name in ("new_inputs", "changed_deliberation", "signed_off_training"):
        assert isinstance(sensor(workplace, name), dg.SkipReason), name


def test_a_malformed_export_stops_before_anything_is_replaced(workplace) -> None:
    votes = workplace.folder / "votes" / "votes.csv"
    whole, before = votes.read_text(), table(workplace, "raw_votes")
    votes.write_text(whole.rstrip("\n") + "\n1700000000000,Mon,0,7,5\n")
    broken = workplace.run()
    assert len(broken.failed) == 1
    assert "votes.csv, data row" in broken.failed[0] and "must be -1, 0 or 1" in broken.failed[0]
    assert table(workplace, "raw_votes").equals(before)
    votes.write_text(whole)
    assert workplace.run().failed == []


def test_a_decision_on_another_text_stops_its_room(workplace) -> None:
    path = workplace.folder / "decisions" / "merge.csv"
    whole, before = path.read_text(), table(workplace, "selected_statements")
    rows = list(csv.DictReader(whole.splitlines()))
    lapsing = next(row for row in rows if row["inputs_digest"])
    digest = lapsing["inputs_digest"]
    path.write_text(whole.replace(digest, "0" * 64))
    broken = workplace.run()
    assert len(broken.failed) == 1 and lapsing["decision_id"] in broken.failed[0]
    assert table(workplace, "selected_statements").equals(before)
    path.write_text(whole)
    assert workplace.run().failed == []


def test_votes_that_leave_the_constitution_as_it_is_start_nothing_after_it(workplace) -> None:
    build_more("unchanged", workplace.folder / "votes")
    assert isinstance(sensor(workplace, "new_inputs"), dg.RunRequest)
    observe(workplace)
    request = sensor(workplace, "changed_deliberation")
    assert isinstance(request, dg.RunRequest)
    assert {key.to_user_string() for key in request.asset_selection} == {
        "raw_statements", "raw_participants", "raw_votes", "import_report",
    }  # fmt: skip
    digest = event(workplace, "public/constitution").tags["dagster/data_version"]
    done = workplace.run()
    assert done.failed == [] and done.waiting == {}
    assert {"raw_votes", "opinion_groups", "gac_scores", "public/constitution"} <= set(done.materialized)
    assert not set(done.materialized) & (TRAINED | {"public/revisions", "eval_scores", "base/adherence"})
    assert event(workplace, "public/constitution").tags["dagster/data_version"] == digest
    assert isinstance(sensor(workplace, "signed_off_training"), dg.SkipReason)


def test_a_changed_constitution_waits_for_a_signature(workplace) -> None:
    before = {key: event(workplace, key).tags["dagster/data_version"] for key in TRAINED}
    build_more("changed", workplace.folder / "votes")
    done = workplace.run()
    assert set(done.waiting) == {"public"}
    assert "public/constitution" in done.materialized
    assert not set(done.materialized) & (TRAINED | {"public/signed_constitution", "public/revisions"})
    skipped = sensor(workplace, "signed_off_training")
    assert isinstance(skipped, dg.SkipReason) and done.waiting["public"][:12] in str(skipped.skip_message)
    assert {key: event(workplace, key).tags["dagster/data_version"] for key in TRAINED} == before


def test_dagster_itself_refuses_an_unsigned_constitution(workplace) -> None:
    defs = build_defs(workplace.consultation, workplace.root)
    result = defs.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=workplace.instance, raise_on_error=False,
        asset_selection=[dg.AssetKey(["public", "signed_constitution"]), dg.AssetKey(["public", "revisions"])],
    )  # fmt: skip
    assert not result.success
    checks = [each for each in result.get_asset_check_evaluations() if each.check_name == "signoff"]
    assert [each.passed for each in checks] == [False]
    assert "the sign-off is for another text" in str(checks[0].metadata["what"].value)
    assert result.get_step_skipped_events() or not result.asset_materializations_for_node("public__revisions")


def draw_by_consensus(workplace, arm: str) -> None:
    path = workplace.folder / "consultation.yaml"
    content = yaml.safe_load(path.read_text())
    content["arms"][arm]["principle_weights"] = "gac"
    path.write_text(yaml.safe_dump(content))


def test_a_signature_starts_the_training_of_this_arm_only(workplace) -> None:
    path = workplace.folder / "decisions" / "signoff.csv"
    digest = version_of(dg.AssetKey(["public", "constitution"]), workplace.instance)
    rows = list(csv.DictReader(path.read_text().splitlines()))
    old = next(row for row in rows if row["subject_ids"] == "public")
    with path.open("a", newline="") as handle:
        writer = csv.DictWriter(handle, list(contracts.LEDGER.fields), lineterminator="\n")
        writer.writerow(
            old | {"decision_id": "SO9", "supersedes": old["decision_id"], "inputs_digest": digest}
        )
    observe(workplace)
    request = sensor(workplace, "signed_off_training")
    assert isinstance(request, dg.RunRequest)
    started = {key.to_user_string() for key in request.asset_selection}
    assert {"public/signed_constitution", "public/revisions"} & started
    before = {key: event(workplace, key).tags["dagster/data_version"] for key in TRAINED}
    draw_by_consensus(workplace, "public")  # one training for this test and the next
    done = workplace.run()
    assert done.failed == [] and done.waiting == {}
    assert {key for key in TRAINED if key.startswith("public/")} <= set(done.materialized)
    assert not {key for key in TRAINED if key.startswith("standard/")} & set(done.materialized)
    assert {"eval_scores", "audit_report", "public/adherence"} <= set(done.materialized)
    after = {key: event(workplace, key).tags["dagster/data_version"] for key in TRAINED}
    assert all((after[key] == before[key]) == key.startswith("standard/") for key in TRAINED)


def test_an_arm_with_other_weights_than_the_baseline_is_evaluated_and_both_pages_are_written(
    workplace,
) -> None:
    assert table(workplace, "public/principle_weights")["share"].n_unique() > 1
    settings = table(workplace, "training_settings").filter("differs")
    assert settings.select("setting", "in_public", "in_standard").rows()[1:] == [
        ("principle weights", "gac", "uniform")
    ]
    for key in ("training_settings", "eval_scores"):
        passed, told = checked(workplace, key, "one_difference")
        assert passed and "public draws principles in another way (gac) than the other arms" in told
    made = event(workplace, "public/policy").tags["dagster/data_version"]
    assert "public" in table(workplace, "eval_scores")["arm"].to_list()
    cards = table(workplace, "model_cards").filter(arm="public")
    assert cards.filter(stage="policy")["model_digest"].item() == made
    same = cards.with_columns(pl.col("card").str.contains("(equal in every arm)", literal=True))
    assert dict(same.select("stage", "card").iter_rows()) == {
        stage: stage != "preference_model" for stage in contracts.ARM_STAGES
    }
    report = (workplace.root / "town" / "report" / "audit_report.html").read_text()
    assert made in report
    assert "the same but for <bdi>principle weights (gac in public, uniform in standard)</bdi>" in report
    assert "public draws principles in another way (gac) than the other arms" in report
    page = (workplace.root / "town" / "report" / "evaluation.html").read_text()
    assert table_digest(table(workplace, "eval_scores")) in page


def test_deliberation_is_the_same_in_another_home(workplace, tmp_path: Path) -> None:
    shutil.copytree(workplace.folder, tmp_path / "town")
    from ccai_dagster.consultation import read_consultation
    from ccai_dagster.run import run

    with dg.DagsterInstance.ephemeral() as instance:
        chosen = "group:public_input or group:deliberation or key:selected_statements or key:*/constitution"
        outcome = run(
            read_consultation(tmp_path / "town"), tmp_path / "home", lambda line: None, chosen, instance
        )
        assert outcome.failed == []
    for key in (
        "raw_votes",
        "opinion_groups",
        "consensus_stability",
        "selected_statements",
        "public/constitution",
    ):
        ours = workplace.root / "town" / "tables" / f"{key}.parquet"
        assert (tmp_path / "home" / "town" / "tables" / f"{key}.parquet").read_bytes() == ours.read_bytes()


def test_a_decision_for_the_tuned_judge_trains_it_measures_it_and_labels_with_it(workplace) -> None:
    path = workplace.folder / "decisions" / "training.csv"
    whole = path.read_text()
    old = next(row for row in csv.DictReader(whole.splitlines()) if row["subject_ids"] == "feedback_method")
    with path.open("a", newline="") as handle:
        writer = csv.DictWriter(handle, list(contracts.LEDGER.fields), lineterminator="\n")
        cited = {"inputs_digest": "0" * 64, "outcome": "tuned"}
        writer.writerow(old | cited | {"decision_id": "R9", "supersedes": old["decision_id"]})
    done = workplace.run(
        select="key:feedback_model or key:judge_answers or key:judge_calibration or key:standard/preference_pairs"
    )
    assert done.failed == []
    model = table(workplace, "feedback_model").row(0, named=True)
    assert (workplace.root / "town" / "models" / model["model_digest"] / "model.safetensors").is_file()
    assert json.loads(model["metrics"])["train_n"] > 10
    answers = table(workplace, "judge_answers")
    assert answers["method"].value_counts().sort("method").rows() == [
        ("contrast", 4),
        ("letters", 4),
        ("tuned", 4),
    ]
    pairs = table(workplace, "standard/preference_pairs")
    assert set(pairs["method"]) == {"tuned"}
    assert set(pairs["feedback_model"]) == {model["model_digest"]}
    passed, told = checked(workplace, "standard/preference_pairs", "training_decisions")
    assert passed and "decided on other figures" in told
    path.write_text(whole)
