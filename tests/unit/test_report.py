"""The report: complete, self-contained, well formed, and blind to what participants typed into it."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import fields, replace
from functools import partial
from itertools import pairwise
from typing import Any

import polars as pl
import polars.selectors as cs
import pytest
from parsed_page import Page
from small_consultation import SmallConsultation, profile_of_statement_4, with_metadata
from small_evaluation import elo, score
from small_report import calibration, group_structure, inputs, unworded
from white_paper import white_paper

from ccai_dagster.audit.records import read_records
from ccai_dagster.audit.trail import decision_trail
from ccai_dagster.contracts import (
    ELO_DIFFERENCES,
    EVAL_SCORES,
    JUDGE_CALIBRATION,
    LEDGER,
    SAMPLE_REPRESENTATIVENESS,
    WEIGHTED_CONSENSUS,
    WRITTEN_NARRATIVE,
)
from ccai_dagster.core.text import natural, number, readable, signed
from ccai_dagster.deliberation.structure import UNTESTED
from ccai_dagster.pages.inputs import ReportInputs
from ccai_dagster.pages.judge import judge_findings, label_sentences, leanings
from ccai_dagster.pages.parts import MARKS, Choice, Entry, filters
from ccai_dagster.pages.public_summary import render_results, render_summary
from ccai_dagster.pages.rendering import plain_findings
from ccai_dagster.pages.report import render_report
from ccai_dagster.pages.report_decisions import (
    OFTEN,
    agreement_sentences,
    changing,
    consequences,
    corrections,
    corrections_sentence,
    decided_anew,
    decided_twice,
    numbers_sentence,
    reversals_by_kind,
    robustness_by_principle,
)
from ccai_dagster.pages.report_models import one_difference
from ccai_dagster.pages.report_public import GroupBar, LeftOutStatement, Source, _parts, most_dividing, opinion_facts
from ccai_dagster.pages.report_sample import hangs_on_who_came
from ccai_dagster.pages.summary import summary
from ccai_dagster.training.settings_of_arms import WEIGHTS

__all__ = ["inputs"]
Ends = tuple[float, float, float]


@pytest.fixture(autouse=True)
def nothing_drawn() -> Iterator[None]:
    with white_paper():
        yield


@pytest.fixture(scope="session")
def html(inputs: ReportInputs) -> str:
    """The page."""
    with white_paper():
        return render_report(inputs)


def test_the_page_is_well_formed_and_accessible(html: str) -> None:
    page = Page(html)
    assert page.faults == []
    assert page.open == []
    assert dict(page.elements)["html"] == {"lang": "en"}
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert all(attributes.get("alt") for tag, attributes in page.elements if tag == "img")
    drawings = [attributes for tag, attributes in page.elements if tag == "svg"]
    assert len(drawings) == 5 and all(each["role"] == "img" and each["aria-label"] for each in drawings)
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    labels = {attributes.get("for") for tag, attributes in page.elements if tag == "label"}
    assert {attributes["id"] for tag, attributes in page.elements if tag == "input"} == labels - {None}
    assert all(attributes.get("scope") for tag, attributes in page.elements if tag == "th")


def test_nothing_leaves_the_page_and_every_link_arrives(html: str) -> None:
    page = Page(html)
    ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    for tag, attributes in page.elements:
        assert tag not in {"link", "iframe", "object", "embed", "base"}
        assert not any(name.startswith("on") for name in attributes)
        if "src" in attributes:
            assert (tag, str(attributes["src"])[:23]) == ("img", "data:image/webp;base64,")
        if "href" in attributes:
            assert str(attributes["href"]).startswith("#")
            assert str(attributes["href"])[1:] in ids
    assert not re.search(r"url\(|@import", html)


def test_hostile_text_stays_text(html: str) -> None:
    page = Page(html)
    assert len(page.scripts) == 1
    assert "alert" not in page.scripts[0]
    assert "<script>alert" not in html
    assert "onerror" not in {name for _, attributes in page.elements for name in attributes}
    assert page.words().count("<script>alert('x')</script>") >= 6
    assert "{{ 7*7 }}" in page.words()
    assert "\u202e" not in html
    assert "\x07" not in html


def test_only_the_script_of_the_page_may_run(html: str) -> None:
    page = Page(html)
    policy = next(
        attributes["content"]
        for _, attributes in page.elements
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    digest = base64.b64encode(hashlib.sha256(page.scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in str(policy)
    assert "default-src 'none'" in str(policy)


def test_the_same_tables_give_the_same_page(inputs: ReportInputs, html: str) -> None:
    assert render_report(inputs) == html


def test_the_page_tells_the_whole_way(html: str) -> None:
    words = Page(html).words()
    for shown in (
        "Choose the honest response.",
        "teh AI shuold tell the truth",
        "Group A: 90% of 10 votes agree (95% interval 60 to 98)",
        "Worded before as: Be honest.",
        "Reason given: template. moderators, 2025-03-04; replaces P1",
        "Had statements 1 and 2 been left out, P1 would be lost.",
        "Earlier decisions, replaced since: P1 Worded as a principle: Be honest. Reason given: first draft.",
        "It is in with 75% of 8 combinations of numbers.",
        "Hangs on gac threshold.",
        "Worded as P2 by a person. It is in with 25% of 8 combinations of numbers. Another choice of "
        "gac threshold alone would bring it in.",
        "1 decision replaced an earlier one. Nothing was erased: both stand here.",
        "Principles worded: 1 of 1 reversal would change the constitution.",
        "Moderation: 0 of 1 reversal would change the constitution.",
        "on record: 0.7; accounts for 75% of the differences when all numbers vary",
        "Votes set aside: participant 9.",
        "1 statement reached the cut, and nobody has yet decided",
        "Moderated out: nonsensical: 1",
        "Never moderated: 1",
        "Below the cut: 1",
        "gac threshold = 0.7. Reason given: seven in ten.",
        "prompt database: the same prompts for both arms",
        "likeness 0.25",
        "says what to do0.75 (0.30 to 1.00; 3 principles)published: over <half>1.00 (0.20 to 1.00; 1 principle)"
        "−0.25 (−0.60 to +0.60) against standard",
        "the same, s",
        "+26 (−2 to +55) against base",
        "a" * 64,
    ):
        assert shown in words, shown


def test_the_groups_are_told_by_what_they_say_of_themselves(
    inputs: ReportInputs, small_consultation: SmallConsultation, html: str
) -> None:
    assert "as they say themselves" not in html, "nothing is told where nobody says so"
    small = with_metadata(small_consultation)
    told = replace(
        inputs,
        ledgers=small.ledgers,
        decision_trail=decision_trail(**vars(small)),
        group_profile=profile_of_statement_4(),
    )
    rendered = render_report(told)
    page = Page(rendered)
    words = page.words()
    assert page.faults == [] and len(page.scripts) == 1 and "<script>alert" not in rendered
    assert "href=#s4>" in rendered and "id=s4>" in rendered
    for shown in (
        "Who the groups are, as they say themselves",
        "Where fewer than 5 people of a group voted, nothing is told of it",
        "Group A: 62% of 8 votes agree (95% interval 31 to 86)",
        "Group A: 25% disagree (7% to 59%) and 12% pass (2% to 47%). Group B: too few voted to be told.",
        "About the people who vote: 1",
        "it says who votes. (moderators, 2025-03-04)",
    ):
        assert shown in words, shown
    assert "; 1 more is about the people who vote." in summary(told)[1]


def test_the_page_tells_who_took_part_and_which_principles_hang_on_it(inputs: ReportInputs, html: str) -> None:
    assert "Who took part" not in html, "nothing is told where nobody was asked"
    shares = {
        "age": [("under <40>", 15, 0.75, 0.5), ("40 and older", None, None, 0.5)],
        "region": [("north", None, None, 0.3), ("south", None, None, 0.7)],
        "first_language": [("ours", 20, 1.0, 0.9), ("another", 0, 0.0, 0.1)],
    }
    told = replace(
        inputs,
        sample_representativeness=SAMPLE_REPRESENTATIVENESS.build(
            [
                {
                    **{"question": name, "answer": answer, "n": n, "n_told": 20, "n_people": 20, "target": target},
                    **{"share": share, "low": share and 0.53, "high": share and 0.89, "n_effective": 15.0},
                    **{"difference": None if share is None else share - target, "weight": share and 0.67},
                }
                for name, rows in shares.items()
                for answer, n, share, target in rows
            ]
        ),
        weighted_consensus=WEIGHTED_CONSENSUS.build(
            [
                {
                    **{"statement_id": key, "gac": gac, "gac_weighted": weighted, "gac_disagree": 0.1},
                    **{"gac_disagree_weighted": 0.1, "selected": gac > 0.7, "selected_weighted": weighted > 0.7},
                }
                for key, gac, weighted in [(1, 0.81, 0.69), (2, 0.75, 0.66), (5, 0.4, 0.5), (6, 0.69, 0.72)]
            ]
        ),
    )
    rendered = render_report(told)
    page = Page(rendered)
    assert page.faults == [] and "under <40>" not in rendered
    for shown in (
        "Who took part",
        "under <40>75% (53% to 89%)50% 40 and oldertoo few, or hidden so that another is not told50%",
        "20 of 20 people whose votes count answered.",
        "Weighed so that the answers to age have the shares of the public, "
        "these people tell as much as 15 who count alike, and no consensus moves by more than 0.120.",
        "Nobody is weighed by region: no answer is told, and weights would tell how many gave it.",
        "Nobody is weighed by first language: there are not two answers that somebody gave.",
        "Then no statement behind principle P1 would reach the cut: it hangs on who came.",
        "1 more statement would reach it: 6.",
    ):
        assert shown in page.words(), shown
    region = told.sample_representativeness.filter(question="region")
    assert hangs_on_who_came(replace(told, sample_representativeness=region), []) == [
        "Nobody is weighed by region: no answer is told, and weights would tell how many gave it."
    ]


def test_moderation_that_the_export_changed_waits_on_the_page(inputs: ReportInputs) -> None:
    taken = pl.col("decision_id") == "M1"
    moderation = inputs.ledgers["moderation"].with_columns(
        suggested_by=pl.when(taken).then(pl.lit("ccai new")).otherwise("suggested_by")
    )
    rejected = pl.when(pl.col("statement_id") == 5).then(pl.lit(-1, pl.Int8)).otherwise("moderated")
    later = replace(
        inputs,
        ledgers={**inputs.ledgers, "moderation": moderation},
        raw_statements=inputs.raw_statements.with_columns(moderated=rejected),
    )
    words = Page(render_report(later)).words()
    assert "statement 5: the export now says out, and the ledger says in." in words
    assert "the export now says" not in Page(render_report(inputs)).words()


def test_tables_beside_several_constitutions_are_told_apart(inputs: ReportInputs) -> None:
    table, third = inputs.constitution_comparison, {"arm": pl.col("arm"), "other_arm": pl.col("other_arm")}
    more = table.with_columns(**{name: each.replace("standard", "third") for name, each in third.items()})
    several = replace(
        inputs,
        constitutions={**inputs.constitutions, "third": inputs.constitutions["standard"]},
        constitution_comparison=pl.concat([table, more]),
    )
    labels = [attributes.get("aria-label") for tag, attributes in Page(render_report(several)).elements if tag == "div"]
    named = [label for label in labels if label]
    assert "Shares of the principles of public and third, with 95% intervals" in named
    assert len(named) == len(set(named))


def test_before_the_first_wording_both_pages_tell_what_waits_and_of_no_principle(inputs: ReportInputs) -> None:
    early = unworded(inputs)
    waiting = [source for source in early.selected_statements.filter("selected").sort("rank")["statement_id"]]
    assert len(waiting) == 3
    pages = [Page(render_report(early)), Page(render_summary(early, "constitution.html"))]
    for page in pages:
        words = page.words()
        assert page.faults == [] and "Version: no principle yet, with decisions until " in words
        assert "No principle is worded yet. 3 statements reached the cut and wait for a wording." in words
        assert not re.search(r"\b0 principles|of 0\b|Of 0\b|principles, the widest|on these principles", words)
    ids = {attributes["id"] for _, attributes in pages[0].elements if "id" in attributes}
    assert {f"s{key}" for key in waiting} <= ids
    links = [attributes["href"] for _, attributes in pages[1].elements if "href" in attributes]
    assert [f"constitution.html#s{key}" for key in waiting] == [each for each in links if "#" in str(each)]
    best = max((row["gac"], -row["statement_id"]) for row in early.selected_statements.filter("selected").to_dicts())
    assert f"What all groups agree on most: statement {-best[1]}," in pages[0].words()


def test_before_anything_is_trained_the_report_tells_of_the_constitution_only(inputs: ReportInputs) -> None:
    early = replace(inputs, models=inputs.models.clear())
    rendered = render_report(early)
    page = Page(rendered)
    assert page.faults == []
    words = page.words()
    assert "before anything is trained" in words and "How the models were made" not in words
    assert not any("trained on" in sentence for sentence in summary(early))
    assert "Version: constitution " in words and re.search(r"with decisions until \d March 2025", words)
    order = [rendered.index(f'<h2 id="{name}">') for name in ("summary", "constitution", "limits", "opinions")]
    assert order == sorted(order), "what people said comes before any method"
    assert "preference pairs judged" not in words


def test_the_short_page_has_every_principle_with_the_agreement_of_every_group(inputs: ReportInputs) -> None:
    early = replace(inputs, models=inputs.models.clear())
    rendered = render_summary(early, "constitution.html")
    page = Page(rendered)
    assert page.faults == [] and page.scripts == [] and "<script>alert" not in rendered
    words = page.words()
    for principle, text, statements in (
        inputs.constitutions["public"].select("principle_id", "text", "statement_ids").iter_rows()
    ):
        assert principle in words and text in words
        assert f'href="constitution.html#principle-public-{principle}"' in rendered and f'id="{principle}"' in rendered
        behind = inputs.gac_scores.filter(pl.col("statement_id").is_in(statements)).sort("gac").row(-1, named=True)
        for share in behind["group_agreement"]:
            assert f"{100 * share:.0f}%" in words
    sizes = inputs.opinion_groups["group_id"].value_counts().sort("group_id")["count"]
    assert all(f"{size} people" in words for size in sizes)


def test_the_short_page_after_training_ends_with_what_came_of_the_principles(inputs: ReportInputs) -> None:
    kept = partial(score, "public", "adherence", "adherence", (0.7, 0.6, 0.8), category="public")
    early = replace(inputs, models=inputs.models.clear())
    before = Page(render_summary(early, "constitution.html")).words()

    def told(untrained: Ends, standard: Ends, calibrated: dict[str, Any]) -> str:
        rows = [kept("base", untrained), kept("standard", standard), score("base", "adherence", "adherence", (1, 1, 1))]
        scored = replace(
            early, eval_scores=EVAL_SCORES.build(rows), judge_calibration=JUDGE_CALIBRATION.build([calibrated])
        )
        elo_differences = ELO_DIFFERENCES.build([elo("public", "standard", (12.0, -18.0, 31.0))])
        rendered = render_results(scored, "constitution.html", elo_differences, "evaluation.html")
        page = Page(rendered)
        assert page.faults == [] and 'href="evaluation.html"' in rendered
        start, _, end = page.words().partition("What came of it ")
        assert start == before.partition("What becomes of it ")[0], "the rest is the same page"
        return end

    words = told((0.2, 0.1, 0.3), (-0.1, -0.2, -0.06), calibration(0.6, 0.8))
    assert words.startswith(
        "One model was trained on each of public (1 principle) and standard (1 principle), and compared with the "
        "untrained one. The model trained on these principles keeps to them more than the untrained model (+20.0 "
        "points of a hundred, 95% interval +10.0 to +30.0). The model trained on these principles keeps to them less "
        "than the one trained on “standard” (−10.0 points of a hundred, 95% interval −20.0 to −6.0). Whether a "
        "response keeps to a principle is judged by a model that was found to be better than guessing. By all scores "
        "there are 3 comparisons of two models: 2 with a difference, 1 with one too small to matter, if any, and 0 "
        "that cannot be told."
    )
    words = told((0.01, -0.02, 0.04), (0.0, -0.2, 0.2), calibration(0.4, 0.6))
    assert "keeps to them about as much as the untrained model (+1.0 points of a hundred" in words
    assert "It cannot be told whether the model trained on these principles keeps to them more than the one" in words
    assert "not found to be better than guessing everywhere, so these differences say little." in words


def test_the_short_page_lets_one_retell_three_sentences_with_the_numbers_of_the_tables(inputs: ReportInputs) -> None:
    words = Page(render_summary(replace(inputs, models=inputs.models.clear()), "constitution.html")).words()
    groups = dict(sorted(inputs.opinion_groups.group_by("group_id").len().iter_rows()))
    people, kept = inputs.participants.height, inputs.opinion_groups.height
    votes = inputs.gac_scores["n_votes"].sum()
    # 22 people voted on 4 statements, and by their votes they fall into a group of 12 and one of 8.
    assert f"{people} participants took part; the votes of {kept} count." in words
    assert f"{inputs.statements.height} remained after moderation and received {votes} votes." in words
    assert (
        f"into {len(groups)} opinion groups: {groups[0]} people in Group A and {groups[1]} people in Group B" in words
    )

    # 3 statements found agreement in every group, and became 1 principle, which everybody agrees with.
    reached = inputs.selected_statements.filter("selected")["statement_id"]
    constitution = inputs.constitutions["public"]
    assert f"{reached.len()} statements reached the cut" in words
    assert f"The constitution that follows has {constitution.height} principle." in words
    shares = {
        (row["statement_id"], group): share
        for row in inputs.gac_scores.to_dicts()
        for group, share in zip(row["group_ids"], row["group_agreement"], strict=True)
    }
    widest = {key: min(shares[key, group] for group in groups) for key in constitution["statement_ids"][0]}
    told = " ".join(f"Group {'AB'[group]} {shares[max(widest, key=widest.__getitem__), group]:.0%}" for group in groups)
    assert f"{constitution['text'][0]} why {told}" in words

    # People part most over one statement, with which one group agrees and the other does not.
    apart = {key: abs(shares[key, 0] - shares[key, 1]) for key in inputs.gac_scores["statement_id"]}
    most = max(apart, key=apart.__getitem__)
    text = dict(inputs.statements.select("statement_id", "text").iter_rows())[most]
    told = " ".join(f"Group {'AB'[group]} {shares[most, group]:.0%}" for group in groups)
    assert f"What divides people most {text} {told}" in words


def test_what_divides_most_is_where_the_groups_agree_least_alike(inputs: ReportInputs) -> None:
    def source(key: int, *shares: tuple[int, float]) -> Source:
        bars = [GroupBar(f"Group {n}", "#000", votes, share, 0.0, 100.0) for n, (votes, share) in enumerate(shares)]
        empty = {each.name: None for each in fields(Source)}
        return Source(**{**empty, "statement_id": key, "bars": bars})

    told = [source(1, (5, 40.0), (9, 60.0)), source(2, (5, 90.0), (9, 60.0)), source(3, (4, 0.0), (9, 100.0))]
    found = most_dividing(told)
    assert found is not None and found.statement_id == 2, "of statement 3 one group has too few votes"
    assert most_dividing([source(4, (50, 40.0))]) is None


def test_the_summary_is_in_numbers(inputs: ReportInputs) -> None:
    assert summary(inputs) == [
        "22 participants took part; the votes of 20 count.",
        "They submitted 6 statements, seeds of the organisers included; 4 remained after moderation and "
        "received 75 votes.",
        "By their votes, participants fall into 2 opinion groups: 12 people in Group A and 8 people in Group B. "
        "The votes show more structure than chance would show (p = 0.005).",
        "3 statements reached the cut of agreement across groups: 2 behind principles and 1 waiting for a decision.",
        "The constitution that follows has 1 principle.",
        "One model was trained on each of public (1 principle) and standard (1 principle), and compared with "
        "the untrained one.",
        "On record are 13 decisions: 13 decided by people.",
    ]


@pytest.mark.parametrize(
    "rows, trusted, words",
    [
        ([calibration(0.4, 0.6)], False, "could not be told from somebody who guesses"),
        ([calibration(0.2, 0.4)], False, "worse than somebody who guesses"),
        ([calibration(0.6, 0.8)], True, "better than guessing"),
        ([calibration(0.6, 0.8, "contrast")], False, "was not measured"),
        ([calibration(0.6, 0.8), calibration(0.4, 0.6, "contrast")], True, "better than guessing"),
    ],
)
def test_the_judge_is_trusted_as_far_as_it_was_measured(
    inputs: ReportInputs, rows: list[dict[str, Any]], trusted: bool, words: str
) -> None:
    measured = replace(inputs, judge_calibration=JUDGE_CALIBRATION.build(rows))
    shown = Page(render_report(measured)).words()
    assert words in shown and ("The judge is better than chance." in shown) is trusted


def test_what_became_of_the_pairs_is_counted(inputs: ReportInputs) -> None:
    # The small consultation has the labels 0.5, 0.8 and 0.3 and one pair without an answer.
    words = "public: 3 of 4 pairs got a label, 1 a tie that prefers neither answer. Labels stand 0.167 "
    assert label_sentences(inputs)[0].startswith(words)
    assert words in Page(render_report(inputs)).words()
    held = inputs.preference_pairs["public"].with_columns(
        clamped=pl.col("probability_a") == 0.8,
        status=pl.when(pl.col("probability_a") == 0.5).then(pl.lit("identical")).otherwise("status"),
    )
    (shown,) = label_sentences(replace(inputs, preference_pairs={"public": held}))
    assert shown == (
        "public: 2 of 4 pairs got a label, 1 moved to the nearest certainty that is allowed after reasoning. Labels "
        "stand 0.250 from one half on average. Left out: 1 because the feedback model gave no usable answer, 1 because "
        "both answers were the same."
    )
    assert label_sentences(replace(inputs, preference_pairs={})) == []


def test_scores_by_letters_are_doubted_although_another_method_made_the_labels(inputs: ReportInputs) -> None:
    ledgers = dict(inputs.ledgers)
    ledgers["training"] = ledgers["training"].with_columns(
        outcome=pl.when(pl.col("outcome") == "letters").then(pl.lit("tuned")).otherwise("outcome")
    )
    rows = [calibration(0.4, 0.6), calibration(0.6, 0.8, "tuned")]
    measured = replace(inputs, ledgers=ledgers, judge_calibration=JUDGE_CALIBRATION.build(rows))
    found = judge_findings(measured, read_records(ledgers))
    assert [(each.used, each.scores) for each in found] == [(False, True), (True, False)]
    assert "Models are scored in this way" in found[0].sentence
    assert "In 1 of 2 measurements" in render_report(measured)


def test_where_the_same_judge_labels_and_scores_the_page_says_so(inputs: ReportInputs) -> None:
    row = calibration(0.6, 0.8, "likeness") | {"scores_models": True}
    measured = replace(inputs, judge_calibration=JUDGE_CALIBRATION.build([row]))
    (found,) = judge_findings(measured, read_records(inputs.ledgers))
    assert "(fitted words) is right on 50% of the same (40% to 60%)" in found.sentence
    assert "Its answers stand 0.125 from one half on average" in found.sentence
    assert "The same judge (“likeness”) made the labels and scores the models." in Page(render_report(measured)).words()


def test_leanings_are_shown_only_where_they_were_measured() -> None:
    row = calibration(0.4, 0.6)
    shown = leanings(row)
    assert len(shown) == 2
    assert "longer answer more often than people did, by 25%" in shown[0]
    assert "off by 10% on average (5% to 20%)" in shown[1]
    leaning = row | {"position_bias": 0.8, "position_bias_low": 0.7, "position_bias_high": 0.9}
    assert "shown first (mean probability of the first 0.80" in leanings(leaning)[0]
    second = row | {"position_bias": 0.2, "position_bias_low": 0.1, "position_bias_high": 0.3}
    assert "shown second" in leanings(second)[0]
    nothing = {"length_bias": None, "length_bias_low": None, "length_bias_high": None, "calibration_error": None}
    assert leanings(row | nothing) == []
    assert leanings(row | {"length_bias_low": -0.1, "calibration_error": None}) == []


def test_a_model_taught_by_a_judge_at_chance_is_marked(inputs: ReportInputs) -> None:
    mark = "labelled by a judge that was not shown to be better than guessing"
    assert mark not in render_report(inputs)
    models = inputs.models.with_columns(metrics=pl.lit(json.dumps({"judge_at_chance": 1.0})))
    assert mark in render_report(replace(inputs, models=models))
    models = inputs.models.with_columns(metrics=pl.lit(json.dumps({"judge_at_chance": 0.0})))
    assert "at chance" not in render_report(replace(inputs, models=models))


def with_setting(inputs: ReportInputs, name: str, **values: str) -> ReportInputs:
    """The same with a setting of its own in every arm's policy."""
    settings = {arm: json.dumps({name: value}) for arm, value in values.items()}
    own = pl.col("arm").replace_strict(settings, default=pl.col("settings"))
    return replace(inputs, models=inputs.models.with_columns(own.alias("settings"), settings_digest=own))


