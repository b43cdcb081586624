"""Pictures: readable bytes, the same for the same table, saying what it says, escaping what was typed."""

import io
import warnings
from collections.abc import Callable

import polars as pl
import pytest
from white_paper import white_paper

from ccai_dagster.contracts import (
    CONSENSUS_STABILITY,
    DECISION_IMPORTANCE,
    DECISION_SENSITIVITY,
    EVAL_SCORES,
    GAC_SCORES,
    GROUP_STABILITY,
    GROUP_VOTES,
    OPINION_GROUPS,
    PRINCIPLE_ROBUSTNESS,
    STATEMENTS,
)
from ccai_dagster.pages import pictures
from ccai_dagster.pages.pictures.opinions import vote_shares
from ccai_dagster.pages.pictures.style import Picture, drawable, plain, shown

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
        "gac_if_unanimous": None,
        "gac_disagree": None if gac is None else 1 - gac,
        "least_participation": 0.5,
        "polarization_index": 0.6,
        "adjusted_polarization_index": 0.48,
        "group_ids": [0, 1],
        "group_votes": [6, 4],
        "group_agreement": agreement,
        "group_rejection": [None if each is None else 1 - each for each in agreement],
        "published_gac": None,
    }


SCORES = GAC_SCORES.build(
    [score(1, 0.9, [1.0, 0.9]), score(2, 0.72, [0.9, 0.8]), score(3, 0.1, [0.5, 0.2]), score(4, None, [0.5, None])]
)
STABILITY = CONSENSUS_STABILITY.build(
    [
        {
            "statement_id": key,
            "gac": gac,
            "gac_low": low,
            "gac_high": high,
            "gac_disagree": None,
            "gac_disagree_low": None,
            "gac_disagree_high": None,
            "gac_low_same_groups": low,
            "gac_high_same_groups": high,
            "gac_low_seeds": gac,
            "gac_high_seeds": gac,
            "selection_probability": share,
            "selection_share_seeds": 0.5,
            "smallest_group_votes": 4,
            "few_votes": key == 3,
        }
        for key, gac, low, high, share in [
            (1, 0.9, 0.85, 0.95, 1.0),
            (2, 0.72, 0.6, 0.8, 0.6),
            (3, 0.1, 0.0, 0.2, 0.0),
            (4, None, None, None, 0.0),
        ]
    ]
)
DRAWS = GROUP_STABILITY.build(
    [
        {"varied": varied, "draw": draw, "n_groups": number, "adjusted_rand": index}
        for varied, draw, number, index in [
            ("participants", 1, 2, 0.9),
            ("participants", 2, 3, -0.1),
            ("participants", 3, 2, 0.8),
            ("seed", 1, 2, 1.0),
        ]
    ]
)
TEXTS = {1: r"Costs $5 and $6, never \frac{1}{2}", 2: "人工智能应该诚实", 3: "<b>" + "long words " * 60}
STATED = STATEMENTS.build(
    [
        {"statement_id": key, "author_id": None, "text": text, "raw_text": text, "rewritten": False, "decision_ids": []}
        for key, text in TEXTS.items()
    ]
)
REPRESENTATIVE = pl.DataFrame(
    [
        {"group_id": 0, "statement_id": key, "rank": rank, "side": side}
        for rank, (key, side) in enumerate([(3, "agree"), (1, "agree"), (2, "disagree")], start=1)
    ]
)
CAST = GROUP_VOTES.build(
    [
        {
            "statement_id": key,
            "group_id": group,
            "n_members": 3 - group,
            "n_agree": agree,
            "n_disagree": disagree,
            "n_pass": passes,
            "important_agree": 0,
            "important_disagree": 0,
            "important_pass": 0,
        }
        for key, group, agree, disagree, passes in [
            (1, 0, 2, 0, 1),
            (1, 1, 0, 1, 0),
            (2, 0, 0, 1, 0),
            (2, 1, 1, 0, 0),
            (3, 0, 1, 0, 0),
            (3, 1, 0, 0, 0),
        ]
    ]
)
HISTORY = pl.DataFrame(
    {
        "step": [2, 1, 1, 2, 2],
        "name": ["loss", "loss", "reward $x$", "reward $x$", "seconds"],
        "value": [0.5, 1.5, 0.1, 0.2, 3.0],
    }
)
EVALUATION = EVAL_SCORES.build(
    [
        {
            "arm": arm,
            "benchmark": "sample_knowledge",
            "metric": "accuracy",
            "category": category,
            "n": 4,
            "n_unanswered": 0,
            "n_cut": 0,
            "value": 0.5,
            "low": 0.2,
            "high": 0.8,
            "compared_with": None,
            "difference": None,
            "difference_low": None,
            "difference_high": None,
            "p_value": None,
            "adjusted_p": None,
            "smallest_detectable": None,
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
            "gained_principles": [],
        }
        for value, entering, leaving, lost in [("0.6", [7], [], []), ("0.7", [], [], []), ("0.8", [], [1, 2], ["P1"])]
    ]
)
IMPORTANCE = DECISION_IMPORTANCE.build(
    [
        {
            "rank": rank,
            "decision": decision,
            "chosen": "threshold 0.7",
            "decision_ids": [],
            "n_alternatives": 4,
            "n_principles": len(lost) + len(gained),
            "lost_principles": lost,
            "gained_principles": gained,
            "n_statements": 3,
            "difference": 2.0,
            "difference_if_equal": 1.5,
            "share": share,
        }
        for rank, decision, lost, gained, share in [
            (1, "number_of_groups", ["P1", "P2"], ["P3"], 0.25),
            (2, "seed", [], [], None),
        ]
    ]
)
ROBUSTNESS = PRINCIPLE_ROBUSTNESS.build(
    [
        {
            "arm": arm,
            "principle_id": f"P{number}",
            "statement_ids": [number],
            "in_on_record": number < 40,
            "n_worlds": 50,
            "n_in": 50 - number,
            "share_in": 1 - number / 50,
            "hangs_on": [],
        }
        for arm in ("public", "published")
        for number in range(44)
    ]
)

