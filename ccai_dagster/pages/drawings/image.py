"""A drawing as an image of its own, for where no page gives it colours and a legend: as metadata of an asset.

Doesn't belong here: drawings within pages, which are part of their HTML (`templates/macros.html.j2`).
"""

from __future__ import annotations

import html

from ccai_dagster.core.text import readable
from ccai_dagster.pages.drawings.field import Drawing
from ccai_dagster.pages.pictures.style import INK, MUTED

LINE = 34
"""Units of a line of the legend."""
STYLE = (
    f"text{{font:22px sans-serif;fill:{INK};paint-order:stroke;stroke:#fff;stroke-width:5px}}"
    "path:not(.bars){fill:none}.dots{stroke-linecap:round;opacity:.65}.faint{opacity:.35}.cut{stroke-dasharray:10 7}"
)


def as_svg(drawing: Drawing) -> str:
    """Return an SVG document: white ground, the drawing, and below it what its colours stand for."""
    tall = drawing.tall + LINE * len(drawing.keys)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {drawing.wide} {tall}" width="{drawing.wide}" '
        f'height="{tall}"><style>{STYLE}</style><rect width="100%" height="100%" fill="#fff"/>'
    ]
    for shape in drawing.shapes:
        tint = shape.colour or (MUTED if shape.kind == "axis" else INK)
        paint = "fill" if shape.kind == "bars" else f'stroke-width="{shape.wide}" stroke'
        kind = f"{shape.kind} faint" if shape.faint else shape.kind
        parts.append(f'<path class="{kind}" {paint}="{tint}" d="{shape.path}"/>')
    for label in drawing.labels:
        parts.append(_text(label.x, label.y, label.text, label.anchor))
    for place, (tint, what) in enumerate(drawing.keys):
        middle = drawing.tall + LINE * place + LINE // 2
        parts.append(f'<rect x="16" y="{middle - 9}" width="18" height="18" rx="4" fill="{tint}"/>')
        parts.append(_text(44, middle + 8, what, "start"))
    return "".join([*parts, "</svg>"])


def _text(x: int, y: int, text: str, anchor: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{html.escape(readable(text))}</text>'
