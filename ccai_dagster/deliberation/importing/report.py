"""The import report: what was found, what was repaired, and what could not be known, in numbers and words.

Here are the form of the report and the facts that every import has; those of a Polis export are in
`polis_report`, those of a plain table in `long_table`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import polars as pl

from ccai_dagster.contracts import IMPORT_REPORT
from ccai_dagster.deliberation.importing.last_votes import LastVotes

LONGEST_LIST = 8


@dataclass(frozen=True)
class Fact:
    """One line of the report."""

    kind: Literal["found", "repaired", "unknown"]
    item: str
    count: int | None
    explanation: str


def build_report(facts: Iterable[Fact]) -> pl.DataFrame:
    """Return the table `import_report`: what was found, then what was repaired, then what is unknown."""
    kinds = ("found", "repaired", "unknown")
    ordered = sorted(facts, key=lambda fact: kinds.index(fact.kind))
    return IMPORT_REPORT.build(
        [
            {"item": fact.item, "kind": fact.kind, "count": fact.count, "explanation": fact.explanation}
            for fact in ordered
        ]
    )


def listed(names: Iterable[str]) -> str:
    """Return names for a sentence, a long list cut short."""
    every = list(names)
    more = f" and {len(every) - LONGEST_LIST} more" if len(every) > LONGEST_LIST else ""
    return ", ".join(name[:40] for name in every[:LONGEST_LIST]) + more


def common_facts(
    raw_statements: pl.DataFrame,
    raw_participants: pl.DataFrame,
    votes: LastVotes,
    vote_rows: int,
    source: str,
) -> list[Fact]:
    """Return the facts of any import: how many of what, and votes cast again.

    Args:
        votes: The votes that count.
        vote_rows: Rows they were read from.
        source: Name of the file with the votes.
    """
    table = votes.table
    voted_on = table["statement_id"].n_unique()
    without_text = int((raw_statements["text"] == "").sum())
    facts = [
        Fact("found", "participants", raw_participants.height, "people in the export, with or without votes"),
        Fact(
            "found",
            "participants without votes",
            int((raw_participants["n_votes"] == 0).sum()),
            "kept; the minimum of votes decides whether they count",
        ),
        Fact("found", "statements", raw_statements.height, "statements submitted, seeds included"),
        Fact(
            "found",
            "statements nobody voted on",
            raw_statements.height - voted_on,
            "kept; they have no score",
        ),
        Fact("found", "vote rows", vote_rows, f"rows read from {source}"),
        Fact("found", "votes", table.height, "the last vote of each participant on each statement"),
        Fact("found", "agree", int((table["vote"] == 1).sum()), "votes of +1"),
        Fact("found", "disagree", int((table["vote"] == -1).sum()), "votes of -1"),
        Fact("found", "pass", int((table["vote"] == 0).sum()), "votes of 0"),
        Fact(
            "repaired", "earlier votes replaced", votes.replaced, "a person voted again; the last vote counts"
        ),
        Fact(
            "unknown" if votes.undecided else "found",
            "votes whose order is unknown",
            votes.undecided,
            "a participant's last votes on a statement differ and carry the same time or none; the one further "
            "down in the file was taken"
            if votes.undecided
            else "every last vote is told by its time",
        ),
    ]
    if without_text:
        why = "kept; nothing can be decided on them"
        facts.append(Fact("unknown", "statements without text", without_text, why))
    return facts
