"""A Polis export of a few people who agree with everything, in which every number can be told beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def write_export(folder: Path, people: int, statements: int = 4, stated: Mapping[str, int] | None = None) -> None:
    """Write an export in which everybody agrees with every statement.

    Args:
        folder: It is made; an export that is there is replaced.
        stated: What summary.csv and comments.csv state where that is not so: `voters`, `comments`, `agrees`.
    """
    said = {"voters": people, "comments": statements, "agrees": people} | dict(stated or {})
    folder.mkdir(parents=True, exist_ok=True)
    comments = [
        f'170000000{number},Tue,{number},{number},{said["agrees"]},0,1,"Be kind {number}"'
        for number in range(statements)
    ]
    votes = [f"1700000100,Tue,{each},{person},1" for each in range(statements) for person in range(people)]
    files = {
        "comments.csv": ["timestamp,datetime,comment-id,author-id,agrees,disagrees,moderated,comment-body", *comments],
        "votes.csv": ["timestamp,datetime,comment-id,voter-id,vote", *votes],
        "summary.csv": ["topic,Manners", f"voters,{said['voters']}", f"comments,{said['comments']}"],
    }
    for name, lines in files.items():
        (folder / name).write_text("\n".join([*lines, ""]))
