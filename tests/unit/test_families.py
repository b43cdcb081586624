"""Random models of the families that people bring, from conversion through every training, as is documented."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chat_templates import ASSISTANT_OPENS, DATED, NO_DEVIATION, NO_SYSTEM, SYSTEM_WITHIN, THINKS, TURNS
from documented import expect_only, expect_row
from family_tokenizers import byte_level, sentencepiece
from small_training import helpfulness_pairs, preference_pairs, revisions

from ccai_dagster.consultation.settings import (
    ModelSettings,
    PolicySettings,
    PreferenceModelSettings,
    SupervisedSettings,
)
from ccai_dagster.core.digest import folder_digest
from ccai_dagster.core.errors import Progress, silent
from ccai_dagster.training.comparisons import comparisons, end_of_turn, exchange, learnt
from ccai_dagster.training.model_folder import load_tokenizer

pytestmark = pytest.mark.torch

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "initializer_range": 0.3,
}
SLIDES = {"sliding_window": 16}
SEES = {
    **{"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2},
    **{"image_size": 28, "patch_size": 14},
}
PLAIN = TURNS + ASSISTANT_OPENS
BEGUN = "{{ bos_token }}"
TURNS_END = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
FAMILIES: dict[str, tuple[str, dict[str, Any], str | None, Callable[[], Any]]] = {
    "Llama 2": ("LlamaConfig", {}, SYSTEM_WITHIN, lambda: sentencepiece(True, eos_token="</s>")),
    "Llama 3": (
        "LlamaConfig",
        {},
        (BEGUN + DATED).replace("<|im_end|>\n", "<|im_end|>"),
        lambda: byte_level(True, eos_token="<|im_end|>"),
    ),
    "Mistral": ("MistralConfig", SLIDES, NO_DEVIATION, lambda: sentencepiece(True, eos_token="</s>")),
    "Qwen 2.5": ("Qwen2Config", {}, PLAIN, lambda: byte_level(False, **TURNS_END)),
    "Qwen 3": ("Qwen3Config", {}, THINKS, lambda: byte_level(False, **TURNS_END)),
    "Gemma 2": ("Gemma2Config", SLIDES, BEGUN + NO_SYSTEM + PLAIN, lambda: sentencepiece(False, **TURNS_END)),
    "Gemma 3": ("Gemma3TextConfig", SLIDES, BEGUN + PLAIN, lambda: sentencepiece(False, **TURNS_END)),
    "Gemma 3, sees pictures": ("Gemma3Config", SLIDES, BEGUN + PLAIN, lambda: sentencepiece(False, **TURNS_END)),
    "Phi 3": ("Phi3Config", {}, PLAIN, lambda: sentencepiece(True, **TURNS_END)),
    "Mixtral, pretrained only": (
        "MixtralConfig",
        {"num_local_experts": 2},
        None,
        lambda: sentencepiece(True, eos_token="</s>"),
    ),
}
"""Configuration, chat template and tokenizer: those that the family is known for, made small."""
TABLE = "Families"
WORDS = ["kind", "fair", "honest", "a letter to my town"]
STEPS = 2


@dataclass
class Family:
    name: str
    base: Path
    mended: str
    place: Path


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Family:
    """A random model of a family, brought in a folder and converted."""
    import torch
    import transformers

    from ccai_dagster.training.model_folder import prepare_base_model

    place = tmp_path_factory.mktemp("family")
    name, options, template, cut = FAMILIES[request.param]
    tokenizer = cut()
    ids = {f"{kind}_token_id": getattr(tokenizer, f"{kind}_token_id") for kind in ("bos", "eos", "pad")}
    reads = {**SIZES, **options, **ids, "vocab_size": len(tokenizer)}
    config = getattr(transformers, name)(
        **{"text_config": reads, "vision_config": SEES} if "sees" in request.param else reads
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.AutoModelForCausalLM.from_config(config).save_pretrained(place / "brought")
    tokenizer.chat_template = template
    tokenizer.save_pretrained(place / "brought")
    settings = ModelSettings(source=f"folder:{place / 'brought'}", dtype="float32")
    checks = prepare_base_model(settings, place / "cache", place / "base")
    mended = "; ".join(f"{each.what}: {each.done}" for each in checks if each.done)
    return Family(request.param, place / "base", mended or "nothing", place)


def test_every_family_answers_together_as_alone(family: Family) -> None:
    from ccai_dagster.stages.transformers_model import TransformersModel

    model = TransformersModel(family.base, "float32", batch_size=4)
    asked = [
        [("system", "Be kind to everybody."), ("user", f"Which is better, {end}")] for end in ("A or B?", "C?", "")
    ]
    said = ["The first one is.", "No.", "That is not right; here is why."]

    def answers(chosen: list[int]) -> np.ndarray:
        questions = [asked[place] for place in chosen]
        letters = model.choice_log_probabilities(questions, ["A", "B"], prefix="The better one is (")
        return np.concatenate([letters, model.log_likelihoods(questions, [said[place] for place in chosen])], axis=1)

    together = answers([0, 1, 2])
    alone = np.concatenate([answers([place]) for place in range(3)])
    assert np.abs(together - alone).max() < 2e-4

    def written(chosen: list[int]) -> list[str]:
        questions = [asked[place] for place in chosen]
        return [each.text for each in model.generate(questions, new_tokens=6, temperature=0.0, seed=1)]

    assert written([0, 1, 2]) == [text for place in range(3) for text in written([place])]


def test_what_every_family_learns_of_a_response_that_is_cut_is_how_it_begins(family: Family) -> None:
    tokenizer = load_tokenizer(family.base)
    prompt, response = "Which letter?", "A  letter to  my town, \n\n  kind and   fair: 中文."
    whole = exchange(tokenizer, prompt, response, 200)
    assert not whole.shortened and len(end_of_turn(tokenizer)) > 0
    for limit in range(len(whole.tokens) - len(tokenizer(response).input_ids) + 12, len(whole.tokens)):
        cut = learnt(tokenizer, exchange(tokenizer, prompt, response, limit), finished=True)
        said = tokenizer.decode(cut.tokens[cut.prompt_tokens :])
        assert said and response.startswith(said.strip()), (limit, said)


Train = Callable[[Path, Path, Progress], Any]


def resumes(place: Path, train: Train) -> Path:
    """Train, and have the last step taken again from the checkpoint before it; return the folder of the model."""
    work, model, seen = place / "work", place / "model", list[int]()
    train(work, model, silent)
    digest = folder_digest(model)
    shutil.rmtree(model)
    shutil.rmtree(work / "checkpoints" / f"checkpoint-{STEPS}")
    train(work, model, lambda _, done, total: seen.append(done))
    assert seen == [STEPS]
    assert folder_digest(model) == digest
    return model


def test_every_family_goes_through_every_training_and_resumes(family: Family) -> None:
    from ccai_dagster.training.direct_preference import train_policy_directly
    from ccai_dagster.training.policy import train_policy
    from ccai_dagster.training.preference_model import train_preference_model
    from ccai_dagster.training.supervised import train_supervised_policy

    sizes: dict[str, Any] = {"steps": STEPS, "learning_rate": 1e-2, "lora_rank": 2}
    supervised_settings = SupervisedSettings(batch_size=2, max_tokens=64, **sizes)
    preferences = PreferenceModelSettings(batch_size=2, max_tokens=64, held_out_share=0.3, **sizes)
    policy = PolicySettings(
        prompts_per_step=1, samples_per_prompt=2, new_tokens=3, kl_limit=1e6, length_limit=1e6, **sizes
    )
    supervised = resumes(
        family.place / "supervised",
        lambda *places: train_supervised_policy(
            family.base, revisions(WORDS), helpfulness_pairs(WORDS), supervised_settings, 3, *places
        ),
    )
    scores = resumes(
        family.place / "preferences",
        lambda *places: train_preference_model(
            family.base, preference_pairs(WORDS), helpfulness_pairs(WORDS), 0.5, preferences, 3, *places
        ),
    )
    table = comparisons(preference_pairs(WORDS), helpfulness_pairs(WORDS), 0.5, 0.3, 3)
    direct = resumes(
        family.place / "direct", lambda *places: train_policy_directly(supervised, table, 64, policy, 3, *places)
    )
    reinforced = resumes(
        family.place / "reinforced", lambda *places: train_policy(supervised, scores, WORDS, policy, 3, *places)
    )
    assert len({folder_digest(each) for each in (family.base, supervised, direct, reinforced)}) == 4
    config = json.loads((family.base / "config.json").read_text())
    config = config.get("text_config", config)
    window = config.get("sliding_window") if "sliding" in str(config.get("layer_types", "sliding")) else None
    shared = "no, a window" if window else "yes"
    expect_row(TABLE, family.name, family.mended, shared, *["trained, resumed"] * 4)


def test_the_documentation_tells_of_these_families() -> None:
    expect_only(TABLE, FAMILIES)
