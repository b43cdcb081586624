from __future__ import annotations

import json
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import dagster as dg
import polars as pl
import pytest

from assets import evaluation, training
from ccai_dagster.consultation.folder import SAMPLE, read_consultation
from ccai_dagster.contracts import ARM_STAGES, EVAL_SCORES, JUDGE_CALIBRATION, MODEL, training_settings
from ccai_dagster.core.digest import value_digest
from ccai_dagster.training.settings_of_arms import WEIGHTS, comparable_digest, difference_findings, settings_table

SETTINGS: dict[str, Any] = {"seed": 7, "settings": {"steps": 4, "batch_size": 8}, "data order": "f" * 64}


def record(stage: str, arm: str, constitution: str, settings: dict[str, Any]) -> pl.DataFrame:
    return MODEL.build(
        [
            {
                "model_digest": f"{arm}-{stage}",
                "stage": stage,
                "arm": arm,
                "parent_digest": "base",
                "constitution_digest": constitution,
                "settings_digest": value_digest(settings),
                "settings": json.dumps(settings),
                "metrics": "{}",
            }
        ]
    )


def records(**changes: Any) -> dict[str, dict[str, pl.DataFrame]]:
    return {
        stage: {
            "public": record(stage, "public", "a" * 64, SETTINGS),
            "standard": record(stage, "standard", "b" * 64, SETTINGS | (changes if stage == "policy" else {})),
        }
        for stage in ("preference_model", "policy")
    }


def test_every_setting_stands_in_one_row_and_only_the_constitution_differs() -> None:
    table = settings_table(records())
    assert training_settings(["public", "standard"]).violations(table).is_empty()
    assert table.filter("differs").rows() == [("every stage", "constitution", "a" * 64, "b" * 64, True)]
    assert table.filter(stage="policy").select("setting", "in_public").rows() == [
        ("data order", "f" * 64),
        ("seed", "7"),
        ("settings.batch_size", "8"),
        ("settings.steps", "4"),
    ]
    assert difference_findings(table) == []


def test_steps_order_and_missing_settings_are_named() -> None:
    for change, subject, message in (
        ({"settings": {"steps": 5, "batch_size": 8}}, "policy: settings.steps", "4 in public, 5 in standard"),
        ({"data order": "e" * 64}, "policy: data order", f"{'f' * 12} in public, {'e' * 12} in standard"),
        ({"method": "dpo"}, "policy: method", "nothing in public, dpo in standard"),
    ):
        (found,) = difference_findings(settings_table(records(**change)))
        assert (found.severity, found.subject) == ("error", subject)
        assert message in found.message


def test_one_constitution_for_all_is_a_warning_and_two_for_one_arm_an_error() -> None:
    same = {
        stage: {arm: record(stage, arm, "a" * 64, SETTINGS) for arm in ("public", "standard")}
        for stage in ("preference_model", "policy")
    }
    (found,) = difference_findings(settings_table(same))
    assert found.severity == "warning" and "one and the same constitution" in found.message
    same["policy"]["standard"] = record("policy", "standard", "b" * 64, SETTINGS)
    (found,) = difference_findings(settings_table(same))
    assert (found.severity, found.subject) == ("error", "standard")


def test_two_ways_to_draw_from_one_constitution_differ_in_one_row_that_is_allowed() -> None:
    arms = {"public": ("a", "uniform"), "weighted": ("a", "gac"), "standard": ("b", "uniform")}

    def table(names: tuple[str, ...]) -> pl.DataFrame:
        made: dict[str, dict[str, pl.DataFrame]] = {"preference_model": {}, "policy": {}}
        for arm in names:
            letter, weights = arms[arm]
            learnt = record("preference_model", arm, letter * 64, SETTINGS | {WEIGHTS: weights})
            made["preference_model"][arm] = learnt
            parent = {"settings of the preference model": comparable_digest(learnt["settings"].item())}
            made["policy"][arm] = record("policy", arm, letter * 64, SETTINGS | parent)
        return settings_table(made)

    pair = table(("public", "weighted"))
    assert pair.filter("differs").rows() == [("preference_model", WEIGHTS, "uniform", "gac", True)]
    assert difference_findings(pair) == []
    three = table(("public", "weighted", "standard"))
    assert three.filter("differs")["setting"].to_list() == ["constitution", WEIGHTS]
    assert difference_findings(three) == []
    (found,) = difference_findings(table(("weighted", "standard")))
    assert (found.severity, found.subject) == ("warning", f"preference_model: {WEIGHTS}")
    assert "weighted draws principles in another way (gac)" in found.message


def test_three_arms_are_three_columns() -> None:
    three = records()
    for stage, by_arm in three.items():
        by_arm["weighted"] = record(stage, "weighted", "c" * 64, SETTINGS)
    table = settings_table(three)
    assert table.columns == ["stage", "setting", "in_public", "in_standard", "in_weighted", "differs"]
    assert difference_findings(table) == []


class Given(dg.IOManager):
    """Records of models, and no row of anything else; keeps what is stored."""

    def __init__(self, models: dict[str, dict[str, pl.DataFrame]]) -> None:
        self.models, self.stored = models, pl.DataFrame()

    def load_input(self, context: dg.InputContext) -> pl.DataFrame:
        arm, stage = context.asset_key.path[0], context.asset_key.path[-1]
        return self.models[stage][arm] if stage in self.models else JUDGE_CALIBRATION.empty()

    def handle_output(self, context: dg.OutputContext, obj: pl.DataFrame) -> None:
        self.stored = obj


def check_of(name: str, models: dict[str, dict[str, pl.DataFrame]]) -> tuple[bool, str]:
    """Whether `one_difference` of this asset passes, and its message."""
    consultation = read_consultation(SAMPLE)
    built = [*training.build(consultation), *evaluation.build(consultation)]
    assets = [each for each in built if isinstance(each, dg.AssetsDefinition)]
    asset = next(each for each in assets if dg.AssetKey(name) in each.keys)
    read = [dg.AssetSpec(key).with_io_manager_key("tables") for key in asset.dependency_keys]
    run = SimpleNamespace(log=lambda values: None, url="http://localhost")
    resources = {"tables": Given(models), "tracking": SimpleNamespace(run=lambda *about: nullcontext(run))}
    result = dg.materialize([asset, *read], resources=resources, raise_on_error=False)
    (found,) = [each for each in result.get_asset_check_evaluations() if each.check_name == "one_difference"]
    assert result.success is found.passed
    return found.passed, str(found.metadata["what"].value)


@pytest.mark.parametrize("asset", ["training_settings", "eval_scores"])
def test_both_checks_let_other_weights_pass_with_a_warning_and_refuse_other_steps(
    asset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "score_table", lambda *inputs: EVAL_SCORES.empty())
    models = {
        stage: {arm: record(stage, arm, letter * 64, SETTINGS) for arm, letter in (("public", "a"), ("standard", "b"))}
        for stage in ARM_STAGES
    }
    assert check_of(asset, models) == (True, "nothing found")
    weights = {"public": "gac", "standard": "uniform"}
    models["preference_model"] = {
        arm: record("preference_model", arm, letter * 64, SETTINGS | {WEIGHTS: weights[arm]})
        for arm, letter in (("public", "a"), ("standard", "b"))
    }
    passed, message = check_of(asset, models)
    assert passed and "public draws principles in another way (gac)" in message
    models["policy"]["standard"] = record("policy", "standard", "b" * 64, SETTINGS | {"seed": 8})
    passed, message = check_of(asset, models)
    assert not passed and "policy: seed" in message and "7 in public, 8 in standard" in message
