"""Pictures of single statements: who agreed, disagreed and passed, group by group.

Belongs here: drawing votes on the statements that set a group apart. Doesn't belong here: choosing them, the style.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from ccai_dagster.deliberation.group_names import group_name
from ccai_dagster.pictures.style import INK, MUTED, Picture, draw, drawable, shown

VOTES = {1: ("agree", "#01665E", ""), -1: ("disagree", "#C98B36", "//"), 0: ("pass", "#d5d8de", "")}
"""Name, colour and hatch of the three votes; not the colours of groups, and told apart by the colour-blind."""
LINE = 88
"""Characters of a statement in one line."""
LINES = 2
_BAR, _TEXT, _GAP = 0.21, 0.19, 0.22
"""Inches of a bar, of a line of text, and between statements."""


def representative_votes(
    representative_statements: pl.DataFrame,
    statements: pl.DataFrame,
    votes: pl.DataFrame,
    opinion_groups: pl.DataFrame,
    group_id: int,
) -> Picture:
    """Draw how every group voted on the statements that set one group apart (Huang et al. 2024, figure 2).

    Each bar shows shares of the votes that a group cast, passes included; who did not vote is not in it.

    Args:
        representative_statements: REPRESENTATIVE_STATEMENTS.
        statements: STATEMENTS. A text that the font cannot write is replaced by the statement's number.
        votes: VOTES.
        opinion_groups: OPINION_GROUPS.
        group_id: Whose statements are drawn.
    """
    own = representative_statements.filter(pl.col("group_id") == group_id).sort("rank")
    rows = own.join(statements.select("statement_id", "text"), on="statement_id", how="left").to_dicts()
    shares = vote_shares(votes, opinion_groups)
    groups: list[int | None] = [None, *sorted(opinion_groups["group_id"].unique())]
    texts = [_written(row["statement_id"], row["text"]) for row in rows]
    heights = [len(text) * _TEXT + len(groups) * _BAR + _GAP for text in texts]
    total = sum(heights) + 0.001

    def paint(figure: Any) -> None:
        axes = figure.add_subplot()
        top = 0.0
        for row, text, height in zip(rows, texts, heights, strict=True):
            axes.text(
                0, top + len(text) * _TEXT / 2, "\n".join(text), va="center", fontsize=9, fontweight="bold",
                linespacing=1.15, parse_math=False,
            )  # fmt: skip
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
        told = [
            f"{voted.shares[vote]:.0%} of {group_name(group)}"
            for group in groups
            if group is not None and (voted := shares.get((key, group))) is not None
        ]
        parts.append(f"with statement {key} {', '.join(told)} {side}")
    alt = f"Votes of every group on the statements that set {group_name(group_id)} apart: "
    return Picture(draw(paint, total + 0.75), f"{alt}{'; '.join(parts) or 'there are none'}.")


@dataclass(frozen=True)
class VoteShares:
    """How a group voted on a statement: number of votes, and the share of each kind of vote in [0, 1]."""

    n_votes: int
    shares: Mapping[int, float]


def vote_shares(
    votes: pl.DataFrame, opinion_groups: pl.DataFrame
) -> dict[tuple[int, int | None], VoteShares]:
    """Return how every group voted on every statement.

    Args:
        votes: VOTES.
        opinion_groups: OPINION_GROUPS.

    Returns:
        By statement id and group id, None standing for everybody. A group without votes on a statement is not
        there.
    """
    long = votes.join(opinion_groups.select("participant_id", "group_id"), on="participant_id")
    counted = pl.concat([long, long.with_columns(group_id=pl.lit(None, pl.Int64))])
    summed = counted.group_by("statement_id", "group_id").agg(
        *((pl.col("vote") == vote).mean().alias(name) for vote, (name, _, _) in VOTES.items()),
        pl.len().alias("n_votes"),
    )
    return {
        (row["statement_id"], row["group_id"]): VoteShares(
            row["n_votes"], {vote: row[name] for vote, (name, _, _) in VOTES.items()}
        )
        for row in summed.iter_rows(named=True)
    }


def _written(statement_id: int, text: str | None) -> list[str]:
    """The lines a statement takes in the picture; only its number if the font cannot write it."""
    name = f"Statement {statement_id}"
    if text is None or not drawable(shown(text)):
        return [f"{name} (its text is in a script that this picture cannot show)" if text else name]
    return textwrap.wrap(f"{name}: {shown(text, 1000)}", LINE, max_lines=LINES, placeholder="…") or [name]


def _bar(axes: Any, middle: float, group: int | None, voted: VoteShares | None, own: bool) -> None:
    name = "everybody" if group is None else group_name(group)
    axes.text(
        -0.012, middle, name, ha="right", va="center", fontsize=8.5, fontweight="bold" if own else "normal"
    )
    if voted is None:
        axes.text(0, middle, "no votes", va="center", fontsize=8.5, color=MUTED)
        return
    left = 0.0
    for vote, (_, colour, hatch) in VOTES.items():
        share = voted.shares[vote]
        axes.barh(middle, share, left=left, height=_BAR * 0.82, color=colour, hatch=hatch, edgecolor="white")
        if share >= 0.07 and vote:
            axes.text(
                left + share / 2, middle, f"{share:.0%}", ha="center", va="center", fontsize=8,
                color="white" if vote == 1 else INK,
                bbox=None if vote == 1 else {"facecolor": colour, "edgecolor": "none", "pad": 0.8},
            )  # fmt: skip
        left += share
    axes.text(1.012, middle, f"{voted.n_votes:,} votes", va="center", fontsize=8.5, color=MUTED)