def test_the_page_tells_how_these_models_were_made(inputs: ReportInputs, html: str) -> None:
    assert "give answers that the preference model values" in Page(html).words()
    taught = inputs.models.head(1).with_columns(
        stage=pl.lit("supervised_policy"), settings=pl.lit('{"revision model": {"source": "embedded"}}')
    )
    policies = inputs.models.with_columns(settings=pl.lit('{"policy method": "dpo"}'))
    words = Page(render_report(replace(inputs, models=pl.concat([taught, policies])))).words()
    assert "rewrote them; another one was then trained on the rewritten answers (supervised policy)." in words
    assert "directly and not by the preference model" in words and "preference model values" not in words


def test_settings_that_must_not_differ_are_shown(inputs: ReportInputs) -> None:
    (row,), against = one_difference(inputs)
    assert (row["differing"], against) == ("", [])
    unequal = with_setting(inputs, "steps", public="4", standard="5")
    (row,), against = one_difference(unequal)
    assert (row["comparable"], row["differing"]) == (False, "steps (4 in public, 5 in standard)")
    assert against[0].startswith("policy: steps: differs between the arms (4 in public, 5 in standard)")
    assert "these arms cannot be compared" in render_report(unequal)


def test_other_weights_are_shown_with_what_they_hide_and_arms_stay_comparable(inputs: ReportInputs) -> None:
    weighted = with_setting(inputs, WEIGHTS, public="gac", standard="uniform")
    (row,), against = one_difference(weighted)
    assert row["comparable"]
    assert [each.partition(",")[0] for each in against] == [
        "preference model: principle weights: public draws principles in another way (gac) than the other arms"
    ]
    words = Page(render_report(weighted)).words()
    assert "the same but for principle weights (gac in public, uniform in standard)" in words
    assert against[0] in words and "cannot be compared" not in words


