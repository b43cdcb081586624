"""Votes of a large public, drawn from the model of `sample.simulation`.

The simulation compares every participant with every statement to decide what each one sees; for thirty million
votes this module gives everybody the statements from a random place on, in random strides, instead.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import polars as pl

from sample.simulation import simulate_participants, votes_by_utility

AT_ONCE = 2_000_000
"""Votes drawn at a time."""


def write_votes(path: Path, participants: int, statements: int, votes: int, seed: int = 1) -> None:
    """Write `participant_id`, `statement_id`, `vote` as Parquet, sorted by id; three groups, half with many votes.

    Args:
        path: Left alone if it is there.
        votes: To expect; the number drawn differs by about a percent.
    """
    if path.exists():
        return
    shares = (0.5, 0.3, 0.2)
    counts = [round(participants * share) for share in shares[1:]]
    known = pl.DataFrame(
        {
            "group": ["A", "B", "C"],
            "participants": [participants - sum(counts), *counts],
            "x": [-1.0, 1.0, 0.5],
            "y": [0.0, -0.8, 1.2],
            "spread": [0.5, 0.5, 0.5],
        }
    )
    typical = votes / participants
    people = simulate_participants(
        known,
        seed,
        typical_votes=(max(1, round(0.6 * typical)), min(statements, round(1.5 * typical))),
        few_voters=0.05,
    )
    generator = np.random.default_rng([seed, 7])
    appeal, x, y = generator.normal([[0.4], [0.0], [0.0]], [[1.0], [1.0], [0.8]], (3, statements))
    strides = np.array([step for step in range(1, statements) if math.gcd(step, statements) == 1] or [1])
    begin = generator.integers(0, statements, participants)
    stride = strides[generator.integers(0, len(strides), participants)]
    many = np.minimum(people["n_votes"].to_numpy(), statements)
    ends = np.cumsum(many)
    parts, first = [], 0
    while first < participants:
        last = max(int(np.searchsorted(ends, (ends[first - 1] if first else 0) + AT_ONCE)), first + 1)
        row = np.repeat(np.arange(first, last), many[first:last])
        turn = np.arange(len(row)) - np.repeat(
            ends[first:last] - many[first:last] - (ends[first] - many[first]), many[first:last]
        )
        column = (begin[row] + turn * stride[row]) % statements
        order = np.argsort(row * statements + column)
        row, column = row[order], column[order]
        position_x, position_y = people["x"].to_numpy()[row], people["y"].to_numpy()[row]
        utility = appeal[column] + x[column] * position_x + y[column] * position_y
        utility += people["leniency"].to_numpy()[row]
        parts.append(
            pl.DataFrame(
                {
                    "participant_id": people["participant_id"].to_numpy()[row],
                    "statement_id": column,
                    "vote": votes_by_utility(utility, generator),
                }
            )
        )
        first = last
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    pl.concat(parts).write_parquet(unfinished)
    unfinished.rename(path)
