"""The report: complete, self-contained, well formed, and blind to what participants typed into it."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import polars as pl
import polars.selectors as cs
import pytest

from ccai_dagster.audit.judge_chapter import judge_findings, judge_verdict
from ccai_dagster.audit.model_chapters import one_difference, sensitivity_sentence
from ccai_dagster.audit.opinion_chapter import opinion_facts
from ccai_dagster.audit.public_chapters import summary
from ccai_dagster.audit.records import read_records
from ccai_dagster.audit.report import render_report
from ccai_dagster.audit.report_inputs import ReportInputs, natural, number, readable, signed
from ccai_dagster.audit.trail import decision_trail
from ccai_dagster.contracts import (
    CONSTITUTION_OVERLAP,
    DECISION_SENSITIVITY,
    EVAL_SCORES,
    GROUP_STABILITY,
    JUDGE_CALIBRATION,
    MODEL,
    OPINION_GROUPS,
    PARTICIPANTS,
    QUALITATIVE_RESPONSES,
    REPRESENTATIVE_STATEMENTS,
    VOTES,
)

HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)> [a](http://evil.example) {{ 7*7 }} =1+1"
VOID = {"meta", "img", "input", "br", "link", "hr"}


class Page(HTMLParser):
    """Collects elements and text, and notes every tag that is not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.faults: list[str] = []
        self.text: list[str] = []
        self.scripts: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif not self.open or self.open[-1] != "style":
            self.text.append(data)

    def words(self) -> str:
        return " ".join("".join(self.text).split())


def calibration(low: float, high: float, method: str = "letters") -> dict[str, Any]:
    return {
        "method": method, "comparison_set": "sample_judge", "feedback_model": "m", "n": 50, "n_unanswered": 0,
        "accuracy": (low + high) / 2, "accuracy_low": low, "accuracy_high": high, "position_bias": 0.5,
        "flip_rate": 0.5, "at_chance": low <= 0.5 <= high,
    }  # fmt: skip


def model(stage: str, arm: str, constitution: str | None, settings: str) -> dict[str, Any]:
    return {
        "model_digest": f"{arm}-{stage}-digest", "stage": stage, "arm": arm, "parent_digest": None,
        "constitution_digest": constitution, "settings_digest": settings, "settings": "{}",
        "metrics": json.dumps({"loss": 1.25, "note": "text"}),
    }  # fmt: skip


def eval_score(arm: str, value: float) -> dict[str, Any]:
    return {
        "arm": arm, "benchmark": "elo", "metric": "harmlessness", "category": "all", "n": 20,
        "n_unanswered": 1,
        "value": value, "low": value - 30, "high": value + 30,
        "compared_with": None if arm == "base" else "base", "difference": None if arm == "base" else value,
        "difference_low": None if arm == "base" else -2.0, "difference_high": None if arm == "base" else 55.0,
        "judge_at_chance": True,
    }  # fmt: skip


