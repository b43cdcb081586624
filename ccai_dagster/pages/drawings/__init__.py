"""Pictures as lines: sharp at every size, small, in the language of the page they stand in.

Belongs here: placing what a table says on a field of `WIDE` units. Doesn't belong here: HTML; pictures with many words
or panels, which are PNG (`pictures`); choosing statements.
"""

from __future__ import annotations

from ccai_dagster.pages.drawings.consensus import (
    consensus_histogram,
    consensus_intervals,
    opinion_map,
    polarization,
    selection_frequency,
)
from ccai_dagster.pages.drawings.field import Drawing
from ccai_dagster.pages.drawings.image import as_svg
from ccai_dagster.pages.drawings.replication import published_and_corrected, shuffled_fit

__all__ = [
    "Drawing",
    "as_svg",
    "consensus_histogram",
    "consensus_intervals",
    "opinion_map",
    "polarization",
    "published_and_corrected",
    "selection_frequency",
    "shuffled_fit",
]
