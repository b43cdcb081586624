"""The field that drawings are placed on: shapes, words, axes, bars and points in units.

Doesn't belong here: what any table says; SVG as text (`image`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import polars as pl

from ccai_dagster.core.language import number, percent

WIDE, TALL = 720, 360
"""Units of a picture; letters in it are 22 units high, so that they can be read on a phone."""
LEFT, RIGHT, TOP, BOTTOM = 80, 24, 16, 64
"""Units around the field, for numbers and what they are of."""


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


def across(score: float) -> int:
    """Where a score in [0, 1] is from left to right."""
    return round(LEFT + score * (WIDE - LEFT - RIGHT))


def up(share: float) -> int:
    """Where a score or share in [0, 1] is from top to bottom."""
    return round(TOP + (1 - share) * (TALL - TOP - BOTTOM))


def across_column(score: pl.Expr) -> pl.Expr:
    """As `across`, of a column."""
    return (LEFT + score * (WIDE - LEFT - RIGHT)).round().cast(pl.Int64)


def up_column(score: pl.Expr) -> pl.Expr:
    """As `up`, of a column."""
    return (TOP + (1 - score) * (TALL - TOP - BOTTOM)).round().cast(pl.Int64)


def dots(points: Iterable[tuple[int, int]], tint: str = "", wide: float = 8) -> Shape:
    """Points; what lies on one and the same is drawn once."""
    path, last = "", (0, 0)
    for x, y in sorted(set(points)):  # each from the one before, which takes fewer digits
        path += f"m{x - last[0]} {y - last[1]}h0"
        last = x, y
    return Shape("dots", path.replace(" -", "-"), tint, wide)


def upright(lines: Iterable[tuple[int, int, int]]) -> str:
    """Lines between two heights, those that lie upon each other drawn once: a path is as dark there as anywhere."""
    joined: list[list[int]] = []
    for x, *ends in sorted((x, min(ends), max(ends)) for x, *ends in lines):
        if joined and joined[-1][0] == x and ends[0] <= joined[-1][2]:
            joined[-1][2] = max(joined[-1][2], ends[1])
        else:
            joined.append([x, *ends])
    return "".join(f"M{x} {bottom}V{top}" for x, top, bottom in joined)


def bar(place: int, base: int, n: int, bins: int, highest: int) -> str:
    """A bar of a histogram: `n` on top of `base`."""
    top, bottom = up((base + n) / highest), up(base / highest)
    return f"M{across(place / bins) + 1} {bottom}V{top}H{across((place + 1) / bins) - 1}V{bottom}z"


def counted(values: pl.Series, bins: int) -> list[int]:
    """How many values in [0, 1] are in each of so many equal bins; 1 is in the last."""
    counts = [0] * bins
    for value in values.drop_nulls():
        counts[min(int(value * bins), bins - 1)] += 1
    return counts


def axes() -> Shape:
    """The lower and the left edge of the field."""
    return Shape("axis", f"M{LEFT} {TOP}V{TALL - BOTTOM}H{WIDE - RIGHT}")


def cut_at(threshold: float | None) -> list[Shape]:
    """The cut, where scores go from left to right."""
    return [] if threshold is None else [Shape("cut", f"M{across(threshold)} {TOP}V{TALL - BOTTOM}")]


def cut_across(threshold: float | None) -> list[Shape]:
    """The cut, where scores go from bottom to top."""
    return [] if threshold is None else [Shape("cut", f"M{LEFT} {up(threshold)}H{WIDE - RIGHT}")]


def scores_below() -> list[Label]:
    """Scores from 0 to 1 below the field."""
    return [Label(across(tenth / 10), TALL - BOTTOM + 26, number(tenth / 10, 1)) for tenth in range(0, 11, 2)]


def scores_beside() -> list[Label]:
    """Scores from 0 to 1 beside the field."""
    return [Label(LEFT - 8, up(tenth / 10) + 8, number(tenth / 10, 1), "end") for tenth in range(0, 11, 2)]


def shares_beside() -> list[Label]:
    """Shares from nothing to all beside the field."""
    return [Label(LEFT - 6, up(tenth / 10) + 8, percent(tenth / 10), "end") for tenth in range(0, 11, 5)]


def counts_beside(highest: int) -> list[Label]:
    """Nil and the highest count beside the field."""
    return [Label(LEFT - 8, up(n / highest) + 8, number(n), "end") for n in sorted({0, highest})]
