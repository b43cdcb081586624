"""What every language model can be asked for, wherever it runs, and how a conversation becomes what it reads.

Methods know the protocols `LanguageModel` and `ScoringModel` alone. Models in this process and behind a server are in
`ccai_dagster.stages`; what is here serves both, and training: one rendering of conversations, the number format to
compute in, and which of many token sequences begin alike.

The preference model reads the last token of a conversation, so a conversation rendered in two ways would be two
conversations.

Questions to a feedback model repeat themselves: one prompt in two orders, under a principle and its opposite,
with each of two responses, all of them after the same answered examples. What is computed for a shared beginning (keys
and values of every layer) serves all that follow. Beginnings are shared on two levels: what all sequences have in
common (`common_beginning`), and after it what groups of them have (`shared_prefixes`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from ccai_dagster.core.errors import ConsultationError, Progress, silent

Turn = tuple[str, str]
"""A role (`system`, `user`, `assistant`) and what it says."""
Conversation = Sequence[Turn]
"""Turns. One that ends with the assistant's is continued where it breaks off; that turn alone is plain text."""
Item = TypeVar("Item")
SERVED_QUESTIONS = 4096
"""In one call to a server: it is asked hundreds at a time, and stands idle while the last answers of a call come."""
LEAST_SAVED = 0.2
"""Share of a group's tokens that must be saved; below it the second pass costs more than it saves."""


class Response(NamedTuple):
    """What a model wrote, and whether it ended there by itself; else it was cut at the limit of tokens."""

    text: str
    finished: bool


class LanguageModel(Protocol):
    """A model that continues conversations and says how likely a continuation is."""

    @property
    def name(self) -> str:
        """Digest of a local model, or address and name of a served one."""

    @property
    def provenance(self) -> Mapping[str, str]:
        """How the model is run, for the record: what its name does not say."""

    def prompt_text(self, conversation: Conversation, new_tokens: int = 1, choices: Sequence[str] = ()) -> str:
        """Return what the model reads, as far as it is known here.

        Raises:
            ConversationTooLong: It and a response of so many tokens do not fit into the model's context.
            ConsultationError: The choices are not one token each, or not different ones.
        """

    def generate(
        self,
        conversations: Sequence[Conversation],
        *,
        new_tokens: int,
        temperature: float,
        seed: int,
        stops: Sequence[str] = (),
        strip: bool = True,
        progress: Progress = silent,
    ) -> list[Response]:
        """Return one assistant turn, or the rest of one, a conversation, in order.

        A character that the limit of tokens cut in two is left out.

        Args:
            conversations: What is answered or continued.
            new_tokens: Longest response, in tokens.
            temperature: Of the sampling; 0 decodes greedily.
            seed: Same seed, model, conversations and machine give the same responses.
            stops: Texts that end a response, beside the end of the turn; they are not part of it.
            strip: Whether to leave out surrounding white space.
            progress: Counts responses that are finished.
        """

    def choice_log_probabilities(
        self,
        conversations: Sequence[Conversation],
        choices: Sequence[str],
        *,
        prefix: str = "",
        likeliest: bool = False,
        progress: Progress = silent,
    ) -> np.ndarray:
        """Return natural-log probabilities of each choice as the next text, shape (conversations, choices).

        Args:
            conversations: What is answered or continued.
            choices: Short texts, usually one letter.
            prefix: What the assistant's turn already says in all of them, for instance `The answer is (`.
            likeliest: Whether to add a column: the log-probability of the likeliest next token, a choice or not. The
                choices are one token each then.
            progress: Counts conversations that are finished.
        """

    def log_likelihoods(self, conversations: Sequence[Conversation], responses: Sequence[str]) -> np.ndarray:
        """Return for each response its summed log-likelihood and its tokens, shape (conversations, 2)."""


def asked_together(model: LanguageModel | ScoringModel, items: Sequence[Item], here: int) -> Iterator[Sequence[Item]]:
    """Yield in turn what a model is asked about in one call, two questions on each item.

    Args:
        model: In this process or behind a server.
        here: How many items in this process, where answers may depend on what is asked together.
    """
    size = SERVED_QUESTIONS // 2 if "server" in getattr(model, "provenance", {}) else here
    for start in range(0, len(items), size):
        yield items[start : start + size]


