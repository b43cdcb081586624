"""A simulated public: votes drawn from a documented model of opinion, when they were cast, and their export.

It knows no particular consultation; `sample.build` has the parameters of the embedded one.

The model. A participant i of opinion group g has a position in a plane and a leniency,

    z_i ~ Normal(m_g, s_g^2 I)        b_i ~ Normal(0, 0.5^2),

a statement j has an appeal a_j, equal for everybody, and a direction d_j in the same plane. The utility

    u_ij = a_j + d_j . z_i + b_i

gives the vote through an ordered logit with the cut points -0.5 and 0.5, where L(t) = 1 / (1 + exp(-t)):

    P(agree) = L(u - 0.5)    P(disagree) = L(-u - 0.5)    P(pass) = 1 - P(agree) - P(disagree).

So a statement with a high appeal and a short direction is agreed on by all groups, and one whose direction
points at a group divides. Each participant votes on a random subset of what was open to them, without
replacement: `typical_votes` gives the range of its size, and a share of `few_voters` leaves after one to six
votes. The two-dimensional ideal-point form with an ordered response is the usual one for roll-call votes; its
parameters here are chosen, not estimated from anybody.

The export is Polis's classic one, in the form it had before 2023-08-29, habits included: totals count replaced votes,
and rows are unsorted.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

LENIENCY_SPREAD = 0.5
CUT = 0.5
FEW = (1, 6)
"""Votes of a participant who leaves early: fewest and most."""
CELLS_AT_ONCE = 4_000_000
"""Participants times statements held in memory at a time."""


def simulate_participants(
    groups: pl.DataFrame,
    seed: int,
    *,
    typical_votes: tuple[int, int] = (20, 60),
    few_voters: float = 0.05,
    first_id: int = 1,
) -> pl.DataFrame:
    """Draw the participants of a consultation.

    Args:
        groups: One row a known group: `group` (text), `participants` (count), `x`, `y` (its centre) and
            `spread` (standard deviation in both directions). The order of the rows does not matter.
        typical_votes: Fewest and most votes of a participant who stays; uniform between them.
        few_voters: Share, 0 to 1, of participants who leave early.
        first_id: Id of the first participant; the others follow without gaps.

    Returns:
        Sorted by `participant_id`: `group`, `x`, `y`, `leniency`, and `n_votes`, the number of statements
        the participant is willing to vote on. Ids say nothing about groups.
    """
    known = groups.sort("group")
    rng = np.random.default_rng([seed, 0])
    counts = known["participants"].to_numpy()
    total = int(counts.sum())
    group = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    spread = known["spread"].to_numpy()[group]
    x = known["x"].to_numpy()[group] + spread * rng.standard_normal(total)
    y = known["y"].to_numpy()[group] + spread * rng.standard_normal(total)
    leniency = LENIENCY_SPREAD * rng.standard_normal(total)
    n_votes = rng.integers(typical_votes[0], typical_votes[1] + 1, total)
    leaves = rng.random(total) < few_voters
    n_votes = np.where(leaves, rng.integers(FEW[0], FEW[1] + 1, total), n_votes)
    return pl.DataFrame(
        {
            "participant_id": np.arange(first_id, first_id + total),
            "group": known["group"].to_numpy()[group],
            "x": x,
            "y": y,
            "leniency": leniency,
            "n_votes": n_votes,
        },
        schema_overrides={"participant_id": pl.Int64, "group": pl.String, "n_votes": pl.Int64},
    )


def simulate_votes(
    statements: pl.DataFrame,
    groups: pl.DataFrame,
    seed: int,
    *,
    typical_votes: tuple[int, int] = (20, 60),
    few_voters: float = 0.05,
    first_id: int = 1,
) -> pl.DataFrame:
    """Draw the votes of a consultation; the formula is in the docstring of the module.

    Args:
        statements: `statement_id`, `appeal`, `direction_x`, `direction_y` (logits), and optionally
            `shown_from`: the first participant id it is shown to, null for nobody. Order does not matter.
        groups: The known groups, as `simulate_participants` takes them.

    Returns:
        Sorted by `participant_id`, `statement_id`, with `vote` (agree +1, disagree -1, pass 0).
    """
    participants = simulate_participants(
        groups, seed, typical_votes=typical_votes, few_voters=few_voters, first_id=first_id
    )
    known = statements.sort("statement_id")
    if "shown_from" not in known.columns:
        known = known.with_columns(shown_from=pl.lit(0))
    known = known.filter(pl.col("shown_from").is_not_null())
    rng = np.random.default_rng([seed, 1])
    rows = max(1, CELLS_AT_ONCE // max(1, known.height))
    parts = [_votes_of(participants.slice(start, rows), known, rng) for start in range(0, participants.height, rows)]
    return pl.concat(parts)


def _votes_of(participants: pl.DataFrame, statements: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    person = participants["participant_id"].to_numpy()
    keys = rng.random((len(person), statements.height), dtype=np.float32)
    keys[statements["shown_from"].to_numpy()[None, :] > person[:, None]] = np.inf
    open_to = np.isfinite(keys).sum(axis=1)
    wanted = np.minimum(participants["n_votes"].to_numpy(), open_to)
    # The subset is the `wanted` smallest of random keys; a padded zero serves those with nothing to vote on.
    ordered = np.concatenate([np.full((len(person), 1), -1, np.float32), np.sort(keys, axis=1)], axis=1)
    row, column = np.nonzero(keys <= ordered[np.arange(len(person)), wanted][:, None])
    # Products are written out: a matrix product may round differently on another machine.
    utility = (
        statements["appeal"].to_numpy()[column]
        + statements["direction_x"].to_numpy()[column] * participants["x"].to_numpy()[row]
        + statements["direction_y"].to_numpy()[column] * participants["y"].to_numpy()[row]
        + participants["leniency"].to_numpy()[row]
    )
    return pl.DataFrame(
        {
            "participant_id": person[row],
            "statement_id": statements["statement_id"].to_numpy()[column],
            "vote": votes_by_utility(utility, rng),
        },
        schema={"participant_id": pl.Int64, "statement_id": pl.Int64, "vote": pl.Int8},
    )


def votes_by_utility(utility: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a vote, int8 of -1, 0 or 1, for each utility in logits; the formula is in the docstring of the module."""
    draw = rng.random(len(utility))
    agrees = draw < _logistic(utility - CUT)
    disagrees = draw > 1.0 - _logistic(-utility - CUT)
    return agrees.astype(np.int8) - disagrees.astype(np.int8)


