"""The tables of docs/models.md, whose rows are what tests found: a test fails where its row is not there."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "models.md"


def rows(heading: str) -> dict[str, str]:
    """Return the rows of the table below a heading, whole, by their first cell."""
    section = PAGE.read_text(encoding="utf-8").partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return {line.strip("| ").partition(" | ")[0]: line for line in lines}


def expect_row(heading: str, *cells: str) -> None:
    """Hold what a test found against the row that begins with the first cell."""
    found = f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in cells)} |"
    assert rows(heading).get(cells[0]) == found, f"docs/models.md, {heading}, should say\n{found}"


def expect_only(heading: str, names: Iterable[str]) -> None:
    """Hold the first cells of a table against those that tests look at."""
    assert list(rows(heading)) == list(names)
