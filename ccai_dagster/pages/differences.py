"""The page on what differs between two consultations, ledgers or runs; what differs is found in `audit.differences`."""

from __future__ import annotations

from collections.abc import Sequence

from ccai_dagster.audit.differences import Chapter
from ccai_dagster.pages.rendering import render


def render_differences(names: tuple[str, str], chapters: Sequence[Chapter]) -> str:
    """Render the page.

    Args:
        names: What is compared, as a person names it.

    Returns:
        A self-contained HTML document without a script.
    """
    return render("differences.html.j2", names=names, chapters=chapters)
