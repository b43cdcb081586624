"""Statistics over Polis's own groups, equal to what Polis's engine computed, on two real conversations."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from ccai_dagster.deliberation import representative
from ccai_dagster.deliberation.consensus import group_aware_consensus, group_counts
from ccai_dagster.deliberation.representative import consensus_statements, representative_statements
from ccai_dagster.deliberation.votes import Procedure, VoteMatrix, clean_participants, vote_matrix, votes_of_everybody

POLIS = Procedure("default", "column_mean", None, "laplace", "product", 1)
EXACT = 1e-9
SINGLE = 1e-6
"""Polis stores this one statistic in single precision."""


@dataclass(frozen=True)
class Conversation:
    """Votes, and everything that Polis computed from them."""

    votes: pl.DataFrame
    computed: dict[str, Any]

    @property
    def groups(self) -> dict[int, int]:
        """Polis's group of each participant in one; the groups hold base clusters, and these hold people."""
        base = self.computed["base-clusters"]
        people = dict(zip(base["id"], base["members"], strict=True))
        return {
            person: group["id"]
            for group in self.computed["group-clusters"]
            for cluster in group["members"]
            for person in people[cluster]
        }

    def grouped(self, moderated_out: bool) -> tuple[VoteMatrix, np.ndarray]:
        """Votes of those in a group, and their groups."""
        of = self.groups
        matrix = self._matrix(self.votes.filter(pl.col("participant_id").is_in(list(of))), moderated_out)
        return matrix, np.array([of[person] for person in matrix.participant_ids.tolist()])

    def everybody(self, moderated_out: bool) -> VoteMatrix:
        """Votes of everybody, in a group or not."""
        return self._matrix(self.votes, moderated_out)

    def as_imported(self) -> VoteMatrix:
        """Votes of everybody, by way of the tables that an import gives."""
        out = self.computed["mod-out"]
        statements = pl.DataFrame({"statement_id": [each for each in self.computed["tids"] if each not in out]})
        people = self.votes.group_by("participant_id").agg(n_votes=pl.len().cast(pl.Int64))
        raw = people.with_columns(polis_group=pl.lit(None, dtype=pl.Int64))
        participants = clean_participants(raw, {}, 7, "T1", self.votes["statement_id"].n_unique())
        assert not participants["kept"].all(), "some cast few votes, and Polis asks them too"
        return votes_of_everybody(self.votes, statements, participants)

    def _matrix(self, votes: pl.DataFrame, moderated_out: bool) -> VoteMatrix:
        out = set() if moderated_out else set(self.computed["mod-out"])
        statements = pl.Series([each for each in self.computed["tids"] if each not in out])
        counted = votes.filter(pl.col("statement_id").is_in(statements.to_list()))
        return vote_matrix(counted, votes["participant_id"].unique(), statements)


@pytest.fixture(scope="module", params=["150ptpt-3gp-no-strict-no-meta", "below-100-ptpts"])
def conversation(request: pytest.FixtureRequest, test_data: Path) -> Conversation:
    folder = test_data / "polis-oracles" / request.param
    # One of the two files has Polis's names of the columns, the other those of its exports. In both, agree is
    # +1, unlike in the engine's results; the counts in comments.json and in group-votes bear it out.
    named = {"participant_id": ("participant_id", "pid"), "statement_id": ("statement_id", "tid")}
    rows = json.loads((folder / "votes.json").read_text())
    votes = pl.DataFrame(
        {
            **{name: [next(row[key] for key in keys if key in row) for row in rows] for name, keys in named.items()},
            "vote": [row["vote"] for row in rows],
        }
    )
    return Conversation(votes, json.loads((folder / "math-pca2.json").read_text()))


def test_votes_of_every_group(conversation: Conversation) -> None:
    matrix, labels = conversation.grouped(moderated_out=True)
    counts = group_counts(matrix, labels)
    for group, of_group in conversation.computed["group-votes"].items():
        expected = [of_group["votes"][str(statement)] for statement in matrix.statement_ids]
        ours = (counts.agree, counts.disagree, counts.votes)
        for key, counted in zip("ADS", ours, strict=True):
            assert counted[int(group)].tolist() == [each[key] for each in expected]


