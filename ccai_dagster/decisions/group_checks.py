"""What a person should know about groups and the cut before a constitution rests on them; nothing here stops a run.

Belongs here: warnings about results of the deliberation. What is wrong in a ledger is in `checks`.
"""

from __future__ import annotations

import polars as pl

from ccai_dagster.core.text import counted
from ccai_dagster.decisions.checks import Finding
from ccai_dagster.decisions.values import Thresholds
from ccai_dagster.deliberation.consensus import highest_reachable
from ccai_dagster.deliberation.structure import has_structure, verdict
from ccai_dagster.deliberation.votes import group_name

FEWEST_THAT_TELL = 5
"""People in a group from which on unanimity tells something; see `check_group_sizes`."""


def check_structure(group_structure: pl.DataFrame, settled: Thresholds) -> list[Finding]:
    """Warn if votes show no more structure than chance would, or if nobody can tell.

    Args:
        group_structure: GROUP_STRUCTURE.
    """
    if has_structure(group_structure):
        return []
    if group_structure.is_empty():
        return [Finding("warning", "", None, "opinion groups", f"the votes show {verdict(group_structure)}")]
    follows = (
        "so everybody is one group, by `without_structure`"
        if settled.without_structure == "one_group"
        else "and yet groups stay as they are found. Decide on `without_structure`: `one_group`, or `keep_groups`, "
        "and why"
    )
    return [Finding("warning", "", None, "opinion groups", f"the votes show {verdict(group_structure)}, {follows}")]


def check_group_sizes(opinion_groups: pl.DataFrame) -> list[Finding]:
    """Warn of groups so small that not even unanimity tells what most people like them would say.

    If n people all agree, a majority of those like them does at one-tailed 95 % only from n = 5 on, since
    0.5 ** 4 > 0.05 >= 0.5 ** 5.

    Args:
        opinion_groups: OPINION_GROUPS.
    """
    small = _sizes(opinion_groups).filter((pl.col("size") < FEWEST_THAT_TELL) & (pl.len() > 1))
    if small.is_empty():
        return []
    named = ", ".join(f"{group_name(group)} ({size})" for group, size in small.iter_rows())
    message = (
        f"{named}: of fewer than {FEWEST_THAT_TELL} people not even unanimity tells what most people like them would "
        "say. Decide on `smallest_group` to have them join the nearest group"
    )
    return [Finding("warning", "", None, "opinion groups", message)]


def check_reachable(
    settled: Thresholds, opinion_groups: pl.DataFrame, gac_scores: pl.DataFrame | None = None
) -> list[Finding]:
    """Warn if the cut lies above what unanimity could reach with these groups, or asks for what is not known.

    Args:
        gac_scores: GAC_SCORES, by which it is told whether the sizes of groups are known.
    """
    if settled.cut.participation and gac_scores is not None and opinion_groups.is_empty():
        told_not = (
            "nothing can be selected: it asks for a share of every group, and how many people the groups have is not "
            "known where only counts by group are there. Decide 0 to go without"
        )
        row = settled.decision_ids["group_participation"]
        return [Finding("warning", "threshold", row, "group_participation", told_not)]
    told = unreachable(settled, opinion_groups)
    if told is None:
        return []
    return [Finding("warning", "threshold", settled.decision_ids["gac_threshold"], "gac_threshold", told)]


def reachable(settled: Thresholds, opinion_groups: pl.DataFrame) -> str | None:
    """Say what unanimity could reach, beside the cut if the rule is a threshold; None where nobody is grouped."""
    sizes = _sizes(opinion_groups)["size"].to_numpy()
    if not len(sizes):
        return None
    highest = highest_reachable(sizes, settled.procedure)
    cut = settled.cut
    beside = f" (gac_threshold {cut.threshold:g})" if cut.rule == "threshold" else ""
    return f"highest consensus that unanimity could reach with these groups: {highest:.3f}{beside}"


def unreachable(settled: Thresholds, opinion_groups: pl.DataFrame) -> str | None:
    """Say that nothing can pass the cut, and what would change that; None if something can."""
    sizes = _sizes(opinion_groups)["size"].to_numpy()
    if settled.cut.rule != "threshold" or not len(sizes):
        return None
    highest, way = highest_reachable(sizes, settled.procedure), settled.procedure
    if highest >= settled.cut.threshold:
        return None
    return (
        f"no votes could reach the cut: with {counted(len(sizes), 'group')} by the procedure `{way.name}`, the "
        f"aggregation `{way.aggregation}` and the smoothing `{way.smoothing}`, a statement that everybody agrees with "
        f"has a consensus of {highest:.3f}, below gac_threshold {settled.cut.threshold:g}. Lower the cut, or decide "
        "otherwise on aggregation, smoothing, number_of_groups or smallest_group; `ccai review threshold` shows what "
        "each value would select"
    )


def _sizes(opinion_groups: pl.DataFrame) -> pl.DataFrame:
    """The columns `group_id` and `size`, by group."""
    return opinion_groups.group_by("group_id").len("size").sort("group_id")
