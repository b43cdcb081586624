"""Where models come from: what is refused, with which sentence, before a library reads it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from documented import expect_only, expect_row

from ccai_dagster.consultation.settings import ModelSettings
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.training.model_folder import EMBEDDED, load_model, prepare_base_model
from ccai_dagster.training.model_source import check_gguf, check_model_folder, content_digest, model_files

CONFIG = {"model_type": "llama", "num_hidden_layers": 2, "hidden_size": 4, "vocab_size": 8, "intermediate_size": 6}


def safetensors(shapes: dict[str, list[int]], *, missing: int = 0) -> bytes:
    """Return a file of zeros in 32 bits, cut off by so many bytes."""
    header, end = {}, 0
    for name, shape in shapes.items():
        size = 4
        for length in shape:
            size *= length
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    return (len(text).to_bytes(8, "little") + text + bytes(end))[: 8 + len(text) + end - missing]


WEIGHTS = {"embedding": [8, 4], "layer.0": [6, 4], "layer.1": [6, 4]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    whole = tmp_path / "model"
    whole.mkdir()
    (whole / "config.json").write_text(json.dumps(CONFIG))
    (whole / "tokenizer.json").write_text("{}")
    (whole / "model.safetensors").write_bytes(safetensors(WEIGHTS))
    check_model_folder(whole, "model.source")
    return whole


def write(name: str, content: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = content if isinstance(content, bytes) else json.dumps(content).encode()
        (folder / name).write_bytes(text)

    return change


def without(name: str, *others: Callable[[Path], None]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).unlink()
        for other in others:
            other(folder)

    return change


CUSTOM = {"model_type": "own", "auto_map": {"AutoConfig": "configuration_own.OwnConfig"}}
PARTS = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
DAMAGED = {
    "no config": (without("config.json"), "has no config.json, so it is no model folder"),
    "an adapter": (write("adapter_config.json", b"{}"), r"holds an adapter \(adapter_config\.json\) to another model"),
    "kind a list": (
        write("config.json", CONFIG | {"model_type": ["llama"]}),
        r"is of the model_type .*, which this version",
    ),
    "only gguf": (without("config.json", write("m.gguf", b"GGUF")), r"For a GGUF file write `gguf:.*m\.gguf`"),
    "config no JSON": (write("config.json", b"<html>"), "config.json is no JSON"),
    "config no text": (write("config.json", b"\xff\xfe\x00"), "config.json is no JSON"),
    "config nested without end": (write("config.json", b"[" * 200_000), "config.json is no JSON"),
    "config a list": (write("config.json", [1, 2]), r"holds no JSON object but '\[1, 2\]'"),
    "config a number": (write("config.json", 7), "holds no JSON object but '7'"),
    "config null": (write("config.json", None), "holds no JSON object but 'None'"),
    "layers without end": (write("config.json", CONFIG | {"num_hidden_layers": 10**9}), "a larger model"),
    "width without end": (write("config.json", CONFIG | {"hidden_size": 10**8}), "a larger model"),
    "vocabulary without end": (write("config.json", CONFIG | {"vocab_size": 10**9}), "a larger model"),
    "text part without end": (
        write("config.json", CONFIG | {"text_config": CONFIG | {"num_hidden_layers": 999}}),
        "a larger model",
    ),
    "size beyond all": (write("config.json", CONFIG | {"vocab_size": 10**30}), "says vocab_size 1000.*no model has"),
    "negative size": (write("config.json", CONFIG | {"hidden_size": -4}), "says hidden_size -4"),
    "size a text": (write("config.json", CONFIG | {"hidden_size": "4"}), "says hidden_size 4"),
    "code of its own": (write("config.json", CUSTOM), r"names code of its own \(`auto_map`.*never run"),
    "unknown kind": (write("config.json", CONFIG | {"model_type": "own"}), "model_type 'own'.*does not know"),
    "no tokenizer": (without("tokenizer.json"), r"has no tokenizer \(no tokenizer\.json\)"),
    "tokenizer.model alone": (
        without("tokenizer.json", write("tokenizer.model", b"")),
        r"tokenizer\.model alone.*where sentencepiece is installed.*save_pretrained",
    ),
    "pickle": (
        without("model.safetensors", write("pytorch_model.bin", b"")),
        r"weights as pytorch_model\.bin, which may run code.*safetensors",
    ),
    "no weights": (without("model.safetensors"), "no weights as safetensors"),
    "empty weights": (write("model.safetensors", b""), "is cut off or damaged: it has no whole header"),
    "weights of text": (write("model.safetensors", b"version https://git-lfs.github.com/spec/v1"), "no whole header"),
    "weights cut off": (write("model.safetensors", safetensors(WEIGHTS, missing=1)), "bytes where its header tells of"),
    "header of noise": (write("model.safetensors", (4).to_bytes(8, "little") + b"\xff{}}"), "header cannot be read"),
    "header a list": (write("model.safetensors", (2).to_bytes(8, "little") + b"[]"), "header cannot be read"),
    "shards missing": (write("model.safetensors.index.json", PARTS), "2 of 2 files, model-00001-of.* are missing"),
    "shards elsewhere": (
        write("model.safetensors.index.json", {"weight_map": {"a": "../model/model.safetensors"}}),
        "1 of 1 files",
    ),
    "index without files": (write("model.safetensors.index.json", {"weight_map": {}}), "all files"),
    "weights twice": (
        write("model.safetensors.index.json", {"weight_map": {"a": "tokenizer.json"}}),
        r"weights twice, as model\.safetensors and in the parts",
    ),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_folder_that_is_no_model_is_refused_with_a_sentence(folder: Path, kind: str) -> None:
    change, sentence = DAMAGED[kind]
    change(folder)
    with pytest.raises(ConsultationError, match=f"^model.source.*{sentence}") as error:
        check_model_folder(folder, "model.source")
    # What Python finds wrong with JSON is told otherwise by each of its versions.
    told = re.sub(r"(?<=no JSON|be read)(: .*| \(.*\))(?=\. Fetch)", "", str(error.value))
    expect_row("Folders that are refused", kind, told.replace(str(folder), "FOLDER"))
    expect_only("Folders that are refused", DAMAGED)


def test_weights_in_several_files_count_together(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    write("model.safetensors.index.json", PARTS)(folder)
    for at, name in enumerate(sorted(PARTS["weight_map"].values())):
        part = dict(list(WEIGHTS.items())[at * 2 : at * 2 + 2])
        (folder / name).write_bytes(safetensors(part))
    check_model_folder(folder, "model.source")


def test_a_model_that_the_library_knows_may_name_code_that_is_not_used(folder: Path) -> None:
    write("config.json", CONFIG | {"auto_map": CUSTOM["auto_map"]})(folder)
    check_model_folder(folder, "model.source")


def test_a_gguf_file_is_looked_at(tmp_path: Path) -> None:
    for name, content, sentence in (
        ("none.gguf", None, "there is no file"),
        ("text.gguf", b"<html>", "does not begin as a GGUF file"),
        ("m-00001-of-00002.gguf", b"GGUF", "one of several parts"),
    ):
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ConsultationError, match=sentence):
            check_gguf(path, "model.source")


def test_a_source_on_this_disk_is_known_by_its_content(folder: Path, tmp_path: Path) -> None:
    def digest(source: str) -> list[str]:
        return content_digest(source, tmp_path / "cache")

    first = digest(f"folder:{folder}")
    assert first == digest(f"folder:{folder}") and len(first) == 1
    moved = tmp_path / "elsewhere"
    shutil.copytree(folder, moved)
    assert digest(f"folder:{moved}") == first
    (folder / "model.safetensors").write_bytes(safetensors(WEIGHTS)[:-1] + b"\x01")
    assert digest(f"folder:{folder}") != first
    file = f"gguf:{folder / 'tokenizer.json'}"
    assert digest(file) != first and len(digest(file)) == 1
    assert digest("embedded") == digest("hub:a/b@c") == digest("folder:/nowhere") == digest("folder:") == []


NOWHERE = {
    "folder:~nobody-here/x": r"there is no folder /.*/~nobody-here/x\.",
    "gguf:~nobody-here/x.gguf": "there is no file",
    "gguf:/dev/zero": "there is no file",
    "gguf:/dev": r"there is no file /dev\. It is a folder",
    "folder:/dev": "has no config.json",
    "hub:../..@main": "is no name of a model",
}


@pytest.mark.parametrize("source", NOWHERE)
def test_a_source_that_can_be_no_model_is_told_and_not_read(source: str, tmp_path: Path) -> None:
    assert content_digest(source, tmp_path) == []
    with pytest.raises(ConsultationError, match=NOWHERE[source]):
        model_files(source, "model.source", EMBEDDED, tmp_path, tmp_path)


def test_a_source_that_cannot_be_read_or_changes_meanwhile_is_told(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ccai_dagster.training import model_source

    def gone(path: Path) -> str:
        raise FileNotFoundError(2, "No such file or directory", str(path))

    with pytest.raises(ConsultationError, match=r"cannot be read: .*File name too long"):
        model_files(f"folder:{'a' * 5000}", "model.source", EMBEDDED, tmp_path, tmp_path)
    monkeypatch.setattr(model_source, "file_digest", gone)
    with pytest.raises(ConsultationError, match=r"changes while it is: .*config\.json.*Run again when it is whole"):
        content_digest(f"folder:{folder}", tmp_path / "cache")


def test_files_that_did_not_change_are_not_read_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ccai_dagster.core import unchanged
    from ccai_dagster.training import model_source

    monkeypatch.setattr(unchanged, "SECONDS_TO_SETTLE", -1.0)
    first = content_digest(f"folder:{folder}", tmp_path)

    def unread(path: Path) -> str:
        raise AssertionError(f"{path} was read again")

    monkeypatch.setattr(model_source, "file_digest", unread)
    assert content_digest(f"folder:{folder}", tmp_path) == first
    (folder / "config.json").write_text("{}")
    with pytest.raises(AssertionError, match="was read again"):
        content_digest(f"folder:{folder}", tmp_path)


@pytest.mark.torch
def test_shards_make_the_same_model_as_one_file(tiny_model: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    shards = tmp_path / "shards"
    AutoModelForCausalLM.from_pretrained(tiny_model).save_pretrained(shards, max_shard_size="20KB")
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(shards)
    assert len(list(shards.glob("*.safetensors"))) > 1
    for name, source in (("one", tiny_model), ("several", shards)):
        prepare_base_model(ModelSettings(source=f"folder:{source}"), tmp_path, tmp_path / name)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "several")]
    assert weights[0] == weights[1]


@pytest.mark.torch
@pytest.mark.parametrize("missing", [0, 3])
def test_what_a_library_makes_of_damaged_files_is_a_sentence(tiny_model: Path, tmp_path: Path, missing: int) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(tiny_model, folder)
    if missing:
        (folder / "tokenizer.json").write_text("{}")
    else:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"hidden_size": config["hidden_size"] // 2}))
    with pytest.raises(ConsultationError, match=r"cannot be loaded as a language model in safetensors: ."):
        prepare_base_model(ModelSettings(source=f"folder:{folder}"), tmp_path, tmp_path / "made")


@pytest.mark.torch
@pytest.mark.parametrize("broken", ["norm is missing", "half is missing", "norm is no number"])
def test_weights_that_are_not_all_there_are_never_made_up(tiny_model: Path, tmp_path: Path, broken: str) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "broken"
    shutil.copytree(tiny_model, folder)
    weights = load_file(folder / "model.safetensors")
    if broken == "half is missing":  # the index names the first of two parts alone
        first = {name: weights[name] for name in sorted(weights)[: len(weights) // 2]}
        save_file(first, folder / "part.safetensors", metadata={"format": "pt"})
        (folder / "model.safetensors").unlink()
        index = {"metadata": {}, "weight_map": dict.fromkeys(first, "part.safetensors")}
        write("model.safetensors.index.json", index)(folder)
        sentence = r"lacks 10 of the model's weights, model\.layers\.1\..*Fetch it anew"
    else:
        norm = weights.pop("model.norm.weight")
        sentence = r"lacks 1 of the model's weights, model\.norm\.weight among them.*Fetch it anew"
        if broken == "norm is no number":
            weights["model.norm.weight"] = norm * float("nan")
            sentence = r"1 weights, model\.norm\.weight among them, hold what is no finite number"
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConsultationError, match=sentence):
        prepare_base_model(ModelSettings(source=f"folder:{folder}"), tmp_path, tmp_path / "made")


@pytest.mark.torch
@pytest.mark.parametrize(
    ("name", "special", "refused"), [("[PAD]", True, True), ("<x>", False, True), ("<x>", True, False)]
)
def test_a_tokenizer_that_writes_what_the_weights_do_not_know_is_refused(
    tiny_model: Path, tmp_path: Path, name: str, special: bool, refused: bool
) -> None:
    from tokenizers import AddedToken
    from transformers import AutoTokenizer

    folder = tmp_path / "larger"
    shutil.copytree(tiny_model, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    known = len(tokenizer)
    tokenizer.add_tokens([AddedToken(name, special=special)])
    tokenizer.pad_token = name if name == "[PAD]" else tokenizer.pad_token
    tokenizer.save_pretrained(folder)
    settings = ModelSettings(source=f"folder:{folder}")
    if not refused:
        prepare_base_model(settings, tmp_path, tmp_path / "made")
        return
    with pytest.raises(ConsultationError, match=f"tokens up to number {known}, and the weights know {known} of them"):
        prepare_base_model(settings, tmp_path, tmp_path / "made")


@pytest.mark.torch
def test_a_configuration_that_hides_names_of_outputs_changes_nothing(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "nameless"
    shutil.copytree(tiny_model, folder)
    config = json.loads((folder / "config.json").read_text())
    write("config.json", config | {"return_dict": False})(folder)
    prepare_base_model(ModelSettings(source=f"folder:{folder}"), tmp_path, tmp_path / "made")
    assert load_model(tmp_path / "made").config.return_dict is True


ASKS = """
import sys
from pathlib import Path
from ccai_dagster.stages import request, stages, worker

