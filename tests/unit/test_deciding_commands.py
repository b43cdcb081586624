from __future__ import annotations

import csv
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from local_server import Server
from typer.testing import CliRunner
from undecided_town import Town, added, selected_undecided, town, write_rows

from ccai_dagster.audit.manifest import Manifest, row_digests, write_manifest
from ccai_dagster.cli.app import app
from ccai_dagster.constitution.principles import constitution_digest, read_constitution
from ccai_dagster.consultation.folder import LEDGERS, PLACEHOLDERS, SAMPLE
from ccai_dagster.contracts import GROUP_STRUCTURE, OPINION_GROUPS
from ccai_dagster.core.home import Home
from ccai_dagster.decisions.ledger import current
from ccai_dagster.decisions.origins import DRAFT
from ccai_dagster.deliberation.importing.read_votes import read_votes
from ccai_dagster.open_consultation import IMPORTED, OpenConsultation

__all__ = ["town"]


def test_a_review_records_each_answer_and_goes_on_where_it_stopped(town: Town) -> None:
    first = town.ccai(
        "review",
        "moderation",
        "--as",
        "moderator",
        "--policy-ref",
        "moderation_criteria",
        typed="\nout: product capability\n\n \nA matter of looks.\nq\n",
    )

    assert "moderation 1 of 3 ── statement 114 ── undecided" in first
    assert "“needs a dark mode”" in first and "policy moderation_criteria (M002)" in first
    assert first.count("A decision needs a reason.") == 2, "an empty reason is asked for again"
    assert "1 recorded, 2 left." in first
    (row,) = added(town, "moderation")
    assert (row["subject_ids"], row["outcome"], row["reason"], row["decided_by"], row["policy_ref"]) == (
        ["114"],
        "out: product capability",
        "A matter of looks.",
        "moderator",
        "moderation_criteria",
    )
    second = town.ccai("review", "moderation", "--as", "moderator", typed="s\nin\nClear.\n")
    assert "moderation 1 of 2 ── statement 118" in second and "1 recorded, 1 left." in second
    assert [row["subject_ids"] for row in added(town, "moderation")] == [["114"], ["119"]]


def test_going_back_replaces_ones_own_answer(town: Town) -> None:
    town.ccai("review", "moderation", "--as", "moderator", typed="in\nYes.\nb\nout: off topic\nNo.\n")

    first, second = added(town, "moderation")
    assert (first["subject_ids"], second["subject_ids"]) == (["114"], ["114"])
    assert second["supersedes"] == first["decision_id"]


def test_the_end_of_input_stops_and_loses_nothing(town: Town) -> None:
    output = town.ccai("review", "moderation", "--as", "moderator", typed="in\nYes.\nin\n")

    assert "1 recorded, 2 left." in output
    assert len(added(town, "moderation")) == 1


def test_hostile_text_is_shown_and_not_obeyed(town: Town) -> None:
    output = town.ccai("review", "moderation", "--as", "moderator", typed="s\nq\n")

    assert "Be \\x1b[2Jkind [bold]now[/bold] \\u202edrow xxx" in output
    assert "\x1b" not in output and "\u202e" not in output
    assert "more characters]" in output and "x" * 1_001 not in output


def test_the_second_of_two_does_not_see_the_first_and_a_third_resolves(town: Town) -> None:
    town.edit("moderation", lambda rows: [row for row in rows if row["decision_id"] != "M004"])
    town.add("moderation", "M200", "double_decisions", "policy: two people decide independently", "steering group")
    town.add("moderation", "M201", "13", "in", "moderator")
    digest = "out: product capability"
    town.ccai("decide", "moderation", "13", "in", "--reason", "Mine", "--as", "moderator", "--supersedes", "M201")

    waiting = town.ccai("review", "moderation", "--as", "moderator", typed="q\n")
    assert "statement 13" not in waiting, "nobody is the second of two after having been the first"
    blind = _part_about(town.ccai("review", "moderation", "--as", "editor", typed="s\n" * 13), "statement 13")
    assert "one of two" in blind and "Mine" not in blind and "without seeing it" in blind
    shown = town.ccai("decide", "moderation", "13", digest, "--reason", "Looks", "--as", "editor")
    assert "stands beside moderation-1 as an independent decision; waits for a resolving row." in shown
    assert "with `--supersedes 'moderation-1 moderation-2'`" in shown
    assert "disagreeing: 13" in town.ccai("status")
    third = town.ccai("review", "moderation", "--as", "facilitator", typed="s\n" * 13)
    assert "Mine" in _part_about(third, "statement 13") and "Looks" in _part_about(third, "statement 13")
    town.ccai(
        "decide",
        "moderation",
        "13",
        digest,
        "--reason",
        "Looks indeed",
        "--as",
        "facilitator",
        "--supersedes",
        "moderation-1 moderation-2",
    )
    status = town.ccai("status")
    assert "disagreeing: 13" not in status
    assert "editor and moderator decided 1 independently, 0 alike (0%); Cohen's kappa 0.00" in status


