"""Every published figure beside the one that the public files give, and beside the corrected one.

Belongs here: comparing with what was printed, and why a figure cannot be computed. Doesn't belong here: how those
that can are computed (`computed_figures`).
"""

from __future__ import annotations

from typing import Any

import polars as pl

from ccai_dagster.contracts import REPLICATION
from ccai_dagster.errors import ConsultationError
from ccai_dagster.replication.computed_figures import (
    Computed,
    ReplicationTables,
    counts,
    held_in_files,
    scores,
)
from ccai_dagster.replication.published_results import THRESHOLD, Published

READ_BY_A_PERSON = "It rests on a person's reading of texts, and this program does not judge what texts mean."
REASONS = {
    "match": READ_BY_A_PERSON,
    "match_other_base": READ_BY_A_PERSON,
    "mismatch": READ_BY_A_PERSON,
    "conflict_in_paper": (
        "The paper gives two numbers in two places, and the public files do not tell which applied to whom."
    ),
    "not_derivable": "It needs a list or a rule that was not published.",
    "not_in_public_data": "It needs models, raters' answers or the numbers behind a picture; none is public.",
    "manual": "The authors counted by hand, and what they counted was not published item by item.",
    "context": "It describes how the study was made, or cites another; there is nothing to compute.",
}
"""Why a figure is not computed, by the status that the figures file gives it."""

FILES = "published files"
"""Section of what stands in the published files without being printed in the paper."""


def replication(published: Published, tables: ReplicationTables) -> pl.DataFrame:
    """Return the table `replication`: the paper's figures in their order, then what the published files hold.

    Args:
        published: The published results.
        tables: Finished tables.

    Raises:
        ConsultationError: A figure has a status that is not known, or a figure that is computed has no number.
    """
    computed = counts(published, tables) | scores(published, tables)
    rows = []
    for figure in published.figures:
        common = {
            "figure_id": figure.figure_id, "section": figure.section, "what": figure.what,
            "unit": figure.unit or None, "published": figure.value,
        }  # fmt: skip
        if figure.figure_id in computed:
            rows.append(common | _compared(figure.figure_id, figure.value, computed[figure.figure_id]))
        elif figure.status in REASONS:
            rows.append(common | _not_computed(REASONS[figure.status]))
        else:
            raise ConsultationError(
                f"The figures file gives {figure.figure_id} the status {figure.status!r}; known are "
                f"{', '.join(REASONS)}. Correct it."
            )
    for name, (what, value, figure_computed) in held_in_files(published, tables).items():
        rows.append(
            {"figure_id": name, "section": FILES, "what": what, "unit": None, "published": value}
            | _compared(name, value, figure_computed)
        )
    return REPLICATION.build(rows)


def _compared(name: str, value: str, computed: Computed) -> dict[str, Any]:
    low, high = computed.over_seeds or (None, None)
    return {
        "reproduced": float(computed.reproduced),
        "corrected": None if computed.corrected is None else float(computed.corrected),
        "recomputed_low": low,
        "recomputed_high": high,
        "rests_on_groups": computed.rests_on_groups,
        "verdict": "equal" if _prints_as(name, computed.reproduced, value) else "differs",
        "explanation": computed.explanation,
    }


def _not_computed(reason: str) -> dict[str, Any]:
    empty = dict.fromkeys(("reproduced", "corrected", "recomputed_low", "recomputed_high", "rests_on_groups"))
    return {**empty, "verdict": "not computed", "explanation": reason}


def _prints_as(name: str, value: float, printed: str) -> bool:
    """Whether a number, rounded to as many decimals as were printed, is the one that was printed."""
    try:
        wanted = float(printed)
    except ValueError as error:
        raise ConsultationError(
            f"The figures file gives {printed!r} for {name}, which is computed; it must be a number. Correct it."
        ) from error
    if name == THRESHOLD:
        # A threshold is kept to when the lowest score above it is still above it as printed, so it is cut off.
        scale = 10 ** _decimals(printed)
        return int(value * scale + 1e-9) == round(wanted * scale)
    return round(value, _decimals(printed)) == wanted


def _decimals(printed: str) -> int:
    return len(printed.partition(".")[2])
