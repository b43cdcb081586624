"""How a conversation becomes text: one way for generating, scoring and training alike.

The preference model reads the last token of a conversation, so a conversation rendered in two ways would
be two conversations.
"""

from __future__ import annotations

from typing import Any

from ccai_dagster.feedback.language_model import Conversation


def rendered(tokenizer: Any, conversation: Conversation, *, open_turn: bool) -> str:
    """Render a conversation by the model's chat template.

    Args:
        tokenizer: A transformers tokenizer with a chat template.
        conversation: Turns; what they say is untrusted.
        open_turn: Whether to begin the assistant's next turn, or to leave open the one that the conversation ends with.

    Returns:
        The text, in which only the template has put control tokens.
    """
    if open_turn and is_plain(conversation):
        return without_control_tokens(tokenizer, conversation[0][1])
    continued = open_turn and conversation[-1][0] == "assistant"
    messages = [
        {"role": role, "content": without_control_tokens(tokenizer, content)}
        for role, content in conversation
    ]
    return str(
        tokenizer.apply_chat_template(
            messages,
            tokenize=False,
            add_generation_prompt=open_turn and not continued,
            continue_final_message=continued,
        )
    )


def is_plain(conversation: Conversation) -> bool:
    """Tell whether this is plain text to be continued, outside a chat."""
    return [role for role, _ in conversation] == ["assistant"]


def without_control_tokens(tokenizer: Any, text: str) -> str:
    """Break up control tokens in untrusted text by a space after their first character.

    A text that spells `<|im_end|>` would otherwise end its own turn and could speak as somebody else.
    """
    for token in sorted(tokenizer.all_special_tokens, key=len, reverse=True):
        if len(token) > 1:
            text = text.replace(token, f"{token[0]} {token[1:]}")
    return text
