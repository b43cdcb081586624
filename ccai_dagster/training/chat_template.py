"""The chat template of an untrained model: looked at before anything else, and mended where it would fail later.

Every stage asks, trains and judges a model by its template, and so do the libraries. What can be worked round is
therefore written once into the tokenizer that is saved with the model; what cannot is refused before anything is
computed. A template in which nothing is amiss stays as it is, byte for byte.

Doesn't belong here: filling a template with a conversation (`feedback.language_model.rendered`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.feedback.language_model import rendered

FIXED_DATE = "26 Jul 2024"
"""What a template is told that asks for the date: that of Llama 3.2's own, where it is not told any."""
HUMAN, ASSISTANT = "\n\nHuman:", "\n\nAssistant:"
"""How a model without a template is spoken to, as by Bai et al. (2022), "Training a Helpful and Harmless Assistant"."""
SYSTEM, USER, SAID = "What the system says.", "What the user says.", "What is said."
PADDING = ("<|finetune_right_pad_id|>", "<pad>", "<|padding|>", "[PAD]", "<|end_of_text|>", "<|endoftext|>")
"""Tokens that other families pad with, the first that there is."""


@dataclass(frozen=True)
class TemplateCheck:
    """One thing that was looked at.

    Attributes:
        done: How it was worked round; empty if nothing had to be.
    """

    what: str
    found: str
    done: str = ""


def fit_chat_template(tokenizer: Any, where: str) -> list[TemplateCheck]:
    """Look at a tokenizer's chat template, and mend it where it would fail or mislead later.

    Args:
        tokenizer: A transformers tokenizer; its template and its padding token may be changed.
        where: What a person would change to use another model.

    Returns:
        What was looked at, in order.

    Raises:
        ConsultationError: The template cannot be used: says why, and what helps.
    """
    checks = [_template(tokenizer), _date(tokenizer), _thinking(tokenizer)]
    _check_writes(tokenizer, where)
    checks += [_system_turn(tokenizer, where), _turns(tokenizer, where)]
    return [*checks, *_end_of_turn(tokenizer, where), _padding(tokenizer)]


def ends_of_turn(tokenizer: Any) -> list[int]:
    """Return the tokens that end an assistant's turn by the template, usually one; none where it ends in plain text."""
    tokens = tokenizer(_end(_closed(tokenizer)[len(_opened(tokenizer)) :]), add_special_tokens=False).input_ids
    special = set(tokenizer.all_special_ids) | set(tokenizer.get_added_vocab().values())
    return next(([token] for token in tokens if token in special), [])


def tokens_of_turns(tokenizer: Any) -> list[int]:
    """Return the tokens of a question and an answer in the template."""
    tokens: list[int] = tokenizer(_closed(tokenizer), add_special_tokens=False).input_ids
    return tokens


def is_untaught(tokenizer: Any) -> bool:
    """Tell whether the model came without a template, so that it may go on and speak for the user as well."""
    return str(tokenizer.chat_template or "").endswith(_TURNS)


def _template(tokenizer: Any) -> TemplateCheck:
    if tokenizer.chat_template:
        return TemplateCheck("chat template", "its own")
    begins = tokenizer("a").input_ids[:1] == [tokenizer.bos_token_id] and tokenizer.bos_token_id is not None
    tokenizer.chat_template = ("{{ bos_token }}" if begins else "") + _TURNS
    done = f"turns begin with {HUMAN.strip()!r} and {ASSISTANT.strip()!r}, as those of Bai et al. (2022)"
    return TemplateCheck("chat template", "none, as of a model that was only pretrained", done)


_TURNS = (
    "{% for message in messages %}{% if message['role'] == 'system' %}{{ message['content'] }}"
    "{% elif message['role'] == 'user' %}{{ '\n\nHuman: ' + message['content'] }}"
    "{% else %}{{ '\n\nAssistant: ' + message['content'] + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '\n\nAssistant:' }}{% endif %}"
)


def _date(tokenizer: Any) -> TemplateCheck:
    """A template that writes the day it is used on would make the same training another one tomorrow."""
    template = str(tokenizer.chat_template)
    names = [name for name in ("date_string", "strftime_now") if name in template]
    if not names:
        return TemplateCheck("date", "not asked for")
    tokenizer.chat_template = (
        f"{{%- set date_string = '{FIXED_DATE}' -%}}"
        f"{{%- macro strftime_now(form) -%}}{FIXED_DATE}{{%- endmacro -%}}{template}"
    )
    return TemplateCheck("date", "written into every prompt", f"it is always {FIXED_DATE}")


