"""Pictures of the deliberation: what each group agrees with, and what sets it apart.

Doesn't belong here: who stands where, how widely statements are agreed on (`drawings`); choosing statements, the style.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from ccai_dagster.deliberation.votes import group_name
from ccai_dagster.pages.pictures.style import INK, MUTED, PALE, Picture, colour, draw, drawable, marker, median, shown

VOTES = {1: ("agree", "#01665E", ""), -1: ("disagree", "#C98B36", "//"), 0: ("pass", "#d5d8de", "")}
"""Name, colour and hatch of the three votes; not the colours of groups, and told apart by the colour-blind."""
LINE = 88
"""Characters of a statement in one line."""
LINES = 2
_BAR, _TEXT, _GAP = 0.21, 0.19, 0.22
"""Inches of a bar, of a line of text, and between statements."""


def agreement_by_group(gac_scores: pl.DataFrame, threshold: float | None = None) -> Picture:
    """Draw the share of each opinion group that agrees, for all statements in order of consensus.

    Args:
        gac_scores: GAC_SCORES; statements without a score are left out.
        threshold: The cut on record, in [0, 1]; statements right of it do not reach it.
    """
    ranked = _by_consensus(gac_scores)
    spans = ranked.select(
        "rank", pl.col("group_agreement").list.min().alias("low"), pl.col("group_agreement").list.max().alias("high")
    )

    def paint(figure: Any) -> None:
        axes = figure.add_subplot()
        axes.vlines(spans["rank"], spans["low"], spans["high"], color=PALE, linewidth=0.8, zorder=1)
        long = ranked.select("rank", "group_ids", "group_agreement").explode("group_ids", "group_agreement")
        for group_id in sorted(long["group_ids"].drop_nulls().unique()):
            own = long.filter(pl.col("group_ids") == group_id)
            axes.scatter(
                own["rank"],
                own["group_agreement"],
                s=9,
                linewidths=0,
                alpha=0.85,
                color=colour(group_id),
                marker=marker(group_id),
                label=group_name(group_id),
                zorder=2,
            )
        if threshold is not None and not ranked.is_empty():
            last = int((ranked["gac"] >= threshold).sum())
            axes.axvline(last + 0.5, color=INK, linewidth=1.3, linestyle="--", label=f"cut at {threshold:g}")
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel("statements, from the widest consensus to the least")
        axes.set_ylabel("share that agrees")
        axes.grid(axis="y")
        axes.set_title("What each opinion group agrees with")
        if not ranked.is_empty():
            figure.legend(loc="outside lower center", ncols=5, markerscale=1.8)

    if ranked.is_empty():
        return Picture(draw(paint, 3.8), "Agreement of each opinion group with no statements.")
    cut = "" if threshold is None else f", with the cut at {threshold:g} marked"
    alt = (
        f"Share of each opinion group that agrees with each of {ranked.height} statements{cut}; "
        f"on half of the statements the groups are more than {median(spans['high'] - spans['low']):.0%} apart."
    )
    return Picture(draw(paint, 3.8), alt)


def _by_consensus(gac_scores: pl.DataFrame) -> pl.DataFrame:
    scored = gac_scores.filter(pl.col("gac").is_not_null()).sort(["gac", "statement_id"], descending=[True, False])
    return scored.with_row_index("rank", offset=1)


def representative_votes(
    representative_statements: pl.DataFrame, statements: pl.DataFrame, group_votes: pl.DataFrame, group_id: int
) -> Picture:
    """Draw how every group voted on the statements that set one group apart (Huang et al. 2024, figure 2).

    Each bar shows shares of the votes that a group cast, passes included; who did not vote is not in it.

    Args:
        statements: STATEMENTS. A text that the font cannot write is replaced by the statement's number.
        group_votes: GROUP_VOTES.
    """
    own = representative_statements.filter(pl.col("group_id") == group_id).sort("rank")
    rows = own.join(statements.select("statement_id", "text"), on="statement_id", how="left").to_dicts()
    shares = vote_shares(group_votes)
    groups: list[int | None] = [None, *sorted(group_votes["group_id"].unique())]
    texts = [_written(row["statement_id"], row["text"]) for row in rows]
    heights = [len(text) * _TEXT + len(groups) * _BAR + _GAP for text in texts]
    total = sum(heights) + 0.001

    def paint(figure: Any) -> None:
        axes = figure.add_subplot()
        top = 0.0
        for row, text, height in zip(rows, texts, heights, strict=True):
            axes.text(
                0,
                top + len(text) * _TEXT / 2,
                "\n".join(text),
                va="center",
                fontsize=9,
                fontweight="bold",
                linespacing=1.15,
                parse_math=False,
            )
            for place, group in enumerate(groups):
                middle = top + len(text) * _TEXT + (place + 0.5) * _BAR
                _bar(axes, middle, group, shares.get((row["statement_id"], group)), group == group_id)
            top += height
        axes.set_xlim(-0.14, 1.13)
        axes.set_ylim(total, -0.05)
        axes.set_axis_off()
        axes.set_title(f"What sets {group_name(group_id)} apart: shares of the votes cast")
        if rows:
            from matplotlib.patches import Patch

            handles = [
                Patch(facecolor=colour, hatch=hatch, edgecolor="white", label=name)
                for name, colour, hatch in VOTES.values()
            ]
            figure.legend(handles=handles, loc="outside lower center", ncols=3)

    parts = []
    for key, side in own.select("statement_id", "side").iter_rows():
        vote = 1 if side == "agree" else -1
        agreeing = [
            f"{voted.shares[vote]:.0%} of {group_name(group)}"
            for group in groups
            if group is not None and (voted := shares.get((key, group))) is not None
        ]
        parts.append(f"with statement {key} {', '.join(agreeing)} {side}")
    alt = f"Votes of every group on the statements that set {group_name(group_id)} apart: "
    return Picture(draw(paint, total + 0.75), f"{alt}{'; '.join(parts) or 'there are none'}.")


def _written(statement_id: int, text: str | None) -> list[str]:
    """The lines a statement takes in the picture; only its number if the font cannot write it."""
    name = f"Statement {statement_id}"
    if text is None or not drawable(shown(text)):
        return [f"{name} (its text is in a script that this picture cannot show)" if text else name]
    return textwrap.wrap(f"{name}: {shown(text, 1000)}", LINE, max_lines=LINES, placeholder="…") or [name]


def _bar(axes: Any, middle: float, group: int | None, voted: VoteShares | None, own: bool) -> None:
    name = "everybody" if group is None else group_name(group)
    axes.text(-0.012, middle, name, ha="right", va="center", fontsize=8.5, fontweight="bold" if own else "normal")
    if voted is None:
        axes.text(0, middle, "no votes", va="center", fontsize=8.5, color=MUTED)
        return
    left = 0.0
    for vote, (_, shade, hatch) in VOTES.items():
        share = voted.shares[vote]
        axes.barh(middle, share, left=left, height=_BAR * 0.82, color=shade, hatch=hatch, edgecolor="white")
        if share >= 0.07 and vote:
            axes.text(
                left + share / 2,
                middle,
                f"{share:.0%}",
                ha="center",
                va="center",
                fontsize=8,
                color="white" if vote == 1 else INK,
                bbox=None if vote == 1 else {"facecolor": shade, "edgecolor": "none", "pad": 0.8},
            )
        left += share
    axes.text(1.012, middle, f"{voted.n_votes:,} votes", va="center", fontsize=8.5, color=MUTED)


@dataclass(frozen=True)
class VoteShares:
    """How a group voted on a statement: number of votes, and the share of each kind of vote in [0, 1]."""

    n_votes: int
    shares: Mapping[int, float]


def vote_shares(group_votes: pl.DataFrame) -> dict[tuple[int, int | None], VoteShares]:
    """Return how every group voted on every statement.

    Args:
        group_votes: GROUP_VOTES.

    Returns:
        By statement id and group id, None standing for everybody. A group without votes on a statement is not
        there.
    """
    counts = {1: "n_agree", 0: "n_pass", -1: "n_disagree"}
    own = group_votes.select("statement_id", "group_id", *counts.values())
    everybody = own.group_by("statement_id").agg(pl.col(list(counts.values())).sum())
    both = pl.concat(
        [own, everybody.select("statement_id", pl.lit(None, pl.Int64).alias("group_id"), *counts.values())]
    )
    both = both.with_columns(n_votes=pl.sum_horizontal(*counts.values())).filter(pl.col("n_votes") > 0)
    return {
        (row["statement_id"], row["group_id"]): VoteShares(
            row["n_votes"], {vote: row[name] / row["n_votes"] for vote, name in counts.items()}
        )
        for row in both.iter_rows(named=True)
    }
