"""How the tests are arranged, and what they share.

- `unit`: one file for each thing that a module does; real models of two random layers where torch is needed.
- `graph`: the whole graph with such a model. Its first run is made once for all workers (`first_run`); a test that
  changes something works on a `copy` of what it left.
- `end_to_end`: the embedded model as a user gets it, and a training whose outcome is known beforehand.
- `browser`: the pages in Chromium, which `browser/install.sh` fetches.

Modules beside this one hold what several folders use: small results (`small_*.py`), a language model that is a
local server, Chromium (`chromium.py`), a process in which stages run without importing torch each time
(`warm_stages.py`), pictures that cost nothing (`white_paper.py`). Fixtures of a session are made once and read by all
workers (`shared`); none is changed by a test, so any order and any number of workers will do. Tests with real data
sets read them in the folder `CCAI_TEST_DATA` and are skipped without it.
"""

from __future__ import annotations

import functools
import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import warm_stages as warm
from alembic.config import Config
from alembic.script import ScriptDirectory
from filelock import FileLock
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

REPOSITORY = Path(__file__).resolve().parents[1]
SENTENCES = (
    "A user asks and an assistant answers.",
    "The assistant should be fair, honest and kind to everybody.",
    "Which response follows the rule better, (A) or (B)? The better response is (A)",
    "You are a helpful assistant. Please tell me how I can write a letter to my town.",
    "No, that is not right; here are 3 reasons why.",
)
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

# A model this small is fastest in one thread, and a thread that waits must not take another worker's core.
os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}

# A busy machine may take its time; in CI the same examples are tried each time.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("patient"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "patient")

# Most objects are modules and functions, which stay; to look through them often takes a tenth of the time.
gc.set_threshold(50_000, 20, 50)


# Each run of Dagster's has a database of its own, and for each of them alembic would read all steps to today's tables.
READ_STEPS = ScriptDirectory.from_config
STEPS: dict[str, ScriptDirectory] = {}


def steps(config: Config) -> ScriptDirectory:
    """Those of Dagster's or MLflow's databases, which nothing changes, read once."""
    place = str(config.get_main_option("script_location"))
    if place not in STEPS:
        STEPS[place] = READ_STEPS(config)
    return STEPS[place]


ScriptDirectory.from_config = steps


class TorchInOneWorker(LoadFileScheduling):
    """A file of tests at a time, but all that import torch as one: each worker would take ten seconds for it.

    Those of `graph` need it as well, but only in the process in which their stages run.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return "torch" if needs_torch(file) else file


@functools.cache
def needs_torch(file: str) -> bool:
    return not file.startswith("tests/graph/") and "pytest.mark.torch" in (REPOSITORY / file).read_text()


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling | None:
    return TorchInOneWorker(config, log) if config.getvalue("dist") == "loadfile" else None


LONGEST = ("graph/test_chaos.py", "unit/test_interruption.py", "graph/test_graph.py", "end_to_end/", "graph/")
"""While one worker is at the first, which needs neither, the other imports torch and makes the tiny model."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the files that take longest, so that no worker is left with one of them at the end."""

    def place(item: pytest.Item) -> int:
        file = item.path.relative_to(REPOSITORY / "tests").as_posix()
        return next((at for at, start in enumerate(LONGEST) if file.startswith(start)), len(LONGEST))

    items.sort(key=place)


@pytest.fixture(scope="module", autouse=True)
def what_is_imported_stays() -> None:
    """The full collections that libraries ask for, after each training for instance, need not look through it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this session that all workers share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


def environment_restored() -> Iterator[None]:
    """Commands say in the environment which consultation is meant, and MLflow which store; not to the next test."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


restored_after_a_file = pytest.fixture(scope="module", autouse=True)(environment_restored)
restored_after_a_test = pytest.fixture(autouse=True)(environment_restored)


@pytest.fixture(scope="session")
def warm_stages(shared: Path) -> str:
    """Address of a process that has imported torch and runs stages in forks; see `warm_stages.py`."""
    address = shared / "warm_stages"
    with FileLock(f"{address}.lock"):
        if not (started := address.with_suffix(".started")).exists():
            session = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
            variables = {"PYTHONPATH": ":".join([str(REPOSITORY), *sys.path])}
            command = [sys.executable, "-W", "ignore", warm.__file__, "serve", address, str(session)]
            subprocess.run(command, env={**os.environ, **variables}, check=True)
            started.touch()
    return str(address)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder with real data sets, which are not part of the project."""
    folder = Path(os.environ.get("CCAI_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        reason = f"no test data at {folder}; set CCAI_TEST_DATA to a folder with the data sets"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


@pytest.fixture(scope="session")
def tiny_model(shared: Path) -> Path:
    """A folder with a random float32 Llama of two layers and a byte-level tokenizer that can chat."""
    folder = shared / "tiny_model"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            make_tiny_model(folder.with_suffix(".partial"))
            folder.with_suffix(".partial").rename(folder)
    return folder


def make_tiny_model(folder: Path) -> None:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    bytes_and_merges = Tokenizer(models.BPE())
    bytes_and_merges.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_and_merges.decoder = decoders.ByteLevel()
    bytes_and_merges.train_from_iterator(
        SENTENCES,
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bytes_and_merges,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=CHAT_TEMPLATE,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer),
                hidden_size=64,
                intermediate_size=128,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=1024,
                tie_word_embeddings=True,
                # Large enough that what a model says depends visibly on what it is asked.
                initializer_range=0.2,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
