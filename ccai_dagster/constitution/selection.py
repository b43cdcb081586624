"""Which statements reach the cut: by a threshold on consensus, or until a number of ideas is reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import polars as pl

from ccai_dagster.contracts import SELECTED_STATEMENTS, TOO_FEW_VOTED
from ccai_dagster.decisions.outcomes import Ideas, Wording, WordingSource, merges, wording_source, wordings
from ccai_dagster.decisions.values import Cut
from ccai_dagster.deliberation.votes import Side


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


class ReachesCut(Protocol):
    """Tells which statements reach the cut; arrays of shape (statements,), NaN where there is nothing.

    `gac_disagree` (consensus on rejection) and `participation` (smallest share of a group that voted) may be left out
    where the cut does not ask for them.
    """

    def __call__(
        self, gac: np.ndarray, gac_disagree: np.ndarray | None = None, participation: np.ndarray | None = None
    ) -> np.ndarray:
        """Return shape (statements,), bool."""


def reaches_cut(statement_ids: Sequence[int], ideas: Mapping[int, Ideas], cut: Cut) -> ReachesCut:
    """Return a function that tells which statements reach the cut, given their consensus.

    A statement that nobody has split into ideas counts as one idea of its own, so that it can be ranked; it is
    reported as undecided elsewhere.

    Args:
        statement_ids: In the order of the scores that will be asked about.
    """
    ids = np.asarray(statement_ids)

    def by_threshold(score: np.ndarray) -> np.ndarray:
        reached: np.ndarray = np.nan_to_num(score, nan=-1.0) >= cut.threshold
        return reached

    def by_ideas(score: np.ndarray) -> np.ndarray:
        chosen, counted, unknown = np.zeros(len(ids), dtype=bool), set[str](), np.isnan(score).tolist()
        for place in ranking(score, ids).tolist():
            key = statement_ids[place]
            together = counted.union(ideas[key].ideas if key in ideas else (f"statement {key}",))
            if len(together) > cut.idea_budget or unknown[place]:
                break
            chosen[place], counted = True, together
        return chosen

    rule = by_threshold if cut.rule == "threshold" else by_ideas
    return lambda gac, gac_disagree=None, participation=None: rule(cut_scores(cut, gac, gac_disagree, participation)[0])


def cut_scores(
    cut: Cut, gac: np.ndarray, gac_disagree: np.ndarray | None, participation: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the score by which each statement is ranked, and on which side.

    Args:
        gac: Consensus on agreement, shape (statements,); NaN where there is none.
        gac_disagree: Consensus on rejection, same shape; not looked at where the cut leaves rejected statements out.
        participation: Smallest share of a group that voted, same shape; not looked at where the cut asks for none.

    Returns:
        The score, NaN for a statement that cannot be selected; and whether it is that of rejection, which it is
        where the groups are more of one mind in rejecting the statement than in agreeing with it.

    Raises:
        ValueError: The cut asks for what is None.
    """
    rejected, score = np.zeros(len(gac), dtype=bool), gac
    if cut.rejected:
        if gac_disagree is None:
            raise ValueError("the cut selects rejected statements, but their consensus is not given")
        rejected = np.nan_to_num(gac_disagree, nan=-1.0) > np.nan_to_num(gac, nan=-1.0)
        score = np.where(rejected, gac_disagree, gac)
    if cut.participation:
        if participation is None:
            raise ValueError("the cut asks for a share of every group, but who voted is not given")
        score = np.where(np.nan_to_num(participation) >= cut.participation, score, np.nan)
    return score, rejected


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
        worded: All decisions on wording that count. A statement that reaches the cut and stands in none that is for
            its side is `undecided`.
    """
    table = gac_scores.select("statement_id", "gac", "gac_disagree", "least_participation").join(
        statements.select("statement_id", "text", "decision_ids"), on="statement_id", validate="1:1"
    )
    ids = table["statement_id"].to_numpy()
    agreed, against, least = (
        table[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        for name in ("gac", "gac_disagree", "least_participation")
    )
    score, rejected = cut_scores(cut, agreed, against, least)
    gac = np.where(rejected, against, agreed)
    too_few = np.isnan(score) & ~np.isnan(gac)
    chosen = reaches_cut(ids.tolist(), ideas, cut)(agreed, against, least)
    by_statement: dict[int, list[WordedStatements]] = {}
    for each in worded:
        for statement in each.wording.statement_ids:
            by_statement.setdefault(statement, []).append(each)
    rows, ideas_above = [], set[str]()
    moderated = dict(zip(table["statement_id"], table["decision_ids"].to_list(), strict=True))
    texts = dict(zip(table["statement_id"], table["text"], strict=True))
    # What cannot be selected comes last, by its score; so the ideas of those above are those that the cut counted.
    order = np.lexsort((ids, -np.nan_to_num(gac, nan=-1.0), np.isnan(score)))
    for rank, place in enumerate(order, start=1):
        key = int(ids[place])
        side: Side = "disagree" if rejected[place] else "agree"
        decided = [each for each in by_statement.get(key, []) if each.wording.rests_on(side)]
        own = list(ideas[key].ideas) if key in ideas else []
        counted = set(own or [f"statement {key}"])
        rows.append(
            {
                "statement_id": key,
                "text": texts[key],
                "gac": None if np.isnan(gac[place]) else float(gac[place]),
                "side": side,
                "rank": rank,
                "selected": bool(chosen[place]),
                "ideas": own,
                "new_ideas": len(counted - ideas_above),
                "fate": TOO_FEW_VOTED if too_few[place] else _fate(bool(chosen[place]), decided),
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
