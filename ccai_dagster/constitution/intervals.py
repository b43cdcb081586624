"""Intervals beside the scores of statements and principles, for whoever looks at them.

Nothing is selected or worded by an interval; this only puts it next to the score it belongs to.
"""

from __future__ import annotations

import polars as pl

ENDS = ("gac_low", "gac_high")


def statement_intervals(table: pl.DataFrame, consensus_stability: pl.DataFrame) -> pl.DataFrame:
    """Add `gac_low` and `gac_high`, the 90 % interval, behind the column `gac`.

    Args:
        table: Has `statement_id`, each once, and `gac`.

    Returns:
        The rows in their order; both null where a statement has no interval.
    """
    ends = consensus_stability.select("statement_id", *ENDS)
    return _behind_gac(table.join(ends, on="statement_id", how="left", validate="1:1", maintain_order="left"))


def principle_intervals(constitution: pl.DataFrame, consensus_stability: pl.DataFrame) -> pl.DataFrame:
    """Add `gac_low` and `gac_high` behind the score of each principle.

    The score of a principle is the highest among its statements, so it has that statement's interval; of two
    statements with the same score, the one with the lower id.

    Returns:
        The rows in their order; both null where no statement of a principle has an interval.
    """
    sources = constitution.select("principle_id", statement_id="statement_ids").explode("statement_id")
    highest = (
        sources.join(consensus_stability.select("statement_id", "gac", *ENDS), on="statement_id")
        .filter(pl.col("gac").is_not_null())
        .sort("gac", "statement_id", descending=[True, False])
        .unique("principle_id", keep="first", maintain_order=True)
        .select("principle_id", *ENDS)
    )
    return _behind_gac(constitution.join(highest, on="principle_id", how="left", maintain_order="left"))


def around_the_cut(
    selected_statements: pl.DataFrame, consensus_stability: pl.DataFrame, reach: int = 5
) -> pl.DataFrame:
    """Return the last statements that reach the cut and the first that don't, with how sure that is.

    Args:
        reach: Statements on each side.
    """
    ranked = selected_statements.sort("rank")
    near = pl.concat([ranked.filter("selected").tail(reach), ranked.filter(~pl.col("selected")).head(reach)])
    share = consensus_stability.select("statement_id", "selection_probability")
    return (
        statement_intervals(near, consensus_stability)
        .join(share, on="statement_id", how="left", maintain_order="left")
        .select("rank", "statement_id", "selected", "gac", *ENDS, "selection_probability", "text")
    )


def _behind_gac(table: pl.DataFrame) -> pl.DataFrame:
    others = [name for name in table.columns if name not in ENDS]
    place = others.index("gac") + 1
    return table.select(*others[:place], *ENDS, *others[place:])
