"""What an error says about full disks and too little memory, from the errors that libraries really raise."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.stages import worker
from ccai_dagster.stages.request import StageReport

FULL = Path("/dev/full")
needs_a_full_device = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")


@needs_a_full_device
@pytest.mark.parametrize("writer", ["text", "parquet", "fsync"])
def test_a_full_disk_is_named(tmp_path: Path, writer: str) -> None:
    def write() -> None:
        if writer == "text":
            FULL.write_text("a word")
        elif writer == "parquet":
            pl.DataFrame({"a": list(range(1000))}).write_parquet(FULL)
        else:
            handle = os.open(FULL, os.O_WRONLY)
            try:
                os.write(handle, b"a word")
            finally:
                os.close(handle)

    with pytest.raises(Exception) as caught:
        write()
    said = worker.explanation(caught.value, "policy", tmp_path)
    assert said is not None and "disk" in said and "is full" in said and str(tmp_path) in said
    wrapped = RuntimeError("saving failed")
    wrapped.__cause__ = caught.value
    assert worker.explanation(wrapped, "policy", tmp_path) == said


@needs_a_full_device
@pytest.mark.torch
def test_a_full_disk_is_named_when_weights_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    with pytest.raises(RuntimeError) as caught:
        torch.save({"a": torch.zeros(1 << 16)}, FULL)
    # torch does not say why it could not write; the disk does.
    assert worker.explanation(caught.value, "policy", tmp_path) is None
    monkeypatch.setattr(worker, "LEAST_FREE_BYTES", 1 << 62)
    assert "is full" in str(worker.explanation(caught.value, "policy", tmp_path))
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60)
    said = worker.explanation(caught.value, "preference_model", tmp_path)
    assert said is not None and "memory of this machine" in said and "`preference_model.batch_size`" in said
    gpu = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    said = worker.explanation(gpu, "policy", tmp_path)
    assert said is not None and "memory of the GPU" in said and "`policy.prompts_per_step`" in said


def test_other_errors_keep_their_trace_and_sentences_stay(tmp_path: Path) -> None:
    assert worker.explanation(KeyError("x"), "policy", tmp_path) is None
    assert worker.explanation(FileNotFoundError(2, "No such file"), "policy", tmp_path) is None
    assert worker.explanation(ConsultationError("row 3: no."), "policy", tmp_path) == "row 3: no."
    assert "`" not in str(worker.explanation(MemoryError(), "base_model", tmp_path))


def test_memory_that_was_held_is_measured() -> None:
    script = "from ccai_dagster.stages.worker import peak_memory_bytes as p; a = bytearray(300 << 20); print(p())"
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    held = int(subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=True).stdout)
    assert 300 << 20 < held < 900 << 20


def test_memory_is_told_by_where_it_was_and_a_gpu_only_where_there_is_one() -> None:
    assert StageReport(peak_memory_bytes=3 << 30).memory() == {"peak_memory_gib": 3.0}
    both = StageReport(peak_memory_bytes=3 << 30, peak_gpu_memory_bytes=1 << 29).memory()
    assert both == {"peak_memory_gib": 3.0, "peak_gpu_memory_gib": 0.5}


@pytest.mark.parametrize(
    ("given", "threads"),
    [
        ({"OMP_NUM_THREADS": "16"}, "16"),
        ({"OMP_NUM_THREADS": "16", "LOCAL_WORLD_SIZE": "1"}, "16"),
        ({"OMP_NUM_THREADS": "16", "LOCAL_WORLD_SIZE": "8"}, "2"),
        ({"OMP_NUM_THREADS": "2", "LOCAL_WORLD_SIZE": "8"}, "1"),
    ],
)
def test_processes_that_work_together_divide_the_threads(given: dict[str, str], threads: str) -> None:
    worker.share_threads(given)
    assert given["OMP_NUM_THREADS"] == threads
