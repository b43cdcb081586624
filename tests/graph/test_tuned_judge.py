"""A judge tuned on people, from the decision for it to labels of its own."""

from __future__ import annotations

import csv
import json

import pytest
from small_graph import Workplace, checked, table

from ccai_dagster import contracts

pytestmark = [pytest.mark.torch, pytest.mark.timeout(1500)]


def test_a_decision_for_the_tuned_judge_trains_it_measures_it_and_labels_with_it(copy: Workplace) -> None:
    path = copy.folder / "decisions" / "training.csv"
    rows = csv.DictReader(path.read_text().splitlines())
    *_, old = (row for row in rows if row["subject_ids"] == "feedback_method")
    with path.open("a", newline="") as handle:
        writer = csv.DictWriter(handle, list(contracts.LEDGER.fields), lineterminator="\n")
        cited = {"inputs_digest": "0" * 64, "outcome": "tuned"}
        writer.writerow(old | cited | {"decision_id": "J1", "supersedes": old["decision_id"]})
    done = copy.run(
        select="key:feedback_model or key:judge_answers or key:judge_calibration or key:standard/preference_pairs"
    )
    assert done.failed == []
    model = table(copy, "feedback_model").row(0, named=True)
    kept = copy.root / "town" / "models" / model["model_digest"]
    assert sorted(each.name for each in kept.iterdir()) == ["config.json", "head.safetensors", "words.safetensors"]
    assert json.loads(model["metrics"])["train_n"] > 10
    answers = table(copy, "judge_answers")
    counts = dict(answers["method"].value_counts().rows())
    assert counts.pop("likeness") == counts.pop("words") > 50  # on every comparison that nothing learnt from
    assert counts == {"contrast": 4, "letters": 4, "tuned": 4}
    calibration = table(copy, "judge_calibration")
    assert calibration.filter("scores_models")["feedback_model"].to_list() == [model["model_digest"]]
    assert calibration.filter(method="words").select("accuracy", "at_chance").row(0) == (0.5, True)
    pairs = table(copy, "standard/preference_pairs")
    assert set(pairs["method"]) == {"tuned"}
    assert set(pairs["feedback_model"]) == {model["model_digest"]}
    passed, told = checked(copy, "standard/preference_pairs", "training_decisions")
    assert passed and "decided on other figures" in told
