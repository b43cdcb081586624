"""What a new export makes anew up to the constitutions, computed bare: no graph, record, check, picture or file.

`python -m bench.bare_deliberation FOLDER` computes it; without a folder it only imports what it needs.
"""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl
import scipy.sparse.linalg  # noqa: F401  loading libraries is not what is measured
import sklearn.feature_extraction.text  # noqa: F401

from ccai_dagster.constitution import comparison, principles, selection
from ccai_dagster.consultation.folder import Consultation, read_consultation
from ccai_dagster.decisions.ledger import read_ledger
from ccai_dagster.decisions.outcomes import exclusions, moderation_verdicts, statement_ideas
from ccai_dagster.decisions.values import thresholds
from ccai_dagster.deliberation import (
    consensus,
    groups,
    importance,
    narrative,
    representative,
    stability,
    structure,
    uncertain,
)
from ccai_dagster.deliberation.group_profile import group_profile
from ccai_dagster.deliberation.importing.read_votes import read_votes
from ccai_dagster.deliberation.votes import (
    clean_participants,
    clean_statements,
    clean_votes,
    in_context,
    vote_matrix,
    votes_of_everybody,
    with_importance,
)


def compute(consultation: Consultation) -> None:
    """Go from the export to the constitutions and their comparison."""
    seed, resampling = consultation.file.seed, consultation.profile.deliberation

    def quietly(message: str, done: int, total: int) -> None:
        """Tell nobody how far it is."""

    ledgers = {
        kind: read_ledger(consultation.ledger(kind), kind)
        for kind in ("moderation", "exclusion", "threshold", "idea", "merge", "wording")
    }
    settled = thresholds(ledgers["threshold"], seed)
    raw = read_votes(Path(consultation.votes))
    decided = moderation_verdicts(ledgers["moderation"])
    statements = clean_statements(raw.raw_statements, decided, consultation.file.moderation == "lenient")
    participants = clean_participants(
        raw.raw_participants,
        exclusions(ledgers["exclusion"]),
        settled.minimum_votes,
        settled.decision_ids["minimum_votes"],
        raw.raw_votes["statement_id"].n_unique() if settled.procedure.name == "polis" else None,
    )
    votes = clean_votes(raw.raw_votes, statements, participants)
    matrix = vote_matrix(votes, participants.filter("kept")["participant_id"], statements["statement_id"])
    whole = in_context(matrix, raw.raw_votes, participants)
    tested = structure.structure_test(whole, settled.procedure, resampling.shuffles, seed, quietly)
    procedure = structure.procedure_for(settled.procedure, tested, settled.without_structure)
    grouping = groups.group_participants(whole, procedure)
    opinion_groups = groups.opinion_groups(whole, grouping)
    metadata = {key: each.decision_ids for key, each in decided.items() if each.metadata}
    group_profile(raw.raw_statements, raw.raw_votes, opinion_groups, metadata)
    published = consultation.file.published_scores
    scores = consensus.gac_scores(
        matrix,
        pl.DataFrame({"participant_id": matrix.participant_ids})
        .join(opinion_groups, on="participant_id", how="left", maintain_order="left")["group_id"]
        .to_numpy(),
        settled.procedure,
        pl.read_csv(consultation.path(published)) if published else None,
    )
    apart = representative.representative_statements(matrix, grouping.labels)
    narrative.narrative(statements, opinion_groups, apart, scores)
    representative.consensus_statements(votes_of_everybody(raw.raw_votes, statements, participants))
    counting = raw.raw_votes.join(statements, on="statement_id", how="semi")
    importance.important_statements(counting, opinion_groups)
    uncertain.uncertain_statements(
        counting.join(participants.filter(pl.col("fate") != "excluded"), on="participant_id", how="semi"),
        opinion_groups,
    )
    about_itself = raw.raw_statements.filter("is_meta")["statement_id"].to_list()
    extremity = representative.statement_extremity(*representative.vote_components(matrix, about_itself))
    representative.comment_priorities(matrix, extremity, raw.raw_statements)
    ideas = statement_ideas(ledgers["idea"])
    found = stability.consensus_stability(
        with_importance(whole, raw.raw_votes),
        opinion_groups,
        procedure,
        selection.reaches_cut(matrix.statement_ids.tolist(), ideas, settled.cut),
        resampling.bootstraps,
        seed,
        quietly,
    )
    worded = selection.worded_statements(ledgers["wording"], ledgers["merge"], statements)
    selected = selection.select_statements(
        scores, statements, ideas, settled.cut, [settled.decision_ids["selection_rule"]], worded
    )
    stability.statement_intervals(selected, found.statements)
    constitutions = {
        name: principles.derive_constitution(name, selected, worded)
        if arm.constitution == "ledgers"
        else principles.read_constitution(consultation.path(arm.constitution), name)
        for name, arm in consultation.arms.items()
    }
    overlap = comparison.constitution_overlap(constitutions, settled.overlap_similarity, {})
    comparison.constitution_comparison(overlap, {}, seed)


if __name__ == "__main__":
    for folder in sys.argv[1:]:
        compute(read_consultation(Path(folder)))
