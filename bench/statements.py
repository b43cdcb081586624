"""How what is asked about decisions grows with statements, a tenth of them principles, and a row for each decision.

`python -m bench.statements` prints for every part of the audit and for the page to sign by its CPU seconds at 1,000 and
at 10,000 statements, and the exponent between them, then how long the page is; it takes some minutes. With a folder it
writes both pages there.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from bench.deliberation import DEFAULT, simulated
from bench.sensitivity import inputs_of
from ccai_dagster import contracts
from ccai_dagster.audit import reversals, sensitivity
from ccai_dagster.audit.recomputation import SharedInputs, decision_worlds
from ccai_dagster.audit.sensitivity import Alternative, combinations, levels, single_changes
from ccai_dagster.audit.trail import decision_trail
from ccai_dagster.constitution import principles, selection
from ccai_dagster.consultation.settings import DEMO
from ccai_dagster.contracts import LEDGER
from ccai_dagster.decisions.outcomes import moderation_verdicts, statement_ideas
from ccai_dagster.decisions.values import Cut
from ccai_dagster.deliberation import consensus, representative, stability, structure
from ccai_dagster.deliberation.groups import group_participants, opinion_groups
from ccai_dagster.deliberation.votes import clean_participants, clean_statements, clean_votes, vote_matrix
from ccai_dagster.pages.inputs import ReportInputs
from ccai_dagster.pages.report import render_report

FEW, MANY = 1_000, 10_000
EXPONENT = 1.2
"""At most, from the one to the other."""
PARTICIPANTS, VOTES_EACH = 3_400, (26, 43)
"""As many votes whatever the number of statements."""
OUT = 1
"""Statements with this remainder by seven are moderated out."""
LETTERS = 100
"""Of a statement, on average."""
PAGE_BYTES = 3_000_000
"""At most, of the page at MANY statements."""


def main(folder: Path | None = None) -> None:
    """Print the table."""
    (few, _), (many, page) = measured(FEW), measured(MANY)
    for part, before in few.items():
        grown = math.log10(many[part] / before)
        print(
            f"{part}: {before:.2f} CPU s at {FEW:,} statements, {many[part]:.2f} at {MANY:,}: "
            f"exponent {grown:.2f} (goal {EXPONENT})",
            flush=True,
        )
    print(f"whole: {sum(many.values()):.0f} CPU s at {MANY:,} statements (goal 180)")
    size = len(page.encode())
    print(f"page: {size:,} bytes (goal {PAGE_BYTES:,}, ratio {size / PAGE_BYTES:.2f})")
    if folder:
        (folder / "constitution.html").write_text(page, encoding="utf-8")


def measured(statements: int) -> tuple[dict[str, float], str]:
    """Return the CPU seconds of each part at that many statements, and the page."""
    votes = simulated(PARTICIPANTS, statements, VOTES_EACH)
    votes = votes.filter(pl.len().over("participant_id") >= VOTES_EACH[0])
    matrix = vote_matrix(votes, votes["participant_id"].unique(), votes["statement_id"].unique())
    grouping = group_participants(matrix, DEFAULT)
    groups = opinion_groups(matrix, grouping)
    scores = consensus.gac_scores(matrix, grouping.labels, DEFAULT)
    best = scores.filter(pl.col("statement_id") % 7 != OUT).sort("gac", "statement_id", descending=True)
    best = best.head(statements // 10)
    ledgers = _ledgers(statements, best["statement_id"].to_list())
    inputs = inputs_of(votes, moderation_verdicts(ledgers["moderation"]), statement_ideas(ledgers["idea"]))
    cut = Cut("threshold", best["gac"].min(), 40)
    record = Alternative(
        "strict", VOTES_EACH[0], "default", DEFAULT.imputation, None, 1, DEFAULT.smoothing, DEFAULT.aggregation, cut, 1
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
    tables = {
        "decision_sensitivity": timed("sensitivity", lambda: sensitivity.decision_sensitivity(worlds, sources)),
        "decision_importance": timed("importance", lambda: sensitivity.decision_importance(worlds, sources, {})),
        "principle_robustness": timed(
            "robustness", lambda: sensitivity.principle_robustness(worlds, {"public": sources})
        ),
    }
    recorded = timed("record", lambda: reversals.recorded_decisions(inputs, record, groups, ledgers["wording"]))
    tables["decision_reversals"] = timed("reversals", lambda: reversals.decision_reversals(recorded, ledgers))
    shown = _shown(inputs, cut, ledgers, groups, tables)
    return parts, timed("page", lambda: render_report(shown))


def _shown(
    inputs: SharedInputs,
    cut: Cut,
    ledgers: dict[str, pl.DataFrame],
    groups: pl.DataFrame,
    tables: dict[str, pl.DataFrame],
) -> ReportInputs:
    """What the page is made of before anything is trained; tables that do not grow with statements are empty."""
    generator = np.random.default_rng(1)
    letters = generator.choice(list("etaoinshr "), (inputs.raw_statements.height, LETTERS))
    raw = inputs.raw_statements.with_columns(text=pl.Series(["".join(row).strip() for row in letters]))
    statements = clean_statements(raw, inputs.moderation, include_undecided=False)
    people = clean_participants(inputs.raw_participants, {}, 1, "")
    votes = clean_votes(inputs.raw_votes, statements, people)
    matrix = vote_matrix(votes, people["participant_id"], statements["statement_id"])
    labels = groups.sort("participant_id")["group_id"].to_numpy()
    scores = consensus.gac_scores(matrix, labels, DEFAULT)
    reaches = selection.reaches_cut(matrix.statement_ids.tolist(), inputs.ideas, cut)
    found = stability.consensus_stability(matrix, groups, DEFAULT, reaches, DEMO.deliberation.bootstraps, 1)
    worded = selection.worded_statements(ledgers["wording"], ledgers["merge"], statements)
    selected = selection.select_statements(scores, statements, inputs.ideas, cut, [], worded)
    constitutions = {"public": principles.derive_constitution("public", selected, worded)}
    known = {
        "raw_statements": raw,
        "participants": people,
        "statements": statements,
        "group_votes": consensus.GroupVotes.of(matrix, labels).table(),
        "group_structure": structure.structure_test(matrix, DEFAULT, 19, 1),
        "opinion_groups": groups,
        "representative_statements": representative.representative_statements(matrix, labels),
        "gac_scores": scores,
        "consensus_stability": found.statements,
        "group_stability": found.groups,
        "selected_statements": selected,
        **tables,
    }
    trail = decision_trail(
        raw, statements, scores, found.statements, selected, constitutions, ledgers, preference_pairs={}, adherence={}
    )
    empty = {
        name: getattr(contracts, {"models": "MODEL"}.get(name, name.upper())).empty()
        for name, kind in ReportInputs.__annotations__.items()
        if kind == "pl.DataFrame" and name not in known and name != "decision_trail"
    }
    return ReportInputs(
        title="Many statements",
        public="a town",
        question="what should it do?",
        derived_arm="public",
        baseline="public",
        arms={"public": ""},
        constitutions=constitutions,
        ledgers=ledgers,
        decision_trail=trail,
        preference_pairs={},
        settings={},
        findings=[],
        digests={},
        **known,
        **empty,
    )


def _ledgers(statements: int, worded: list[int]) -> dict[str, pl.DataFrame]:
    """A decision on each statement in every ledger that has them, those on wording only on these."""
    every, verdicts = range(statements), ("in", "out: off topic")
    return {
        "moderation": _ledger("moderation", ((f"{n}", verdicts[n % 7 == OUT]) for n in every)),
        "exclusion": _ledger("exclusion", ()),
        "merge": _ledger("merge", ((f"{n} {n + 1}", "keep apart") for n in range(0, statements, 10))),
        "wording": _ledger("wording", ((f"{n}", f"principle: {_principle(n)}") for n in worded)),
        "idea": _ledger("idea", ((f"{n}", f"ideas: a{n}") for n in every)),
    }


def _principle(number: int) -> str:
    return (
        f"Choose the response that is kindest, in the way that statement {number} asks for and those who agree with it."
    )


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
    main(*map(Path, sys.argv[1:2]))
