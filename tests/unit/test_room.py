"""Models that one device cannot hold are refused from their sizes, before any of them is loaded."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from safetensors.numpy import load_file
from small_training import helpfulness_pairs, preference_pairs, revisions

from ccai_dagster.consultation.settings import PolicySettings, PreferenceModelSettings, SupervisedSettings
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.training import room

pytestmark = pytest.mark.torch
WORDS = ["kind", "fair"]
PLACES = ("work", "model")


def device_of(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "device_memory", lambda: (size, "a GPU"))


def test_weights_are_counted_as_they_are_computed_with(tiny_model: Path) -> None:
    numbers = sum(each.size for each in load_file(tiny_model / "model.safetensors").values())
    assert room.weight_bytes(tiny_model) == 4 * numbers


def test_this_device_has_more_than_a_gigabyte_and_has_a_name() -> None:
    size, name = room.device_memory()
    assert size > room.GB and name in ("a GPU", "this machine")


def test_what_fits_goes_on_and_what_does_not_is_named_with_the_sizes(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = room.weight_bytes(tiny_model)
    device_of(2 * size, monkeypatch)
    room.check_room(tiny_model, tiny_model)
    monkeypatch.setattr(room, "GB", 1)
    with pytest.raises(ConsultationError) as error:
        room.check_room(tiny_model, tiny_model, tiny_model)
    assert f"take {3 * size}.0 GB" in str(error.value) and f"a GPU has {2 * size}.0 GB" in str(error.value)
    assert str(tiny_model) in str(error.value) and "Take a device with more memory" in str(error.value)


def test_a_model_that_is_divided_while_it_is_trained_needs_no_whole_place(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device_of(room.weight_bytes(tiny_model), monkeypatch)
    room.check_room_to_train(tiny_model)
    with pytest.raises(ConsultationError, match="needed whole"):
        room.check_room_to_train(tiny_model, tiny_model)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    room.check_room_to_train(tiny_model, tiny_model)  # the reward model alone is whole
    device_of(1, monkeypatch)
    room.check_room_to_train(tiny_model)


@pytest.mark.parametrize("stage", ["asking", "supervised", "preference model", "direct preferences", "reinforcement"])
def test_every_way_to_a_whole_model_says_so_before_anything_is_written(
    stage: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ccai_dagster.stages.transformers_model import TransformersModel
    from ccai_dagster.training.comparisons import comparisons
    from ccai_dagster.training.direct_preference import train_policy_directly
    from ccai_dagster.training.policy import train_policy
    from ccai_dagster.training.preference_model import train_preference_model
    from ccai_dagster.training.supervised import train_supervised_policy

    device_of(1000, monkeypatch)
    places = [tmp_path / name for name in PLACES]
    harmless, helpful = preference_pairs(WORDS), helpfulness_pairs(WORDS)
    table = comparisons(harmless, helpful, 0.5, 0.3, 3)
    begin = {
        "asking": lambda: TransformersModel(tiny_model, "float32", 1),
        "supervised": lambda: train_supervised_policy(
            tiny_model, revisions(WORDS), helpful, SupervisedSettings(), 3, *places
        ),
        "preference model": lambda: train_preference_model(
            tiny_model, harmless, helpful, 0.5, PreferenceModelSettings(), 3, *places
        ),
        "direct preferences": lambda: train_policy_directly(tiny_model, table, 64, PolicySettings(), 3, *places),
        "reinforcement": lambda: train_policy(tiny_model, tiny_model, WORDS, PolicySettings(), 3, *places),
    }
    with pytest.raises(ConsultationError, match=re.escape(str(tiny_model))):
        begin[stage]()
    assert not any(tmp_path.iterdir())
