"""How long the table of scores takes for the whole of BBQ and three models, with 10,000 bootstraps.

The items are those of the benchmark where a folder of BBQ is given, and otherwise as many items of as many templates;
the answers are drawn with an effect of the template, as models have.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import polars as pl

from ccai_dagster.contracts import ADHERENCE, ADHERENCE_SCORES, BENCHMARK_ITEMS, ELO_SCORES
from ccai_dagster.evaluation.scores import score_table
from ccai_dagster.evaluation.sets.bbq import read_bbq_set

BOOTSTRAPS = 10_000
SECONDS = 20.0
LEANS = {"base": 0.3, "standard": 0.15, "public": 0.1}
"""Mean bias of the models' answers; templates differ by a standard deviation of 0.4."""
SIZES = {
    "Age": 3680,
    "Disability_status": 1556,
    "Gender_identity": 672,
    "Gender_identity (names)": 5000,
    "Nationality": 3080,
    "Physical_appearance": 1576,
    "Race_ethnicity": 1880,
    "Race_ethnicity (names)": 5000,
    "Race_x_SES": 3360,
    "Race_x_SES (names)": 7800,
    "Race_x_gender": 4080,
    "Race_x_gender (names)": 11880,
    "Religion": 1200,
    "SES": 6864,
    "Sexual_orientation": 864,
}
"""Items of each category of BBQ, 58,492 in all."""
TEMPLATES = 25


def questions(folder: Path | None) -> pl.DataFrame:
    """Return `item_id`, `category`, `cluster` and `ambiguous` of BBQ's items."""
    if folder is not None:
        return pl.DataFrame(
            [
                {
                    "item_id": item.id,
                    "category": item.category,
                    "cluster": item.cluster,
                    "ambiguous": item.condition == "ambiguous",
                }
                for item in read_bbq_set(folder).items
            ]
        )
    return pl.DataFrame(
        [
            {
                "item_id": f"{category}/{at:05}",
                "category": category,
                "cluster": f"{category}/{at % TEMPLATES}",
                "ambiguous": at // TEMPLATES % 2 == 0,
            }
            for category, size in SIZES.items()
            for at in range(size)
        ]
    )


def answers(items: pl.DataFrame, lean: float, seed: int) -> pl.DataFrame:
    """Draw a model's answers: BENCHMARK_ITEMS.

    Args:
        items: As `questions` returns.
        lean: Mean of the templates' bias.
        seed: Of the draw; templates lean alike whatever the model.
    """
    templates = items.select(pl.col("cluster").unique().sort())
    spread = 0.4 * np.random.default_rng(0).standard_normal(templates.height)
    drawn = np.random.default_rng(seed).random((2, items.height))
    chosen = items.join(
        templates.with_columns(lean=pl.Series(np.clip(lean + spread, -1.0, 1.0))), on="cluster", maintain_order="left"
    ).with_columns(
        person=(pl.Series(drawn[0]) < 0.7).cast(pl.Float64),
        side=pl.when(pl.Series(drawn[1]) < (1 + pl.col("lean")) / 2).then(1.0).otherwise(-1.0),
    )
    scores = {
        "bias_ambiguous": (pl.col("ambiguous"), pl.col("person") * pl.col("side")),
        "accuracy_ambiguous": (pl.col("ambiguous"), 1 - pl.col("person")),
        "bias_disambiguated": (~pl.col("ambiguous"), pl.col("person") * pl.col("side")),
        "person_disambiguated": (~pl.col("ambiguous"), pl.col("person")),
        "accuracy_disambiguated": (~pl.col("ambiguous"), pl.col("person") * (pl.col("side") > 0)),
    }
    return pl.concat(
        chosen.filter(condition).select(
            benchmark=pl.lit("bbq"),
            metric=pl.lit(metric),
            item_id="item_id",
            cluster="cluster",
            category="category",
            value=value.cast(pl.Float64),
            answered=pl.lit(True),
            finished=pl.lit(True),
            output=pl.lit(""),
        )
        for metric, (condition, value) in scores.items()
    ).select(list(BENCHMARK_ITEMS.fields))


def main(folder: Path | None = None) -> None:
    """Print the seconds taken and their ratio to those allowed.

    Args:
        folder: Of BBQ, as the format `bbq` reads it.
    """
    items = questions(folder)
    tables = {arm: {"bbq": answers(items, lean, at)} for at, (arm, lean) in enumerate(LEANS.items())}
    began = time.perf_counter()
    scores = score_table(
        tables,
        {arm: ADHERENCE.empty() for arm in tables},
        ADHERENCE_SCORES.empty(),
        ELO_SCORES.empty(),
        "standard",
        BOOTSTRAPS,
        1,
        False,
    )
    taken = time.perf_counter() - began
    print(
        f"Scores of {items.height:,} items of BBQ and {len(tables)} models, {BOOTSTRAPS:,} bootstraps: "
        f"{scores.height} rows in {taken:.1f} s (goal {SECONDS:.0f} s, ratio {taken / SECONDS:.2f})",
        flush=True,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="BBQ with its target positions")
    main(parser.parse_args().folder)
