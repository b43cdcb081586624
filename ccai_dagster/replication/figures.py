"""Every published figure beside the one that the public files give, and beside the corrected one.

Belongs here: one computation a figure, under the name that the figures file gives it (the figures are those of Huang
et al. 2024), comparing with what was printed, and why a figure cannot be computed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from ccai_dagster.contracts import REPLICATION
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.replication.published_groups import BY_ID, BY_POSITION
from ccai_dagster.replication.published_results import THRESHOLD, Published

HARMLESS = re.compile(r"\bharmless\b", re.IGNORECASE)
READ_BY_A_PERSON = "It rests on a person's reading of texts, and this program does not judge what texts mean."
REASONS = {
    "match": READ_BY_A_PERSON,
    "match_other_base": READ_BY_A_PERSON,
    "mismatch": READ_BY_A_PERSON,
    "conflict_in_paper": (
        "The paper gives two numbers in two places, and the public files do not tell which applied to whom."
    ),
    "not_derivable": "It needs a list or a rule that was not published.",
    "not_in_public_data": "It needs models, raters' answers or the numbers behind a picture; none is public.",
    "manual": "The authors counted by hand, and what they counted was not published item by item.",
    "context": "It describes how the study was made, or cites another; there is nothing to compute.",
}
"""Why a figure is not computed, by the status that the figures file gives it."""
NO_TEXTS = "It needs texts of the paper, which this folder was made without; `ccai new --texts` takes them."
FILES = "published files"
"""Section of what stands in the published files without being printed in the paper."""


@dataclass(frozen=True)
class ReplicationTables:
    """What the figures are computed from; see `contracts` for the columns.

    Attributes:
        n_merges: Rows of the merge ledger that count; none where their texts are not known.
        constitution: The published constitution; a text that is not known is empty, as in `baseline`.
        baseline: The developers' constitution.
    """

    raw_statements: pl.DataFrame
    raw_votes: pl.DataFrame
    raw_participants: pl.DataFrame
    participants: pl.DataFrame
    statements: pl.DataFrame
    evidence: pl.DataFrame
    scores: pl.DataFrame
    replicated_statements: pl.DataFrame
    replicated_principles: pl.DataFrame
    constitution: pl.DataFrame
    baseline: pl.DataFrame
    n_merges: int


def replication(published: Published, tables: ReplicationTables) -> pl.DataFrame:
    """Return the table `replication`: the paper's figures in their order, then what the published files hold.

    Raises:
        ConsultationError: A figure has a status that is not known, or a figure that is computed has no number.
    """
    computed: dict[str, Computed | None] = {**without_groups(published, tables), **with_groups(published, tables)}
    rows = []
    for figure in published.figures:
        common = {
            "figure_id": figure.figure_id,
            "section": figure.section,
            "what": figure.what,
            "unit": figure.unit or None,
            "published": figure.value,
        }
        if figure.figure_id in computed:
            found = computed[figure.figure_id]
            told = _compared(figure.figure_id, figure.value, found) if found else _not_computed(NO_TEXTS)
            rows.append(common | told)
        elif figure.status in REASONS:
            rows.append(common | _not_computed(REASONS[figure.status]))
        else:
            raise ConsultationError(
                f"The figures file gives {figure.figure_id} the status {figure.status!r}; known are "
                f"{', '.join(REASONS)}. Correct it."
            )
    for name, (what, value, figure_computed) in held_in_files(published, tables).items():
        rows.append(
            {"figure_id": name, "section": FILES, "what": what, "unit": None, "published": value}
            | _compared(name, value, figure_computed)
        )
    return REPLICATION.build(rows)


def _compared(name: str, value: str, computed: Computed) -> dict[str, Any]:
    low, high = computed.over_seeds or (None, None)
    return {
        "reproduced": float(computed.reproduced),
        "corrected": None if computed.corrected is None else float(computed.corrected),
        "recomputed_low": low,
        "recomputed_high": high,
        "rests_on_groups": computed.rests_on_groups,
        "verdict": "equal" if _prints_as(name, computed.reproduced, value) else "differs",
        "explanation": computed.explanation,
    }


def _prints_as(name: str, value: float, printed: str) -> bool:
    """Whether a number, rounded to as many decimals as were printed, is the one that was printed."""
    try:
        wanted = float(printed)
    except ValueError as error:
        raise ConsultationError(
            f"The figures file gives {printed!r} for {name}, which is computed; it must be a number. Correct it."
        ) from error
    if name == THRESHOLD:
        # A threshold is kept to when the lowest score above it is still above it as printed, so it is cut off.
        scale = 10.0 ** _decimals(printed)
        return int(value * scale + 1e-9) == round(wanted * scale)
    return round(value, _decimals(printed)) == wanted


def _decimals(printed: str) -> int:
    return len(printed.partition(".")[2])


def _not_computed(reason: str) -> dict[str, Any]:
    empty = dict.fromkeys(("reproduced", "corrected", "recomputed_low", "recomputed_high", "rests_on_groups"))
    return {**empty, "verdict": "not computed", "explanation": reason}


@dataclass(frozen=True)
class Computed:
    """One figure.

    Attributes:
        reproduced: With groups attached as published.
        corrected: With groups attached by id; None if it makes no sense.
        explanation: How it was computed.
        rests_on_groups: Whether it depends on who is in which group.
        over_seeds: Smallest and largest value over the seeds, groups recomputed.
    """

    reproduced: float
    corrected: float | None
    explanation: str
    rests_on_groups: bool = True
    over_seeds: tuple[float, float] | None = None


def without_groups(published: Published, tables: ReplicationTables) -> dict[str, Computed | None]:
    """Figures in which groups play no part; None for one that texts are missing for."""
    raw = tables.raw_participants
    kept = tables.participants.filter("kept")
    fates = dict(tables.participants["fate"].value_counts().iter_rows())
    cast = int(kept["n_votes"].sum())
    tags = list(published.seed_statements.values())
    harmless = sum(len(HARMLESS.findall(text)) for text in tables.baseline["text"])
    authors = tables.raw_statements["author_id"]
    polis = raw["polis_group"].to_list()
    statements = tables.replicated_statements

    def unchanged(value: float, explanation: str) -> Computed:
        return Computed(value, value, explanation, rests_on_groups=False)

    def polis_group(group: int) -> Computed:
        sizes = _row(tables.evidence, BY_ID)["group_sizes"]
        size = sizes[group] if group < len(sizes) else None
        return Computed(
            polis.count(group),
            size,
            f"Reproduced: the group that Polis itself assigned, among all {raw.height:,} in the export "
            f"({polis.count(None):,} have none). Corrected: the groups that the published scores rest on.",
            over_seeds=_range(tables.evidence, lambda row: _at(row["group_sizes"], group)),
        )

    return {
        "participants": unchanged(
            kept.height,
            f"Of {raw.height:,} in the export, {fates.get('too few votes', 0):,} cast too few votes and "
            f"{fates.get('excluded', 0):,} were excluded by the authors.",
        ),
        "statements_contributed": unchanged(
            tables.raw_statements.height,
            f"All statements in the export, {int((authors == 0).sum()):,} of them from the organisers' account.",
        ),
        "votes": unchanged(
            tables.raw_votes.height, f"Votes of all {raw.height:,} in the export; those who were kept cast {cast:,}."
        ),
        "votes_per_person": unchanged(
            tables.raw_votes.height / max(raw.height, 1),
            f"Over all in the export; it is {cast / max(kept.height, 1):.1f} over those who were kept.",
        ),
        "seed_statements": unchanged(len(tags), "Counted from the appendix."),
        "seed_from_standard": unchanged(
            sum("S" in each for each in tags), "Seeds that the appendix marks as taken from there."
        ),
        "statements_moderated_in": unchanged(
            tables.statements.height, "Statements that the export marks as moderated in."
        ),
        "harmless_count": unchanged(harmless, "The word counted in the text of the constitution.")
        if (tables.baseline["text"] != "").all()
        else None,
        "public_principles": unchanged(tables.constitution.height, "Counted from the appendix."),
        "standard_principles": unchanged(tables.baseline.height, "Counted from the appendix."),
        "aggregated_statements": unchanged(tables.n_merges, "Rows of the merge ledger.") if tables.n_merges else None,
        "qualitative_prompts": unchanged(published.n_prompts, "Published prompts among the prompts.")
        if published.n_prompts
        else None,
        "pi_median": unchanged(
            statements.select(pl.median("polarization_index").fill_null(0.0)).item(),
            "Median over the statements, passes counted among all votes.",
        ),
        "pi_adjusted_median": unchanged(
            statements.select(pl.median("adjusted_polarization_index").fill_null(0.0)).item(),
            "Median over the statements, multiplied by the share of votes that are no passes.",
        ),
        "group_a": polis_group(0),
        "group_b": polis_group(1),
    }


def _row(table: pl.DataFrame, labelling: str) -> dict[str, Any]:
    return _part(table, labelling).row(0, named=True)


def _part(table: pl.DataFrame, labelling: str) -> pl.DataFrame:
    return table.filter(pl.col("labelling") == labelling)


def _range(evidence: pl.DataFrame, value: Callable[[dict[str, Any]], float | None]) -> tuple[float, float] | None:
    """Smallest and largest value over the seeds, with recomputed groups attached by id."""
    again = evidence.filter((pl.col("origin") == "recomputed") & (pl.col("attached") == "id"))
    found = [float(each) for row in again.iter_rows(named=True) if (each := value(row)) is not None]
    return (min(found), max(found)) if found else None


def _at(values: list[int], place: int) -> int | None:
    return values[place] if place < len(values) else None


def with_groups(published: Published, tables: ReplicationTables) -> dict[str, Computed]:
    """Figures that rest on who is in which group."""
    table = tables.scores

    def over(what: str, measure: Callable[[pl.Series], Any]) -> Computed:
        by_labelling = {
            str(name): float(measure(part["gac"].fill_null(0.0)))
            for (name,), part in table.group_by("labelling", maintain_order=True)
        }
        return Computed(
            by_labelling[BY_POSITION],
            by_labelling[BY_ID],
            f"{what} over {len(published.agreement):,} statements.",
            over_seeds=_range(tables.evidence, lambda row: by_labelling[row["labelling"]]),
        )

    reached = int(_part(table, BY_POSITION)["reaches"].sum())
    lowest = over("", lambda gac: gac.sort(descending=True)[max(reached, 1) - 1])
    return {
        "gac_mean": over("Mean", lambda gac: gac.mean()),
        "gac_median": over("Median", lambda gac: gac.median()),
        "gac_min": over("Minimum", lambda gac: gac.min()),
        "gac_max": over("Maximum", lambda gac: gac.max()),
        THRESHOLD: replace(
            lowest,
            explanation=f"The lowest of the {reached:,} highest scores, as many as reach the published threshold. "
            "For the comparison it is cut off, not rounded.",
        ),
        "opinion_groups": Computed(
            len(_row(tables.evidence, BY_POSITION)["group_sizes"]),
            len(_row(tables.evidence, BY_ID)["group_sizes"]),
            "Groups behind the published scores; over the seeds, the number with the best silhouette.",
            over_seeds=_range(tables.evidence, lambda row: row["automatic_groups"]),
        ),
    }


def held_in_files(published: Published, tables: ReplicationTables) -> dict[str, tuple[str, str, Computed]]:
    """What the published files hold: meaning, value as published, and as computed."""
    statements, principles = tables.replicated_statements, tables.replicated_principles
    shares = sum(len(each) for each in published.agreement.values())

    def equal(column: str) -> int:
        """Shares of agreement that are the published ones to twelve decimals."""
        pairs = statements.select("published_agreement", column).iter_rows()
        return sum(
            one is not None and other is not None and abs(one - other) < 1e-12
            for before, after in pairs
            for one, other in zip(before, after, strict=True)
        )

    def reaching(column: str) -> int:
        return int((statements[column] >= published.threshold).sum())

    again = tables.scores.filter(pl.col("reaches")).group_by("labelling").len()
    reaching_by_labelling = dict(again.iter_rows())
    kept_corrected = principles.height - principles.filter(pl.col("fate") == "loses all its sources").height
    kept_reproduced = principles.filter(pl.col("reproduced_gac") >= published.threshold).height
    return {
        "agreement_shares": (
            "shares of agreement, one for each statement and group",
            str(shares),
            Computed(
                equal("reproduced_agreement"),
                equal("corrected_agreement"),
                "Shares that are equal to the published ones to twelve decimals.",
            ),
        ),
        "statements_at_threshold": (
            "statements whose published score reaches the published threshold",
            str(reaching("published_gac")),
            Computed(
                reaching("reproduced_gac"),
                reaching("corrected_gac"),
                f"Scores of at least {published.threshold:g}.",
                over_seeds=_range(tables.evidence, lambda row: reaching_by_labelling.get(row["labelling"], 0)),
            ),
        ),
        "principles_with_a_source": (
            "published principles with a source that reaches the published threshold",
            str(principles.height),
            Computed(
                kept_reproduced,
                kept_corrected,
                "Principles of which at least one source reaches it.",
                over_seeds=_range(
                    tables.evidence,
                    lambda row: principles.filter(~pl.col("lost_seeds").list.contains(row["seed"])).height,
                ),
            ),
        ),
    }
