"""`ccai audit` and `ccai verify` on a small consultation: every kind of subject, and everything that can be wrong."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from small_consultation import profile_of_statement_4
from typer.testing import CliRunner

from ccai_dagster.audit import answers
from ccai_dagster.audit.evidence import Evidence, Explanation
from ccai_dagster.audit.manifest import Observation, describe_file, read_manifest, write_manifest
from ccai_dagster.cli.app import app
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.decisions.ledger import Decision, append_decision

RUN, TRACKED = "11112222-3333-4444-5555-666677778888", "aaaabbbbccccddddeeeeffff00001111"
"""As in the fixture `finished`."""
HOSTILE = "<script>alert('x')</script> **bold** =SUM(A1) \u202etxet\x07"
UNSEEN = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def evidence(finished: Any) -> Evidence:
    path = finished.home / "manifest.json"
    return Evidence(finished.consultation, finished.tables, read_manifest(path)[0] if path.exists() else None)


def ask(finished: Any, asked: str) -> Explanation:
    (answer,) = answers.answers(asked, evidence(finished))
    json.dumps(answer.content(), default=str)
    return answer


def replace_table(finished: Any, key: str, **columns: pl.Expr) -> None:
    """Change columns of a table, and the record with them, as if a run had made it so."""
    path = finished.tables / f"{key}.parquet"
    pl.read_parquet(path).with_columns(**columns).write_parquet(path)
    manifest = read_manifest(finished.home / "manifest.json")[0]
    files = manifest.files | {f"tables/{key}.parquet": describe_file(path)}
    write_manifest(finished.home / "manifest.json", manifest.model_copy(update={"files": files}))


def refusal(finished: Any, asked: str) -> str:
    with pytest.raises(ConsultationError) as refused:
        answers.answers(asked, evidence(finished))
    return str(refused.value)


@pytest.mark.parametrize("asked", ["2", "statement:2", " 2 ", "002"])
def test_a_statement_is_explained_from_import_to_constitution(finished: Any, asked: str) -> None:
    answer = ask(finished, asked)
    assert (answer.subject, answer.text) == ("statement:2", "The AI should tell the truth.")
    assert answer.story[2].startswith("Let in and rewritten from “teh AI shuold tell the truth” to")
    assert answer.story[-1] == "It stands behind P1 of public."
    assert answer.facts["raw_text"] == "teh AI shuold tell the truth"
    assert answer.facts["group_votes"] == [10, 10] and answer.facts["group_agreement"] == [0.9, 0.8]
    assert (answer.facts["rank"], answer.facts["selected"], answer.facts["selection_probability"]) == (3, True, 0.6)
    assert [each.decision_id for each in answer.decisions] == ["M2", "T1", "T2", "G1", "W2", "P1"]
    assert {each.asset for each in answer.seen} >= {"raw_statements", "gac_scores", "public/constitution"}
    assert {each.dagster_run for each in answer.seen} == {RUN}
    assert answer.notes == []


@pytest.mark.parametrize("asked", ["public/P1", "principle:public/P1", "P1"])
def test_a_principle_comes_before_the_decision_of_the_same_name(finished: Any, asked: str) -> None:
    answer = ask(finished, asked)
    assert (answer.subject, answer.text) == ("principle:public/P1", "Choose the honest response.")
    assert (answer.facts["n_pairs"], answer.facts["n_decided_pairs"], answer.facts["adherence"]) == (4, 2, 0.75)
    assert answer.facts["base_adherence"] == 0.25 and answer.facts["n_responses"] == 2
    (policy,) = [each for each in answer.seen if each.asset == "public/policy"]
    assert policy.mlflow_run == TRACKED


def test_a_decision_that_shares_the_id_of_a_principle_is_pointed_to(finished: Any) -> None:
    answer = ask(finished, "S1")
    assert answer.subject == "principle:standard/S1"
    assert answer.notes == ["decision:S1 is something else; ask for it by this name."]


def test_a_principle_of_several_arms_is_explained_for_each(finished: Any) -> None:
    replace_table(finished, "standard/constitution", principle_id=pl.lit("P1"))
    found = answers.answers("P1", evidence(finished))
    assert [each.subject for each in found] == ["principle:public/P1", "principle:standard/P1"]


def test_a_decision_is_explained_with_what_it_replaced_and_what_followed(finished: Any) -> None:
    answer = ask(finished, "W2")
    assert answer.story == [
        "Decision W2 of 2025-03-04 by moderators: wording of 1 and 2: “principle: Choose the honest response.”.",
        "Reason given: template.",
        "It replaces Decision P1 of 2025-03-04 by moderators: wording of 1 and 2: “principle: Be honest.”. "
        "Reason given: first draft.",
        "Statement 1: principle, group-aware consensus 0.810.",
        "Statement 2: principle, group-aware consensus 0.720.",
        "public/P1 rests on it.",
    ]
    assert answer.facts["replaces"] == ["P1"] and answer.facts["principle_ids"] == ["public/P1"]
    replaced = ask(finished, "decision:P1")
    assert replaced.facts["counts"] is False and replaced.facts["replaced_by"] == ["W2"]
    assert replaced.story[2].startswith("It no longer counts: it was replaced. Decision W2")
    moderation = ask(finished, "M2")
    assert moderation.facts["used_by"] == ["statements"] and moderation.seen[0].asset == "statements"
    assert "applied to no single row" in ask(finished, "R2").story[-1]


def test_a_signature_holds_or_has_lapsed(finished: Any) -> None:
    assert ask(finished, "decision:S1").facts["holds"] is True
    replace_table(finished, "public/constitution", text=pl.lit("Choose another response."))
    lapsed = ask(finished, "decision:S1")
    assert lapsed.facts["holds"] is False and lapsed.story[-1].startswith("It has lapsed")


def test_a_preference_pair_is_explained_with_its_label(finished: Any) -> None:
    answer = ask(finished, "pair-1")
    assert answer.subject == "pair:pair-1" and list(answer.facts) == ["public"]
    assert answer.story[0].startswith("In the arm public it was judged under public/P1, “Choose the honest response.”")
    assert answer.story[-1].endswith("the label is 0.800, for response a.")
    assert ask(finished, "pair-3").story[-1] == "The feedback model gave no usable answer."
    assert ask(finished, "pair-0").story[-1].endswith("for neither response.")


def test_a_model_is_explained_by_the_beginning_of_its_digest(finished: Any) -> None:
    digest = finished.manifest.materializations["public/policy"].data_version
    answer = ask(finished, digest[:8])
    assert answer.subject == f"model:{digest}" and answer.text == "public/policy"
    assert [each.decision_id for each in answer.decisions] == ["S1"]
    assert "Training figures: kl last 0.25." in answer.story
    assert (answer.seen[0].dagster_run, answer.seen[0].mlflow_run) == (RUN, TRACKED)


@pytest.mark.parametrize("asked", ["model:public", "model:public/policy", "public/policy"])
def test_a_model_is_found_by_its_arm(finished: Any, asked: str) -> None:
    assert ask(finished, asked).text == "public/policy"


def test_a_model_of_the_positive_control_is_explained_and_asks_for_no_sign_off(finished: Any) -> None:
    record = pl.read_parquet(finished.tables / "public" / "policy.parquet").with_columns(
        model_digest=pl.lit("c" * 64), arm=pl.lit("control_plain")
    )
    pairs = pl.read_parquet(finished.tables / "public" / "preference_pairs.parquet").head(1)
    pairs = pairs.with_columns(
        pair_id=pl.lit("control-1"),
        principle_id=pl.lit("ease of reading"),
        method=pl.lit("rules"),
        forward_probability=None,
        reversed_probability=None,
        probability_a=0.75,
        status=pl.lit("labelled"),
    )
    (finished.tables / "control_plain").mkdir()
    record.write_parquet(finished.tables / "control_plain" / "policy.parquet")
    pairs.write_parquet(finished.tables / "control_plain" / "preference_pairs.parquet")
    answer = ask(finished, "model:control_plain")
    assert (answer.subject, answer.text) == (f"model:{'c' * 64}", "control_plain/policy")
    assert "needs no sign-off" in " ".join(answer.story) and "No sign-off" not in " ".join(answer.story)
    assert ask(finished, "cccccc").subject == answer.subject
    pair = ask(finished, "control-1")
    assert pair.story[0] == (
        "In the arm control_plain it was judged under control_plain/ease of reading, “Choose the response that is "
        "easiest to read: short sentences and the plainest words.”, by the method rules, a rule of known taste."
    )
    assert pair.story[-1] == "The label is 0.750, for response a."


@pytest.mark.parametrize("asked", ["public/elo/helpfulness", "score:public/elo/helpfulness/all"])
def test_a_score_is_explained_with_its_interval_and_its_judge(finished: Any, asked: str) -> None:
    answer = ask(finished, asked)
    assert answer.story[0] == (
        "helpfulness of public on elo, category all: 8.000 (95% interval -3.000 to 19.000), over 12 items, 2 of "
        "them without a readable answer."
    )
    assert answer.story[1].startswith("Paired with standard the difference is +4.000")
    assert "p = 0.0120, 0.0240 corrected for the number of comparisons; one of 5.500 would" in answer.story[1]
    assert [each["compared_with"] for each in answer.facts["comparisons"]] == ["standard"]
    assert "rests on a judge that was not shown to tell who helps more or harms less" in answer.story[2]


@pytest.mark.parametrize("asked", [RUN, RUN[:6], f"run:{TRACKED[:4]}", TRACKED])
def test_a_run_is_explained_by_what_it_made(finished: Any, asked: str) -> None:
    answer = ask(finished, asked)
    tracked = TRACKED[:4] in asked
    assert answer.text == ("MLflow run" if tracked else "Dagster run")
    assert sorted(answer.facts["standing"]) == (
        ["public/policy"] if tracked else sorted(finished.manifest.materializations)
    )


def test_a_value_is_found_by_its_name(finished: Any) -> None:
    assert ask(finished, "gac_threshold").subject == ask(finished, "GAC threshold").subject == "decision:T2"


def test_words_find_the_texts_that_have_all_of_them(finished: Any) -> None:
    answer = ask(finished, "Tell truth")
    assert answer.subject == "“Tell truth”" and "statement:2" in answer.facts["found"]
    assert "statement:2: “The AI should tell the truth.”" in answer.story
    assert not [name for name in answer.facts["found"] if name == "statement:5"]
    assert "Nothing is called 'tell lies'" in refusal(finished, "tell lies")


def test_a_statement_says_what_its_consensus_is_made_of_and_which_numbers_it_hangs_on(finished: Any) -> None:
    for value in ("smoothing", "aggregation"):
        outcome = {"smoothing": "laplace", "aggregation": "product"}[value]
        row = Decision(value, "threshold", (value,), outcome, "Right.", "us", "2025-01-01")
        append_decision(finished.consultation.ledger("threshold"), row)
    tried = {"decision": ["procedure", "minimum_votes"], "alternative": ["default", "16"]}
    pl.DataFrame({**tried, "entering": [[], [2]], "leaving": [[2], []]}).write_parquet(
        finished.tables / "decision_sensitivity.parquet"
    )
    # 9 and 8 of 10 in each group agree.
    assert ask(finished, "2").story[-3:] == [
        "The consensus is made of the groups’ shares 0.833 × 0.750 (1 added to those who agree and 2 to all votes, "
        "smoothing = laplace).",
        "With one number chosen otherwise it would not be selected: procedure = default.",
        "With one number chosen otherwise it would be selected: minimum_votes = 16.",
    ]


@pytest.mark.parametrize("asked", ["The AI should tell the truth.", "ruth", "ai truth"])
def test_a_text_pasted_whole_a_part_of_a_word_and_short_words_are_found(finished: Any, asked: str) -> None:
    assert "statement:2" in ask(finished, asked).facts["found"]


def test_short_words_are_whole_ones(finished: Any) -> None:
    assert "Nothing is called 'ai tru'" in refusal(finished, "ai tru")


def test_what_is_asked_for_may_be_written_as_pages_write_it(finished: Any, ccai: Any) -> None:
    assert ask(finished, "statement 2").subject == "statement:2"
    assert ccai("audit", "statement", "2").output.splitlines()[1] == "statement:2"


def test_of_people_only_decisions_on_them_are_told(finished: Any) -> None:
    decided = [each.decision_id for each in evidence(finished).records.by_id.values() if each.kind == "exclusion"]
    (person,) = evidence(finished).records.by_id[decided[0]].subject_ids
    assert ask(finished, f"participant {person}").subject == f"decision:{decided[0]}"
    assert "How one person voted is not told" in refusal(finished, "participant:99999")


def test_what_is_unknown_names_what_may_be_meant(finished: Any) -> None:
    assert refusal(finished, "P11").startswith("Nothing is called 'P11'. Did you mean principle:public/P1")
    assert refusal(finished, "statement:99").startswith("There is no statement '99'.")
    assert "Did you mean gac_threshold" in refusal(finished, "gac_treshold")
    assert "Ask for a statement (17), a principle" in refusal(finished, "zzzzzzzz")
    assert "Nothing is called ''" in refusal(finished, "")


def test_what_is_ambiguous_names_all_it_may_mean(finished: Any) -> None:
    append_decision(
        finished.consultation.ledger("moderation"),
        Decision("2", "moderation", ("4",), "out: late", "too late", "moderators", "2025-03-06"),
    )
    assert refusal(finished, "2") == "'2' may mean any of these: statement:2, decision:2. Ask for one of them."
    assert ask(finished, "decision:2").text == "out: late"


def test_a_decision_taken_since_the_run_is_explained_as_such(finished: Any) -> None:
    append_decision(
        finished.consultation.ledger("moderation"),
        Decision(
            "M9", "moderation", ("2",), "out: duplicate", "said already", "council", "2025-03-06", supersedes="M2"
        ),
    )
    answer = ask(finished, "2")
    assert answer.story[2] == "Kept out as duplicate (decision M9, council, 2025-03-06). Reason given: said already."
    assert answer.story[3].startswith("This replaces an earlier decision: “rewrite: The AI should tell the truth.”")
    (note,) = answer.notes
    assert note.startswith("The moderation ledger has changed since 1 table (statements) was made")


def test_rows_that_are_nobodys_decision_are_explained_as_what_they_are(finished: Any) -> None:
    path = finished.consultation.ledger("exclusion")
    append_decision(path, Decision("E8", "exclusion", ("E1", "E2"), "amended", "A copy was cut", "clerk", "2025-04-01"))
    explained = ask(finished, "E8")
    assert explained.story[-1] == "It says why these rows are not as they were first on record; it decides nothing."
    path = finished.consultation.ledger("moderation")
    filled = Decision("M7", "moderation", ("4",), "in", "taken over", "whoever", "2025-03-01", suggested_by="ccai new")
    append_decision(path, filled)
    assert "Written by `ccai new`; no person decided it here." in ask(finished, "M7").story


def test_a_statement_about_the_people_who_vote_is_explained_with_the_groups(finished: Any) -> None:
    row = Decision("M4", "moderation", ("4",), "metadata", "it says who votes", "moderators", "2025-03-04")
    append_decision(finished.consultation.ledger("moderation"), row)
    profile_of_statement_4().write_parquet(finished.tables / "group_profile.parquet")
    answer = ask(finished, "4")
    assert answer.facts["fate"] == "about the people who vote"
    assert answer.story[-2:] == [
        "Group A: of 8 votes 62% agree (95% interval 31% to 86%), 25% disagree (95% interval 7% to 59%), 12% pass (95% "
        "interval 2% to 47%).",
        "Group B: fewer than 5 of its people voted on it, so it is not told how.",
    ]


def test_tables_that_do_not_fit_together_are_noted(finished: Any) -> None:
    made = dict(finished.manifest.materializations)
    made["gac_scores"] = made["gac_scores"].model_copy(update={"inputs": {"statements": "0" * 64}})
    write_manifest(finished.home / "manifest.json", finished.manifest.model_copy(update={"materializations": made}))
    (note,) = ask(finished, "2").notes
    assert note.startswith("gac_scores was made from earlier versions of other tables than those that stand")
    assert ask(finished, "M2").notes == [note] and ask(finished, "pair-1").notes == []


def test_before_the_first_run_only_decisions_are_known(finished: Any) -> None:
    for path in finished.home.rglob("*.parquet"):
        path.unlink()
    (finished.home / "manifest.json").unlink()
    assert refusal(finished, "2").endswith("No run has ended yet, so only decisions are known: `ccai run`.")
    answer = ask(finished, "M2")
    assert "was not made yet" in answer.story[-1] and "`ccai run`" in answer.story[-1]


def test_where_a_run_stopped_before_the_constitution_what_is_known_is_told(finished: Any) -> None:
    for arm in finished.consultation.arms:
        (finished.tables / arm / "constitution.parquet").unlink()
    answer = ask(finished, "2")
    assert any("Its group-aware consensus is" in sentence for sentence in answer.story)
    assert answer.facts["principle_ids"] == []
    assert answer.notes[-1].endswith("is not made yet, so what becomes of the statement there is open.")
    assert "Statement 2: " in " ".join(ask(finished, "M2").story), "nor does a decision wait for it"


def test_a_missing_or_damaged_table_is_named_with_the_remedy(finished: Any) -> None:
    path = finished.tables / "gac_scores.parquet"
    path.write_bytes(path.read_bytes()[:100])
    said = refusal(finished, "2")
    assert str(path) in said and "not the file that is on record" in said and "`ccai verify`" in said
    (finished.home / "manifest.json").unlink()
    said = refusal(finished, "2")
    assert str(path) in said and "not readable as a table" in said and "`ccai run`" in said
    path.unlink()
    assert "gac_scores was not made yet" in refusal(finished, "2")


@pytest.fixture
def ccai(finished: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the command on the small consultation; nothing but its ledgers and tables is read."""
    from ccai_dagster.consultation import folder as consultation

    monkeypatch.setenv("CCAI_HOME", str(finished.home.parent))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(consultation, "read_consultation", lambda *_: finished.consultation)
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


