"""Chat templates in the forms of the families that people bring: mended once, or refused with what helps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ccai_dagster.consultation.settings import ModelSettings
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.feedback.language_model import rendered, tokens_after
from ccai_dagster.training.chat_template import FIXED_DATE, ends_of_turn, fit_chat_template, is_untaught

pytestmark = pytest.mark.torch

ASSISTANT_OPENS = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
TURNS = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
NO_DEVIATION = (
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% if m['role'] == 'user' %}{{ '<|im_start|>[INST] ' + m['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'] + '<|im_end|>' }}{% endif %}{% endfor %}"
)
SILENT = TURNS.replace("%}{{", "%}{% if m['role'] != 'system' %}{{").replace("}}{% endfor", "}}{% endif %}{% endfor")
DATED = "{{ '<|im_start|>system\nToday: ' + strftime_now('%d %b %Y') + '<|im_end|>\n' }}" + TURNS + ASSISTANT_OPENS
OLDER_DATED = (
    "{% if not date_string is defined %}{% set date_string = strftime_now('%Y') %}{% endif %}{{ date_string }}"
)
THINKS = TURNS + (
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is not defined or enable_thinking %}{{ '<think>\n' }}{% endif %}{% endif %}"
)
ALWAYS_THINKS = TURNS + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"


@pytest.fixture
def tokenizer(tiny_model: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_model)


def fitted(tokenizer: Any, template: str | None) -> dict[str, str]:
    """What was worked round, by what it was."""
    tokenizer.chat_template = template
    return {each.what: each.done for each in fit_chat_template(tokenizer, "model.source 'x'") if each.done}


def asked(tokenizer: Any) -> str:
    return rendered(tokenizer, [("system", "Be kind."), ("user", "Why?")], open_turn=True)


def test_a_template_in_which_nothing_is_amiss_stays_as_it_is(tokenizer: Any) -> None:
    assert fitted(tokenizer, TURNS + ASSISTANT_OPENS) == {}
    assert tokenizer.chat_template == TURNS + ASSISTANT_OPENS
    assert tokenizer.convert_ids_to_tokens(ends_of_turn(tokenizer)) == ["<|im_end|>"]


@pytest.mark.parametrize("template", [NO_SYSTEM + TURNS + ASSISTANT_OPENS, SILENT + ASSISTANT_OPENS])
def test_a_systems_words_begin_the_users_turn_where_a_template_has_no_place_for_them(
    tokenizer: Any, template: str
) -> None:
    assert fitted(tokenizer, template) == {"system turn": "its words begin the first user's turn"}
    assert asked(tokenizer) == "<|im_start|>user\nBe kind.\n\nWhy?<|im_end|>\n<|im_start|>assistant\n"
    alone = rendered(tokenizer, [("user", "Why?")], open_turn=True)
    assert alone == "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"


def test_a_template_whose_turns_must_alternate_and_that_opens_none_of_its_own(tokenizer: Any) -> None:
    done = fitted(tokenizer, NO_DEVIATION)
    assert set(done) == {"system turn"}
    assert asked(tokenizer) == "<|im_start|>[INST] Be kind.\n\nWhy? [/INST]"


@pytest.mark.parametrize("template", [DATED, OLDER_DATED + TURNS + ASSISTANT_OPENS])
def test_the_date_is_always_the_same(tokenizer: Any, template: str) -> None:
    assert fitted(tokenizer, template) == {"date": f"it is always {FIXED_DATE}"}
    assert asked(tokenizer).count(FIXED_DATE) == 1


def test_a_model_that_may_think_is_told_not_to(tokenizer: Any) -> None:
    assert fitted(tokenizer, THINKS) == {"thinking": "told not to"}
    assert "<think>" not in asked(tokenizer)


@pytest.mark.parametrize(
    ("template", "why"),
    [
        (ALWAYS_THINKS, "thinks before every answer .* Choose its version without thinking"),
        (TURNS, "opens an assistant's turn with .* and writes a finished one as"),
        ("{{ raise_exception('no') }}", "no place for a system's words|cannot write a question and an answer"),
    ],
)
def test_what_cannot_be_mended_is_refused_with_what_helps(tokenizer: Any, template: str, why: str) -> None:
    with pytest.raises(ConsultationError, match=rf"model\.source 'x': .*({why})"):
        fitted(tokenizer, template)


def test_a_model_without_a_template_is_spoken_to_as_was_published(tokenizer: Any) -> None:
    assert set(fitted(tokenizer, None)) == {"chat template"}
    assert is_untaught(tokenizer)
    assert asked(tokenizer) == "Be kind.\n\nHuman: Why?\n\nAssistant:"
    closed = rendered(tokenizer, [("user", "Why?"), ("assistant", "So.")], open_turn=False)
    assert closed == "\n\nHuman: Why?\n\nAssistant: So.<|im_end|>"


def test_what_ends_a_turn_is_no_padding(tokenizer: Any) -> None:
    tokenizer.pad_token = "<|im_end|>"
    template = (TURNS + ASSISTANT_OPENS).replace("<|im_end|>\n", "<|im_end|>")
    assert fitted(tokenizer, template) == {"padding": "'<|endoftext|>'"}
    # Where something follows the end of the turn, a score is read there, and all stays as it is.
    tokenizer.pad_token = "<|im_end|>"
    assert fitted(tokenizer, TURNS + ASSISTANT_OPENS) == {}


def sentencepiece_like() -> Any:
    """A tokenizer that puts a space before a text and knows a letter with and without it, as Llama 2 and Mistral."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = ["<unk>", "<s>", "</s>", "▁", "(", "A", "B", "i", "s", "▁A", "▁B", "▁(", "is", "▁is"]
    merges = [("▁", "A"), ("▁", "B"), ("▁", "("), ("i", "s"), ("▁", "is")]
    made = Tokenizer(models.BPE({piece: place for place, piece in enumerate(pieces)}, merges, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    made.decoder = decoders.Metaspace(prepend_scheme="always")
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


def test_a_letter_is_the_token_that_follows_where_it_is_asked_for() -> None:
    tokenizer = sentencepiece_like()
    assert tokenizer.convert_ids_to_tokens(tokenizer("A").input_ids) == ["▁A"]
    assert tokenizer.convert_ids_to_tokens(tokens_after(tokenizer, "is (", "A")) == ["A"]


def test_a_text_that_changes_what_stands_before_it_is_refused() -> None:
    tokenizer = sentencepiece_like()
    with pytest.raises(ConsultationError, match=r"joins the end of 'i' with the beginning of 's'"):
        tokens_after(tokenizer, "i", "s")


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
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama": ("LlamaConfig", {}),
    "Mistral, sliding": ("MistralConfig", SLIDES),
    "Qwen 2.5": ("Qwen2Config", {}),
    "Qwen 3": ("Qwen3Config", {}),
    "Gemma 2, sliding": ("Gemma2Config", SLIDES),
    "Gemma 3, sliding": ("Gemma3TextConfig", SLIDES),
    "Phi 3": ("Phi3Config", {}),
    "Mixtral, experts": ("MixtralConfig", {"num_local_experts": 2}),
}


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest, tokenizer: Any, tmp_path: Path) -> Path:
    """A random model of a family, in a folder as somebody would bring it."""
    import torch
    import transformers

    name, options = FAMILIES[request.param]
    ids = {f"{kind}_token_id": getattr(tokenizer, f"{kind}_token_id") for kind in ("bos", "eos", "pad")}
    config = getattr(transformers, name)(**SIZES, **options, **ids, vocab_size=len(tokenizer))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "brought")
    tokenizer.chat_template = NO_SYSTEM + TURNS + ASSISTANT_OPENS
    tokenizer.save_pretrained(tmp_path / "brought")
    return tmp_path / "brought"


def test_every_family_answers_together_as_alone(family: Path, tmp_path: Path) -> None:
    from ccai_dagster.stages.transformers_model import TransformersModel
    from ccai_dagster.training.model_folder import prepare_base_model

    checks = prepare_base_model(
        ModelSettings(source=f"folder:{family}", dtype="float32"), tmp_path / "cache", tmp_path / "base"
    )
    assert {each.what for each in checks if each.done} == {"system turn"}
    model = TransformersModel(tmp_path / "base", "float32", batch_size=4)
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
