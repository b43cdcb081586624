"""Trainings that are killed at any moment, or shared by two processes, make the model of one that is not."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
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
from ccai_dagster.stages.training import (
    DirectPolicyStage,
    PreferenceModelStage,
    ReinforcedPolicyStage,
    SupervisedPolicyStage,
)
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


POLICY = PolicySettings(
    steps=4, prompts_per_step=2, samples_per_prompt=2, new_tokens=5, learning_rate=1e-2, lora_rank=2
)
SETTINGS = {
    "supervised_policy": SupervisedSettings(steps=4, batch_size=2, learning_rate=1e-2, lora_rank=2, max_tokens=64),
    "preference_model": PreferenceModelSettings(
        steps=4, batch_size=2, learning_rate=1e-2, lora_rank=2, max_tokens=64, held_out_share=0.3
    ),
    "policy": POLICY,
}
COLD = POLICY.model_copy(update={"temperature": 0.01, "learning_rate": 1e-6})
"""Draws the likeliest responses, which are then equal: what there is to learn from is rounding, with Adam a whole step
in another direction for one process than for two."""


def training(stage: str, model: Path, preference_model: Path, policy: PolicySettings) -> Stage:
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
    about: dict[str, Any] = {
        "model": ModelSettings(dtype="float32"),
        "supervised_policy": model,
        "preference_model": preference_model,
        "prompts": made["prompts"],
        "settings": policy,
        "seed": 3,
    }
    if stage == "policy":
        return ReinforcedPolicyStage(training_prompts=[f"Please say {word}." for word in WORDS], **about)
    return DirectPolicyStage(
        preference_pairs=made["preference_pairs"],
        helpfulness_pairs=made["helpfulness_pairs"],
        harmlessness_weight=0.5,
        preference_settings=SETTINGS["preference_model"],
        **about,
    )


def request(
    stage: str, path: Path, model: Path, preference_model: Path, policy: PolicySettings = POLICY
) -> StageFolder:
    folder = StageFolder(path)
    folder.write(training(stage, model, preference_model, policy))
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
        {"kill_at": draw.randrange(len(whole["operations"]) // 4)},
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


def by_several_processes(warm_stages: str, requests: list[StageFolder], *configuration: str) -> None:
    """Run stages in processes that share the work, as the launcher does with a configuration of accelerate."""
    from accelerate.commands.launch import launch_command, launch_command_parser

    words = ["--config_file", *configuration, warm.__file__, "stage", warm_stages]
    handlers = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)}
    try:
        launch_command(launch_command_parser().parse_args([*words, *(str(each.file) for each in requests)]))
    except Exception as error:
        errors = [each.error.read_text() for each in requests if each.error.exists()]
        raise AssertionError(errors) from error
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def taken_back(request: StageFolder, steps: int) -> StageFolder:
    """Take what a training made and its last steps away, as if it had been interrupted before them."""
    shutil.rmtree(request.made)
    for step in range(4 - steps + 1, 5):
        shutil.rmtree(request.work / "checkpoints" / f"checkpoint-{step}")
    return request


def test_several_processes_train_as_one_and_go_on_for_each_other(
    run: Run, warm_stages: str, tiny_model: Path, preference_model: Path, tmp_path: Path
) -> None:
    stages = [*SETTINGS, "direct"]

    def requests(name: str) -> list[StageFolder]:
        return [
            request(each, tmp_path / name / each, tiny_model, preference_model, COLD if each == "policy" else POLICY)
            for each in stages
        ]

    def as_one(several: list[StageFolder]) -> None:
        for place, made in zip(several, map(made_by, several), strict=True):
            alone = expected[place.path.name]
            assert set(made[2]) == set(alone[2])
            for figure, value in alone[2].items():
                assert made[2][figure] == pytest.approx(value, rel=1e-3, abs=1e-3), (place.path, figure)
            losses = [table.filter(name="loss")["value"].to_list() for table in (alone[1], made[1])]
            assert losses[1] == pytest.approx(losses[0], rel=1e-3, abs=1e-3), place.path

    def last(request: StageFolder) -> Path:
        return request.work / "checkpoints" / "checkpoint-4"

    one = requests("one")
    for each in one:
        assert run(each)["status"] == 0, each.error.read_text()
    expected = {each.path.name: made_by(each) for each in one}
    configs = REPOSITORY / "configs"
    sharded = (str(configs / "sharded.yaml"), "--mixed_precision", "no", "--num_processes")

    # Each has a whole model: two go on for one, and one for two.
    whole = requests("whole")
    by_several_processes(
        warm_stages, [*whole, taken_back(one[1], 1), taken_back(one[2], 1)], str(configs / "two_processes.yaml")
    )
    assert all((last(each) / "rng_state_1.pth").is_file() for each in (*whole, one[1], one[2]))
    assert run(taken_back(whole[0], 1))["status"] == 0 and not (last(whole[0]) / "rng_state_1.pth").exists()
    as_one([*whole, one[1], one[2]])

    # All share one model.
    shared = requests("shared")
    by_several_processes(warm_stages, shared, *sharded, "2")
    as_one(shared)
    assert all((last(each) / "pytorch_model_fsdp_0/__1_0.distcp").is_file() for each in shared)
    digests = [made_by(each)[0] for each in shared]
    # One goes on for two, and two for one; as many as before make the same bytes.
    by_several_processes(warm_stages, [taken_back(each, 1) for each in shared[:3]], *sharded, "1")
    assert not any((last(each) / "pytorch_model_fsdp_0/__1_0.distcp").exists() for each in shared[:3])
    as_one(shared[:3])
    taken_back(shared[0], 0)
    taken_back(shared[1], 0)
    # Nothing else goes on with what they share.
    taken_back(shared[3], 1)
    assert run(shared[3])["status"] == 1
    assert re.search(
        r"checkpoint-3 was saved by processes that share one model.*CCAI_ACCELERATE_CONFIG.*or remove .*direct",
        shared[3].error.read_text(),
    )
    shared[3].error.unlink()
    by_several_processes(warm_stages, [shared[0], shared[1], shared[3]], *sharded, "2")
    as_one(shared)
    assert made_by(shared[3])[0] == digests[3]


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


@pytest.mark.parametrize("scores", [False, True])
def test_of_processes_that_share_a_model_the_first_alone_reads_its_weights(
    tiny_model: Path, scores: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    whole = load_model(tiny_model, scores=scores)
    shutil.copytree(tiny_model, tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    for name, value in {"RANK": "1", "ACCELERATE_USE_FSDP": "true", "FSDP_CPU_RAM_EFFICIENT_LOADING": "true"}.items():
        with pytest.raises(OSError, match="no file named model"):
            load_model(tmp_path / "model", scores=scores, trained=True)
        monkeypatch.setenv(name, value)
    empty = load_model(tmp_path / "model", scores=scores, trained=True)
    assert [(name, each.shape, each.dtype) for name, each in empty.named_parameters()] == [
        (name, each.shape, each.dtype) for name, each in whole.named_parameters()
    ]
    buffers = zip(empty.named_buffers(), whole.named_buffers(), strict=True)
    assert all(one[0] == two[0] and torch.equal(one[1], two[1]) for one, two in buffers)
    if not scores:
        assert empty.generation_config.eos_token_id == whole.generation_config.eos_token_id
        assert empty.lm_head.weight is empty.model.embed_tokens.weight
    with pytest.raises(OSError, match="no file named model"):
        load_model(tmp_path / "model", scores=scores)  # what is not handed to a trainer is read by each
