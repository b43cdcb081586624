"""Where people stand among the opinion groups, of which nobody's place can be read but one's own.

Groups and places are those of `deliberation.groups`. Of a group there is an ellipse around its middle, one standard
deviation in each direction, so that no outline goes through anybody's place; smaller groups than `FEWEST_TOLD` people,
or than the threshold ledger's smallest group, are left out. Ellipses and numbers of people are rounded, so that two
looks before and after somebody's vote tell nothing about it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ccai_dagster.contracts import FEWEST_TOLD
from ccai_dagster.deliberation.groups import group_participants
from ccai_dagster.deliberation.votes import Procedure, VoteMatrix, group_letters

SIDE = 400
"""Width and height of the map, in units of its picture."""
MARGIN = 40
STEP = 10
"""Ellipses are rounded to so many units, and no axis is shorter than twice that."""
PEOPLE_STEP = 5


@dataclass(frozen=True)
class Outline:
    """The middle of a group, in units of the picture, with y downwards.

    Attributes:
        letters: Its name.
        people: How many, rounded to `PEOPLE_STEP`.
        x: Of the centre.
        y: Of the centre.
        across: Half of the longer axis.
        up: Half of the other one.
        turned: Degrees, clockwise.
    """

    letters: str
    people: int
    x: int
    y: int
    across: int
    up: int
    turned: int

    @property
    def above(self) -> int:
        """How far up the centre is."""
        return SIDE - self.y


@dataclass(frozen=True)
class MapFigures:
    """The map at one moment.

    Attributes:
        outlines: Of the groups, the largest first; none where everybody is in one.
        places: Of every participant who counts, for that participant alone: x, y and the letters of the nearest group.
    """

    outlines: tuple[Outline, ...]
    places: Mapping[int, tuple[int, int, str]]


NOTHING = MapFigures((), {})


def map_figures(matrix: VoteMatrix, procedure: Procedure) -> MapFigures:
    """Compute the map of those whose votes count.

    Args:
        matrix: Of their votes on what is shown.
        procedure: How groups are found.
    """
    fewest = max(procedure.smallest_group, FEWEST_TOLD)
    if len(matrix.participant_ids) < 2 * fewest:
        return NOTHING
    grouping = group_participants(matrix, procedure)
    positions, labels = grouping.map.positions, grouping.labels
    told = [group for group in np.unique(labels).tolist() if (labels == group).sum() >= fewest]
    if len(told) < 2:
        return NOTHING
    # The picture holds nearly everybody; who is farther out stands at its edge.
    scale = (SIDE / 2 - MARGIN) / max(float(np.quantile(np.abs(positions), 0.98)), 1e-9)
    points = np.clip(SIDE / 2 + positions * [scale, -scale], MARGIN / 2, SIDE - MARGIN / 2)
    places = {
        int(who): (round(x), round(y), group_letters(int(label)) if label in told else "")
        for who, (x, y), label in zip(matrix.participant_ids, points, labels, strict=True)
    }
    return MapFigures(tuple(_outline(group, points[labels == group]) for group in told), places)


def _outline(group: int, points: np.ndarray) -> Outline:
    values, vectors = np.linalg.eigh(np.cov(points.T))
    across, up = (max(_rounded(math.sqrt(max(each, 0.0))), 2 * STEP) for each in values[::-1])
    turned = round(math.degrees(math.atan2(vectors[1, 1], vectors[0, 1])) / STEP) * STEP
    x, y = (_rounded(each) for each in points.mean(axis=0))
    people = round(len(points) / PEOPLE_STEP) * PEOPLE_STEP
    return Outline(group_letters(group), people, x, y, across, up, turned % 180)


def _rounded(value: float) -> int:
    return round(value / STEP) * STEP