def test_how_sure_groups_and_scores_are_is_shown_in_figures(inputs: ReportInputs, html: str) -> None:
    facts = opinion_facts(inputs)
    assert facts == [
        "The groups are more separate than chance would make them (silhouette 0.30 against 0.20 by chance, p = 0.005).",
        "When participants are drawn anew at random and grouped again, 4 draws give 2 groups in 75% and 3 groups in "
        "25% of them. The likeness to the groups shown here (adjusted Rand index: 1 if the same people stand "
        "together, 0 if only by chance) is 0.85 in the middle, and from 0.40 to 1.00.",
        "When the same votes are grouped with other random seeds, 2 draws give 2 groups in 100% of them. The "
        "likeness to the groups shown here (adjusted Rand index: 1 if the same people stand together, 0 if only by "
        "chance) is 0.95 in the middle, and from 0.90 to 1.00.",
        "In nine draws out of ten a score lies within its 90% interval. Half of these intervals are wider than "
        "0.20; were the groups certain, they would be wider than 0.10.",
        "Of 3 selected statements, 1 reach the cut in at least 95% of the draws. 0 that were not selected reach it "
        "in more than 5%.",
        "On 1 of the selected statements some group cast fewer than 20 votes: too few to tell what share of it agrees.",
    ]
    words = Page(html).words()
    assert all(fact in words for fact in facts)
    unscored = inputs.consensus_stability.with_columns(cs.starts_with("gac") * None)
    assert len(opinion_facts(replace(inputs, consensus_stability=unscored))) == 3