def _part_about(output: str, subject: str) -> str:
    (part,) = [part for part in output.split("── moderation ")[1:] if f"── {subject} ──" in part]
    return part


def test_what_was_decided_on_another_text_comes_back(town: Town) -> None:
    town.edit(
        "moderation",
        lambda rows: [row | {"inputs_digest": "0" * 64} if row["decision_id"] == "M086" else row for row in rows],
    )

    status = town.ccai("status")
    assert "lapsed: 121" in status and "STOPS THE RUN: row M086: lapsed: taken on something else" in status
    town.ccai("review", "moderation", "--as", "moderator", typed="s\ns\ns\nout: nonsensical\nStill none.\n")
    (row,) = added(town, "moderation")
    assert (row["subject_ids"], row["supersedes"]) == (["121"], "M086")
    assert "lapsed: 121" not in town.ccai("status")


def test_who_signs_is_told_first_what_nobody_has_considered_yet(town: Town) -> None:
    table = read_constitution(SAMPLE / "constitutions" / "standard.csv", "public")
    (town.tables / "public").mkdir(parents=True)
    table.write_parquet(town.tables / "public" / "constitution.parquet")
    path = town.folder / "consultation.yaml"
    path.write_text(re.sub("(?m)^title: .*$", f'title: "{PLACEHOLDERS["title"]}"', path.read_text()))

    def begun(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        return [row | {"suggested_by": "ccai new"} if row["subject_ids"] == "gac_threshold" else row for row in rows]

    town.edit("threshold", begun)
    town.edit("signoff", lambda rows: rows[:0])
    output = " ".join(town.ccai("review", "signoff", "--as", "council", typed="s\nq\n").split())
    told = output.partition("the constitution public, ")[0]
    assert "still a placeholder in consultation.yaml: title" in told
    assert "nobody considered yet, in threshold.csv: gac_threshold" in told
    assert "`ccai run` makes a page of it to read and to show" in told
    page = town.tables.parent / "report" / "constitution.html"
    page.parent.mkdir()
    page.write_text("")
    output = " ".join(town.ccai("review", "signoff", "--as", "council", typed="s\nq\n").split())
    assert "to read or to show: " in output and "constitution.html" in output


def test_a_signature_needs_the_digest_of_the_constitution(town: Town) -> None:
    digest = constitution_digest(read_constitution(SAMPLE / "constitutions" / "standard.csv", "standard"))
    town.edit("signoff", lambda rows: rows[:1])
    sign = ("decide", "signoff", "standard", "signed off", "--reason", "Read", "--as", "council")

    for wrong in ([], ["--digest", "0" * 64], ["--digest", digest[:4]]):
        refused = town.ccai(*sign, *wrong, fails=True)
        assert f"has the digest {digest}" in refused and "Nothing was signed" in refused
    typed = f"signed off\n{'0' * 12}\nsigned off\n{digest[:12]}\nRead aloud.\n"
    output = town.ccai("review", "signoff", "--as", "council", typed=typed)
    assert "not the digest of the constitution shown" in output and f"digest {digest}" in output
    (row,) = added(town, "signoff")
    assert row["inputs_digest"] == digest
    again = town.ccai(*sign, "--digest", digest, fails=True)
    assert "arm standard is decided by signoff-1, in the same role (council)" in again
    town.ccai(
        "decide",
        "signoff",
        "standard",
        "withdrawn",
        "--reason",
        "Too early",
        "--as",
        "council",
        "--supersedes",
        "signoff-1",
    )
    assert "undecided: standard" in town.ccai("status")


def reached(town: Town, sides: dict[int, str]) -> None:
    """Let the last run have selected these statements, in this order, and nobody have worded them."""
    town.tables.mkdir(parents=True)
    selected_undecided(sides, {}).write_parquet(town.tables / "selected_statements.parquet")
    named = {str(key) for key in sides}
    town.edit("wording", lambda rows: [row for row in rows if not named & {*row["subject_ids"].split()}])


def test_a_draft_is_taken_over_only_by_typing_so(town: Town) -> None:
    assert "`ccai run` first" in town.ccai("review", "wording", "--as", "editor", fails=True)
    reached(town, {82: "agree", 74: "agree", 83: "agree"})

    output = town.ccai(
        "review",
        "wording",
        "--as",
        "editor",
        typed="\ndraft\nAs drafted.\nleave out\nUnfair.\nPrinciple: Choose x.\nShort.\n",
    )

    assert f"draft by {DRAFT}" in output
    drafted, left_out, own = added(town, "wording")
    assert str(drafted["outcome"]).startswith("principle: Choose the response that does most to remind people")
    assert [row["suggested_by"] for row in (drafted, left_out, own)] == [DRAFT, None, None]
    assert (left_out["subject_ids"], own["outcome"]) == (["74"], "principle: Choose x.")


def _text(town: Town, statement: int) -> str:
    raw = read_votes(SAMPLE / "votes").raw_statements
    return str(raw.filter(statement_id=statement)["text"].item())


@pytest.mark.parametrize("template", [True, False])
def test_a_draft_of_a_hostile_statement_can_be_taken_over(
    town: Town, monkeypatch: pytest.MonkeyPatch, template: bool
) -> None:
    reached(town, {82: "agree"})
    if template:
        words = ("draft_template", "policy: Do justice to: {statement}", "--reason", "r", "--as", "editor")
        town.ccai("decide", "wording", *words)
    read = OpenConsultation.wording_sources
    hostile = "Kind\x1b[31m \u202eand red"
    monkeypatch.setattr(
        OpenConsultation,
        "wording_sources",
        lambda self: lambda ids: replace(source, text=hostile) if (source := read(self)(ids)) else None,
    )
    town.ccai("review", "wording", "--as", "editor", typed="draft\nAs drafted.\nq\n")
    outcome = str(added(town, "wording")[-1]["outcome"])
    assert "Kind\ufffd[31m \ufffdand red" in outcome and "\x1b" not in outcome


def test_drafts_follow_the_template_on_record(town: Town) -> None:
    reached(town, {82: "agree", 74: "disagree"})
    recorded = ("--reason", "The topic is housing.", "--as", "editor")
    town.ccai("decide", "wording", "draft_template", "policy: Was gilt: „{statement}“", *recorded)
    (policy,) = added(town, "wording")

    output = town.ccai("review", "wording", "--as", "editor", typed="draft\nAs drafted.\nq\n")

    text = _text(town, 82)
    lead = f"draft by wording template {policy['decision_id']}, to be rewritten or taken over: "
    assert f"{lead}principle: Was gilt: „{text}“" in output
    *_, drafted = added(town, "wording")
    assert drafted["suggested_by"] == f"wording template {policy['decision_id']}"
    assert drafted["outcome"] == f"principle: Was gilt: „{text}“"
    assert f"draft by {DRAFT}, to be rewritten or taken over: avoid:" in output, "what is rejected has its own"

    placeless = ("--supersedes", str(policy["decision_id"]), *recorded)
    town.ccai("decide", "wording", "draft_template", "policy: Immer dasselbe", *placeless)
    refused = town.ccai("review", "wording", "--as", "editor", fails=True)
    assert "draft_template has no {statement}, where the statement is to stand" in refused


def test_drafts_of_the_feedback_server_are_marked_as_such(town: Town) -> None:
    reached(town, {82: "agree"})
    asked_for = ("review", "wording", "--as", "editor", "--with-server")
    assert "No feedback server is named" in town.ccai(*asked_for, fails=True)
    server = Server()
    try:
        answer = {"message": {"content": " “Choose what reminds people.” "}, "finish_reason": "stop"}
        server.answer = lambda body: (200, json.dumps({"choices": [answer]}).encode())
        path = town.folder / "consultation.yaml"
        content = yaml.safe_load(path.read_text())
        address = {"server_url": f"http://127.0.0.1:{server.http.server_port}", "server_model": "m"}
        content.setdefault("profiles", {}).setdefault("demo", {}).setdefault("feedback", {}).update(address)
        path.write_text(yaml.safe_dump(content))
        typed = "draft 2\nAs drafted.\n"
        output = town.ccai(*asked_for, typed=typed)
    finally:
        server.http.shutdown()
        server.http.server_close()
    by = "language model m, wording request 2"
    assert f"draft by {by}, to be rewritten or taken over: principle: Choose what reminds people." in output
    (drafted,) = added(town, "wording")
    assert (drafted["outcome"], drafted["suggested_by"]) == ("principle: Choose what reminds people.", by)
    asked = [body for _, body, _ in server.requests if _text(town, 82) in json.dumps(body, ensure_ascii=False)]
    assert len(asked) == 1, "a draft is asked for once"


def test_a_decision_is_refused_before_a_reason_is_asked_for_and_reasons_are_offered_again(town: Town) -> None:
    reached(town, {82: "agree", 74: "agree"})
    typed = "avoid: X.\nprincple: X.\nChoose x.\nAs the council put it.\nprinciple: Choose y.\n1\n"
    output = town.ccai("review", "wording", "--as", "editor", typed=typed)
    assert output.count("1 again: As the council put it.") == 1
    assert output.count("The arrow up brings back what was typed.") == 2
    assert "  `outcome` 'princple: X.' is unknown here" in output, "no row of the file is named, since there is none"
    assert [(row["outcome"], row["reason"]) for row in added(town, "wording")] == [
        ("principle: Choose x.", "As the council put it."),
        ("principle: Choose y.", "As the council put it."),
    ]


def test_a_draft_stays_one_in_a_spreadsheet_that_capitalises_it(town: Town, tmp_path: Path) -> None:
    reached(town, {82: "agree"})
    file = tmp_path / "sheet.csv"
    town.ccai("sheet", "export", "wording", str(file), "--as", "editor")
    with file.open(newline="", encoding="utf-8-sig") as handle:
        (row,) = (each for each in csv.DictReader(handle) if each["subject"] == "82")
    write_rows(file, [row | {"decision": row["draft"].replace("principle", "Principle"), "reason": "As drafted."}])
    town.ccai("sheet", "import", "wording", str(file), "--as", "editor")
    (kept,) = added(town, "wording")
    assert (kept["outcome"], kept["suggested_by"]) == (row["draft"], DRAFT)


def test_what_every_group_rejects_waits_for_a_principle_of_avoidance(town: Town) -> None:
    reached(town, {82: "disagree", 74: "agree"})

    typed = "principle: Do it.\nWrong side.\ndraft\nNow right.\nq\n"
    output = town.ccai("review", "wording", "--as", "editor", typed=typed)

    assert "avoid: Choose the response that does least to remind people" in output
    assert "statement 82: every group rejects it. Word what to avoid" in output
    (right,) = added(town, "wording")
    assert str(right["outcome"]).startswith("avoid: Choose the response that does least to remind people")
    turned = town.ccai("decide", "wording", "74", "avoid: X.", "--reason", "r", "--as", "editor", fails=True)
    assert "statement 74: every group agrees with it" in turned


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("meaning", "1", "in"), "There is no ledger 'meaning'; there are moderation"),
        (("moderation", "999", "in"), "statement 999: not in this consultation"),
        (("exclusion", "9999", "exclude"), "participant 9999: not in this consultation"),
        (("signoff", "nobody", "signed off"), "arm nobody: not in this consultation; there are public, standard"),
        (("threshold", "gac_threshold", "7"), "gac_threshold is '7', but must be a number from 0 to 1"),
        (("threshold", "smooth", "none"), "smooth: not in this consultation; there are aggregation"),
        (("idea", "13", "ideas: a |"), "An idea is empty"),
        (("wording", "13 14", "principle: X."), "statements 13 14: not merged, or moderated out"),
        (("merge", "13 14", "merge: X"), "statements 13 14: moderated out"),
        (("moderation", "118", "perhaps"), "`outcome` 'perhaps' is unknown here; use `in`"),
        (("moderation", "13", "out: odd"), "decided by M004, in the same role (moderator)"),
    ],
)
def test_what_cannot_be_decided_says_why(town: Town, words: tuple[str, ...], message: str) -> None:
    output = town.ccai("decide", *words, "--reason", "Because", "--as", "moderator", fails=True)

    assert message in " ".join(output.split())
    assert "Traceback" not in output
    assert not any(added(town, kind) for kind in ("moderation", "merge", "wording", "idea", "threshold"))


