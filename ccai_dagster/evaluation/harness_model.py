"""The project's language models as the lm-evaluation-harness wants them.

Which items are run, and what their answers mean, belongs to `benchmarks` and `items`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np

from ccai_dagster.evaluation.items import Prompt
from ccai_dagster.feedback.language_model import Conversation, LanguageModel
from ccai_dagster.progress import Progress, silent

UNLISTED = -1000.0
"""Log-probability of a letter that a server does not list among its likeliest tokens: finite, as items want it."""
Key = TypeVar("Key", bound=Hashable)


def harness_model(model: LanguageModel, progress: Progress = silent) -> Any:
    """Return an `LM` of the harness that asks a language model: for letters as the next token, greedily for texts.

    The harness knows a prompt by its text only; the model's `text` renders a prompt and remembers what has that text.

    Args:
        model: Is asked once about each prompt.
        progress: Told how many of the prompts are finished.
    """
    from lm_eval.api.model import LM

    class HarnessModel(LM):
        """`LM` without tokenizer, chat template and device, which are the language model's business."""

        def __init__(self) -> None:
            super().__init__()
            self._conversations: dict[str, Conversation] = {}
            self._finished = 0

        def text(self, prompt: Prompt, new_tokens: int = 1, choices: Sequence[str] = ()) -> str:
            """Return what the model reads before a response of so many tokens, or before one of the choices."""
            begun = (("assistant", prompt.beginning),) if prompt.beginning else ()
            conversation = (*prompt.turns, *begun)
            text = model.prompt_text(conversation, new_tokens, choices)
            self._conversations[text] = conversation
            return text

        def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
            choices = _grouped(request.args for request in requests)
            found: dict[tuple[str, str], tuple[float, bool]] = {}
            for letters, texts in _grouped((tuple(own), text) for text, own in choices.items()).items():
                scores = model.choice_log_probabilities(
                    self._asked(texts), letters, likeliest=True, progress=self._onward()
                )
                finite = np.nan_to_num(scores, nan=np.nan, neginf=UNLISTED).tolist()
                for text, (*row, likeliest) in zip(texts, finite, strict=True):
                    found |= {
                        (text, letter): (score, score >= likeliest)
                        for letter, score in zip(letters, row, strict=True)
                    }
            return [found[request.args] for request in requests]

        def generate_until(self, requests: Sequence[Any]) -> list[str]:
            asked = [
                ((options["max_gen_toks"], tuple(options["until"])), text)
                for text, options in (request.args for request in requests)
            ]
            found: dict[tuple[Any, str], str] = {}
            for how, texts in _grouped(asked).items():
                new_tokens, stops = how
                responses = model.generate(
                    self._asked(texts),
                    new_tokens=new_tokens,
                    temperature=0,
                    seed=0,
                    stops=stops,
                    strip=False,
                    progress=self._onward(),
                )
                found |= {(how, text): response for text, response in zip(texts, responses, strict=True)}
            return [found[each] for each in asked]

        def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
            raise NotImplementedError("no task asks how likely a whole text is")

        def _asked(self, texts: Iterable[str]) -> list[Conversation]:
            return [self._conversations[text] for text in texts]

        def _onward(self) -> Progress:
            before = self._finished

            def report(message: str, done: int, total: int) -> None:
                self._finished = before + done
                progress("benchmarks", self._finished, len(self._conversations))

            return report

    return HarnessModel()


def _grouped(pairs: Iterable[tuple[Key, str]]) -> dict[Key, list[str]]:
    """Return the distinct texts of each key, in order."""
    groups: dict[Key, dict[str, None]] = {}
    for key, text in pairs:
        groups.setdefault(key, {})[text] = None
    return {key: list(texts) for key, texts in groups.items()}
