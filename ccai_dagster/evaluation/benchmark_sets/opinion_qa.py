"""Questions of opinion with the answers of groups of people, laid out as OpinionQA's contested questions are kept.

One JSON object a line: `key`, `survey`, `question`, `options`, `ordinal` (the place of each option on its scale),
`refusal_options`, and `groups`: by `ATTRIBUTE:Group`, or one name for everybody, either `counts` of people an option
with `refused`, or shares as `dist`. Survey weights are not applied; what is given counts.

Asked in the chat template by default, since that is what a policy is trained on. As bare text it is asked as published
(`Question: ...`, `A. ...`, `Answer:`), where a letter may come with or without a blank, and the likelier form counts.

What a model's answer is worth for a group is computed in `opinions`, what it is compared with in `representativeness`.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ccai_dagster.errors import ConsultationError
from ccai_dagster.evaluation.benchmark_sets.reading import Asking, built, json_rows
from ccai_dagster.evaluation.items import Item, LetteredItem, Prompt, Reading, Text
from ccai_dagster.evaluation.opinions import Distribution, model_opinion, similarity

METRIC = "representativeness"
REFUSAL = "refusal_mass"
EVERYBODY = "everybody"
"""The attribute of a group that is named without one."""
NO_GROUP = "Refused"
"""People who did not say which group of an attribute they belong to are no group of it."""
ATTRIBUTES = {
    "POLPARTY": "party", "POLIDEOLOGY": "ideology", "RACE": "race", "SEX": "sex", "CREGION": "region",
    "EDUCATION": "education", "INCOME": "income", "RELIG": "religion",
}  # fmt: skip
"""Attributes of Pew's American Trends Panel in words; others are shown as they are."""
SHARE_SLACK = 0.001