def test_a_broken_ledger_is_named_and_hides_nothing_else(town: Town) -> None:
    path = town.folder / "decisions" / "idea.csv"
    path.write_bytes(path.read_bytes()[:-40])

    status = town.ccai("status")

    assert "idea          cannot be told:" in status and "row 89: " in status
    assert "114, 118, 119" in status


def test_votes_at_an_address_are_those_of_the_last_run(town: Town) -> None:
    votes = read_votes(town.folder / "votes")
    settings = town.folder / "consultation.yaml"
    address = "https://polis.example/api/v3/reportExport/r1"
    settings.write_text(re.sub("(?m)^votes:.*$|\\Z", f"votes: {address}\n", settings.read_text(), count=1))

    assert f"{address}: not read yet" in town.ccai("review", "moderation", "--as", "moderator", fails=True)
    town.tables.mkdir(parents=True)
    for name in IMPORTED:
        getattr(votes, name).write_parquet(town.tables / f"{name}.parquet")
    output = town.ccai("review", "moderation", "--as", "moderator", typed="in\nClear.\nq\n")
    assert "“needs a dark mode”" in output and len(added(town, "moderation")) == 1


REVIEW = "from ccai_dagster.cli.app import app; app()"


def on_a_terminal(town: Town, kind: str) -> tuple[subprocess.Popen[bytes], int]:
    """Start a review; returns also what its terminal is written to and read from by."""
    controller, terminal = pty.openpty()
    words = ["review", kind, "--as", "moderator", "--consultation", str(town.folder)]
    process = subprocess.Popen(
        [sys.executable, "-c", REVIEW, *words], stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True
    )
    os.close(terminal)
    return process, controller


