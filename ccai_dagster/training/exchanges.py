"""A prompt and a response as tokens, in the one way all stages train on and score.

Too long ones are shortened, and that is counted by whoever calls; none is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ccai_dagster.feedback.chat import rendered


@dataclass(frozen=True)
class Exchange:
    """Tokens of a rendered exchange.

    Attributes:
        tokens: Ids, prompt and response, to the end of the assistant's turn.
        prompt_tokens: How many of them come before the response.
        shortened: Whether the response or the prompt was cut to fit.
    """

    tokens: list[int]
    prompt_tokens: int
    shortened: bool


def exchange(tokenizer: Any, prompt: str, response: str, max_tokens: int) -> Exchange:
    """Render and tokenise a prompt and a response, at most `max_tokens` long.

    The response is cut at its end; if the prompt leaves it less than half of the room, the prompt is cut
    at its beginning first. The turn always ends as the chat template ends it, because the preference model
    reads its last token.

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
        cut = _render(tokenizer, tokenizer.decode(kept_prompt), tokenizer.decode(kept_response))
        if len(cut.tokens) <= max_tokens:
            return Exchange(cut.tokens, cut.prompt_tokens, shortened=True)
    raise ValueError(f"{max_tokens} tokens leave no room beside the chat template")


def _render(tokenizer: Any, prompt: str, response: str) -> Exchange:
    opened = rendered(tokenizer, [("user", prompt)], open_turn=True)
    closed = rendered(tokenizer, [("user", prompt), ("assistant", response)], open_turn=False)
    if not closed.startswith(opened):
        raise ValueError("the chat template renders a finished turn other than an open one")
    before = _tokens(tokenizer, opened)
    return Exchange(before + _tokens(tokenizer, closed[len(opened) :]), len(before), shortened=False)


def _tokens(tokenizer: Any, text: str) -> list[int]:
    tokens: list[int] = tokenizer(text, add_special_tokens=False).input_ids
    return tokens
