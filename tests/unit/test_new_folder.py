"""`ccai new`: folders that can be run at once."""

from __future__ import annotations

import os
import pty
import re
import shutil
from pathlib import Path

import polars as pl
import pytest
from ccai_publication import clone, paper
from field_conversation import (
    PEOPLE,
    STATEMENTS,
    all_votes,
    as_csv,
    matrix,
    plain_files,
    polis_files,
    text_of,
    vote_of,
    wide_rows,
    write,
)
from small_export import write_export
from typer.testing import CliRunner

from ccai_dagster.cli import app as cli
from ccai_dagster.cli.app import app
from ccai_dagster.cli.new import from_ccai, from_export, from_sample
from ccai_dagster.constitution.principles import constitution_digest, read_constitution
from ccai_dagster.consultation.folder import PLACEHOLDERS, SAMPLE, read_consultation
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.home import Home
from ccai_dagster.core.schema_version import SCHEMA_VERSION
from ccai_dagster.decisions import checks
from ccai_dagster.decisions.ledger import read_ledger
from ccai_dagster.decisions.outcomes import signoffs
from ccai_dagster.decisions.values import Cut, thresholds, training_decisions
from ccai_dagster.deliberation.importing.read_votes import find_vote_files, read_votes
from ccai_dagster.open_consultation import OpenConsultation


def test_a_folder_around_an_export(tmp_path: Path) -> None:
    lines = from_export(str(SAMPLE / "votes"), tmp_path / "mine", "strict")
    assert "340 participants, 127 statements" in lines[0]
    mine = read_consultation(tmp_path / "mine")
    assert mine.file.moderation == "strict" and mine.file.schema_version == SCHEMA_VERSION
    assert find_vote_files(mine.path("votes")).digest() == find_vote_files(SAMPLE / "votes").digest()
    raw = read_votes(mine.path("votes")).raw_statements
    moderation = read_ledger(mine.ledger("moderation"), "moderation")
    assert [each for each in checks.check_moderation(moderation, raw, "strict") if each.severity == "error"] == []
    started = thresholds(read_ledger(mine.ledger("threshold"), "threshold"), 1)
    assert started.cut == Cut("threshold", 0.775, 40) and started.procedure.aggregation == "geometric_mean"
    assert started.procedure.smallest_group == 5 and started.without_structure == "one_group"
    assert training_decisions(read_ledger(mine.ledger("training"), "training")).feedback_method == "letters"
    assert read_ledger(mine.ledger("wording"), "wording").height == 0
    assert set(moderation["suggested_by"]) == {"ccai new"}
    sets = set(read_consultation(SAMPLE).file.benchmarks)
    assert set(mine.file.benchmarks) == sets - {"sample_opinions"}, "another public's opinions do not come along"


def test_a_folder_for_the_portal_can_be_voted_in_at_once(tmp_path: Path) -> None:
    assert "85 statements" in from_sample(tmp_path / "mine")[0]
    mine = read_consultation(tmp_path / "mine")
    assert (mine.votes, mine.file.moderation) == ("portal", "lenient")
    seeds = pl.read_csv(mine.path("seeds.csv"))["text"]
    assert seeds.len() == 85 and "It should answer in the language I write in, if it knows it." in seeds
    assert read_ledger(mine.ledger("moderation"), "moderation").is_empty()
    assert thresholds(read_ledger(mine.ledger("threshold"), "threshold"), 1).cut.threshold == 0.775
    with pytest.raises(ConsultationError, match="holds something"):
        from_sample(tmp_path / "mine")