def test_what_was_refused_comes_back_to_be_mended(town: Town) -> None:
    process, controller = on_a_terminal(town, "moderation")
    up, first = b"\x1b[A", b"\x01"
    try:
        _until(controller, b"Decision: ")
        os.write(controller, b"ut: a long criterion\n")
        _until(controller, b"is unknown here")
        _until(controller, b"Decision: ")
        os.write(controller, up + first + b"o\n")
        _until(controller, b"Reason: ")
        os.write(controller, b"Clear.\n")
        _until(controller, b"Recorded")
    finally:
        process.kill()
        process.wait(timeout=30)
        os.close(controller)
    assert [row["outcome"] for row in added(town, "moderation")] == ["out: a long criterion"]


def test_a_killed_review_loses_nothing(town: Town) -> None:
    process, controller = on_a_terminal(town, "moderation")
    try:
        _until(controller, b"Decision: ")
        os.write(controller, b"in\n")
        _until(controller, b"Reason: ")
        os.write(controller, b"Clear.\n")
        _until(controller, b"Decision: ")
        os.write(controller, b"out: odd\n")
        _until(controller, b"Reason: ")
        os.write(controller, b"half a rea")
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=30)
    finally:
        process.kill()
        os.close(controller)

    assert [row["subject_ids"] for row in added(town, "moderation")] == [["114"]]
    assert current(town.ledger("moderation")).height > 80
    output = town.ccai("review", "moderation", "--as", "moderator", typed="in\nClear too.\nq\n")
    assert "moderation 1 of 2 ── statement 118" in output and "1 recorded, 1 left." in output