def test_votes_without_structure_are_said_to_have_none_and_set_nothing_apart(inputs: ReportInputs) -> None:
    together = replace(
        inputs,
        group_structure=group_structure(0.4),
        opinion_groups=inputs.opinion_groups.with_columns(group_id=pl.lit(0, pl.Int64)),
        representative_statements=inputs.representative_statements.clear(),
        group_stability=inputs.group_stability.with_columns(n_groups=pl.lit(1, pl.Int64), adjusted_rand=1.0),
    )
    told = "The votes show no more structure than chance would show (p = 0.400)"
    assert f"{told}; all 20 people in Group A are taken together." in summary(together)
    page = Page(render_report(together))
    assert page.faults == [] and f"{told}. So everybody is taken as one group" in page.words()
    assert "What sets the groups apart" not in page.words()
    kept = Page(render_report(replace(inputs, group_structure=group_structure(0.4))))
    assert f"{told}. The groups below were kept by a decision; they may be nothing but chance." in kept.words()


def test_groups_of_polis_stand_beside_in_a_table(inputs: ReportInputs) -> None:
    assert "Beside the groups of Polis" not in Page(render_report(inputs)).words()
    known = inputs.participants.with_columns(polis_group=(pl.col("participant_id") >= 10).cast(pl.Int64))
    page = Page(render_report(replace(inputs, participants=known)))
    assert page.faults == []
    # 45 + 45 pairs alike there, 66 + 28 here, 45 + 1 + 28 in both, of 190.
    index = (74 - 90 * 94 / 190) / (92 - 90 * 94 / 190)
    assert f"Adjusted Rand index {index:.2f} to the groups that Polis assigned, over 20 people" in page.words()
    assert re.search(r"Group A\s*10\s*2\s*Group B\s*0\s*8", page.words())


