"""Groups as Polis finds them: on its own conversations, and by hand."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import adjusted_rand_score, silhouette_score

from ccai_dagster import contracts
from ccai_dagster.deliberation.groups import (
    Grouping,
    first_rows_k_means,
    group_participants,
    largest_number,
    polis_groups,
)
from ccai_dagster.deliberation.k_means import silhouette
from ccai_dagster.deliberation.opinion_map import opinion_map
from ccai_dagster.deliberation.votes import Procedure, VoteMatrix, clean_participants, in_context, vote_matrix


def polis(number_of_groups: int | None = None) -> Procedure:
    return Procedure("polis", "column_mean", number_of_groups, "laplace", "product", 1)


@dataclass(frozen=True)
class Conversation:
    """Votes as Polis sees them, and what its engine made of them."""

    name: str
    votes: pl.DataFrame
    computed: dict[str, Any]

    @property
    def in_by_rule(self) -> list[int]:
        """Whoever is in the conversation by the votes as they are now."""
        raw = self.votes.group_by("participant_id").agg(
            n_votes=pl.len().cast(pl.Int64), polis_group=pl.lit(None, dtype=pl.Int64)
        )
        people = clean_participants(raw, {}, 7, "T1", self.votes["statement_id"].n_unique())
        return people.filter("kept")["participant_id"].to_list()

    def matrix(self, kept: list[int]) -> VoteMatrix:
        """Votes of these people on statements that are in, with what else Polis sees."""
        everybody = self.votes["participant_id"].unique()
        fates = ["kept" if person in kept else "too few votes" for person in everybody.to_list()]
        statements = [each for each in self.computed["tids"] if each not in self.computed["mod-out"]]
        counted = self.votes.filter(pl.col("participant_id").is_in(kept), pl.col("statement_id").is_in(statements))
        return in_context(
            vote_matrix(counted, pl.Series(kept), pl.Series(statements)),
            self.votes,
            pl.DataFrame({"participant_id": everybody, "fate": fates}),
        )

    @property
    def base_clusters(self) -> list[tuple[list[int], tuple[float, float]]]:
        """Members and centre of each."""
        base = self.computed["base-clusters"]
        return list(zip(base["members"], zip(base["x"], base["y"], strict=True), strict=True))

    def agreement(self, matrix: VoteMatrix, grouping: Grouping) -> float:
        """Adjusted Rand index against Polis's own groups."""
        base = self.computed["base-clusters"]
        members = dict(zip(base["id"], base["members"], strict=True))
        theirs = {
            person: group["id"]
            for group in self.computed["group-clusters"]
            for cluster in group["members"]
            for person in members[cluster]
        }
        return float(adjusted_rand_score([theirs[each] for each in matrix.participant_ids.tolist()], grouping.labels))


@pytest.fixture(scope="module", params=["150ptpt-3gp-no-strict-no-meta", "below-100-ptpts"])
def conversation(request: pytest.FixtureRequest, test_data: Path) -> Conversation:
    folder = test_data / "polis-oracles" / request.param
    computed = json.loads((folder / "math-pca2.json").read_text())
    votes = pl.DataFrame(
        [
            (
                row.get("participant_id", row.get("pid")),
                row.get("statement_id", row.get("tid")),
                int(row["vote"]),
                datetime.fromtimestamp(float(row["modified"]) / 1000, UTC),
            )
            for row in json.loads((folder / "votes.json").read_text())
        ],
        schema={"participant_id": pl.Int64, "statement_id": pl.Int64, "vote": pl.Int8, "voted_at": contracts.TIME},
        orient="row",
    )
    return Conversation(request.param, votes, computed)


def test_those_in_the_conversation_are_those_of_polis_but_for_early_comers(conversation: Conversation) -> None:
    # In Polis, whoever was once among the fifteen most active stays in; the votes do not tell who that was.
    theirs, ours = set(conversation.computed["in-conv"]), set(conversation.in_by_rule)
    assert ours < theirs
    assert len(theirs - ours) == 4
    first = conversation.votes.group_by("participant_id").agg(pl.col("voted_at").min()).sort("voted_at").head(16)
    assert theirs - ours <= set(first["participant_id"].to_list())


