"""Pictures: readable bytes, the same for the same table, saying what it says, escaping what was typed."""

import io
from collections.abc import Callable

import polars as pl
import pytest

from ccai_dagster import pictures
from ccai_dagster.contracts import (
    CONSENSUS_STABILITY,
    DECISION_SENSITIVITY,
    EVAL_SCORES,
    GAC_SCORES,
    OPINION_GROUPS,
)
from ccai_dagster.pictures.style import plain

GROUPS = pl.DataFrame(
    {
        "participant_id": [0, 1, 2, 3, 4],
        "group_id": [0, 0, 0, 1, 1],
        "x": [0.0, 0.1, 0.2, 2.0, 2.1],
        "y": [0.0, 0.3, 0.1, 1.0, 1.2],
    },
    schema=OPINION_GROUPS.dtypes,
)


def score(statement_id: int, gac: float | None, agreement: list[float | None]) -> dict:
    return {
        "statement_id": statement_id,
        "n_votes": 10,
        "n_agree": 6,
        "n_disagree": 2,
        "n_pass": 2,
        "gac": gac,
        "polarization_index": 0.6,
        "adjusted_polarization_index": 0.48,
        "group_ids": [0, 1],
        "group_votes": [6, 4],
        "group_agreement": agreement,
        "published_gac": None,
    }


SCORES = GAC_SCORES.build(
    [
        score(1, 0.9, [1.0, 0.9]),
        score(2, 0.72, [0.9, 0.8]),
        score(3, 0.1, [0.5, 0.2]),
        score(4, None, [0.5, None]),
    ]
)
STABILITY = CONSENSUS_STABILITY.build(
    [
        {
            "statement_id": key,
            "gac": gac,
            "gac_low": low,
            "gac_high": high,
            "selection_probability": 0.5,
            "smallest_group_votes": 4,
        }
        for key, gac, low, high in [(1, 0.9, 0.85, 0.95), (2, 0.72, 0.6, 0.8), (3, 0.1, 0.0, 0.2)]
    ]
)
HISTORY = pl.DataFrame({"step": [2, 1, 1], "name": ["loss", "loss", "reward $x$"], "value": [0.5, 1.5, 0.1]})
EVALUATION = EVAL_SCORES.build(
    [
        {
            "arm": arm,
            "benchmark": "sample_knowledge",
            "metric": "accuracy",
            "category": category,
            "n": 4,
            "n_unanswered": 0,
            "value": 0.5,
            "low": 0.2,
            "high": 0.8,
            "compared_with": None,
            "difference": None,
            "difference_low": None,
            "difference_high": None,
            "judge_at_chance": False,
        }
        for arm in ("public", "base")
        for category in ("all", "history")
    ]
)
SENSITIVITY = DECISION_SENSITIVITY.build(
    [
        {
            "decision": "gac_threshold",
            "alternative": value,
            "chosen": value == "0.7",
            "n_groups": 2,
            "n_selected": 2,
            "entering": entering,
            "leaving": leaving,
            "lost_principles": lost,
        }
        for value, entering, leaving, lost in [
            ("0.6", [7], [], []),
            ("0.7", [], [], []),
            ("0.8", [], [1, 2], ["P1"]),
        ]
    ]
)

DRAWN = [
    (lambda: pictures.opinion_map(GROUPS), lambda: pictures.opinion_map(GROUPS.reverse())),
    (
        lambda: pictures.gac_distribution(SCORES, 0.7, STABILITY),
        lambda: pictures.gac_distribution(SCORES.reverse(), 0.7, STABILITY.reverse()),
    ),
    (
        lambda: pictures.gac_distribution(SCORES, None),
        lambda: pictures.gac_distribution(SCORES.reverse(), None),
    ),
    (lambda: pictures.polarization(SCORES), lambda: pictures.polarization(SCORES.reverse())),
    (
        lambda: pictures.agreement_by_group(SCORES, 0.7),
        lambda: pictures.agreement_by_group(SCORES.reverse(), 0.7),
    ),
    (lambda: pictures.training_curves(HISTORY), lambda: pictures.training_curves(HISTORY.reverse())),
    (lambda: pictures.score_comparison(EVALUATION), lambda: pictures.score_comparison(EVALUATION.reverse())),
    (lambda: pictures.sensitivity(SENSITIVITY), lambda: pictures.sensitivity(SENSITIVITY.clone())),
]


@pytest.mark.parametrize("draw, again", DRAWN)
def test_a_picture_is_a_small_png_and_equal_for_equal_rows(
    draw: Callable[[], bytes], again: Callable[[], bytes]
) -> None:
    from PIL import Image

    png = draw()
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    assert image.width == 691
    assert len(set(image.convert("RGB").resize((64, 64)).getdata())) > 3
    assert len(png) < 60_000
    assert again() == png


@pytest.mark.parametrize(
    "draw",
    [
        lambda: pictures.opinion_map(OPINION_GROUPS.empty()),
        lambda: pictures.gac_distribution(GAC_SCORES.empty(), 0.7),
        lambda: pictures.polarization(GAC_SCORES.empty()),
        lambda: pictures.agreement_by_group(GAC_SCORES.empty(), 0.7),
        lambda: pictures.training_curves(HISTORY.clear()),
        lambda: pictures.score_comparison(EVAL_SCORES.empty()),
        lambda: pictures.sensitivity(DECISION_SENSITIVITY.empty()),
    ],
)
def test_an_empty_table_still_gives_a_picture(draw: Callable[[], bytes]) -> None:
    assert draw().startswith(b"\x89PNG")


def test_another_table_gives_another_picture() -> None:
    moved = GROUPS.with_columns(group_id=pl.lit(0, pl.Int64))
    assert pictures.opinion_map(moved) != pictures.opinion_map(GROUPS)


def test_alternative_texts_say_what_is_shown() -> None:
    assert pictures.opinion_map_alt(GROUPS) == (
        "Map of 5 participants by how they voted: Group A with 3 people, Group B with 2 people."
    )
    assert pictures.gac_distribution_alt(SCORES, 0.7, STABILITY) == (
        "Histogram of the group-aware consensus of 3 statements, half of them above 0.72; "
        "2 reach the cut at 0.7, which lies inside the interval of 1."
    )
    assert "median is 0.60" in pictures.polarization_alt(SCORES)
    assert "more than 10% apart" in pictures.agreement_by_group_alt(SCORES, 0.7)
    assert pictures.training_curves_alt(HISTORY) == (
        "Curves over training: loss from 1.5 to 0.5; reward $x$ from 0.1 to 0.1."
    )
    assert "base, public on 1 measure;" in pictures.score_comparison_alt(EVALUATION)
    assert pictures.sensitivity_alt(SENSITIVITY).endswith(
        "gac_threshold = 0.8: 0 statements would come in and 2 drop out."
    )


@pytest.mark.parametrize(
    "group_id, name", [(0, "Group A"), (25, "Group Z"), (26, "Group AA"), (52, "Group BA")]
)
def test_groups_have_letters(group_id: int, name: str) -> None:
    assert pictures.group_name(group_id) == name


def test_markdown_escapes_what_means_something() -> None:
    made = pictures.as_markdown(b"x", 'a](http://evil) <script>"\u202e|*b*\nc')
    assert made == (r"![a\]\(http://evil\) &lt;script&gt;&quot; \|\*b\* c](data:image/png;base64,eA==)")


def test_labels_lose_formulas_and_control_characters() -> None:
    assert plain("a$b$\x00\u202ec\\d") == r"a\$b\$ c/d"
    assert plain("x" * 100, 10) == "x" * 9 + "…"
