"""A language model whose answers are kept on disk as they come, and not asked for again after an interruption.

Wraps a model in this process. Long lists are asked in parts; each finished part is a line of a file in the stage's
work folder, under the digest of everything its answer depends on. A line that was cut off is passed over. A server
(`language_model_server`) keeps every answer by itself in such lines.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ccai_dagster.digest import value_digest
from ccai_dagster.feedback.draws import derived_seed
from ccai_dagster.feedback.language_model import Conversation, LanguageModel
from ccai_dagster.progress import Progress, silent

CONVERSATIONS_A_PART = 512
"""At most this many answers are lost with a process; enough that batches of like length are still found."""


class KeptLines:
    """Values by key in a file of JSON lines that grows by whole lines, whatever happens to the process.

    Several threads may keep values at a time.
    """

    def __init__(self, file: Path) -> None:
        """Read what was kept before.

        Args:
            file: JSON lines; made when there is something to keep.
        """
        self._file = file
        self._kept = _read(file)
        self._lock = threading.Lock()

    def __contains__(self, key: str) -> bool:
        """Tell whether there is a value for a key."""
        return key in self._kept

    def __getitem__(self, key: str) -> Any:
        """Return the value of a key."""
        return self._kept[key]

    def keep(self, key: str, value: Any) -> None:
        """Keep a value that JSON can hold; it is on disk when this returns."""
        # The line break comes first, so that a line that was cut off does not spoil the next one.
        line = "\n" + json.dumps({"question": key, "answers": value})
        with self._lock:
            self._kept[key] = value
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("a", encoding="utf-8") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())


class KeptAnswers:
    """Asks another model and keeps its answers; they are the same whether they are kept or asked for.

    Attributes:
        name: Name of the other model.
    """

    def __init__(self, model: LanguageModel, file: Path) -> None:
        """Read what was answered before.

        Args:
            model: Is asked for what is not kept.
            file: JSON lines; made when there is something to keep.
        """
        self.name = model.name
        self._model = model
        self._kept = KeptLines(file)

    @property
    def provenance(self) -> Mapping[str, str]:
        """How the other model is run."""
        return self._model.provenance

    def prompt_text(
        self, conversation: Conversation, new_tokens: int = 1, choices: Sequence[str] = ()
    ) -> str:
        """See `LanguageModel.prompt_text`."""
        return self._model.prompt_text(conversation, new_tokens, choices)

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
    ) -> list[str]:
        """See `LanguageModel.generate`; the parts differ in their seeds."""
        answers: list[str] = []
        for number, part in enumerate(_parts(conversations)):
            own_seed = seed if number == 0 else derived_seed(seed, "part", number)
            answers += self._once(
                ["generate", part, new_tokens, temperature, own_seed, list(stops), strip],
                partial(
                    self._model.generate,
                    part,
                    new_tokens=new_tokens,
                    temperature=temperature,
                    seed=own_seed,
                    stops=stops,
                    strip=strip,
                    progress=_onward(progress, len(answers), len(conversations)),
                ),
            )
            progress("responses written", len(answers), len(conversations))
        return answers

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
        rows: list[list[float]] = []
        for part in _parts(conversations):
            rows += self._once(
                ["choices", part, list(choices), prefix, likeliest],
                partial(
                    self._model.choice_log_probabilities,
                    part,
                    choices,
                    prefix=prefix,
                    likeliest=likeliest,
                    progress=_onward(progress, len(rows), len(conversations)),
                ),
            )
            progress("questions answered", len(rows), len(conversations))
        return np.array(rows, dtype=float).reshape(len(conversations), len(choices) + likeliest)

    def log_likelihoods(self, conversations: Sequence[Conversation], responses: Sequence[str]) -> np.ndarray:
        """See `LanguageModel.log_likelihoods`."""
        rows: list[list[float]] = []
        for part, said in zip(_parts(conversations), _parts(responses), strict=True):
            rows += self._once(
                ["likelihoods", part, said],
                partial(self._model.log_likelihoods, part, said),
            )
        return np.array(rows, dtype=float).reshape(len(conversations), 2)

    def _once(self, question: list[Any], ask: Callable[[], Any]) -> list[Any]:
        key = value_digest([self.name, *question])
        if key not in self._kept:
            answers = ask()
            self._kept.keep(key, answers if isinstance(answers, list) else answers.tolist())
        kept: list[Any] = self._kept[key]
        return kept


def _onward(progress: Progress, before: int, in_all: int) -> Progress:
    def report(message: str, done: int, total: int) -> None:
        progress(message, before + done, in_all)

    return report


def _parts(items: Sequence[Any]) -> list[Sequence[Any]]:
    return [
        items[start : start + CONVERSATIONS_A_PART] for start in range(0, len(items), CONVERSATIONS_A_PART)
    ]


def _read(file: Path) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    if file.is_file():
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue
            kept[entry["question"]] = entry["answers"]
    return kept
