"""Draws the rooms of the code and the imports between them, from the code itself, as an SVG.

A room is a package: `assets`, `resources`, every package of `ccai_dagster`, and every module that stands in none.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence

import grimp
import networkx as nx

ROOTS = ("ccai_dagster", "assets", "resources")
WIDTH, ROW, BOX, GAP, LETTER = 900, 84, 42, 22, 7.6
SWEEPS = 30
Point = str | tuple[str, str, int]
"""A room, or where an arrow crosses a floor: its two rooms and the row."""
STYLE = """
text { font: 13px ui-sans-serif, system-ui, sans-serif; fill: #1b2733; text-anchor: middle; }
text.modules { font-size: 11px; fill: #55636f; }
rect.room { fill: #eef3f8; stroke: #49657f; }
path.arrow { fill: none; stroke: #7d93a8; stroke-width: 1.3; }
path.head { fill: #7d93a8; }
"""


def room_of(module: str) -> str:
    """Return the room of a module: the package below `ccai_dagster`, or the top-level package."""
    parts = module.split(".")
    return ".".join(parts[: 2 if parts[0] == "ccai_dagster" else 1])


def rooms() -> nx.DiGraph:
    """Return the rooms, each with its number of modules, and an edge from each to every room it imports from.

    Imports for type annotations only are no edges.
    """
    graph = grimp.build_graph(*ROOTS, exclude_type_checking_imports=True, cache_dir=None)
    packages = {module for module in graph.modules if graph.find_children(module)}
    modules = graph.modules - packages
    found = nx.DiGraph()
    for room, size in sorted(Counter(map(room_of, modules)).items()):
        found.add_node(room, modules=size)
    for module in graph.modules - {"ccai_dagster"}:
        for imported in graph.find_modules_directly_imported_by(module) - {"ccai_dagster"}:
            if room_of(module) != room_of(imported):
                found.add_edge(room_of(module), room_of(imported))
    return found


def rooms_svg(graph: nx.DiGraph) -> str:
    """Draw the rooms on floors, each above everything that it imports from.

    Left out is an arrow between two rooms that others connect already, through rooms between.

    Raises:
        networkx.NetworkXError: The imports go in a circle.
    """
    # Each room stands as low as it can.
    rows_from_below = list(nx.topological_generations(graph.reverse()))
    row_of = {room: len(rows_from_below) - 1 - low for low, each in enumerate(rows_from_below) for room in each}
    rows: list[list[Point]] = [sorted(each) for each in reversed(rows_from_below)]
    ways: list[list[Point]] = []
    for upper, lower in sorted(nx.transitive_reduction(graph).edges):
        crossings: list[Point] = [(upper, lower, row) for row in range(row_of[upper] + 1, row_of[lower])]
        for each in crossings:
            rows[each[2]].append(each)  # type: ignore[call-overload]
        ways.append([upper, *crossings, lower])
    widths = {room: max(92.0, LETTER * len(shown(room)) + 22) for room in graph}
    places = _places(rows, ways, widths)
    drawn = [_arrow([places[each] for each in way]) for way in ways]
    drawn += [_box(room, graph.nodes[room]["modules"], widths[room], *places[room]) for room in sorted(graph)]
    height = len(rows) * ROW
    left = min(x for x, _ in places.values()) - 70
    width = max(x for x, _ in places.values()) + 70 - left
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{left:.0f} 0 {width:.0f} {height}">',
            "<title>Rooms of the code; an arrow goes to the room that is imported from</title>",
            f"<style>{STYLE}</style>",
            f'<rect x="{left:.0f}" width="{width:.0f}" height="{height}" fill="#ffffff"/>',
            *drawn,
            "</svg>\n",
        ]
    )


def shown(room: str) -> str:
    """Return how a room is called in the picture and in tables."""
    return room.removeprefix("ccai_dagster.")


def _places(
    rows: list[list[Point]], ways: Sequence[Sequence[Point]], widths: Mapping[str, float]
) -> dict[Point, tuple[float, float]]:
    """Return the middle of every point, with few crossings and short ways; rows are put in order for that."""
    beside: dict[Point, list[Point]] = {each: [] for row in rows for each in row}
    for way in ways:
        for first, second in itertools.pairwise(way):
            beside[first].append(second)
            beside[second].append(first)
    x = {each: WIDTH * (number + 0.5) / len(row) for row in rows for number, each in enumerate(row)}
    for sweep in range(SWEEPS):
        for row in rows if sweep % 2 else rows[::-1]:
            wanted = {each: sum(x[other] for other in beside[each]) / max(1, len(beside[each])) for each in row}
            row.sort(key=lambda each: (wanted[each], str(each)))
            x |= _apart([(each, wanted[each] or x[each], widths.get(str(each), 8.0)) for each in row])
    return {each: (x[each], ROW * (number + 0.5)) for number, row in enumerate(rows) for each in row}


def _apart(wanted: Sequence[tuple[Point, float, float]]) -> dict[Point, float]:
    """Return places near the wanted ones, in the same order, that leave a gap between neighbours.

    The mean of what is pushed to the right and what is pushed to the left, neither of which overlaps.
    """
    pushed_right, edge = [], 0.0
    for _, middle, width in wanted:
        pushed_right.append(max(middle, edge + width / 2))
        edge = pushed_right[-1] + width / 2 + GAP
    pushed_left, edge = [], float(WIDTH)
    for _, middle, width in reversed(wanted):
        pushed_left.append(min(middle, edge - width / 2))
        edge = pushed_left[-1] - width / 2 - GAP
    both = zip(pushed_right, reversed(pushed_left), strict=True)
    return {each: sum(pair) / 2 for (each, _, _), pair in zip(wanted, both, strict=True)}


def _arrow(way: Sequence[tuple[float, float]]) -> str:
    (x, y), *others = way
    line = [f"M{x:.0f} {y + BOX / 2:.0f}"]
    y += BOX / 2
    for number, (next_x, middle) in enumerate(others, start=1):
        next_y = middle - BOX / 2 - 5 if number == len(others) else middle
        bend = (next_y - y) / 2
        line.append(f"C{x:.0f} {y + bend:.0f} {next_x:.0f} {next_y - bend:.0f} {next_x:.0f} {next_y:.0f}")
        x, y = next_x, next_y
    head = f'<path class="head" d="M{x - 4:.0f} {y - 2:.0f}h8l-4 7z"/>'
    return f'<path class="arrow" d="{" ".join(line)}"/>{head}'


def _box(room: str, modules: int, width: float, x: float, y: float) -> str:
    counted = "1 module" if modules == 1 else f"{modules} modules"
    return (
        f'<rect class="room" x="{x - width / 2:.0f}" y="{y - BOX / 2:.0f}" width="{width:.0f}" height="{BOX}" rx="4"/>'
        f'<text x="{x:.0f}" y="{y - 2:.0f}">{shown(room)}</text>'
        f'<text class="modules" x="{x:.0f}" y="{y + 13:.0f}">{counted}</text>'
    )
