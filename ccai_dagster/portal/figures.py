"""Which statements are shown and how urgent each is: computed from the votes at most a minute ago.

The priority is that of the table `comment_priorities`, on the votes in the portal. A ledger that cannot be read leaves
the figures as they were.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from ccai_dagster.consultation.folder import Consultation
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.home import Home
from ccai_dagster.decisions.outcomes import before_differences, before_one_of_two, exclusions, moderation_verdicts
from ccai_dagster.decisions.values import Thresholds, thresholds, votes_before_statement
from ccai_dagster.deliberation.representative import priorities_of_votes, still_asked
from ccai_dagster.deliberation.structure import procedure_for
from ccai_dagster.deliberation.votes import clean_statements, vote_matrix
from ccai_dagster.open_consultation import OpenConsultation
from ccai_dagster.portal.opinion_map import NOTHING, MapFigures, map_figures

LEDGERS_READ = ("moderation", "exclusion", "threshold")
OLDEST = 60.0
"""Seconds after which figures are not used any more."""
RENEWED = 40.0
"""Seconds after which new ones are computed beside, while the old ones still serve."""


@dataclass(frozen=True)
class Figures:
    """What is shown, at one moment.

    Attributes:
        texts: Of every statement that is shown, as moderation left it, by id.
        ids: Shape (statements,), of the same statements.
        priorities: Same shape, above 0.
        minimum: Votes before a statement may be added.
        minimum_decision: The ledger row that says so, if somebody decided.
        counting: Votes of somebody below which none of them counts in the results.
        map: Where people stand, if the team shows it.
    """

    texts: Mapping[int, str]
    ids: np.ndarray
    priorities: np.ndarray
    minimum: int
    minimum_decision: str | None
    counting: int
    map: MapFigures

    def draw(self, voted_on: Collection[int], rng: np.random.Generator) -> int | None:
        """Draw one of the statements, with a probability in proportion to its priority; None if all are voted on."""
        open_to = ~np.isin(self.ids, np.fromiter(voted_on, np.int64, len(voted_on)))
        ids, weights = self.ids[open_to], self.priorities[open_to].cumsum()
        return int(ids[np.searchsorted(weights, rng.random() * weights[-1], "right")]) if len(ids) else None


def compute(opened: OpenConsultation) -> Figures:
    """Compute the figures from the database and the ledgers as they are now.

    What two people differ on stays as it was before, so that people go on voting; where the moderation ledger asks two
    to decide, what one lets in or takes out does as well.

    Raises:
        ConsultationError: A ledger cannot be read.
    """
    imported = opened.imported
    moderation, exclusion, ledger = (before_differences(opened.ledger(kind)) for kind in LEDGERS_READ)
    verdicts = moderation_verdicts(before_one_of_two(moderation))
    apart = [key for key, each in verdicts.items() if each.metadata]
    statements = clean_statements(imported.raw_statements, verdicts, opened.consultation.file.moderation == "lenient")
    shown, marked = still_asked(statements, imported.raw_statements, apart)
    shown = shown.sort("statement_id")
    excluded = list(exclusions(exclusion))
    votes = imported.raw_votes.join(shown, on="statement_id", how="semi").filter(
        ~pl.col("participant_id").is_in(excluded)
    )
    matrix = vote_matrix(votes, votes["participant_id"].unique(), shown["statement_id"])
    table = priorities_of_votes(matrix, marked)
    settled = thresholds(ledger, opened.consultation.file.seed)
    return Figures(
        dict(shown.iter_rows()),
        table["statement_id"].to_numpy(),
        table["priority"].to_numpy(),
        *votes_before_statement(ledger),
        settled.minimum_votes,
        _map(opened, votes, shown, settled) if opened.consultation.file.portal.opinion_map else NOTHING,
    )


def _map(opened: OpenConsultation, votes: pl.DataFrame, shown: pl.DataFrame, settled: Thresholds) -> MapFigures:
    """The map of those whose votes count; in one group where the last run found no structure in the votes."""
    counts = votes["participant_id"].value_counts()
    kept = counts.filter(pl.col("count") >= settled.minimum_votes)["participant_id"]
    matrix = vote_matrix(votes.filter(pl.col("participant_id").is_in(kept.implode())), kept, shown["statement_id"])
    procedure, tested = settled.procedure, opened.table("group_structure")
    if tested is not None:
        procedure = procedure_for(procedure, tested, settled.without_structure)
    return map_figures(matrix, procedure)


@dataclass
class Source:
    """The figures of one consultation, computed anew when they grow old or a ledger changes."""

    consultation: Consultation
    home: Home
    _known: Figures | None = None
    _made: float = 0.0
    _ledgers: tuple[int, ...] = ()
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def now(self) -> Figures:
        """Return figures that are at most a minute old.

        Raises:
            ConsultationError: There are none yet, and a ledger cannot be read.
        """
        known, age = self._known, time.monotonic() - self._made
        if known is None or age > OLDEST:
            with self._lock:
                if self._known is None or time.monotonic() - self._made > OLDEST:
                    self._renew()
            return self._known or known or compute(OpenConsultation(self.consultation, self.home))
        if (age > RENEWED or self._ledgers != self._state()) and self._lock.acquire(blocking=False):
            threading.Thread(target=self._renew_beside, daemon=True).start()
        return known

    def renew(self) -> None:
        """Compute the figures now."""
        with self._lock:
            self._renew()

    def _renew_beside(self) -> None:
        try:
            self._renew()
        finally:
            self._lock.release()

    def _renew(self) -> None:
        state = self._state()
        try:
            self._known = compute(OpenConsultation(self.consultation, self.home))
        except ConsultationError as error:
            if self._known is None:
                raise
            logging.getLogger("django").error("The figures stay as they were: %s", error)
        self._ledgers, self._made = state, time.monotonic()

    def _state(self) -> tuple[int, ...]:
        return tuple(_changed_at(path) for path in self._paths)

    @cached_property
    def _paths(self) -> list[Path]:
        # Looked at with every answer, so that they are put together once.
        return [self.consultation.ledger(kind) for kind in LEDGERS_READ]


def _changed_at(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:  # whoever reads the ledger is told
        return 0
