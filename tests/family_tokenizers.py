"""Tokenizers that cut text as those of the families that people bring, learnt from a few sentences."""

from __future__ import annotations

import json
from typing import Any

from conftest import SENTENCES

SPECIAL = ["<unk>", "<s>", "</s>"]
TURNS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
"""Known where one of them ends a text."""
SPACE = "▁"


def byte_level(begins: bool, **named: str) -> Any:
    """Pieces of bytes, as GPT-2 cuts text and with it Llama 3 and Qwen.

    Args:
        begins: Whether `<s>` is put before what is tokenised, as Llama 3 does and Qwen does not.
        named: Tokens that end a text and that pad, as transformers names them.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    _learn(made, pre_tokenizers.ByteLevel.alphabet(), named)
    return _named(made, begins, named)


def sentencepiece(puts_space: bool, **named: str) -> Any:
    """Pieces of characters, unknown ones as bytes, `<s>` before all, as SentencePiece does it.

    Args:
        puts_space: Whether a text begins with a space of its own, as with Llama 2, Mistral and Phi 3, not with Gemma.
        named: Tokens that end a text and that pad, as transformers names them.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    learnt = Tokenizer(models.BPE(unk_token="<unk>"))
    # No piece spans two words.
    learnt.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    _learn(learnt, list("{}[]<>/\n"), named)
    model = json.loads(learnt.to_str())["model"]
    pieces = [*model["vocab"], *(f"<0x{byte:02X}>" for byte in range(256)), SPACE + SPACE]
    merges = [(SPACE, SPACE), *map(tuple, model["merges"])]
    made = Tokenizer(
        models.BPE(
            {piece: place for place, piece in enumerate(pieces)},
            merges,
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    spaces = normalizers.Replace(" ", SPACE)
    made.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), spaces]) if puts_space else spaces
    shown = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    made.decoder = decoders.Sequence([*shown, decoders.Strip(" ", 1, 0)] if puts_space else shown)
    return _named(made, True, named)


def _special(named: dict[str, str]) -> list[str]:
    return [*SPECIAL, *(TURNS if named["eos_token"] in TURNS else [])]


def _learn(tokenizer: Any, alphabet: list[str], named: dict[str, str]) -> None:
    from tokenizers import trainers

    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=_special(named), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)


def _named(tokenizer: Any, begins: bool, named: dict[str, str]) -> Any:
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    if begins:
        first = ("<s>", tokenizer.token_to_id("<s>"))
        tokenizer.post_processor = processors.TemplateProcessing("<s> $A", "<s> $A <s> $B", [first])
        named = {"bos_token": "<s>", **named}
    tokenizer.add_special_tokens(_special(named)[1:])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", **named)
