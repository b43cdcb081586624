"""Which era of Polis's export a set of files is from, told by content.

The form changed at least four times without a version number (`math/src/polismath/darwin/export.clj` and
`server/src/routes/export.ts` in `compdemocracy/polis`). What matters for reading is found in the columns themselves;
the era only puts a name to it and tells what cannot be known.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from ccai_dagster.deliberation.importing.times import Unit

Name = Literal[
    "classic", "classic with the columns of 2023", "inverted", "streaming", "streaming with further columns"
]


@dataclass(frozen=True)
class Era:
    """The era of an export, and by which marks it was told, as a sentence without its full stop."""

    name: Name
    evidence: str


def tell_era(
    columns: Collection[str],
    unit: Unit | None,
    inverted: bool | None,
    quoted: bool,
    matrix_name: str | None,
    unknown: Collection[str],
) -> Era:
    """Name the era of an export.

    Args:
        columns: Of `comments.csv`.
        unit: Of the timestamps; None if there are none.
        inverted: Whether -1 means agreement, by the authors' votes; None if they do not tell.
        matrix_name: Name of the file with the matrix, if there is one.
        unknown: Columns that no known era has.
    """
    marks = [f"timestamps in {unit}" if unit else "no timestamps"]
    if inverted is not None:
        marks.append(f"{'-1' if inverted else '+1'} is agreement")
    marks.append("dates beside the timestamps" if "datetime" in columns else "no dates beside the timestamps")
    if "is-meta" in columns:
        marks.append("a column is-meta")
    if not quoted:
        marks.append("bodies without quotes")
    marks.append(f"a matrix {matrix_name}" if matrix_name else "no matrix")
    if unknown:
        marks.append(f"{len(unknown)} columns of no known era")
    return Era(_name(columns, unit, inverted, quoted, unknown), ", ".join(marks))


def _name(
    columns: Collection[str], unit: Unit | None, inverted: bool | None, quoted: bool, unknown: Collection[str]
) -> Name:
    if inverted or (not quoted and inverted is None):
        return "inverted"
    if unit == "seconds":
        return "streaming with further columns" if unknown else "streaming"
    return "classic with the columns of 2023" if "is-meta" in columns else "classic"
