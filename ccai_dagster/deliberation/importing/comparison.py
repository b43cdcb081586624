"""An export beside what it states of itself and beside the one before: what came since, and whether it may be cut.

An export that was cut while it was copied reads like a whole one. What gives it away is that there is less of something
than before, or less than other files of the same export state. Files that were downloaded one after the other while
people went on voting differ by a few votes, and a matrix has no earlier votes of a person, which `comments.csv` counts
too; so much may be missing without a doubt. That a file states less than there is only means that it is the older one.
"""

from __future__ import annotations

import polars as pl

from ccai_dagster.core.text import counted, listed
from ccai_dagster.deliberation.importing.moderation_mode import METADATA, exported_moderation
from ccai_dagster.deliberation.importing.tables import PAIR, Import

FEW = 3
"""Missing pieces that are no matter of doubt, however small the export."""


def doubts(before: Import | None, now: Import) -> list[str]:
    """Return why an export may not be whole, each in numbers as a sentence without its full stop.

    Args:
        before: What was imported last, if anything was.
    """
    found = [
        f"{later:,} {what} where the last import had {earlier:,}, {earlier - later:,} fewer"
        for what, (earlier, later) in _sizes(before, now).items()
        if later < earlier
    ]
    return found + [
        f"{each.file} states {each.stated:,} {each.what}, and {each.counted:,} of them are there"
        for each in now.stated
        if each.stated - each.counted > max(FEW, each.tolerated * each.stated)
    ]


def came_since(before: Import | None, now: Import) -> str:
    """Say what came since the last import, as `395 votes and 3 people more, 4 statements moderated otherwise`."""
    sizes = _sizes(before or now, now)
    names = {
        "votes": ("vote", "votes"),
        "participants": ("person", "people"),
        "statements": ("statement", "statements"),
    }
    if before is None:
        there = listed([counted(number, *names[what]) for what, (_, number) in sizes.items() if number])
        return f"{there}; no earlier import to compare with"
    said = []
    for sign, word in ((1, "more"), (-1, "fewer")):
        changes = {what: sign * (later - earlier) for what, (earlier, later) in sizes.items()}
        if some := [counted(change, *names[what]) for what, change in changes.items() if change > 0]:
            said.append(f"{listed(some)} {word}")
    statements = before.raw_statements, now.raw_statements
    for changed, noun, word in (
        (_changed(before.raw_votes, now.raw_votes, PAIR, "vote"), "vote", "changed"),
        (_moderated_otherwise(*statements), "statement", "moderated otherwise"),
        (_changed(*statements, ["statement_id"], "text"), "statement", "with another text"),
    ):
        if changed:
            said.append(f"{counted(changed, noun)} {word}")
    return ", ".join(said) or "nothing came since the last import"


def _sizes(before: Import | None, now: Import) -> dict[str, tuple[int, int]]:
    """How many of each there were and are; nothing if there is nothing to compare with."""
    if before is None:
        return {}
    return {
        "votes": (_votes(before), _votes(now)),
        "participants": (before.raw_participants.height, now.raw_participants.height),
        "statements": (before.raw_statements.height, now.raw_statements.height),
    }


def _votes(each: Import) -> int:
    """How many votes there are, of people or counted by group."""
    counts = each.raw_group_votes.select(pl.sum_horizontal("n_agree", "n_disagree", "n_pass").sum()).item()
    return each.raw_votes.height + int(counts)


def _changed(before: pl.DataFrame, now: pl.DataFrame, key: list[str], column: str) -> int:
    both = before.select(*key, column).join(now.select(*key, now=column), on=key)
    return both.filter(pl.col(column).ne_missing(pl.col("now"))).height


def _moderated_otherwise(before: pl.DataFrame, now: pl.DataFrame) -> int:
    """Count statements of which an export says otherwise; one that does not mark metadata says nothing of it."""
    columns = ["statement_id", "moderated", "is_meta"]
    both = before.select(columns).join(now.select(columns), on="statement_id", suffix="_now").drop("statement_id")
    changed = 0
    for moderated, is_meta, moderated_now, is_meta_now in both.iter_rows():
        earlier, later = exported_moderation(moderated, is_meta), exported_moderation(moderated_now, is_meta_now)
        unmarked = earlier == METADATA and is_meta_now is None and later != "out"
        changed += earlier != later and not unmarked
    return changed