def test_every_score_on_the_page_has_its_interval(html: str) -> None:
    words = Page(html).words()
    assert "Consensus 0.810 (90% interval 0.710 to 0.910)." in words
    assert "<td>0.400<td>0.300–0.500<td>" in html
    assert not re.search(r"<td>0\.\d{3}<td>(?!0\.\d{3}–0\.\d{3}<td>)", html)
    scores = re.findall(r"[Cc]onsensus (?:is )?0\.\d{3}.{0,2}", words)
    assert scores
    assert all(score.endswith(" (") for score in scores)


def test_what_sets_groups_apart_is_listed_with_how_every_group_voted(html: str) -> None:
    page = Page(html)
    assert "Group B disagrees with statement 5: The AI should be short" in page.words().replace("“", "").replace(
        "”", ""
    )
    told = page.words().partition("Group B disagrees with statement 5")[2]
    assert re.findall(r"(Group \w): (\d+)% agree, (\d+)% disagree", told)[:2] == [
        ("Group A", "67", "0"),
        ("Group B", "0", "100"),
    ]


def test_how_much_depends_on_numbers(inputs: ReportInputs) -> None:
    assert numbers_sentence(inputs) == (
        "Of 1 principle, 0 stay under all of 2 alternatives that were tried, and 1 would be lost under at "
        "least one: P1. 1 worded principle that is not in would come in under at least one: P2."
    )
    calm = replace(inputs, decision_sensitivity=inputs.decision_sensitivity.filter("chosen"))
    assert numbers_sentence(calm) == "Of 1 principle, none would be lost under any of 0 alternatives."


