"""Chat templates in the forms of the families that people bring: mended once, or refused with what helps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from chat_templates import (
    ALWAYS_THINKS,
    ASSISTANT_OPENS,
    DATED,
    NO_DEVIATION,
    NO_SYSTEM,
    OLDER_DATED,
    SILENT,
    THINKS,
    TURNS,
)
from documented import expect_only, expect_row

from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.feedback.language_model import rendered, tokens_after
from ccai_dagster.training.chat_template import FIXED_DATE, ends_of_turn, fit_chat_template, is_untaught

pytestmark = pytest.mark.torch


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
        ("{{ raise_exception('no') }}", r"cannot write a question and an answer \(no\)"),
        ("{{ tools | length }}", "cannot write a question and an answer"),
        ("{{ 1 // 0 }}", "cannot write a question and an answer"),
        ("{% for x in %}", "cannot write a question and an answer"),
        (TURNS.replace("m['content']", "m['content'] | upper"), "does not write what is said as it was said"),
        (TURNS.replace("m['content']", "m['content'][0]['text']"), "does not write what is said as it was said|cannot"),
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


TEMPLATES = {
    "refuses a system's words": NO_SYSTEM + TURNS + ASSISTANT_OPENS,
    "leaves a system's words out": SILENT + ASSISTANT_OPENS,
    "turns must alternate": NO_DEVIATION,
    "writes the date": DATED,
    "has a switch for thinking": THINKS,
    "none": None,
    "thinks before every answer": ALWAYS_THINKS,
    "opens no turn for the assistant": TURNS,
    "writes the last words alone": "{{ messages[-1]['content'] }}",
    "refuses everything": "{{ raise_exception('no') }}",
}
"""By what they do."""


@pytest.mark.parametrize("kind", TEMPLATES)
def test_what_is_done_about_a_template_is_documented(tokenizer: Any, kind: str) -> None:
    try:
        done = "; ".join(f"{what}: {done}" for what, done in fitted(tokenizer, TEMPLATES[kind]).items())
    except ConsultationError as error:
        done = f"refused: {error}".replace("model.source 'x': ", "")
    expect_row("Chat templates", kind, done)
    expect_only("Chat templates", TEMPLATES)


def test_a_tokenizer_that_names_no_end_takes_that_of_a_turn(tokenizer: Any) -> None:
    tokenizer.eos_token = tokenizer.pad_token = None
    assert fitted(tokenizer, TURNS + ASSISTANT_OPENS)["end of a text"] == "'<|im_end|>'"
    assert tokenizer.eos_token == "<|im_end|>" and tokenizer.pad_token is not None
    tokenizer.eos_token = None
    with pytest.raises(ConsultationError, match=r"no token that ends a text.*Name one as `eos_token`"):
        fitted(tokenizer, (TURNS + ASSISTANT_OPENS).replace("<|im_end|>", ""))
