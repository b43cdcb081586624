"""Constitutions as tables: derived from the public's votes and decisions, or read from a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from ccai_dagster.constitution.selection import WordedStatements
from ccai_dagster.contracts import CONSTITUTION
from ccai_dagster.core.digest import value_digest
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.text import counted


def constitution_digest(constitution: pl.DataFrame) -> str:
    """Return the digest of what a model is trained on: principle ids and texts, sorted by id.

    Scores and the order that follows from them are not part of it, since principles are drawn with equal
    probability: new votes that leave the principles as they are change nothing that follows.
    """
    return value_digest(constitution.select("principle_id", "text").sort("principle_id").rows())


NO_PRINCIPLES = value_digest([])
"""Digest of a constitution of which nothing is worded yet; nobody can sign it."""


def check_distinct(constitution: pl.DataFrame, where: str | None = None) -> None:
    """Refuse a constitution that holds the same principle twice: it would be drawn twice as often.

    Case and white space do not make two principles different.

    Args:
        where: The file it was read from, if it was.

    Raises:
        ConsultationError: Names the file or the arm, and both principles.
    """
    first: dict[str, str] = {}
    for arm, key, text in constitution.select("arm", "principle_id", "text").sort("principle_id").iter_rows():
        words = " ".join(text.casefold().split())
        if words in first:
            raise ConsultationError(
                f"{where or f'The constitution of arm {arm!r}'}: principles {first[words]} and {key} have the same "
                "text, so it would be drawn twice as often as the others. Leave one of them out, or merge their "
                "statements."
            )
        first[words] = key


def derive_constitution(
    arm: str, selected: pl.DataFrame, worded: Sequence[WordedStatements], unreachable: str | None = None
) -> pl.DataFrame:
    """Return the constitution that follows from the selection and the decisions on wording.

    A principle is in if at least one of its statements reaches the cut, on the side that it was worded for: agreed
    with, or, for a principle of avoidance, rejected. Principles stand in falling order of the highest consensus
    among these statements, as in Huang et al. (2024), appendix A.6.

    Args:
        unreachable: Why no votes whatever could reach the cut, if so.

    Returns:
        CONSTITUTION; without a row as long as statements reach the cut and none is worded as a principle.

    Raises:
        ConsultationError: No principle is left of those that are worded, or two have the same text.
    """
    chosen = {row["statement_id"]: row for row in selected.filter("selected").iter_rows(named=True)}
    rows = []
    for each in worded:
        wording = each.wording
        reached = [chosen[key] for key in wording.statement_ids if key in chosen]
        scores = [row["gac"] for row in reached if row["side"] == wording.side]
        if wording.text is not None and scores:
            rows.append(
                {
                    "principle_id": wording.principle_id,
                    "arm": arm,
                    "text": wording.text,
                    "statement_ids": list(wording.statement_ids),
                    "merged_text": each.source.text,
                    "gac": max(scores),
                    "side": wording.side,
                    "decision_ids": list(each.decision_ids),
                }
            )
    if not rows and chosen and all(each.wording.text is None for each in worded):
        return CONSTITUTION.empty()
    if not rows and unreachable:
        raise ConsultationError(f"The constitution of arm {arm!r} has no principle, and {unreachable}.")
    if not rows:
        raise ConsultationError(f"The constitution of arm {arm!r} has no principle: {_why_none(selected, len(worded))}")
    rows.sort(key=lambda row: (-row["gac"], row["principle_id"]))
    constitution = CONSTITUTION.build(rows)
    check_distinct(constitution)
    return constitution


def _why_none(selected: pl.DataFrame, wordings: int) -> str:
    """Say what keeps every statement from becoming a principle, and what to do."""
    chosen = sorted(selected.filter("selected")["statement_id"])
    if not chosen:
        scores = selected["gac"].drop_nulls().to_list()
        top = f" (the highest consensus is {max(scores):.3f})" if scores else ""
        return f"no statement reaches the cut{top}. `ccai review threshold` shows what other values would select."
    return (
        f"{counted(len(chosen), 'statement reaches', 'statements reach')} the cut, {counted(wordings, 'wording')} on "
        f"record. `ccai review wording` asks for them one by one: statements {', '.join(map(str, chosen[:20]))}"
        f"{' ...' if len(chosen) > 20 else ''}."
    )


def read_constitution(path: Path, arm: str, may_lack_texts: bool = False) -> pl.DataFrame:
    """Read a constitution that no vote produced.

    Args:
        path: CSV with `principle_id`, `text` and optionally `statement_ids`, separated by spaces.
        may_lack_texts: Whether a principle of which only the id is known is taken with an empty text.

    Raises:
        ConsultationError: Unreadable, a column or cell is missing, or an id or a text stands twice; names it.
    """
    try:
        table = pl.read_csv(path, infer_schema=False)
    except (OSError, UnicodeDecodeError, pl.exceptions.PolarsError) as error:
        raise ConsultationError(f"{path}: not readable as CSV in UTF-8 ({error}).") from error
    if not {"principle_id", "text"} <= set(table.columns) <= {"principle_id", "text", "statement_ids"}:
        raise ConsultationError(
            f"{path}: columns are {', '.join(table.columns)}; they must be principle_id, text and, if known, "
            "statement_ids."
        )
    if not table.height:
        raise ConsultationError(f"{path}: no principles. A constitution needs at least one.")
    rows, seen = [], dict[str, int]()
    for number, row in enumerate(table.iter_rows(named=True), start=1):
        key, text = (row["principle_id"] or "").strip(), (row["text"] or "").strip()
        if not key or not (text or may_lack_texts):
            raise ConsultationError(
                f"{path}, data row {number}: principle_id or text is empty. Fill it in; the arm {arm} waits until then."
            )
        if key.split() != [key]:
            raise ConsultationError(
                f"{path}, data row {number}: principle_id {key!r} must be one word without spaces, since prompts and "
                "questions name it."
            )
        if key in seen:
            raise ConsultationError(f"{path}: principle {key} stands in data rows {seen[key]} and {number}.")
        seen[key] = number
        sources = (row.get("statement_ids") or "").split()
        if bad := [each for each in sources if not each.isdigit()]:
            raise ConsultationError(f"{path}, data row {number}: statement id {bad[0]!r} is no whole number.")
        rows.append(
            {
                "principle_id": key,
                "arm": arm,
                "text": text,
                "statement_ids": [int(each) for each in sources],
                "merged_text": None,
                "gac": None,
                "side": None,
                "decision_ids": [],
            }
        )
    constitution = CONSTITUTION.build(rows)
    check_distinct(constitution.filter(pl.col("text") != ""), str(path))
    return constitution
