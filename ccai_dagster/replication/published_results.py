"""Reading the published results that a consultation folder holds.

Belongs here: groups by row of the published file, shares of agreement, seed statements, figures of the paper.
Doesn't belong here: the votes and the constitution, which are tables of the graph.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from ccai_dagster.constitution.principles import read_constitution
from ccai_dagster.consultation.folder import Consultation, Replication
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.replication.new_folder import PUBLISHED_PROMPT
from ccai_dagster.replication.published_facts import PublishedFigure, read_figures
from ccai_dagster.replication.source_tables import number, read_table, share, unique_numbers

THRESHOLD = "gac_threshold"
"""The figure that says from which consensus on statements were taken."""


@dataclass(frozen=True)
class Published:
    """The published results.

    Attributes:
        participant_ids: Shape (participants,), int64, in the order of the published file.
        labels: Shape (participants,), int64, the group that stands in each row.
        agreement: Share of each group that agrees, by statement id.
        seed_statements: Tags of each seed statement, by id.
        figures: Figures of the paper, in their order.
        threshold: The published threshold on group-aware consensus, in [0, 1].
        n_prompts: Published prompts among the consultation's.
    """

    participant_ids: np.ndarray
    labels: np.ndarray
    agreement: dict[int, tuple[float, ...]]
    seed_statements: dict[int, tuple[str, ...]]
    figures: tuple[PublishedFigure, ...]
    threshold: float
    n_prompts: int

    @property
    def statement_ids(self) -> np.ndarray:
        """Shape (statements,), int64, ascending."""
        return np.array(sorted(self.agreement), dtype=np.int64)


def read_published(consultation: Consultation, replication: Replication) -> Published:
    """Read the published results of a consultation folder.

    Raises:
        ConsultationError: A file is missing or malformed, or has no figure for the threshold; names file and row.
    """
    path = consultation.path(replication.groups)
    table = read_table(path, ("row", "participant_id", "group_id"))
    if (found := sorted(unique_numbers(table, "row"))) != list(range(1, len(found) + 1)):
        raise ConsultationError(f"{path}: `row` does not count from 1 without gaps; fetch the file again.")
    unique_numbers(table, "participant_id")
    rows = sorted(
        tuple(number(where, name, row[name]) for name in ("row", "participant_id", "group_id")) for where, row in table
    )
    ids, labels = (np.array([row[place] for row in rows], dtype=np.int64) for place in (1, 2))
    if set(labels.tolist()) != set(range(int(labels.max()) + 1)):
        raise ConsultationError(f"{path}: groups must be numbered from 0 without gaps; mend the file.")
    figures = published_figures(consultation, replication)
    prompts = read_table(consultation.path(consultation.file.prompts), ("prompt_id",))
    return Published(
        ids,
        labels,
        _agreement(consultation, replication, int(labels.max()) + 1),
        _seed_statements(consultation, replication),
        figures,
        _threshold(consultation, replication, figures),
        sum(row["prompt_id"].startswith(PUBLISHED_PROMPT) for _, row in prompts),
    )


def published_constitutions(consultation: Consultation, replication: Replication) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Read the published constitution and the baseline, a text of which only the id is known being empty."""
    arms = (replication.constitution, consultation.file.baseline)
    published, baseline = (
        read_constitution(consultation.path(consultation.arms[arm].constitution), arm, may_lack_texts=True)
        for arm in arms
    )
    return published, baseline


def _agreement(consultation: Consultation, replication: Replication, groups: int) -> dict[int, tuple[float, ...]]:
    names = [f"group_{group}" for group in range(groups)]
    table = read_table(consultation.path(replication.agreement), ("statement_id", *names))
    ids = unique_numbers(table, "statement_id")
    return {
        key: tuple(share(where, name, row[name]) for name in names)
        for key, (where, row) in zip(ids, table, strict=True)
    }


def _seed_statements(consultation: Consultation, replication: Replication) -> dict[int, tuple[str, ...]]:
    table = read_table(consultation.path(replication.seed_statements), ("statement_id", "tags"))
    ids = unique_numbers(table, "statement_id")
    return {key: tuple(row["tags"].split()) for key, (_, row) in zip(ids, table, strict=True)}


def _threshold(consultation: Consultation, replication: Replication, figures: tuple[PublishedFigure, ...]) -> float:
    path = consultation.path(replication.figures)
    found = [each.value for each in figures if each.figure_id == THRESHOLD]
    if not found:
        raise ConsultationError(f"{path}: no figure {THRESHOLD}; add the published threshold.")
    return share(f"{path}, figure {THRESHOLD}", "value", found[0])


def published_figures(consultation: Consultation, replication: Replication) -> tuple[PublishedFigure, ...]:
    """Read the figures of the paper, in their order.

    Raises:
        ConsultationError: The file is missing or malformed, or a figure has no id or one that stands twice.
    """
    return read_figures(consultation.path(replication.figures))