def _logistic(value: np.ndarray) -> np.ndarray:
    return np.asarray(1.0 / (1.0 + np.exp(-value)))


def arrival_times(n_participants: int, opened: datetime, closed: datetime) -> list[datetime]:
    """Return when each participant begins, in order of their ids: evenly spread over the open time."""
    step = (closed - opened) / (n_participants + 1)
    return [opened + step * (number + 1) for number in range(n_participants)]


def cast(votes: pl.DataFrame, arrivals: dict[int, datetime], seed: int, *, revotes: float = 0.01) -> pl.DataFrame:
    """Put votes on a clock, and let some people change their mind.

    Args:
        votes: `participant_id`, `statement_id`, `vote`: the votes that count in the end.
        arrivals: When each participant begins.
        revotes: Share of the votes that replace an earlier, different one.

    Returns:
        The rows of `votes.csv` with `voted_at` (UTC, whole milliseconds), the replaced votes included, sorted
        as Polis sorts them: by statement, participant and time. Votes follow each other by 3 to 25 seconds.
    """
    ordered = votes.sort("participant_id", "statement_id")
    rng = np.random.default_rng([seed, 2])
    ordered = ordered.with_columns(
        turn=pl.Series(rng.permutation(ordered.height)),
        pause=pl.Series(rng.integers(3_000, 25_001, ordered.height)),
        changed=pl.Series(rng.random(ordered.height) < revotes),
        earlier=pl.Series(rng.integers(1, 3, ordered.height)),
    )
    ordered = ordered.sort("participant_id", "turn").with_columns(
        begun=pl.col("participant_id").replace_strict(arrivals, return_dtype=pl.Datetime("ms", "UTC")),
        elapsed=pl.col("pause").cum_sum().over("participant_id"),
    )
    ordered = ordered.with_columns(voted_at=pl.col("begun") + pl.duration(milliseconds=pl.col("elapsed")))
    replaced = ordered.filter("changed").with_columns(
        vote=((pl.col("vote") + 1 + pl.col("earlier")) % 3 - 1).cast(pl.Int8),
        voted_at=pl.col("voted_at") - pl.duration(milliseconds=1_500),
    )
    columns = ["participant_id", "statement_id", "vote", "voted_at"]
    return pl.concat([ordered.select(columns), replaced.select(columns)]).sort(
        "statement_id", "participant_id", "voted_at"
    )


