"""Consensus under every labelling, and what the correction does to each statement and published principle.

A principle stands as long as one of its sources reaches the published threshold: merging had joined statements
that each reached it. Which further statements would have come in is in `replicated_statements`; how they would have
been worded nobody knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from ccai_dagster.contracts import REPLICATED_PRINCIPLES, REPLICATED_SCORES, REPLICATED_STATEMENTS
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.deliberation.consensus import gac_scores
from ccai_dagster.deliberation.stability import INTERVAL
from ccai_dagster.deliberation.votes import VoteMatrix
from ccai_dagster.replication.published_groups import BY_ID, BY_POSITION, PUBLISHED_PROCEDURE, kinds_of, labels_of
from ccai_dagster.replication.published_results import Published


def replicated_scores(published: Published, matrix: VoteMatrix, replicated: pl.DataFrame) -> pl.DataFrame:
    """Return the table `replicated_scores`: the consensus of every statement under every labelling."""
    labels = labels_of(replicated, matrix)
    tables = []
    for kind in kinds_of(replicated).to_dicts():
        scores = gac_scores(matrix, labels[kind["labelling"]], PUBLISHED_PROCEDURE)
        tables.append(
            scores.select(
                *(pl.lit(kind[name]).alias(name) for name in ("labelling", "origin", "attached")),
                pl.lit(kind["seed"], dtype=pl.Int64).alias("seed"),
                "statement_id",
                "gac",
                "group_agreement",
                "group_votes",
                reaches=pl.col("gac").fill_null(-1.0) >= published.threshold,
            )
        )
    return pl.concat(tables).select(list(REPLICATED_SCORES.fields))


def replicated_statements(
    published: Published,
    matrix: VoteMatrix,
    scores: pl.DataFrame,
    raw_statements: pl.DataFrame,
    groups: pl.DataFrame,
    sources: Mapping[str, list[int]],
    bootstraps: int,
    seed: int,
) -> pl.DataFrame:
    """Return the table `replicated_statements`: published, reproduced and corrected side by side.

    Polarization does not depend on groups and is computed once. A statement that a published group never voted
    on counts as consensus 0, since nobody in that group agreed.

    Args:
        scores: REPLICATED_SCORES.
        groups: REPLICATED_GROUPS.
        sources: Statements behind each published principle, by principle id.
    """
    texts = dict(raw_statements.select("statement_id", "text").iter_rows())
    reproduced, corrected = _of(scores, BY_POSITION), _of(scores, BY_ID)
    again = scores.filter((pl.col("origin") == "recomputed") & (pl.col("attached") == "id"))
    reaching = dict(again.group_by("statement_id").agg(pl.col("reaches").sum()).iter_rows())
    everybody = np.zeros(len(matrix.participant_ids), dtype=np.int64)
    polarized = {row["statement_id"]: row for row in gac_scores(matrix, everybody, PUBLISHED_PROCEDURE).to_dicts()}
    labels = labels_of(groups, matrix)
    before = gac_intervals(matrix, labels[BY_POSITION], bootstraps, seed)
    after = gac_intervals(matrix, labels[BY_ID], bootstraps, seed)
    principles: dict[int, list[str]] = {}
    for principle, statements in sources.items():
        for statement in statements:
            principles.setdefault(statement, []).append(principle)
    return REPLICATED_STATEMENTS.build(
        [
            {
                "statement_id": key,
                "text": texts.get(key, ""),
                "published_gac": float(np.prod(published.agreement[key])),
                "reproduced_gac": reproduced[key]["gac"] or 0.0,
                "corrected_gac": corrected[key]["gac"] or 0.0,
                "reproduced_low": before[0, place],
                "reproduced_high": before[1, place],
                "corrected_low": after[0, place],
                "corrected_high": after[1, place],
                "published_agreement": list(published.agreement[key]),
                "reproduced_agreement": reproduced[key]["group_agreement"],
                "corrected_agreement": corrected[key]["group_agreement"],
                "crossing": _crossing(reproduced[key]["reaches"], corrected[key]["reaches"]),
                "principle_ids": principles.get(key, []),
                "seeds_reaching": reaching.get(key, 0),
                "polarization_index": polarized[key]["polarization_index"],
                "adjusted_polarization_index": polarized[key]["adjusted_polarization_index"],
            }
            for place, key in enumerate(matrix.statement_ids.tolist())
        ]
    )


def _of(scores: pl.DataFrame, labelling: str) -> dict[int, dict[str, Any]]:
    part = scores.filter(pl.col("labelling") == labelling)
    return {row["statement_id"]: row for row in part.iter_rows(named=True)}


def _crossing(before: bool, after: bool) -> str:
    if before:
        return "stays above" if after else "falls below"
    return "rises above" if after else "stays below"


def gac_intervals(matrix: VoteMatrix, labels: np.ndarray, bootstraps: int, seed: int) -> np.ndarray:
    """Return the 90 % bootstrap interval of every statement's consensus, with the groups held as they are.

    Participants are drawn with replacement and keep their group, so this is the sampling error of the shares of
    agreement alone; what new groups add is in `consensus_stability`. A resample in which a group has no vote
    on a statement counts as consensus 0.

    Args:
        labels: Shape (participants,).

    Returns:
        Shape (2, statements): lower and upper ends.
    """
    people = len(matrix.participant_ids)
    drawn = np.random.default_rng(seed).multinomial(people, np.full(people, 1 / people), size=bootstraps)
    cast, agree = matrix.cast.astype(float), (matrix.values == 1).astype(float)
    consensus = np.ones((bootstraps, len(matrix.statement_ids)))
    for group in range(int(labels.max()) + 1):
        times = drawn[:, labels == group].astype(float)
        votes, agreeing = times @ cast[labels == group], times @ agree[labels == group]
        consensus *= np.divide(agreeing, votes, out=np.zeros_like(votes), where=votes > 0)
    return np.quantile(consensus, INTERVAL, axis=0)


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


def replicated_principles(constitution: pl.DataFrame, statements: pl.DataFrame, scores: pl.DataFrame) -> pl.DataFrame:
    """Return the table `replicated_principles`.

    Args:
        constitution: CONSTITUTION of the published arm, in its printed order.
        scores: REPLICATED_SCORES.
    """
    by_statement = {row["statement_id"]: row for row in statements.iter_rows(named=True)}
    again = scores.filter((pl.col("origin") == "recomputed") & (pl.col("attached") == "id") & pl.col("reaches"))
    reaching: dict[int, set[int]] = {seed: set() for seed in scores["seed"].drop_nulls().unique().sort().to_list()}
    for seed, statement in again.select("seed", "statement_id").iter_rows():
        reaching[seed].add(statement)
    rows = []
    for rank, row in enumerate(constitution.iter_rows(named=True), start=1):
        sources = [by_statement[key] for key in row["statement_ids"]]
        lost = [each["statement_id"] for each in sources if each["crossing"] in ("falls below", "stays below")]
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