def test_the_first_decision_on_a_subject_replaces_what_the_folder_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CCAI_HOME", str(tmp_path / "home"))
    from_export(str(SAMPLE / "votes"), tmp_path / "mine", "strict")
    given = ["--reason", "as in Polis", "--as", "process team", "--consultation", str(tmp_path / "mine")]
    decided = CliRunner().invoke(app, ["decide", "threshold", "procedure", "polis", *given])
    rows = read_ledger(tmp_path / "mine" / "decisions" / "threshold.csv", "threshold").to_dicts()
    (began,) = [each for each in rows[:-1] if each["subject_ids"] == ["procedure"]]
    assert decided.output == f"Recorded {rows[-1]['decision_id']}.\n"
    assert rows[-1]["supersedes"] == began["decision_id"]
    status = CliRunner().invoke(app, ["status", str(tmp_path / "mine")]).output
    assert "Rows: 125 taken over from the export, 17 starting values, 1 decided by people" in status
    assert "Cohen's kappa" not in status and "cannot be told" not in status


def test_nothing_is_made_of_a_bad_export_or_over_another_folder(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConsultationError, match=r"comments\.csv"):
        from_export(str(tmp_path / "empty"), tmp_path / "mine", "strict")
    assert not (tmp_path / "mine").exists()
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "note.txt").write_text("mine")
    with pytest.raises(ConsultationError, match="holds something"):
        from_export(str(SAMPLE / "votes"), tmp_path / "taken", "strict")
    assert [path.name for path in (tmp_path / "taken").iterdir()] == ["note.txt"]


@pytest.mark.parametrize(
    ("name", "votes", "undecided"),
    [
        ("15-per-hour-seattle", 2872, 1),
        ("brexit-consensus", 5303, 0),
        ("scoop-hivemind.biodiversity", 29719, 0),
        ("scoop-hivemind.ubi", 7153, 18),
    ],
)
def test_published_conversations_need_no_hand(
    test_data: Path, tmp_path: Path, name: str, votes: int, undecided: int
) -> None:
    lines = from_export(str(test_data / "polis" / name), tmp_path / "mine", "lenient")
    mine = read_consultation(tmp_path / "mine")
    imported = read_votes(mine.path("votes"))
    assert imported.raw_votes.height == votes and f"{votes:,} votes" in lines[0]
    moderation = read_ledger(mine.ledger("moderation"), "moderation")
    findings = checks.check_moderation(moderation, imported.raw_statements, "lenient")
    assert [each.severity for each in findings] == ["warning"] * undecided
    notes = [line for line in lines if "never moderated" in line]
    assert [f"({undecided})" in line for line in notes] == ([True] if undecided else [])


def test_moderation_is_asked_for(tmp_path: Path) -> None:
    write_export(tmp_path / "export", 5)
    # None was moderated, and one of four was shown to others than its author: that tells nothing.
    for name, change in {
        "comments.csv": lambda line: line.replace(",0,1,", ",0,0,"),
        "votes.csv": lambda line: line if re.search(r",Tue,(0,|(\d),\2,)", line) or "vote" in line else "",
    }.items():
        path = tmp_path / "export" / name
        path.write_text("\n".join(filter(None, map(change, path.read_text().splitlines()))) + "\n")
    (tmp_path / "export" / "summary.csv").unlink()
    start = ["new", "--from-export", str(tmp_path / "export")]
    refused = CliRunner().invoke(cli.app, [*start, str(tmp_path / "mine")])
    assert refused.exit_code == 1 and not (tmp_path / "mine").exists()
    assert "--moderation strict" in refused.stderr and "--moderation lenient" in refused.stderr
    unknown = CliRunner().invoke(cli.app, [*start, "--moderation", "guess", str(tmp_path / "mine")])
    assert unknown.exit_code == 2 and not (tmp_path / "mine").exists()
    given = CliRunner().invoke(cli.app, [*start, "--moderation", "lenient", str(tmp_path / "mine")])
    assert given.exit_code == 0, given.stderr
    assert read_consultation(tmp_path / "mine").file.moderation == "lenient"
    both = ["new", "--from-ccai", "x", "--moderation", "strict", str(tmp_path / "other")]
    assert "goes with --from-export" in CliRunner().invoke(cli.app, both).stderr
    texts = ["new", "--from-export", "x", "--texts", "paper.pdf", str(tmp_path / "other")]
    assert "--texts goes with --from-ccai" in CliRunner().invoke(cli.app, texts).stderr


