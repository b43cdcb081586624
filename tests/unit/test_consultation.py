"""Reading a consultation folder: what is said when something is wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from ccai_dagster.consultation.folder import SAMPLE, read_consultation
from ccai_dagster.consultation.settings import DEMO, FULL
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.home import Home
from resources.history import input_paths


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SAMPLE, tmp_path / "mine"))


def change(folder: Path, **values: object) -> None:
    path = folder / "consultation.yaml"
    content = yaml.safe_load(path.read_text())
    for name, value in values.items():
        if value is None:
            content.pop(name)
        else:
            content[name] = value
    path.write_text(yaml.safe_dump(content))


def test_sample() -> None:
    sample, full = read_consultation(SAMPLE), read_consultation(SAMPLE, "full")
    assert sample.name == "sample"
    assert set(sample.arms) == {"public", "standard"}
    # Direct preferences need more steps than reinforcement, and cost no more.
    moved = DEMO.policy.model_copy(update={"steps": 5, "learning_rate": 1e-3})
    assert sample.profile.model_copy(update={"feedback": DEMO.feedback}) == DEMO.model_copy(update={"policy": moved})
    assert full.profile.model_copy(update={"feedback": FULL.feedback}) == FULL
    assert sample.profile.feedback.calibration_methods == ("letters", "likeness")
    assert full.profile.feedback.calibration_methods == (*FULL.feedback.calibration_methods, "likeness")


def test_profiles_can_be_changed_in_part(folder: Path) -> None:
    change(folder, profiles={"demo": {"policy": {"steps": 7}}})
    changed = read_consultation(folder)
    assert changed.profile.policy == DEMO.policy.model_copy(update={"steps": 7})
    assert changed.profile.pairs == DEMO.pairs
    assert changed.profile.digest() != DEMO.digest()


def test_a_file_beside_the_folder_is_recorded_by_its_whole_path(folder: Path, tmp_path: Path) -> None:
    own = folder / "constitutions" / "standard.csv"
    shared = Path(shutil.copy(own, tmp_path / "shared.csv"))
    arms = yaml.safe_load((folder / "consultation.yaml").read_text())["arms"]
    arms["standard"]["constitution"] = "../shared.csv"
    change(folder, arms=arms, prompts="votes/../prompts.csv", themes=str(folder / "themes.csv"))
    consultation = read_consultation(folder)
    assert consultation.path("../shared.csv") == shared
    files = input_paths(consultation, Home(tmp_path, "mine"), None)
    assert files[f"outside{shared}"] == shared
    assert files["consultation/prompts.csv"] == folder / "prompts.csv"
    assert files["consultation/themes.csv"] == folder / "themes.csv"
    assert {name.partition("/")[0] for name in files} == {"consultation", "outside"}


def test_files_of_the_sample_can_be_named(folder: Path) -> None:
    change(folder, prompts="sample:prompts.csv")
    assert read_consultation(folder).path("sample:prompts.csv") == SAMPLE / "prompts.csv"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seed": None}, "`seed`: Field required"),
        ({"sead": 3}, "`sead`: there is no setting of this name here"),
        ({"moderation": "guess"}, "'strict' or 'lenient'"),
        (
            {
                "arms": {
                    "weighted": {"constitution": "a.csv", "description": "x", "principle_weights": "gac"},
                    "standard": {"constitution": "a.csv", "description": "x"},
                }
            },
            "arm 'weighted' has `principle_weights: gac`, but no principle of a.csv has a group-aware consensus",
        ),
        ({"baseline": "nobody"}, "baseline 'nobody'"),
        ({"arms": {"public": {"constitution": "ledgers", "description": "x"}}, "baseline": "public"}, "two arms"),
        ({"arms": {"base": {"constitution": "ledgers", "description": "x"}}}, "'base'"),
        ({"profiles": {"huge": {}}}, "unknown profiles"),
        ({"profiles": {"demo": {"policy": {"steps": 0}}}}, "policy.steps"),
        ({"prompts": "nowhere.csv"}, "nowhere.csv"),
        ({"profiles": {"demo": {"feedback": {"server": {"timeout": float("inf")}}}}}, "feedback.server.timeout"),
        ({"model": {"source": "folder:../mine"}}, "`model.source`: 'folder:../mine' begins where a command is given"),
        ({"votes": "elsewhere"}, "elsewhere"),
    ],
)
def test_bad_settings_name_file_and_field(folder: Path, values: dict[str, object], message: str) -> None:
    change(folder, **values)
    with pytest.raises(ConsultationError) as caught:
        read_consultation(folder)
    assert message in str(caught.value)
    assert "consultation.yaml" in str(caught.value)


def test_a_name_that_stands_twice_is_refused(folder: Path) -> None:
    path = folder / "consultation.yaml"
    path.write_text(path.read_text() + "\nprofiles:\n  demo: {}\nprofiles:\n  full: {}\n")
    with pytest.raises(ConsultationError, match=r"`profiles` stands twice; put what is below both under one"):
        read_consultation(folder)


def test_missing_pieces(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConsultationError, match="not found"):
        read_consultation(tmp_path / "nowhere")
    with pytest.raises(ConsultationError, match="no profile 'big'"):
        read_consultation(folder, "big")
    (folder / "decisions" / "merge.csv").unlink()
    with pytest.raises(ConsultationError, match=r"merge\.csv.*header"):
        read_consultation(folder)
    (folder / "consultation.yaml").write_text("- a list\n")
    with pytest.raises(ConsultationError, match="found list"):
        read_consultation(folder)
