"""Chains of corrections: which rows replace which, and which row ends each chain.

A row replaces the rows that its `supersedes` names. Several rows may be replaced by one: a resolving row
replaces the decisions of two people, a merge two smaller ones. One row may be replaced by several only where
it decides on each of its subjects for itself, and no two of these name the same subject.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from itertools import combinations

from ccai_dagster.decisions.decision import SEPARATE_KINDS
from ccai_dagster.errors import ConsultationError


def chain_roots(
    kind: str, earlier: Mapping[str, Sequence[str]], subjects: Mapping[str, Iterable[str]]
) -> dict[str, str]:
    """Return the rows that no other row replaces, each with the first row of its chain.

    Where a row replaces several, the chain goes on with the one it names first.

    Args:
        kind: The kind of ledger, for messages and for whether rows may be split.
        earlier: For every row the rows it replaces, by id.
        subjects: The subjects of every row, by id.

    Raises:
        ConsultationError: A row replaces an unknown one, two rows replace the same one, or rows replace each
            other in a circle. The message is the same for any order of rows.
    """
    later: dict[str, list[str]] = {}
    for decision_id in sorted(earlier):
        for replaced in earlier[decision_id]:
            if replaced not in earlier:
                raise ConsultationError(
                    f"{kind} ledger, decision {decision_id}: supersedes {replaced}, which is not in this ledger; "
                    "correct the id."
                )
            later.setdefault(replaced, []).append(decision_id)
    try:
        TopologicalSorter({each: sorted(earlier[each]) for each in sorted(earlier)}).prepare()
    except CycleError as error:
        circle = ", ".join(sorted(set(error.args[1])))
        raise ConsultationError(
            f"{kind} ledger: {circle} supersede each other in a circle; empty `supersedes` in the row that was "
            "decided first."
        ) from None
    for replaced, rows in later.items():
        for one, other in combinations(rows, 2):
            if kind not in SEPARATE_KINDS or set(subjects[one]) & set(subjects[other]):
                raise ConsultationError(
                    f"{kind} ledger: {one} and {other} both supersede {replaced}; let the later one supersede "
                    "the other instead."
                )
    return {last: _root(last, earlier) for last in earlier if last not in later}


def replaced_rows(decision_id: str, earlier: Mapping[str, Sequence[str]]) -> list[str]:
    """Return every row that a row replaces, directly or through others, the nearest first, each once."""
    found: dict[str, None] = {}
    waiting = list(earlier[decision_id])
    while waiting:
        each = waiting.pop(0)
        if each not in found:
            found[each] = None
            waiting += earlier[each]
    return list(found)


def _root(decision_id: str, earlier: Mapping[str, Sequence[str]]) -> str:
    while earlier[decision_id]:
        decision_id = earlier[decision_id][0]
    return decision_id
