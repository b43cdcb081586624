"""What the methods find in conversations at hand, as a table: `python -m bench.conversations FOLDER...`.

For every export: the mode of moderation as the votes tell it, the groups beside those of Polis, the test of structure,
what unanimity could reach, and how many statements are selected under each procedure and aggregation. Statements are in
as the export has them moderated (strictly), those about people out. Not timed; it is the evidence that starting values
rest on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import polars as pl

from ccai_dagster.consultation.folder import SAMPLE
from ccai_dagster.decisions.values import VALUES
from ccai_dagster.deliberation import consensus, groups, structure
from ccai_dagster.deliberation.importing.moderation_mode import ModerationEvidence, moderation_evidence
from ccai_dagster.deliberation.importing.read_votes import read_votes
from ccai_dagster.deliberation.votes import (
    Aggregation,
    ModerationVerdict,
    Procedure,
    ProcedureName,
    VoteMatrix,
    clean_participants,
    clean_statements,
    clean_votes,
    in_context,
    vote_matrix,
)

START = {name: each.start or "" for name, each in VALUES["threshold"].items()}
CUTS: dict[Aggregation, float] = {"product": 0.6, "geometric_mean": 0.775}
"""That select the same statements where there are two groups; the latter is the one a new folder starts with."""
NUMBERS = (2, 3, 4, 5)
"""Numbers of groups that the aggregations are compared over."""


def laid_out(place: Path) -> tuple[VoteMatrix, pl.DataFrame, int, str]:
    """Return the votes that count, the participants, how many statements are about people, the mode of moderation."""
    imported = read_votes(place)
    raw = imported.raw_statements.with_columns(is_meta=pl.col("is_meta").fill_null(False))
    verdicts = {
        key: ModerationVerdict(moderated == 1 and not about, None, ())
        for key, moderated, about in raw.select("statement_id", "moderated", "is_meta").iter_rows()
    }
    statements = clean_statements(imported.raw_statements, verdicts, include_undecided=False)
    people = clean_participants(imported.raw_participants, {}, int(START["minimum_votes"]), "")
    votes = clean_votes(imported.raw_votes, statements, people)
    matrix = vote_matrix(votes, people.filter("kept")["participant_id"], statements["statement_id"])
    mode = _mode(moderation_evidence(raw, imported.raw_votes))
    return in_context(matrix, imported.raw_votes, people), people, int(raw["is_meta"].sum()), mode


def _mode(evidence: ModerationEvidence) -> str:
    if not evidence.unmoderated:
        return "all were moderated"
    return f"{evidence.mode or 'not told'} ({evidence.shown} of {evidence.unmoderated} shown)"


def found(place: Path, shuffles: int) -> Iterator[list[str]]:
    """Yield one row a procedure."""
    matrix, people, about, mode = laid_out(place)
    for name in get_args(ProcedureName):
        procedure = _procedure(name)
        tested = structure.structure_test(matrix, procedure, shuffles, seed=1)
        labels, told = _grouped(matrix, structure.procedure_for(procedure, tested, "one_group"), people)
        sizes, reached = np.bincount(labels), []
        for aggregation in CUTS:
            way = replace(procedure, aggregation=aggregation)
            highest = consensus.highest_reachable(sizes, way)
            over_numbers = [
                _selected(matrix, _grouped(matrix, replace(way, number_of_groups=k))[0], way) for k in NUMBERS
            ]
            reached.append(f"{highest:.3f}: {_selected(matrix, labels, way)} ({', '.join(map(str, over_numbers))})")
        p_values = [f"{value:.3f}" for value in tested["p_value"]]
        shape = f"{matrix.shape[0]:,} x {matrix.shape[1]}, {about} about people"
        folder = place.parent if place.name == "votes" else place
        named = "the sample" if folder == SAMPLE else folder.name
        yield [named, shape, mode, name, ", ".join(map(str, sizes)), told, *p_values, *reached]


def _procedure(name: ProcedureName) -> Procedure:
    return Procedure(name, "column_mean", None, "laplace", "product", 1, int(START["smallest_group"]))


def _grouped(matrix: VoteMatrix, procedure: Procedure, people: pl.DataFrame | None = None) -> tuple[np.ndarray, str]:
    grouping = groups.group_participants(matrix, procedure)
    agreement = None
    if people is not None:
        agreement = structure.agreement_with_polis(groups.opinion_groups(matrix, grouping), people)
    return grouping.labels, "–" if agreement is None else f"{agreement.adjusted_rand:.2f}"


def _selected(matrix: VoteMatrix, labels: np.ndarray, procedure: Procedure) -> int:
    counts = consensus.group_counts(matrix, labels)
    scores = consensus.group_aware_consensus(counts.agree, counts.votes, procedure)
    return int((np.nan_to_num(scores, nan=-1.0) >= CUTS[procedure.aggregation]).sum())


def main(arguments: Sequence[str] = ()) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.conversations", description=__doc__)
    parser.add_argument("exports", nargs="*", type=Path, metavar="FOLDER", help="shown before the sample")
    parser.add_argument("--shuffles", type=int, default=200)
    asked = parser.parse_args(arguments)
    by_aggregation = [
        f"{name}: reachable: selected at {cut:g} (with {', '.join(map(str, NUMBERS))} groups)"
        for name, cut in CUTS.items()
    ]
    heading = [
        "conversation",
        "people x statements",
        "moderation",
        "procedure",
        "groups",
        "ARI to Polis",
        "p",
        "p of silhouette",
    ]
    print("| " + " | ".join([*heading, *by_aggregation]) + " |")
    print("|" + " --- |" * (len(heading) + len(by_aggregation)))
    for place in [*asked.exports, SAMPLE / "votes"]:
        for row in found(place, asked.shuffles):
            print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
