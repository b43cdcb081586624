"""The embedded consultation with a tiny random model and the smallest sizes, materialized once a session."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
import yaml

from ccai_dagster.consultation import SAMPLE, Consultation, read_consultation
from ccai_dagster.run import Outcome, prepare_instance, run
from resources.launcher import Launcher

SMALLEST = {
    "deliberation": {"bootstraps": 10},
    "sensitivity": {"ways_to_group": 2},
    # The byte-level tokenizer of the random model would need a longer context for the answered examples.
    "feedback": {"calibration_comparisons": 4, "calibration_methods": ["letters", "contrast"]},
    "tuned_judge": {"passes": 0.1, "batch_size": 2, "lora_rank": 2, "max_tokens": 64},
    "revisions": {"prompts": 4, "few_shots": 1, "new_tokens": 8},
    "supervised": {"steps": 2, "batch_size": 8, "lora_rank": 2, "max_tokens": 64},
    "pairs": {"prompts": 8, "new_tokens": 8},
    "preference_model": {"steps": 1, "batch_size": 2, "lora_rank": 2, "max_tokens": 64},
    "balance": {"weights": [0.0], "benign_prompts": 0},
    "policy": {
        "steps": 1, "prompts_per_step": 1, "samples_per_prompt": 2, "new_tokens": 4, "lora_rank": 2,
        "held_out_prompts": 2,
    },
    "evaluation": {
        "items_per_benchmark": 4, "new_tokens": 4, "comparison_prompts": 2, "adherence_prompts": 2,
        "principles_per_prompt": 1, "bootstraps": 100,
    },
}  # fmt: skip


@dataclass
class Workplace:
    """A consultation folder, where its results are, and what the first run did."""

    folder: Path
    root: Path
    instance: dg.DagsterInstance
    first: Outcome

    @property
    def consultation(self) -> Consultation:
        return read_consultation(self.folder)

    def run(self, select: str | None = None) -> Outcome:
        return run(self.consultation, self.root, lambda line: None, select, self.instance)


def small_folder(destination: Path, model: Path) -> Path:
    """Copy the sample and make everything as small as it can be."""
    shutil.copytree(SAMPLE, destination)
    path = destination / "consultation.yaml"
    content = yaml.safe_load(path.read_text())
    content["model"] = {"source": f"folder:{model}", "dtype": "float32", "context_tokens": 2048}
    content["profiles"] = {"demo": SMALLEST}
    path.write_text(yaml.safe_dump(content))
    # A random model gives letters no probability; by contrast every pair gets a label.
    ledger = destination / "decisions" / "training.csv"
    ledger.write_text(ledger.read_text().replace(",letters,", ",contrast,", 1))
    return destination


@pytest.fixture(scope="session")
def warm_stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let stages run in forks of a process that has imported its libraries; see `warm_stages`."""
    script = str(Path(__file__).parent / "warm_stages.py")
    address = tmp_path_factory.mktemp("warm") / "socket"
    launcher = Launcher(work="", threads=os.cpu_count() or 1)
    server = subprocess.Popen(
        [sys.executable, "-W", "ignore", script, "serve", str(address)],
        env={**os.environ, **launcher._environment(), "PYTHONPATH": os.pathsep.join(sys.path)},
    )

    def command(self: Launcher, distributed: bool, request: Path) -> list[str]:
        return [sys.executable, "-I", script, "stage", str(address), str(request)]

    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Launcher, "_command", command)
            while not address.exists():
                assert server.poll() is None, "the process with the libraries ended"
                time.sleep(0.1)
            yield
    finally:
        server.terminate()
        server.wait()


@pytest.fixture(scope="session")
def workplace(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, warm_stages: None
) -> Iterator[Workplace]:
    base = tmp_path_factory.mktemp("graph")
    folder = small_folder(base / "town", tiny_model)
    before = dict(os.environ)
    os.environ["CCAI_HOME"] = str(base / "home")
    try:
        with prepare_instance(base / "home") as instance:
            first = run(read_consultation(folder), base / "home", lambda line: None, None, instance)
            yield Workplace(folder, base / "home", instance, first)
    finally:
        os.environ.clear()
        os.environ.update(before)
