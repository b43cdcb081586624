"""The parts of which chapters consist, which templates know how to print, and what entries are filtered by.

Belongs here: the parts of the evaluation page; the marks of an entry of the report and the choices that follow.
Doesn't belong here: choosing or phrasing what parts hold, HTML, and filtering, which the page's script does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from ccai_dagster.core.language import gettext
from ccai_dagster.deliberation.stability import INTERVAL

MARKS = {
    "rewritten": "rewritten by moderation",
    "merged": "merged with others",
    "split": "split into ideas",
    "twice": "decided by two people",
    "anew": "decided anew",
    "unsure": "near the cut in random draws",
    "few": "few votes in a group",
    "numbers": "hangs on a number",
}
"""What is marked on an entry, and what the page calls it."""


@dataclass(frozen=True)
class ForestRow:
    """A figure with its interval, drawn as a point on a line.

    Attributes:
        label: What was measured, or on whom.
        arm: The model, or the two that are compared.
        n: What the figure is the mean of, counted.
        figure: Figure and interval in words, as printed beside the line.
        verdict: What follows, in a word or two; empty if nothing is compared.
        place: Where the figure lies, in percent of the line.
        low: Where its interval begins.
        high: Where its interval ends.
    """

    label: str
    arm: str
    n: str
    figure: str
    verdict: str
    place: float
    low: float
    high: float


@dataclass(frozen=True)
class Forest:
    """Figures with intervals on a common line.

    Attributes:
        caption: What is shown.
        left: The value at the left end of the line, as printed.
        right: The value at its right end.
        zero: Where zero lies in percent of the line; None if it is no value worth marking.
        rows: The figures; those of one thing stand together.
    """

    caption: str
    left: str
    right: str
    zero: float | None
    rows: Sequence[ForestRow]

    @property
    def groups(self) -> list[tuple[str, list[ForestRow]]]:
        """The rows that follow each other with the same label, and that label."""
        return [(label, list(rows)) for label, rows in groupby(self.rows, key=lambda row: row.label)]


@dataclass(frozen=True)
class GridCell:
    """A figure in a grid.

    Attributes:
        figure: The figure as printed.
        interval: Its interval as printed.
        shade: From -1 to 1, how strongly and in which of two colours the cell is shaded; the figure says the same.
        note: A word or two more; empty if there is nothing to add.
    """

    figure: str
    interval: str
    shade: float
    note: str = ""


@dataclass(frozen=True)
class Grid:
    """Figures in rows and columns, each with its interval; `cells` has a row for each of `rows`."""

    caption: str
    corner: str
    columns: Sequence[str]
    rows: Sequence[str]
    cells: Sequence[Sequence[GridCell | None]]


@dataclass(frozen=True)
class ShownResponse:
    """One model's response, in pieces that are the same as in what it is compared with or not.

    Attributes:
        arm: The model.
        refused: Whether the response contains a phrase of refusal.
        cut: Whether it was cut off at the limit of tokens.
        against: What it is compared with; empty if with nothing.
        same: Whether it is the same, word for word.
        pieces: Text, and whether it is in the other response as well.
    """

    arm: str
    refused: bool
    cut: bool
    against: str
    same: bool
    pieces: Sequence[tuple[str, bool]]


@dataclass(frozen=True)
class ShownExchange:
    """One prompt with the responses of all models, side by side."""

    prompt: str
    kind: str
    differing: str
    responses: Sequence[ShownResponse]


@dataclass(frozen=True)
class Chapter:
    """A chapter of the page.

    Attributes:
        anchor: Its name in addresses.
        title: Its heading.
        paragraphs: What is measured and how to read it.
        judged: Whether figures in it rest on the feedback model, whose measured worth then comes first.
        findings: What the figures show, in sentences.
        forests: Figures with intervals.
        folds: More of them that unfold on request, with what each fold is called.
        grids: Figures in rows and columns.
        exchanges: Responses to read.
        unread: How many answers could not be read, in sentences.
    """

    anchor: str
    title: str
    paragraphs: Sequence[str]
    judged: bool = False
    findings: Sequence[str] = ()
    forests: Sequence[Forest] = ()
    folds: Sequence[tuple[str, Sequence[Forest]]] = ()
    grids: Sequence[Grid] = ()
    exchanges: Sequence[ShownExchange] = ()
    unread: Sequence[str] = ()


@dataclass(frozen=True)
class Entry:
    """What one entry of the report can be found by.

    Attributes:
        fate: What became of it; empty if it has none.
        arm: The constitution it belongs to; empty if it has none.
        marks: Some of MARKS.
    """

    fate: str = ""
    arm: str = ""
    marks: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Choice:
    """One value to filter by and how many entries have it."""

    value: str
    label: str
    n: int


@dataclass(frozen=True)
class Filter:
    """One list of choices; `name` is the name of the data attribute."""

    name: str
    label: str
    everything: str
    choices: list[Choice]


@dataclass(frozen=True)
class StatementMarks:
    """The statements that carry each mark which does not follow from the statement itself."""

    merged: frozenset[int] = frozenset()
    split: frozenset[int] = frozenset()
    twice: frozenset[int] = frozenset()
    anew: frozenset[int] = frozenset()

    def of(
        self, statement_id: int, rewritten: bool, few_votes: bool, selection_probability: float | None
    ) -> frozenset[str]:
        """Return the marks of a statement."""
        low, high = INTERVAL
        unsure = selection_probability is not None and low < selection_probability < high
        found = {"rewritten": rewritten, "few": few_votes, "unsure": unsure}
        found |= {name: statement_id in getattr(self, name) for name in ("merged", "split", "twice", "anew")}
        return frozenset(name for name, carried in found.items() if carried)


def usual_marks(entries: Iterable[Entry]) -> frozenset[str]:
    """Return what most of the entries are marked with, which then is told once; of two the one that comes first."""
    return next((marks for marks, _ in Counter(entry.marks for entry in entries).most_common(1)), frozenset())


def filters(entries: Iterable[Entry], told: Callable[[str], str] = str) -> list[Filter]:
    """Return what there is to filter by, only with choices that some entry has.

    Args:
        told: What the page calls a fate.

    Fates and constitutions stand in the order in which they first appear, marks in the order of MARKS.
    """
    entries = list(entries)
    fates = Counter(entry.fate for entry in entries if entry.fate)
    arms = Counter(entry.arm for entry in entries if entry.arm)
    marks = Counter(mark for entry in entries for mark in entry.marks)
    return [
        each
        for each in (
            Filter(
                "fate", gettext("Fate"), gettext("any fate"), [Choice(fate, told(fate), n) for fate, n in fates.items()]
            ),
            Filter(
                "arm",
                gettext("Constitution"),
                gettext("any constitution"),
                [Choice(arm, arm, n) for arm, n in arms.items()],
            ),
            Filter(
                "marks",
                gettext("Marked"),
                gettext("any mark"),
                [Choice(mark, gettext(label), marks[mark]) for mark, label in MARKS.items() if mark in marks],
            ),
        )
        if each.choices
    ]
