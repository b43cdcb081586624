"""Drawings of the deliberation: who stands where, how widely statements are agreed on, and how sure that is.

Doesn't belong here: choosing statements.
"""

from __future__ import annotations

import polars as pl

from ccai_dagster.core.language import enumerated, gettext, ngettext, number
from ccai_dagster.deliberation.stability import INTERVAL
from ccai_dagster.deliberation.votes import group_letters, group_name
from ccai_dagster.pages.drawings.field import (
    LEFT,
    RIGHT,
    TALL,
    TOP,
    WIDE,
    Drawing,
    Label,
    Shape,
    across,
    across_column,
    axes,
    bar,
    counted,
    counts_beside,
    cut_across,
    cut_at,
    dots,
    scores_below,
    scores_beside,
    shares_beside,
    up,
    up_column,
    upright,
)
from ccai_dagster.pages.pictures.style import COLOURS, PALE, colour, median

CROWD, NEAR = 20_000, 3
"""From so many people on, points nearer than so many units are drawn as one, each being eight units wide."""
HISTOGRAM = 40
"""Bars of a histogram of scores from 0 to 1."""
OPEN = INTERVAL
"""Between these shares of draws it is open whether a statement reaches the cut: outside of them, the 90 % interval
of its score does not include the cut."""
SIDES = {
    "below": ("misses the cut", "#9aa1ac"),
    "open": ("within sampling error of the cut", "#E69F00"),
    "above": ("reaches the cut", COLOURS[0]),
}
"""Name and colour of the three kinds of statements."""
_ENDS, _ENDS_SAME_GROUPS = ("gac_low", "gac_high"), ("gac_low_same_groups", "gac_high_same_groups")


def opinion_map(opinion_groups: pl.DataFrame) -> Drawing:
    """Draw every participant of OPINION_GROUPS as a point, near those who voted alike."""
    groups = opinion_groups.sort("participant_id")
    sizes = dict(groups.group_by("group_id").len().sort("group_id").iter_rows())
    told = [
        ngettext("%(count)s person in %(group)s", "%(count)s people in %(group)s", size, group=group_name(key))
        for key, size in sizes.items()
    ]
    people = ngettext("%(count)s participant", "%(count)s participants", groups.height)
    alt = gettext(
        "Map of %(people)s by how they voted: %(groups)s.", people=people, groups=enumerated(told) or gettext("nobody")
    )
    if groups.is_empty():
        return Drawing([], [], [], alt)
    # One scale for both lines of difference, so that distances can be compared.
    left, bottom = (float(groups[axis].min() or 0.0) for axis in "xy")  # type: ignore[arg-type]
    spans = [float(groups[axis].max() or 0.0) - low for axis, low in zip("xy", (left, bottom), strict=True)]  # type: ignore[arg-type]
    scale = (WIDE - 2 * TOP) / max(*spans, 1e-9)
    tall = max(120, round(spans[1] * scale)) + 2 * TOP
    near = NEAR if groups.height >= CROWD else 1
    placed = groups.select(
        "group_id",
        x=TOP + (WIDE - 2 * TOP - spans[0] * scale) / 2 + (pl.col("x") - left) * scale,
        y=tall - TOP - (pl.col("y") - bottom) * scale,
    ).with_columns((pl.col("x", "y") / near).round().cast(pl.Int64) * near)
    by_group = {key: placed.filter(group_id=key) for key in sizes}
    return Drawing(
        [dots(own.select("x", "y").iter_rows(), colour(key)) for key, own in by_group.items()],
        [
            Label(round(own["x"].mean()), round(own["y"].mean()) + 8, group_letters(key))  # type: ignore[arg-type]
            for key, own in by_group.items()
        ],
        [(colour(key), one) for key, one in zip(sizes, told, strict=True)],
        alt,
        tall=tall,
    )


def consensus_histogram(
    gac_scores: pl.DataFrame, threshold: float | None, consensus_stability: pl.DataFrame | None = None
) -> Drawing:
    """Draw how many statements reach which group-aware consensus, by how often they reach the cut.

    Args:
        gac_scores: GAC_SCORES; statements without a score are left out.
        threshold: The cut on record, in [0, 1]; None if statements are not chosen by a threshold.
        consensus_stability: CONSENSUS_STABILITY; without it a statement reaches the cut or misses it.
    """
    scored = gac_scores.filter(pl.col("gac").is_not_null()).select("statement_id", "gac")
    if consensus_stability is None:
        reached = pl.col("gac") >= (threshold or 0.0)
        scored = scored.with_columns(side=pl.when(reached).then(pl.lit("above")).otherwise(pl.lit("below")))
    else:
        sides = with_sides(consensus_stability).select("statement_id", "side")
        scored = scored.join(sides, on="statement_id", how="left")
    counts = {side: counted(scored.filter(side=side)["gac"], HISTOGRAM) for side in SIDES}
    counts = {side: own for side, own in counts.items() if any(own)}
    keys = [(SIDES[side][1], gettext(SIDES[side][0])) for side in counts]
    highest = max([sum(column) for column in zip(*counts.values(), strict=True)], default=1)
    shapes, below = [], [0] * HISTOGRAM
    for side, own in counts.items():
        bars = [(place, base, n) for place, (base, n) in enumerate(zip(below, own, strict=True)) if n]
        shapes.append(Shape("bars", "".join(bar(*each, HISTOGRAM, highest) for each in bars), SIDES[side][1]))
        below = [base + n for base, n in zip(below, own, strict=True)]
    alt = ngettext(
        "How widely %(count)s statement is agreed on, as a histogram.",
        "How widely %(count)s statements are agreed on, as a histogram.",
        scored.height,
    )
    if not scored.is_empty():
        half = gettext("Half of them are above %(median)s.", median=number(median(scored["gac"]), 2))
        alt = f"{alt} {half}"
    return Drawing(
        [*shapes, *cut_at(threshold), axes()],
        [*scores_below(), *counts_beside(highest)],
        keys if threshold is not None or consensus_stability is not None else [],
        alt,
    )


