"""The decision trail: every statement and principle, with the exact story of a small consultation."""

from dataclasses import replace
from typing import Any

import polars as pl
import pytest
from small_consultation import with_metadata

from ccai_dagster.audit.records import Record, Records, read_records
from ccai_dagster.audit.trail import decision_trail
from ccai_dagster.contracts import DECISION_TRAIL, LEDGER
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.text import listed, quoted


def rows_of(consultation: Any) -> dict[str, dict[str, Any]]:
    trail = decision_trail(**vars(consultation))
    assert DECISION_TRAIL.violations(trail).is_empty()
    return {row["subject"]: row for row in trail.to_dicts()}


def test_every_statement_and_principle_has_a_row(small_consultation: Any) -> None:
    rows = rows_of(small_consultation)
    assert {subject: row["fate"] for subject, row in rows.items()} == {
        "statement:1": "principle",
        "statement:2": "principle",
        "statement:3": "moderated out: nonsensical",
        "statement:4": "never moderated",
        "statement:5": "below the cut",
        "statement:6": "undecided",
        "principle:public/P1": "in the constitution public",
        "principle:standard/S1": "in the constitution standard",
    }


def test_the_story_of_a_rewritten_and_merged_statement(small_consultation: Any) -> None:
    row = rows_of(small_consultation)["statement:2"]
    assert row["text"] == "The AI should tell the truth."
    assert row["principle_ids"] == ["public/P1"]
    assert row["decision_ids"] == ["M2", "T1", "T2", "G1", "W2", "P1"]
    assert (row["gac"], row["gac_low"], row["gac_high"]) == (0.72, pytest.approx(0.62), pytest.approx(0.82))
    assert row["story"] == [
        "Submitted by participant 7 on 2025-03-02.",
        "In the export it was moderated in.",
        "Let in and rewritten from “teh AI shuold tell the truth” to “The AI should tell the truth.” "
        "(decision M2, moderators, 2025-03-04). Reason given: spelling.",
        "20 votes count: 17 agree, 3 disagree, 0 passes.",
        "It has the agreement of 90% of 10 votes in Group A and 80% of 10 votes in Group B.",
        "Its group-aware consensus is 0.720 (90% interval 0.620 to 0.820).",
        "It is number 3 of 4 by consensus and reaches the cut (gac_threshold = 0.7, decision T2, moderators, "
        "2025-03-04).",
        "When participants are drawn anew it reaches the cut in 60% of the draws.",
        "Merged together with statement 1 into “The AI should be honest.” (decision G1, moderators, "
        "2025-03-04). Reason given: same idea.",
        "Worded together with statement 1 as principle P1: “Choose the honest response.” (decision W2, "
        "moderators, 2025-03-04). Reason given: template.",
        "This replaces an earlier decision: “principle: Be honest.” (decision P1, moderators, 2025-03-04). "
        "Reason given: first draft.",
        "It stands behind P1 of public.",
    ]


def test_stories_of_statements_that_did_not_make_it(small_consultation: Any) -> None:
    rows = rows_of(small_consultation)
    assert rows["statement:3"]["story"][1:] == [
        "In the export it was moderated out.",
        "Kept out as nonsensical (decision M3, moderators, 2025-03-04). Reason given: cannot be answered.",
    ]
    assert rows["statement:4"]["story"] == [
        "Submitted on 2025-03-02; the export does not say by whom.",
        "In the export it was never moderated.",
        "No moderation decision on it is on record.",
    ]
    below = " ".join(rows["statement:5"]["story"])
    assert "does not reach the cut" in below
    assert "principle P2: “Choose the short response.”, which no constitution of this run contains" in below
    waiting = rows["statement:6"]["story"]
    assert waiting[2].startswith("Its author's votes do not count (decision E1, moderators, 2025-03-04).")
    assert waiting[-2:] == [
        "It waits for a decision: nobody has yet worded it or left it out.",
        "It stands behind no principle.",
    ]
    assert rows["statement:1"]["story"][0] == (
        "Written by the organisers before the consultation opened on 2025-03-02."
    )


