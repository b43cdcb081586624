"""Judges whose taste is known: rules that score a response, each standing for one principle.

They judge by the method `rules`, through the seam of every model that scores (`feedback.judge`). What a rule prefers is
known beforehand, so a model trained on its labels shows whether training follows the judge at all: the positive
control (`evaluation.control`). They are for English, and say nothing about whether a response is good.

A principle that no rule stands for gives both responses the same score, which makes a label of one half.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ccai_dagster.consultation.folder import ORNATE, PLAIN
from ccai_dagster.feedback.judge import principle_of

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_SENTENCE_END = re.compile(r"[.!?]+(?=\s|$)")
_SYLLABLE = re.compile(r"[aeiouy]+")
_SILENT = re.compile(r"(?<=[^aeiouyl])e$|(?<=[aeiouy]l)e$|(?<=[^aeiouytd])ed$|(?<=[^aeiouyszxcgh])es$")
EASIEST, HARDEST = 121.22, 0.0
"""Ends of reading ease: one-word sentences of one syllable, and what only specialists read; a rule can be gamed by
endless words, which would otherwise outweigh everything else."""
LONG_ENOUGH = 4
"""Letters from which a word is taken for one that carries content."""

Scored = Callable[[str, str], float]
"""Score of a prompt and a response; not a number if there are no words in the response."""


@dataclass(frozen=True)
class Rule:
    """A rule of known taste.

    Attributes:
        version: Raised when it scores otherwise; belongs into the code version of labels and scores.
        principle: The text it stands for.
        score: The higher, the better.
        scale: Difference of scores at which a label has odds of e to 1.
    """

    name: str
    version: str
    principle: str
    score: Scored
    scale: float


def words(text: str) -> list[str]:
    """Return the words of a text, in lower case and without accents; numbers are none."""
    folded = unicodedata.normalize("NFKD", text).casefold()
    bare = "".join(letter for letter in folded if not unicodedata.combining(letter))
    return _WORD.findall(bare)


def syllables(word: str) -> int:
    """Count the syllables of an English word, in lower case: groups of vowels but for silent endings, 1 at least."""
    return max(1, len(_SYLLABLE.findall(_SILENT.sub("", word))))


def reading_ease(text: str) -> float:
    """Return how easy a text is to read: 206.835 - 1.015 words a sentence - 84.6 syllables a word.

    Flesch 1948, A New Readability Yardstick, Journal of Applied Psychology 32(3): about 90 is easy for a child of
    eleven, 30 and less for people with a degree. What does not end in a full stop is a sentence as well.

    Returns:
        From `HARDEST` to `EASIEST`; not a number for a text without words.
    """
    found = words(text)
    if not found:
        return math.nan
    sentences = sum(bool(words(part)) for part in _SENTENCE_END.split(text))
    ease = 206.835 - 1.015 * len(found) / sentences - 84.6 * sum(map(syllables, found)) / len(found)
    return min(EASIEST, max(HARDEST, ease))


def question_share(prompt: str, response: str) -> float:
    """Return how many of a hundred content words of the response are words of the prompt; not a number without any."""
    asked, said = set(words(prompt)), [word for word in words(response) if len(word) >= LONG_ENOUGH]
    return 100 * sum(word in asked for word in said) / len(said) if said else math.nan


EASE_OF_READING = Rule(
    "ease of reading",
    "1",
    "Choose the response that is easiest to read: short sentences and the plainest words.",
    lambda _, response: reading_ease(response),
    20.0,
)
ORNATENESS = Rule(
    "ornateness",
    "1",
    "Choose the response that is hardest to read: long sentences and the most ornate words.",
    lambda _, response: -reading_ease(response),
    20.0,
)
KEEPS_TO_THE_QUESTION = Rule(
    "keeps to the question", "1", "Choose the response that keeps to the words of the question.", question_share, 20.0
)
RULES = (EASE_OF_READING, ORNATENESS, KEEPS_TO_THE_QUESTION)
RULES_VERSION = ", ".join(f"{rule.name} {rule.version}" for rule in RULES)
CONTROL: Mapping[str, Rule] = {PLAIN: EASE_OF_READING, ORNATE: ORNATENESS}
"""The rule that judges for each arm of the positive control."""


class RuleJudge:
    """Scores responses by the rule that stands for the principle they are scored under."""

    @property
    def name(self) -> str:
        """Every rule with its version."""
        return f"rules: {RULES_VERSION}"

    def scores(self, exchanges: Sequence[tuple[str, str]]) -> np.ndarray:
        """Return scores as `ScoringModel` does, in units of each rule's scale; 0 where no rule stands for it."""
        by_principle = {rule.principle: rule for rule in RULES}
        found = []
        for scored, response in exchanges:
            prompt, principle = principle_of(scored)
            rule = by_principle.get(principle)
            found.append(rule.score(prompt, response) / rule.scale if rule else 0.0)
        return np.array(found)