def test_positions_are_those_of_polis(conversation: Conversation) -> None:
    matrix = conversation.matrix(conversation.computed["in-conv"])
    positions = opinion_map(matrix, polis()).positions
    place = {person: row for row, person in enumerate(matrix.participant_ids.tolist())}
    ours = np.array(
        [positions[[place[each] for each in members]].mean(axis=0) for members, _ in conversation.base_clusters]
    )
    theirs = np.array([centre for _, centre in conversation.base_clusters])
    signs = np.sign((ours * theirs).sum(axis=0))
    assert np.abs(ours * signs - theirs).max() < 1e-9


@pytest.mark.parametrize("number", [None, 3])
@pytest.mark.parametrize("by_rule", [True, False])
def test_groups_are_those_of_polis(conversation: Conversation, number: int | None, by_rule: bool) -> None:
    matrix = conversation.matrix(conversation.in_by_rule if by_rule else conversation.computed["in-conv"])
    found = group_participants(matrix, polis(number))
    assert len(set(found.labels.tolist())) == 3
    expected = {"150ptpt-3gp-no-strict-no-meta": 0.92, "below-100-ptpts": 1.0}[conversation.name]
    assert conversation.agreement(matrix, found) >= expected


def test_from_the_base_clusters_of_polis_its_groups_follow_exactly(conversation: Conversation) -> None:
    # So what is left of the difference is the history of the base clusters, which votes do not hold.
    base = conversation.computed["base-clusters"]
    centres, sizes = np.array([base["x"], base["y"]]).T, np.array(base["count"], dtype=float)
    ours, _ = first_rows_k_means(centres, sizes, 3, 20)
    theirs = {cluster: group["id"] for group in conversation.computed["group-clusters"] for cluster in group["members"]}
    assert adjusted_rand_score([theirs[each] for each in base["id"]], ours) == 1.0


def test_in_another_order_of_joining_polis_finds_other_groups(conversation: Conversation) -> None:
    # Why `default` does not start from whoever joined first: on the smaller conversation two people who change
    # places are enough for two groups instead of three.
    matrix = replace(conversation.matrix(conversation.computed["in-conv"]), joined=None)
    expected = {"150ptpt-3gp-no-strict-no-meta": 0.983, "below-100-ptpts": 0.739}[conversation.name]
    assert conversation.agreement(matrix, group_participants(matrix, polis())) == pytest.approx(expected, abs=1e-3)


def people(votes: dict[int, int]) -> pl.DataFrame:
    rows = [(person, number, None) for person, number in votes.items()]
    return pl.DataFrame(rows, schema=contracts.RAW_PARTICIPANTS.dtypes, orient="row")


def test_the_most_active_fill_up_to_fifteen() -> None:
    counts = {1: 9, **{person: 3 for person in range(2, 12)}, **{person: 4 for person in range(12, 18)}, 30: 0}
    kept = clean_participants(people(counts), {}, 7, "T1", 40).filter("kept")["participant_id"].to_list()
    assert kept == [1, *range(2, 10), *range(12, 18)]
    excluded = clean_participants(people(counts), {12: "E1"}, 7, "T1", 40).filter("kept")["participant_id"]
    assert excluded.to_list() == [1, *range(2, 11), *range(13, 18)]
    assert clean_participants(people({1: 0, 2: 1}), {}, 7, "T1", 40).filter("kept")["participant_id"].to_list() == [2]
    assert clean_participants(people(counts), {}, 7, "T1").filter("kept")["participant_id"].to_list() == [1]


def test_whoever_voted_on_everything_is_in() -> None:
    counts = {person: 3 for person in range(1, 21)} | {21: 2}
    kept = clean_participants(people(counts), {}, 7, "T1", 3).filter("kept")["participant_id"].to_list()
    assert kept == list(range(1, 21))
    assert clean_participants(people(counts), {}, 7, "T1", 4).filter("kept").height == 15


def votes_of(cells: list[tuple[int, int, int]]) -> pl.DataFrame:
    base = datetime(2024, 1, 1, tzinfo=UTC)
    rows = [(*cell, base.replace(minute=59 - place)) for place, cell in enumerate(cells)]
    schema = {"participant_id": pl.Int64, "statement_id": pl.Int64, "vote": pl.Int8, "voted_at": contracts.TIME}
    return pl.DataFrame(rows, schema=schema, orient="row")


