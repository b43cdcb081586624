"""A published result and the votes behind it, of eight people in two camps, and the replication page of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from ccai_dagster import contracts
from ccai_dagster.deliberation.votes import VoteMatrix, vote_matrix
from ccai_dagster.replication import published_groups, scores
from ccai_dagster.replication.page import ReplicationPage
from ccai_dagster.replication.published_facts import PublishedFigure
from ccai_dagster.replication.published_groups import replicated_groups
from ccai_dagster.replication.published_results import Published

TWO_CAMPS = [[1, 1, -1]] * 5 + [[-1, 1, 1]] * 3
IDS = [40, 10, 30, 20, 60, 50, 80, 70]
"""File order; the camps are given by ascending id."""


def matrix_of(rows: list[list[int | None]], ids: list[int] | None = None) -> VoteMatrix:
    people = ids or list(range(len(rows)))
    cells = [(people[i], j, vote) for i, row in enumerate(rows) for j, vote in enumerate(row) if vote is not None]
    table = pl.DataFrame(cells, schema=["participant_id", "statement_id", "vote"], orient="row")
    return vote_matrix(table, pl.Series(people), pl.Series(range(len(rows[0]))))


def published_of(
    ids: list[int], labels: list[int], agreement: dict[int, tuple[float, ...]], **changes: Any
) -> Published:
    figure = PublishedFigure("gac_threshold", "3.3", "cut", "0.5", "", "match")
    given_ = {"seed_statements": {}, "figures": (figure,), "threshold": 0.5, "n_prompts": 0} | changes
    return Published(np.array(ids), np.array(labels), agreement, **given_)


def camps(**changes: Any) -> tuple[Published, VoteMatrix, pl.DataFrame]:
    """Participants 10 to 50 and 60 to 80 vote as two camps; labels were computed in order of id."""
    ascending = sorted(IDS)
    matrix = matrix_of(TWO_CAMPS, ascending)
    published = published_of(IDS, [0] * 5 + [1] * 3, {0: (0.8, 1 / 3), 1: (1.0, 1.0), 2: (0.2, 2 / 3)}, **changes)
    return published, matrix, replicated_groups(published, matrix, 2)


def statements_table(
    published: Published, matrix: VoteMatrix, groups: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    scored = scores.replicated_scores(published, matrix, groups)
    texts = pl.DataFrame({"statement_id": [0, 1, 2], "text": ["zero", "one", "two"]})
    sources = {"P1": [0, 1], "P2": [2]}
    return scored, scores.replicated_statements(published, matrix, scored, texts, groups, sources, 200, 5)


def constitution_of(sources: dict[str, list[int]]) -> pl.DataFrame:
    return contracts.CONSTITUTION.build(
        [
            {
                "principle_id": key,
                "arm": "published",
                "text": f"Choose {key}.",
                "statement_ids": ids,
                "merged_text": None,
                "gac": None,
                "side": None,
                "decision_ids": [],
            }
            for key, ids in sources.items()
        ]
    )


def replication_page(text: str) -> ReplicationPage:
    """The page of the two camps.

    Args:
        text: Of every statement and principle.
    """
    published, matrix, groups = camps(threshold=0.2)
    scored, statements = statements_table(published, matrix, groups)
    people = pl.DataFrame({"participant_id": sorted(IDS), "polis_group": [1, 1, 1, 1, 1, 0, None, 0]})
    constitution = constitution_of({"P1": [0], "P2": [0, 1], "P3": [1]}).with_columns(text=pl.lit(text))
    figures = [
        ("agreement_shares", "files", "6", 6.0, "equal", None),
        ("gac_threshold", "3.3", "0.2", 0.2, "equal", None),
        ("raters", "4", "58", None, "not computed", "It needs answers of raters; none is public."),
    ]
    return ReplicationPage(
        title=text,
        threshold=0.2,
        replication=contracts.REPLICATION.build(
            [
                {
                    "figure_id": name,
                    "section": section,
                    "what": text,
                    "unit": None,
                    "published": printed,
                    "reproduced": value,
                    "corrected": value,
                    "recomputed_low": None,
                    "recomputed_high": None,
                    "rests_on_groups": None if value is None else name == "agreement_shares",
                    "verdict": verdict,
                    "explanation": why or "as the files have it",
                }
                for name, section, printed, value, verdict, why in figures
            ]
        ),
        evidence=published_groups.alignment_evidence(published, matrix, groups, people, 99, 3),
        scores=scored,
        replicated_statements=statements.with_columns(text=pl.lit(text)),
        replicated_principles=scores.replicated_principles(constitution, statements, scored),
    )