def consensus_intervals(consensus_stability: pl.DataFrame, threshold: float | None) -> Drawing:
    """Draw the score of every statement with its interval, from the highest to the lowest.

    Args:
        consensus_stability: CONSENSUS_STABILITY; statements without a score are left out.
        threshold: As for `consensus_histogram`.
    """
    ranked = (
        with_sides(consensus_stability)
        .filter(pl.col("gac").is_not_null())
        .sort(["gac", "statement_id"], descending=[True, False])
    )
    step = (WIDE - LEFT - RIGHT) / max(1, ranked.height)
    placed = ranked.with_columns(
        x=(LEFT + step * (pl.int_range(pl.len()) + 0.5)).round().cast(pl.Int64),
        **{name: up_column(pl.col(name)) for name in ("gac", *_ENDS, *_ENDS_SAME_GROUPS)},
    )
    shapes, wide = [], max(1.0, min(8.0, step * 0.7))
    for side, (_, tint) in SIDES.items():
        own = placed.filter(side=side)
        if not own.is_empty():
            for ends, faint in ((_ENDS, True), (_ENDS_SAME_GROUPS, False)):
                lines = upright(own.select("x", *ends).iter_rows())
                shapes.append(Shape("lines", lines, tint, round(wide, 1), faint))
    shapes.append(dots(placed.select("x", "gac").iter_rows(), wide=4))
    counts = {side: ranked.filter(side=side).height for side in SIDES}
    alt = gettext(
        "The consensus of %(statements)s with 90%% intervals: in the draws %(above)s reach the cut nearly always, "
        "%(below)s nearly never, and for %(open)s it is open.",
        statements=ngettext("%(count)s statement", "%(count)s statements", ranked.height),
        **{side: number(n) for side, n in counts.items()},
    )
    return Drawing(
        [*shapes, *cut_across(threshold), axes()],
        [*scores_beside(), Label(WIDE // 2, TALL - 12, gettext("statements, from the highest score to the lowest"))],
        [(SIDES[side][1], " ".join((gettext(SIDES[side][0]), f"({number(n)})"))) for side, n in counts.items() if n],
        alt,
    )


def selection_frequency(consensus_stability: pl.DataFrame) -> Drawing:
    """Draw how often each statement of CONSENSUS_STABILITY reaches the cut when participants are drawn anew."""
    scored = consensus_stability.filter(pl.col("gac").is_not_null()).sort("statement_id")
    placed = scored.with_columns(x=across_column(pl.col("gac")), y=up_column(pl.col("selection_probability")))
    few, enough = (placed.filter(pl.col("few_votes") == value) for value in (True, False))
    kinds = [(enough, COLOURS[0], gettext("enough votes")), (few, COLOURS[1], gettext("a group cast few votes"))]
    return Drawing(
        [*(dots(own.select("x", "y").iter_rows(), tint) for own, tint, _ in kinds if own.height), axes()],
        [*scores_below(), *shares_beside()],
        [(tint, what) for own, tint, what in kinds if own.height],
        gettext(
            "How often each of %(statements)s reaches the cut when participants are drawn anew, by its consensus.",
            statements=ngettext("%(count)s statement", "%(count)s statements", scored.height),
        ),
    )


def polarization(gac_scores: pl.DataFrame) -> Drawing:
    """Draw how evenly statements divide all participants, by GAC_SCORES; those nobody voted on are left out."""
    columns = {
        "polarization_index": gettext("polarization index"),
        "adjusted_polarization_index": gettext("adjusted for passes"),
    }
    bins = HISTOGRAM // 2
    values = {name: gac_scores[name].drop_nulls() for name in columns}
    counts = {name: counted(own, bins) for name, own in values.items()}
    highest = max(max(own) for own in counts.values()) or 1
    (plain, adjusted), tints = counts.values(), (PALE, COLOURS[1])
    steps = "".join(
        f"{'L' if place else 'M'}{across(place / bins)} {up(n / highest)}H{across((place + 1) / bins)}"
        for place, n in enumerate(adjusted)
    )
    return Drawing(
        [
            Shape("bars", "".join(bar(place, 0, n, bins, highest) for place, n in enumerate(plain) if n), tints[0]),
            Shape("outline", steps, tints[1], 3),
            axes(),
        ],
        [*scores_below(), *counts_beside(highest)],
        [
            (tint, gettext("%(what)s, median %(median)s", what=what, median=number(median(values[name]), 2)))
            for tint, (name, what) in zip(tints, columns.items(), strict=True)
        ],
        gettext(
            "How evenly %(statements)s divide people: 0 if everybody is on one side, 1 if both are equally strong.",
            statements=ngettext("%(count)s statement", "%(count)s statements", values["polarization_index"].len()),
        ),
    )


def with_sides(consensus_stability: pl.DataFrame) -> pl.DataFrame:
    """Add the column `side`: whether a statement is above or below the cut, or whether that is open."""
    share = pl.col("selection_probability")
    return consensus_stability.with_columns(
        side=pl.when(share <= OPEN[0])
        .then(pl.lit("below"))
        .when(share >= OPEN[1])
        .then(pl.lit("above"))
        .otherwise(pl.lit("open"))
    )
