"""The replication page: a published result beside the same from the votes, for a lay reader, in one HTML file.

Belongs here: choosing, ordering and phrasing what the page says of finished tables. Doesn't belong here: computing a
figure. Statements are untrusted text and go through the template's escaping.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from ccai_dagster.core.digest import table_digest
from ccai_dagster.core.text import listed, natural
from ccai_dagster.pages import drawings
from ccai_dagster.pages.rendering import figure, render
from ccai_dagster.replication.figures import FILES
from ccai_dagster.replication.published_groups import BY_ID, BY_POSITION
from ccai_dagster.replication.published_texts import PAPER

SURE = 0.05
"""Below this p-value the page says that groups fit the votes better than chance."""


@dataclass(frozen=True)
class ReplicationPage:
    """What the page is made of; see `contracts` for the columns.

    Attributes:
        title: Of the consultation.
        threshold: The published threshold on group-aware consensus.
    """

    title: str
    threshold: float
    replication: pl.DataFrame
    evidence: pl.DataFrame
    scores: pl.DataFrame
    replicated_statements: pl.DataFrame
    replicated_principles: pl.DataFrame

    @property
    def tables(self) -> dict[str, pl.DataFrame]:
        """The tables by the name of their asset."""
        return {
            "replication": self.replication,
            "alignment_evidence": self.evidence,
            "replicated_scores": self.scores,
            "replicated_statements": self.replicated_statements,
            "replicated_principles": self.replicated_principles,
        }


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
        "without_text": page.replicated_principles.filter(pl.col("text") == "").height,
        "paper": PAPER,
        "seeds": seeds(page),
        "unsettled": unsettled(page),
        "likeness": likeness(page.replicated_statements),
        "drawings": {
            "fit": drawings.shuffled_fit(page.evidence),
            "moved": drawings.published_and_corrected(page.replicated_statements, page.threshold),
        },
        "digests": {name: table_digest(table) for name, table in page.tables.items()},
    }


def summary(page: ReplicationPage) -> list[str]:
    """Say in a few sentences what the page shows."""
    statements, principles = page.replicated_statements, page.replicated_principles
    shares = page.replication.filter(pl.col("figure_id") == "agreement_shares").row(0, named=True)
    falling = statements.filter(pl.col("crossing") == "falls below").height
    rising = statements.filter(pl.col("crossing") == "rises above").height
    stay = statements.filter(pl.col("crossing") == "stays above").height
    lost = principles.filter(pl.col("fate") == "loses all its sources")["principle_id"].to_list()
    before, after = labelling(page.evidence, BY_POSITION), labelling(page.evidence, BY_ID)
    return [
        f"From the public votes, {figure(shares['reproduced'])} of {shares['published']} published shares of "
        "agreement come out exactly, if each participant is given the group that stands in the same row of the "
        "published file.",
        f"Those groups are the same as Polis's own for {before['n_agreeing']:,} of {before['n_compared']:,} "
        f"participants. Put in order of participant id, the same groups agree for {after['n_agreeing']:,}.",
        verdict(page.evidence),
        f"With every group at the participant it belongs to, {stay:,} of the {stay + falling:,} statements that reach "
        f"the published threshold still do, {falling:,} fall below it and {rising:,} others rise above it.",
        f"{principles.height - len(lost)} of {principles.height} published principles keep a source"
        + (f"; {listed(lost)} {'keeps' if len(lost) == 1 else 'keep'} none." if lost else "."),
        f"Of the {falling + rising:,} statements that change sides, {close_to_threshold(page):,} have a corrected 90% "
        "interval that includes the threshold: so near to it, who happened to take part matters too.",
    ]


def verdict(evidence: pl.DataFrame) -> str:
    """Say what the permutation test shows, depending on what it shows."""
    before, after = labelling(evidence, BY_POSITION), labelling(evidence, BY_ID)
    n = len(before["shuffled"])
    start = (
        f"Of {n:,} random shuffles of the groups, {before['n_as_large']:,} fit the votes at least as well as the "
        f"published rows do, and {after['n_as_large'] or 'none'} as well as the same groups in order of id."
    )
    if before["p_value"] >= SURE > after["p_value"]:
        return (
            f"{start} This is what one sees if groups were computed in order of id and then written beside rows in "
            "another order."
        )
    return f"{start} This doesn't tell the two ways of attaching groups apart."


def fits(evidence: pl.DataFrame) -> list[dict[str, Any]]:
    """Return one row for each kind of labelling; for recomputed groups the range over the seeds."""
    rows = []
    for origin in ("published", "recomputed"):
        for attached in ("position", "id"):
            part = evidence.filter((pl.col("origin") == origin) & (pl.col("attached") == attached))
            if part.height:
                rows.append(
                    {
                        "origin": origin,
                        "attached": attached,
                        "n": part.height,
                        "compared": part["n_compared"][0],
                        "agreeing": _between(part["n_agreeing"].to_list(), "{:,.0f}"),
                        "rand": _between(part["adjusted_rand"].to_list(), "{:.3f}"),
                        "chi_square": _between(part["chi_square"].to_list(), "{:,.0f}"),
                        "p_value": part["p_value"][0],
                    }
                )
    return rows


def _between(values: Sequence[float | None], form: str) -> str:
    known = [each for each in values if each is not None]
    if not known:
        return "–"
    low, high = form.format(min(known)), form.format(max(known))
    return (low if low == high else f"{low} to {high}").replace("-", "−")


def corrected_constitution(page: ReplicationPage) -> list[dict[str, Any]]:
    """Return the principles that keep a source, in the order of the corrected consensus.

    Each has the interval of the source with the highest consensus, reproduced and corrected.
    """
    by_statement = {row["statement_id"]: row for row in page.replicated_statements.to_dicts()}
    rows = page.replicated_principles.drop_nulls("corrected_rank").sort("corrected_rank").to_dicts()
    for row in rows:
        sources = [by_statement[key] for key in row["statement_ids"]]
        for kind in ("reproduced", "corrected"):
            best = max(sources, key=lambda each: each[f"{kind}_gac"])
            row |= {name: best[name] for name in (f"{kind}_low", f"{kind}_high")}
    return rows


def close_to_threshold(page: ReplicationPage) -> int:
    """Count the statements that cross the threshold and whose corrected interval includes it."""
    crossing = page.replicated_statements.filter(pl.col("crossing").is_in(["falls below", "rises above"]))
    inside = (pl.col("corrected_low") < page.threshold) & (pl.col("corrected_high") >= page.threshold)
    return crossing.filter(inside).height


def seeds(page: ReplicationPage) -> list[dict[str, Any]]:
    """Return one row a seed: groups found, how they compare, and which principles lose all sources."""
    again = page.evidence.filter((pl.col("origin") == "recomputed") & (pl.col("attached") == "id")).sort("seed")
    rows = []
    for row in again.to_dicts():
        scores = page.scores.filter(pl.col("labelling") == row["labelling"])
        lost = page.replicated_principles.filter(pl.col("lost_seeds").list.contains(row["seed"]))
        rows.append(
            row
            | {
                "mean": scores["gac"].fill_null(0.0).mean(),
                "median": scores["gac"].fill_null(0.0).median(),
                "reaching": int(scores["reaches"].sum()),
                "lost": sorted(lost["principle_id"].to_list(), key=natural),
            }
        )
    return rows


def unsettled(page: ReplicationPage) -> list[dict[str, Any]]:
    """Return the principles that lose all sources with the corrected groups or with some seed, most often first."""
    chosen = page.replicated_principles.filter(
        (pl.col("lost_seeds").list.len() > 0) | (pl.col("fate") == "loses all its sources")
    )
    rows = chosen.to_dicts()
    rows.sort(key=lambda row: (-len(row["lost_seeds"]), natural(row["principle_id"])))
    return rows


def likeness(statements: pl.DataFrame) -> float | None:
    """Return the rank correlation of published and corrected consensus, in [-1, 1]; None if undefined."""
    found = statements.select(pl.corr("published_gac", "corrected_gac", method="spearman")).item()
    return None if found is None or found != found else float(found)


def principles_with(page: ReplicationPage, fate: str) -> list[dict[str, Any]]:
    """Return the principles with one fate, in their published order, each with its sources."""
    texts = {row["statement_id"]: row for row in page.replicated_statements.to_dicts()}
    rows = page.replicated_principles.filter(pl.col("fate") == fate).sort("published_rank").to_dicts()
    return [row | {"sources": [texts[key] for key in row["statement_ids"]]} for row in rows]


def statements_that(page: ReplicationPage, crossing: str) -> list[dict[str, Any]]:
    """Return the statements with one kind of crossing, the highest corrected consensus first."""
    found = page.replicated_statements.filter(pl.col("crossing") == crossing)
    return found.sort("corrected_gac", "statement_id", descending=[True, False]).to_dicts()


def by_reason(figures: pl.DataFrame) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return figures that are not computed, by the reason why."""
    reasons = figures["explanation"].unique(maintain_order=True).to_list()
    return [(reason, figures.filter(pl.col("explanation") == reason).to_dicts()) for reason in reasons]


def labelling(evidence: pl.DataFrame, name: str) -> dict[str, Any]:
    """Return the evidence on one labelling."""
    return evidence.filter(pl.col("labelling") == name).row(0, named=True)
