"""Checkpoints and models on disk: what is cut off or damaged is never taken for whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ccai_dagster.core import unchanged
from ccai_dagster.core.digest import folder_digest
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.training import checkpoints
from resources import model_store
from resources.model_store import ModelStore


def checkpoint(folder: Path, step: int) -> Path:
    made = folder / f"checkpoint-{step}"
    (made / "optimizer").mkdir(parents=True)
    (made / "adapter_model.safetensors").write_bytes(bytes(range(256)))
    (made / "optimizer" / "state").write_bytes(b"momentum")
    (made / "trainer_state.json").write_text("{}")
    return made


def test_the_last_checkpoint_is_the_last_that_was_sealed(tmp_path: Path) -> None:
    assert checkpoints.last_checkpoint(tmp_path) is None
    for step in (2, 9, 10, 11):
        made = checkpoint(tmp_path, step)
        if step != 11:
            checkpoints.seal(made)
    # Steps are numbers: 10 comes after 9.
    assert checkpoints.last_checkpoint(tmp_path) == tmp_path / "checkpoint-10"
    removed = checkpoints.discard_after(tmp_path, tmp_path / "checkpoint-10")
    assert removed == [tmp_path / "checkpoint-11"] and not removed[0].exists()
    assert (tmp_path / "checkpoint-9").is_dir()


@pytest.mark.parametrize("damage", ["cut", "changed", "missing", "added", "seal cut"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path: Path, damage: str) -> None:
    for step in (1, 2):
        checkpoints.seal(checkpoint(tmp_path, step))
    last = tmp_path / "checkpoint-2"
    assert checkpoints.last_checkpoint(tmp_path) == last
    weights = last / "adapter_model.safetensors"
    if damage == "cut":
        os.truncate(weights, 255)
    elif damage == "changed":
        weights.write_bytes(bytes(255) + b"\x01")
    elif damage == "missing":
        (last / "optimizer" / "state").unlink()
    elif damage == "added":
        (last / "rng_state.pth").touch()
    else:
        os.truncate(tmp_path / "seals" / "checkpoint-2.sha256", 10)
    assert checkpoints.last_checkpoint(tmp_path) == tmp_path / "checkpoint-1"
    assert checkpoints.discard_after(tmp_path, tmp_path / "checkpoint-1") == [last]
    assert not checkpoints.is_whole(checkpoint(tmp_path, 2)), "an old seal must not vouch for a new checkpoint"


@pytest.mark.parametrize(
    ("file", "how"), [("adapter.bin", "have a whole model each"), ("pytorch_model_fsdp_0", "share one")]
)
def test_a_checkpoint_of_the_other_kind_is_refused_with_both_remedies(tmp_path: Path, file: str, how: str) -> None:
    made = checkpoint(tmp_path, 3)
    (made / file).touch()
    shared = how == "share one"
    checkpoints.check_goes_on(made, shared, tmp_path)
    with pytest.raises(
        ConsultationError, match=f"checkpoint-3 was saved by.*{how}.*CCAI_ACCELERATE_CONFIG.*or remove {tmp_path}"
    ):
        checkpoints.check_goes_on(made, not shared, tmp_path)


def model(folder: Path, weights: bytes = b"weights") -> Path:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(weights)
    return folder


def store(url: Path | str, tmp_path: Path) -> ModelStore:
    return ModelStore(url=str(url), cache=str(tmp_path / "cache"))


def test_a_cut_off_model_is_noticed_and_replaced_by_the_same_model(tmp_path: Path) -> None:
    models = store(tmp_path / "models", tmp_path)
    made = model(tmp_path / "made")
    digest = models.add(made)
    assert digest == folder_digest(made) == folder_digest(models.folder(digest))
    os.truncate(models.folder(digest) / "model.safetensors", 3)
    with pytest.raises(ConsultationError, match=r"damaged: its files have another digest.*Remove the folder"):
        models.folder(digest)
    assert models.add(made) == digest
    assert (models.folder(digest) / "model.safetensors").read_bytes() == b"weights"
    assert [path.name for path in (tmp_path / "models").iterdir()] == [digest]


def test_a_model_is_read_again_only_if_its_files_are_not_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unchanged, "SECONDS_TO_SETTLE", 0.0)
    models = store(tmp_path / "models", tmp_path)
    digest = models.add(model(tmp_path / "made"))
    weights = tmp_path / "models" / digest / "model.safetensors"
    read: list[Path] = []

    def is_whole(folder: Path, digest: str) -> bool:
        read.append(folder)
        return folder_digest(folder) == digest

    monkeypatch.setattr(model_store, "is_whole", is_whole)
    assert models.keeps(digest) and models.keeps(digest) and len(read) == 1
    assert not models.keeps("0" * 64) and not models.keeps("")
    times = weights.stat()
    weights.write_bytes(b"WEIGHTS")
    os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert not models.keeps(digest), "the time of the content can be set back, that of the change cannot"
    weights.write_bytes(b"weights")
    assert models.keeps(digest) and len(read) == 3
    # What a disk did to the bytes is found by whoever uses them, and known from then on.
    note = next((tmp_path / "cache").glob("*.whole"))
    monkeypatch.setattr(model_store, "is_whole", lambda folder, digest: False)
    assert models.keeps(digest)
    with pytest.raises(ConsultationError, match="damaged"):
        models.folder(digest)
    assert not note.exists() and not models.keeps(digest)


def test_a_model_in_a_remote_store_is_not_fetched_to_be_looked_at(tmp_path: Path) -> None:
    models = store(f"memory://{tmp_path.name}", tmp_path)
    digest = models.add(model(tmp_path / "made"))
    assert models.keeps(digest) and not models.keeps("0" * 64)
    assert not (tmp_path / "cache").exists()


def test_what_a_killed_copy_left_is_no_model_and_is_removed_by_the_next(tmp_path: Path) -> None:
    models = store(tmp_path / "models", tmp_path)
    made = model(tmp_path / "made")
    left = tmp_path / "models" / f".{folder_digest(made)}.0123"
    left.mkdir(parents=True)
    with pytest.raises(ConsultationError, match="no such model"):
        models.folder(folder_digest(made))
    models.add(made)
    assert not left.exists()


def test_a_model_without_its_last_file_in_a_remote_store_is_sent_again(tmp_path: Path) -> None:
    models = store(f"memory://{tmp_path.name}", tmp_path)
    made = model(tmp_path / "made")
    digest = folder_digest(made)
    from upath import UPath

    there = UPath(models.url) / digest
    there.mkdir(parents=True)
    (there / "model.safetensors").write_bytes(b"wei")  # the sender was killed here
    with pytest.raises(ConsultationError, match="no such model"):
        models.folder(digest)
    assert models.add(made) == digest
    assert folder_digest(models.folder(digest)) == digest
    # A copy that was damaged here is fetched again, one that is damaged there is refused.
    os.truncate(tmp_path / "cache" / digest / "model.safetensors", 1)
    assert folder_digest(models.folder(digest)) == digest
    (there / "model.safetensors").write_bytes(b"other")
    os.truncate(tmp_path / "cache" / digest / "model.safetensors", 1)
    with pytest.raises(ConsultationError, match="damaged"):
        models.folder(digest)


def test_a_folder_that_could_run_code_or_has_no_weights_is_refused(tmp_path: Path) -> None:
    models = store(tmp_path / "models", tmp_path)
    (model(tmp_path / "code") / "modeling.py").touch()
    with pytest.raises(ConsultationError, match=r"modeling\.py could run code"):
        models.add(tmp_path / "code")
    (model(tmp_path / "empty") / "model.safetensors").unlink()
    with pytest.raises(ConsultationError, match="no safetensors"):
        models.add(tmp_path / "empty")
    assert not (tmp_path / "models").exists()
