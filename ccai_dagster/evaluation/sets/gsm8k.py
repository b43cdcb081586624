"""GSM8K (Cobbe et al. 2021): word problems whose worked answer ends in `#### n`.

Asked as bare text by default, word for word as the lm-evaluation-harness 0.4.13 does (tasks/gsm8k/gsm8k.yaml)
with its sampler `first_n`: the same examples stand before every question, so that arms differ in nothing else.
Both of the harness's readings are kept: strict takes the number after the first `####`, flexible the last number
anywhere. In the chat form the examples are earlier turns.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from ccai_dagster.consultation.folder import HubDataset
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.evaluation.sets.items import Item, Prompt, Reading, Text
from ccai_dagster.evaluation.sets.reading import Asking, Row, built, hub_rows, json_rows, member

MOST_SHOTS = 50
STRICT = re.compile(r"#### (-?[0-9.,]+)")
FLEXIBLE = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")


class GSM8KItem(Item):
    """A word problem.

    Attributes:
        answer: The worked answer, ending in `#### n`.
        shots: Worked examples.
        chat: Whether it is asked in the model's chat template.
    """

    generated: ClassVar[bool] = True
    response_tokens: ClassVar[int | None] = 256
    stops: ClassVar[tuple[str, ...]] = ("Question:", "</s>", "<|im_end|>")
    metrics: ClassVar[tuple[str, ...]] = ("accuracy_strict", "accuracy_flexible")
    question: Text
    answer: Text
    shots: tuple[GSM8KItem, ...] = Field((), exclude=True, repr=False)
    chat: bool = False

    @model_validator(mode="after")
    def _numeric(self) -> GSM8KItem:
        if STRICT.search(self.answer) is None:
            raise ValueError("`answer` must end in `#### ` and a number")
        return self

    def question_text(self) -> str:
        """Return the question as it stands after the examples."""
        return self.question if self.chat else f"Question: {self.question}\nAnswer:"

    def prompts(self) -> tuple[Prompt, ...]:
        """Return the worked examples and the question."""
        if self.chat:
            turns: list[tuple[Literal["user", "assistant"], str]] = []
            for shot in self.shots:
                turns += [("user", shot.question), ("assistant", shot.answer)]
            return (Prompt((*turns, ("user", self.question))),)
        shots = "".join(f"{shot.question_text()} {shot.answer}\n\n" for shot in self.shots)
        return (Prompt((), shots + self.question_text()),)

    def read(self, results: Sequence[Any]) -> Reading:
        """Score the number after `####`, and apart from it the last number; without one, unanswered and wrong."""
        text = str(results[0])
        right = _bare(self.answer)
        strict = STRICT.findall(text)
        flexible = FLEXIBLE.findall(text)
        last = next(part for part in flexible[-1] if part) if flexible else None
        return Reading(
            output=text,
            answered=bool(flexible),
            scores={
                "accuracy_strict": float(bool(strict) and _bare(strict[0]) == right),
                "accuracy_flexible": float(last is not None and _bare(last) == right),
            },
            unread=frozenset() if strict else frozenset({"accuracy_strict"}),
        )


def _bare(number: str) -> str:
    """Return a number without what the harness ignores: anything up to `#### `, commas, $, a final point."""
    number = re.sub(r"(?s).*#### ", "", number.replace(",", "").replace("$", ""))
    return re.sub(r"\.$", "", number).strip().lower()


def read_gsm8k(folder: Path, asking: Asking) -> list[Item]:
    """Read a folder with `train.jsonl`, whose first problems are the examples, and `test.jsonl`.

    Raises:
        ConsultationError: A file is missing, a row is malformed, or there are too few examples.
    """
    train = json_rows(member(folder, "train.jsonl")) if asking.shots else []
    return _items(train, json_rows(member(folder, "test.jsonl")), asking, str(folder))


def read_gsm8k_from_hub(hub: HubDataset, asking: Asking) -> list[Item]:
    """Read a dataset laid out as openai/gsm8k: configuration `main`, columns question and answer."""
    return _items(hub_rows(hub, "main", "train"), hub_rows(hub, "main", "test"), asking, hub.dataset)


def _items(train: Sequence[Row], test: Sequence[Row], asking: Asking, place: str) -> list[Item]:
    if len(train) < asking.shots:
        raise ConsultationError(
            f"{place}: {len(train)} examples in train, {asking.shots} are asked for. Add them, or give the "
            "benchmark fewer `shots` in consultation.yaml."
        )
    shots = tuple(built(train[: asking.shots], _item))
    return [item.model_copy(update={"shots": shots, "chat": asking.chat}) for item in built(test, _item)]


def _item(at: int, fields: dict[str, Any]) -> GSM8KItem:
    return GSM8KItem(id=f"{at:04}", category="all", question=fields["question"], answer=fields["answer"])
