"""The report's pictures as lines in the page: what is placed where, and what is told of it."""

from __future__ import annotations

import re

import polars as pl

from ccai_dagster.core.language import read_language, speaking
from ccai_dagster.pages import drawings
from ccai_dagster.pages.drawings import Drawing, consensus
from ccai_dagster.pages.drawings.consensus import CROWD, NEAR, with_sides
from ccai_dagster.pages.drawings.field import BOTTOM, LEFT, RIGHT, TALL, TOP, WIDE, Label, Shape, upright

GROUPS = pl.DataFrame(
    {"participant_id": [3, 1, 2, 4], "group_id": [0, 0, 1, 1], "x": [0.0, 1.0, 2.0, 2.0], "y": [0.0, 0.5, 1.0, 1.0]}
)
STABILITY = pl.DataFrame(
    {
        "statement_id": [1, 2, 3],
        "gac": [0.5, 1.0, None],
        "gac_low": [0.25, 0.75, None],
        "gac_high": [0.75, 1.0, None],
        "gac_low_same_groups": [0.5, 1.0, None],
        "gac_high_same_groups": [0.5, 1.0, None],
        "selection_probability": [0.5, 1.0, None],
        "few_votes": [True, False, False],
    }
)
SCORES = pl.DataFrame(
    {
        "statement_id": [1, 2, 3],
        "gac": [0.5, 1.0, None],
        "polarization_index": [0.1, 0.12, 1.0],
        "adjusted_polarization_index": [0.1, None, 1.0],
    }
)


def points(drawing: Drawing, place: int) -> list[tuple[int, int]]:
    """Where the dots of a shape are, which are told each from the one before."""
    found, x, y = [], 0, 0
    for dx, dy in re.findall(r"m(-?\d+) ?(-?\d+)h0", drawing.shapes[place].path):
        x, y = x + int(dx), y + int(dy)
        found.append((x, y))
    return found


def test_people_stand_on_the_map_as_far_apart_as_they_voted() -> None:
    drawn = drawings.opinion_map(GROUPS)
    # 688 units for 2 of the first line of difference, so 344 for 1 of the second, which goes upwards.
    assert drawn.tall == 344 + 2 * TOP
    assert points(drawn, 0) == [(TOP, TOP + 344), (TOP + 344, TOP + 172)]
    assert points(drawn, 1) == [(WIDE - TOP, TOP)], "two at the same place look like one"
    assert [label.text for label in drawn.labels] == ["A", "B"]
    assert drawn.alt == "Map of 4 participants by how they voted: 2 people in Group A and 2 people in Group B."
    assert drawn.keys == [("#0072B2", "2 people in Group A"), ("#D55E00", "2 people in Group B")]
    assert drawings.opinion_map(GROUPS.clear()).alt == "Map of 0 participants by how they voted: nobody."


def test_a_picture_speaks_the_language_of_its_page() -> None:
    with speaking(read_language("de")):
        drawn = drawings.consensus_intervals(STABILITY, 0.6)
    assert [label.text for label in drawn.labels][:2] == ["0,0", "0,2"]
    assert drawn.keys[1][1] == "erreicht die Schwelle (1)"


def test_every_score_has_its_line_and_the_cut_is_where_it_is() -> None:
    drawn = drawings.consensus_intervals(STABILITY, 0.6)
    high = TALL - TOP - BOTTOM
    middle = LEFT + (WIDE - LEFT - RIGHT) / 4
    # From the highest score to the lowest; 0 is at the bottom.
    sure, unsure = (f"M{round(x)} " for x in (middle, LEFT + (WIDE - LEFT - RIGHT) * 3 / 4))
    by_colour = {shape.colour: shape.path for shape in drawn.shapes if shape.faint}
    assert by_colour["#0072B2"] == f"{sure}{TOP + high // 4}V{TOP}"
    assert by_colour["#E69F00"] == f"{unsure}{TOP + high * 3 // 4}V{TOP + high // 4}"
    assert [shape.path for shape in drawn.shapes if shape.kind == "cut"] == [
        f"M{LEFT} {TOP + round(0.4 * high)}H{WIDE - RIGHT}"
    ]
    assert drawn.keys == [("#E69F00", "within sampling error of the cut (1)"), ("#0072B2", "reaches the cut (1)")]
    assert not [shape for shape in drawings.consensus_intervals(STABILITY, None).shapes if shape.kind == "cut"]


def test_lines_that_lie_upon_each_other_are_drawn_once() -> None:
    lines = [(5, 90, 40), (5, 70, 20), (5, 10, 15), (4, 30, 20), (5, 50, 45)]
    assert upright(lines) == "M4 30V20M5 15V10M5 90V20"


def test_bars_stand_where_their_statements_are_and_a_score_of_one_is_in_the_last() -> None:
    drawn = drawings.consensus_histogram(SCORES, None, STABILITY)
    step = (WIDE - LEFT - RIGHT) / consensus.HISTOGRAM
    starts = {shape.colour: int(re.findall(r"M(\d+)", shape.path)[0]) for shape in drawn.shapes if shape.kind == "bars"}
    assert starts == {"#E69F00": round(LEFT + 20 * step) + 1, "#0072B2": round(LEFT + 39 * step) + 1}
    assert drawn.alt == "How widely 2 statements are agreed on, as a histogram. Half of them are above 0.75."
    two = drawings.polarization(SCORES)
    assert [what for _, what in two.keys] == ["polarization index, median 0.12", "adjusted for passes, median 0.55"]
    assert [label.text for label in two.labels][-2:] == ["0", "2"], "the highest bar is of two statements"