class Asks(request.Stage):
    stage: str = "asks"
    def run(self, folder, progress):
        try:
            heard = input("Do you wish to run the custom code? [y/N] ")
        except EOFError:
            heard = "nobody"
        (folder.path / "heard.txt").write_text(heard)
        return request.StageReport()

worker.read_request = lambda folder: Asks()
sys.exit(worker.main(Path(sys.argv[1])))
"""


def test_a_stage_asks_nobody_who_sits_at_the_terminal(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ASKS, str(tmp_path / "request.json")],
        input=b"y\n",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "heard.txt").read_text() == "nobody"


@pytest.mark.torch
def test_every_load_says_that_no_code_of_a_model_is_run(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers

    from ccai_dagster.stages.transformers_model import TransformersModel
    from ccai_dagster.training import model_folder, response_states

    said: list[Any] = []
    for name in (
        "AutoTokenizer",
        "AutoConfig",
        "AutoModel",
        "AutoModelForCausalLM",
        "AutoModelForSequenceClassification",
    ):
        kind = getattr(transformers, name)
        load = kind.from_pretrained

        def heard(*places: Any, load: Any = load, **options: Any) -> Any:
            said.append(options.get("trust_remote_code"))
            return load(*places, **options)

        monkeypatch.setattr(kind, "from_pretrained", heard)
    TransformersModel(tiny_model, "float32", batch_size=2)
    model_folder.load_tokenizer(tiny_model)
    model_folder.load_model(tiny_model)
    model_folder.load_model(tiny_model, scores=True)
    response_states.ResponseReader(tiny_model, 2, 64)
    assert len(said) >= 8 and set(said) == {False}
