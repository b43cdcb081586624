"""Where models come from, and whether what lies there can be a model, before a library reads it.

A source is `embedded` (a Python package), `hub:ORGANISATION/NAME@REVISION`, `folder:PATH` or `gguf:PATH`. Nothing of a
model is ever executed: weights are safetensors or GGUF, and a folder that needs code of its own is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from ccai_dagster.core.digest import file_digest, value_digest
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.files import write_file
from ccai_dagster.core.packaged_files import PackagedFiles
from ccai_dagster.core.unchanged import files_state

SOURCES = "`embedded`, `hub:ORGANISATION/NAME@REVISION`, `folder:PATH` or `gguf:PATH`"
LOCAL: Mapping[str, Any] = {"local_files_only": True, "trust_remote_code": False}
"""Options of every load: nothing is fetched, no code of a model is run and nobody is asked whether it may be."""
LONGEST_HEADER = 100_000_000
"""Bytes; the format allows no longer one."""
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.h5", "*.msgpack")
_TOKENIZERS = ("tokenizer.json", "vocab.json", "vocab.txt", "tekken.json")
_SIZES = (
    *("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "vocab_size"),
    *("max_position_embeddings", "n_layer", "n_embd", "n_head", "d_model", "n_positions"),
)
_LAYERS = ("num_hidden_layers", "n_layer")
_WIDTHS = ("hidden_size", "n_embd", "d_model")
MOST_POSITIONS = 1 << 30


@dataclass(frozen=True)
class ModelFiles:
    """Where a model is loaded from: a folder, and the GGUF file in it where the weights are one."""

    folder: Path
    gguf: str | None = None


def model_files(source: str, setting: str, embedded: PackagedFiles, folder: Path, cache: Path) -> ModelFiles:
    """Return where a model is loaded from, fetched if it is not in the cache, and looked at.

    Args:
        source: `embedded`, `hub:ORGANISATION/NAME@REVISION`, `folder:PATH` or `gguf:PATH`.
        setting: The setting that says so, for errors.
        embedded: What `embedded` means.
        folder: Where that is kept.
        cache: Where models of the hub are kept.

    Raises:
        ConsultationError: No such source, one that cannot be fetched, or none that a model can be loaded from.
    """
    kind, _, rest = source.partition(":")
    if source == "embedded":
        files = list(embedded.sha256)
        return ModelFiles(embedded.fetched(folder), files[0] if files[0].endswith(".gguf") else None)
    if kind in ("gguf", "folder") and rest:
        path, where = _on_disk(rest), f"{setting} {source!r}"
        try:
            if kind == "gguf":
                check_gguf(path, where)
                return ModelFiles(path.parent, path.name)
            check_model_folder(path, where)
            return ModelFiles(path)
        except OSError as error:
            raise ConsultationError(f"{where} cannot be read: {error}. Correct the path or who may read it.") from error
    if kind == "hub":
        name, _, revision = rest.partition("@")
        if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and revision:
            path = _hub_snapshot(name, revision, setting, cache)
            check_model_folder(path, f"{setting} {source!r}")
            return ModelFiles(path)
    raise ConsultationError(
        f"{setting} {source!r} is not {SOURCES}. A hub model needs its revision, or the same settings would name other "
        "weights tomorrow."
    )


def content_digest(source: str, cache: Path) -> list[str]:
    """Return the digest of the files that a source on this disk names, for code versions; empty for any other source.

    Files are read again when one has another size, place or time than when they were last read.

    Args:
        source: As for `model_files`; one that does not exist has no digest yet.
        cache: Folder that digests are kept in.

    Raises:
        ConsultationError: It cannot be read, or is being changed.
    """
    kind, _, rest = source.partition(":")
    if kind not in ("folder", "gguf") or not rest:
        return []
    path = _on_disk(rest)
    try:
        # What can be no model is not read: a source may name a disk, or what has no end.
        if not (path if kind == "gguf" else path / "config.json").is_file():
            return []
        return [_digest_of(path, cache)]
    except OSError as error:
        raise ConsultationError(
            f"{source} cannot be read, or changes while it is: {error}. Run again when it is whole."
        ) from error


def _on_disk(named: str) -> Path:
    """Return a path; one that begins with the name of nobody here stays as it is."""
    with suppress(RuntimeError):
        return Path(named).expanduser()
    return Path(named)


def _digest_of(path: Path, cache: Path) -> str:
    found = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    state = files_state(found)
    known = None if state is None else cache / "digests" / value_digest([str(path.absolute()), state])
    if known is not None and known.is_file():
        return known.read_text(encoding="utf-8")
    names = [each.relative_to(path if path.is_dir() else path.parent).as_posix() for each in found]
    digest = value_digest([[name, file_digest(each)] for name, each in zip(names, found, strict=True)])
    if known is not None:
        known.parent.mkdir(parents=True, exist_ok=True)
        write_file(known, digest)
    return digest


def check_gguf(path: Path, where: str) -> None:
    """Raise a `ConsultationError` unless this is a GGUF file, whole in one; `where` is the setting that names it."""
    if not path.is_file():
        hint = " It is a folder; name the file in it." if path.is_dir() else ""
        raise ConsultationError(f"{where}: there is no file {path.absolute()}.{hint}")
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ConsultationError(f"{where}: {path} does not begin as a GGUF file does. Fetch or convert it anew.")
    if re.search(r"-\d{5}-of-\d{5}\.gguf$", path.name):
        raise ConsultationError(
            f"{where}: {path.name} is one of several parts. Join them with `llama-gguf-split --merge` and name "
            "the whole."
        )


def check_model_folder(folder: Path, where: str) -> None:
    """Look at a folder of a model before a library loads it: seconds, whatever the size of the weights.

    Args:
        folder: Of `config.json`, a tokenizer and safetensors, in one file or several.
        where: The setting that names it.

    Raises:
        ConsultationError: What is missing or damaged, or needs code of its own, and what helps.
    """
    if not folder.exists():
        raise ConsultationError(f"{where}: there is no folder {folder.absolute()}.")
    if folder.is_file() or not (folder / "config.json").is_file():
        found = [folder] if folder.suffix == ".gguf" else sorted(folder.glob("*.gguf"))
        hint = f" For a GGUF file write `gguf:{found[0]}`." if found else ""
        raise ConsultationError(f"{where}: {folder} has no config.json, so it is no model folder.{hint}")
    if (folder / "adapter_config.json").is_file():
        # The loader would take the weights of whatever folder that names, which nobody has looked at.
        raise ConsultationError(
            f"{where}: {folder} holds an adapter (adapter_config.json) to another model. Name a folder with whole "
            "weights: add the adapter to them (`merge_and_unload` of peft) and save both as one."
        )
    config = _json_object(folder / "config.json", where)
    sizes = _checked_sizes(config, folder / "config.json", where)
    _check_no_code(config, folder, where)
    _check_tokenizer(folder, where)
    tensors = weight_shapes(folder, where)
    numbers = sum(map(prod, tensors))
    layers = max((sizes[name] for name in _LAYERS if name in sizes), default=0)
    width = max((sizes[name] for name in _WIDTHS if name in sizes), default=1)
    most = max(layers, *(width * sizes.get(name, 0) for name in ("vocab_size", "intermediate_size")), width)
    if layers > len(tensors) or most > max(numbers, 1):
        raise ConsultationError(
            f"{where}: {folder / 'config.json'} tells of a larger model ({layers} layers of width {width}) than the "
            f"weights beside it hold ({len(tensors)} tensors, {numbers} numbers). Fetch both from the same place."
        )


def weight_shapes(folder: Path, where: str) -> list[list[int]]:
    """Return the shapes of all weights of a model folder, read from the headers of its files.

    Raises:
        ConsultationError: There are none, or they are damaged; `where` is the setting that names the folder.
    """
    return [shape for file in _weights(folder, where) for shape in _tensor_shapes(file, where)]


def _json_object(path: Path, where: str) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ConsultationError(f"{where}: {path} is no JSON: {error}. Fetch it anew.") from error
    if not isinstance(found, dict):
        raise ConsultationError(f"{where}: {path} holds no JSON object but {str(found)[:60]!r}. Fetch it anew.")
    return found


def _checked_sizes(config: dict[str, Any], path: Path, where: str) -> dict[str, int]:
    """Return the sizes of the part that reads text."""
    text = config.get("text_config")
    named = {**config, **(text if isinstance(text, dict) else {})}
    sizes: dict[str, int] = {}
    for name in _SIZES:
        value = named.get(name)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= MOST_POSITIONS:
            raise ConsultationError(
                f"{where}: {path} says {name} {str(value)[:60]}, which no model has. Fetch it anew."
            )
        sizes[name] = value
    return sizes


def _check_no_code(config: dict[str, Any], folder: Path, where: str) -> None:
    from transformers import CONFIG_MAPPING

    if str(config.get("model_type")) in CONFIG_MAPPING:
        return  # the library's own code is used, whatever else the folder names
    if "auto_map" in config:
        raise ConsultationError(
            f"{where}: {folder} names code of its own (`auto_map` in config.json), and code of a model is never run "
            f"here. Take a model of a kind that transformers knows; {config.get('model_type')!r} is none."
        )
    raise ConsultationError(
        f"{where}: {folder / 'config.json'} is of the model_type {str(config.get('model_type'))[:60]!r}, which this "
        "version of transformers does not know."
    )


def _check_tokenizer(folder: Path, where: str) -> None:
    if any((folder / name).is_file() for name in _TOKENIZERS):
        return
    if any(folder.glob("*.model")):
        raise ConsultationError(
            f"{where}: {folder} has its tokenizer as tokenizer.model alone. Make a tokenizer.json of it once, where "
            f"sentencepiece is installed: `AutoTokenizer.from_pretrained({str(folder)!r}).save_pretrained("
            f"{str(folder)!r})`."
        )
    raise ConsultationError(
        f"{where}: {folder} has no tokenizer (no tokenizer.json). Put the tokenizer's files beside the weights."
    )


def _weights(folder: Path, where: str) -> list[Path]:
    """Return the files of the weights."""
    index, whole = folder / "model.safetensors.index.json", folder / "model.safetensors"
    if index.is_file():
        named = _json_object(index, where).get("weight_map")
        names = sorted({str(name) for name in named.values()}) if isinstance(named, dict) else []
        missing = [name for name in names if Path(name).name != name or not (folder / name).is_file()]
        if not names or missing:
            said = f"{len(missing)} of {len(names)} files, {missing[0]} among them," if names else "all files"
            raise ConsultationError(f"{where}: {said} that {index} names are missing in {folder}. Fetch them.")
        if whole.is_file() and whole.name not in names:
            raise ConsultationError(
                f"{where}: {folder} holds weights twice, as {whole.name} and in the parts that {index.name} names. The "
                "loader reads the first; remove what is not meant."
            )
        return [folder / name for name in names]
    if whole.is_file():
        return [whole]
    pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    if pickles:
        raise ConsultationError(
            f"{where}: {folder} holds weights as {pickles[0]}, which may run code when it is read, and no safetensors. "
            "Take a revision with safetensors, or convert it where you trust it (`save_pretrained` writes them)."
        )
    raise ConsultationError(f"{where}: {folder} holds no weights as safetensors (model.safetensors).")


def _tensor_shapes(file: Path, where: str) -> Iterator[list[int]]:
    """Yield the shapes in a safetensors file whose header and length belong together."""
    damaged = f"{where}: {file} is cut off or damaged"
    size = file.stat().st_size
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if size < 8 or length > min(LONGEST_HEADER, size - 8):
            raise ConsultationError(f"{damaged}: it has no whole header. Fetch it anew.")
        text = opened.read(length)
    try:
        header = json.loads(text)
        header.pop("__metadata__", None)
        end = max((int(each["data_offsets"][1]) for each in header.values()), default=0)
        shapes = [[int(length) for length in each["shape"]] for each in header.values()]
    except (ValueError, RecursionError, AttributeError, KeyError, IndexError, TypeError) as error:
        raise ConsultationError(f"{damaged}: its header cannot be read ({error}). Fetch it anew.") from error
    if size != 8 + length + end:
        raise ConsultationError(
            f"{damaged}: it has {size} bytes where its header tells of {8 + length + end}. Fetch it anew."
        )
    yield from shapes


def _hub_snapshot(name: str, revision: str, setting: str, cache: Path) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    options: dict[str, Any] = {
        "repo_id": name,
        "revision": revision,
        "cache_dir": cache / "hub",
        "allow_patterns": ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"],
    }
    try:
        return Path(snapshot_download(local_files_only=True, **options))
    except LocalEntryNotFoundError:
        pass
    except HFValidationError as error:
        raise ConsultationError(f"{setting}: {name!r} is no name of a model: {error}") from error
    try:
        return Path(snapshot_download(**options))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConsultationError(
            f"The model {name} at revision {revision} could not be fetched ({reason}). Check the name, the "
            f"revision and the connection to huggingface.co, or set {setting} to `folder:PATH`."
        ) from error
