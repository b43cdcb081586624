"""The graph has what a consultation asks for: weights of principles, or a model of its own for the revisions."""

from __future__ import annotations

import shutil
from pathlib import Path

import dagster as dg
import yaml

from assets import feedback
from ccai_dagster.consultation.folder import SAMPLE, read_consultation


def test_weights_are_an_asset_of_the_arm_that_uses_them(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(SAMPLE, tmp_path / "town"))
    path = folder / "consultation.yaml"
    content = yaml.safe_load(path.read_text())
    arms = content["arms"]
    arms["weighted"] = arms["public"] | {"principle_weights": "gac"}
    path.write_text(yaml.safe_dump(content))
    made = {asset.key: asset for asset in feedback.build(read_consultation(folder))}
    weights = dg.AssetKey(["weighted", "principle_weights"])
    assert [key for key in made if key.path[-1] == "principle_weights"] == [weights]
    # New votes may change the consensus and leave the constitution as it was signed.
    assert made[weights].dependency_keys == {
        dg.AssetKey(["weighted", "constitution"]),
        dg.AssetKey("selected_statements"),
    }
    needed = {arm: made[dg.AssetKey([arm, "preference_pairs"])].dependency_keys for arm in arms}
    assert weights in needed["weighted"] and weights not in needed["public"] | needed["standard"]
    versions = {arm: made[dg.AssetKey([arm, "preference_pairs"])].code_versions_by_key.values() for arm in arms}
    assert set(versions["public"]) == set(versions["standard"]) != set(versions["weighted"])


def test_a_model_of_its_own_writes_the_revisions_and_nothing_else(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(SAMPLE, tmp_path / "town"))
    plain = {asset.key: asset for asset in feedback.build(read_consultation(folder))}
    with (folder / "consultation.yaml").open("a") as handle:
        handle.write("revision_model: {source: 'folder:/models/helpful', dtype: float32}\n")
    made = {asset.key: asset for asset in feedback.build(read_consultation(folder))}
    model, base, revisions = (
        dg.AssetKey("revision_model"),
        dg.AssetKey("base_model"),
        dg.AssetKey(["public", "revisions"]),
    )
    assert set(made) - set(plain) == {model}
    assert model in made[revisions].dependency_keys and base not in made[revisions].dependency_keys
    assert base in plain[revisions].dependency_keys
    assert [key for key in made if model in made[key].dependency_keys] == [
        dg.AssetKey([arm, "revisions"]) for arm in ("public", "standard")
    ]
    changed = {key for key in plain if plain[key].code_versions_by_key != made[key].code_versions_by_key}
    assert changed == {dg.AssetKey([arm, "revisions"]) for arm in ("public", "standard")}


def versions(folder: Path) -> dict[str, set[str | None]]:
    made = feedback.build(read_consultation(folder))
    return {each.key.to_user_string(): set(each.code_versions_by_key.values()) for each in made}


def test_other_weights_in_the_same_folder_are_another_base_model(tmp_path: Path) -> None:
    folder, model = Path(shutil.copytree(SAMPLE, tmp_path / "town")), tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(b"weights")
    path = folder / "consultation.yaml"
    content = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(content | {"model": {"source": f"folder:{model}"}}))
    before = versions(folder)
    (model / "model.safetensors").write_bytes(b"others!")
    after = versions(folder)
    # What rests on it follows from the model's digest.
    assert {key for key in before if before[key] != after[key]} == {"base_model"}


def test_patience_with_a_server_makes_nothing_anew_and_what_is_asked_does(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(SAMPLE, tmp_path / "town"))
    path = folder / "consultation.yaml"
    content = yaml.safe_load(path.read_text())

    def of(**server: object) -> dict[str, set[str | None]]:
        feedback = {"server_url": "http://h", "server_model": "m", "server": server}
        profiles = content.get("profiles", {})
        own = profiles.get("demo", {})
        merged = profiles | {"demo": own | {"feedback": own.get("feedback", {}) | feedback}}
        path.write_text(yaml.safe_dump(content | {"profiles": merged}))
        return versions(folder)

    plain, patient, fewer = of(), of(patience=5, timeout=1, parallel=2), of(top_logprobs=5)
    assert plain == patient
    assert {key for key in plain if plain[key] != fewer[key]} == {
        "judge_answers",
        "public/preference_pairs",
        "standard/preference_pairs",
    }