def test_group_aware_consensus(conversation: Conversation) -> None:
    matrix, labels = conversation.grouped(moderated_out=True)
    counts = group_counts(matrix, labels)
    expected = conversation.computed["group-aware-consensus"]
    assert set(expected) == {str(statement) for statement in matrix.statement_ids}
    gac = group_aware_consensus(counts.agree, counts.votes, POLIS)
    assert gac == pytest.approx([expected[str(each)] for each in matrix.statement_ids], rel=0, abs=EXACT)


def test_representative_statements(conversation: Conversation) -> None:
    table = representative_statements(*conversation.grouped(moderated_out=False))
    expected = {int(group): rows for group, rows in conversation.computed["repness"].items()}
    assert set(table["group_id"]) == set(expected)
    for group, rows in expected.items():
        ours = table.filter(pl.col("group_id") == group).sort("rank").to_dicts()
        assert [row["statement_id"] for row in ours] == [row["tid"] for row in rows]
        for row, theirs in zip(ours, rows, strict=True):
            assert row["side"] == theirs["repful-for"]
            assert row["best_agreed"] == theirs.get("best-agree", False)
            assert (row["n_side"], row["n_votes"]) == (theirs["n-success"], theirs["n-trials"])
            assert row["probability"] == pytest.approx(theirs["p-success"], rel=0, abs=EXACT)
            assert row["probability_z"] == pytest.approx(theirs["p-test"], rel=0, abs=EXACT)
            assert row["ratio"] == pytest.approx(theirs["repness"], rel=0, abs=EXACT)
            assert row["ratio_z"] == pytest.approx(theirs["repness-test"], rel=0, abs=SINGLE)


def test_consensus_statements(conversation: Conversation) -> None:
    table = consensus_statements(conversation.as_imported())
    for side, rows in conversation.computed["consensus"].items():
        ours = table.filter(pl.col("side") == side).sort("rank").to_dicts()
        assert [row["statement_id"] for row in ours] == [row["tid"] for row in rows]
        for row, theirs in zip(ours, rows, strict=True):
            assert (row["n_side"], row["n_votes"]) == (theirs["n-success"], theirs["n-trials"])
            assert row["probability"] == pytest.approx(theirs["p-success"], rel=0, abs=1e-12)
            assert row["probability_z"] == pytest.approx(theirs["p-test"], rel=0, abs=1e-12)


def test_extremity_and_priority_with_the_components_of_polis(conversation: Conversation) -> None:
    computed = conversation.computed
    # In the engine agree is -1, so that its means have the other sign.
    mean, components = -np.array(computed["pca"]["center"]), np.array(computed["pca"]["comps"])
    extremity = representative.statement_extremity(mean, components)
    assert extremity == pytest.approx(computed["pca"]["comment-extremity"], rel=0, abs=EXACT)
    matrix, _ = conversation.grouped(moderated_out=True)
    about = pl.DataFrame({"statement_id": computed["tids"]}).with_columns(
        is_meta=pl.col("statement_id").is_in(computed["meta-tids"])
    )
    table = representative.comment_priorities(matrix, extremity, about)
    expected = computed["comment-priorities"]
    assert set(expected) == {str(statement) for statement in table["statement_id"]}
    assert table["priority"].to_list() == pytest.approx(
        [expected[str(statement)] for statement in table["statement_id"]], rel=0, abs=SINGLE
    )


def test_extremity_with_our_own_components(conversation: Conversation) -> None:
    computed = conversation.computed
    mean, components = representative.vote_components(conversation.everybody(moderated_out=True), computed["mod-out"])
    assert mean == pytest.approx(-np.array(computed["pca"]["center"]), rel=0, abs=EXACT)
    assert np.abs(components @ np.array(computed["pca"]["comps"]).T) == pytest.approx(np.eye(2), abs=1e-6)
    extremity = representative.statement_extremity(mean, components)
    assert extremity == pytest.approx(computed["pca"]["comment-extremity"], rel=0, abs=1e-6)