DRAWN = [
    (lambda: pictures.agreement_by_group(SCORES, 0.7), lambda: pictures.agreement_by_group(SCORES.reverse(), 0.7)),
    (
        lambda: pictures.representative_votes(REPRESENTATIVE, STATED, CAST, 0),
        lambda: pictures.representative_votes(REPRESENTATIVE.reverse(), STATED.reverse(), CAST.reverse(), 0),
    ),
    (lambda: pictures.training_curves(HISTORY), lambda: pictures.training_curves(HISTORY.reverse())),
    (lambda: pictures.score_comparison(EVALUATION), lambda: pictures.score_comparison(EVALUATION.reverse())),
    (lambda: pictures.sensitivity(SENSITIVITY), lambda: pictures.sensitivity(SENSITIVITY.clone())),
    (lambda: pictures.decision_importance(IMPORTANCE), lambda: pictures.decision_importance(IMPORTANCE.reverse())),
    (
        lambda: pictures.principle_robustness(ROBUSTNESS, "public"),
        lambda: pictures.principle_robustness(ROBUSTNESS.reverse(), "published"),
    ),
]


@pytest.mark.parametrize("draw, again", DRAWN)
def test_a_picture_is_a_small_png_and_equal_for_equal_rows(
    draw: Callable[[], Picture], again: Callable[[], Picture]
) -> None:
    from PIL import Image

    png = draw().png
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    assert image.width == 691
    assert len(set(image.convert("RGB").resize((64, 64)).getdata())) > 3
    assert len(png) < 60_000
    assert again().png == png