@pytest.fixture(scope="session")
def inputs(small_consultation: Any) -> ReportInputs:
    small = small_consultation
    trail = decision_trail(**vars(small))
    people = [
        {
            "participant_id": who, "n_votes": 4, "kept": who < 20, "fate": "kept" if who < 20 else "excluded",
            "polis_group": None, "decision_ids": [],
        }
        for who in range(22)
    ]  # fmt: skip
    groups = [
        {"participant_id": who, "group_id": int(who >= 12), "x": float(who), "y": float(who % 3)}
        for who in range(20)
    ]
    changes = [("0.6", False, [5], [], []), ("0.7", True, [], [], []), ("0.9", False, [], [1, 2, 6], ["P1"])]
    return ReportInputs(
        title=f"Rules {HOSTILE}",
        public="Twenty neighbours",
        question="What should it do?",
        derived_arm="public",
        baseline="standard",
        arms={"public": "from the votes", "standard": HOSTILE},
        raw_statements=small.raw_statements,
        participants=PARTICIPANTS.build(people),
        statements=small.statements,
        votes=VOTES.build(
            [
                {"participant_id": who, "statement_id": 5, "vote": vote}
                for who, vote in [(0, 1), (1, 1), (2, 0), (12, -1), (13, -1)]
            ]
        ),
        opinion_groups=OPINION_GROUPS.build(groups),
        representative_statements=REPRESENTATIVE_STATEMENTS.build(
            [
                {
                    "group_id": 1, "statement_id": 5, "rank": 1, "side": "disagree", "best_agreed": False,
                    "eligible": True, "n_side": 2, "n_votes": 2,
                    "probability": 0.75, "ratio": 3.0, "ratio_z": 2.0, "probability_z": 1.5,
                }
            ]
        ),
        group_stability=GROUP_STABILITY.build(
            [
                {"varied": varied, "draw": draw, "n_groups": number, "adjusted_rand": index}
                for varied, draw, number, index in [
                    ("participants", 1, 2, 0.9), ("participants", 2, 3, 0.4), ("participants", 3, 2, 1.0),
                    ("participants", 4, 2, 0.8), ("seed", 1, 2, 1.0),
                    ("seed", 2, 2, 0.9),
                ]
            ]
        ),
        gac_scores=small.gac_scores,
        consensus_stability=small.consensus_stability,
        selected_statements=small.selected_statements,
        constitutions=small.constitutions,
        constitution_overlap=CONSTITUTION_OVERLAP.build(
            [
                {
                    "arm": "standard", "principle_id": "S1", "other_arm": "public",
                    "nearest_principle_id": "P1", "similarity": 0.25, "shared": False,
                }
            ]
        ),
        ledgers=small.ledgers,
        decision_trail=trail,
        decision_sensitivity=DECISION_SENSITIVITY.build(
            [
                {
                    "decision": "gac_threshold", "alternative": value, "chosen": chosen, "n_groups": 2,
                    "n_selected": 3, "entering": entering, "leaving": leaving, "lost_principles": lost,
                    "gained_principles": [],
                }
                for value, chosen, entering, leaving, lost in changes
            ]
        ),
        judge_calibration=JUDGE_CALIBRATION.build([calibration(0.4, 0.6)]),
        models=MODEL.build(
            [
                model("policy", "public", "c1", "s"),
                model("policy", "standard", "c2", "s"),
                model("base_model", "base", None, "b"),
            ]
        ),
        settings={"policy": {"steps": 4, "kl_weight": 0.05}},
        eval_scores=EVAL_SCORES.build([eval_score("base", 0.0), eval_score("public", 26.0)]),
        findings=[f"No difference was shown. {HOSTILE}"],
        qualitative_responses=QUALITATIVE_RESPONSES.build(
            [
                {
                    "arm": arm, "prompt_id": "q1", "prompt": "Who are you?", "response": HOSTILE,
                    "refused": arm == "base",
                }
                for arm in ("public", "base")
            ]
        ),
        digests={"statements": "a" * 64, "public/policy": "b" * 64},
    )  # fmt: skip


@pytest.fixture(scope="session")
def html(inputs: ReportInputs) -> str:
    """The page, drawn once."""
    return render_report(inputs)


def test_the_page_is_well_formed_and_accessible(html: str) -> None:
    page = Page(html)
    assert page.faults == []
    assert page.open == []
    assert dict(page.elements)["html"] == {"lang": "en"}
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert all(attributes.get("alt") for tag, attributes in page.elements if tag == "img")
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    labels = {attributes["for"] for tag, attributes in page.elements if tag == "label"}
    assert {attributes["id"] for tag, attributes in page.elements if tag == "input"} == labels
    assert all(attributes.get("scope") for tag, attributes in page.elements if tag == "th")


