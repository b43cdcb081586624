"""Which of many token sequences begin alike, so that a model need read the beginning once.

Questions to a feedback model repeat themselves: one prompt in two orders, under a principle and its opposite,
with each of two responses, all of them after the same answered examples. What is computed for a shared beginning (keys
and values of every layer) serves all that follow. Beginnings are shared on two levels: what all sequences have in
common (`common_beginning`), and after it what groups of them have (`shared_prefixes`). How that is read is the
backend's business (`ccai_dagster.stages.transformers_model`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

LEAST_SAVED = 0.2
"""Share of a group's tokens that must be saved; below it the second pass costs more than it saves."""


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
    heads = [
        list(sequence)[: len(sequence) - last] for sequence, last in zip(sequences, unshared, strict=True)
    ]
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

    Args:
        sequences: As for `shared_prefixes`.
        unshared: As for `shared_prefixes`.
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
