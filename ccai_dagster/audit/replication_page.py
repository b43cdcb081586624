"""The replication page: a published result beside the same from the votes, for a lay reader, in one HTML file.

Belongs here: putting the chapters into the template. Doesn't belong here: what a chapter says.
Statements are untrusted text and go through the template's escaping.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from ccai_dagster import pictures
from ccai_dagster.audit.replication_chapters import (
    ReplicationPage,
    by_reason,
    close_to_threshold,
    corrected_constitution,
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
from ccai_dagster.digest import table_digest
from ccai_dagster.pages.templates import render
from ccai_dagster.replication.figures import FILES
from ccai_dagster.replication.labellings import BY_ID, BY_POSITION


def render_replication(page: ReplicationPage) -> str:
    """Render the page.

    Returns:
        A self-contained HTML document without scripts or addresses outside itself. The same tables give the same
        text.
    """
    return render("replication.html.j2", **_chapters(page))


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
            "fit": pictures.shuffled_fit(page.evidence),
            "moved": pictures.published_and_corrected(page.replicated_statements, page.threshold),
        },
        "digests": {name: table_digest(table) for name, table in page.tables.items()},
    }