def test_nobody_is_asked_for_a_mode_that_changes_nothing(tmp_path: Path) -> None:
    write_export(tmp_path / "export", 5)  # every statement was moderated
    lines = from_export(str(tmp_path / "export"), tmp_path / "mine", cli.asked_moderation)
    assert read_consultation(tmp_path / "mine").file.moderation == "strict"
    assert [
        line for line in lines if line.startswith("Moderation is strict, which concerns statements that come later")
    ]


def test_a_terminal_is_asked_until_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    main, other = pty.openpty()
    with os.fdopen(main, "wb", buffering=0) as keyboard, os.fdopen(other) as terminal:
        monkeypatch.setattr("sys.stdin", terminal)
        keyboard.write(b"perhaps\nlenient\n")
        assert cli.asked_moderation() is cli.Moderation.lenient


def test_codes_do_not_come_along(tmp_path: Path) -> None:
    export = tmp_path / "export"
    shutil.copytree(SAMPLE / "votes", export)
    head, *rows = (export / "participants-votes.csv").read_text().splitlines()
    coded = [head.replace("participant,", "participant,xid,", 1)]
    coded += [row.replace(",", f",secret-{number},", 1) for number, row in enumerate(rows)]
    (export / "participants-votes.csv").write_text("\n".join(coded) + "\n")
    from_export(str(export), tmp_path / "mine", "strict")
    assert not [path for path in (tmp_path / "mine").rglob("*") if path.is_file() and "secret" in path.read_text()]
    assert read_votes(tmp_path / "mine" / "votes").raw_votes.equals(read_votes(SAMPLE / "votes").raw_votes)


def test_a_conversation_with_nothing_moderated_in_is_noted(tmp_path: Path) -> None:
    (tmp_path / "votes.csv").write_text("participant,statement,vote\n1,1,1\n")
    lines = from_export(str(tmp_path / "votes.csv"), tmp_path / "mine", "strict")
    assert any("none is in while moderation is strict" in line for line in lines)
    lenient = from_export(str(tmp_path / "votes.csv"), tmp_path / "other", "lenient")
    assert not any("none is in" in line for line in lenient)
    assert read_votes(tmp_path / "mine" / "votes").raw_votes.height == 1


def test_ccai_has_three_signed_arms(test_data: Path, tmp_path: Path) -> None:
    source = clone(test_data, tmp_path / "clone")
    lines = from_ccai(source, tmp_path / "ccai", [paper(test_data, tmp_path / "paper.txt")])
    folder = read_consultation(tmp_path / "ccai")
    assert "sample_opinions" not in folder.file.benchmarks
    signed = signoffs(read_ledger(folder.ledger("signoff"), "signoff"))
    assert set(signed) == set(folder.arms) == {"public", "published", "standard"}
    published = read_constitution(folder.path(folder.arms["published"].constitution), "published")
    assert published.height == 75 and signed["published"] == constitution_digest(published)
    counts = [line.split()[1] for line in lines if line.startswith("  ") and "principles" in line]
    assert counts[1:] == ["75", "58"] and 64 <= int(counts[0]) <= 70
    assert "xid" not in (folder.path("votes") / "participants-votes.csv").read_text().splitlines()[0]


def unmoderated(folder: Path, shown: bool) -> Path:
    votes = [vote for vote in all_votes() if shown or vote[1] != 12 or vote[0] == 12]
    return write(folder, polis_files(votes, {12: 0, 13: -1}))


@pytest.mark.parametrize(("shown", "told", "other"), [(True, "lenient", "strict"), (False, "strict", "lenient")])
def test_the_votes_tell_the_mode_of_moderation(tmp_path: Path, shown: bool, told: str, other: str) -> None:
    start = ["new", "--from-export", str(unmoderated(tmp_path / "export", shown))]
    untold = CliRunner().invoke(cli.app, [*start, str(tmp_path / "mine")])
    assert untold.exit_code == 0 and read_consultation(tmp_path / "mine").file.moderation == told
    assert f"Moderation is {told}. {int(shown)} of 1 statement that nobody moderated was voted on" in untold.stdout
    assert "WARNING" not in untold.stdout
    against = CliRunner().invoke(cli.app, [*start, "--moderation", other, str(tmp_path / "against")])
    assert against.exit_code == 0 and read_consultation(tmp_path / "against").file.moderation == other
    assert f"WARNING: moderation is {other}, but the votes tell that it was {told}" in against.stdout
    if shown:
        lost = sum(s == 12 for _, s, *_ in all_votes())
        assert f"1 statement with {lost} votes is left out" in against.stdout


