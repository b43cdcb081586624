"""The look that all pictures share, and how a picture becomes bytes or Markdown.

Belongs here: colours, sizes, names of groups, the one function that renders. Doesn't belong here: any table.
"""

from __future__ import annotations

import base64
import functools
import io
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from ccai_dagster.core.text import markdown, readable

DPI = 96
PALETTE = 128
WIDTH = 7.2
"""Width of every picture in inches: 691 pixels."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's colours, told apart by the colour-blind; markers differ as well."""
MARKERS = ("o", "^", "s", "D", "v", "P")
INK = "#222222"
MUTED = "#6b6b6b"
PALE = "#c9ced6"
FONT = "DejaVu Sans"
"""Comes with matplotlib, so that a picture is the same everywhere."""

_LOOK = {
    "font.family": "sans-serif",
    "font.sans-serif": [FONT],
    "font.size": 9.5,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 9,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "axes.axisbelow": True,
    "axes.grid": False,
    "grid.color": "#e6e8ec",
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "legend.frameon": False,
    "savefig.facecolor": "white",
}


@dataclass(frozen=True)
class Picture:
    """A picture as PNG, and in words for whoever cannot see it; the words are not escaped."""

    png: bytes
    alt: str


def draw(paint: Callable[[Any], None], height: float, width: float = WIDTH) -> bytes:
    """Render what `paint` puts on a fresh matplotlib figure.

    Args:
        paint: Called with the figure; must not depend on anything but its own table.
        height: In inches.
        width: In inches.

    Returns:
        A PNG of `width * 96` by `height * 96` pixels in at most 128 colours, which is a third of the size
        and looks the same. The same table gives the same bytes.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    with matplotlib.rc_context(_LOOK):
        figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        paint(figure)
        canvas.draw()
        image = Image.fromarray(np.asarray(canvas.buffer_rgba())[:, :, :3].copy(), "RGB")
    buffer = io.BytesIO()
    image.quantize(PALETTE, dither=Image.Dither.NONE).save(buffer, format="PNG")
    return buffer.getvalue()


def colour(position: int) -> str:
    """Return the colour of the n-th group, arm or series."""
    return COLOURS[position % len(COLOURS)]


def marker(position: int) -> str:
    """Return the marker of the n-th group, arm or series."""
    return MARKERS[position % len(MARKERS)]


def median(values: pl.Series) -> float:
    """Return the median of numbers, 0 for none."""
    return float(values.quantile(0.5, "linear") or 0.0)


def plain(text: str, longest: int = 60) -> str:
    """Return text that matplotlib draws as it stands: no formulas, no control characters, not too long."""
    return shown(text, longest).replace("\\", "/").replace("$", r"\$")


def shown(text: str, longest: int = 60) -> str:
    """Return text on one line, `readable` and not too long, for where formulas are not parsed."""
    line = re.sub(r"[\t\n\r]+", " ", readable(text)).strip()
    return line if len(line) <= longest else line[: longest - 1].rstrip() + "…"


def drawable(text: str) -> bool:
    """Return whether the font has every character of a text and draws them in their order.

    Scripts that run from right to left, or whose characters change with their neighbours, it does not.
    """
    if any(unicodedata.bidirectional(letter) in {"R", "AL", "AN"} for letter in text):
        return False
    return all(ord(letter) in _characters() or letter.isspace() for letter in text)


@functools.cache
def _characters() -> frozenset[int]:
    """Code points that the font has."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    font = get_font(findfont(FontProperties(family=[FONT])))
    return frozenset(font.get_charmap())


def as_markdown(kind: str, image: bytes, alt: str) -> str:
    """Return a Markdown image with the picture inside it, of the kind `png` or `svg+xml`; `alt` says what it shows."""
    return f"![{markdown(alt)}](data:image/{kind};base64,{base64.b64encode(image).decode('ascii')})"
