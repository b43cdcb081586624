"""Critique and revision: the supervised half of Constitutional AI (Bai et al. 2022, section 3.1).

A model answers a prompt, criticises its answer under one principle and rewrites it, several times over.
The requests are the arm's own principles put into the templates of `critique_requests`, so all arms are asked
in the same words and only the principle differs. Fine-tuning on the result is in `training.supervised`.
"""

from __future__ import annotations

import polars as pl

from ccai_dagster.constitution.principles import check_distinct
from ccai_dagster.contracts import REVISIONS
from ccai_dagster.errors import ConsultationError, ConversationTooLong
from ccai_dagster.feedback.critique_requests import (
    TEMPLATE_VERSION,
    critique_request,
    draw_requests,
    few_shot_turns,
    revision_request,
)
from ccai_dagster.feedback.draws import derived_seed, draw_principle
from ccai_dagster.feedback.language_model import LanguageModel, Turn
from ccai_dagster.feedback.prompts import chosen_prompts
from ccai_dagster.progress import Progress, silent
from ccai_dagster.settings import RevisionSettings


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
        seed: The consultation's seed.
        progress: Told how many texts are written.

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

    def ask(conversations: list[list[Turn]], *parts: str | int) -> list[str]:
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
                ("assistant", response),
                ("user", critique_request(number, principle["text"])),
            ]
            for text, response, number, principle in zip(texts, responses, numbers, principles, strict=True)
        ]
        critiques = ask(asked, "critique", step)
        asked = [
            [*turns, ("assistant", critique), ("user", revision_request(number, principle["text"]))]
            for turns, critique, number, principle in zip(asked, critiques, numbers, principles, strict=True)
        ]
        revisions = ask(asked, "revision", step)
        rows += [
            {
                "prompt_id": prompt_id,
                "step": step,
                "prompt": text,
                "response": response,
                "principle_id": principle["principle_id"],
                "request_number": number,
                "template_version": TEMPLATE_VERSION,
                "critique": critique,
                "revision": revision,
            }
            for prompt_id, text, response, principle, number, critique, revision in zip(
                ids, texts, responses, principles, numbers, critiques, revisions, strict=True
            )
        ]
        responses = [revision or response for revision, response in zip(revisions, responses, strict=True)]
    return REVISIONS.build(rows).sort("prompt_id", "step")


def revision_counts(revisions: pl.DataFrame) -> dict[str, int]:
    """Count what came out of it, for a person to judge how much was revised at all.

    Args:
        revisions: REVISIONS.

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
