"""What differs between two consultations, two ledgers or two runs."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from small_consultation import HOSTILE, SmallConsultation
from small_evaluation import constitution, score
from small_report import calibration
from typer.testing import CliRunner

from ccai_dagster.audit.common_conversation import common_conversation
from ccai_dagster.audit.differences import (
    Chapter,
    Compared,
    Difference,
    consultation_differences,
    ledger_differences,
    run_differences,
    standing_after,
)
from ccai_dagster.audit.manifest import Manifest, Materialization, Run
from ccai_dagster.cli.app import app
from ccai_dagster.cli.compare import check_output, lines, write_differences
from ccai_dagster.consultation.folder import SAMPLE
from ccai_dagster.contracts import EVAL_SCORES, JUDGE_CALIBRATION, RAW_PARTICIPANTS, RAW_VOTES
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.decisions.ledger import Decision, ledger_table
from ccai_dagster.deliberation.importing.tables import Import
from ccai_dagster.pages.differences import render_differences
from ccai_dagster.statistics.intervals import difference_interval, wilson_interval


def decision(key: str, kind: str, subjects: str, outcome: str, supersedes: str = "", digest: str = "") -> Decision:
    return Decision(
        decision_id=key,
        kind=kind,
        subject_ids=tuple(subjects.split()),
        outcome=outcome,
        reason=f"reason of {key}",
        decided_by="team",
        decided_at="2026-01-05",
        supersedes=supersedes or None,
        inputs_digest=digest or None,
    )


REST = {"voted_at": None, "times_voted": 1, "important": None}


def cast(*votes: tuple[int, int, int]) -> pl.DataFrame:
    """RAW_VOTES of participant, statement, vote."""
    names = ("participant_id", "statement_id", "vote")
    return RAW_VOTES.build([dict(zip(names, each, strict=True)) | REST for each in votes])


VOTES = tuple((person, statement, 1 if (person + statement) % 2 else -1) for person in range(8) for statement in (1, 2))


@pytest.fixture
def one(small_consultation: SmallConsultation) -> Compared:
    """The small consultation, with results."""
    small = small_consultation
    imported = Import(small.raw_statements, RAW_PARTICIPANTS.empty(), cast(*VOTES), pl.DataFrame())
    return Compared(
        settings={"seed": "1"},
        ledgers=small.ledgers,
        imported=imported,
        constitutions=small.constitutions,
        tables={
            "gac_scores": small.gac_scores,
            "consensus_stability": small.consensus_stability,
            "selected_statements": small.selected_statements,
            "opinion_groups": pl.DataFrame({"participant_id": [1, 2, 3, 4], "group_id": [0, 0, 0, 1]}),
        },
    )


def chapter(chapters: list[Chapter], name: str) -> Chapter:
    (found,) = [each for each in chapters if each.name == name]
    return found


def test_nothing_differs_from_itself(one: Compared) -> None:
    assert [each for each in consultation_differences(one, one) if each.differences] == []


def test_decisions_are_the_same_if_they_bring_about_the_same() -> None:
    first = [
        decision("A1", "moderation", "1 2", "in"),
        decision("A2", "moderation", "3", "out: spam"),
        decision("A3", "moderation", "4", "in"),
        decision("A4", "moderation", "4", "withdrawn", supersedes="A3"),
        decision("A5", "moderation", "criteria", "policy: be lenient"),
    ]
    second = [
        decision("B1", "moderation", "1", "in"),
        decision("B2", "moderation", "2", "rewrite: kinder"),
        decision("B3", "moderation", "3", "out: duplicate"),
        decision("B4", "moderation", "4", "out: spam"),
        decision("B5", "moderation", "criteria", "policy: be strict"),
    ]
    found = ledger_differences({"moderation": ledger_table(first)}, {"moderation": ledger_table(second)})
    assert found.lead == "2 of 5 subjects are decided alike."
    assert list(found.differences) == [
        Difference("moderation: criteria", "policy: be lenient (A5)", "policy: be strict (B5)"),
        Difference("moderation: statement 2", "in (A1)", "rewrite: kinder (B2)"),
        Difference("moderation: statement 4", "–", "out (B4)"),
    ]


def test_a_signature_is_for_one_constitution() -> None:
    first, second = (
        {"signoff": ledger_table([decision(key, "signoff", "public", "signed off", digest=digit * 64)])}
        for key, digit in (("A", "1"), ("B", "2"))
    )
    (found,) = ledger_differences(first, second).differences
    assert found == Difference("signoff: arm public", "signed off 111111111111 (A)", "signed off 222222222222 (B)")


def test_statements_are_known_by_their_text_where_ids_mean_others(one: Compared) -> None:
    raw = one.imported.raw_statements
    shift = pl.col("statement_id") + 100
    other = replace(
        one,
        imported=replace(
            one.imported, raw_statements=raw.with_columns(shift), raw_votes=one.imported.raw_votes.with_columns(shift)
        ),
        tables={
            "opinion_groups": one.tables["opinion_groups"],
            "gac_scores": one.tables["gac_scores"].with_columns(shift, gac=pl.col("gac") / 2),
            "consensus_stability": one.tables["consensus_stability"].with_columns(shift),
            "selected_statements": one.tables["selected_statements"].with_columns(shift),
        },
    )
    found = consultation_differences(one, other)
    assert "are in both, by their text" in chapter(found, "Votes").lead
    assert "who is with whom is not compared" in chapter(found, "Opinion groups").lead
    assert chapter(found, "Decisions on others").lead.startswith("Not compared, since ids mean others: moderation")
    assert chapter(found, "Selection").differences == []
    moved = chapter(found, "Group-aware consensus").differences
    scores = dict(one.tables["gac_scores"].select("statement_id", "gac").drop_nulls().iter_rows())
    largest = max(scores, key=lambda key: (scores[key], -key))
    assert moved[0].subject == f"statements {largest} and {largest + 100}"
    assert moved[0].second.startswith(f"{scores[largest] / 2:.3f} [")


def test_people_are_the_same_if_they_voted_alike_and_not_if_only_their_numbers_are(one: Compared) -> None:
    permuted = [((person + 1) % 8, statement, vote) for person, statement, vote in VOTES]
    grown = [*VOTES, (9, 1, 1), (9, 2, 1)]
    for votes, same in [(permuted, False), (grown, True), (VOTES[:2], True), ([(90, 1, 1)], False)]:
        imported = replace(one.imported, raw_votes=cast(*votes))
        assert common_conversation(one.imported, imported).same_people == same, votes


def test_a_text_that_was_mended_is_another_text_of_the_same_statement(one: Compared) -> None:
    raw = one.imported.raw_statements
    mended = raw.with_columns(text=pl.when(statement_id=1).then(pl.lit("Mended.")).otherwise("text"))
    other = replace(one, imported=replace(one.imported, raw_statements=mended))
    (found,) = chapter(consultation_differences(one, other), "Votes").differences
    assert (found.subject, found.second) == ("statement 1", "Mended.")
    assert chapter(consultation_differences(one, other), "Selection").differences == []


def test_texts_that_stand_twice_are_paired_one_by_one() -> None:
    texts = [["a", "a", "b"], ["x", "b", "a", "a"]]
    first, second = (
        Import(
            pl.DataFrame({"statement_id": range(len(each)), "text": each}),
            RAW_PARTICIPANTS.empty(),
            RAW_VOTES.empty(),
            pl.DataFrame(),
        )
        for each in texts
    )
    assert common_conversation(first, second).pairs == {0: 2, 1: 3, 2: 1}


def test_statements_that_cross_the_cut_are_named_with_their_fate(one: Compared) -> None:
    before = one.tables["selected_statements"]
    key = before.filter("selected")["statement_id"][0]
    out = pl.col("statement_id") == key
    after = before.with_columns(
        selected=pl.col("selected") & ~out, fate=pl.when(out).then(pl.lit("below the cut")).otherwise("fate")
    )
    other = replace(one, tables={**one.tables, "selected_statements": after})
    (there,) = chapter(consultation_differences(one, other), "Selection").differences
    (back,) = chapter(consultation_differences(other, one), "Selection").differences
    fate = before.filter(out)["fate"].item()
    assert (there.subject, there.first, there.second) == (f"statement {key}", fate, "below the cut")
    assert (back.first, back.second) == ("below the cut", fate)


def test_a_principle_with_its_id_is_worded_otherwise_and_one_with_its_text_is_the_same(one: Compared) -> None:
    first, second = (
        replace(one, constitutions={"public": constitution("public", **texts)})
        for texts in ({"P1": "Be kind.", "P2": "Be brief.", "P3": "Be fair."}, {"P1": "Be kinder.", "P3": "Be brief."})
    )
    found = chapter(consultation_differences(first, second), "Constitution: public")
    assert found.lead == "3 principles and 2, 1 of them word for word in both."
    assert list(found.differences) == [
        Difference("principle P1", "Be kind.", "Be kinder."),
        Difference("principle P3", "Be fair.", "–"),
    ]


def test_people_in_both_tell_how_far_groups_agree(one: Compared) -> None:
    groups = pl.DataFrame({"participant_id": [1, 2, 3, 5], "group_id": [1, 1, 0, 0]})
    other = replace(one, tables={**one.tables, "opinion_groups": groups})
    found = chapter(consultation_differences(one, other), "Opinion groups")
    assert found.lead.startswith("Adjusted Rand index 0.00 over 3 people in both")
    assert list(found.differences) == [Difference("people by group", "3 and 1", "2 and 2")]


def test_scores_differ_if_the_interval_of_their_difference_leaves_out_nil(one: Compared) -> None:
    tables = [
        EVAL_SCORES.build(
            [
                score("public", "bbq", "accuracy", value),
                score("public", "gsm8k", "accuracy", near),
                score("public", "mmlu", "accuracy", (0.5, 0.4, 0.6)),
            ]
        )
        for value, near in (((0.2, 0.15, 0.25), (0.5, 0.49, 0.51)), ((0.4, 0.32, 0.48), (0.51, 0.5, 0.52)))
    ]
    first, second = (replace(one, tables={"eval_scores": each}) for each in tables)
    found = chapter(consultation_differences(first, second), "Evaluation")
    assert found.lead.startswith(
        "1 of 3 scores in both are the same; of the others 1 differs, 1 by too little to matter, if at all, and of 0 "
        "it cannot be told. "
    )
    # 0.2, less the root of 0.08^2 + 0.05^2, and as much more; 0.01, less and more the root of 2 * 0.01^2.
    assert [each.note for each in found.differences] == [
        "+0.20 [+0.11, +0.29]: differs",
        "+0.01 [+0.00, +0.02]: differs by too little to matter, if at all",
    ]


def test_scores_by_two_judges_are_not_compared(one: Compared) -> None:
    tables = [
        EVAL_SCORES.build(
            [
                score("public", "adherence", "adherence", value),
                score("public", "adherence", "adherence_corrected", value),
                score("public", "elo", "helpfulness", value),
                score("public", "elo_by_people", "helpfulness", value),
            ]
        )
        for value in ((0.2, 0.1, 0.3), (0.8, 0.7, 0.9))
    ]
    by = [
        JUDGE_CALIBRATION.build([calibration(0.6, 0.8, method) | {"scores_models": True}])
        for method in ("letters", "likeness")
    ]
    first, second = (
        replace(one, tables={"eval_scores": scores, "judge_calibration": judge})
        for scores, judge in zip(tables, by, strict=True)
    )
    found = chapter(consultation_differences(first, second), "Evaluation")
    assert [each.subject for each in found.differences] == [
        "public, adherence corrected on adherence",
        "public, helpfulness on elo_by_people",
    ]
    assert found.lead.endswith(
        " 2 others are not compared: adherence and the judge's Elo are by another judge on either side (letters and "
        "likeness)."
    )
    same = replace(second, tables={"eval_scores": tables[1], "judge_calibration": by[0]})
    assert len(chapter(consultation_differences(first, same), "Evaluation").differences) == 4


def test_the_interval_of_a_difference_is_newcombes() -> None:
    # Newcombe (1998), table II, example (a): 56 of 70 against 48 of 80, method 10.
    gap, low, high = difference_interval((56 / 70, *wilson_interval(56, 70)), (48 / 80, *wilson_interval(48, 80)))
    assert (round(gap, 4), round(low, 4), round(high, 4)) == (0.2, 0.0524, 0.3339)


def test_results_that_are_older_than_decisions_are_told(one: Compared) -> None:
    manifest = Manifest(consultation="town", folder="town", materializations={}, files={})
    assert (
        "The second has no results yet"
        in chapter(consultation_differences(replace(one, manifest=manifest), one), "Results").lead
    )
    ran = replace(one, manifest=manifest)
    kind = next(iter(one.ledgers))
    assert f"({kind})" in chapter(consultation_differences(ran, one), "Results").lead
    changed = replace(ran, changed=["votes/votes.csv"], tables={})
    told = chapter(consultation_differences(changed, ran), "Results").lead
    assert "The first lacks gac_scores, consensus_stability, selected_statements and opinion_groups" in told
    assert "Results of the first are from before votes/votes.csv, " in told


def test_a_constitution_that_is_not_made_is_no_missing_arm(one: Compared) -> None:
    other = replace(one, constitutions={"public": None})
    found = consultation_differences(
        replace(one, constitutions={"public": constitution("public", P1="Be kind.")}), other
    )
    assert chapter(found, "Constitution: public").lead == "Not made yet: that of the second."


def made(version: str, run: str, at: str) -> Materialization:
    return Materialization(data_version=version, dagster_run=run, made_at=at)


def test_what_stood_after_a_run_is_compared_with_what_stood_after_another() -> None:
    manifest = Manifest(
        consultation="town",
        folder="town",
        materializations={
            "votes": made("v2", "bbb", "2026-02-01T10:00:00"),
            "gac_scores": made("g1", "ccc", "2026-03-01T10:00:00"),
            "prompts": made("p1", "aaa", "2026-01-01T10:00:00"),
        },
        earlier={
            "votes": [made("v1", "aaa", "2026-01-01T10:00:00")],
            "gac_scores": [made("g1", "aaa", "2026-01-01T11:00:00")],
        },
        runs={
            "aaa": Run(started_at=None, ended_at="2026-01-01T12:00:00", status="SUCCESS"),
            "ccc": Run(started_at=None, ended_at="2026-03-01T12:00:00", status="SUCCESS"),
            "cdd": Run(started_at=None, ended_at=None, status="STARTED"),
        },
        files={},
    )
    found = run_differences(standing_after(manifest, "a"), standing_after(manifest, "cc"))
    assert found.lead == "2 of 3 assets have the same content."
    assert list(found.differences) == [Difference("votes", "v1 (run aaa)", "v2 (run bbb)")]
    with pytest.raises(ConsultationError, match="2 runs begin with 'c'"):
        standing_after(manifest, "c")
    with pytest.raises(ConsultationError, match="No run begins with 'x'; the last on record: cdd, aaa and ccc"):
        standing_after(manifest, "x")
    with pytest.raises(ConsultationError, match="cdd has not ended"):
        standing_after(manifest, "cdd")


CHAPTERS = [Chapter("Selection", "One.", [Difference(f"statement {key}", "in", "out", HOSTILE) for key in range(12)])]


def test_what_people_typed_is_text_on_the_page_in_the_terminal_and_in_a_spreadsheet(tmp_path: Path) -> None:
    page = render_differences(("A", HOSTILE), CHAPTERS)
    assert "<script>alert" not in page and page.count("&lt;script&gt;alert") == 14
    told = "\n".join(lines(("A", "B"), CHAPTERS))
    assert "\x07" not in told and "\u202e" not in told
    assert "and 2 differences more" in told
    risky = [Chapter("Votes", "One.", [Difference("=1+1", "a", "b")])]
    write_differences(tmp_path / "found.csv", ("A", "B"), risky)
    lead, row = csv.DictReader((tmp_path / "found.csv").open())
    assert lead == {"chapter": "Votes", "what": "", "first": "", "second": "", "note": "One."}
    assert row == {"chapter": "Votes", "what": "'=1+1", "first": "a", "second": "b", "note": ""}


def test_a_file_that_is_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / "found.csv").write_text("kept")
    for name, why in [
        ("found.csv", "is there already"),
        ("found.txt", r"ends in \.html"),
        ("nowhere/found.csv", "does not exist; make it first"),
    ]:
        with pytest.raises(ConsultationError, match=why):
            check_output(tmp_path / name)
    assert (tmp_path / "found.csv").read_text() == "kept"


def test_the_command_compares_folders_and_ledgers_and_nothing_mixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CCAI_HOME", str(tmp_path / "home"))
    folders = tmp_path / "town", tmp_path / "town_other"
    for folder in folders:
        shutil.copytree(SAMPLE, folder)
    ledger = folders[1] / "decisions" / "threshold.csv"
    ledger.write_text(ledger.read_text().replace("T5,threshold,smoothing,laplace", "T5,threshold,smoothing,none"))

    def told(*words: str | Path) -> str:
        result = CliRunner().invoke(app, ["compare", *map(str, words)])
        return result.output if result.exit_code == 0 else f"refused: {result.output}"

    by_folder = told(*folders, "--output", tmp_path / "found.html")
    assert "The same people cast the same votes on the same statements." in by_folder
    assert "  threshold: smoothing: laplace (T5) -> none (T5)" in by_folder
    assert "The second has no results yet" in by_folder
    assert (tmp_path / "found.html").read_text().startswith("<!doctype html>")
    assert "9 of 10 subjects" in told(folders[0] / "decisions" / "threshold.csv", ledger)
    assert "name two of one kind" in told(folders[0] / "decisions" / "merge.csv", ledger)
    assert "refused: " in told(folders[0], ledger)
    assert "no run is on record" in told("abc", "abd", "--consultation", folders[0])
