"""The evaluation page: verdicts, sentences, places on a line, and a page that keeps hostile text as text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from parsed_page import Page
from small_evaluation import elo, evaluation, score
from small_report import calibration

from ccai_dagster.contracts import ELO_DIFFERENCES, EVAL_SCORES, JUDGE_CALIBRATION
from ccai_dagster.evaluation.findings import elo_findings, findings
from ccai_dagster.evaluation.sets.opinion_qa import METRIC
from ccai_dagster.pages import pictures
from ccai_dagster.pages.evaluation import _pieces, chapters, in_short, render_evaluation
from ccai_dagster.pages.evaluation_scores import cut_off, unread
from ccai_dagster.pages.forests import comparisons, difference_forest, elo_comparisons, score_forest, span, written
from ccai_dagster.pages.inputs import EvaluationInputs
from ccai_dagster.pages.judge import judge_worth

__all__ = ["evaluation"]


def table(*rows: dict[str, Any]) -> pl.DataFrame:
    return EVAL_SCORES.build(list(rows))


@pytest.mark.parametrize(
    ("metric", "low", "high", "adjusted", "verdict"),
    [
        ("accuracy", 0.01, 0.2, None, "higher"),
        ("accuracy", -0.2, -0.01, 0.05, "lower"),
        ("accuracy", -0.2, -0.01, 0.051, "unclear"),  # stands out alone, not among all comparisons
        ("accuracy", 0.0, 0.2, None, "unclear"),
        ("accuracy", -0.05, 0.05, None, "alike"),
        ("accuracy", -0.05, 0.051, None, "unclear"),
        ("bias_ambiguous", -0.1, 0.1, None, "alike"),  # its scale is twice as long
        ("accuracy", 0.01, 0.03, 0.5, "alike"),
        ("accuracy", 0.01, 0.03, 0.001, "alike"),  # beyond chance, and too little to matter all the same
        ("accuracy", 0.01, 0.051, 0.05, "higher"),
    ],
)
def test_a_verdict_follows_from_interval_and_corrected_test(
    metric: str, low: float, high: float, adjusted: float | None, verdict: str
) -> None:
    middle = (low + high) / 2
    row = score("public", "know", metric, (0.5, 0.4, 0.6), "base", (middle, low, high), adjusted_p=adjusted)
    assert [one.verdict for one in comparisons(table(row))] == [verdict]


ENDS = (-0.2, -0.051, -0.05, -0.01, 0.0, 0.01, 0.05, 0.051, 0.2)
"""Of intervals around nil and around 5 % of the scale, which is what is too little to matter."""
CASES = [(low, high, p) for low in ENDS for high in ENDS if low <= high for p in (None, 0.05, 0.051)]


def test_no_interval_stands_under_a_heading_or_in_a_sentence_that_denies_it(evaluation: EvaluationInputs) -> None:
    rows = [
        score(f"a{at}", "know", "accuracy", (0.5, 0.4, 0.6), "base", ((low + high) / 2, low, high), adjusted_p=p)
        for at, (low, high, p) in enumerate(CASES)
    ]
    rated = [  # 700 Elo for the whole scale: 35 are 5 % of it
        elo(f"e{at}", "base", tuple(700 * each for each in ((low + high) / 2, low, high)))
        for at, (low, high, p) in enumerate(CASES)
        if p is None
    ]
    scored, compared = table(*rows), ELO_DIFFERENCES.build(rated)
    html = render_evaluation(replace(evaluation, eval_scores=scored, elo_differences=compared))
    headings = ("What differs", "What differs by too little to matter, if at all", "What cannot be told")
    summary = html.partition('id="reading"')[0]
    parts = [summary.partition(f"<h3>{heading}</h3>")[2].partition("<h3>")[0] for heading in headings]
    found = [[_within(each) for each in INTERVAL.findall(part)] for part in parts]
    told = dict(zip(headings, found, strict=True))
    assert sum(map(len, told.values())) == len(rows) + len(rated)
    assert all(beyond_nil and not small for beyond_nil, small in told["What differs"])
    assert all(small for _, small in told[headings[1]]) and {False, True} == {nil for nil, _ in told[headings[1]]}
    assert not any(small for _, small in told["What cannot be told"])
    alone = parts[2].count("Alone it would stand out")
    assert sum(beyond_nil for beyond_nil, _ in told["What cannot be told"]) == alone > 0

    chapters = [html.partition(f'<h2 id="{each}">')[2].partition("</section>")[0] for each in ("knowledge", "elo")]
    tags = re.findall(r'figures">\S+ \((\S+) to (\S+)\) <span class="tag[^>]*>([^<]*)<', "".join(chapters))
    assert len(tags) == len(rows) + len(rated)
    for low, high, tag in tags:
        beyond_nil, small = _within((low, high))
        assert small == (tag == "too little to matter")
        assert tag not in ("higher", "lower") or beyond_nil

    counts = [len(part) for part in told.values()]
    sentences = findings(scored) + elo_findings(compared, evaluation.rater_agreement.clear())
    higher = [each for each in sentences if " is higher for " in each or " is lower for " in each]
    preferred = [each for each in sentences if "more often than not" in each]
    assert len(higher) + len(preferred) == counts[0]
    for each in higher + preferred:
        (ends,) = re.findall(r"between (\S+) and (\S+) points|interval (\S+) to (\S+),", each)
        assert _within(tuple(filter(None, ends))) == (True, False)
    n_small = sum(int(n) for each in sentences for n in re.findall(r"No difference beyond 5% .* in (\d+) comp", each))
    (few,) = [each for each in sentences if "differ by too little to matter, if at all" in each]
    assert n_small + few.count("95 % interval") == counts[1]


INTERVAL = re.compile(r"95% interval (\S+) to ([^\s),]+)")


def _within(ends: Sequence[str]) -> tuple[bool, bool]:
    """Whether an interval as it is printed leaves out nil, and whether it lies within what is too little to matter."""
    low, high = (float(end.replace("\u2212", "-").rstrip(",")) for end in ends)
    elo = "." not in ends[0] + ends[1] and (low, high) != (0, 0)
    return low > 0 or high < 0, max(abs(low), abs(high)) <= (35 if elo else 5)


def test_elo_is_small_within_35_and_left_out_where_nobody_compared() -> None:
    rows = [
        elo("a", "base", (40.0, 5.0, 75.0)),
        elo("b", "base", (-10.0, -35.0, 15.0)),
        elo("c", "base", (-10.0, -36.0, 16.0), source="people"),
        elo("silent", "base", (0.0, -700.0, 700.0), n=0),
    ]
    found = elo_comparisons(ELO_DIFFERENCES.build(rows))
    assert [(one.row["arm"], one.other, one.verdict) for one in found] == [
        ("a", "base", "higher"),
        ("b", "base", "alike"),
        ("c", "base", "unclear"),
    ]
    assert [one.sentence for one in found[::2]] == [
        "Helpfulness (Elo) is higher for “a” than for “base”, by 40 Elo (95% interval +5 to +75). (By a judge at "
        "chance.)",
        "Helpfulness (Elo by people): “c” against “base” −10 Elo (95% interval −36 to +16). A difference under 110 Elo "
        "would have been missed more than one time in five.",
    ]


def test_every_sentence_has_figure_and_interval(evaluation: EvaluationInputs) -> None:
    short = in_short(evaluation.eval_scores, evaluation.elo_differences)
    assert short.lead == (
        "Of 7 comparisons of two models by one score, 3 show a difference, 2 show one too small to matter, if any, and "
        "2 leave it open. 1 difference and 1 of those too small to matter rest on a judge at chance, which may hear "
        "none. 2 of the differences could not be corrected for how many comparisons there are; chance alone would "
        "single out about one comparison in twenty."
    )
    assert short.differ == [
        "Accuracy on “know” is lower for “standard” than for “base”, by 20.0 points (95% interval −30.0 to −10.0).",
        "Helpfulness (Elo by people) is lower for “public” than for “standard”, by 90 Elo (95% interval −160 to −20).",
        "Adherence to the constitution “public” is higher for “public” than for “base”, by 20.0 points (95% interval "
        "+10.0 to +30.0). (By a judge at chance.)",
    ]
    assert short.alike == [
        "Accuracy on “know”: “public” against “standard” +1.0 points (95% interval −2.0 to +4.0), so at most 5.0 "
        "either way.",
        "Helpfulness (Elo): “public” against “base” +12 Elo (95% interval −18 to +31), so at most 35 either way. "
        "(By a judge at chance.)",
    ]
    assert short.unclear == [
        "Accuracy on “know”: “public” against “base” −19.0 points (95% interval −30.0 to −8.0). Alone it would stand "
        "out; among so many comparisons, chance brings that about too easily.",
        "Bias without the facts on “people”: “standard” against “base” 0.0 points (95% interval −40.0 to +40.0). A "
        "difference under 60.0 points would have been missed more than one time in five.",
    ]
    assert in_short(EVAL_SCORES.empty(), ELO_DIFFERENCES.empty()).lead == "Nothing was compared yet."
    assert in_short(evaluation.eval_scores.reverse(), evaluation.elo_differences.reverse()) == short


def test_figures_are_written_without_a_minus_before_nothing() -> None:
    assert [written(value, False, True) for value in (0.0, -0.0001, 0.125, -0.5)] == ["0.0", "0.0", "+12.5", "−50.0"]
    assert [written(value, True) for value in (-0.4, 17.6, -30.5)] == ["0", "18", "−30"]


def test_places_on_a_line() -> None:
    rows = table(
        score("base", "know", "accuracy", (0.5, 0.25, 0.75)),
        score("public", "know", "accuracy", (1.0, 0.8, 1.0), "base", (0.25, -0.1, 0.4)),
        score("public", "know", "accuracy", (1.0, 0.8, 1.0), "standard", (0.3, 0.1, 0.5)),
        score("mute", "know", "accuracy", (0.0, 0.0, 1.0)) | {"value": None},
    )
    forest = score_forest("Scores", rows, lambda row: str(row["benchmark"]))
    assert (forest.caption, forest.left, forest.right, forest.zero) == ("Scores, in points", "0", "100", None)
    assert [(row.arm, row.low, row.place, row.high) for row in forest.rows] == [
        ("base", 25.0, 50.0, 75.0),
        ("public", 80.0, 100.0, 100.0),
    ]
    apart = difference_forest("Differences", comparisons(rows), lambda row: "x")
    assert (apart.left, apart.right, apart.zero) == ("−50", "+50", 50.0)
    assert [round(row.place, 9) for row in apart.rows] == [75.0, 80.0]
    assert [row.verdict for row in apart.rows] == ["cannot tell", "higher"]
    assert [len(rows) for _, rows in apart.groups] == [2]


@given(
    st.lists(
        st.tuples(st.floats(-1, 1), st.floats(0, 1), st.floats(0, 1)).map(
            lambda each: (each[0], max(-1.0, each[0] - each[1]), min(1.0, each[0] + each[2]))
        ),
        min_size=1,
        max_size=5,
    )
)
@example([(0.0, 0.0, 5e-324)])
def test_a_point_lies_within_its_interval_and_both_on_the_line(ends: list[tuple[float, float, float]]) -> None:
    rows = [score(f"a{at}", "know", "accuracy", (0.5, 0.0, 1.0), "base", each) for at, each in enumerate(ends)]
    forest = difference_forest("x", comparisons(table(*rows)), lambda row: "x")
    for row in forest.rows:
        assert 0 <= row.low <= row.place <= row.high <= 100
    assert forest.zero == 50


def test_pieces_make_the_response_and_tell_what_is_new() -> None:
    pieces = _pieces("The sky is  grey today, we\nhope.", "The sky is blue today, we hope.")
    assert pieces == [("The sky is  ", True), ("grey", False), (" ", True), ("today, we\nhope.", True)]
    assert _pieces("Nothing alike at all.", "The sky is blue.") == [("Nothing alike at all.", True)]
    assert _pieces("", "") == []


@given(st.text(max_size=60), st.text(max_size=60))
def test_pieces_lose_no_letter(own: str, other: str) -> None:
    assert "".join(text for text, _ in _pieces(own, other)) == own


def test_unread_answers_are_counted_for_every_model(evaluation: EvaluationInputs) -> None:
    known = evaluation.eval_scores.filter(pl.col("benchmark") == "know")
    assert unread(known) == ["“base” on “know” (accuracy): 3 of 40 answers could not be read."]
    assert unread(known.filter(pl.col("arm") != "base")) == ["Every answer could be read."]


def test_responses_that_were_cut_off_are_counted_for_every_model(evaluation: EvaluationInputs) -> None:
    known = evaluation.eval_scores.filter(pl.col("benchmark") == "know")
    assert cut_off(known) == [
        "“base” on “know” (accuracy): 12 of 40 responses were cut off at the limit of tokens and are scored as they "
        "stand."
    ]


def test_the_judge_is_trusted_only_above_one_half() -> None:
    assert not judge_worth(JUDGE_CALIBRATION.empty()).trusted
    at_chance = judge_worth(JUDGE_CALIBRATION.build([calibration(0.4, 0.6)]))
    assert (at_chance.trusted, "could not be told from somebody who guesses" in at_chance.headline) == (False, True)
    better = judge_worth(JUDGE_CALIBRATION.build([calibration(0.6, 0.8), calibration(0.2, 0.4, "contrast")]))
    assert (better.trusted, len(better.sentences)) == (True, 1)
    assert better.scoring.startswith("Models are scored by the feedback model, asked by the method “letters”")
    assert "Its answers stand 0.125 from one half on average" in better.sentences[0]
    assert better.figures == [
        "On the set “sample_judge” it agreed with the labels on 70% of 50 comparisons (95% interval 60% to 80%), a "
        "scorer that never sees the principle on 50%."
    ]


def test_the_first_screen_says_what_the_judge_is_worth_with_figures(html: str) -> None:
    first_screen = html[: html.index("What differs")]
    assert "it agreed with the labels on 50% of 50 comparisons (95% interval 40% to 60%)" in first_screen


def test_chapters_stand_in_the_order_to_read_them(evaluation: EvaluationInputs) -> None:
    found = chapters(evaluation)
    assert [each.anchor for each in found] == [
        "knowledge",
        "bias",
        "further",
        "opinions",
        "overlap",
        "adherence",
        "elo",
        "responses",
    ]
    assert [each.anchor for each in found if each.judged] == ["adherence", "elo"]
    assert found[-2].unread[-2:] == [
        "“base”: 3 of 3 responses that were compared were cut off at the limit of tokens.",
        "“public”: 1 of 3 responses that were compared were cut off at the limit of tokens.",
    ]
    exchanges = found[-1].exchanges
    assert [each.differing for each in exchanges] == ["some refuse, some do not", "they answer differently"]
    assert [(each.arm, each.against, each.same) for each in exchanges[1].responses] == [
        ("base", "", False),
        ("standard", "base", False),
        ("public", "standard", True),
    ]
    bare = replace(
        evaluation,
        eval_scores=EVAL_SCORES.empty(),
        elo_differences=ELO_DIFFERENCES.empty(),
        adherence_scores=evaluation.adherence_scores.clear(),
        opinion_representativeness=None,
        constitution_comparison=evaluation.constitution_comparison.clear(),
        qualitative_responses=evaluation.qualitative_responses.clear(),
        audit_report=None,
    )
    assert chapters(bare) == []
    assert "Nothing was compared yet." in render_evaluation(bare)
    assert "audit_report.html" not in render_evaluation(bare)


@pytest.fixture(scope="module")
def html(evaluation: EvaluationInputs) -> str:
    return render_evaluation(evaluation)


def test_the_page_is_well_formed_accessible_and_alone(html: str, evaluation: EvaluationInputs) -> None:
    page = Page(html)
    assert (page.faults, page.open, page.scripts) == ([], [], [])
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert all(attributes.get("scope") for tag, attributes in page.elements if tag == "th")
    links = [str(attributes["href"]) for _, attributes in page.elements if "href" in attributes]
    assert "audit_report.html" in links
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)
    assert not [link for link in links if not link.startswith("#") and link != "audit_report.html"]
    assert not re.search(r"url\(|@import|<link|<iframe|<script", html)
    turned = render_evaluation(replace(evaluation, eval_scores=evaluation.eval_scores.reverse()))
    assert turned.partition('id="verify"')[0] == html.partition('id="verify"')[0]


def test_hostile_text_stays_text(html: str) -> None:
    assert "<script>alert" not in html
    assert "<img" not in html
    assert html.count("&lt;script&gt;alert") == html.count("{{ 7*7 }}") >= 5


def test_a_judged_chapter_begins_with_the_judges_worth(html: str) -> None:
    for anchor in ("adherence", "elo"):
        chapter = html.partition(f'<h2 id="{anchor}">')[2].partition("</section>")[0]
        note = '<div class="note" role="note"><p><strong>The feedback model could not be told'
        assert chapter.partition("</h2>")[2].lstrip().startswith(note)
        assert "it agreed with people on 50% (95% interval 40% to 60%" in chapter
    known = html.partition('<h2 id="knowledge">')[2].partition("</section>")[0]
    assert 'role="note"' not in known


def test_refusals_are_marked_in_words(html: str) -> None:
    exchange = html.partition("some refuse, some do not")[2].partition("</article>")[0]
    assert exchange.count("refuses</span>") == 1
    assert '<h4>standard <span class="tag firm">refuses</span>' in exchange
    assert "Drafted from a principle that only one of the constitutions compared has: P1 of “public”" in html
    assert "Of 2,250 completions that two people labelled (XSTest), 87% of the full refusals were recognised" in html


def test_responses_that_were_cut_off_are_marked_and_counted(html: str) -> None:
    exchange = html.partition("some refuse, some do not")[2].partition("</article>")[0]
    assert exchange.count('<span class="tag">cut off</span>') == html.count("cut off</span>") == 3
    assert "3 of 6 responses were cut off at the limit of tokens: read them as beginnings." in html
    assert "judgements were of responses that were cut off at the limit of tokens." in html


def test_the_picture_of_differences_draws_the_narrowest_and_counts_the_others(evaluation: EvaluationInputs) -> None:
    drawn = pictures.score_differences(evaluation.eval_scores)
    assert drawn.png[:4] == b"\x89PNG" and pictures.score_differences(evaluation.eval_scores) == drawn
    assert drawn.alt == (
        "Paired differences with 95 % intervals in 5 comparisons of two models; 3 of the intervals leave out zero, "
        "before any correction for their number."
    )
    many = table(
        *(score(f"a{at}", "know", "accuracy", (0.5, 0.4, 0.6), "base", (0.0, -at / 100, at / 100)) for at in range(40))
    )
    assert pictures.score_differences(many).alt.endswith("10 more, with wider intervals, are not drawn.")
    assert pictures.score_differences(EVAL_SCORES.empty()).alt == "No two models were compared."


def test_opinions_stand_in_a_grid_with_interval_and_yardsticks(evaluation: EvaluationInputs) -> None:
    (grid,) = next(each for each in chapters(evaluation) if each.anchor == "opinions").grids
    assert (grid.columns, grid.rows[0]) == (["base", "public", "no preference", "exact"], "everybody")
    first, second = grid.cells
    assert (first[0].figure, first[0].interval) == ("84.0", "82.0 to 86.0;")  # type: ignore[union-attr]
    assert first[0].note == "+2.0 (0.0 to +4.0) over no preference"  # type: ignore[union-attr]
    assert first[1] is None and first[3] is None
    assert (second[2].figure, second[3].figure) == ("82.0", "97.0")  # type: ignore[union-attr]
    assert second[1].shade == pytest.approx(1.0)  # type: ignore[union-attr]
    assert second[0].shade == pytest.approx(-2 / 3)  # type: ignore[union-attr]


def test_every_comparison_of_the_first_screen_stands_in_a_chapter(evaluation: EvaluationInputs) -> None:
    mean = score("public", "views", METRIC, (0.82, 0.77, 0.85), "base", (0.011, 0.007, 0.016))
    scores = EVAL_SCORES.build([*evaluation.eval_scores.to_dicts(), mean])
    shown = replace(evaluation, eval_scores=scores)
    whole = scores.filter((pl.col("category") == "all") | (pl.col("benchmark") == "adherence"))
    drawn = [row for each in chapters(shown) for forest in each.forests for row in forest.rows]
    figures = Counter((row.arm, row.figure) for row in drawn)
    wanted = Counter((f"{one.row['arm']} against {one.other}", span(one)) for one in comparisons(whole))
    assert wanted and figures >= wanted


def test_specificity_and_conflicts_are_shown_with_their_intervals(evaluation: EvaluationInputs) -> None:
    chapter = next(each for each in chapters(evaluation) if each.anchor == "adherence")
    judge, margin = chapter.grids
    assert judge.cells[0][0] is not None
    assert (judge.cells[0][0].figure, judge.cells[0][0].interval) == ("+20.0", "+10.0 to +30.0;")
    assert judge.cells[0][0].note == "higher; 3 principles, 4 prompts"
    assert judge.cells[0][1] is None
    assert judge.cells[0][3] is not None
    assert judge.cells[0][3].note.startswith("cannot tell")
    assert margin.cells[0][0] is not None
    assert (margin.cells[0][0].figure, margin.cells[0][0].interval) == ("−0.125", "−0.250 to 0.000;")
    assert margin.cells[0][1] is None
    figures = {row.figure: row.verdict for forest in chapter.forests for row in forest.rows}
    assert figures["+0.25 (−0.25 to +0.75)"] == "cannot tell"
    assert figures["−1.00 (−1.50 to −0.50)"] == "follows P2"
    assert "45.0 (10.0 to 90.0)" in figures
    assert "60.0 (10.0 to 90.0)" not in figures  # a group that is served better
    ((name, (forest,)),) = chapter.folds
    assert (name, [row.label for row in forest.rows]) == ("Principle by principle: “public”", ["P1"])
    assert chapter.unread == [
        "“base” under “public”: 1 of 5 judgements had no usable answer.",
        "“base”: 2 of 5 judgements were of responses that were cut off at the limit of tokens.",
        "“public”: 2 of 5 judgements were of responses that were cut off at the limit of tokens.",
        "Principles of “public” without a figure (no relevant prompt): P2, P10.",
    ]


def test_constitutions_are_compared_in_shares_with_intervals(evaluation: EvaluationInputs) -> None:
    chapter = next(each for each in chapters(evaluation) if each.anchor == "overlap")
    assert [(row.label, row.arm, row.figure) for row in chapter.forests[0].rows] == [
        ("A principle worded alike is in “standard”", "public", "25 (0 to 100)"),
        ("A principle worded alike is in “public”", "standard", "50 (0 to 100)"),
        ("It says what to do", "public", "75 (0 to 100)"),
    ]
    assert chapter.findings == [
        "Of “public” and “standard” a published comparison, made by hand, prints about half for what is called here "
        "“shared by likeness”.",
        "Likeness and tags agree on which principles of “public” have a counterpart in “standard” with a kappa of "
        "0.50 (95% interval 0.00 to 1.00; 1 is always, 0 as often as by chance).",
        "In “public” and not in “standard”: P1.",
        "In “standard” and not in “public”: S1.",
    ]


def test_what_training_cost_is_shown_first(evaluation: EvaluationInputs) -> None:
    (known,) = [each for each in chapters(evaluation) if each.anchor == "knowledge"]
    (finding,) = known.findings
    assert finding.startswith("“standard/know/accuracy/all”: lower than base by 20.0 points (95 % interval")
    fine = evaluation.eval_scores.with_columns(adjusted_p=pl.lit(0.2))
    (known, *_) = chapters(replace(evaluation, eval_scores=fine))
    assert known.findings[0].startswith("No model answers measurably fewer questions rightly")
