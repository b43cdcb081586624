"""The chapter on Elo: whose responses are preferred, by the feedback model and by people."""

from __future__ import annotations

import re
from collections.abc import Mapping

import polars as pl

from ccai_dagster.audit.evaluation_page.forests import difference_forest
from ccai_dagster.audit.evaluation_page.inputs import EvaluationInputs
from ccai_dagster.audit.evaluation_page.parts import Chapter
from ccai_dagster.audit.evaluation_page.verdicts import elo_comparisons
from ccai_dagster.consultation import BASE
from ccai_dagster.core.text import counted
from ccai_dagster.evaluation.elo_findings import elo_findings
from ccai_dagster.evaluation.outcomes import PEOPLE


def elo_chapter(inputs: EvaluationInputs) -> Chapter | None:
    """Return the chapter, or None if nothing was compared."""
    differences = inputs.elo_differences.sort("quality", "arm", "other_arm")
    by_people = pl.col("source") == PEOPLE
    sources = {
        "By people": elo_comparisons(differences.filter(by_people)),
        "By the feedback model": elo_comparisons(differences.filter(~by_people)),
    }
    if not any(sources.values()):
        return None
    silent = differences.filter(pl.col("n_unanswered") > 0).to_dicts()
    return Chapter(
        anchor="elo",
        title="Helpful and harmless, in comparison",
        paragraphs=[
            "The same prompts went to every model, and pairs of responses were compared: which is more helpful, "
            f"which less harmful? Elo turns that into one figure a model, with the untrained model “{BASE}” at 0: "
            "a model 100 Elo above another wins about 64 of 100 comparisons, one 400 above wins 10 of 11.",
            "Intervals come from drawing prompts anew, and raters where several rated, since answers to one prompt "
            "or by one person are no independent observations."
            + (
                ""
                if sources["By people"]
                else " Nobody has rated these responses yet: all figures are the judge's."
            ),
        ],
        judged=bool(sources["By the feedback model"]),
        findings=[
            re.sub(r"`([^`]*)`", r"“\1”", sentence)
            for sentence in elo_findings(inputs.elo_differences, inputs.rater_agreement)
        ],
        forests=[
            difference_forest(f"{source}, with 95% intervals", found, _quality)
            for source, found in sources.items()
            if found
        ],
        unread=[
            f"“{row['arm']}” and “{row['other_arm']}” ({row['quality']}): {row['n_unanswered']:,} of "
            f"{counted(row['n'] + row['n_unanswered'], 'comparison')} had no usable answer."
            for row in silent
        ]
        or ["Every comparison was answered."],
    )


def _quality(row: Mapping[str, object]) -> str:
    return str(row["metric"]).capitalize()