def test_empty_results_are_said_and_not_hidden(inputs: ReportInputs) -> None:
    bare = replace(
        inputs,
        eval_scores=inputs.eval_scores.clear(),
        qualitative_responses=inputs.qualitative_responses.clear(),
        judge_calibration=inputs.judge_calibration.clear(),
        findings=[],
        digests={},
    )
    words = Page(render_report(bare)).words()
    assert "Nothing was scored in this run." in words
    assert "The feedback model was not measured in the way it was asked." in words


def test_long_text_is_cut_and_says_so() -> None:
    shown = readable("x" * 10_000)
    assert len(shown) < 1300
    assert shown.endswith("[cut here; 10,000 characters in all]")
    assert readable("a\u202eb\x00c\td") == "a\ufffdb\ufffdc\td"


@pytest.mark.parametrize(
    "value, largest, shown",
    [(None, None, "–"), (0.456, None, "0.46"), (-0.001, None, "0.00"), (-3.03, 63.0, "−3"), (12.6, None, "13")],
)
def test_numbers_have_as_many_digits_as_they_deserve(value: float | None, largest: float | None, shown: str) -> None:
    assert number(value, largest) == shown


def test_signs_and_order() -> None:
    assert [signed(0.1), signed(-0.1), signed(None)] == ["+0.10", "−0.10", "–"]
    assert sorted(["P10", "P2", "S1", "1"], key=natural) == ["1", "P2", "P10", "S1"]


def test_what_is_in_only_in_some_combinations_is_never_said_as_all_or_none() -> None:
    rows = [("A", 1000, []), ("B", 999, []), ("C", 1, ["seed", "smoothing"]), ("D", 0, [])]
    table = pl.DataFrame(
        {
            "principle_id": [row[0] for row in rows],
            "n_in": [row[1] for row in rows],
            "n_worlds": 1000,
            "arm": "x",
            "share_in": [row[1] / 1000 for row in rows],
            "hangs_on": [row[2] for row in rows],
            "in_on_record": False,
        },
        schema_overrides={"hangs_on": pl.List(pl.String)},
    )
    assert robustness_by_principle(table, "x") == {
        "A": "It is in with each of 1,000 combinations of numbers.",
        "B": "It is in with more than 99% of 1,000 combinations of numbers.",
        "C": "It is in with less than 1% of 1,000 combinations of numbers. Another choice of seed or "
        "smoothing alone would bring it in.",
        "D": "It is in with none of 1,000 combinations of numbers.",
    }


def test_only_reversals_with_an_effect_change_the_constitution(inputs: ReportInputs) -> None:
    assert list(consequences(inputs.decision_reversals, 2)) == ["W2", "M3"]
    assert list(consequences(changing(inputs.decision_reversals), 2)) == ["W2"]
    together = inputs.decision_reversals.with_columns(reversal=pl.lit("every exclusion"))
    assert consequences(together, 2) == {}


def moderation(*rows: tuple[str, list[str], str, str, str | None]) -> pl.DataFrame:
    return LEDGER.build(
        [
            {
                "decision_id": key,
                "kind": "moderation",
                "subject_ids": subjects,
                "outcome": outcome,
                "reason": "r",
                "policy_ref": None,
                "decided_by": by,
                "decided_at": "2025-03-04",
                "supersedes": supersedes,
                "inputs_digest": None,
                "suggested_by": None,
            }
            for key, subjects, outcome, by, supersedes in rows
        ]
    )


def test_decisions_taken_twice_are_shown_with_kappa_and_what_settled_them(inputs: ReportInputs) -> None:
    ledger = moderation(
        ("X1", ["1"], "in", "first", None),
        ("X2", ["1"], "out: off topic", "second", None),
        ("X3", ["1"], "in", "third", "X1 X2"),
        ("X4", ["5"], "in", "first", None),
        ("X5", ["5"], "in", "second", None),
        ("X6", ["6"], "out: hateful", "first", None),
        ("X7", ["6"], "out: nonsense", "second", None),
        ("X8", ["2"], "in", "first", None),
        ("X9", ["2"], "out: hateful", "first", "X8"),
    )
    twice = replace(inputs, ledgers={**inputs.ledgers, "moderation": ledger, "wording": ledger.clear()})
    assert agreement_sentences(twice) == [
        "Moderation: first and second decided on 3 statements independently, and alike on 2 (67%). Cohen’s kappa is "
        "0.40 (1 if they always agree, 0 if they agree as often as by chance)."
    ]
    found = corrections(read_records(twice.ledgers))
    assert [(one.latest.decision_id, [old.decision_id for old in one.earlier], one.resolves) for one in found] == [
        ("X3", ["X1", "X2"], True),
        ("X9", ["X8"], False),
    ]
    assert corrections_sentence(found) == (
        "1 decision replaced an earlier one and 1 decision settled what two people had decided differently. Nothing "
        "was erased: both stand here."
    )
    assert decided_twice(twice) == {1, 5, 6}
    assert decided_anew(found) == {1, 2}
    assert corrections_sentence([]) == "No decision was replaced by a later one."
    words = Page(render_report(twice)).words()
    assert "moderation: 1, decided differently by two people" in words
    assert "Before: X1 Let in by moderation. Reason given: r. first, 2025-03-04 X2 out: off topic. Reason" in words