def everything(folder: Path) -> str:
    return "".join(path.read_text() for path in folder.rglob("*") if path.is_file())


def coded(rows: list[list[object]], name: str, person: int) -> list[list[object]]:
    """Add a column with an address for the person whose id stands in another one."""
    return [[*row, f"panel-{row[person]}@example.org" if place else name] for place, row in enumerate(rows)]


def with_codes(name: str) -> dict[str, list[list[object]]]:
    files = {**polis_files(), "participants-votes.csv": matrix()}
    coded_files = {
        file: coded(rows, name, {"comments.csv": 2, "votes.csv": 2}.get(file, 0)) for file, rows in files.items()
    }
    comments = coded_files["comments.csv"]
    return {**coded_files, "comments.csv": [[*row[:-2], row[-1], row[-2]] for row in comments]}


@pytest.mark.parametrize("name", ["xid", "email", "x_id", "Panel code"])
@pytest.mark.parametrize("separator", [",", ";"])
def test_only_what_is_read_is_copied_and_the_rest_is_named(tmp_path: Path, name: str, separator: str) -> None:
    export = write(tmp_path / "export", with_codes(name), separator)
    lines = from_export(str(export), tmp_path / "mine", "strict")
    assert "example.org" in everything(export) and "example.org" not in everything(tmp_path / "mine")
    (left,) = [line for line in lines if "Left out" in line]
    plain = name.lower().replace("_", "-").replace(" ", "-")
    assert all(f"{file}: {plain}" in left for file in ("comments.csv", "votes.csv", "participants-votes.csv"))
    before, after = read_votes(export), read_votes(tmp_path / "mine" / "votes")
    for table in ("raw_votes", "raw_statements", "raw_participants"):
        assert getattr(after, table).equals(getattr(before, table))


def test_texts_without_quotes_and_the_summary_are_copied_without_codes(tmp_path: Path) -> None:
    comments = (
        "comment-id,author-id,xid,moderated,comment-body\n0,1,me@example.org,1,Be kind, always\n1,2,you@example.org,"
    )
    files = {
        "comments.csv": comments + '1,Say "please", then go\n',
        "votes.csv": "comment-id,voter-id,vote\n0,1,1\n1,2,1\n",
        "summary.csv": "topic,Manners\nowner-email,boss@example.org\nvoters,2\n",
    }
    lines = from_export(str(write(tmp_path / "export", files)), tmp_path / "mine", "strict")
    assert "example.org" not in everything(tmp_path / "mine")
    assert any("summary.csv: owner-email" in line for line in lines)
    copied = (tmp_path / "mine" / "votes" / "comments.csv").read_text()
    assert copied == comments.replace("xid,", "").replace("me@example.org,", "").replace("you@example.org,", "") + (
        '1,Say "please", then go\n'
    )


@pytest.mark.parametrize(
    ("description", "question"),
    [
        ('How do you\n""see"" it? $public', 'How do you "see" it? $public'),
        ("This is closed.\n\nDo you want to read more?", PLACEHOLDERS["question"]),
        ("Thank you for coming.", PLACEHOLDERS["question"]),
    ],
)
def test_title_and_question_are_taken_over_from_the_export(tmp_path: Path, description: str, question: str) -> None:
    files = {
        "comments.csv": "comment-id,author-id,moderated,comment-body\n0,1,1,Be kind\n",
        "votes.csv": "comment-id,voter-id,vote\n0,1,1\n",
        "summary.csv": f'topic,"Rents: 15 €, or\x7f ""less"""\nvoters,1\nconversation-description,"{description}"\n',
    }
    lines = from_export(str(write(tmp_path / "export", files)), tmp_path / "mine", "strict")
    mine = read_consultation(tmp_path / "mine").file
    assert (mine.title, mine.question, mine.public) == ('Rents: 15 €, or\\x7f "less"', question, PLACEHOLDERS["public"])
    assert "The title is the export's: " + mine.title in lines
    assert ("Next: write public in " in lines[-1]) == (question != PLACEHOLDERS["question"])


