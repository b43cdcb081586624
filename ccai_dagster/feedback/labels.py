"""Soft preference labels from a feedback model (Bai et al. 2022, section 4.1).

A feedback model says which of two responses follows a principle better. It is asked in one of these ways:

- `letters`: it chooses between (A) and (B), in both orders; the label is the mean of the two normalised
  probabilities, so that a liking for one letter cancels out.
- `contrast`: how much likelier each response becomes under a system turn that states the principle than
  under one that states its opposite, in log-likelihood a token; the difference of the two is mapped by a
  logistic.
- `tuned`: a model tuned on comparisons that people labelled (`tuned_judge`) scores either response under the
  principle; the difference of the scores is mapped by a logistic.

How often each way is right is measured in `calibration`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import polars as pl

from ccai_dagster.contracts import PREFERENCE_PAIRS
from ccai_dagster.errors import ConsultationError
from ccai_dagster.feedback.draws import draw_principle
from ccai_dagster.feedback.language_model import LanguageModel, ScoringModel, Turn
from ccai_dagster.feedback.tuned_judge import scored_prompt
from ccai_dagster.progress import Progress, silent

Method = Literal["letters", "contrast", "tuned"]
METHODS: tuple[Method, ...] = ("letters", "contrast", "tuned")
Judge = LanguageModel | ScoringModel
"""Who is asked: by `tuned` a model that scores, by every other method a language model."""
TEMPLATE_VERSION = "1"
"""Raised when a question below changes its words; belongs into the code version of the labels."""

ANSWER_MASS_FLOOR = 0.05
"""Least probability the two letters must have together, in each order, for the answer to count.

Below it the model is about to say something else, and the ratio of the two letters means nothing.
"""
CONTRAST_SCALE = 0.1
"""Difference of mean log-likelihoods, in nats a token, at which `contrast` gives odds of e to 1."""

LETTERS = ("A", "B")
ANSWER_BEGINNING = "The better response is ("
_CHUNK = 256


@dataclass(frozen=True)
class Comparison:
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
        answer_mass: Probability of the two letters together, mean of both orders; `None` except for `letters`.
    """

    probability: float | None
    forward: float | None = None
    reversed: float | None = None
    answer_mass: float | None = None


def letters_question(prompt: str, principle: str, first: str, second: str) -> str:
    """Ask which of two responses follows a principle better."""
    return (
        f"A user wrote to an assistant:\n{prompt}\n\n"
        f"The assistant should follow this rule: {principle}\n\n"
        f"Two responses were written:\n(A) {first}\n(B) {second}\n\n"
        "Which response follows the rule better, (A) or (B)?"
    )


def stated(principle: str) -> str:
    """A system turn that states the principle."""
    return f"You always follow this rule: {principle}"


def opposed(principle: str) -> str:
    """A system turn that states the opposite of the principle."""
    return f"You always do the opposite of this rule: {principle}"


def judge_comparisons(
    judge: Judge, comparisons: Sequence[Comparison], method: Method, progress: Progress = silent
) -> list[Judgement]:
    """Ask the feedback model about each comparison.

    Args:
        judge: The feedback model.
        comparisons: Any number; order does not matter to the answers.
        method: One of `METHODS`.
        progress: Told how many comparisons are judged.

    Returns:
        One judgement a comparison, in order.

    Raises:
        ConsultationError: An unknown method, or a question beyond the judge's context.
    """
    if method not in METHODS:
        raise ConsultationError(
            f"There is no feedback method {method!r}; decisions/training.csv must say one of "
            f"{', '.join(METHODS)}."
        )
    judgements: list[Judgement] = []
    for start in range(0, len(comparisons), _CHUNK):
        judgements += _asked(judge, comparisons[start : start + _CHUNK], method)
        progress("comparisons judged", len(judgements), len(comparisons))
    return judgements


