"""The simulated public: probabilities by hand, determinism, recovery of groups, the form of the export."""

from __future__ import annotations

import csv
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from sample.simulation import arrival_times, cast, simulate_participants, simulate_votes, write_classic_export

OPENED = datetime(2025, 3, 3, 8, tzinfo=UTC)


def groups(*rows: tuple[str, int, float, float, float]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=["group", "participants", "x", "y", "spread"], orient="row")


def statements(*rows: tuple[float, float, float]) -> pl.DataFrame:
    return pl.DataFrame(
        [(number, *row) for number, row in enumerate(rows)],
        schema=["statement_id", "appeal", "direction_x", "direction_y"],
        orient="row",
    )


TWO = groups(("left", 30, -2.0, 0.0, 0.2), ("right", 20, 2.0, 0.0, 0.2))
FEW = statements((3.0, 0.0, 0.0), (0.0, 1.5, 0.0), (-3.0, 0.0, 0.0), (0.0, -1.5, 0.0))


def test_participants_have_the_counts_ids_and_centres_of_their_groups() -> None:
    people = simulate_participants(TWO, 1, first_id=100)
    assert people["participant_id"].to_list() == list(range(100, 150))
    assert dict(people.group_by("group").len().iter_rows()) == {"left": 30, "right": 20}
    means = dict(people.group_by("group").agg(pl.col("x").mean()).iter_rows())
    assert means["left"] == pytest.approx(-2.0, abs=0.15)
    assert means["right"] == pytest.approx(2.0, abs=0.15)
    assert people.head(30)["group"].n_unique() == 2, "ids must not give groups away"


def test_shares_follow_the_ordered_logit() -> None:
    # At utility 0 (leniency averages out by symmetry) agreeing and disagreeing are equally likely; without
    # leniency both are L(-0.5) = 0.3775, and leniency of spread 0.5 moves them by less than 0.01.
    crowd = groups(("all", 20_000, 0.0, 0.0, 0.0))
    votes = simulate_votes(statements((0.0, 0.0, 0.0)), crowd, 3, typical_votes=(1, 1), few_voters=0.0)
    shares = {vote: count / 20_000 for vote, count in votes.group_by("vote").len().iter_rows()}
    expected = 1 / (1 + math.exp(0.5))
    assert shares[1] == pytest.approx(expected, abs=0.02)
    assert shares[-1] == pytest.approx(expected, abs=0.02)
    assert shares[0] == pytest.approx(1 - 2 * expected, abs=0.02)


def test_direction_divides_and_appeal_unites() -> None:
    people = simulate_participants(TWO, 5)
    votes = simulate_votes(FEW, TWO, 5, typical_votes=(4, 4), few_voters=0.0).join(people, on="participant_id")
    mean = {
        (group, statement): value
        for group, statement, value in votes.group_by("group", "statement_id").agg(pl.col("vote").mean()).iter_rows()
    }
    assert min(mean["left", 0], mean["right", 0]) > 0.7
    assert max(mean["left", 2], mean["right", 2]) < -0.7
    assert mean["left", 1] < -0.7 < 0.7 < mean["right", 1]
    assert mean["right", 3] < -0.7 < 0.7 < mean["left", 3]


@settings(max_examples=20)
@given(seed=st.integers(0, 2**31), low=st.integers(1, 3), few=st.floats(0, 1))
def test_votes_are_unique_valid_and_independent_of_row_order(seed: int, low: int, few: float) -> None:
    first = simulate_votes(FEW, TWO, seed, typical_votes=(low, 4), few_voters=few)
    again = simulate_votes(FEW.reverse(), TWO.reverse(), seed, typical_votes=(low, 4), few_voters=few)
    assert_frame_equal(first, again)
    assert not first.select("participant_id", "statement_id").is_duplicated().any()
    assert set(first["vote"]) <= {-1, 0, 1}
    wanted = simulate_participants(TWO, seed, typical_votes=(low, 4), few_voters=few)
    cast_by = wanted.join(first.group_by("participant_id").len(), on="participant_id")
    assert cast_by.filter(pl.col("len") != pl.col("n_votes").clip(upper_bound=4)).is_empty()


