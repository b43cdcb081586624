"""What a rater is asked and what becomes of the answer: a row of the table that `ccai ratings import` reads.

Pairs are those that `ccai ratings export` drew, or turns of `conversations`; each answer goes to the rater's file below
`CCAI_HOME` and from there, through the same import as any other, to the ratings of the consultation. Reasons stay in
the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ccai_dagster.core.draws import derived_seed
from ccai_dagster.core.files import csv_text, sheet_rows, write_file, written_alone
from ccai_dagster.core.text import spreadsheet_cell
from ccai_dagster.evaluation.rating_export import EXPORT_COLUMNS, ShownPair, shown_pairs
from ccai_dagster.evaluation.ratings import ANSWERS, import_ratings, read_ratings
from ccai_dagster.open_consultation import OpenConsultation
from ccai_dagster.portal.participation import Refusal

COLUMNS = (*EXPORT_COLUMNS, "reason")
LONGEST_REASON = 500


@dataclass(frozen=True)
class RatingState:
    """How far a rater is.

    Attributes:
        next: Of the pairs that are left; None if there are none.
        rated: Pairs that this rater answered and that are still as they were shown.
        wanted: Pairs there are.
    """

    next: ShownPair | None
    rated: int
    wanted: int


def rating_state(opened: OpenConsultation, rater: str) -> RatingState:
    """Return what a rater is asked next, in an order of the rater's own, which the ids of pairs give.

    Raises:
        ConsultationError: The ratings, or the table of comparisons, are damaged.
    """
    pairs = _pairs(opened)
    known = set(read_ratings(opened.consultation.ratings).filter(rater=rater)["pair_id"])
    left = [each for each in pairs if each.pair_id not in known]
    seed = opened.consultation.file.seed
    first = min(left, key=lambda each: derived_seed(seed, "shown to", rater, each.pair_id), default=None)
    return RatingState(first, len(pairs) - len(left), len(pairs))


def record_rating(opened: OpenConsultation, rater: str, pair_id: str, answer: str, reason: str) -> None:
    """Keep one answer and bring it among the ratings of the consultation.

    Raises:
        Refusal: It is none, its pair is not asked, or the rater answered otherwise before.
        ConsultationError: A file is damaged or cannot be written.
    """
    if answer not in ANSWERS:
        raise Refusal("Choose the first, the second, or neither.")
    pair = next((each for each in _pairs(opened) if each.pair_id == pair_id), None)
    if pair is None:
        raise Refusal("These responses are not asked about any more. Nothing was kept.")
    why = spreadsheet_cell(" ".join(reason.split())[:LONGEST_REASON])
    keep_ratings(opened, rater, {pair_id: (*pair.cells(answer), why)})


def keep_ratings(opened: OpenConsultation, rater: str, new: Mapping[str, tuple[str, ...]]) -> None:
    """Add rows to a rater's file and bring them among the ratings of the consultation.

    Args:
        new: By pair, in the columns `COLUMNS`.

    Raises:
        Refusal: The rater answered otherwise before.
        ConsultationError: A file is damaged or cannot be written.
    """
    folder = opened.consultation.ratings
    path = opened.home.portal_ratings / f"{rater}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_alone(path, path.with_suffix(".lock")):
        on_record = dict(read_ratings(folder).filter(rater=rater).select("pair_id", "rating").iter_rows())
        at = COLUMNS.index("rating")
        if any(on_record.get(pair_id, cells[at]) != cells[at] for pair_id, cells in new.items()):
            raise Refusal("You answered this before. The first answer counts.")
        if new.keys() <= on_record.keys():
            return
        kept = sheet_rows(path, COLUMNS) if path.exists() else ()
        rows = {row["pair_id"]: tuple(row[name] for name in COLUMNS) for _, row in kept}
        write_file(path, csv_text(COLUMNS, (rows | dict(new)).values()))
        import_ratings(folder, path, rater)


def _pairs(opened: OpenConsultation) -> list[ShownPair]:
    comparisons = opened.table("comparisons")
    return [] if comparisons is None else shown_pairs(comparisons, opened.consultation.ratings)
