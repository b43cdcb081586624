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
from ccai_dagster.deliberation import consensus, groups, representative, stability
from ccai_dagster.deliberation.importing.read_votes import read_votes
from ccai_dagster.deliberation.votes import clean_participants, clean_statements, clean_votes, in_context, vote_matrix


def compute(consultation: Consultation) -> None:
    """Go from the export to the constitutions and their comparison."""
    seed = consultation.file.seed
    ledgers = {
        kind: read_ledger(consultation.ledger(kind), kind)
        for kind in ("moderation", "exclusion", "threshold", "idea", "merge", "wording")
    }
    settled = thresholds(ledgers["threshold"], seed)
    raw = read_votes(Path(consultation.votes))
    statements = clean_statements(
        raw.raw_statements, moderation_verdicts(ledgers["moderation"]), consultation.file.moderation == "lenient"
    )
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
    grouping = groups.group_participants(whole, settled.procedure)
    opinion_groups = groups.opinion_groups(whole, grouping)
    published = consultation.file.published_scores
    scores = consensus.gac_scores(
        matrix,
        pl.DataFrame({"participant_id": matrix.participant_ids})
        .join(opinion_groups, on="participant_id", how="left", maintain_order="left")["group_id"]
        .to_numpy(),
        settled.procedure,
        pl.read_csv(consultation.path(published)) if published else None,
    )
    representative.representative_statements(matrix, grouping.labels)
    representative.consensus_statements(matrix)
    about_itself = raw.raw_statements.filter("is_meta")["statement_id"].to_list()
    extremity = representative.statement_extremity(*representative.vote_components(matrix, about_itself))
    representative.comment_priorities(matrix, extremity, raw.raw_statements)
    ideas = statement_ideas(ledgers["idea"])
    found = stability.consensus_stability(
        whole,
        opinion_groups,
        settled.procedure,
        selection.reaches_cut(matrix.statement_ids.tolist(), ideas, settled.cut),
        consultation.profile.deliberation.bootstraps,
        seed,
        lambda message, done, total: None,
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