def test_an_id_of_polis_that_is_an_address_is_not_copied(tmp_path: Path) -> None:
    files = {**polis_files(author=lambda s: "me@example.org" if s == 4 else s), "participants-votes.csv": matrix()}
    files["votes.csv"][9][2] = files["participants-votes.csv"][3][0] = "you@example.org"
    files["votes.csv"][0] = ["Timestamp", "Comment ID", "Voter", "Vote"]
    export = write(tmp_path / "export", files, ";")
    (left,) = [line for line in from_export(str(export), tmp_path / "mine", "strict") if "Left out" in line]
    for part in ("comments.csv: author-id", "votes.csv: voter-id", "participants-votes.csv: participant"):
        assert f"{part} where it is no number (1)" in left
    assert "example" not in everything(tmp_path / "mine")
    before, after = read_votes(export), read_votes(tmp_path / "mine" / "votes")
    assert after.raw_votes.equals(before.raw_votes) and after.raw_statements.equals(before.raw_statements)


def addressed(rows: list[list[object]], column: int = 0) -> list[list[object]]:
    return [
        [*row[:column], f"p{row[column]}@example.org", *row[column + 1 :]] if n else row for n, row in enumerate(rows)
    ]


@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_people_who_are_addresses_are_numbered_as_the_import_does(tmp_path: Path, timed: bool, ending: str) -> None:
    files = plain_files()
    votes = [row if timed else row[:3] for row in addressed(files["votes.csv"])]
    export = write(tmp_path / "export", {"statements.csv": addressed(files["statements.csv"], 2)})
    if ending == "csv":
        write(export, {"votes.csv": coded(votes, "email", 0)})
    else:
        table = pl.DataFrame(votes[1:], schema=[str(name) for name in votes[0]], orient="row")
        table.write_parquet(export / "votes.parquet")
    lines = from_export(str(export), tmp_path / "mine", "strict")
    kept = everything_in_tables(tmp_path / "mine")
    assert "example" not in kept and any("numbers stand in place of ids" in line for line in lines)
    before, after = read_votes(export), read_votes(tmp_path / "mine" / "votes")
    assert before.raw_participants.height == PEOPLE and after.raw_votes.equals(before.raw_votes)
    assert after.raw_statements.equals(before.raw_statements)


def everything_in_tables(folder: Path) -> str:
    tables = [pl.read_parquet(path).write_csv() for path in folder.rglob("*.parquet")]
    return "".join([*tables, *(path.read_text() for path in folder.rglob("*.csv"))])


def test_a_survey_is_copied_without_what_else_was_asked(tmp_path: Path) -> None:
    rows = coded(addressed(wide_rows()), "How old are you?", 0)
    export = write(tmp_path / "export", {"survey.csv": rows})
    from_export(str(export), tmp_path / "mine", "lenient")
    assert "example" not in everything(tmp_path / "mine")
    copied = read_votes(tmp_path / "mine" / "votes")
    assert copied.raw_votes.equals(read_votes(export).raw_votes)
    assert copied.raw_statements["text"].to_list() == [text_of(s) for s in range(STATEMENTS)]


