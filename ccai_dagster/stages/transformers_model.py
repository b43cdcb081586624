"""A model in a folder, run in this process with transformers.

It is the `LanguageModel` of `ccai_dagster.feedback.language_model`. Prompts are padded on the
left and batched by length; a beginning that several of them share is read once, and its keys and values serve all.
torch is imported on construction, never on import of this module.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ccai_dagster.core.digest import folder_digest, text_digest
from ccai_dagster.core.draws import generator
from ccai_dagster.core.errors import ConsultationError, ConversationTooLong, Progress, silent
from ccai_dagster.core.text import REPLACEMENT
from ccai_dagster.feedback.language_model import (
    Conversation,
    Group,
    Response,
    batches_by_length,
    common_beginning,
    computing_format,
    is_plain,
    rendered,
    shared_prefixes,
    tokens_after,
)
from ccai_dagster.training.chat_template import HUMAN, is_untaught
from ccai_dagster.training.model_folder import without_own_sampling
from ccai_dagster.training.model_source import LOCAL
from ccai_dagster.training.room import check_room

ENDING = 32
"""Characters at the end of a prompt that have a say in how a text after it is cut into tokens."""


class TransformersModel:
    """A model folder, run in this process on the GPU if there is one.

    Results come back in the order of the call. Each depends on its own conversation alone, but for rounding; equal ones
    are answered by different draws. In float32 rounding hardly matters; in bfloat16 it gives most sampled texts another
    course where other conversations are read beside them (of the embedded model's with 24 tokens, 6 of 8).

    Attributes:
        name: Digest of the folder.
        provenance: Number format computed in, and digest of the chat template.
    """

    def __init__(self, folder: Path, dtype: str, batch_size: int, context_tokens: int | None = None) -> None:
        """Load a model.

        Args:
            folder: Weights as safetensors, with a tokenizer that has a chat template.
            dtype: `bfloat16` or `float32`; computed in what is fast here (see `computing_format`).
            context_tokens: Longest prompt plus response; None takes what the model can read.

        Raises:
            ConsultationError: The folder holds no such model, or a larger one than the device can hold.
        """
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        try:
            check_room(folder)
            self._tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left", **LOCAL)
            model = AutoModelForCausalLM.from_pretrained(
                folder, dtype=getattr(torch, computing_format(dtype)), use_safetensors=True, **LOCAL
            )
        except (OSError, ValueError) as error:
            raise ConsultationError(f"{folder}: no language model that can be loaded: {error}") from error
        without_own_sampling(model)
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model = model.to(self._device).eval()
        if self._device == "cpu":
            from ccai_dagster.stages.packed_weights import pack_weights

            pack_weights(self._model, batch_size)
        self._batch_size = batch_size
        config = model.config.get_text_config()
        own = getattr(config, "max_position_embeddings", self._tokenizer.model_max_length)
        self._context_tokens = context_tokens or own
        # What lies behind a sliding window is forgotten, padding or not: a beginning read apart would be another.
        self._window = _window(config)
        self._remedy = (
            "of model.context_tokens. Shorten it or raise the setting"
            if context_tokens
            else "that the model can read. Shorten it"
        )
        self.name = folder_digest(folder)
        template = text_digest(str(self._tokenizer.chat_template))
        self.provenance = {"dtype": computing_format(dtype), "chat_template_digest": template}

    def prompt_text(self, conversation: Conversation, new_tokens: int = 1, choices: Sequence[str] = ()) -> str:
        """See `LanguageModel.prompt_text`."""
        text, _ = self._prompt(conversation, room=new_tokens)
        tokens = self._choice_tokens(text[-ENDING:], choices)
        if len({each[0] for each in tokens if len(each) == 1}) < len(choices):
            raise ConsultationError(
                f"The model's tokenizer has no single token for each of {', '.join(map(repr, choices))}. "
                "Choose another model or fewer choices."
            )
        return text

    def generate(
        self,
        conversations: Sequence[Conversation],
        *,
        new_tokens: int,
        temperature: float,
        seed: int,
        stops: Sequence[str] = (),
        strip: bool = True,
        progress: Progress = silent,
    ) -> list[Response]:
        """See `LanguageModel.generate`."""
        import torch
        from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList, StopStringCriteria

        read = [self._prompt(conversation, room=new_tokens) for conversation in conversations]
        prompts = [tokens for _, tokens in read]
        draws = torch.from_numpy(_draws([text for text, _ in read], new_tokens, seed)).to(self._device)
        config = GenerationConfig(
            max_new_tokens=new_tokens,
            do_sample=False,  # at a temperature above 0 what was drawn is all that is left to choose from
            pad_token_id=self._tokenizer.pad_token_id,
            eos_token_id=self._end_tokens(),
        )
        stops = [*stops, *([HUMAN] if is_untaught(self._tokenizer) else [])]
        # Made once: it goes through the whole vocabulary, which takes a second or more.
        ends = StoppingCriteriaList([StopStringCriteria(self._tokenizer, stops)] if stops else [])
        responses = [Response("", finished=False)] * len(prompts)
        written, end_tokens = 0, set(config.eos_token_id)
        for batch in batches_by_length(prompts, self._batch_size):
            with torch.inference_mode():
                inputs = self._generation_inputs([prompts[index] for index in batch])
                width = inputs["input_ids"].shape[1]
                drawn = [_drawn(draws[batch], width, temperature)] if temperature > 0 else []
                output = self._model.generate(
                    **inputs,
                    generation_config=config,
                    logits_processor=LogitsProcessorList(drawn),
                    stopping_criteria=ends,
                )
            tokens = output[:, width:].tolist()
            texts = self._tokenizer.batch_decode(tokens, skip_special_tokens=True)
            for index, said, text in zip(batch, tokens, texts, strict=True):
                finished = not end_tokens.isdisjoint(said) or any(stop in text for stop in stops)
                for stop in stops:
                    text = text.split(stop)[0]
                text = text if finished else text.rstrip(REPLACEMENT)
                responses[index] = Response(text.strip() if strip else text, finished)
            written += len(batch)
            progress("responses written", written, len(prompts))
        return responses

    def _generation_inputs(self, sequences: Sequence[list[int]]) -> dict[str, Any]:
        """Return inputs of the model's `generate`: padded sequences, and the cache of a beginning that all share."""
        import torch

        shared = common_beginning(sequences, [1] * len(sequences))
        if not shared or self._slides(sequences):
            return self._padded(sequences)
        once = self._prefill(_Prefilled(None, None), [sequences[0][:shared]])
        cache = once.rows([0] * len(sequences)).cache
        inputs = self._padded([sequence[shared:] for sequence in sequences])
        beginning = torch.tensor([sequences[0][:shared]] * len(sequences), device=self._device)
        # Padding stands between the beginning and the rest; the mask keeps it out of sight and out of the positions.
        return {
            "input_ids": torch.cat([beginning, inputs["input_ids"]], dim=1),
            "attention_mask": torch.cat([torch.ones_like(beginning), inputs["attention_mask"]], dim=1),
            "past_key_values": cache,
        }

    def choice_log_probabilities(
        self,
        conversations: Sequence[Conversation],
        choices: Sequence[str],
        *,
        prefix: str = "",
        likeliest: bool = False,
        progress: Progress = silent,
    ) -> np.ndarray:
        """See `LanguageModel.choice_log_probabilities`."""
        import torch

        @cache
        def choice_tokens(end: str) -> list[list[int]]:
            return self._choice_tokens(end, choices)

        read = [self._prompt(conversation, prefix) for conversation in conversations]
        prompts = [tokens for _, tokens in read]
        options = [choice_tokens(text[-ENDING:]) for text, _ in read]
        if any(len(option) != 1 for own in options for option in own):
            if likeliest:
                raise ValueError(f"the likeliest token is asked for beside {choices}, which have several")
            pairs = [(prompt, option) for prompt, own in zip(prompts, options, strict=True) for option in own]
            return self._scores(pairs).reshape(len(prompts), len(choices))
        result = np.empty((len(prompts), len(choices) + likeliest))
        finished = 0
        with self._head_in_float32():
            for batch, logits in self._last_logits(prompts, [1] * len(prompts)):
                scores = logits[:, -1].float().log_softmax(-1)
                tokens = torch.tensor([options[index] for index in batch], device=scores.device)[..., 0]
                found = [scores.gather(1, tokens), scores.amax(1, keepdim=True)]
                result[batch] = torch.cat(found[: 1 + likeliest], dim=1).cpu().numpy()
                finished += len(batch)
                progress("questions answered", finished, len(prompts))
        return result

    def _choice_tokens(self, end: str, choices: Sequence[str]) -> list[list[int]]:
        """Return the tokens of choices after the end of a prompt; some tokenizers cut a text alone otherwise.

        Where a choice is written as one token with what stands before it, which a model that goes on after the prompt
        cannot say, it is the token that is spelt like the choice.
        """
        before, *whole = self._tokenizer(
            [end, *(end + choice for choice in choices)], add_special_tokens=False
        ).input_ids
        vocabulary = self._tokenizer.get_vocab()
        return [
            found[len(before) :]
            if found[: len(before)] == before and found[len(before) :]
            else [vocabulary[choice]]
            if choice in vocabulary
            else self._tokenizer(choice, add_special_tokens=False).input_ids
            for choice, found in zip(choices, whole, strict=True)
        ]

    @contextmanager
    def _head_in_float32(self) -> Iterator[None]:
        """Compute logits in float32: in bfloat16 letters within an eighth of a nat of each other tie."""
        import torch

        head = self._model.get_output_embeddings()
        weight = head.weight  # asked for once: packed ones are laid out anew
        if weight.dtype == torch.float32:
            yield
            return
        weight, bias = weight.float(), None if head.bias is None else head.bias.float()
        hook = head.register_forward_hook(
            lambda _, given, __: torch.nn.functional.linear(given[0].float(), weight, bias)
        )
        try:
            yield
        finally:
            hook.remove()

    def log_likelihoods(self, conversations: Sequence[Conversation], responses: Sequence[str]) -> np.ndarray:
        """See `LanguageModel.log_likelihoods`."""
        pairs = [
            (tokens, tokens_after(self._tokenizer, text[-ENDING:], response))
            for (text, tokens), response in zip(map(self._prompt, conversations), responses, strict=True)
        ]
        counts = np.array([len(response) for _, response in pairs], dtype=float)
        return np.stack([self._scores(pairs), counts], axis=1).reshape(-1, 2)

    def _scores(self, pairs: Sequence[tuple[list[int], list[int]]]) -> np.ndarray:
        import torch

        for prompt, response in pairs:
            self._check_length(len(prompt) + len(response), [("user", self._tokenizer.decode(prompt))])
        sequences = [prompt + response for prompt, response in pairs]
        result = np.zeros(len(pairs))
        # A token's score is read one place before it.
        for batch, logits in self._last_logits(sequences, [len(response) + 1 for _, response in pairs]):
            for row, index in enumerate(batch):
                said = torch.tensor(pairs[index][1], device=self._device, dtype=torch.long)
                if len(said):
                    scores = logits[row, -len(said) - 1 : -1].float().log_softmax(-1)
                    result[index] = scores.gather(1, said[:, None]).sum().item()
        return result

    def _prompt(self, conversation: Conversation, prefix: str = "", room: int = 0) -> tuple[str, list[int]]:
        """Return what the model reads, as text and as tokens."""
        text = rendered(self._tokenizer, conversation, open_turn=True) + prefix
        tokens: list[int] = self._tokenizer(text, add_special_tokens=is_plain(conversation)).input_ids
        self._check_length(len(tokens) + room, conversation)
        return text, tokens

    def _check_length(self, tokens: int, conversation: Conversation) -> None:
        if tokens > self._context_tokens:
            longest = max((content for role, content in conversation if role == "user"), key=len, default="")
            raise ConversationTooLong(
                f"A prompt and its response take {tokens} tokens, more than the {self._context_tokens} "
                f"{self._remedy}. It begins: {longest[:80]!r}",
                conversation,
            )

    def _slides(self, sequences: Sequence[list[int]]) -> bool:
        return self._window is not None and max(map(len, sequences), default=0) >= self._window

    def _padded(self, sequences: Sequence[list[int]]) -> dict[str, Any]:
        padded = self._tokenizer.pad({"input_ids": list(sequences)}, padding=True, return_tensors="pt")
        return {name: padded[name].to(self._device) for name in ("input_ids", "attention_mask")}

    def _last_logits(self, sequences: Sequence[list[int]], kept: Sequence[int]) -> Iterator[tuple[list[int], Any]]:
        """Yield batches of indexes with the logits of each sequence's last tokens, as many as are kept."""
        import torch

        slides = self._slides(sequences)
        common = 0 if slides else common_beginning(sequences, kept)
        rest = [sequence[common:] for sequence in sequences]
        with torch.inference_mode():
            beginning = (
                self._prefill(_Prefilled(None, None), [sequences[0][:common]]) if common else _Prefilled(None, None)
            )
        alone = [Group(0, (index,)) for index in range(len(rest))]
        for groups in self._packed(rest, alone if slides else shared_prefixes(rest, kept)):
            batch = [index for group in groups for index in group.members]
            prefixes = [rest[group.members[0]][: group.prefix] for group in groups]
            ends = [rest[index][group.prefix :] for group in groups for index in group.members]
            read, rows = beginning, [0] * len(batch)
            with torch.inference_mode():
                if prefixes[0]:
                    read = self._prefill(beginning.rows([0] * len(groups)), prefixes)
                    rows = [row for row, group in enumerate(groups) for _ in group.members]
                logits = self._forward(read.rows(rows), ends, max(kept[index] for index in batch))[1].logits
            yield batch, logits

    def _packed(self, sequences: Sequence[list[int]], groups: Sequence[Group]) -> Iterator[list[Group]]:
        """Pack groups of similar length into batches; one larger than a batch is taken apart."""
        size = self._batch_size
        parts = [
            Group(group.prefix, group.members[start : start + size])
            for group in groups
            for start in range(0, len(group.members), size)
        ]

        def place(group: Group) -> tuple[int, int, list[int], int]:
            longest = max(len(sequences[index]) for index in group.members)
            return group.prefix, longest, sequences[group.members[0]], group.members[0]

        packed: list[Group] = []
        for part in sorted(parts, key=place):
            full = sum(len(group.members) for group in packed) + len(part.members) > size
            if packed and (full or bool(packed[0].prefix) != bool(part.prefix)):
                yield packed
                packed = []
            packed.append(part)
        if packed:
            yield packed

    def _prefill(self, before: _Prefilled, sequences: Sequence[list[int]]) -> _Prefilled:
        """Read sequences that others begin with, each after its row of what was read before."""
        mask, output = self._forward(before, sequences, 1, begins=True)
        return _Prefilled(mask, output.past_key_values)

    def _forward(
        self, before: _Prefilled, sequences: Sequence[list[int]], keep: int, begins: bool = False
    ) -> tuple[Any, Any]:
        """Return the mask of everything read and the output, with logits of the last tokens, as many as are kept."""
        import torch

        inputs = self._padded(sequences)
        width = inputs["input_ids"].shape[1]
        if before.cache is not None:
            inputs["attention_mask"] = torch.cat([before.mask, inputs["attention_mask"]], dim=1)
        output = self._model(
            **inputs,
            position_ids=_positions(inputs["attention_mask"])[:, -width:],
            past_key_values=before.cache,
            use_cache=begins or before.cache is not None,
            logits_to_keep=keep,
        )
        return inputs["attention_mask"], output

    def _end_tokens(self) -> list[int]:
        configured = self._model.generation_config.eos_token_id
        ends = configured if isinstance(configured, list) else [configured]
        return sorted({token for token in [*ends, self._tokenizer.eos_token_id] if token is not None})


@dataclass(frozen=True)
class _Prefilled:
    """Beginnings that were read: a mask of their tokens and keys and values of every layer, or nothing."""

    mask: Any
    cache: Any

    def rows(self, chosen: Sequence[int]) -> _Prefilled:
        """Copy rows, each as often as it is chosen."""
        import torch

        if self.cache is None:
            return self
        index = torch.tensor(list(chosen), device=self.mask.device)
        cache = copy.copy(self.cache)
        cache.layers = [copy.copy(layer) for layer in self.cache.layers]
        cache.batch_select_indices(index)  # puts other tensors into the copies
        return _Prefilled(self.mask[index], cache)


def _draws(texts: Sequence[str], new_tokens: int, seed: int) -> np.ndarray:
    """Return a number from 0 to below 1 for each token of each response, by what is answered; equal texts differ."""
    said: Counter[str] = Counter()
    draws = np.empty((len(texts), new_tokens), dtype=np.float32)
    for row, text in zip(draws, texts, strict=True):
        row[:] = generator(seed, "response", text, said[text]).random(new_tokens, dtype=np.float32)
        said[text] += 1
    return draws


def _drawn(draws: Any, width: int, temperature: float) -> Any:
    """Return what leaves of all tokens the drawn one: the first whose cumulated probability lies above the number.

    torch's own sampling draws a number for each token of the vocabulary, which takes a quarter of the time of a model
    with few parameters and many tokens.

    Args:
        draws: From 0 to below 1, shape (sequences, new tokens).
        width: Tokens of the prompts, padding included.
        temperature: Above 0.
    """
    import torch
    from transformers import LogitsProcessor

    # In 32 bits a temperature beyond these would be 0 or infinite; within them the outcome is the limit's already.
    divisor = min(max(temperature, 1e-30), 1e30)

    class Drawn(LogitsProcessor):  # type: ignore[misc]  # the library has no types
        def __call__(self, input_ids: Any, scores: Any) -> Any:
            step = input_ids.shape[1] - width
            scores = scores.float()
            # Less the largest, or a low temperature would make it infinite.
            ends = ((scores - scores.amax(-1, keepdim=True)) / divisor).softmax(-1).cumsum(-1)
            total = ends[:, -1:]
            # Rounding may put the product on the last end; a token of probability 0 is never drawn.
            at = torch.minimum(draws[:, step : step + 1] * total, total.nextafter(torch.zeros_like(total)))
            chosen = torch.searchsorted(ends, at, right=True)
            return torch.full_like(scores, -torch.inf).scatter(1, chosen, 0.0)

    return Drawn()


def _window(config: Any) -> int | None:
    """The tokens that layers with a sliding window look back; None where every layer sees all."""
    kinds = getattr(config, "layer_types", None)
    slides = "sliding_attention" in kinds if kinds else getattr(config, "use_sliding_window", True)
    window: int | None = getattr(config, "sliding_window", None)
    return window if slides else None


def _positions(mask: Any) -> Any:
    return (mask.cumsum(-1) - 1).clamp(min=0)
