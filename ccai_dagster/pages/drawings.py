"""The pictures of pages as lines in the page itself: sharp at every size, in the page's language, and small.

Belongs here: placing what a table says on a field of `WIDE` units. Doesn't belong here: HTML; pictures of assets, which
Dagster shows as PNG (`pictures`); choosing statements.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import polars as pl

from ccai_dagster.core.language import enumerated, gettext, ngettext, number, percent
from ccai_dagster.deliberation.votes import group_letters, group_name
from ccai_dagster.pages.pictures.replication import BY_ID, BY_POSITION, CROSSINGS, crossings_told, fits, fits_told
from ccai_dagster.pages.pictures.style import COLOURS, PALE, colour, median
from ccai_dagster.pages.pictures.uncertainty import SIDES, with_sides

WIDE, TALL = 720, 360
"""Units of a picture; letters in it are 22 units high, so that they can be read on a phone."""
LEFT, RIGHT, TOP, BOTTOM = 80, 24, 16, 64
"""Units around the field, for numbers and what they are of."""
HISTOGRAM = 40
"""Bars of a histogram of scores from 0 to 1."""
FINE = 120
"""Bars of a histogram whose values lie close together."""


@dataclass(frozen=True)
class Shape:
    """A path.

    Attributes:
        kind: How it is painted: `dots`, `lines`, `bars`, `outline`, `cut`, `axis`.
        path: SVG path data.
        colour: Empty for that of the text.
        wide: Of its lines, in units.
        faint: Whether others shall be seen through it.
    """

    kind: str
    path: str
    colour: str = ""
    wide: float = 2
    faint: bool = False


@dataclass(frozen=True)
class Label:
    """Words in a picture; `anchor` is `start`, `middle` or `end`."""

    x: int
    y: int
    text: str
    anchor: str = "middle"


@dataclass(frozen=True)
class Drawing:
    """A picture: shapes and words on a field, what its colours stand for, and all of it in a sentence."""

    shapes: Sequence[Shape]
    labels: Sequence[Label]
    keys: Sequence[tuple[str, str]]
    alt: str
    wide: int = WIDE
    tall: int = TALL


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
    placed = groups.select(
        "group_id",
        x=(TOP + (WIDE - 2 * TOP - spans[0] * scale) / 2 + (pl.col("x") - left) * scale).round().cast(pl.Int64),
        y=(tall - TOP - (pl.col("y") - bottom) * scale).round().cast(pl.Int64),
    )
    by_group = {key: placed.filter(group_id=key) for key in sizes}
    return Drawing(
        [_dots(own.select("x", "y").iter_rows(), colour(key)) for key, own in by_group.items()],
        [
            Label(round(own["x"].mean()), round(own["y"].mean()) + 8, group_letters(key))  # type: ignore[arg-type]
            for key, own in by_group.items()
        ],
        [(colour(key), one) for key, one in zip(sizes, told, strict=True)],
        alt,
        tall=tall,
    )


def consensus_histogram(
    gac_scores: pl.DataFrame, threshold: float | None, consensus_stability: pl.DataFrame
) -> Drawing:
    """Draw how many statements reach which group-aware consensus, by how often they reach the cut.

    Args:
        gac_scores: GAC_SCORES; statements without a score are left out.
        threshold: The cut on record, in [0, 1]; None if statements are not chosen by a threshold.
        consensus_stability: CONSENSUS_STABILITY.
    """
    scored = gac_scores.filter(pl.col("gac").is_not_null()).select("statement_id", "gac")
    scored = scored.join(with_sides(consensus_stability).select("statement_id", "side"), on="statement_id", how="left")
    counts = {side: _counted(scored.filter(side=side)["gac"], HISTOGRAM) for side in SIDES}
    counts = {side: own for side, own in counts.items() if any(own)}
    highest = max([sum(column) for column in zip(*counts.values(), strict=True)], default=1)
    shapes, below = [], [0] * HISTOGRAM
    for side, own in counts.items():
        bars = [(place, base, n) for place, (base, n) in enumerate(zip(below, own, strict=True)) if n]
        shapes.append(Shape("bars", "".join(_bar(*bar, HISTOGRAM, highest) for bar in bars), SIDES[side][1]))
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
        [*shapes, *_cut_at(threshold), _axes()],
        [*_scores_below(), *_counts_beside(highest)],
        [(SIDES[side][1], gettext(SIDES[side][0])) for side in counts],
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
        **{name: _height(pl.col(name)) for name in ("gac", *_ENDS, *_ENDS_SAME_GROUPS)},
    )
    shapes, wide = [], max(1.0, min(8.0, step * 0.7))
    for side, (_, tint, _) in SIDES.items():
        own = placed.filter(side=side)
        if not own.is_empty():
            for ends, faint in ((_ENDS, True), (_ENDS_SAME_GROUPS, False)):
                lines = _upright(own.select("x", *ends).iter_rows())
                shapes.append(Shape("lines", lines, tint, round(wide, 1), faint))
    shapes.append(_dots(placed.select("x", "gac").iter_rows(), wide=4))
    counts = {side: ranked.filter(side=side).height for side in SIDES}
    alt = gettext(
        "The consensus of %(statements)s with 90%% intervals: in the draws %(above)s reach the cut nearly always, "
        "%(below)s nearly never, and for %(open)s it is open.",
        statements=ngettext("%(count)s statement", "%(count)s statements", ranked.height),
        **{side: number(n) for side, n in counts.items()},
    )
    return Drawing(
        [*shapes, *_cut_across(threshold), _axes()],
        [*_scores_beside(), Label(WIDE // 2, TALL - 12, gettext("statements, from the highest score to the lowest"))],
        [(SIDES[side][1], " ".join((gettext(SIDES[side][0]), f"({number(n)})"))) for side, n in counts.items() if n],
        alt,
    )


def selection_frequency(consensus_stability: pl.DataFrame) -> Drawing:
    """Draw how often each statement of CONSENSUS_STABILITY reaches the cut when participants are drawn anew."""
    scored = consensus_stability.filter(pl.col("gac").is_not_null()).sort("statement_id")
    placed = scored.with_columns(x=_across(pl.col("gac")), y=_height(pl.col("selection_probability")))
    few, enough = (placed.filter(pl.col("few_votes") == value) for value in (True, False))
    kinds = [(enough, COLOURS[0], gettext("enough votes")), (few, COLOURS[1], gettext("a group cast few votes"))]
    return Drawing(
        [*(_dots(own.select("x", "y").iter_rows(), tint) for own, tint, _ in kinds if own.height), _axes()],
        [*_scores_below(), *_shares_beside()],
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
    counts = {name: _counted(own, bins) for name, own in values.items()}
    highest = max(max(own) for own in counts.values()) or 1
    (plain, adjusted), tints = counts.values(), (PALE, COLOURS[1])
    steps = "".join(
        f"{'L' if place else 'M'}{_place(place / bins)} {_level(n / highest)}H{_place((place + 1) / bins)}"
        for place, n in enumerate(adjusted)
    )
    return Drawing(
        [
            Shape("bars", "".join(_bar(place, 0, n, bins, highest) for place, n in enumerate(plain) if n), tints[0]),
            Shape("outline", steps, tints[1], 3),
            _axes(),
        ],
        [*_scores_below(), *_counts_beside(highest)],
        [
            (tint, gettext("%(what)s, median %(median)s", what=what, median=number(median(values[name]), 2)))
            for tint, (name, what) in zip(tints, columns.items(), strict=True)
        ],
        gettext(
            "How evenly %(statements)s divide people: 0 if everybody is on one side, 1 if both are equally strong.",
            statements=ngettext("%(count)s statement", "%(count)s statements", values["polarization_index"].len()),
        ),
    )


def published_and_corrected(replicated_statements: pl.DataFrame, threshold: float) -> Drawing:
    """Draw the consensus of every statement as published, to the right, and corrected, upwards.

    Args:
        replicated_statements: REPLICATED_STATEMENTS.
        threshold: The published one, in [0, 1].
    """
    placed = replicated_statements.sort("statement_id").with_columns(
        x=_across(pl.col("published_gac")),
        y=_height(pl.col("corrected_gac")),
        **{f"x_{end}": _across(pl.col(f"reproduced_{end}")) for end in ("low", "high")},
        **{f"y_{end}": _height(pl.col(f"corrected_{end}")) for end in ("low", "high")},
    )
    shapes, keys = [Shape("outline", f"M{_place(0)} {_level(0)}L{_place(1)} {_level(1)}", PALE)], []
    for crossing, (tint, marker) in CROSSINGS.items():
        own, crosses = placed.filter(crossing=crossing), marker != "o"
        if own.is_empty():
            continue
        if crosses:
            ends = own.select("x", "y", "x_low", "x_high", "y_low", "y_high").iter_rows()
            lines = "".join(f"M{left} {y}H{right}M{x} {low}V{high}" for x, y, left, right, low, high in ends)
            shapes.append(Shape("lines", lines, tint, 1, True))
        shapes.append(_dots(own.select("x", "y").iter_rows(), tint, 14 if crosses else 7))
        keys.append((tint, f"{crossing} ({own.height:,})"))
    return Drawing(
        [*shapes, *_cut_at(threshold), *_cut_across(threshold), _axes()],
        [*_scores_below(), *_scores_beside()],
        keys,
        crossings_told(replicated_statements, threshold),
    )


def shuffled_fit(alignment_evidence: pl.DataFrame) -> Drawing:
    """Draw how well shuffled groups of ALIGNMENT_EVIDENCE fit the votes, and the published groups in both places."""
    shuffled, observed = fits(alignment_evidence)
    highest = max(*shuffled, *observed.values())
    counts = _counted(pl.Series([each / highest for each in shuffled]), FINE)
    most = max(counts)
    bars = "".join(_bar(place, 0, n, FINE, most) for place, n in enumerate(counts) if n)
    tints = {BY_POSITION: COLOURS[1], BY_ID: COLOURS[0]}
    lines = [
        Shape("cut" if name == BY_POSITION else "lines", f"M{_place(value / highest)} {TOP}V{TALL - BOTTOM}", tint, 3)
        for (name, value), tint in zip(observed.items(), tints.values(), strict=True)
    ]
    return Drawing(
        [Shape("bars", bars, PALE), *lines, _axes()],
        [
            Label(LEFT, TALL - BOTTOM + 26, "0"),
            Label(WIDE, TALL - BOTTOM + 26, f"{highest:,.0f}", "end"),
            *_counts_beside(most),
        ],
        [
            (PALE, f"groups shuffled at random ({len(shuffled):,} times)"),
            *((tints[name], f"{name} ({value:,.0f})") for name, value in observed.items()),
        ],
        fits_told(alignment_evidence),
    )


_ENDS, _ENDS_SAME_GROUPS = ("gac_low", "gac_high"), ("gac_low_same_groups", "gac_high_same_groups")


def _place(score: float) -> int:
    """Where a score in [0, 1] is from left to right."""
    return round(LEFT + score * (WIDE - LEFT - RIGHT))


def _level(share: float) -> int:
    """Where a score or share in [0, 1] is from top to bottom."""
    return round(TOP + (1 - share) * (TALL - TOP - BOTTOM))


def _across(score: pl.Expr) -> pl.Expr:
    return (LEFT + score * (WIDE - LEFT - RIGHT)).round().cast(pl.Int64)


def _height(score: pl.Expr) -> pl.Expr:
    return (TOP + (1 - score) * (TALL - TOP - BOTTOM)).round().cast(pl.Int64)


def _dots(points: Iterable[tuple[int, int]], tint: str = "", wide: float = 8) -> Shape:
    path, last = "", (0, 0)
    for x, y in sorted(set(points)):  # each from the one before, which takes fewer digits
        path += f"m{x - last[0]} {y - last[1]}h0"
        last = x, y
    return Shape("dots", path.replace(" -", "-"), tint, wide)


def _upright(lines: Iterable[tuple[int, int, int]]) -> str:
    """Lines between two heights, those that lie upon each other drawn once: a path is as dark there as anywhere."""
    joined: list[list[int]] = []
    for x, *ends in sorted((x, min(ends), max(ends)) for x, *ends in lines):
        if joined and joined[-1][0] == x and ends[0] <= joined[-1][2]:
            joined[-1][2] = max(joined[-1][2], ends[1])
        else:
            joined.append([x, *ends])
    return "".join(f"M{x} {bottom}V{top}" for x, top, bottom in joined)


def _bar(place: int, base: int, n: int, bins: int, highest: int) -> str:
    """A bar of a histogram: `n` on top of `base`."""
    top, bottom = _level((base + n) / highest), _level(base / highest)
    return f"M{_place(place / bins) + 1} {bottom}V{top}H{_place((place + 1) / bins) - 1}V{bottom}z"


def _counted(values: pl.Series, bins: int) -> list[int]:
    """How many values in [0, 1] are in each of so many equal bins; 1 is in the last."""
    counts = [0] * bins
    for value in values.drop_nulls():
        counts[min(int(value * bins), bins - 1)] += 1
    return counts


def _axes() -> Shape:
    return Shape("axis", f"M{LEFT} {TOP}V{TALL - BOTTOM}H{WIDE - RIGHT}")


def _cut_at(threshold: float | None) -> list[Shape]:
    """The cut, where scores go from left to right."""
    return [] if threshold is None else [Shape("cut", f"M{_place(threshold)} {TOP}V{TALL - BOTTOM}")]


def _cut_across(threshold: float | None) -> list[Shape]:
    """The cut, where scores go from bottom to top."""
    return [] if threshold is None else [Shape("cut", f"M{LEFT} {_level(threshold)}H{WIDE - RIGHT}")]


def _scores_below() -> list[Label]:
    return [Label(_place(tenth / 10), TALL - BOTTOM + 26, number(tenth / 10, 1)) for tenth in range(0, 11, 2)]


def _scores_beside() -> list[Label]:
    return [Label(LEFT - 8, _level(tenth / 10) + 8, number(tenth / 10, 1), "end") for tenth in range(0, 11, 2)]


def _shares_beside() -> list[Label]:
    return [Label(LEFT - 6, _level(tenth / 10) + 8, percent(tenth / 10), "end") for tenth in range(0, 11, 5)]


def _counts_beside(highest: int) -> list[Label]:
    return [Label(LEFT - 8, _level(n / highest) + 8, number(n), "end") for n in sorted({0, highest})]