def batches_by_length(sequences: Sequence[list[int]], batch_size: int) -> Iterator[list[int]]:
    """Yield the places of sequences of tokens in batches of similar length, whatever their order is."""
    order = sorted(range(len(sequences)), key=lambda at: (len(sequences[at]), sequences[at], at))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def nats_a_token(likelihoods: np.ndarray) -> np.ndarray:
    """Return the mean log-likelihood of each response, shape (responses,); not finite where there is no token.

    Args:
        likelihoods: As `LanguageModel.log_likelihoods` returns them.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        means: np.ndarray = likelihoods[:, 0] / likelihoods[:, 1]
    return means


class ScoringModel(Protocol):
    """A model that scores a response to a prompt, or beside a principle: the higher, the better."""

    @property
    def name(self) -> str:
        """Digest of the model."""

    def scores(self, exchanges: Sequence[tuple[str, str]]) -> np.ndarray:
        """Return the score of each prompt or principle with its response, in order, shape (exchanges,).

        Not a number where there is none.
        """


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
    messages = [{"role": role, "content": without_control_tokens(tokenizer, content)} for role, content in conversation]
    return str(
        tokenizer.apply_chat_template(
            messages,
            tokenize=False,
            add_generation_prompt=open_turn and not continued,
            continue_final_message=continued,
        )
    )


def tokens_after(tokenizer: Any, before: str, text: str) -> list[int]:
    """Return the tokens of a text where it stands, after another; alone it may be cut into others.

    A tokenizer of SentencePiece puts a space before a text that stands alone: "A" is then another token than after "(".

    Raises:
        ConsultationError: The text changes the last tokens of what stands before it, so that nobody could tell which
            of them are its own.
    """
    read, whole = (tokenizer(each, add_special_tokens=False).input_ids for each in (before, before + text))
    if whole[: len(read)] != read:
        raise ConsultationError(
            f"The tokenizer joins the end of {before[-20:]!r} with the beginning of {text[:20]!r}, so the tokens of a "
            "response cannot be told from those of its prompt. Choose another model, or end its chat template's opened "
            "turn at the end of a token."
        )
    found: list[int] = whole[len(read) :]
    return found


def own_system_turn(tokenizer: Any) -> str:
    """Return what the chat template itself says before a conversation without a system turn, empty if nothing.

    Args:
        tokenizer: A transformers tokenizer with a chat template; one that refuses system turns has none of its own.
    """
    from jinja2 import TemplateError

    user, system = "What the user says.", "What the system says."
    try:
        given = rendered(tokenizer, [("system", system), ("user", user)], open_turn=True)
    except TemplateError:
        return ""
    # What stands between the two also stands behind what the template says by itself, before, around or instead of it.
    tail = given.partition(user)[0].rpartition(system)[2]
    before = rendered(tokenizer, [("user", user)], open_turn=True).partition(user)[0]
    if not before.endswith(tail):
        return ""
    own = before[: len(before) - len(tail)]
    for token in sorted([*tokenizer.get_added_vocab(), *tokenizer.all_special_tokens], key=len, reverse=True):
        own = own.replace(token, "")
    return own.strip().removeprefix("system").strip()


def texts_of(responses: Sequence[Response]) -> list[str]:
    """Return what was written, where it does not matter whether it ended by itself."""
    return [response.text for response in responses]


def cut_off(finished: Iterable[bool]) -> str:
    """Say how many of the responses did not end by themselves, for people."""
    each = list(finished)
    return f"{len(each) - sum(each)} of {len(each)} responses"


def is_plain(conversation: Conversation) -> bool:
    """Tell whether this is plain text to be continued, outside a chat."""
    return [role for role, _ in conversation] == ["assistant"]


def without_control_tokens(tokenizer: Any, text: str) -> str:
    """Break up control tokens in untrusted text by a space after their first character.

    A text that spells `<|im_end|>` would otherwise end its own turn and could speak as somebody else.
    """
    named = {*tokenizer.all_special_tokens, *_added_control_tokens(tokenizer, str(tokenizer.chat_template))}
    for token in sorted(named, key=len, reverse=True):
        if len(token) > 1:
            text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


@lru_cache(maxsize=8)
def _added_control_tokens(tokenizer: Any, template: str) -> tuple[str, ...]:
    """Return what a tokenizer reads as one token whatever stands around it, and is special or of the template.

    Many name only the ends of a text as special (Llama 3: not what begins and ends a header or a turn), and some mark
    nothing so (DeepSeek's names of roles). Others have runs of spaces or tags among such tokens, which are plain text.
    """
    added = tokenizer.added_tokens_decoder.values()
    return tuple(each.content for each in added if each.special or (each.content.strip() and each.content in template))


def computing_format(saved: str) -> str:
    """Return the format to load weights in: the saved one, unless this processor is slow in it.

    A CPU multiplies matrices of bfloat16 faster than of float32 with tile instructions (AMX) and with AMD's dot
    products (Zen 4 and later; measured: 405 against 190 GFLOP/s on two cores). With the vector instructions of other
    processors it takes about twice as long (151 against 279). Every bfloat16 is a float32, so nothing is lost by the
    wider format.

    Args:
        saved: `bfloat16` or `float32`.
    """
    import torch

    if saved != "bfloat16" or torch.cuda.is_available():
        return saved
    can = torch.cpu.get_capabilities()
    amd = can.get("avx512_bf16") and str(can.get("cpu_name")).startswith("AMD")
    return saved if can.get("amx_bf16") or amd else "float32"


@dataclass(frozen=True)
class Group:
    """Sequences read together.

    Attributes:
        prefix: Tokens they share and that are read once; 0 if nothing is gained.
        members: Their indexes.
    """

    prefix: int
    members: tuple[int, ...]


@dataclass
class _Node:
    """Neighbours in sorted order that share `depth` tokens, while their tree is built."""

    depth: int
    members: list[int] = field(default_factory=list)
    saved: int = 0
    groups: list[Group] = field(default_factory=list)

    def take(self, child: _Node) -> None:
        self.members += child.members
        self.saved += child.saved
        self.groups += child.groups

    def close(self) -> _Node:
        """Keep the children's groups, or make one of all members if that saves more."""
        if (own := self.depth * (len(self.members) - 1)) > self.saved:
            self.saved, self.groups = own, [Group(self.depth, tuple(self.members))]
        return self


def shared_prefixes(sequences: Sequence[Sequence[int]], unshared: Sequence[int]) -> list[Group]:
    """Group sequences by shared beginnings, so that the fewest tokens are read.

    Each sequence is in one group, and each group shares one prefix. In the tree of all prefixes the best choice
    below a node is either the node itself or the best choices below its children.

    Args:
        sequences: Token ids, each of length at least 1.
        unshared: Tokens at each sequence's end that must not be in the prefix, at least 1: those that a result
            is read from.

    Returns:
        Groups; every index is in exactly one. They do not depend on the order of the sequences except for which
        of equal ones comes first.
    """
    heads = [list(sequence)[: len(sequence) - last] for sequence, last in zip(sequences, unshared, strict=True)]
    order = sorted(range(len(sequences)), key=lambda at: (heads[at], list(sequences[at]), at))
    open_nodes: list[_Node] = []
    groups: list[Group] = []
    for place, at in enumerate(order):
        leaf = _Node(0, [at], 0, [Group(0, (at,))])
        depth = _common(heads[at], heads[order[place + 1]]) if place + 1 < len(order) else -1
        if open_nodes and open_nodes[-1].depth >= depth:
            open_nodes[-1].take(leaf)
        elif depth >= 0:
            open_nodes.append(_Node(depth))
            open_nodes[-1].take(leaf)
        else:
            groups += leaf.groups
        while open_nodes and open_nodes[-1].depth > depth:
            done = open_nodes.pop().close()
            if open_nodes and open_nodes[-1].depth >= depth:
                open_nodes[-1].take(done)
            elif depth >= 0:
                open_nodes.append(_Node(depth))
                open_nodes[-1].take(done)
            else:
                groups += done.groups
    return [each for group in groups for each in _if_it_pays(group, sequences)]


def common_beginning(sequences: Sequence[Sequence[int]], unshared: Sequence[int]) -> int:
    """Return how many tokens all sequences begin with, 0 if reading them once is not worth it.

    The arguments are those of `shared_prefixes`.
    """
    if len(sequences) < 2:
        return 0
    # In sorted order the first and the last differ earliest.
    listed = [list(sequence) for sequence in sequences]
    common = _common(min(listed), max(listed))
    common = min(common, *(len(sequence) - last for sequence, last in zip(sequences, unshared, strict=True)))
    return _if_it_pays(Group(common, tuple(range(len(sequences)))), sequences)[0].prefix


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    length = min(len(first), len(second))
    return next((at for at in range(length) if first[at] != second[at]), length)


def _if_it_pays(group: Group, sequences: Sequence[Sequence[int]]) -> list[Group]:
    tokens = sum(len(sequences[at]) for at in group.members)
    if group.prefix * (len(group.members) - 1) >= LEAST_SAVED * tokens:
        return [group]
    return [Group(0, (at,)) for at in group.members]