def test_context_is_taken_from_the_raw_votes() -> None:
    raw = votes_of([(1, 1, 1), (1, 2, -1), (2, 1, -1), (3, 1, 1), (3, 8, 1), (4, 9, 1), (4, 1, -1)])
    fates = pl.DataFrame({"participant_id": [1, 2, 3, 4], "fate": ["kept", "kept", "too few votes", "excluded"]})
    plain = vote_matrix(raw.filter(pl.col("participant_id") <= 2), pl.Series([1, 2]), pl.Series([1, 2]))
    matrix = in_context(plain, raw, fates)
    assert matrix.moderated_out == 1  # 8; 9 was voted on by somebody excluded only
    assert matrix.below_minimum is not None
    assert matrix.below_minimum.participant_ids.tolist() == [3]
    assert (matrix.below_minimum.column.tolist(), matrix.below_minimum.vote.tolist()) == ([0], [1])
    assert matrix.joined is not None
    assert matrix.joined.tolist() == [2, 1]  # the rows above run back in time
    timeless = in_context(plain, raw.with_columns(voted_at=pl.lit(None, dtype=contracts.TIME)), fates)
    assert timeless.joined is None


def test_statements_moderated_out_count_as_passes_in_the_scaling() -> None:
    raw = votes_of([(1, 1, 1), (1, 2, -1), (1, 3, 1), (2, 1, -1), (3, 1, 1), (3, 2, 1), (3, 3, 1)])
    matrix = vote_matrix(raw, pl.Series([1, 2, 3]), pl.Series([1, 2, 3, 4]))  # nobody voted on 4
    out = replace(matrix, moderated_out=6)
    without, with_them = (opinion_map(each, polis()).positions[:, 0] for each in (matrix, out))
    # sqrt((3 + 6) / (votes + 6)) against sqrt(3 / votes)
    assert with_them / without == pytest.approx(np.sqrt([9 / 9, 9 / 7, 9 / 9]) / np.sqrt([3 / 3, 3 / 1, 3 / 3]))


def test_k_means_starts_from_the_first_distinct_rows() -> None:
    points = np.array([[0.0, 0], [0, 0], [1, 0], [10, 0], [11, 0]])
    clusters, centres = first_rows_k_means(points, np.ones(5), 2, 20)
    assert clusters.tolist() == [0, 0, 0, 1, 1]
    assert centres == pytest.approx(np.array([[1 / 3, 0], [10.5, 0]]))
    weighted = first_rows_k_means(points, np.array([1.0, 1, 6, 1, 3]), 2, 20)[1]
    assert weighted == pytest.approx(np.array([[0.75, 0], [10.75, 0]]))
    assert len(first_rows_k_means(np.zeros((4, 2)), np.ones(4), 3, 20)[1]) == 1


def test_numbers_tried_grow_with_the_base_clusters() -> None:
    assert [largest_number(clusters) for clusters in (1, 11, 12, 24, 35, 36, 100)] == [2, 2, 3, 4, 4, 5, 5]


def test_the_larger_number_wins_a_tie_and_the_lonely_count_nothing() -> None:
    # Twelve base clusters at two places far apart would leave two groups; at one place all is a tie at 0.
    points = np.array([[0.0, 0], [3, 4]])
    centres, groups, silhouettes = polis_groups(points, np.ones(2), None)
    assert (centres.tolist(), groups.tolist(), silhouettes) == (points.tolist(), [0, 1], {2: 0.0})
    square = np.array([[x, y] for x in (0.0, 10.0) for y in (0.0, 1.0)] * 3) + np.arange(12)[:, None] * 1e-3
    _, _, both = polis_groups(square, np.ones(12), None)
    assert sorted(both) == [2, 3]


def test_silhouette_is_scikit_learns_where_everybody_weighs_the_same() -> None:
    generator = np.random.default_rng(0)
    points, clusters = generator.normal(size=(60, 2)), generator.integers(0, 3, 60)
    expected = silhouette_score(points, clusters)
    assert silhouette(points, [clusters], np.ones(60)) == pytest.approx([expected])
    # Whole weights are people at the same place.
    counts = generator.integers(1, 4, 60)
    repeated = silhouette_score(np.repeat(points, counts, axis=0), np.repeat(clusters, counts))
    assert silhouette(points, [clusters], counts.astype(float)) == pytest.approx([repeated])
