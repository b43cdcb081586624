"""Statements, votes, groups, scores and priorities in the forms of Polis, for other tools to read back.

JSON as Polis's API answers and red-dwarf keeps it (`votes`, `comments`, `math-pca2`, `conversation`), CSV as Polis
exports it. Where the two differ, agreement is +1, as in every export and in red-dwarf's files. Participants and
statements are the numbers they have here; no other code of a person is in any file.

A base cluster is one participant here, and has the participant's id: groups list base clusters in Polis, and some tools
take these for participants. What an engine needs to go on from (components, moderation times) is left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from ccai_dagster.core.files import csv_text
from ccai_dagster.deliberation.votes import group_name

NO_TIME = 0
"""What stands for an unknown time, which these forms do not allow to be empty (Polis itself starts at 0)."""
COUNTED = {"n-agree": 1, "n-disagree": -1}


@dataclass(frozen=True)
class ExportedTables:
    """What an export is made of; see `contracts` for the columns of each table.

    Attributes:
        raw_votes: Of everybody; votes of the excluded are left out.
        undecided: Ids of statements that nobody moderated.
    """

    title: str
    question: str
    strict: bool
    raw_statements: pl.DataFrame
    raw_votes: pl.DataFrame
    participants: pl.DataFrame
    statements: pl.DataFrame
    undecided: frozenset[int]
    opinion_groups: pl.DataFrame
    gac_scores: pl.DataFrame
    representative_statements: pl.DataFrame
    consensus_statements: pl.DataFrame
    comment_priorities: pl.DataFrame


def polis_files(given: ExportedTables) -> dict[str, str]:
    """Return the text of every file by its name.

    Statements that are in have their text after a rewrite and `moderated` 1, those that are out -1, those that nobody
    moderated 0, whether they are in or not.
    """
    voters = given.participants.filter(pl.col("fate") != "excluded").sort("participant_id")
    votes = (
        given.raw_votes.join(voters, on="participant_id", how="semi")
        .join(given.raw_statements, on="statement_id", how="semi")
        .sort("statement_id", "participant_id")
        .with_columns(time=pl.col("voted_at").dt.epoch("ms").fill_null(NO_TIME))
    )
    comments = _comments(given, votes)
    math = _math(given, voters, votes)
    conversation = {
        "topic": given.title,
        "description": given.question,
        "strict_moderation": given.strict,
        "participant_count": votes["participant_id"].n_unique(),
    }
    return {
        "votes.json": _json(
            votes.select("participant_id", "statement_id", "vote", modified=pl.col("time").cast(pl.Float64)).to_dicts()
        ),
        "comments.json": _json([{**row, "created": float(row["created"])} for row in comments]),
        "math-pca2.json": _json(math),
        "conversation.json": _json(conversation),
        "comments.csv": _comments_csv(comments, given.gac_scores),
        "votes.csv": csv_text(
            ["timestamp", "comment-id", "voter-id", "vote"],
            votes.select(pl.col("time") // 1000, "statement_id", "participant_id", "vote").iter_rows(),
        ),
        "participant-votes.csv": _matrix_csv(given, voters, votes),
        "comment-groups.csv": _groups_csv(comments, math),
        "summary.csv": csv_text(
            None,
            [
                ("topic", given.title),
                ("voters", conversation["participant_count"]),
                ("voters-in-conv", given.opinion_groups.height),
                ("commenters", given.raw_statements["author_id"].drop_nulls().n_unique()),
                ("comments", given.raw_statements.height),
                ("groups", given.opinion_groups["group_id"].n_unique()),
                ("conversation-description", given.question),
            ],
        ),
    }


def _comments(given: ExportedTables, votes: pl.DataFrame) -> list[dict[str, Any]]:
    """Every statement as the API of Polis has it, by id."""
    counts = votes.group_by("statement_id").agg(
        agree_count=(pl.col("vote") == 1).sum(),
        disagree_count=(pl.col("vote") == -1).sum(),
        pass_count=(pl.col("vote") == 0).sum(),
        count=pl.len(),
    )
    texts = dict(given.statements.select("statement_id", "text").iter_rows())
    # These forms ask for an author: a number that nobody has where the export did not tell.
    nobody = max(given.participants["participant_id"].to_list(), default=-1) + 1
    rows = []
    joined = given.raw_statements.join(counts, on="statement_id", how="left").sort("statement_id")
    for row in joined.with_columns(created=pl.col("created_at").dt.epoch("ms").fill_null(NO_TIME)).to_dicts():
        key = row["statement_id"]
        rows.append(
            {
                "statement_id": key,
                "txt": texts.get(key, row["text"]),
                "participant_id": nobody if row["author_id"] is None else row["author_id"],
                "created": row["created"],
                "moderated": 0 if key in given.undecided else 1 if key in texts else -1,
                "is_seed": row["is_seed"],
                "is_meta": row["is_meta"],
                **{name: row[name] or 0 for name in ("agree_count", "disagree_count", "pass_count", "count")},
            }
        )
    return rows


def _math(given: ExportedTables, voters: pl.DataFrame, votes: pl.DataFrame) -> dict[str, Any]:
    people = given.opinion_groups.sort("participant_id")
    scored = given.gac_scores["statement_id"].sort().to_list()
    raw = given.raw_statements
    centres = (
        people.group_by("group_id")
        .agg(pl.col("participant_id").sort(), pl.col("x", "y").sort().mean())
        .sort("group_id")
    )
    clusters = [{"id": group, "members": members, "center": [x, y]} for group, members, x, y in centres.iter_rows()]
    priorities = given.comment_priorities.sort("statement_id")
    extremity = dict(priorities.select("statement_id", "extremity").iter_rows())
    return {
        "n": voters.height,
        "n-cmts": raw.height,
        "tids": scored,
        "in-conv": people["participant_id"].to_list(),
        "mod-in": [key for key in scored if key not in given.undecided],
        "mod-out": sorted(set(raw["statement_id"]) - set(scored)),
        "meta-tids": raw.filter("is_meta")["statement_id"].sort().to_list(),
        "user-vote-counts": _by_id(votes["participant_id"].value_counts().sort("participant_id")),
        "lastVoteTimestamp": votes["time"].max() or NO_TIME,
        "pca": {"comment-extremity": [extremity.get(key, 0.0) for key in scored]},
        "base-clusters": {
            "id": people["participant_id"].to_list(),
            "members": [[each] for each in people["participant_id"]],
            "x": people["x"].to_list(),
            "y": people["y"].to_list(),
            "count": [1] * people.height,
        },
        "group-clusters": clusters,
        "group-votes": _group_votes(people, scored, votes),
        "group-aware-consensus": _by_id(given.gac_scores.sort("statement_id").select("statement_id", "gac")),
        "comment-priorities": _by_id(priorities.select("statement_id", "priority")),
        "consensus": {
            side: [_success(row) for row in given.consensus_statements.filter(side=side).sort("rank").to_dicts()]
            for side in ("agree", "disagree")
        },
        "repness": {
            str(group): [
                _representative(row)
                for row in given.representative_statements.filter(group_id=group).sort("rank").to_dicts()
            ]
            for group in centres["group_id"]
        },
    }


def _group_votes(people: pl.DataFrame, scored: Sequence[int], votes: pl.DataFrame) -> dict[str, Any]:
    counted = (
        votes.join(people, on="participant_id")
        .group_by("group_id", "statement_id")
        .agg(A=(pl.col("vote") == 1).sum(), D=(pl.col("vote") == -1).sum(), S=pl.len())
    )
    cells = {(row.pop("group_id"), row.pop("statement_id")): row for row in counted.to_dicts()}
    sizes = people["group_id"].value_counts().sort("group_id")
    nobody = {"A": 0, "D": 0, "S": 0}
    return {
        str(group): {
            "id": group,
            "n-members": size,
            "votes": {str(key): cells.get((group, key), nobody) for key in scored},
        }
        for group, size in sizes.iter_rows()
    }


def _success(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "tid": row["statement_id"],
        "n-success": row["n_side"],
        "n-trials": row["n_votes"],
        "p-success": row["probability"],
        "p-test": row["probability_z"],
    }


def _representative(row: Mapping[str, Any]) -> dict[str, Any]:
    best = {"best-agree": True, "n-agree": row["n_side"]} if row["best_agreed"] and row["side"] == "agree" else {}
    return {**_success(row), "repness": row["ratio"], "repness-test": row["ratio_z"], "repful-for": row["side"], **best}


def _comments_csv(comments: Sequence[Mapping[str, Any]], gac_scores: pl.DataFrame) -> str:
    scores = dict(gac_scores.select("statement_id", "gac").iter_rows())
    marks = [name for name in ("is_meta", "is_seed") if all(row[name] is not None for row in comments)]
    header = ["timestamp", "comment-id", "author-id", "agrees", "disagrees", "moderated"]
    rows = (
        [
            row["created"] // 1000,
            *(row[name] for name in ("statement_id", "participant_id", "agree_count", "disagree_count", "moderated")),
            *(str(row[name]).lower() for name in marks),
            scores.get(row["statement_id"]),
            row["txt"],
        ]
        for row in comments
    )
    names = [name.replace("_", "-") for name in marks]
    return csv_text([*header, *names, "group-informed-consensus", "comment-body"], rows)


def _matrix_csv(given: ExportedTables, voters: pl.DataFrame, votes: pl.DataFrame) -> str:
    ids = given.raw_statements["statement_id"].sort().to_list()
    groups = dict(given.opinion_groups.select("participant_id", "group_id").iter_rows())
    written = dict(given.raw_statements["author_id"].value_counts().iter_rows())
    cells: dict[int, dict[int, int]] = {}
    for who, key, vote in votes.select("participant_id", "statement_id", "vote").iter_rows():
        cells.setdefault(who, {})[key] = vote
    rows = []
    for who in voters["participant_id"]:
        own = cells.get(who, {})
        sides = [sum(vote == side for vote in own.values()) for side in COUNTED.values()]
        rows.append([who, groups.get(who), written.get(who, 0), len(own), *sides, *(own.get(key) for key in ids)])
    return csv_text(["participant", "group-id", "n-comments", "n-votes", *COUNTED, *ids], rows)


def _groups_csv(comments: Sequence[Mapping[str, Any]], math: Mapping[str, Any]) -> str:
    groups = math["group-votes"]
    kinds = ("votes", "agrees", "disagrees", "passes")
    header = [f"{name}-{kind}" for name in ("total", *map(_letter, groups)) for kind in kinds]
    rows = []
    for row in comments:
        key = str(row["statement_id"])
        if key in math["group-aware-consensus"]:
            own = [each["votes"][key] for each in groups.values()]
            cells = [(each["S"], each["A"], each["D"], each["S"] - each["A"] - each["D"]) for each in own]
            totals = [row[name] for name in ("count", "agree_count", "disagree_count", "pass_count")]
            rows.append([row["statement_id"], row["txt"], *totals, *(number for cell in cells for number in cell)])
    return csv_text(["comment-id", "comment", *header], rows)


def _letter(group: str) -> str:
    return group_name(int(group)).lower().replace(" ", "-")


def _by_id(table: pl.DataFrame) -> dict[str, Any]:
    return {str(key): value for key, value in table.iter_rows()}


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