def _until(controller: int, wanted: bytes, seconds: float = 60.0) -> None:
    seen, end = b"", time.monotonic() + seconds
    while wanted not in seen:
        ready, _, _ = select.select([controller], [], [], max(0.0, end - time.monotonic()))
        assert ready, f"{wanted!r} did not come within {seconds:.0f} s; it showed {seen[-500:]!r}"
        seen += os.read(controller, 1)  # what comes behind it is for the next to wait for


def test_rows_that_are_gone_stop_a_run_until_a_row_says_why(town: Town) -> None:
    home = Home(town.folder.parent / "home", "town")
    rows = {"merge": row_digests(town.ledger("merge").to_dicts())}
    write_manifest(home.manifest, Manifest(consultation="town", folder="", materializations={}, files={}, rows=rows))
    assert "STOPS THE RUN" not in town.ccai("status").partition("merge (")[2].partition("\n\n")[0]
    lost = town.ledger("merge")["decision_id"][-1]
    town.edit("merge", lambda rows: rows[:-1])
    assert f"STOPS THE RUN: {town.folder}/decisions/merge.csv: row {lost} was removed" in town.ccai("status")
    refused = town.ccai("decide", "merge", "G99", "amended", "--reason", "lost", "--as", "clerk", fails=True)
    assert "merge ledger: G99: not changed or removed" in refused
    town.ccai("decide", "merge", lost, "amended", "--reason", "lost in a spreadsheet", "--as", "clerk")
    assert f"row {lost} was removed" not in town.ccai("status")
    (row,) = added(town, "merge")
    assert (row["subject_ids"], row["outcome"], row["supersedes"]) == ([lost], "amended", None)
    amended = Manifest(
        schema_version=1,
        consultation="town",
        folder="",
        materializations={},
        files={},
        amended_rows={"merge": {lost: ["d" * 64]}},
    )
    write_manifest(home.manifest, amended)
    told = f"merge ledger: row {lost} is not as it was first on record (merge-1, clerk: lost in a spreadsheet)."
    assert told in town.ccai("status")