def test_nothing_leaves_the_page_and_every_link_arrives(html: str) -> None:
    page = Page(html)
    ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    for tag, attributes in page.elements:
        assert tag not in {"link", "iframe", "object", "embed", "base"}
        assert not any(name.startswith("on") for name in attributes)
        if "src" in attributes:
            assert (tag, str(attributes["src"])[:22]) == ("img", "data:image/png;base64,")
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
        attributes["content"] for _, attributes in page.elements
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )  # fmt: skip
    digest = base64.b64encode(hashlib.sha256(page.scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in str(policy)
    assert "default-src 'none'" in str(policy)


def test_the_same_tables_give_the_same_page(inputs: ReportInputs, html: str) -> None:
    assert render_report(inputs) == html


def test_the_page_tells_the_whole_way(html: str) -> None:
    words = Page(html).words()
    for told in (
        "Choose the honest response.",
        "teh AI shuold tell the truth",
        "Group A: 90% of 10 votes agree (95% interval 60 to 98)",
        "Reason given: template. moderators, 2025-03-04; replaces P1",
        "Earlier decisions, replaced since:",
        "1 statement reached the cut, and nobody has yet decided",
        "Moderated out: nonsensical: 1",
        "Never moderated: 1",
        "Below the cut: 1",
        "gac threshold = 0.7. Reason given: seven in ten.",
        "prompt database: the same prompts for both arms",
        "likeness 0.25",
        "the same, s",
        "+26 (−2 to +55) against base",
        "a" * 64,
    ):
        assert told in words, told


def test_the_summary_is_in_numbers(inputs: ReportInputs) -> None:
    assert summary(inputs) == [
        "22 participants took part; the votes of 20 count.",
        "They submitted 6 statements, seeds of the organisers included; 4 remained after moderation and "
        "received 75 votes.",
        "By their votes, participants fall into 2 opinion groups: 12 people in Group A and 8 people in "
        "Group B.",
        "3 statements reached the cut of agreement across groups: 2 behind principles and 1 waiting for a "
        "decision.",
        "The constitution that follows has 1 principle.",
        "One model was trained on each of public (1 principle) and standard (1 principle), and compared with "
        "the untrained one.",
        "13 decisions by people are on record.",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "rows, trusted, words",
    [
        ([calibration(0.4, 0.6)], False, "could not be told from somebody who guesses"),
        ([calibration(0.2, 0.4)], False, "could not be told from somebody who guesses"),
        ([calibration(0.6, 0.8)], True, "better than guessing"),
        ([calibration(0.6, 0.8, "contrast")], False, "was not measured"),
    ],
)
def test_the_judge_is_trusted_as_far_as_it_was_measured(
    inputs: ReportInputs, rows: list[dict[str, Any]], trusted: bool, words: str
) -> None:
    measured = replace(inputs, judge_calibration=JUDGE_CALIBRATION.build(rows))
    verdict = judge_verdict(judge_findings(measured, read_records(inputs.ledgers)))
    assert verdict[0] is trusted
    assert words in verdict[1]
    assert words in Page(render_report(measured)).words()


def test_unequal_settings_are_shown(inputs: ReportInputs) -> None:
    assert [row["same_settings"] for row in one_difference(inputs)] == [True]
    unequal = replace(
        inputs, models=inputs.models.with_columns(settings_digest=pl.concat_str("arm", "settings_digest"))
    )
    assert [row["same_settings"] for row in one_difference(unequal)] == [False]
    assert "these arms cannot be compared" in render_report(unequal)


def test_how_sure_groups_and_scores_are_is_told_in_figures(inputs: ReportInputs, html: str) -> None:
    facts = opinion_facts(inputs)
    assert facts == [
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
        "On 1 of the selected statements some group cast fewer than 20 votes: too few to tell what share of it "
        "agrees.",
    ]
    words = Page(html).words()
    assert all(fact in words for fact in facts)
    unscored = inputs.consensus_stability.with_columns(cs.starts_with("gac") * None)
    assert len(opinion_facts(replace(inputs, consensus_stability=unscored))) == 2


def test_every_score_on_the_page_has_its_interval(html: str) -> None:
    words = Page(html).words()
    assert "Group-aware consensus 0.810 (90% interval 0.710 to 0.910)." in words
    assert "Consensus 0.400 (0.300 to 0.500)" in words
    scores = re.findall(r"[Cc]onsensus (?:is )?0\.\d{3}.{0,2}", words)
    assert scores
    assert all(score.endswith(" (") for score in scores)


def test_what_sets_groups_apart_is_listed_beside_its_picture(html: str) -> None:
    page = Page(html)
    assert "Group B disagrees with statement 5: The AI should be short" in page.words().replace(
        "“", ""
    ).replace("”", "")
    alt = [attributes["alt"] for _, attributes in page.elements if "alt" in attributes]
    assert (
        "Votes of every group on the statements that set Group B apart: with statement 5 0% of Group A, 100% of "
        "Group B disagree."
    ) in alt


def test_how_much_hangs_on_numbers(inputs: ReportInputs) -> None:
    assert sensitivity_sentence(inputs) == (
        "Of 1 principle, 0 stay under all of 2 alternatives that were tried, and 1 would be lost under at "
        "least one: P1."
    )
    calm = replace(inputs, decision_sensitivity=inputs.decision_sensitivity.filter("chosen"))
    assert sensitivity_sentence(calm) == "Of 1 principle, none would be lost under any of 0 alternatives."


def test_empty_results_are_said_and_not_hidden(inputs: ReportInputs) -> None:
    bare = replace(
        inputs,
        eval_scores=inputs.eval_scores.clear(),
        qualitative_responses=inputs.qualitative_responses.clear(),
        models=inputs.models.clear(),
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
    [
        (None, None, "–"),
        (0.456, None, "0.46"),
        (-0.001, None, "0.00"),
        (-3.03, 63.0, "−3"),
        (12.6, None, "13"),
    ],
)
def test_numbers_have_as_many_digits_as_they_deserve(
    value: float | None, largest: float | None, shown: str
) -> None:
    assert number(value, largest) == shown


def test_signs_and_order() -> None:
    assert [signed(0.1), signed(-0.1), signed(None)] == ["+0.10", "−0.10", "–"]
    assert sorted(["P10", "P2", "S1", "1"], key=natural) == ["1", "P2", "P10", "S1"]
