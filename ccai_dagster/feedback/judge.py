"""What a feedback model says about two responses under a principle (Bai et al. 2022, section 4.1).

It judges in one of these ways:

- `letters`: it chooses between (A) and (B), in both orders; the judgement is the mean of the two normalised
  probabilities, so that a liking for one letter cancels out.
- `letters_few_shot`: the same after a few answered examples, as published; they are read once for all questions.
- `reasoned_letters`: it first thinks aloud in a turn of its own, in each order, and then chooses. What it says of
  itself is mostly certain, so these judgements, and only these, are held within bounds.
- `contrast`: how much likelier each response becomes under a system turn that states the principle than
  under one that states its opposite, in log-likelihood a token; the difference of the two is mapped by a
  logistic.
- `likeness`: no language model is asked; the response whose sentence embedding is more like that of the principle is
  preferred (cosine), the difference mapped by a logistic. It hears manner and topic, not right and wrong, and no
  negation.
- `tuned`: a model tuned on comparisons that people labelled scores one response at a time under the principle; the
  difference of two scores is mapped by a logistic. Half of the labelled comparisons tunes it (`training.tuned_judge`),
  the other half measures it.
- `words`: the same without a language model, by the words of the response alone (`words`). It never sees the principle.
- `rules`: a rule whose taste is known scores the response (`rules`), for the positive control.

The questions have the parts that were published (conversation, principle, two lettered options, the beginning of the
answer), in words of this project. They are equal in every arm but for the principle. How often each way is right is
measured in `calibration`; training data are made of judgements in `preference_pairs`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, assert_never, cast, get_args

import numpy as np
import polars as pl

from ccai_dagster.consultation.settings import ReasoningSettings
from ccai_dagster.core.draws import uniform
from ccai_dagster.core.errors import ConsultationError, Progress, silent
from ccai_dagster.decisions.values import FeedbackMethod
from ccai_dagster.feedback.language_model import (
    LanguageModel,
    ScoringModel,
    Turn,
    asked_together,
    nats_a_token,
    texts_of,
)
from ccai_dagster.feedback.prompts import same_words

TEMPLATE_VERSION = "2"
"""Raised when words or examples below change; belongs into the code version of labels and measurements."""
TUNED_TEMPLATE_VERSION = "1"
"""Raised when the words of `scored_prompt` change; belongs into the code version of what is tuned and measured."""
TUNED_SHARE = 0.5

METHODS: tuple[FeedbackMethod, ...] = get_args(FeedbackMethod)
Judge = LanguageModel | ScoringModel
"""Who is asked: by `SCORING_METHODS`, `words` and `rules` what scores, by every other method a language model."""

ANSWER_MASS_FLOOR = 0.05
"""Least probability the two letters must have together, in each order, for the answer to count.

