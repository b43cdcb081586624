"""What is learnt from comparisons of two sources, split and ordered by id; and exchanges as tokens.

AI harmlessness labels come from the arm's constitution, helpfulness comparisons from people and are equal
for all arms (Bai et al. 2022, section 4.1). The preference model learns from them, or the policy directly.
All stages train on and score a prompt and a response as the same tokens. Too long ones are shortened, and that is
counted; none is dropped. What is scored is a whole turn, the end of it always there. What is learnt to be said has
that end only where the response ended by itself: who was taught the end of a turn after a response that was
cut off would learn to stop in mid-sentence.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import polars as pl

from ccai_dagster.core.draws import uniform
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.text import REPLACEMENT
from ccai_dagster.feedback.language_model import rendered, tokens_after
from ccai_dagster.feedback.prompts import chosen_comparisons
from ccai_dagster.training import trainer

HARMLESSNESS = "harmlessness"
HELPFULNESS = "helpfulness"
SOURCES = (HARMLESSNESS, HELPFULNESS)


def comparisons(
    harmlessness: pl.DataFrame, helpfulness: pl.DataFrame, harmlessness_weight: float, held_out_share: float, seed: int
) -> pl.DataFrame:
    """Bring both sources into one table.

    Each comparison is turned so that its preferred response comes first, which changes no loss and lets the
    trainer's own accuracy mean agreement with the label. Held out is who the hash of source and `pair_id`
    says, so the same pairs in every arm. Pairs without an answer and pairs of identical responses teach
    nothing: they keep their place with weight 0, because which ones they are differs between arms, and the
    pairs after them would otherwise come at another step in one arm than in the other. Of human comparisons,
    at most as many are learnt from as there are AI labels, or a short training would hardly see the
    constitution (Bai et al. 2022, section 4.1, had three human ones for four AI ones); all those held out
    are kept.

    Args:
        harmlessness: PREFERENCE_PAIRS.
        helpfulness: HELPFULNESS_PAIRS.
        harmlessness_weight: Loss weight of an AI label; a human label has 1.
        held_out_share: Between 0 and 1.
        seed: Decides what is held out and which human comparisons are learnt from.

    Returns:
        `source`, `pair_id`, `prompt`, `preferred`, `preferred_finished`, `other`, `other_finished`, `target` (label
        of the preferred response, 0.5 to 1), `labelled`, `weight`, `held_out`, sorted by source and id.

    Raises:
        ConsultationError: A negative weight.
    """
    if harmlessness_weight < 0:
        raise ConsultationError(
            f"decisions/training.csv: harmlessness_weight is {harmlessness_weight}; it must be 0 or more."
        )
    columns = ("pair_id", "prompt", "response_a", "response_b", "probability_a")
    differ = pl.col("response_a") != pl.col("response_b")
    labelled = harmlessness.select(
        pl.lit(HARMLESSNESS).alias("source"),
        *columns,
        "finished_a",
        "finished_b",
        ((pl.col("status") == "labelled") & differ).alias("labelled"),
        pl.lit(harmlessness_weight, pl.Float64).alias("weight"),
    )
    human = helpfulness.filter(differ).select(
        pl.lit(HELPFULNESS).alias("source"),
        *columns,
        pl.lit(True).alias("finished_a"),
        pl.lit(True).alias("finished_b"),
        pl.lit(True).alias("labelled"),
        pl.lit(1.0, pl.Float64).alias("weight"),
    )
    both = pl.concat([labelled, human]).with_columns(
        pl.when("labelled").then("probability_a").otherwise(0.5).alias("probability_a"),
        pl.when("labelled").then("weight").otherwise(0.0).alias("weight"),
    )
    a_first = pl.col("probability_a") >= 0.5
    held_out = [
        uniform(seed, "held out", source, pair_id) < held_out_share
        for source, pair_id in both.select("source", "pair_id").iter_rows()
    ]
    table = both.select(
        "source",
        "pair_id",
        "prompt",
        pl.when(a_first).then("response_a").otherwise("response_b").alias("preferred"),
        pl.when(a_first).then("finished_a").otherwise("finished_b").alias("preferred_finished"),
        pl.when(a_first).then("response_b").otherwise("response_a").alias("other"),
        pl.when(a_first).then("finished_b").otherwise("finished_a").alias("other_finished"),
        pl.when(a_first).then("probability_a").otherwise(1 - pl.col("probability_a")).alias("target"),
        "labelled",
        "weight",
        pl.Series("held_out", held_out, dtype=pl.Boolean),
    )
    learnt = table.filter((pl.col("source") == HELPFULNESS) & ~pl.col("held_out"))
    kept = chosen_comparisons(learnt, harmlessness.height, seed)
    return pl.concat([table.join(learnt, on=["source", "pair_id"], how="anti"), kept]).sort("source", "pair_id")


def learnable(table: pl.DataFrame) -> pl.DataFrame:
    """Return the comparisons that are not held out.

    Raises:
        ConsultationError: Nothing to train on; says whether labels are missing or all are held out.
    """
    training = table.filter(~pl.col("held_out"))
    if training["labelled"].any():
        return training
    held_out = int(table["labelled"].sum())
    if held_out:
        raise ConsultationError(
            f"All {held_out} labelled comparisons are held out to measure the preference model, so none is left to "
            "learn from. Raise `pairs.prompts` in consultation.yaml or add prompts with the purpose `preference`."
        )
    raise ConsultationError("No labelled comparison of two different responses, so there is no preference to learn.")


def training_order(training: pl.DataFrame, steps: int, batch_size: int, seed: int) -> list[int]:
    """Return which row of `training` (sorted by source and id) comes when; neighbours are of similar length.

    It depends on prompts and on human responses, which are the same in every arm, and not on labels or on
    responses that were sampled; so the order is the same in every arm.

    Args:
        training: Rows of `comparisons`.
        steps: Of the training.
        batch_size: Comparisons a step.
        seed: Of the shuffling.
    """
    response = pl.max_horizontal(pl.col("preferred").str.len_chars(), pl.col("other").str.len_chars())
    human = pl.when(pl.col("source") == HELPFULNESS).then(response).otherwise(0)
    lengths = training.select(pl.col("prompt").str.len_chars() + human).to_series().to_list()
    drawn = trainer.drawn_order(training.height, steps * batch_size, seed)
    return trainer.grouped_by_length(drawn, lengths, training["source"].to_list(), batch_size, seed)


def ordered_ids(training: pl.DataFrame, steps: int, batch_size: int, seed: int) -> list[str]:
    """Return `source:pair_id` in the order of training, to compare between arms."""
    ids = training.select(pl.format("{}:{}", "source", "pair_id")).to_series().to_list()
    return [ids[at] for at in training_order(training, steps, batch_size, seed)]


@dataclass(frozen=True)
class TokenisedExchange:
    """Tokens of a rendered exchange.

    Attributes:
        tokens: Ids, prompt and response, to the end of the assistant's turn.
        prompt_tokens: How many of them come before the response.
        shortened: Whether the response or the prompt was cut to fit.
        whole: Whether all of the response is there.
    """

    tokens: list[int]
    prompt_tokens: int
    shortened: bool = False
    whole: bool = True


class TokenisedComparison(NamedTuple):
    """A comparison as a trainer takes it: label of the preferred response (0.5 to 1) and weight of the loss."""

    preferred: TokenisedExchange
    other: TokenisedExchange
    target: float
    weight: float

    @property
    def shortened(self) -> bool:
        """Whether either exchange was cut to fit."""
        return self.preferred.shortened or self.other.shortened


def cut_share(finished: pl.Series) -> float:
    """Return the share of responses that did not end by themselves, 0 of none."""
    return float((~finished).sum()) / finished.len() if finished.len() else 0.0


def cut_share_of_sampled(table: pl.DataFrame) -> float:
    """Return the share of sampled responses in `comparisons` that were cut off at the limit of tokens."""
    sampled = table.filter(pl.col("source") == HARMLESSNESS)
    return cut_share(pl.concat([sampled["preferred_finished"], sampled["other_finished"]]))


def tokenised(tokenizer: Any, table: pl.DataFrame, max_tokens: int) -> list[TokenisedComparison]:
    """Tokenise comparisons, in the order of the rows; each exchange is at most `max_tokens` long.

    Args:
        tokenizer: With a chat template.
        table: `prompt`, `preferred`, `other`, `target`, `weight`.
        max_tokens: See `exchange`.
    """
    return [
        TokenisedComparison(
            exchange(tokenizer, prompt, preferred, max_tokens),
            exchange(tokenizer, prompt, other, max_tokens),
            target,
            weight,
        )
        for prompt, preferred, other, target, weight in table.select(
            "prompt", "preferred", "other", "target", "weight"
        ).iter_rows()
    ]


def learnt(tokenizer: Any, said: TokenisedExchange, finished: bool) -> TokenisedExchange:
    """Return an exchange as it is taught: without the end of the turn if the response was cut off anywhere.

    Args:
        tokenizer: With a chat template.
        said: As `exchange` returns it.
        finished: Whether the response ended by itself when it was written.
    """
    if finished and said.whole:
        return said
    end = end_of_turn(tokenizer)
    if not end or said.tokens[-len(end) :] != end:
        raise ValueError("the chat template ends a turn with what depends on the turn")
    return replace(said, tokens=said.tokens[: -len(end)])


def end_of_turn(tokenizer: Any) -> list[int]:
    """Return the tokens by which the chat template ends what the assistant says."""
    turns = [("user", "a"), ("assistant", "b")]
    opened, closed = (rendered(tokenizer, turns, open_turn=open_turn) for open_turn in (True, False))
    return tokens_after(tokenizer, opened, closed.removeprefix(opened))


def exchange(tokenizer: Any, prompt: str, response: str, max_tokens: int) -> TokenisedExchange:
    """Render and tokenise a prompt and a response, at most `max_tokens` long.

    The response is cut at its end; if the prompt leaves it less than half of the room, the prompt is cut
    at its beginning first. The turn always ends as the chat template ends it, or a score would tell who was cut off.

    Args:
        tokenizer: With a chat template.
        prompt: What the user says (untrusted).
        response: What the assistant says (untrusted).
        max_tokens: At least a few more than the template needs.

    Raises:
        ValueError: `max_tokens` leaves no room beside the template.
    """
    whole = _render(tokenizer, prompt, response)
    if len(whole.tokens) <= max_tokens:
        return whole
    room = max_tokens - len(_render(tokenizer, "", "").tokens)
    if room < 2:
        raise ValueError(f"{max_tokens} tokens leave no room beside the chat template")
    asked, said = _tokens(tokenizer, prompt), _tokens(tokenizer, response)
    for slack in range(room):
        # Cutting between tokens can change how the rest is split, so the room is shrunk until it fits.
        for_prompt = max((room - slack) // 2, room - slack - len(said))
        kept_prompt = asked[max(0, len(asked) - for_prompt) :]
        kept_response = said[: max(1, room - slack - len(kept_prompt))]
        # A character may be several tokens; half of one is none. A space could join that which ends a turn.
        begun, broken_off = tokenizer.decode(kept_prompt), tokenizer.decode(kept_response)
        cut = _render(tokenizer, begun.lstrip(REPLACEMENT), broken_off.rstrip(REPLACEMENT + " "))
        if len(cut.tokens) <= max_tokens:
            return replace(cut, shortened=True, whole=len(kept_response) == len(said))
    raise ValueError(f"{max_tokens} tokens leave no room beside the chat template")


def _render(tokenizer: Any, prompt: str, response: str) -> TokenisedExchange:
    opened = rendered(tokenizer, [("user", prompt)], open_turn=True)
    closed = rendered(tokenizer, [("user", prompt), ("assistant", response)], open_turn=False)
    if not closed.startswith(opened):
        raise ValueError("the chat template renders a finished turn other than an open one")
    before = _tokens(tokenizer, opened)
    return TokenisedExchange(before + tokens_after(tokenizer, opened, closed[len(opened) :]), len(before))


def _tokens(tokenizer: Any, text: str) -> list[int]:
    tokens: list[int] = tokenizer(text, add_special_tokens=False).input_ids
    return tokens