def test_what_is_said_alike_of_many_decisions_is_said_once(inputs: ReportInputs) -> None:
    rows = [(f"B{key}", ["1"], "in", "first", None) for key in range(1, OFTEN + 1)]
    many = replace(inputs, ledgers={**inputs.ledgers, "moderation": moderation(*rows)})
    rendered = render_report(many)
    words = Page(rendered).words()
    ids = ", ".join(row[0] for row in rows)
    assert f"Moderation, 5 decisions: {ids}. Reason given: r. first, 2025-03-04" in words
    said = "On statement 1: Let in by moderation. Reason 1."
    assert f"{ids.replace(',', '')} {said}" in words
    assert words.count("Reason given: r. first") == 1 and 'id="told-1"' in rendered and "href=#told-1" in rendered
    few = replace(inputs, ledgers={**inputs.ledgers, "moderation": moderation(*rows[1:])})
    assert "Reason 1" not in Page(render_report(few)).words()


def test_what_would_follow_from_a_reversal_is_told_once_beside_the_decision(inputs: ReportInputs) -> None:
    found = reversals_by_kind(inputs.decision_reversals, {"W2": "principle-public-P1"}, 2)
    assert [(each.beside, each.rows) for each in found if each.heading == "Principles worded"] == [
        ([("W2", "principle-public-P1")], [])
    ]
    (own,) = (
        each for each in reversals_by_kind(inputs.decision_reversals, {}, 2) if each.heading == "Principles worded"
    )
    assert own.beside == [] and [name for name, _ in own.rows] == ["W2"]


def test_without_decisions_taken_twice_the_page_says_so(inputs: ReportInputs, html: str) -> None:
    assert agreement_sentences(inputs) == []
    assert "Nobody decided a second time, independently of the first." in Page(html).words()


def test_filters_offer_only_what_is_there_and_count_it() -> None:
    found = filters([Entry("b", "x", frozenset({"few"})), Entry("a"), Entry("b", "x", frozenset({"few", "twice"}))])
    assert [(each.name, each.choices) for each in found] == [
        ("fate", [Choice("b", "b", 2), Choice("a", "a", 1)]),
        ("arm", [Choice("x", "x", 2)]),
        ("marks", [Choice("twice", MARKS["twice"], 1), Choice("few", MARKS["few"], 2)]),
    ]
    assert filters([]) == []


def test_groups_aside_it_tells_the_clearest_statements_and_what_would_be_asked_next(html: str) -> None:
    text = html.partition("Groups aside")[2].partition("</details>")[0]
    first, _, second = text.partition("</ul>")
    assert re.findall(r"#s(\d+)", first) == ["5", "1"]
    assert "75% of 20 votes agree (95% interval 53% to 89%)" in first
    assert "75% of 20 votes disagree (95% interval 53% to 89%)" in first
    assert re.findall(r"#s(\d+)", second) == ["2", "5", "1"]


def test_one_decision_on_several_left_out_is_told_once_whatever_their_numbers() -> None:
    def row(key: int, *ids: str) -> LeftOutStatement:
        return LeftOutStatement(key, "Be kind.", None, None, None, None, [], "r", ids[0], [], list(ids), Entry("out"))

    (part,) = _parts("r", [row(7, "M7", "I7"), row(8, "M7", "I8")])
    assert (part.decision_id, part.ids, [each.ids for each in part.statements]) == ("M7", ["I"], [[], []])
    own, other = _parts("r", [row(7, "M7"), row(8, "M8"), row(9, "X")])
    assert (own.decision_id, own.ids, [each.ids for each in own.statements]) == ("", ["M"], [[], []])
    assert (other.decision_id, other.ids, [each.ids for each in other.statements]) == ("", [], [["X"]])


def copied(table: pl.DataFrame, key: int, ids: range) -> pl.DataFrame:
    """The table with as many further statements like this one."""
    row = table.filter(statement_id=key)
    return pl.concat([table, *(row.with_columns(statement_id=pl.lit(new).cast(pl.Int64)) for new in ids)])


def grown(inputs: ReportInputs, small: SmallConsultation, left_out: int, principles: int) -> int:
    """Bytes of the page with so many further statements below the cut, and principles each worded from one."""
    out, worded = range(1000, 1000 + left_out), range(5000, 5000 + principles)
    tables = {
        name: copied(copied(getattr(inputs, name), 5, out), 1, worded)
        for name in ("raw_statements", "statements", "gac_scores", "consensus_stability", "selected_statements")
    }
    (principle,) = inputs.constitutions["public"].to_dicts()
    (firm, _) = inputs.principle_robustness.to_dicts()
    rows = [
        {**principle, "principle_id": f"P{key}", "statement_ids": [key], "decision_ids": [f"P{key}"]} for key in worded
    ]
    own = moderation(*((f"P{key}", [f"{key}"], "principle: Be good.", "first", None) for key in worded))
    decided = moderation(*((f"M{key}", [f"{key}"], "in", "first", None) for key in (*out, *worded)))
    ledgers = {
        **inputs.ledgers,
        "wording": pl.concat([inputs.ledgers["wording"], own.with_columns(kind=pl.lit("wording"))]),
        "moderation": pl.concat([inputs.ledgers["moderation"], decided]),
    }
    constitution = pl.concat(
        [inputs.constitutions["public"], pl.DataFrame(rows, inputs.constitutions["public"].schema)]
    )
    robust = pl.DataFrame(
        [{**firm, "principle_id": f"P{key}", "statement_ids": [key]} for key in worded],
        inputs.principle_robustness.schema,
    )
    told = {
        **vars(small),
        **tables,
        "ledgers": ledgers,
        "constitutions": {**inputs.constitutions, "public": constitution},
    }
    many = replace(
        inputs,
        **tables,
        models=inputs.models.clear(),
        constitutions=told["constitutions"],
        ledgers=ledgers,
        principle_robustness=pl.concat([inputs.principle_robustness, robust]),
        decision_trail=decision_trail(**told),
    )
    return len(render_report(many).encode())


