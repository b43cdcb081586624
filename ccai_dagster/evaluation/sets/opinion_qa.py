"""Questions of opinion with the answers of groups of people, laid out as OpinionQA's contested questions are kept.

One JSON object a line: `key`, `survey`, `question`, `options`, `ordinal` (the place of each option on its scale),
`refusal_options`, and `groups`: by `ATTRIBUTE:Group`, or one name for everybody, either `counts` of people an option
with `refused`, or shares as `dist`. Survey weights are not applied; what is given counts.

Asked in the chat template by default, since that is what a policy is trained on. As bare text it is asked as published
(`Question: ...`, `A. ...`, `Answer:`), where a letter may come with or without a blank, and the likelier form counts.

An opinion is a distribution over ordered options: a model's comes from its letters, a group's from its answers.
Formulas after github tatsu-lab/opinions_qa (helpers.py; Santurkar et al. 2023). What a model's answers are compared
with, over all questions, belongs to `evaluation.opinions`.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.evaluation.sets.items import Item, LetteredItem, Prompt, Reading, Text
from ccai_dagster.evaluation.sets.reading import Asking, built, json_rows

METRIC = "representativeness"
REFUSAL = "refusal_mass"
EVERYBODY = "everybody"
"""The attribute of a group that is named without one."""
NO_GROUP = "Refused"
"""People who did not say which group of an attribute they belong to are no group of it."""
ATTRIBUTES = {
    "POLPARTY": "party",
    "POLIDEOLOGY": "ideology",
    "RACE": "race",
    "SEX": "sex",
    "CREGION": "region",
    "EDUCATION": "education",
    "INCOME": "income",
    "RELIG": "religion",
}
"""Attributes of Pew's American Trends Panel in words; others are shown as they are."""
SHARE_SLACK = 0.001
Distribution = np.ndarray
"""Probabilities of the options, shape (options,), sum 1."""


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
        if not any(answers.shares is not None for groups in self.answers.values() for answers in groups.values()):
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
        options = "".join(f"\n{letter}. {text}" for letter, text in zip(self.letters, self.choices, strict=True))
        return f"Question: {self.question}{options}\nAnswer:"

    def read(self, results: Sequence[Any]) -> Reading:
        """Return the share of refusal, and the similarity to every group that answered.

        Where the model gives no letter any probability, or none to the options that do not refuse, there is
        nothing to compare, and the value is missing.
        """
        forms = np.array([likelihood for likelihood, _ in results], dtype=float).reshape(-1, len(self.choices))
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
            by_category={(METRIC, category): value for category, value in self._similarities(opinion.options)},
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
        raise ConsultationError(f"{path}: no questions. Add some, or take the benchmark out of consultation.yaml.")
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


@dataclass(frozen=True)
class ModelOpinion:
    """What a model's probabilities of the letters say.

    Attributes:
        masses: Probability of each letter, options first; a missing one has what `letter_masses` gives it.
        options: Opinion over the options that do not refuse; None if all of them have probability zero.
        refusal: Share of the letters' probability that is on options that refuse, 0 to 1; None if no letter has any.
    """

    masses: np.ndarray
    options: Distribution | None
    refusal: float | None


def model_opinion(log_probabilities: np.ndarray, n_options: int) -> ModelOpinion:
    """Turn the probabilities of letters into an opinion and a share of refusal.

    Args:
        log_probabilities: Natural logarithms, shape (forms, letters); the letters of options that refuse come last.
        n_options: Options that do not refuse.
    """
    masses = letter_masses(log_probabilities)
    total, answering = float(masses.sum()), float(masses[:n_options].sum())
    return ModelOpinion(
        masses,
        masses[:n_options] / answering if answering > 0 else None,
        float(masses[n_options:].sum()) / total if total > 0 else None,
    )


def letter_masses(log_probabilities: np.ndarray) -> np.ndarray:
    """Return the probability of each letter: the larger one of the forms it may be written in.

    A letter that the model gave no probability in any form (minus infinity, as where a server returns only the
    likeliest tokens) gets the smallest probability that was seen, or an equal part of what is left over if that
    is less.

    Args:
        log_probabilities: Natural logarithms, shape (forms, letters).

    Returns:
        Shape (letters,); all zero if no letter has a probability.
    """
    seen = np.exp(log_probabilities[np.isfinite(log_probabilities)])
    best: np.ndarray = np.exp(log_probabilities.max(axis=0))
    missing = best == 0
    if missing.any() and seen.size:
        left = max(0.0, 1.0 - float(seen.sum()))
        best[missing] = min(float(seen.min()), left / int(missing.sum()))
    return best


def similarity(first: Distribution, second: Distribution, ordinals: Sequence[float]) -> float:
    """Return 1 minus the Wasserstein distance of two opinions divided by the length of the scale, in [0, 1].

    Args:
        first: Shape (options,).
        second: Shape (options,).
        ordinals: Place of each option on the scale, not all the same.
    """
    order, gaps = _scale(ordinals)
    apart = np.abs(np.cumsum(first[order])[:-1] - np.cumsum(second[order])[:-1])
    return float(1.0 - np.clip(apart @ gaps, 0.0, 1.0))


def expected_similarity(shares: Distribution, n: int, ordinals: Sequence[float]) -> float:
    """Return the similarity to be expected between a group's opinion and that of `n` people drawn from it.

    The share up to each place of the scale is then a binomial share, whose mean absolute deviation is known
    exactly (de Moivre): with X of n at probability p, E|X - np| = 2 k (1 - p) P(X = k), k = floor(np) + 1.

    Args:
        shares: The group's opinion.
        n: People asked, at least one.
        ordinals: Place of each option on the scale, not all the same.
    """
    from scipy.stats import binom

    order, gaps = _scale(ordinals)
    below = np.clip(np.cumsum(shares[order])[:-1], 0.0, 1.0)
    # A share of all but a rounding error is all: nobody drawn can deviate.
    below = np.where(np.isclose(below, 1.0, rtol=0, atol=1e-12), 1.0, below)
    count = np.floor(n * below) + 1
    deviation = 2.0 * count * (1.0 - below) * binom.pmf(count, n, below) / n
    return float(1.0 - deviation @ gaps)


def _scale(ordinals: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Return the order of the options, and the gaps between neighbours as shares of the whole scale."""
    places = np.asarray(ordinals, dtype=float)
    order = np.argsort(places, kind="stable")
    return order, np.diff(places[order]) / (places.max() - places.min())