def write_classic_export(
    folder: Path,
    statements: pl.DataFrame,
    votes: pl.DataFrame,
    polis_groups: dict[int, int],
    summary: dict[str, str],
    seed: int,
) -> None:
    """Write the four files of Polis's classic export.

    As Polis does: `agrees` and `disagrees` in `comments.csv` count replaced votes too, the matrix in
    `participants-votes.csv` holds the last vote, neither file is sorted, and times are milliseconds.

    Args:
        folder: Made if absent; files there are replaced.
        statements: `statement_id`, `author_id`, `created_at` (UTC), `moderated` (1, 0, -1), `text`.
        votes: As `cast` returns them.
        polis_groups: The group-id of each participant; left empty for participants it lacks.
        summary: First lines of `summary.csv` (`topic`, `url`) and its `conversation-description`.
        seed: Of the order of the rows.
    """
    folder.mkdir(parents=True, exist_ok=True)
    last = votes.sort("voted_at").unique(["participant_id", "statement_id"], keep="last")
    matrix: dict[int, dict[int, int]] = {}
    for person, statement, vote in last.select("participant_id", "statement_id", "vote").iter_rows():
        matrix.setdefault(person, {})[statement] = vote
    written = statements["author_id"].to_list()
    rng = np.random.default_rng([seed, 3])
    counted = {
        (statement, vote): count for statement, vote, count in votes.group_by("statement_id", "vote").len().iter_rows()
    }
    known = statements.sort("statement_id")
    comments = [
        [
            *_when(row["created_at"]),
            row["statement_id"],
            row["author_id"],
            *(counted.get((row["statement_id"], vote), 0) for vote in (1, -1)),
            row["moderated"],
            row["text"],
        ]
        for row in known.iter_rows(named=True)
    ]
    ids = known["statement_id"].to_list()
    people = []
    for person in sorted(matrix):
        cells = list(matrix[person].values())
        counts = [written.count(person), len(cells), cells.count(1), cells.count(-1)]
        people.append(
            [person, polis_groups.get(person, ""), *counts, *(matrix[person].get(number, "") for number in ids)]
        )
    columns = ["voted_at", "statement_id", "participant_id", "vote"]
    cast_rows = [[*_when(when), *cells] for when, *cells in votes.select(columns).iter_rows()]
    totals = {
        "views": len(matrix),
        "voters": len(matrix),
        "voters-in-conv": len(polis_groups),
        "commenters": len(set(written) & set(matrix)),
        "comments": len(ids),
        "groups": len(set(polis_groups.values())),
    }
    described = {**{name: summary[name] for name in ("topic", "url")}, **totals}
    described["conversation-description"] = summary["conversation-description"]
    head = ["timestamp", "datetime", "comment-id"]
    _write(folder / "summary.csv", [list(item) for item in described.items()])
    _write(
        folder / "comments.csv",
        [[*head, "author-id", "agrees", "disagrees", "moderated", "comment-body"]]
        + [comments[place] for place in rng.permutation(len(comments))],
    )
    _write(folder / "votes.csv", [[*head, "voter-id", "vote"], *cast_rows])
    _write(
        folder / "participants-votes.csv",
        [["participant", "group-id", "n-comments", "n-votes", "n-agree", "n-disagree", *ids]]
        + [people[place] for place in rng.permutation(len(people))],
    )


def _when(when: datetime) -> tuple[int, str]:
    """Milliseconds since 1970, and the date as Java prints it whatever the locale."""
    days = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
    months = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
    java = f"{days[when.weekday()]} {months[when.month - 1]} {when:%d %H:%M:%S} GMT {when.year}"
    return (when - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1), java


def _write(path: Path, rows: Iterable[Iterable[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as handle:
        csv.writer(handle, lineterminator="\n").writerows(rows)