def test_the_story_of_a_principle(small_consultation: Any) -> None:
    row = rows_of(small_consultation)["principle:public/P1"]
    assert row["decision_ids"] == ["M1", "M2", "W2", "P1", "G1", "S1"]
    assert (row["n_responses"], row["base_adherence"]) == (2, 0.25)
    assert (row["n_pairs"], row["n_decided_pairs"], row["adherence"]) == (4, 2, 0.75)
    assert (row["gac_low"], row["gac_high"]) == (pytest.approx(0.71), pytest.approx(0.91))
    assert row["story"] == [
        "It comes from statements 1 and 2.",
        "Statement 1 (the organisers): “The AI should be honest” Let in by moderation (decision M1, moderators, "
        "2025-03-04). Reason given: fits the question. 20 votes count: 18 agree, 2 disagree, 0 passes. It has the "
        "agreement of 90% of 10 votes in Group A and 90% of 10 votes in Group B. Its group-aware consensus is "
        "0.810 (90% interval 0.710 to 0.910).",
        "Statement 2 (participant 7): “The AI should tell the truth.” Let in and rewritten from “teh AI shuold tell "
        "the truth” to “The AI should tell the truth.” (decision M2, moderators, 2025-03-04). Reason given: "
        "spelling. 20 votes count: 17 agree, 3 disagree, 0 passes. It has the agreement of 90% of 10 votes in "
        "Group A and 80% of 10 votes in Group B. Its group-aware consensus is 0.720 (90% interval 0.620 to 0.820).",
        "Worded from statements 1 and 2 as “Choose the honest response.” (decision W2, moderators, "
        "2025-03-04). Reason given: template.",
        "This replaces an earlier decision: “principle: Be honest.” (decision P1, moderators, 2025-03-04). "
        "Reason given: first draft.",
        "The text of statements 1 and 2 was merged into “The AI should be honest.” (decision G1, moderators, "
        "2025-03-04). Reason given: same idea.",
        "The highest group-aware consensus among its statements is 0.810.",
        "The constitution public was signed off (decision S1, moderators, 2025-03-04). Reason given: reads well.",
        "The feedback model judged 4 preference pairs under it and preferred one response in 2.",
        "By the feedback model's measure, 2 responses of the public policy keep to it with a mean "
        "probability of 75% (untrained: 25%).",
    ]


def test_a_principle_that_no_statement_led_to(small_consultation: Any) -> None:
    row = rows_of(small_consultation)["principle:standard/S1"]
    assert (row["statement_ids"], row["gac"], row["n_pairs"], row["adherence"]) == ([], None, 0, None)
    assert row["story"] == [
        "It comes from no statement of this consultation.",
        "No preference pair was judged under it.",
    ]


def test_facts_of_a_statement_stand_in_columns(small_consultation: Any) -> None:
    row = rows_of(small_consultation)["statement:6"]
    assert (row["raw_text"], row["author_id"], row["n_votes"]) == ("The AI should cite sources", 9, 15)
    assert (row["group_ids"], row["group_votes"], row["group_agreement"]) == ([0, 1], [10, 5], [1.0, 0.8])
    assert (row["rank"], row["selected"], row["selection_probability"]) == (2, True, 0.9)
    out = rows_of(small_consultation)["statement:3"]
    assert (out["n_votes"], out["group_votes"], out["rank"], out["selected"]) == (None, [], None, None)


def test_a_statement_about_the_people_who_vote_is_told_as_one(small_consultation: Any) -> None:
    row = rows_of(with_metadata(small_consultation))["statement:4"]
    assert (row["fate"], row["decision_ids"], row["gac"]) == ("about the people who vote", ["M4"], None)
    assert row["story"][1:] == [
        "In the export it was never moderated.",
        "Set apart as a statement about the people who vote: no group, score or selection rests on it (decision M4, "
        "moderators, 2025-03-04). Reason given: it says who votes.",
    ]


def test_only_some_subjects_can_be_asked_for(small_consultation: Any) -> None:
    wanted = ["statement:2", "principle:standard/S1", "statement:99"]
    some = decision_trail(**vars(small_consultation), only=wanted)
    whole = decision_trail(**vars(small_consultation))
    assert some.equals(whole.filter(pl.col("subject").is_in(wanted))) and some.height == 2


