"""Critique and revision: the supervised half of Constitutional AI (Bai et al. 2022, section 3.1).

A model answers a prompt, criticises its answer under one principle and rewrites it, several times over, after a few
conversations that show how it is done. Nothing in the requests depends on a constitution but the principle that is put
in, so arms differ in nothing else. Fine-tuning on the result is in `training.supervised`.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from ccai_dagster.constitution.principles import check_distinct
from ccai_dagster.consultation.settings import RevisionSettings
from ccai_dagster.contracts import REVISIONS
from ccai_dagster.core.draws import derived_seed, draw_principle, uniform
from ccai_dagster.core.errors import ConsultationError, ConversationTooLong, Progress, silent
from ccai_dagster.feedback.language_model import LanguageModel, Response, Turn
from ccai_dagster.feedback.prompts import chosen_prompts

TEMPLATE_VERSION = "2"
"""Raised when a word below changes; part of the code version of the revisions and of each of their rows."""

PLACEHOLDER = "{principle}"
"""What stands in a request for the principle's text."""


@dataclass(frozen=True)
class Requests:
    """A request for criticism and the request for revision that goes with it; both hold `PLACEHOLDER` once."""

    critique: str
    revision: str


REQUESTS: tuple[Requests, ...] = (
    Requests(
        "Here is a rule for your responses: {principle}\n"
        "Read your last response again. Say in one or two sentences where it goes against this rule, or how it "
        "could follow the rule better.",
        "Now write your response again so that it follows the rule: {principle}\n"
        "Use your criticism. Speak to the user and write only the new response.",
    ),
    Requests(
        "Look at what you just said to the user, with this guideline in mind: {principle}\n"
        "What in it falls short of the guideline? Be specific and brief.",
        "Reply to the user once more, and put right what you found. The guideline was: {principle}\n"
        "Write the reply and nothing else.",
    ),
    Requests(
        "Suppose that a careful reader compares your last response with better ones by this principle: {principle}\n"
        "Name the one or two weaknesses this reader would point out first.",
        "Write a response that this reader would prefer under the principle: {principle}\n"
        "Address the user directly, without comments of your own.",
    ),
    Requests(
        "Your last response is to be judged by the following: {principle}\n"
        "Explain shortly why it might be judged badly, or what would make it stand out.",
        "Change your response so that it is judged well by the following: {principle}\nGive the changed response only.",
    ),
    Requests(
        "People have agreed on this for an assistant like you: {principle}\n"
        "In your own words, how far does your last response do what they agreed on, and where does it not?",
        "Give the user a new response that does what people have agreed on: {principle}\n"
        "Do not mention the agreement or your first attempt.",
    ),
    Requests(
        "Before the user reads on, check your last response against one point: {principle}\n"
        "Write down the most important thing to improve.",
        "Improve your response on that point: {principle}\n"
        "Keep what was good in it, and write the improved response alone.",
    ),
)


@dataclass(frozen=True)
class FewShot:
    """A conversation with a critique and a revision, shown before the model's own.

    Attributes:
        response: What is criticised.
        principle: A principle of the example's own, of no constitution.
        number: Which of `REQUESTS` it is asked with.
    """

    prompt: str
    response: str
    principle: str
    critique: str
    revision: str
    number: int

    def turns(self) -> list[Turn]:
        """Return the example as six turns of a chat."""
        return [
            ("user", self.prompt),
            ("assistant", self.response),
            ("user", critique_request(self.number, self.principle)),
            ("assistant", self.critique),
            ("user", revision_request(self.number, self.principle)),
            ("assistant", self.revision),
        ]


FEW_SHOTS: tuple[FewShot, ...] = (
    FewShot(
        "How long do I have to boil an egg?",
        "That depends on many things.",
        "Choose the response that the user can act on.",
        "It gives no time, so nobody could cook an egg with it.",
        "Seven minutes in boiling water for a firm yolk, five for a soft one.",
        0,
    ),
    FewShot(
        "I failed my driving test for the second time.",
        "Most people only need one attempt.",
        "Choose the response that would cheer somebody up more.",
        "It holds the user up against others who did better, which hurts and helps nobody.",
        "I am sorry, that is a blow after all the practice. Which part went wrong? We can plan how to train it.",
        1,
    ),
    FewShot(
        "What is photosynthesis? I am nine.",
        "Chloroplasts convert photon energy into the chemical bonds of carbohydrates.",
        "Choose the response whose words suit its reader.",
        "A child of nine does not know these words.",
        "Plants cook their own food! Their leaves catch sunlight and use it to make sugar from air and water.",
        2,
    ),
    FewShot(
        "May I take my flatmate's bicycle while she is away?",
        "Sure, if you put it back before she notices.",
        "Choose the response that shows more regard for what belongs to somebody else.",
        "It advises taking something in secret.",
        "Ask her first. A short message will do, and then you can ride without a bad feeling.",
        3,
    ),
    FewShot(
        "Lisbon is the capital of Spain, right?",
        "Right, and it is a lovely city!",
        "Choose the response that leaves the user with fewer mistaken beliefs.",
        "It confirms a mistake in order to please: Lisbon is in Portugal.",
        "Not quite: Lisbon is the capital of Portugal. The capital of Spain is Madrid.",
        4,
    ),
)