def test_statements_with_few_votes_are_told_apart() -> None:
    drawn = drawings.selection_frequency(STABILITY)
    assert points(drawn, 0) == [(WIDE - RIGHT, TOP)] and len(points(drawn, 1)) == 1
    assert [what for _, what in drawn.keys] == ["enough votes", "a group cast few votes"]


def test_a_statement_stands_where_it_was_published_and_corrected_and_its_intervals_cross_there() -> None:
    cells = {"published_gac": [0.75, 0.25], "corrected_gac": [0.5, 0.25]}
    cells |= {"reproduced_low": [0.5, 0.0], "reproduced_high": [1.0, 0.5]}
    cells |= {"corrected_low": [0.25, 0.0], "corrected_high": [0.75, 0.5]}
    table = pl.DataFrame({"statement_id": [1, 2], "crossing": ["falls below", "stays below"], **cells})
    drawn = drawings.published_and_corrected(table, 0.75)
    diagonal, below, lines, falling, *cut, axes = drawn.shapes
    assert diagonal.path == "M80 296L696 16" and axes.kind == "axis"
    assert points(drawn, 1) == [(234, 226)] and points(drawn, 3) == [(542, 156)] and below.wide < falling.wide
    assert lines.path == "M388 156H696M542 226V86", "a statement that stays has no lines"
    assert [each.path for each in cut] == ["M542 16V296", "M80 86H696"]
    assert [told for _, told in drawn.keys] == ["stays below (1)", "falls below (1)"]
    assert "0 stay above, 1 stay below, 1 fall below and 0 rise above." in drawn.alt


def test_shuffles_stand_beside_the_fit_of_the_published_groups_in_both_places() -> None:
    table = pl.DataFrame(
        {
            "origin": ["published", "published", "recomputed"],
            "attached": ["position", "id", "id"],
            "chi_square": [200.0, 400.0, 900.0],
            "shuffled": [[50.0, 100.0, 100.0], [], []],
        }
    )
    drawn = drawings.shuffled_fit(table)
    bars, position, by_id, _ = drawn.shapes
    # Of 616 units for 400: 50 and 100 are in the sixteenth and the thirty-first of 120 bars, one and two high.
    assert bars.path == "M158 296V156H161V296zM235 296V16H238V296z"
    assert (position.kind, position.path, by_id.kind, by_id.path) == ("cut", "M388 16V296", "lines", "M696 16V296")
    assert [(each.x, each.text) for each in drawn.labels] == [(80, "0"), (720, "400"), (72, "0"), (72, "2")]
    assert [told for _, told in drawn.keys] == [
        "groups shuffled at random (3 times)",
        "as the published file has them (200)",
        "each at the participant it belongs to (400)",
    ]


def test_of_a_crowd_points_that_hide_each_other_are_drawn_as_one() -> None:
    few = pl.DataFrame({"participant_id": range(CROWD), "group_id": 0, "y": 0.0}).with_columns(
        x=pl.col("participant_id") / CROWD
    )
    crowd = points(drawings.opinion_map(few), 0)
    assert all(x % NEAR == 0 for x, _ in crowd) and len(crowd) == (WIDE - 2 * TOP) // NEAR + 2


def test_without_redraws_a_statement_reaches_the_cut_or_misses_it() -> None:
    assert [what for _, what in drawings.consensus_histogram(SCORES, 0.6).keys] == ["misses the cut", "reaches the cut"]
    assert not drawings.consensus_histogram(SCORES, None).keys, "there is no cut"


def test_sides_go_by_how_often_the_cut_is_reached() -> None:
    shares = [0.0, 0.05, 0.051, 0.949, 0.95, 1.0]
    table = pl.DataFrame({"selection_probability": shares})
    assert with_sides(table)["side"].to_list() == ["below", "below", "open", "open", "above", "above"]


def test_as_an_image_it_is_a_document_with_its_own_colours_and_legend() -> None:
    drawn = Drawing(
        [Shape("bars", "M0 0V9H9z", "#0072B2"), Shape("lines", "M1 1V8", faint=True), Shape("axis", "M0 9H9")],
        [Label(3, 4, "<5 & \u202e", "end")],
        [("#0072B2", 'people of "A"')],
        "alt",
    )
    assert re.findall(r"viewBox=.*?>|<(?:path|text).*?>(?:[^<]+</text>)?", drawings.as_svg(drawn)) == [
        f'viewBox="0 0 {WIDE} {TALL + 34}" width="{WIDE}" height="{TALL + 34}">',
        '<path class="bars" fill="#0072B2" d="M0 0V9H9z"/>',
        '<path class="lines faint" stroke-width="2" stroke="#222222" d="M1 1V8"/>',
        '<path class="axis" stroke-width="2" stroke="#6b6b6b" d="M0 9H9"/>',
        '<text x="3" y="4" text-anchor="end">&lt;5 &amp; \ufffd</text>',
        f'<text x="44" y="{TALL + 25}" text-anchor="start">people of &quot;A&quot;</text>',
    ]