def test_a_page_of_many_statements_is_not_much_longer_than_what_they_say(
    inputs: ReportInputs, small_consultation: SmallConsultation
) -> None:
    few, left_out, principles = (
        grown(inputs, small_consultation, *numbers) for numbers in ((50, 50), (150, 50), (50, 150))
    )
    assert 0 < (left_out - few) / 100 - len("The AI should be short") <= 100
    assert 0 < (principles - few) / 100 - len("The AI should be honest" + "Choose the honest response.") <= 840


def test_every_filter_finds_as_many_entries_as_it_says(html: str) -> None:
    page = Page(html)
    entries, fold, listed = [], {}, ""
    told = ("data-fate", "data-arm", "data-marks")
    for tag, attributes in page.elements:
        holds = "items" in str(attributes.get("class")).split()
        if tag == "section":
            fold = {}
        elif "data-fate" in attributes and "data-item" not in attributes:
            fold = {name: attributes.get(name) for name in told}  # told for all entries in it
        elif holds:
            fold = fold | {"data-marks": attributes.get("data-marks")}
        if tag in ("ul", "tbody") or holds:
            listed = {"ul": "li", "tbody": "tr", "div": "details"}[tag] if holds else ""
        if "data-item" in attributes or (tag == listed and (tag != "tr" or "id" in attributes)):
            entries.append(fold | attributes)
    name, checked = "", 0
    for tag, attributes in page.elements:
        if tag == "select":
            name = str(attributes["name"])
        if tag == "option" and attributes["value"]:
            value = attributes["value"]
            own = [str(entry.get(f"data-{name}") or "") for entry in entries]
            n = sum(value in (cell.split() if name == "marks" else [cell]) for cell in own)
            assert n > 0
            assert re.search(rf'value="{re.escape(value)}">[^<]* \({n}\)<', html), (name, value, n)
            checked += 1
    assert checked >= 8


def test_the_replication_page_is_linked_only_where_there_is_one(inputs: ReportInputs, html: str) -> None:
    assert "replication.html" not in html
    linked = render_report(replace(inputs, replication_page="replication.html"))
    assert '<a href="replication.html">' in linked


def test_the_evaluation_page_is_linked_only_where_there_is_one(inputs: ReportInputs, html: str) -> None:
    assert "evaluation.html" not in html
    linked = render_report(replace(inputs, evaluation_page="evaluation.html"))
    assert '<a href="evaluation.html">' in linked


def test_prompts_that_nobody_wrote_are_marked(html: str) -> None:
    assert '<span class="tag">drafted</span> <h3>Who are you?</h3>' in html


def test_names_in_findings_stand_between_quotation_marks() -> None:
    shown = ["Accuracy on `know` is higher for `public`.", "a ` alone"]
    assert plain_findings(shown) == ["Accuracy on “know” is higher for “public”.", "a ` alone"]


def test_what_many_passed_on_is_listed_with_how_many(inputs: ReportInputs) -> None:
    page = render_report(inputs)
    assert "What people were unsure of" in page
    assert "40% of 20 passed (95% interval 30% to 50%); Group A 1 of 12, Group B 7 of 8" in page
    assert "What people marked as important" in page
    assert "45% of 20 marked it (95% interval 30% to 60%); Group A 8 of 12, Group B 1 of 8" in page
    assert "25% of 20 passed" not in page  # not by the rule of Polis


def test_a_principle_of_avoidance_says_that_its_statements_are_rejected(inputs: ReportInputs) -> None:
    selected = inputs.selected_statements.with_columns(
        side=pl.when(statement_id=5).then(pl.lit("disagree")).otherwise("side"),
        selected=pl.col("selected") | (pl.col("statement_id") == 5),
    )
    public = inputs.constitutions["public"].with_columns(
        side=pl.lit("disagree"), statement_ids=pl.Series([[5]], dtype=pl.List(pl.Int64))
    )
    constitutions = {**inputs.constitutions, "public": public}
    page = render_report(replace(inputs, selected_statements=selected, constitutions=constitutions))
    assert "A principle of avoidance: every group rejects the statement behind it" in page
    assert "Every group rejects it:</strong> consensus on that 0.400." in page
    assert "Of these, 1 reached it since every group rejects them." in page
    assert "principle of avoidance" not in render_report(inputs)


def test_counts_by_group_alone_have_a_page_that_says_what_cannot_be_had(inputs: ReportInputs) -> None:
    nobody = {
        name: getattr(inputs, name).clear()
        for name in (
            "participants",
            "opinion_groups",
            "group_structure",
            "consensus_stability",
            "group_stability",
            "comment_priorities",
        )
    }
    written = WRITTEN_NARRATIVE.build(
        [
            {
                "scope": "topic",
                "scope_id": 0,
                "about": inputs.narrative.filter(scope="topic")["about"][0],
                "text": "All <b>agree</b> (statement 1).",
                "refused": None,
                "statement_ids": [1],
                "given": ["a sentence"],
                "model": "writer-7b",
            }
        ]
    )
    html = render_report(replace(inputs, **nobody, written_narrative=written))
    assert Page(html).faults == []
    text = " ".join(re.sub(r"<[^>]+>", "", html).split())
    assert "Nobody’s single votes are here: the table has counts by group and no votes of people" in text
    assert "The table has the votes of 2 groups: Group A and Group B." in text
    assert f"The votes show {UNTESTED}. The groups are those of whoever counted the votes." in text
    assert "cannot be told from counts by group" in text
    assert "Written by a language model (writer-7b). It was given the sentences above and nothing else." in text
    assert "All &lt;b&gt;agree&lt;/b&gt; (statement 1)." in html
    assert "Each point is one person" not in text and "given random weights" not in text