class GroupAnswers(BaseModel):
    """How the people of one group answered.

    Attributes:
        counts: People an option.
        refused: People who chose an option that refuses.
        dist: Shares of the options, where counts are not known.
        n: People asked.
        note: A remark.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    counts: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    refused: Annotated[int, Field(ge=0)] = 0
    dist: tuple[Annotated[float, Field(ge=0, le=1)], ...] | None = None
    n: Annotated[int, Field(ge=0)] | None = None
    note: str | None = None

    @model_validator(mode="after")
    def _answers(self) -> GroupAnswers:
        if (self.counts is None) == (self.dist is None):
            raise ValueError("give either `counts` or `dist`")
        if self.dist is not None and abs(sum(self.dist) - 1) > SHARE_SLACK:
            raise ValueError(f"`dist` sums to {sum(self.dist):.3f}, not to 1")
        return self

    @property
    def n_options(self) -> int:
        """How many options answers are given for."""
        return len(self.dist if self.counts is None else self.counts)  # type: ignore[arg-type]

    @property
    def n_answers(self) -> int | None:
        """People who chose an option; None if only shares are known."""
        return None if self.counts is None else sum(self.counts)

    @property
    def shares(self) -> Distribution | None:
        """Shares of the options, shape (options,); None if everybody refused."""
        given = np.array(self.dist if self.counts is None else self.counts, dtype=float)
        return given / given.sum() if given.sum() > 0 else None


class OpinionItem(LetteredItem):
    """A question of opinion.

    Attributes:
        key: Questions with the same key share their answers and are resampled together.
        choices: The options, those that refuse last.
        ordinals: Place of each option that does not refuse.
        answers: By attribute and group.
        chat: Whether it is asked in the model's chat template.
    """

    metrics: ClassVar[tuple[str, ...]] = (REFUSAL, METRIC)
    response_metrics: ClassVar[tuple[str, ...] | None] = (REFUSAL,)
    key: Text
    question: Text
    ordinals: Annotated[tuple[float, ...], Field(min_length=2)]
    answers: dict[str, dict[str, GroupAnswers]]
    chat: bool = True

    @model_validator(mode="after")
    def _consistent(self) -> OpinionItem:
        if len(self.ordinals) > len(self.choices):
            raise ValueError(f"{len(self.ordinals)} places in `ordinal` for {len(self.choices)} options")
        for attribute, groups in self.answers.items():
            for group, answers in groups.items():
                if answers.n_options != len(self.ordinals):
                    raise ValueError(
                        f"{answers.n_options} answers of {attribute}: {group} for {len(self.ordinals)} options"
                    )
        if not any(
            answers.shares is not None for groups in self.answers.values() for answers in groups.values()
        ):
            raise ValueError("no group answered it; take the question out or add answers to `groups`")
        return self

    @property
    def cluster(self) -> str:
        """Questions that share their answers rise and fall together."""
        return self.key

    @property
    def continuations(self) -> list[str]:
        """Every letter; in bare text in both forms that may follow a colon."""
        return self.letters if self.chat else [*self.letters, *(f" {letter}" for letter in self.letters)]

    def prompts(self) -> tuple[Prompt, ...]:
        """Return the question, in the chat template or as bare text."""
        return super().prompts() if self.chat else (Prompt((), self.question_text()),)

    @property
    def ordered(self) -> bool:
        """Whether the options stand on a scale; without one there is no distance between opinions."""
        return len(set(self.ordinals)) > 1

    def groups(self) -> dict[str, tuple[str, str]]:
        """Return attribute and group of all that answered, by the category under which they are scored."""
        return {
            f"{attribute}: {group}": (attribute, group)
            for attribute, groups in sorted(self.answers.items())
            for group, answers in sorted(groups.items())
            if answers.shares is not None
        }

    def question_text(self) -> str:
        """Return the question and its options."""
        if self.chat:
            return self.lettered(self.question)
        options = "".join(
            f"\n{letter}. {text}" for letter, text in zip(self.letters, self.choices, strict=True)
        )
        return f"Question: {self.question}{options}\nAnswer:"

    def read(self, results: Sequence[Any]) -> Reading:
        """Return the share of refusal, and the similarity to every group that answered.

        Where the model gives no letter any probability, or none to the options that do not refuse, there is
        nothing to compare, and the value is missing.
        """
        forms = np.array([likelihood for likelihood, _ in results], dtype=float).reshape(
            -1, len(self.choices)
        )
        if np.isnan(forms).any():
            raise ConsultationError(
                f"item {self.id}: the model gives its letters no finite probabilities. Its training has "
                "probably diverged: lower the learning rate in the profile and train it again."
            )
        opinion = model_opinion(forms, len(self.ordinals))
        return Reading(
            output=json.dumps(dict(zip(self.letters, opinion.masses.round(6).tolist(), strict=True))),
            answered=any(likeliest for _, likeliest in results),
            scores={REFUSAL: opinion.refusal},
            by_category={
                (METRIC, category): value for category, value in self._similarities(opinion.options)
            },
        )

    def response_scores(self, results: Sequence[Any]) -> Mapping[str, float | None]:
        """Return the share of refusal, not a number where there is none: the harness averages it."""
        refusal = self.read(results).scores[REFUSAL]
        return {REFUSAL: float("nan") if refusal is None else refusal}

    def _similarities(self, opinion: Distribution | None) -> list[tuple[str, float | None]]:
        if not self.ordered:
            return []
        found: list[tuple[str, float | None]] = []
        for category, (attribute, group) in self.groups().items():
            shares = self.answers[attribute][group].shares
            value = None
            if opinion is not None and shares is not None:
                value = similarity(opinion, shares, self.ordinals)
            found.append((category, value))
        return found


def read_opinion_qa(path: Path, asking: Asking) -> list[Item]:
    """Read questions and answers.

    Args:
        path: JSON lines as described above; `.gz` is unpacked.
        asking: Whether in the chat template; there are no examples.

    Returns:
        One item a question. Where several have one key, a number is added to make ids unique, in the order of
        their texts.

    Raises:
        ConsultationError: The file is missing or empty, or a line is malformed, without answers, or has as many
            answers as it has no options.
    """
    rows = json_rows(path)
    if not rows:
        raise ConsultationError(
            f"{path}: no questions. Add some, or take the benchmark out of consultation.yaml."
        )
    keys = Counter(str(row.fields.get("key")) for row in rows)
    numbers: defaultdict[str, int] = defaultdict(int)
    for row in sorted(rows, key=lambda row: str(row.fields.get("question"))):
        key = str(row.fields.get("key"))
        numbers[key] += 1
        row.fields["id"] = key if keys[key] == 1 else f"{key}/{numbers[key]}"
    return list(built(rows, lambda number, fields: _item(fields, asking.chat)))


def _item(fields: dict[str, Any], chat: bool) -> OpinionItem:
    options, refusals = list(fields["options"]), list(fields["refusal_options"])
    if len(options) != len(fields["ordinal"]):
        raise ValueError(f"{len(fields['ordinal'])} places in `ordinal` for {len(options)} options")
    answers: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for name, given in dict(fields["groups"]).items():
        attribute, named, group = name.partition(":")
        if not named:
            answers[EVERYBODY][name] = given
        elif group != NO_GROUP:
            answers[ATTRIBUTES.get(attribute, attribute)][group] = given
    return OpinionItem(
        id=fields["id"],
        category=fields["survey"],
        key=fields["key"],
        question=fields["question"],
        choices=(*options, *refusals),
        ordinals=fields["ordinal"],
        answers=dict(answers),
        chat=chat,
    )
