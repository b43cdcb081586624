"""What the correction does to the published principles.

A principle stands as long as one of its sources reaches the published threshold: merging had joined statements
that each reached it. Which further statements would have come in is told in `scores`; how they would have been
worded nobody knows.
"""

from __future__ import annotations

import polars as pl

from ccai_dagster.contracts import REPLICATED_PRINCIPLES
from ccai_dagster.errors import ConsultationError


def sources_of(constitution: pl.DataFrame, statement_ids: set[int]) -> dict[str, list[int]]:
    """Return the statements behind each principle of the published constitution, in its order.

    Args:
        constitution: CONSTITUTION of the published arm.
        statement_ids: Statements with a published score.

    Raises:
        ConsultationError: A principle names no source, or one without a published score.
    """
    found = {row["principle_id"]: row["statement_ids"] for row in constitution.iter_rows(named=True)}
    for principle, statements in found.items():
        if not statements:
            raise ConsultationError(
                f"The published constitution names no source of principle {principle}; add `statement_ids`."
            )
        if unknown := [str(each) for each in statements if each not in statement_ids]:
            raise ConsultationError(
                f"Principle {principle} names statement {', '.join(unknown)}, which has no published agreement; "
                "correct the id."
            )
    return found


def replicated_principles(
    constitution: pl.DataFrame, statements: pl.DataFrame, scores: pl.DataFrame
) -> pl.DataFrame:
    """Return the table `replicated_principles`.

    Args:
        constitution: CONSTITUTION of the published arm, in its printed order.
        statements: REPLICATED_STATEMENTS.
        scores: REPLICATED_SCORES.
    """
    by_statement = {row["statement_id"]: row for row in statements.iter_rows(named=True)}
    again = scores.filter(
        (pl.col("origin") == "recomputed") & (pl.col("attached") == "id") & pl.col("reaches")
    )
    reaching: dict[int, set[int]] = {
        seed: set() for seed in scores["seed"].drop_nulls().unique().sort().to_list()
    }
    for seed, statement in again.select("seed", "statement_id").iter_rows():
        reaching[seed].add(statement)
    rows = []
    for rank, row in enumerate(constitution.iter_rows(named=True), start=1):
        sources = [by_statement[key] for key in row["statement_ids"]]
        lost = [
            each["statement_id"] for each in sources if each["crossing"] in ("falls below", "stays below")
        ]
        rows.append(
            {
                "principle_id": row["principle_id"],
                "text": row["text"],
                "statement_ids": row["statement_ids"],
                "published_rank": rank,
                "corrected_rank": None,
                "reproduced_gac": max(each["reproduced_gac"] for each in sources),
                "corrected_gac": max(each["corrected_gac"] for each in sources),
                "lost_statement_ids": lost,
                "fate": _fate(len(lost), len(sources)),
                "lost_seeds": [seed for seed, ids in reaching.items() if not ids & set(row["statement_ids"])],
            }
        )
    kept = [row for row in rows if row["fate"] != "loses all its sources"]
    kept.sort(key=lambda row: (-row["corrected_gac"], row["published_rank"]))
    for place, row in enumerate(kept, start=1):
        row["corrected_rank"] = place
    return REPLICATED_PRINCIPLES.build(rows)


def _fate(lost: int, sources: int) -> str:
    if lost == sources:
        return "loses all its sources"
    return "loses some sources" if lost else "keeps all its sources"
