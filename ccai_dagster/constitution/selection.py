"""Which statements reach the cut: by a threshold on consensus, or until a number of ideas is reached."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from ccai_dagster.contracts import SELECTED_STATEMENTS
from ccai_dagster.decisions.outcomes import Ideas, Wording, WordingSource, merges, wording_source, wordings
from ccai_dagster.decisions.values import Cut


@dataclass(frozen=True)
class WordedStatements:
    """A decision on wording with the text it was worded from."""

    wording: Wording
    source: WordingSource

    @property
    def decision_ids(self) -> tuple[str, ...]:
        """The merge, if there is one, and the wording."""
        merge = (self.source.merge_id,) if self.source.merge_id else ()
        return (*merge, self.wording.decision_id)


def worded_statements(
    wording_ledger: pl.DataFrame, merge_ledger: pl.DataFrame, statements: pl.DataFrame
) -> list[WordedStatements]:
    """Return every decision on wording that counts, with the text it was worded from.

    A wording none of whose statements is in is left out: nothing can come of it.

    Raises:
        ConsultationError: A wording of several statements without a merge.
    """
    merged = merges(merge_ledger)
    texts = dict(statements.select("statement_id", "text").iter_rows())
    return [
        WordedStatements(each, wording_source(each, merged, texts))
        for each in wordings(wording_ledger)
        if any(statement in texts for statement in each.statement_ids)
    ]


def ranking(gac: np.ndarray, statement_ids: np.ndarray) -> np.ndarray:
    """Return positions from the highest consensus to the lowest; no score comes last, ties go by id."""
    return np.lexsort((statement_ids, -np.nan_to_num(gac, nan=-1.0)))


def reaches_cut(
    statement_ids: Sequence[int], ideas: Mapping[int, Ideas], cut: Cut
) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function that tells which statements reach the cut, given their consensus.

    A statement that nobody has split into ideas counts as one idea of its own, so that it can be ranked; it is
    reported as undecided elsewhere.

    Args:
        statement_ids: In the order of the scores that will be asked about.
    """
    ids = np.asarray(statement_ids)
    own = [set(ideas[key].ideas) if key in ideas else {f"statement {key}"} for key in ids.tolist()]

    def by_threshold(gac: np.ndarray) -> np.ndarray:
        reached: np.ndarray = np.nan_to_num(gac, nan=-1.0) >= cut.threshold
        return reached

    def by_ideas(gac: np.ndarray) -> np.ndarray:
        chosen, counted = np.zeros(len(ids), dtype=bool), set[str]()
        for place in ranking(gac, ids):
            together = counted | own[place]
            if len(together) > cut.idea_budget or np.isnan(gac[place]):
                break
            chosen[place], counted = True, together
        return chosen

    return by_threshold if cut.rule == "threshold" else by_ideas


def select_statements(
    gac_scores: pl.DataFrame,
    statements: pl.DataFrame,
    ideas: Mapping[int, Ideas],
    cut: Cut,
    cut_decision_ids: Sequence[str],
    worded: Sequence[WordedStatements],
) -> pl.DataFrame:
    """Return the table `selected_statements`: every statement that is in, ranked, with what becomes of it.

    Args:
        cut_decision_ids: The decisions that set the rule.
        worded: All decisions on wording that count. A statement that reaches the cut and stands in none is
            `undecided`.
    """
    table = gac_scores.select("statement_id", "gac").join(
        statements.select("statement_id", "text", "decision_ids"), on="statement_id", validate="1:1"
    )
    ids = table["statement_id"].to_numpy()
    gac = table["gac"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    chosen = reaches_cut(ids.tolist(), ideas, cut)(gac)
    by_statement: dict[int, list[WordedStatements]] = {}
    for each in worded:
        for statement in each.wording.statement_ids:
            by_statement.setdefault(statement, []).append(each)
    rows, ideas_above = [], set[str]()
    moderated = dict(zip(table["statement_id"], table["decision_ids"].to_list(), strict=True))
    texts = dict(zip(table["statement_id"], table["text"], strict=True))
    for rank, place in enumerate(ranking(gac, ids), start=1):
        key = int(ids[place])
        decided = by_statement.get(key, [])
        own = list(ideas[key].ideas) if key in ideas else []
        counted = set(own or [f"statement {key}"])
        rows.append(
            {
                "statement_id": key,
                "text": texts[key],
                "gac": None if np.isnan(gac[place]) else float(gac[place]),
                "rank": rank,
                "selected": bool(chosen[place]),
                "ideas": own,
                "new_ideas": len(counted - ideas_above),
                "fate": _fate(bool(chosen[place]), decided),
                "decision_ids": [
                    *moderated[key],
                    *([ideas[key].decision_id] if key in ideas else []),
                    *cut_decision_ids,
                    *(name for each in decided for name in each.decision_ids),
                ],
            }
        )
        ideas_above |= counted
    return SELECTED_STATEMENTS.build(rows)


def _fate(selected: bool, decided: Sequence[WordedStatements]) -> str:
    if not selected:
        return "below the cut"
    if not decided:
        return "undecided"
    return "principle" if any(each.wording.text is not None for each in decided) else "left out"
