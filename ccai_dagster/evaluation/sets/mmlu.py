"""MMLU (Hendrycks et al. 2021): 57 subjects, four choices a question, five worked examples a subject.

Asked as bare text by default, word for word as the lm-evaluation-harness 0.4.13 does (tasks/mmlu/default), so
that figures can be compared with its own and with published ones. In the chat form, what a policy is trained
on, the examples are earlier turns and the letter follows `ANSWER_PREFIX`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from string import ascii_uppercase
from typing import Any, ClassVar, Literal

from pydantic import Field

from ccai_dagster.consultation.folder import HubDataset
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.evaluation.sets.items import ANSWER_PREFIX, ChoiceItem, Item, Prompt, Text
from ccai_dagster.evaluation.sets.reading import Asking, Row, built, csv_rows, hub_rows

COLUMNS = ("question", "choice0", "choice1", "choice2", "choice3", "answer")
MOST_SHOTS = 5
"""Examples that every subject has."""


class MMLUItem(ChoiceItem):
    """A question with four choices of one subject.

    Attributes:
        shots: Examples of the subject, in the order of its file.
        chat: Whether it is asked in the model's chat template.
    """

    metrics: ClassVar[tuple[str, ...]] = ("accuracy",)
    distinct_choices: ClassVar[bool] = False
    question: Text
    shots: tuple[MMLUItem, ...] = Field((), exclude=True, repr=False)
    chat: bool = False

    @property
    def continuations(self) -> list[str]:
        """A letter; in bare text the blank before it belongs to its token."""
        return self.letters if self.chat else [f" {letter}" for letter in self.letters]

    def question_text(self) -> str:
        """Return question and choices."""
        if self.chat:
            return self.lettered(self.question.strip())
        choices = "".join(f"\n{letter}. {text}" for letter, text in zip(self.letters, self.choices, strict=True))
        return f"{self.question.strip()}{choices}\nAnswer:"

    def prompts(self) -> tuple[Prompt, ...]:
        """Return the examples with their answers and the question."""
        if self.chat:
            turns: list[tuple[Literal["user", "assistant"], str]] = []
            for shot in self.shots:
                answer = f"{ANSWER_PREFIX}{ascii_uppercase[shot.answer]})"
                turns += [("user", self.lettered_like(shot)), ("assistant", answer)]
            return (Prompt((*turns, ("user", self.question_text())), ANSWER_PREFIX),)
        subject = self.category.replace("_", " ")
        head = f"The following are multiple choice questions (with answers) about {subject}.\n\n"
        shots = "".join(f"{shot.question_text()} {ascii_uppercase[shot.answer]}\n\n" for shot in self.shots)
        return (Prompt((), head + shots + self.question_text()),)

    def lettered_like(self, other: MMLUItem) -> str:
        """Return another question in the form of this one."""
        return other.model_copy(update={"chat": self.chat}).question_text()

    def choice_scores(self, index: int) -> dict[str, float]:
        """Return 1 for the right choice."""
        return {"accuracy": float(index == self.answer)}


def read_mmlu(folder: Path, asking: Asking) -> list[Item]:
    """Read a folder with `dev` and `test`, each with a `SUBJECT_dev.csv` or `SUBJECT_test.csv` a subject.

    Args:
        folder: The CSV files have a header row and the answer as 0 to 3.
        asking: Examples are the first of each subject's `dev` file.

    Raises:
        ConsultationError: A file or column is missing, a row is malformed, or a subject has too few examples.
    """
    parts: dict[str, dict[str, list[Row]]] = {}
    for part in ("dev", "test"):
        files = sorted((folder / part).glob(f"*_{part}.csv"))
        parts[part] = {path.name.removesuffix(f"_{part}.csv"): csv_rows(path, COLUMNS) for path in files}
    if not parts["test"]:
        raise ConsultationError(
            f"{folder}: no files test/SUBJECT_test.csv. Give the folder that holds `dev` and `test`."
        )
    return _items(parts["dev"], parts["test"], asking, str(folder))


def read_mmlu_from_hub(hub: HubDataset, asking: Asking) -> list[Item]:
    """Read a dataset laid out as cais/mmlu: configuration `all`, columns question, subject, choices, answer."""
    parts: dict[str, dict[str, list[Row]]] = {}
    for part in ("dev", "test"):
        by_subject: defaultdict[str, list[Row]] = defaultdict(list)
        for row in hub_rows(hub, "all", part):
            by_subject[str(row.fields.get("subject"))].append(row)
        parts[part] = dict(by_subject)
    return _items(parts["dev"], parts["test"], asking, hub.dataset)


def _items(
    dev: Mapping[str, Sequence[Row]], test: Mapping[str, Sequence[Row]], asking: Asking, place: str
) -> list[Item]:
    items: list[Item] = []
    for subject, rows in sorted(test.items()):
        own = dev.get(subject, [])
        if len(own) < asking.shots:
            raise ConsultationError(
                f"{place}: {subject} has {len(own)} examples in dev, {asking.shots} are asked for. Add them, or "
                "give the benchmark fewer `shots` in consultation.yaml."
            )
        shots = tuple(built(own[: asking.shots], partial(_item, subject)))
        plain = built(rows, partial(_item, subject))
        items += [item.model_copy(update={"shots": shots, "chat": asking.chat}) for item in plain]
    return items


def _item(subject: str, at: int, fields: Mapping[str, Any]) -> MMLUItem:
    choices = fields["choices"] if "choices" in fields else [fields[f"choice{n}"] for n in range(4)]
    if len(choices) != 4:
        raise ValueError(f"four choices are needed, found {len(choices)}")
    if str(fields["answer"]) not in ("0", "1", "2", "3"):
        raise ValueError(f"answer {fields['answer']!r} is none of 0, 1, 2 and 3, the number of a choice")
    return MMLUItem(
        id=f"{subject}/{at:04}",
        category=subject,
        question=fields["question"],
        choices=tuple(choices),
        answer=int(fields["answer"]),
    )
