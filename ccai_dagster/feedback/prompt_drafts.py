"""Drafts of prompts for principles that too few prompts are relevant to.

A draft is made by a template from the principle's words, or written by a language model. It is nothing but a
suggestion: a person accepts it or does not (`prompt_files`). How many prompts a principle has is counted in
`prompt_coverage`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import polars as pl

from ccai_dagster.core.text import FORMULA, printable
from ccai_dagster.digest import text_digest
from ccai_dagster.errors import ConsultationError
from ccai_dagster.feedback.draws import derived_seed
from ccai_dagster.feedback.language_model import LanguageModel, Turn
from ccai_dagster.feedback.prompt_coverage import TRAINING_PURPOSES
from ccai_dagster.feedback.prompts import carries_theme

VERSION = "1"
"""Raised when a template or the request below changes its words."""

TEMPLATES = (
    "I have a question about {words}, and I don't know whom else to ask. What would you tell me?",
    "A friend and I argued over {words}. Which of us do you think is right?",
    "Help me write a short message to my family. It has to do with {words}.",
    "Somebody keeps pushing me because of {words}. What should I do now?",
)
WORDS = 3
"""Words of the principle that a template takes up."""

REQUEST = (
    "An assistant that anybody in town may write to follows this principle: {principle}\n"
    "Write one message from a member of the public for which this principle matters. Write only the message."
)
NEW_TOKENS = 48
LONGEST = 400
"""Characters of a draft; what a model writes beyond them is cut off."""

_COMMON = frozenset(
    {
        "answer", "answers", "appear", "appears", "asks", "assistant", "assistants", "avoid", "avoids",
        "best", "better", "chatbot", "choose", "compare", "desire", "easily", "fewer", "fewest", "give",
        "gives", "imply", "implying", "indicate", "indicates", "intended", "least", "less", "like",
        "likely", "make", "makes", "model", "more", "most", "much", "please", "possible", "provide",
        "provides", "question", "regardless", "response", "responses", "should", "suggest", "suggests",
        "terms", "that", "user", "users", "viewed", "which", "whether",
    }
)  # fmt: skip
"""Words that most principles have in common and that say nothing about one."""


@dataclass(frozen=True)
class Wanted:
    """A prompt that is missing.

    Attributes:
        principle: `arm/principle_id`.
        text: The principle.
        purpose: What the prompt is to be used for.
        prompt_id: The id it would have.
        themes: Themes that the principle carries, or the principle itself if it carries none.
    """

    principle: str
    text: str
    purpose: str
    prompt_id: str
    themes: tuple[str, ...]


@dataclass(frozen=True)
class Draft:
    """A drafted prompt.

    Attributes:
        wanted: What it is for.
        text: What the user would say, on one line.
        drafted_by: Template and version, or digest of the language model.
    """

    wanted: Wanted
    text: str
    drafted_by: str

    @property
    def digest(self) -> str:
        """Digest of the text, by which a later change is noticed."""
        return text_digest(self.text)


def wanted_prompts(
    coverage: pl.DataFrame,
    minimum: int,
    waiting: Collection[str],
    taken: Collection[str],
    themes: Mapping[str, tuple[str, ...]],
    named: Collection[str] = (),
) -> list[Wanted]:
    """Tell which prompts are missing.

    A principle below the minimum gets as many as it lacks, less the drafts that wait already; each is for the
    training purpose that has fewest so far. A principle that is named gets at least one, covered or not.

    Args:
        coverage: PROMPT_COVERAGE.
        minimum: Fewest prompts for training.
        waiting: `arm/principle_id` of every draft that waits, once a draft.
        taken: Ids of prompts and of drafts.
        themes: Words of each theme.
        named: Principles to draft for, `arm/principle_id`, or only the id if one arm has it; all if empty.

    Returns:
        What is missing, by arm and principle.

    Raises:
        ConsultationError: A named principle does not exist, or several arms have it.
    """
    chosen = _resolved(named, coverage)
    used, missing = set(taken), []
    for row in coverage.iter_rows(named=True):
        principle = f"{row['arm']}/{row['principle_id']}"
        if named and principle not in chosen:
            continue
        lacking = minimum - row["training"] - list(waiting).count(principle)
        have = {purpose: row[purpose] for purpose in TRAINING_PURPOSES}
        own = tuple(theme for theme, words in themes.items() if carries_theme(row["text"], words))
        for _ in range(max(lacking, 1 if named else 0)):
            purpose = min(TRAINING_PURPOSES, key=lambda each: have[each])
            have[purpose] += 1
            prompt_id = next(_new_ids(f"drafted-{row['arm']}-{row['principle_id']}", used))
            used.add(prompt_id)
            missing.append(Wanted(principle, row["text"], purpose, prompt_id, own or (principle,)))
    return missing


def draft_from_words(wanted: Wanted, seed: int) -> Draft | None:
    """Draft a prompt by a template from the principle's words; None if it has no word to go by.

    Which template is used depends on the seed and on the id.
    """
    words = telling_words(wanted.text)[:WORDS]
    if not words:
        return None
    number = derived_seed(seed, "prompt template", wanted.prompt_id) % len(TEMPLATES)
    listed = words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
    text = TEMPLATES[number].replace("{words}", listed)
    return Draft(wanted, text, f"template {number}, version {VERSION}")


def draft_with_model(model: LanguageModel, wanted: list[Wanted], seed: int) -> list[Draft | None]:
    """Let a language model write the prompts, in order; None where it wrote nothing that could be one.

    Of each response the first line is taken, without quotation marks around it. One that a spreadsheet would
    take for a formula is not.
    """
    asked: list[list[Turn]] = [[("user", REQUEST.replace("{principle}", each.text))] for each in wanted]
    responses = model.generate(
        asked,
        new_tokens=NEW_TOKENS,
        temperature=1.0,
        seed=derived_seed(seed, "prompt drafts", *(each.prompt_id for each in wanted)),
    )
    drafted_by = f"language model {model.name}, request version {VERSION}"
    drafts: list[Draft | None] = []
    for each, response in zip(wanted, responses, strict=True):
        first = next((line.strip(" \t\"“”'") for line in response.splitlines() if line.strip()), "")
        text = printable(first[:LONGEST])
        usable = bool(re.search(r"\w", text)) and not FORMULA.match(text)
        drafts.append(Draft(each, text, drafted_by) if usable else None)
    return drafts


def telling_words(text: str) -> list[str]:
    """Return the words of a principle that say what it is about, once each, in its order, in lower case."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    words = re.findall(r"[^\W\d_]{4,}", text.casefold())
    return [word for word in dict.fromkeys(words) if word not in ENGLISH_STOP_WORDS | _COMMON]


def _resolved(named: Collection[str], coverage: pl.DataFrame) -> set[str]:
    found = set()
    for name in named:
        own = [
            f"{arm}/{key}"
            for arm, key in coverage.select("arm", "principle_id").iter_rows()
            if name in (key, f"{arm}/{key}")
        ]
        if not own:
            raise ConsultationError(f"--principle {printable(name)}: no constitution has this principle.")
        if len(own) > 1:
            raise ConsultationError(f"--principle {printable(name)}: name one of {', '.join(own)}.")
        found.add(own[0])
    return found


def _new_ids(stem: str, taken: Collection[str]) -> Iterator[str]:
    number = 0
    while True:
        number += 1
        if f"{stem}-{number}" not in taken:
            yield f"{stem}-{number}"