def test_a_principle_read_from_a_file_is_described_with_the_decisions_that_gave_its_text(
    small_consultation: Any,
) -> None:
    given = small_consultation.constitutions["public"].with_columns(decision_ids=pl.lit([], dtype=pl.List(pl.String)))
    small = replace(small_consultation, constitutions={"public": given})
    assert rows_of(small)["principle:public/P1"]["decision_ids"] == ["M1", "M2", "W2", "P1", "G1", "S1"]
    other = given.with_columns(text=pl.lit("Choose something else."))
    small = replace(small_consultation, constitutions={"public": other})
    assert rows_of(small)["principle:public/P1"]["decision_ids"] == ["M1", "M2", "S1"]


def test_a_row_may_replace_two(small_consultation: Any) -> None:
    row = small_consultation.ledgers["moderation"].row(1, named=True)
    second = row | {"decision_id": "M2b", "outcome": "in", "decided_by": "council"}
    third = row | {"decision_id": "M8", "outcome": "out: duplicate", "supersedes": "M2 M2b", "reason": "both agreed"}
    records = Records(
        {each["decision_id"]: Record(**{**each, "subject_ids": ("2",)}) for each in (row, second, third)}, {}
    )
    assert [each.decision_id for each in records.chain(records.by_id["M8"])] == ["M2", "M2b"]
    assert [each.decision_id for each in records.replacing(records.by_id["M2b"])] == ["M8"]


def test_a_decision_that_was_taken_back_is_described(small_consultation: Any) -> None:
    ledgers = small_consultation.ledgers
    row = ledgers["moderation"].row(1, named=True)
    back = row | {"decision_id": "M9", "outcome": "withdrawn", "supersedes": "M2", "reason": "on the wrong row"}
    ledger = LEDGER.build([*ledgers["moderation"].to_dicts(), back])
    story = rows_of(replace(small_consultation, ledgers={**ledgers, "moderation": ledger}))["statement:2"]["story"]
    assert story[2:4] == [
        "A moderation decision on it was taken back (decision M9, moderators, 2025-03-04). Reason given: on the "
        "wrong row.",
        "This replaces an earlier decision: “rewrite: The AI should tell the truth.” (decision M2, moderators, "
        "2025-03-04). Reason given: spelling.",
    ]


def test_the_order_of_rows_does_not_matter(small_consultation: Any) -> None:
    turned = replace(
        small_consultation,
        raw_statements=small_consultation.raw_statements.reverse(),
        gac_scores=small_consultation.gac_scores.reverse(),
        consensus_stability=small_consultation.consensus_stability.reverse(),
        selected_statements=small_consultation.selected_statements.reverse(),
    )
    assert decision_trail(**vars(turned)).equals(decision_trail(**vars(small_consultation)))


def test_records_know_what_counts(small_consultation: Any) -> None:
    records = read_records(small_consultation.ledgers)
    (wording,) = records.on("wording", 1)
    assert (wording.decision_id, wording.root_id, wording.counts) == ("W2", "P1", True)
    assert not records.by_id["P1"].counts
    assert [one.decision_id for one in records.chain(wording)] == ["P1"]
    assert records.on("training", "prompt_database") == ()
    assert [one.decision_id for one in records.of_kind("training")] == ["R1", "R2"]


def test_a_broken_chain_is_refused(small_consultation: Any) -> None:
    broken = small_consultation.ledgers["wording"].with_columns(supersedes=pl.lit("nothing"))
    with pytest.raises(ConsultationError, match="nothing"):
        read_records({"wording": broken})


def test_sentences_are_short_and_on_one_line() -> None:
    assert quoted("a\nb\t c") == "“a b c”"
    assert len(quoted("x" * 10_000)) == 303
    assert [listed([]), listed([1]), listed([1, 2]), listed([1, 2, 3])] == ["", "1", "1 and 2", "1, 2 and 3"]
    record = Record("D", "merge", ("1",), "merge: a: b", "Why? ", "r", "2025-03-04T10:00:00")
    assert (record.verb, record.text, record.because, record.cited) == (
        "merge",
        "a: b",
        "Reason given: Why?",
        "decision D, r, 2025-03-04",
    )