def test_another_seed_gives_other_votes() -> None:
    assert not simulate_votes(FEW, TWO, 1).equals(simulate_votes(FEW, TWO, 2))


def test_nobody_votes_on_what_was_not_shown_yet() -> None:
    shown = FEW.with_columns(shown_from=pl.Series([1, 11, None, 50]))
    votes = simulate_votes(shown, TWO, 2, typical_votes=(4, 4), few_voters=0.0)
    first = dict(votes.group_by("statement_id").agg(pl.col("participant_id").min()).iter_rows())
    assert first == {0: 1, 1: 11, 3: 50}


def test_arrivals_are_even_and_inside_the_open_time() -> None:
    times = arrival_times(3, OPENED, OPENED + timedelta(hours=4))
    assert times == [OPENED + timedelta(hours=hour) for hour in (1, 2, 3)]


def test_revotes_come_before_the_vote_that_counts() -> None:
    votes = simulate_votes(FEW, TWO, 4, typical_votes=(4, 4), few_voters=0.0)
    arrivals = dict(enumerate(arrival_times(50, OPENED, OPENED + timedelta(days=1)), start=1))
    rows = cast(votes, arrivals, 4, revotes=1.0)
    assert rows.height == 2 * votes.height
    last = rows.sort("voted_at").unique(["participant_id", "statement_id"], keep="last")
    keys = ["participant_id", "statement_id"]
    assert_frame_equal(last.select(*keys, "vote").sort(keys), votes.sort(keys))
    by_pair = rows.sort("voted_at").group_by(keys, maintain_order=True).agg("vote")
    assert all(earlier != later for earlier, later in by_pair["vote"].to_list())
    assert rows.filter(pl.col("voted_at") < OPENED).is_empty()
    assert cast(votes, arrivals, 4, revotes=0.0).height == votes.height


def test_export_by_hand(tmp_path: Path) -> None:
    known = pl.DataFrame(
        {
            "statement_id": [0, 1],
            "author_id": [0, 7],
            "created_at": [OPENED, OPENED + timedelta(seconds=1.5)],
            "moderated": [1, -1],
            "text": ['Say "please", always', "no"],
        }
    )
    votes = pl.DataFrame(
        {
            "participant_id": [7, 7, 7],
            "statement_id": [0, 0, 1],
            "vote": [-1, 1, 0],
            "voted_at": [OPENED + timedelta(seconds=second) for second in (5, 6, 7)],
        }
    )
    summary = {"topic": "t", "url": "u", "conversation-description": "a\nb"}
    write_classic_export(tmp_path, known, votes, {7: 2}, summary, 1)
    with (tmp_path / "comments.csv").open(newline="") as handle:
        comments = {row["comment-id"]: row for row in csv.DictReader(handle)}
    assert comments["0"] == {
        "timestamp": "1740988800000",
        "datetime": "Mon Mar 03 08:00:00 GMT 2025",
        "comment-id": "0",
        "author-id": "0",
        "agrees": "1",
        "disagrees": "1",
        "moderated": "1",
        "comment-body": 'Say "please", always',
    }
    assert comments["1"]["timestamp"] == "1740988801500"
    assert (tmp_path / "votes.csv").read_text().splitlines() == [
        "timestamp,datetime,comment-id,voter-id,vote",
        "1740988805000,Mon Mar 03 08:00:05 GMT 2025,0,7,-1",
        "1740988806000,Mon Mar 03 08:00:06 GMT 2025,0,7,1",
        "1740988807000,Mon Mar 03 08:00:07 GMT 2025,1,7,0",
    ]
    assert (tmp_path / "participants-votes.csv").read_text().splitlines() == [
        "participant,group-id,n-comments,n-votes,n-agree,n-disagree,0,1",
        "7,2,1,2,1,0,1,0",
    ]
    assert (tmp_path / "summary.csv").read_text().splitlines()[:7] == [
        "topic,t",
        "url,u",
        "views,1",
        "voters,1",
        "voters-in-conv,1",
        "commenters,1",
        "comments,2",
    ]