def test_hostile_text_neither_acts_nor_breaks_the_lines(ccai: Any, finished: Any) -> None:
    typed = HOSTILE + "\x1b[2J\r\n[red]x[/red] \u2066" + "y" * 10_000
    text = pl.when(pl.col("statement_id") == 3).then(pl.lit(typed)).otherwise("text")
    replace_table(finished, "raw_statements", text=text)
    shown = ccai("audit", "3")
    assert shown.exit_code == 0 and not UNSEEN.search(shown.stdout)
    assert all(len(line) <= 100 for line in shown.stdout.splitlines() if "yyyy" not in line)
    assert "\\u202e" in shown.stdout and "\\x1b" in shown.stdout and "[red]x[/red]" in shown.stdout
    assert "<script>" in shown.stdout and "more characters]" in " ".join(shown.stdout.split())
    machine = ccai("audit", "3", "--json")
    assert machine.stdout.isascii()
    assert json.loads(machine.stdout)["answers"][0]["text"] == typed


def test_an_unknown_id_is_an_error_without_a_trace(ccai: Any) -> None:
    failed = ccai("audit", "\x1b[31mQ")
    assert failed.exit_code == 1 and "Traceback" not in failed.output
    assert not UNSEEN.search(failed.output) and "Nothing is called" in failed.output