def _thinking(tokenizer: Any) -> TemplateCheck:
    template = str(tokenizer.chat_template)
    if "enable_thinking" not in template:
        return TemplateCheck("thinking", "no switch")
    tokenizer.chat_template = f"{{%- set enable_thinking = false -%}}{template}"
    return TemplateCheck("thinking", "it thinks before it answers unless told not to", "told not to")


def _check_writes(tokenizer: Any, where: str) -> None:
    try:
        opened, closed = _opened(tokenizer), _closed(tokenizer)
    except Exception as error:  # whatever somebody's template does
        raise ConsultationError(
            f"{where}: the chat template cannot write a question and an answer ({error}). Choose another model."
        ) from error
    if USER not in opened or SAID not in closed:
        raise ConsultationError(
            f"{where}: the chat template does not write what is said as it was said. Choose another model."
        )


def _end_of_turn(tokenizer: Any, where: str) -> list[TemplateCheck]:
    """A tokenizer that names no end of a text takes that of a turn, since trainers end and pad with it."""
    if tokenizer.eos_token_id is not None:
        return []
    ends = ends_of_turn(tokenizer)
    if not ends:
        raise ConsultationError(
            f"{where}: its tokenizer names no token that ends a text, and its chat template ends a turn with none. "
            "Name one as `eos_token` in tokenizer_config.json, or choose another model."
        )
    (tokenizer.eos_token,) = tokenizer.convert_ids_to_tokens(ends)
    return [TemplateCheck("end of a text", "none", repr(tokenizer.eos_token))]


def _system_turn(tokenizer: Any, where: str) -> TemplateCheck:
    if _hears_system(tokenizer):
        return TemplateCheck("system turn", "its own")
    tokenizer.chat_template = (
        "{%- if messages[0]['role'] == 'system' and messages | length > 1 -%}"
        "{%- set messages = [{'role': messages[1]['role'], 'content': messages[0]['content'] + '\n\n' + "
        "messages[1]['content']}] + messages[2:] -%}{%- endif -%}" + str(tokenizer.chat_template)
    )
    if not _hears_system(tokenizer):
        raise ConsultationError(f"{where}: the chat template has no place for a system's words. Choose another model.")
    return TemplateCheck("system turn", "refused or left out", "its words begin the first user's turn")


def _hears_system(tokenizer: Any) -> bool:
    try:
        return SYSTEM in rendered(tokenizer, [("system", SYSTEM), ("user", USER)], open_turn=True)
    except Exception:  # whatever somebody's template does
        return False


def _turns(tokenizer: Any, where: str) -> TemplateCheck:
    """A turn that is opened for the model must go on as the finished turn that it is trained on."""
    opened, closed = _opened(tokenizer), _closed(tokenizer)
    rest = closed.removeprefix(opened)
    if closed.startswith(opened) and rest.lstrip().startswith(SAID):
        return TemplateCheck("turns", f"opened with {opened.partition(USER)[2]!r}, ended with {_end(rest)!r}")
    if "think" in opened.partition(USER)[2]:
        raise ConsultationError(
            f"{where}: the model thinks before every answer and its chat template has no switch for that, so what it "
            "is trained on would not be how it answers. Choose its version without thinking."
        )
    raise ConsultationError(
        f"{where}: the chat template opens an assistant's turn with {opened.partition(USER)[2]!r} and writes a "
        f"finished one as {closed.partition(USER)[2]!r}, so what the model is trained on would not be how it is asked. "
        "Correct chat_template.jinja in its folder, or choose another model."
    )


def _padding(tokenizer: Any) -> TemplateCheck:
    """The preference model is read at the last token that is no padding, which has to be the end of the turn."""
    last = tokens_of_turns(tokenizer)[-1]
    own, kept = tokenizer.pad_token, tokenizer.pad_token or tokenizer.eos_token
    if tokenizer.convert_tokens_to_ids(kept) == last:
        vocabulary = tokenizer.get_vocab()
        others = [each for each in (*PADDING, tokenizer.unk_token, tokenizer.bos_token) if each in vocabulary]
        kept = next((each for each in others if vocabulary[each] != last), kept)
    if kept == own:
        return TemplateCheck("padding", repr(own))
    tokenizer.pad_token = kept
    return TemplateCheck("padding", "none" if own is None else f"{own!r}, which ends turns as well", f"{kept!r}")


def _opened(tokenizer: Any) -> str:
    return rendered(tokenizer, [("user", USER)], open_turn=True)


def _closed(tokenizer: Any) -> str:
    return rendered(tokenizer, [("user", USER), ("assistant", SAID)], open_turn=False)


def _end(rest: str) -> str:
    return rest.partition(SAID)[2]
