"""Critique and revision: the supervised half of Constitutional AI (Bai et al. 2022, section 3.1).

A model answers a prompt, criticises its answer under one principle and rewrites it, several times over.
The requests are derived from the arm's own principles by the two templates below, so both arms are asked
in the same words and only the principle differs. Fine-tuning on the result is in `training.supervised`.
"""

from __future__ import annotations

import polars as pl

from ccai_dagster.contracts import REVISIONS
from ccai_dagster.errors import ConsultationError
from ccai_dagster.feedback.draws import derived_seed, draw_principle
from ccai_dagster.feedback.language_model import LanguageModel, Turn
from ccai_dagster.feedback.prompts import chosen_prompts
from ccai_dagster.progress import Progress, silent
from ccai_dagster.settings import RevisionSettings

TEMPLATE_VERSION = "1"
"""Raised when a request below changes its words; belongs into the code version of the revisions."""


def critique_request(principle: str) -> str:
    """Ask for criticism of the last response under a principle."""
    return (
        f"Here is a rule for your responses: {principle}\n"
        "Read your last response again. Say in one or two sentences where it goes against this rule, "
        "or how it could follow the rule better."
    )


def revision_request(principle: str) -> str:
    """Ask for the response again, following the principle and the criticism."""
    return (
        f"Now write your response again so that it follows the rule: {principle}\n"
        "Use your criticism. Speak to the user and write only the new response."
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

    One principle is drawn for each prompt and step, independently, each with the same probability. The
    draw depends on the seed, the prompt and the step, not on the arm; the initial response does not depend
    on the constitution at all, so every arm starts from the same text.

    Args:
        model: The untrained model.
        prompts: PROMPTS; those with the purpose `revision` are used, up to `settings.prompts`.
        constitution: CONSTITUTION of one arm.
        settings: Steps, length and temperature.
        seed: The consultation's seed.
        progress: Told how many texts are written.

    Returns:
        REVISIONS, sorted by prompt and step.

    Raises:
        ConsultationError: No such prompt, an empty constitution, or a conversation beyond the context.
    """
    if constitution.is_empty():
        raise ConsultationError("The constitution has no principles, so nothing can be revised under it.")
    chosen = chosen_prompts(prompts, "revision", settings.prompts, seed)
    ids, texts = chosen["prompt_id"].to_list(), chosen["text"].to_list()
    total = len(ids) * (1 + 2 * settings.steps)
    written = 0

    def ask(conversations: list[list[Turn]], *parts: str | int) -> list[str]:
        nonlocal written
        responses = model.generate(
            conversations,
            new_tokens=settings.new_tokens,
            temperature=settings.temperature,
            seed=derived_seed(seed, "revisions", *parts),
            progress=lambda message, done, _: progress(message, written + done, total),
        )
        written += len(responses)
        return responses

    responses = ask([[("user", text)] for text in texts], "initial")
    rows = []
    for step in range(1, settings.steps + 1):
        principles = [draw_principle(constitution, seed, "revision", prompt_id, step) for prompt_id in ids]
        asked: list[list[Turn]] = [
            [("user", text), ("assistant", response), ("user", critique_request(principle["text"]))]
            for text, response, principle in zip(texts, responses, principles, strict=True)
        ]
        critiques = ask(asked, "critique", step)
        asked = [
            [*turns, ("assistant", critique), ("user", revision_request(principle["text"]))]
            for turns, critique, principle in zip(asked, critiques, principles, strict=True)
        ]
        revisions = ask(asked, "revision", step)
        rows += [
            {
                "prompt_id": prompt_id,
                "step": step,
                "prompt": text,
                "response": response,
                "principle_id": principle["principle_id"],
                "critique": critique,
                "revision": revision,
            }
            for prompt_id, text, response, principle, critique, revision in zip(
                ids, texts, responses, principles, critiques, revisions, strict=True
            )
        ]
        responses = revisions
    return REVISIONS.build(rows).sort("prompt_id", "step")
