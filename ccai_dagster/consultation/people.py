"""What `consultation.yaml` says of the people who take part: how they are asked in the portal, and who they are.

Belongs here: questions to people and what is said to them. How answers are kept is known to `portal`, what follows from
them to `deliberation.representativeness`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints, field_validator, model_validator

from ccai_dagster.consultation.settings import Settings
from ccai_dagster.core.language import SOURCE

Answer = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
PORTAL_TEXTS = Path(__file__).parents[1] / "portal" / "locale"
"""Catalogues of the portal's own texts, a PO file for each language."""
TARGETS_ROUNDED = 0.01
"""How far shares of a public may be from 1 together, as published ones are rounded."""


def portal_languages() -> list[str]:
    """Return the languages in which the portal has its texts."""
    return [SOURCE, *sorted(path.stem for path in PORTAL_TEXTS.glob("*.po"))]


class ScreeningQuestion(Settings):
    """A question that decides whether somebody may take part; the answer is not kept."""

    question: str = Field(min_length=1, description="what is asked")
    answers: list[str] = Field(min_length=2, description="what may be answered")
    accepted: list[str] = Field(min_length=1, description="those of the answers with which one may take part")

    @model_validator(mode="after")
    def _among_answers(self) -> ScreeningQuestion:
        if unknown := [each for each in self.accepted if each not in self.answers]:
            raise ValueError(f"accepted: {unknown} is none of the answers {self.answers}")
        return self


class DemographicQuestion(Settings):
    """A question about the people who take part, which nobody has to answer, unless places are limited by it.

    `targets` says what share of the public each answer has, as a census or a panel's contract does; with them the
    table `sample_representativeness` tells who is missing, and weights stand for the difference.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=100, description="what the question is called in tables")
    question: str = Field(min_length=1, description="what is asked")
    answers: list[Answer] = Field(min_length=2, description="what may be answered")
    targets: dict[str, Annotated[float, Field(gt=0, lt=1)]] = Field(
        default_factory=dict, description="share of the public by answer: none, or one for each, 1 together"
    )

    @model_validator(mode="after")
    def _whole(self) -> DemographicQuestion:
        if len(set(self.answers)) < len(self.answers):
            raise ValueError("answers: one stands there twice")
        if self.targets and set(self.targets) != set(self.answers):
            raise ValueError(f"targets: name each of the answers {self.answers} and nothing else")
        if self.targets and abs(sum(self.targets.values()) - 1) > TARGETS_ROUNDED:
            raise ValueError(f"targets: they make {sum(self.targets.values()):g} together, not 1")
        return self


class PortalSettings(Settings):
    """What people are told and asked in the portal before they vote.

    `seed_statements` has a column `text`. They wait for a moderator like all others. With `places`, nobody is let in
    any more whose answer to a question with targets has its share of the places already, and these questions must be
    answered. `joins_a_day` is for one address; where many share one, as in a school, it must be larger.
    """

    introduction: str = Field("", description="who asks, what for, and what becomes of the votes; paragraphs of text")
    contact: str = Field("", description="whom to ask, as people may read it")
    screening: list[ScreeningQuestion] = Field(default_factory=list, description="questions before one takes part")
    seed_statements: str | None = Field(None, description="CSV of the statements that the organisers wrote")
    questions_and_answers: str | None = Field(None, description="Markdown file of questions that people may have")
    places: int | None = Field(None, ge=1, description="people wanted; null: any number, whoever they are")
    languages: list[str] = Field(
        default_factory=list,
        description="those of the interface that people choose from, the first for all others; none: the "
        "consultation's if there is one, else English",
    )
    opinion_map: bool = Field(False, description="whether people see where they stand among the opinion groups")
    joins_a_day: int = Field(200, ge=1, description="people who may begin from one address in a day")

    @field_validator("languages")
    @classmethod
    def _with_texts(cls, languages: list[str]) -> list[str]:
        if unknown := [each for each in languages if each not in portal_languages()]:
            raise ValueError(f"the portal has no texts in {unknown}, only in {portal_languages()}")
        return list(dict.fromkeys(languages))
