"""The replication page: a published result beside the same from the votes, for a lay reader, in one HTML file.

Belongs here: putting the chapters into the template, and how numbers are printed. Doesn't belong here: what a
chapter says. Statements are untrusted text and go through the template's escaping.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import polars as pl

from ccai_dagster import pictures
from ccai_dagster.audit.replication_chapters import (
    ReplicationPage,
    by_reason,
    close_to_threshold,
    corrected_constitution,
    figure,
    fits,
    labelling,
    likeness,
    principles_with,
    seeds,
    statements_that,
    summary,
    unsettled,
    verdict,
)
from ccai_dagster.audit.report_pictures import Picture
from ccai_dagster.core.text import counted, listed, percent, readable
from ccai_dagster.digest import table_digest
from ccai_dagster.replication.figures import FILES
from ccai_dagster.replication.labellings import BY_ID, BY_POSITION


def render_replication(page: ReplicationPage) -> str:
    """Render the page.

    Returns:
        A self-contained HTML document without scripts or addresses outside itself. The same tables give the same
        text.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    loader = PackageLoader("ccai_dagster.audit", "templates")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"readable": readable, "figure": figure, "share": share, "interval": interval}
    environment.globals |= {"counted": counted, "percent": percent, "listed": listed}
    # A file of this package, without anything a participant typed.
    style = Markup(loader.get_source(environment, "audit_report.css")[0])  # noqa: S704
    return environment.get_template("replication.html.j2").render(style=style, **_chapters(page))


def share(value: float | None) -> str:
    """Return a share, a score or an index with three decimals, a dash if missing."""
    return "–" if value is None else f"{value:.3f}".replace("-", "−")


def interval(row: Mapping[str, Any], name: str) -> str:
    """Return a consensus with its 90 % interval; four decimals tell it from the threshold."""
    return f"{row[f'{name}_gac']:.4f} ({row[f'{name}_low']:.2f} to {row[f'{name}_high']:.2f})"


def _chapters(page: ReplicationPage) -> dict[str, Any]:
    figures = page.replication.with_columns(from_files=pl.col("section") == FILES)
    computed = figures.filter(pl.col("verdict") != "not computed")
    return {
        "title": page.title,
        "threshold": page.threshold,
        "summary": summary(page),
        "position": labelling(page.evidence, BY_POSITION),
        "by_id": labelling(page.evidence, BY_ID),
        "fits": fits(page.evidence),
        "verdict": verdict(page.evidence),
        "with_groups": computed.filter("rests_on_groups").to_dicts(),
        "without_groups": computed.filter(~pl.col("rests_on_groups")).to_dicts(),
        "close": close_to_threshold(page),
        "n_paper": computed.filter(~pl.col("from_files")).height,
        "n_equal": computed.filter(~pl.col("from_files") & (pl.col("verdict") == "equal")).height,
        "not_computed": by_reason(figures.filter(pl.col("verdict") == "not computed")),
        "falling": statements_that(page, "falls below"),
        "rising": statements_that(page, "rises above"),
        "statements": page.replicated_statements,
        "lost": principles_with(page, "loses all its sources"),
        "thinner": principles_with(page, "loses some sources"),
        "corrected": corrected_constitution(page),
        "principles": page.replicated_principles,
        "seeds": seeds(page),
        "unsettled": unsettled(page),
        "likeness": likeness(page.replicated_statements),
        "pictures": {
            "fit": _picture(pictures.shuffled_fit(page.evidence), pictures.shuffled_fit_alt(page.evidence)),
            "moved": _picture(
                pictures.published_and_corrected(page.replicated_statements, page.threshold),
                pictures.published_and_corrected_alt(page.replicated_statements, page.threshold),
            ),
        },
        "digests": {name: table_digest(table) for name, table in page.tables.items()},
    }


def _picture(png: bytes, alt: str) -> Picture:
    return Picture(f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}", readable(alt))
