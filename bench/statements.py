"""How what is asked about decisions grows with statements, a tenth of them principles, and a row for each decision.

`python -m bench.statements` prints for every part of the audit its CPU seconds at 1,000 and at 10,000 statements, and
the exponent between them; it takes some minutes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import Any

import polars as pl

from bench.deliberation import DEFAULT, simulated
from bench.sensitivity import inputs_of
from ccai_dagster.audit import reversals, sensitivity
from ccai_dagster.audit.recomputation import decision_worlds
from ccai_dagster.audit.sensitivity import Alternative, combinations, levels, single_changes
from ccai_dagster.consultation.settings import DEMO
from ccai_dagster.contracts import LEDGER, OPINION_GROUPS
from ccai_dagster.decisions.outcomes import moderation_verdicts, statement_ideas
from ccai_dagster.decisions.values import Cut
from ccai_dagster.deliberation.groups import group_participants
from ccai_dagster.deliberation.votes import vote_matrix

FEW, MANY = 1_000, 10_000
EXPONENT = 1.2
"""At most, from the one to the other."""
PARTICIPANTS, VOTES_EACH = 3_400, (26, 43)
"""As many votes whatever the number of statements."""


def main() -> None:
    """Print the table."""
    few, many = measured(FEW), measured(MANY)
    for part, before in few.items():
        grown = math.log10(many[part] / before)
        print(
            f"{part}: {before:.2f} CPU s at {FEW:,} statements, {many[part]:.2f} at {MANY:,}: "
            f"exponent {grown:.2f} (goal {EXPONENT})",
            flush=True,
        )
    print(f"whole: {sum(many.values()):.0f} CPU s at {MANY:,} statements (goal 180)")


def measured(statements: int) -> dict[str, float]:
    """Return the CPU seconds of each part at that many statements."""
    votes = simulated(PARTICIPANTS, statements, VOTES_EACH)
    ledgers = _ledgers(statements)
    inputs = inputs_of(votes, moderation_verdicts(ledgers["moderation"]), statement_ideas(ledgers["idea"]))
    record = Alternative("strict", 26, "default", "zero", None, 1, "none", "product", Cut("threshold", 0.6, 40), seed=1)
    matrix = vote_matrix(votes, votes["participant_id"].unique(), votes["statement_id"].unique())
    labels = group_participants(matrix, DEFAULT).labels
    groups = pl.DataFrame({"participant_id": matrix.participant_ids, "group_id": labels}).select(
        "participant_id", group_id=pl.col("group_id").cast(OPINION_GROUPS.dtypes["group_id"])
    )
    tried = levels(record, has_ideas=True)
    single, combined = (single_changes(record, tried), combinations(tried, DEMO.sensitivity.ways_to_group, 1))
    sources = sensitivity.worded_sources(ledgers["wording"])
    parts: dict[str, float] = {}

    def timed(part: str, work: Callable[[], Any]) -> Any:
        start = time.process_time()
        result = work()
        parts[part] = time.process_time() - start
        return result

    worlds = timed("worlds", lambda: decision_worlds(inputs, record, single, combined))
    timed("sensitivity", lambda: sensitivity.decision_sensitivity(worlds, sources))
    timed("importance", lambda: sensitivity.decision_importance(worlds, sources, {}))
    timed("robustness", lambda: sensitivity.principle_robustness(worlds, {"public": sources}))
    recorded = timed("record", lambda: reversals.recorded_decisions(inputs, record, groups, ledgers["wording"]))
    timed("reversals", lambda: reversals.decision_reversals(recorded, ledgers))
    return parts


def _ledgers(statements: int) -> dict[str, pl.DataFrame]:
    every = range(statements)
    worded = range(0, statements, 10)
    return {
        "moderation": _ledger("moderation", ((f"{n}", "out: off topic" if n % 7 == 1 else "in") for n in every)),
        "exclusion": _ledger("exclusion", ()),
        "merge": _ledger("merge", ((f"{n} {n + 1}", "keep apart") for n in worded)),
        "wording": _ledger("wording", ((f"{n}", f"principle: be kind in way {n}") for n in worded)),
        "idea": _ledger("idea", ((f"{n}", f"ideas: a{n}") for n in every)),
    }


def _ledger(kind: str, rows: Iterable[tuple[str, str]]) -> pl.DataFrame:
    return LEDGER.build(
        [
            {
                "decision_id": f"{kind}-{number}",
                "kind": kind,
                "subject_ids": subjects.split(),
                "outcome": outcome,
                "reason": "because",
                "policy_ref": None,
                "decided_by": "a town",
                "decided_at": "2025-03-01",
                "supersedes": None,
                "inputs_digest": None,
                "suggested_by": None,
            }
            for number, (subjects, outcome) in enumerate(rows)
        ]
    )


if __name__ == "__main__":
    main()