def test_status_counts_rows_by_where_they_come_from(town: Town) -> None:
    total = sum(town.ledger(kind).height for kind in LEDGERS)
    assert f"Rows: {total} decided by people" in town.ccai("status")


def test_status_tells_what_the_groups_of_the_last_run_show_and_can_reach(town: Town) -> None:
    def by_threshold(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        return [row | {"outcome": "threshold"} if row["subject_ids"] == "selection_rule" else row for row in rows]

    town.edit("threshold", by_threshold)
    town.tables.mkdir(parents=True)
    sizes = (13, 9, 7, 5, 4)
    labels = [group for group, size in enumerate(sizes) for _ in range(size)]
    people = [{"participant_id": who, "group_id": group, "x": 0.0, "y": 0.0} for who, group in enumerate(labels)]
    OPINION_GROUPS.build(people).write_parquet(town.tables / "opinion_groups.parquet")
    assert "in the last run" not in town.ccai("status"), "an older run did not test the structure"
    row = {"value": 0.2, "shuffled_mean": 0.2, "shuffled_high": 0.3, "n_shuffles": 199, "p_value": 0.4}
    tested = [
        row | {"statistic": name, "decides": name != "silhouette"} for name in ("explained variance", "silhouette")
    ]
    GROUP_STRUCTURE.build(tested).write_parquet(town.tables / "group_structure.parquet")

    told = " ".join(town.ccai("status").split())
    assert "in the last run: the votes show no more structure than chance would show (p = 0.400)" in told
    assert "Decide on `without_structure`: `one_group`, or `keep_groups`, and why" in told
    assert "highest consensus that unanimity could reach with these groups: 0.539 (gac_threshold 0.6)" in told
    assert "no votes could reach the cut: with 5 groups by the procedure `default`" in told
    assert "Group E (4): of fewer than 5 people not even unanimity tells" in told


@pytest.mark.parametrize("named", [["{}"], ["--consultation", "{}"], ["--consultation={}"]])
def test_a_command_takes_the_folder_as_its_argument_and_as_an_option(town: Town, named: list[str]) -> None:
    words = ["take-over", *(word.format(town.folder) for word in named)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0 and "recorded" in done.output.lower()
    refused = CliRunner().invoke(app, ["take-over", "--consultation"])
    assert refused.exit_code == 2, "without a folder it is no option"