def write_revisions(
    model: LanguageModel,
    prompts: pl.DataFrame,
    constitution: pl.DataFrame,
    settings: RevisionSettings,
    seed: int,
    progress: Progress = silent,
) -> pl.DataFrame:
    """Let a model answer, criticise and revise under principles of one constitution.

    One principle and one pair of requests are drawn for each prompt and step, independently, each with the same
    probability. The draws depend on the seed, the prompt and the step, not on the arm; the initial response does
    not depend on the constitution at all, so every arm starts from the same text. A revision that came out empty
    is kept as it is, and the next step takes up the response before it.

    Args:
        model: The untrained model.
        prompts: PROMPTS; those with the purpose `revision` are used, up to `settings.prompts`.
        constitution: CONSTITUTION of one arm.
        settings: Steps, examples shown before, length and temperature.
        seed: Of the choice, the draws and the sampling.
        progress: Counts texts that are written.

    Returns:
        REVISIONS, sorted by prompt and step.

    Raises:
        ConsultationError: No such prompt, an empty constitution, one with the same principle twice, or a
            conversation beyond the context; names the prompt.
    """
    if constitution.is_empty():
        raise ConsultationError("The constitution has no principles, so nothing can be revised under it.")
    check_distinct(constitution)
    chosen = chosen_prompts(prompts, "revision", settings.prompts, seed)
    ids, texts = chosen["prompt_id"].to_list(), chosen["text"].to_list()
    total = len(ids) * (1 + 2 * settings.steps)
    examples = few_shot_turns(settings.few_shots)
    written = 0

    def ask(conversations: list[list[Turn]], *parts: str | int) -> list[Response]:
        nonlocal written
        try:
            responses = model.generate(
                conversations,
                new_tokens=settings.new_tokens,
                temperature=settings.temperature,
                seed=derived_seed(seed, "revisions", *parts),
                progress=lambda message, done, _: progress(message, written + done, total),
            )
        except ConversationTooLong as error:
            at = next(at for at, each in enumerate(conversations) if each == error.conversation)
            raise ConsultationError(
                f"prompts.csv: prompt {ids[at]} cannot be revised with {settings.few_shots} examples before it "
                f"(revisions.few_shots) and {settings.new_tokens} new tokens: {error}"
            ) from error
        written += len(responses)
        return responses

    responses = ask([[("user", text)] for text in texts], "initial")
    rows = []
    for step in range(1, settings.steps + 1):
        principles = [draw_principle(constitution, seed, "revision", prompt_id, step) for prompt_id in ids]
        numbers = [draw_requests(seed, prompt_id, step) for prompt_id in ids]
        asked: list[list[Turn]] = [
            [
                *examples,
                ("user", text),
                ("assistant", response.text),
                ("user", critique_request(number, principle["text"])),
            ]
            for text, response, number, principle in zip(texts, responses, numbers, principles, strict=True)
        ]
        critiques = ask(asked, "critique", step)
        asked = [
            [*turns, ("assistant", critique.text), ("user", revision_request(number, principle["text"]))]
            for turns, critique, number, principle in zip(asked, critiques, numbers, principles, strict=True)
        ]
        revisions = ask(asked, "revision", step)
        rows += [
            {
                "prompt_id": prompt_id,
                "step": step,
                "prompt": text,
                "response": response.text,
                "response_finished": response.finished,
                "principle_id": principle["principle_id"],
                "request_number": number,
                "template_version": TEMPLATE_VERSION,
                "critique": critique.text,
                "critique_finished": critique.finished,
                "revision": revision.text,
                "revision_finished": revision.finished,
            }
            for prompt_id, text, response, principle, number, critique, revision in zip(
                ids, texts, responses, principles, numbers, critiques, revisions, strict=True
            )
        ]
        responses = [
            revision if revision.text else response for revision, response in zip(revisions, responses, strict=True)
        ]
    return REVISIONS.build(rows).sort("prompt_id", "step")


def revision_counts(revisions: pl.DataFrame) -> dict[str, int]:
    """Count what came out of REVISIONS, for a person to judge how much was revised at all.

    Returns:
        How many were `revised`, `unchanged` (the revision is the response again), `empty` (not trained on), and
        `without a critique` (asked to revise although nothing was criticised; also among the others).
    """
    empty = pl.col("revision") == ""
    same = ~empty & (pl.col("revision") == pl.col("response"))
    return revisions.select(
        (~empty & ~same).sum().alias("revised"),
        same.sum().alias("unchanged"),
        empty.sum().alias("empty"),
        (pl.col("critique") == "").sum().alias("without a critique"),
    ).row(0, named=True)


def critique_request(number: int, principle: str) -> str:
    """Return the request for criticism of the last response, with the principle put in as it is."""
    return REQUESTS[number].critique.replace(PLACEHOLDER, principle)


def revision_request(number: int, principle: str) -> str:
    """Return the request to write the response again, with the principle put in as it is."""
    return REQUESTS[number].revision.replace(PLACEHOLDER, principle)


def draw_requests(seed: int, prompt_id: str, step: int) -> int:
    """Draw which of `REQUESTS` a prompt is asked with at a step, each with the same probability.

    Steps are drawn independently, as in Bai et al. (2022), section 3.1; every arm draws the same.
    """
    return int(uniform(seed, "critique requests", prompt_id, step) * len(REQUESTS))


def few_shot_turns(count: int) -> list[Turn]:
    """Return the first `count` examples as earlier turns of the chat, the same before every request."""
    return [turn for example in FEW_SHOTS[:count] for turn in example.turns()]