@pytest.mark.parametrize(
    "draw",
    [
        lambda: pictures.agreement_by_group(GAC_SCORES.empty(), 0.7),
        lambda: pictures.representative_votes(REPRESENTATIVE.clear(), STATED.clear(), CAST.clear(), 0),
        lambda: pictures.training_curves(HISTORY.clear()),
        lambda: pictures.score_comparison(EVAL_SCORES.empty()),
        lambda: pictures.sensitivity(DECISION_SENSITIVITY.empty()),
        lambda: pictures.decision_importance(DECISION_IMPORTANCE.empty()),
        lambda: pictures.principle_robustness(ROBUSTNESS, "no such arm"),
    ],
)
def test_an_empty_table_still_gives_a_picture(draw: Callable[[], Picture]) -> None:
    assert draw().png.startswith(b"\x89PNG")


def test_another_table_gives_another_picture() -> None:
    assert pictures.agreement_by_group(SCORES, 0.7).png != pictures.agreement_by_group(SCORES, 0.9).png


@white_paper()
def test_alternative_texts_say_what_is_shown() -> None:
    assert pictures.representative_votes(REPRESENTATIVE, STATED, CAST, 0).alt == (
        "Votes of every group on the statements that set Group A apart: with statement 3 100% of Group A agree; "
        "with statement 1 67% of Group A, 0% of Group B agree; with statement 2 100% of Group A, 0% of Group B "
        "disagree."
    )
    assert "more than 10% apart" in pictures.agreement_by_group(SCORES, 0.7).alt
    assert pictures.training_curves(HISTORY).alt == (
        "Curves over training: loss from 1.5 to 0.5; reward $x$ from 0.1 to 0.2."
    )
    assert "base, public on 1 measure;" in pictures.score_comparison(EVALUATION).alt
    assert pictures.sensitivity(SENSITIVITY).alt.endswith(
        "gac_threshold = 0.8: 0 statements would come in and 2 drop out."
    )
    assert pictures.decision_importance(IMPORTANCE).alt.endswith("is changed: number of groups 3.")
    assert pictures.principle_robustness(ROBUSTNESS, "public").alt == (
        "Dots for 44 principles of public by the share of 50 combinations of decisions in which each is in, "
        "from P0 in 100% to P43 in 14%."
    )


def test_shares_are_of_the_votes_a_group_cast() -> None:
    found = vote_shares(CAST)
    assert (found[1, 0].n_votes, found[1, 0].shares) == (3, {1: 2 / 3, -1: 0.0, 0: 1 / 3})
    assert (found[1, None].n_votes, found[1, None].shares) == (4, {1: 0.5, -1: 0.25, 0: 0.25})
    assert (3, 1) not in found


def test_statements_are_drawn_without_warnings_and_only_if_the_font_has_them() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pictures.representative_votes(REPRESENTATIVE, STATED, CAST, 0)
    assert drawable("Ünïcode, Ελληνικά, кириллица, 5 € … “quoted”")
    assert not drawable("人工智能")
    assert not drawable("שלום")
    assert not drawable("مرحبا")
    assert not drawable("नमस्ते")
    assert shown("a$b$\n", 4) == "a$b$"


@pytest.mark.parametrize("group_id, name", [(0, "Group A"), (25, "Group Z"), (26, "Group AA"), (52, "Group BA")])
def test_groups_have_letters(group_id: int, name: str) -> None:
    assert pictures.group_name(group_id) == name


def test_markdown_escapes_what_means_something() -> None:
    made = pictures.as_markdown("png", b"x", 'a](http://evil) <script>"\u202e|*b*\nc')
    assert made == ("![a\\](http://evil) &lt;script&gt;&quot;\ufffd\\|\\*b\\* c](data:image/png;base64,eA==)")


def test_labels_lose_formulas_and_control_characters() -> None:
    assert plain("a$b$\x00\u202e\n\tc\\d") == "a\\$b\\$\ufffd\ufffd c/d"
    assert plain("x" * 100, 10) == "x" * 9 + "…"
