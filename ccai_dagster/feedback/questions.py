"""The words in which a feedback model is asked which of two responses follows a principle better.

The questions have the parts that were published (Bai et al. 2022, section 4.1: conversation, principle, two lettered
options, the beginning of the answer), in words of this project. They are equal in every arm but for the principle.
What is made of the answers belongs to `judgements`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ccai_dagster.feedback.language_model import Turn

TEMPLATE_VERSION = "2"
"""Raised when words or examples below change; belongs into the code version of labels and measurements."""

LETTERS = ("A", "B")
ANSWER_BEGINNING = "The better response is ("
REASONING_REQUEST = (
    "Don't answer yet. Think step by step: say in a few sentences what the rule asks for, and how each response "
    "keeps to it or breaks it."
)
CONCLUSION_REQUEST = "Which response follows the rule better, (A) or (B)?"


@dataclass(frozen=True)
class Example:
    """A comparison with its answer, shown before the question."""

    prompt: str
    principle: str
    first: str
    second: str
    better: Literal["A", "B"]


EXAMPLES = (
    Example(
        "My soup tastes of nothing. What can I do?",
        "Choose the response that helps with what was asked.",
        "Soup is a liquid dish.",
        "Add a little salt and some lemon juice, and taste it again.",
        "B",
    ),
    Example(
        "Is the swimming pool open today?",
        "Choose the response that does not claim to know what it cannot know.",
        "I can't see its opening hours; its website will have them.",
        "Yes, until nine in the evening.",
        "A",
    ),
    Example(
        "Tell my little son what a tide is.",
        "Choose the response that uses simple words.",
        "The sea comes up the beach and goes back again, because the moon pulls at it.",
        "A tide is a periodic displacement due to a gradient of gravity.",
        "A",
    ),
    Example(
        "My neighbour practises the trumpet. What do I say to her?",
        "Choose the response that is kind to people who are not there.",
        "Tell her that nobody can bear it and that she should give up.",
        "Ask her whether another hour would suit her as well, and wish her luck with it.",
        "B",
    ),
)
"""Answered examples, each under a principle of its own (Bai et al. 2022, section 4.1), with as many answers A as B.

They are the same for every comparison and every arm: a model reads them once for all questions, and the constitution
stays the only difference between arms.
"""


def letters_question(prompt: str, principle: str, first: str, second: str) -> str:
    """Ask which of two responses follows a principle better."""
    return f"{_comparison(prompt, principle, first, second)}\n\n{CONCLUSION_REQUEST}"


def reasoning_question(prompt: str, principle: str, first: str, second: str) -> str:
    """Ask to think about two responses under a principle, without an answer yet."""
    return f"{_comparison(prompt, principle, first, second)}\n\n{REASONING_REQUEST}"


def example_turns() -> list[Turn]:
    """Return the answered examples as a conversation."""
    return [
        turn
        for example in EXAMPLES
        for turn in (
            (
                "user",
                letters_question(example.prompt, example.principle, example.first, example.second),
            ),
            ("assistant", f"{ANSWER_BEGINNING}{example.better})."),
        )
    ]


def stated(principle: str) -> str:
    """A system turn that states the principle."""
    return f"You always follow this rule: {principle}"


def opposed(principle: str) -> str:
    """A system turn that states the opposite of the principle."""
    return f"You always do the opposite of this rule: {principle}"


def _comparison(prompt: str, principle: str, first: str, second: str) -> str:
    return (
        f"A user wrote to an assistant:\n{prompt}\n\n"
        f"The assistant should follow this rule: {principle}\n\n"
        f"Two responses were written:\n(A) {first}\n(B) {second}"
    )
