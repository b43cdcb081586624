"""Scores of the published consultation of Collective Constitutional AI, as published and as corrected.

The published labels stand in the order of the participants' ids beside rows in another order. "As published"
gives the n-th label to the n-th lowest id and reads each row's votes; this reproduces every figure. "Corrected"
gives the labels to the participants they were computed for.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ccai_dagster.deliberation.consensus import gac_scores
from ccai_dagster.deliberation.votes import Procedure, VoteMatrix, vote_matrix

PLAIN = Procedure("paper", "zero", None, "none", "product", 1)
THRESHOLD = 0.723


@dataclass(frozen=True)
class Published:
    """Votes that count, and the labels beside each row by id and in the order of the file."""

    matrix: VoteMatrix
    beside_their_row: np.ndarray
    in_file_order: np.ndarray


def numbers(path: Path) -> pl.DataFrame:
    table = pl.read_csv(path, infer_schema=False)
    wanted = [name for name in table.columns if name in ("participant", "group-id") or name.isdigit()]
    return table.select(pl.col(wanted).cast(pl.Float64))


@pytest.fixture(scope="module")
def published(test_data: Path) -> Published:
    table = numbers(test_data / "ccai" / "clean_votes.csv")
    statements = [name for name in table.columns if name.isdigit()]
    votes = (
        table.unpivot(statements, index="participant", variable_name="statement_id", value_name="vote")
        .drop_nulls("vote")
        .select(
            pl.col("participant").cast(pl.Int64).alias("participant_id"),
            pl.col("statement_id").cast(pl.Int64),
            pl.col("vote").cast(pl.Int8),
        )
    )
    people = table["participant"].cast(pl.Int64)
    matrix = vote_matrix(votes, people, pl.Series([int(name) for name in statements]))
    by_id = table.sort("participant")["group-id"].cast(pl.Int64).to_numpy()
    return Published(matrix, by_id, table["group-id"].cast(pl.Int64).to_numpy())


def test_counts(published: Published, test_data: Path) -> None:
    assert published.matrix.shape == (1002, 275)
    raw = numbers(test_data / "ccai" / "participants-votes.csv")
    cast = raw.select(name for name in raw.columns if name.isdigit()).count()
    assert sum(cast.row(0)) == 38_252
    assert sorted(np.bincount(published.beside_their_row).tolist()) == [383, 619]


def test_figures_as_published(published: Published) -> None:
    table = gac_scores(published.matrix, published.beside_their_row, PLAIN)
    gac = table["gac"]
    assert [round(value, 3) for value in (gac.mean(), gac.median(), gac.min(), gac.max())] == [
        0.643,
        0.704,
        0.042,
        0.963,
    ]
    assert round(table["polarization_index"].median(), 3) == 0.247
    assert round(table["adjusted_polarization_index"].median(), 3) == 0.231
    assert int((gac >= THRESHOLD).sum()) == 116


def test_agreement_of_every_group_as_published(published: Published, test_data: Path) -> None:
    table = gac_scores(published.matrix, published.beside_their_row, PLAIN)
    theirs = pl.read_csv(test_data / "ccai" / "clean_comments.csv").select(
        pl.col("comment-id").alias("statement_id"), "group_0_consensus", "group_1_consensus"
    )
    both = table.join(theirs, on="statement_id", how="inner", validate="1:1")
    assert both.height == 275
    for group in (0, 1):
        ours = both["group_agreement"].list.get(group).to_numpy()
        assert ours == pytest.approx(both[f"group_{group}_consensus"].to_numpy(), rel=0, abs=1e-12)


def test_corrected_figures(published: Published) -> None:
    gac = gac_scores(published.matrix, published.in_file_order, PLAIN)["gac"]
    assert 0.625 <= round(gac.mean(), 3) <= 0.628
    assert 0.692 <= round(gac.median(), 3) <= 0.695
    assert int((gac >= THRESHOLD).sum()) == 113
