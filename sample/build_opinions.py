"""Regenerates the opinion questions of the embedded consultation from its opinion model.

    python -m sample.build_opinions

`opinion_questions.csv` has one row a question: its options and their places on a scale, its `location` and its
direction in the plane of the known groups. Everybody of the consultation is asked everything, after the vote. A person
at z with leniency b (drawn as for the votes: `sample.simulation`) has the utility

    u = location + direction . z + b

and chooses by an ordered logit among the K options in the order of their places, with L(t) = 1 / (1 + exp(-t)):

    P(at most the k-th) = L(c_k - u),    c_k = 1.2 (k - K / 2),

unless they refuse, with the probability `refusal`. Choosing these parameters chose the outcome, as with the votes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ccai_dagster.consultation.folder import SAMPLE
from sample.build import FOLDER, SEED, TYPICAL_VOTES, opinion_groups
from sample.simulation import simulate_participants

STEP = 1.2
"""Between two cut points, in logits."""
ANSWERS_SEED = 4
"""Added to the consultation's seed, which votes and participants are drawn with."""
REFUSED = "I would rather not say"
FILE = SAMPLE / "evaluations" / "sample_opinions.jsonl"


def opinion_questions() -> list[dict[str, Any]]:
    """Read the questions, sorted by key, with options and places as lists."""
    table = pl.read_csv(FOLDER / "opinion_questions.csv").sort("key")
    return [
        row | {"options": row["options"].split("|"), "ordinal": [float(each) for each in row["ordinals"].split()]}
        for row in table.iter_rows(named=True)
    ]


def answered_questions() -> list[dict[str, Any]]:
    """Ask everybody everything and return the rows of the evaluation set."""
    groups = opinion_groups()
    people = simulate_participants(groups, SEED, typical_votes=TYPICAL_VOTES)
    names = dict(groups.select("group", "name").iter_rows())
    generator = np.random.default_rng([SEED, ANSWERS_SEED])
    rows = []
    for question in opinion_questions():
        chosen = _choices(question, people, generator)
        answered = {"Overall": _counts(question, chosen)}
        for group, name in names.items():
            own = chosen[(people["group"] == group).to_numpy()]
            answered[f"opinion group:{name}"] = _counts(question, own)
        kept = ("key", "survey", "question", "options", "ordinal")
        rows.append({name: question[name] for name in kept} | {"refusal_options": [REFUSED], "groups": answered})
    return rows


def _choices(question: dict[str, Any], people: pl.DataFrame, generator: np.random.Generator) -> np.ndarray:
    """Return the option each person chose, -1 where they refuse, shape (people,)."""
    utility = (
        question["location"]
        + question["direction_x"] * people["x"].to_numpy()
        + question["direction_y"] * people["y"].to_numpy()
        + people["leniency"].to_numpy()
    )
    n = len(question["options"])
    cuts = STEP * (np.arange(1, n) - n / 2)
    place = (generator.logistic(size=people.height) + utility)[:, None] > cuts
    by_place = np.argsort(question["ordinal"], kind="stable")
    return np.where(generator.random(people.height) < question["refusal"], -1, by_place[place.sum(axis=1)])


def _counts(question: dict[str, Any], chosen: np.ndarray) -> dict[str, Any]:
    counts = np.bincount(chosen[chosen >= 0], minlength=len(question["options"]))
    return {"n": len(chosen), "counts": counts.tolist(), "refused": int((chosen < 0).sum())}


def build(path: Path) -> None:
    """Write the evaluation set."""
    lines = [json.dumps(row, ensure_ascii=False) for row in answered_questions()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    build(FILE)
    print(f"Wrote {FILE}.")
