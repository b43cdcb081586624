"""The specificity matrix as a picture.

Belongs here: drawing SPECIFICITY. Doesn't belong here: what a lift is, the style.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from ccai_dagster.evaluation.clustered import LEVEL
from ccai_dagster.feedback.judge_accuracy import AT_CHANCE
from ccai_dagster.pictures.style import INK, MUTED, Picture, draw, plain

KINDS = ("own", "shared", "other", "rejected")
MEASURES = {
    "judge": "by the feedback model: change in the probability of being satisfied",
    "margin": "without a judge: change in the margin of contrast pairs, nats a token",
}
_SIGNED = "{:+.3f}"


def specificity(matrix: pl.DataFrame) -> Picture:
    """Draw lifts by arm and kind of principle, a panel each measure.

    Cells told from nil after correction for all cells of their kind are framed and coloured, darker further from nil;
    all others are grey, whatever their figure, and cells without a figure say so.

    Args:
        matrix: SPECIFICITY.
    """
    arms = sorted(matrix["arm"].unique())

    def paint(figure: Any) -> None:
        from matplotlib.patches import Rectangle

        for axis, measure in zip(figure.subplots(2, 1, squeeze=False).flatten(), MEASURES, strict=True):
            own = matrix.filter(measure=measure)
            reach = max([abs(value) for value in own["lift"].drop_nulls()] or [0.0]) or 1.0
            for row in own.iter_rows(named=True):
                shade = _shade(row["lift"] if _told(row) else None, reach)
                x, y = KINDS.index(row["kind"]), arms.index(row["arm"])
                axis.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=shade, edgecolor="white"))
                if _told(row):
                    axis.add_patch(
                        Rectangle((x - 0.47, y - 0.45), 0.94, 0.9, fill=False, edgecolor=INK, linewidth=1.6)
                    )
                axis.text(x, y, _cell(row), ha="center", va="center", fontsize=8.5)
            axis.set_xlim(-0.5, len(KINDS) - 0.5)
            axis.set_ylim(len(arms) - 0.5, -0.5)
            axis.set_xticks(range(len(KINDS)), ["own only", "shared", "others' only", "rejected statements"])
            axis.set_yticks(range(len(arms)), [plain(arm, 20) for arm in arms])
            axis.tick_params(length=0)
            axis.spines[["left", "bottom"]].set_visible(False)
            chance = f" (a judge {AT_CHANCE})" if own["judge_at_chance"].any() else ""
            axis.set_title(MEASURES[measure] + chance, fontsize=9, color=MUTED)

    told = [row for row in matrix.iter_rows(named=True) if _told(row)]
    named = "; ".join(
        f"{row['arm']}, {row['kind']} by {row['measure']}: {_SIGNED.format(row['lift'])}" for row in told
    )
    alt = (
        f"Lift against the untrained model in {matrix.height} cells, by arm, kind of principle and measure"
        f"{f', the judge being {AT_CHANCE}' if matrix['judge_at_chance'].any() else ''}. "
        + (f"Told from nil: {named}." if named else "No lift is told from nil.")
    )
    return Picture(draw(paint, 1.6 + 1.1 * max(1, len(arms))), alt)


def _told(row: dict[str, Any]) -> bool:
    return row["adjusted_p"] is not None and row["adjusted_p"] < LEVEL


def _cell(row: dict[str, Any]) -> str:
    if row["lift"] is None:
        return "fewer than\ntwo prompts"
    ends = f"{row['low']:+.3f} to {row['high']:+.3f}" if row["low"] is not None else "no interval"
    return f"{_SIGNED.format(row['lift'])}\n{ends}".replace("-", "\u2212")


def _shade(lift: float | None, reach: float) -> tuple[float, float, float]:
    """Blue above nil, orange below, pale near it; grey if it cannot be told."""
    if lift is None:
        return 0.95, 0.95, 0.95
    red, green, blue = (0.34, 0.62, 0.85) if lift > 0 else (0.95, 0.6, 0.35)
    share = abs(lift) / reach
    return 1 - share * (1 - red), 1 - share * (1 - green), 1 - share * (1 - blue)
