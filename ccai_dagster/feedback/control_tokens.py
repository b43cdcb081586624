"""Control tokens of any family of models, for texts that go to a server: it does not tell which its model has."""

from __future__ import annotations

import re

_WORDS = "bos|eos|pad|unk|mask|sep|cls|s|think|thinking|thought|reasoning|sop|eop|eod|eot|im_start|im_end|image|audio"
_PATTERN = re.compile(
    "|".join(
        (
            r"<\|[^\s<>|](?:[^<>|\n]{0,60}[^\s<>|])?\|>",  # ChatML, Llama 3, Phi, Granite, Command R, gpt-oss
            r"<｜[^<>｜\n]{1,60}｜>",  # DeepSeek
            rf"</?(?:{_WORDS})>",
            r"<(?:start|end)_of_(?:turn|image|text|audio)>",  # Gemma
            r"<(?:unused|extra_id_|reserved_|special_|SPECIAL_)\d+>",
            r"<seed:[^<>\n]{1,40}>",
            r"</?tool_(?:call|response)s?>",
            r"<</?SYS>>",  # Llama 2
            r"\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|IMG|THINK|BOS|EOS|PAD|CLS"
            r"|SEP|MASK|UNK|gMASK|sMASK)\]",  # Mistral, GLM, Kimi
            r"\[UNUSED_TOKEN_\d+\]",
            r"\](?:~!?b|!d~)\[",  # MiniMax
            r"\[e~\[",
        )
    )
)


def without_any_control_tokens(text: str) -> str:
    """Break up what any family takes for a control token by a space after its first character.

    A text that spells `<|im_end|>` would otherwise end its own turn and could speak as somebody else.
    """
    return _PATTERN.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)