Below it the model is about to say something else, and the ratio of the two letters means nothing.
"""
CONTRAST_SCALE = 0.1
"""Difference of mean log-likelihoods, in nats a token, at which `contrast` gives odds of e to 1."""
LIKENESS_SCALE = 0.05
"""Difference of cosines at which `likeness` gives odds of e to 1."""
REASONING = ReasoningSettings()
_CHUNK = 256
_PRINCIPLE_BEGINS, _PRINCIPLE_ENDS = "\n\n(The response should follow this rule: ", ")"

LETTERS = ("A", "B")
ANSWER_BEGINNING = "The better response is ("
REASONING_REQUEST = (
    "Don't answer yet. Think step by step: say in a few sentences what the rule asks for, and how each response "
    "keeps to it or breaks it."
)
CONCLUSION_REQUEST = "Which response follows the rule better, (A) or (B)?"


@dataclass(frozen=True)
class Question:
    """Two responses to one prompt, to be compared under one principle."""

    prompt: str
    response_a: str
    response_b: str
    principle: str


@dataclass(frozen=True)
class Judgement:
    """What the feedback model made of a comparison; all values in [0, 1].

    Attributes:
        probability: That response a is the better one; `None` if the answer was unusable.
        forward: The same, asked with response a first; `None` for a method that shows no order.
        reversed: The same, asked with response a second; `None` as for `forward`.
        answer_mass: Probability of the two letters together, mean of both orders; `None` for a method that asks
            for none.
        forward_reasoning: What the model thought before it answered with response a first, if it was asked to.
        reversed_reasoning: The same with response a second.
        clamped: Whether the probability lay beyond the bounds and was moved to the nearest.
    """

    probability: float | None
    forward: float | None = None
    reversed: float | None = None
    answer_mass: float | None = None
    forward_reasoning: str | None = None
    reversed_reasoning: str | None = None
    clamped: bool = False


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


def judge_comparisons(
    judge: Judge,
    comparisons: Sequence[Question],
    method: FeedbackMethod,
    progress: Progress = silent,
    reasoning: ReasoningSettings = REASONING,
) -> list[Judgement]:
    """Ask the feedback model about each comparison.

    Args:
        judge: The feedback model.
        comparisons: Any number; order does not matter to the answers.
        method: How it is asked.
        progress: Counts comparisons that are judged.
        reasoning: How long it may think and what bounds its judgements then have; for `reasoned_letters`.

    Returns:
        One judgement a comparison, in order.

    Raises:
        ConsultationError: An unknown method, or a question beyond the judge's context.
    """
    if method not in METHODS:
        raise ConsultationError(
            f"There is no feedback method {method!r}; decisions/training.csv must say one of {', '.join(METHODS)}."
        )
    judgements: list[Judgement] = []
    for chunk in asked_together(judge, comparisons, _CHUNK):
        judgements += _asked(judge, chunk, method, reasoning)
        progress("comparisons judged", len(judgements), len(comparisons))
    return judgements


def on_tuning_side(prompt: str, seed: int) -> bool:
    """Tell whether comparisons of this prompt tune the judge; those of all others measure it.

    It depends on the words of the prompt alone, whatever their case and spacing, so that no prompt is on
    both sides, not even in two sets.
    """
    return uniform(seed, "tuned judge", same_words(prompt)) < TUNED_SHARE


def halves(
    comparisons: Mapping[str, pl.DataFrame], seed: int
) -> tuple[dict[str, pl.DataFrame], dict[str, pl.DataFrame]]:
    """Split labelled comparisons into those that tune the judge and those that measure it.

    Args:
        comparisons: HELPFULNESS_PAIRS by name.
        seed: Of the split.

    Returns:
        Both halves of every set, by name.

    Raises:
        ConsultationError: All prompts of a set fall on one side.
    """
    tuning, measuring = {}, {}
    for name, table in comparisons.items():
        side = pl.Series([on_tuning_side(prompt, seed) for prompt in table["prompt"]], dtype=pl.Boolean)
        tuning[name], measuring[name] = table.filter(side), table.filter(~side)
        if tuning[name].is_empty() or measuring[name].is_empty():
            raise ConsultationError(
                f"Comparisons {name!r}: its {table.height} comparisons cannot be split by prompt into one half that "
                "tunes the judge and one that measures it. Add comparisons with other prompts."
            )
    return tuning, measuring


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
            ("user", letters_question(example.prompt, example.principle, example.first, example.second)),
            ("assistant", f"{ANSWER_BEGINNING}{example.better})."),
        )
    ]


def stated(principle: str) -> str:
    """Return a system turn that states the principle."""
    return f"You always follow this rule: {principle}"


def opposed(principle: str) -> str:
    """Return a system turn that states the opposite of the principle."""
    return f"You always do the opposite of this rule: {principle}"


def _comparison(prompt: str, principle: str, first: str, second: str) -> str:
    return (
        f"A user wrote to an assistant:\n{prompt}\n\n"
        f"The assistant should follow this rule: {principle}\n\n"
        f"Two responses were written:\n(A) {first}\n(B) {second}"
    )


def scored_prompt(prompt: str, principle: str) -> str:
    """Return what the tuned judge sees before a response: the prompt, and the principle to score it under."""
    return f"{prompt}{_PRINCIPLE_BEGINS}{principle}{_PRINCIPLE_ENDS}"


def principle_of(scored: str) -> tuple[str, str]:
    """Return the prompt and the principle that `scored_prompt` put together."""
    prompt, _, principle = scored.rpartition(_PRINCIPLE_BEGINS)
    return prompt, principle.removesuffix(_PRINCIPLE_ENDS)


def _asked(
    judge: Judge, comparisons: Sequence[Question], method: FeedbackMethod, reasoning: ReasoningSettings
) -> list[Judgement]:
    if method == "likeness":
        return _by_scores(cast(ScoringModel, judge), comparisons, [pair.principle for pair in comparisons])
    if method == "words":
        return _by_scores(cast(ScoringModel, judge), comparisons, [pair.prompt for pair in comparisons])
    if method == "tuned" or method == "rules":
        prompts = [scored_prompt(pair.prompt, pair.principle) for pair in comparisons]
        return _by_scores(cast(ScoringModel, judge), comparisons, prompts)
    model = cast(LanguageModel, judge)
    if method == "contrast":
        return _by_contrast(model, comparisons)
    if method == "reasoned_letters":
        return _by_reasoned_letters(model, comparisons, reasoning)
    if method != "letters" and method != "letters_few_shot":
        assert_never(method)
    examples = example_turns() if method == "letters_few_shot" else []
    return _chosen(model, [[*examples, ("user", letters_question(*each))] for each in _both_orders(comparisons)])


def _both_orders(comparisons: Sequence[Question]) -> list[tuple[str, str, str, str]]:
    """Prompt, principle and responses, with response a first and then with response a second."""
    return [
        (pair.prompt, pair.principle, first, second)
        for pair in comparisons
        for first, second in ((pair.response_a, pair.response_b), (pair.response_b, pair.response_a))
    ]


def _chosen(judge: LanguageModel, conversations: Sequence[Sequence[Turn]]) -> list[Judgement]:
    """One judgement for every two conversations, which ask for a letter in either order."""
    answers = judge.choice_log_probabilities(conversations, LETTERS, prefix=ANSWER_BEGINNING)
    return [letters_judgement(answers[at], answers[at + 1]) for at in range(0, len(conversations), 2)]


def _by_reasoned_letters(
    judge: LanguageModel, comparisons: Sequence[Question], settings: ReasoningSettings
) -> list[Judgement]:
    questions: list[list[Turn]] = [[("user", reasoning_question(*each))] for each in _both_orders(comparisons)]
    # Without sampling, so that a label does not depend on chance or on what else is asked.
    thoughts = texts_of(judge.generate(questions, new_tokens=settings.new_tokens, temperature=0.0, seed=0))
    concluding: list[list[Turn]] = [
        [*question, ("assistant", thought), ("user", CONCLUSION_REQUEST)]
        for question, thought in zip(questions, thoughts, strict=True)
    ]
    return [
        reasoned_judgement(judgement, forward, backward, settings)
        for judgement, forward, backward in zip(_chosen(judge, concluding), thoughts[::2], thoughts[1::2], strict=True)
    ]


def reasoned_judgement(judgement: Judgement, forward: str, backward: str, settings: ReasoningSettings) -> Judgement:
    """Keep the reasoning with a judgement, and hold its probability within the bounds.

    The probabilities of either order stay as they were given (Bai et al. 2022, section 4.1, clamp the label).

    Args:
        judgement: As `letters_judgement` returns it.
        forward: What was thought with response a first.
        backward: What was thought with response a second.
        settings: The bounds.

    Returns:
        The judgement; without a probability if in some order nothing was thought.
    """
    reasoned = replace(judgement, forward_reasoning=forward, reversed_reasoning=backward)
    if judgement.probability is None:
        return reasoned
    if not (forward and backward):
        return replace(reasoned, probability=None)
    held = min(max(judgement.probability, settings.least_probability), settings.most_probability)
    return replace(reasoned, probability=held, clamped=held != judgement.probability)


def letters_judgement(forward: np.ndarray, backward: np.ndarray) -> Judgement:
    """Combine the answers in both orders.

    Args:
        forward: Natural-log probabilities of (A) and (B) with response a first, shape (2,).
        backward: The same with response a second.

    Returns:
        The judgement; without probabilities if an answer is not a number or its mass is below the floor.
    """
    masses = np.array([np.exp(answer).sum() for answer in (forward, backward)])
    if not np.isfinite(masses).all():
        return Judgement(None)
    mass = float(np.clip(masses.mean(), 0.0, 1.0))
    if (masses < ANSWER_MASS_FLOOR).any():
        return Judgement(None, answer_mass=mass)
    first = float(np.exp(forward[0]) / masses[0])
    second = float(np.exp(backward[1]) / masses[1])
    return Judgement((first + second) / 2, first, second, mass)


def _by_scores(judge: ScoringModel, comparisons: Sequence[Question], shown: Sequence[str]) -> list[Judgement]:
    """Judge by scores of both responses, each beside what is shown to the judge of its comparison."""
    scores = judge.scores(
        [
            (text, response)
            for text, pair in zip(shown, comparisons, strict=True)
            for response in (pair.response_a, pair.response_b)
        ]
    )
    return [scored_judgement(*pair) for pair in scores.reshape(-1, 2)]


def scored_judgement(score_a: float, score_b: float) -> Judgement:
    """Map two scores to a judgement; without a probability if one is not finite."""
    if not np.isfinite([score_a, score_b]).all():
        return Judgement(None)
    return Judgement(_logistic(score_a - score_b))


def _logistic(margin: float) -> float:
    return float(1 / (1 + np.exp(-np.clip(margin, -500, 500))))


def _by_contrast(judge: LanguageModel, comparisons: Sequence[Question]) -> list[Judgement]:
    conversations: list[list[Turn]] = []
    responses: list[str] = []
    for pair in comparisons:
        for response in (pair.response_a, pair.response_b):
            for system in (stated(pair.principle), opposed(pair.principle)):
                conversations.append([("system", system), ("user", pair.prompt)])
                responses.append(response)
    means = nats_a_token(judge.log_likelihoods(conversations, responses))
    return [contrast_judgement(mean) for mean in means.reshape(-1, 2, 2)]


def contrast_judgement(means: np.ndarray) -> Judgement:
    """Map mean log-likelihoods to a judgement.

    Args:
        means: Nats a token; rows are response a and b, columns the principle stated and opposed.

    Returns:
        The judgement; without a probability if a value is not finite (an empty response).
    """
    if not np.isfinite(means).all():
        return Judgement(None)
    gain = means[:, 0] - means[:, 1]
    return Judgement(_logistic((gain[0] - gain[1]) / CONTRAST_SCALE))