def test_what_votes_mean_is_said_once_and_read_from_then_on(tmp_path: Path) -> None:
    scale = [[p, s, {1: 5, 0: 3, -1: 1}[vote_of(p, s)], t] for p, s, _, t in all_votes()]
    export = write(tmp_path / "export", {"ratings.csv": as_csv([["participant", "statement", "vote", "time"], *scale])})
    start = ["new", "--from-export", str(export), "--moderation", "lenient"]
    refused = CliRunner().invoke(cli.app, [*start, str(tmp_path / "mine")])
    assert refused.exit_code == 1 and "--vote-values" in refused.stderr and not (tmp_path / "mine").exists()
    told = CliRunner().invoke(
        cli.app, [*start, "--vote-values", "1..2=disagree,3=pass,4..5=agree", str(tmp_path / "mine")]
    )
    assert told.exit_code == 0, told.stderr
    mine = read_consultation(tmp_path / "mine")
    assert mine.file.vote_values == {"1..2": "disagree", "3": "pass", "4..5": "agree"}
    opened = OpenConsultation(mine, Home(tmp_path / "home", "mine"))
    assert opened.imported.raw_votes["vote"].to_list() == [
        v for *_, v in sorted((p, s, vote_of(p, s)) for p, s, *_ in all_votes())
    ]


def test_yes_and_no_as_values_must_be_quoted(tmp_path: Path) -> None:
    values = {"-1": "disagree", "0": "pass", "1": "agree"}
    from_export(str(write(tmp_path / "export", plain_files())), tmp_path / "mine", "strict", values)
    path = tmp_path / "mine" / "consultation.yaml"
    path.write_text(path.read_text().replace("'1': agree", "yes: agree"))
    with pytest.raises(ConsultationError, match="in quotes"):
        read_consultation(tmp_path / "mine")
    path.write_text(path.read_text().replace("yes: agree", "7: agree"))
    assert read_consultation(tmp_path / "mine").file.vote_values == {"-1": "disagree", "0": "pass", "7": "agree"}


def test_a_clone_alone_makes_a_folder_without_sign_offs(test_data: Path, tmp_path: Path) -> None:
    source = clone(test_data, tmp_path / "clone")
    made = CliRunner().invoke(app, ["new", "--from-ccai", str(source), str(tmp_path / "ccai_2023")])
    assert made.exit_code == 0, made.output
    assert "https://arxiv.org/pdf/2406.07814" in made.output and "--select '+key:replication_report'" in made.output
    assert read_ledger(tmp_path / "ccai_2023" / "decisions" / "signoff.csv", "signoff").height == 0


@pytest.mark.parametrize("shown", [True, False])
def test_the_mode_that_conversation_json_states_counts_and_votes_that_tell_otherwise_are_told(
    tmp_path: Path, shown: bool
) -> None:
    export = unmoderated(tmp_path / "export", shown)
    (export / "conversation.json").write_text('{"owner": 7, "topic": "Town", "strict_moderation": true}')
    start = ["new", "--from-export", str(export)]
    made = CliRunner().invoke(cli.app, [*start, str(tmp_path / "mine")])
    assert made.exit_code == 0 and read_consultation(tmp_path / "mine").file.moderation == "strict"
    assert "Moderation is strict. conversation.json states strict_moderation: true" in made.stdout
    assert ("WARNING: Moderation is strict" in made.stdout) == shown
    assert ("the votes tell otherwise: 1 of 1 statement that nobody moderated was voted" in made.stdout) == shown
    copy = tmp_path / "mine" / "votes" / "conversation.json"
    assert copy.read_text() == '{"strict_moderation": true}\n', "neither owner nor topic comes along"
    against = CliRunner().invoke(cli.app, [*start, "--moderation", "lenient", str(tmp_path / "against")])
    assert "WARNING: moderation is lenient, but the export states that it is strict" in against.stdout


def test_a_stated_mode_needs_no_answer_where_votes_tell_none(tmp_path: Path) -> None:
    write_export(tmp_path / "export", 5)  # every statement was moderated
    (tmp_path / "export" / "conversation.json").write_text('{"strict_moderation": false}')
    from_export(str(tmp_path / "export"), tmp_path / "mine", lambda: pytest.fail("asked"))
    assert read_consultation(tmp_path / "mine").file.moderation == "lenient"
    (tmp_path / "export" / "conversation.json").write_text('{"strict_moderation": "no"}')
    with pytest.raises(ConsultationError, match=r"conversation\.json: strict_moderation is neither true nor false"):
        read_votes(tmp_path / "export")