def label_pairs(
    judge: Judge,
    pairs: pl.DataFrame,
    constitution: pl.DataFrame,
    method: Method,
    judge_at_chance: bool,
    seed: int,
    progress: Progress = silent,
) -> pl.DataFrame:
    """Label pairs of responses under principles of one constitution.

    One principle is drawn for each pair, each with the same probability, by the pair's id. Identical
    responses are not shown to the judge: their label is one half.

    Args:
        judge: The feedback model.
        pairs: RESPONSE_PAIRS.
        constitution: CONSTITUTION of the arm.
        method: One of `METHODS`.
        judge_at_chance: Whether the judge, asked in this way, was not measured to be better than chance.
        seed: The consultation's seed.
        progress: Told how many pairs are judged.

    Returns:
        PREFERENCE_PAIRS, sorted by `pair_id`.

    Raises:
        ConsultationError: An empty constitution, an unknown method, or a question beyond the context.
    """
    if constitution.is_empty():
        raise ConsultationError("The constitution has no principles, so no pair can be judged under it.")
    rows = list(pairs.sort("pair_id").iter_rows(named=True))
    drawn = [draw_principle(constitution, seed, "label", row["pair_id"]) for row in rows]
    differ = [row["response_a"] != row["response_b"] for row in rows]
    judged = iter(
        judge_comparisons(
            judge,
            [
                Comparison(row["prompt"], row["response_a"], row["response_b"], principle["text"])
                for row, principle, different in zip(rows, drawn, differ, strict=True)
                if different
            ],
            method,
            progress,
        )
    )
    labelled = []
    for row, principle, different in zip(rows, drawn, differ, strict=True):
        judgement = next(judged) if different else Judgement(0.5)
        status = "identical" if not different else "labelled"
        labelled.append(
            {
                **{
                    name: row[name] for name in ("pair_id", "prompt_id", "prompt", "response_a", "response_b")
                },
                "principle_id": principle["principle_id"],
                "forward_probability": judgement.forward,
                "reversed_probability": judgement.reversed,
                "probability_a": judgement.probability,
                "answer_mass": judgement.answer_mass,
                "status": "unanswered" if judgement.probability is None else status,
                "method": method,
                "feedback_model": judge.name,
                "judge_at_chance": judge_at_chance,
            }
        )
    return PREFERENCE_PAIRS.build(labelled)


def _asked(judge: Judge, comparisons: Sequence[Comparison], method: Method) -> list[Judgement]:
    if method == "tuned":
        return _by_scores(cast(ScoringModel, judge), comparisons)
    ask = _by_letters if method == "letters" else _by_contrast
    return ask(cast(LanguageModel, judge), comparisons)


def _by_scores(judge: ScoringModel, comparisons: Sequence[Comparison]) -> list[Judgement]:
    scores = judge.scores(
        [
            (scored_prompt(pair.prompt, pair.principle), response)
            for pair in comparisons
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


def _by_letters(judge: LanguageModel, comparisons: Sequence[Comparison]) -> list[Judgement]:
    questions: list[list[Turn]] = [
        [("user", letters_question(pair.prompt, pair.principle, first, second))]
        for pair in comparisons
        for first, second in ((pair.response_a, pair.response_b), (pair.response_b, pair.response_a))
    ]
    answers = judge.choice_log_probabilities(questions, LETTERS, prefix=ANSWER_BEGINNING)
    return [letters_judgement(answers[2 * at], answers[2 * at + 1]) for at in range(len(comparisons))]


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


def _by_contrast(judge: LanguageModel, comparisons: Sequence[Comparison]) -> list[Judgement]:
    conversations: list[list[Turn]] = []
    responses: list[str] = []
    for pair in comparisons:
        for response in (pair.response_a, pair.response_b):
            for system in (stated(pair.principle), opposed(pair.principle)):
                conversations.append([("system", system), ("user", pair.prompt)])
                responses.append(response)
    scored = judge.log_likelihoods(conversations, responses)
    with np.errstate(divide="ignore", invalid="ignore"):
        means = (scored[:, 0] / scored[:, 1]).reshape(-1, 2, 2)
    return [contrast_judgement(mean) for mean in means]


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