def test_verify_says_that_all_matches_or_what_does_not(ccai: Any, finished: Any) -> None:
    for what in (
        [],
        [str(finished.home)],
        [str(finished.home / "report")],
        [str(finished.home.parent)],
        [str(finished.home / "report" / "audit_report.html")],
    ):
        right = ccai("verify", *what)
        assert right.exit_code == 0, right.output
        assert "Read 24 files" in right.stdout and "Everything is as the run left it" in right.stdout
    path = finished.tables / "votes.parquet"
    path.write_bytes(b"x")
    (finished.tables / "statements.parquet").write_bytes(b"x")
    wrong = ccai("verify")
    assert wrong.exit_code == 1 and "tables/statements.parquet: was changed" in wrong.stderr
    assert "tables/votes.parquet" in wrong.stdout and "Traceback" not in wrong.output


def test_verify_without_anything_to_compare_with(ccai: Any, finished: Any, tmp_path: Path) -> None:
    assert "not found" in ccai("verify", str(tmp_path / "nowhere")).stderr
    (finished.home / "manifest.json").write_text("{")
    assert "cannot be read" in ccai("verify").stderr
    (finished.home / "manifest.json").unlink()
    assert "nothing to compare with" in ccai("verify").stderr


def test_asking_loads_neither_dagster_nor_anything_heavy() -> None:
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from ccai_dagster.cli.app import app\n"
        "assert CliRunner().invoke(app, ['audit', 'M001']).exit_code == 0\n"
        "heavy = {'dagster', 'torch', 'mlflow', 'pandera', 'numpy', 'matplotlib', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_sign_off_of_an_export_tells_which_export_it_is_for(finished: Any) -> None:
    digest = "a" * 64
    row = Decision("E1", "signoff", ("polis_export",), "signed off", "Right.", "us", "2025-01-01", inputs_digest=digest)
    append_decision(finished.consultation.ledger("signoff"), row)
    for observed, told in (
        (digest, f"for the export that was last observed ({digest[:12]})"),
        ("b" * 64, f"for the export {digest[:12]}; the one that was last observed is {'b' * 12}"),
    ):
        seen = Observation(data_version=observed, dagster_run="r", number=1, observed_at="2025-01-01T00:00:00+00:00")
        manifest = finished.manifest.model_copy(update={"sources": {"polis_export": seen}})
        (answer,) = answers.answers("E1", Evidence(finished.consultation, finished.tables, manifest))
        assert told in " ".join(answer.story) and answer.facts["holds"] is (observed == digest)
