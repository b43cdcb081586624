"""Trainings that are killed at any moment, or shared by two processes, make the model of one that is not."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import warm_stages as warm
from small_training import helpfulness_pairs, preference_pairs, revisions

from ccai_dagster.consultation.settings import (
    ModelSettings,
    PolicySettings,
    PreferenceModelSettings,
    SupervisedSettings,
)
from ccai_dagster.contracts import PROMPTS
from ccai_dagster.core import processes
from ccai_dagster.core.digest import folder_digest
from ccai_dagster.stages.request import Stage, StageFolder
from ccai_dagster.stages.training import PreferenceModelStage, ReinforcedPolicyStage, SupervisedPolicyStage
from ccai_dagster.training import trainer
from ccai_dagster.training.model_folder import load_model, merged

pytestmark = pytest.mark.torch
REPOSITORY = Path(__file__).parents[2]
WORDS = ["kind", "fair", "honest", "a letter to my town", "3 reasons why", "no"]
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(warm_stages: str, tmp_path: Path) -> Run:
    """Runs a request in a fork of a warm process; see `warm_stages`."""
    environment = {
        "PATH": "",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "HOME": str(tmp_path),
        processes.STARTER: str(os.getpid()),
    }

    def order(request: StageFolder, **how: Any) -> dict[str, Any]:
        return warm.ask(warm_stages, [request.file], environment, seen=str(tmp_path / "seen"), **how)

    return order


def tables() -> dict[str, pl.DataFrame]:
    prompts = [
        {
            "prompt_id": f"x{at}",
            "text": f"Please say {word}.",
            "purpose": "held_out" if at % 2 else "policy",
            "themes": [],
            "relevant_principles": [],
        }
        for at, word in enumerate(WORDS)
    ]
    return {
        "revisions": revisions(WORDS),
        "helpfulness_pairs": helpfulness_pairs(WORDS),
        "preference_pairs": preference_pairs(WORDS),
        "prompts": PROMPTS.build(prompts),
    }


SETTINGS = {
    "supervised_policy": SupervisedSettings(steps=4, batch_size=2, learning_rate=1e-2, lora_rank=2, max_tokens=64),
    "preference_model": PreferenceModelSettings(
        steps=4, batch_size=2, learning_rate=1e-2, lora_rank=2, max_tokens=64, held_out_share=0.3
    ),
    "policy": PolicySettings(
        steps=4, prompts_per_step=2, samples_per_prompt=2, new_tokens=5, learning_rate=1e-2, lora_rank=2
    ),
}


def training(stage: str, model: Path, preference_model: Path, settings: PolicySettings | None = None) -> Stage:
    made = tables()
    if stage == "supervised_policy":
        return SupervisedPolicyStage(
            base_model=model,
            revisions=made["revisions"],
            helpfulness_pairs=made["helpfulness_pairs"],
            settings=SETTINGS[stage],
            seed=3,
        )
    if stage == "preference_model":
        return PreferenceModelStage(
            base_model=model,
            preference_pairs=made["preference_pairs"],
            helpfulness_pairs=made["helpfulness_pairs"],
            harmlessness_weight=0.5,
            settings=SETTINGS[stage],
            seed=3,
        )
    return ReinforcedPolicyStage(
        model=ModelSettings(dtype="float32"),
        supervised_policy=model,
        preference_model=preference_model,
        prompts=made["prompts"],
        training_prompts=[f"Please say {word}." for word in WORDS],
        settings=settings or SETTINGS[stage],
        seed=3,
    )


def request(
    stage: str, path: Path, model: Path, preference_model: Path, settings: PolicySettings | None = None
) -> StageFolder:
    folder = StageFolder(path)
    folder.write(training(stage, model, preference_model, settings))
    return folder


def made_by(request: StageFolder) -> tuple[str, pl.DataFrame, dict[str, float]]:
    """Digest of the model, curves and figures of a finished stage."""
    result = request.result()
    return folder_digest(request.model), result.tables["history"], result.report.metrics


@pytest.mark.parametrize("stage", list(SETTINGS))
def test_a_training_that_is_killed_again_and_again_makes_the_same_model(
    stage: str, run: Run, tiny_model: Path, preference_model: Path, tmp_path: Path
) -> None:
    quiet = request(stage, tmp_path / "quiet", tiny_model, preference_model)
    began = time.monotonic()
    whole = run(quiet)
    seconds = time.monotonic() - began
    assert whole["status"] == 0, quiet.error.read_text()
    expected = made_by(quiet)

    killed = request(stage, tmp_path / "killed", tiny_model, preference_model)
    draw = random.Random(stage)
    moments: list[dict[str, Any]] = [
        {"kill_at": draw.randrange(len(whole["operations"]) // 2)},
        {"kill_when": "checkpoint-2/trainer_state.json"},  # a checkpoint without its last file
        {"kill_when": "seals/.checkpoint-3.sha256."},  # one that is whole, but nobody has said so
        {"terminate_after": seconds * draw.uniform(0.3, 0.9)},
        {"kill_when": "shutil.rmtree work/checkpoints/checkpoint-"},  # before one too many is removed
        {"kill_when": ".unfinished/tokenizer"},  # while the final model is written
        {"kill_when": "unfinished made/model"},
        {"kill_when": "open made/.report.json"},
    ]
    died = []
    for moment in moments:
        answer = run(killed, **moment)
        died.append(answer["status"])
        assert not killed.report.exists() or answer["status"] == 0
    print(stage, died, seconds)
    assert -9 in died[1:3] and died[5:] == [-9, -9, -9]
    last = killed.work / "checkpoints" / "checkpoint-4" / "optimizer.pt"
    os.truncate(last, last.stat().st_size // 2)  # a disk that lost half of it: the one before is used
    assert run(killed)["status"] == 0
    digest, history, metrics = made_by(killed)
    assert digest == expected[0]
    assert history.equals(expected[1])
    assert metrics == expected[2]


def by_two_processes(warm_stages: str, requests: list[StageFolder], *configuration: str) -> None:
    """Run stages in two processes, as the launcher does with a configuration of accelerate."""
    launch = [sys.executable, "-W", "ignore", "-m", "accelerate.commands.launch", "--config_file", *configuration]
    files = [str(each.file) for each in requests]
    done = subprocess.run([*launch, warm.__file__, "stage", warm_stages, *files], capture_output=True, text=True)
    errors = [each.error.read_text() for each in requests if each.error.exists()]
    assert done.returncode == 0, (errors, done.stderr[-2000:])


def test_two_processes_train_as_one(
    run: Run, warm_stages: str, tiny_model: Path, preference_model: Path, tmp_path: Path
) -> None:
    """What responses are drawn differs between one process and two; at a low temperature all draw the likeliest."""
    cold = SETTINGS["policy"].model_copy(update={"temperature": 0.01})

    def requests(name: str) -> list[StageFolder]:
        places = {stage: tmp_path / name / stage for stage in SETTINGS}
        return [
            request(stage, place, tiny_model, preference_model, cold if stage == "policy" else None)
            for stage, place in places.items()
        ]

    one = requests("one")
    for each in one:
        assert run(each)["status"] == 0
    configs = REPOSITORY / "configs"
    sharded = (str(configs / "sharded.yaml"), "--num_processes", "2", "--mixed_precision", "no")
    whole, shared = requests("whole"), requests("shared")
    by_two_processes(warm_stages, whole, str(configs / "two_processes.yaml"))
    by_two_processes(warm_stages, shared, *sharded)
    for name, both in (("rng_state_1.pth", whole), ("pytorch_model_fsdp_0/__1_0.distcp", shared)):
        for stage, alone, two in zip(SETTINGS, one, both, strict=True):
            first, second = made_by(alone), made_by(two)
            assert (two.work / "checkpoints" / "checkpoint-4" / name).is_file()
            assert set(first[2]) == set(second[2])
            for figure, value in first[2].items():
                assert second[2][figure] == pytest.approx(value, rel=1e-3, abs=1e-3), (stage, figure)
            losses = [table.filter(name="loss")["value"].to_list() for table in (first[1], second[1])]
            assert losses[1] == pytest.approx(losses[0], rel=1e-3, abs=1e-3), stage
    # What shares a model goes on from a checkpoint as if nothing had been, and nothing else goes on from it.
    digest = made_by(shared[0])[0]
    last = shared[0].work / "checkpoints" / "checkpoint-4"
    shutil.rmtree(shared[0].made)
    shutil.rmtree(last)
    assert run(shared[0])["status"] == 1
    assert re.search(
        r"checkpoint-3 was saved by processes that share one model.*CCAI_ACCELERATE_CONFIG.*or remove .*supervised_p",
        shared[0].error.read_text(),
    )
    shared[0].error.unlink()
    by_two_processes(warm_stages, shared[:1], *sharded)
    assert last.is_dir() and made_by(shared[0])[0] == digest


@pytest.mark.parametrize("scores", [False, True])
def test_a_model_put_together_from_gathered_weights_is_the_trained_one(
    tiny_model: Path, preference_model: Path, scores: bool
) -> None:
    import torch
    from peft import get_peft_model

    base = preference_model if scores else tiny_model
    with torch.random.fork_rng():
        torch.manual_seed(2)
        trained = get_peft_model(load_model(base, scores=scores), trainer.adapter(2, scores=scores))
        for parameter in trained.parameters():
            if parameter.requires_grad:
                torch.nn.init.normal_(parameter.data, std=0.1)
    weights = {name: value.clone() for name, value in trained.state_dict().items()}
    again = trainer.put_together(base, trained.peft_config["default"], weights)
    one, two = (merged(each, "float32", 0).state_dict() for each in (trained, again))
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    untrained = load_model(base, scores=scores).state_dict()
    assert not all(torch.equal(one[name], untrained[name]) for name in one)
