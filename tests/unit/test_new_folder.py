"""`ccai new`: folders that can be run at once."""

from __future__ import annotations

import os
import pty
import shutil
from pathlib import Path

import pytest
from ccai_publication import clone, paper
from typer.testing import CliRunner

from ccai_dagster.cli import app as cli
from ccai_dagster.cli.app import app
from ccai_dagster.cli.new import from_ccai, from_export
from ccai_dagster.constitution.principles import constitution_digest, read_constitution
from ccai_dagster.consultation.folder import SAMPLE, read_consultation
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.schema_version import SCHEMA_VERSION
from ccai_dagster.decisions import checks
from ccai_dagster.decisions.ledger import read_ledger
from ccai_dagster.decisions.outcomes import signoffs
from ccai_dagster.decisions.values import Cut, thresholds, training_decisions
from ccai_dagster.deliberation.importing.read_votes import find_vote_files, read_votes


def test_a_folder_around_an_export(tmp_path: Path) -> None:
    lines = from_export(str(SAMPLE / "votes"), tmp_path / "mine", "strict")
    assert "340 participants, 127 statements" in lines[0]
    mine = read_consultation(tmp_path / "mine")
    assert mine.file.moderation == "strict" and mine.file.schema_version == SCHEMA_VERSION
    assert find_vote_files(mine.path("votes")).digest() == find_vote_files(SAMPLE / "votes").digest()
    raw = read_votes(mine.path("votes")).raw_statements
    moderation = read_ledger(mine.ledger("moderation"), "moderation")
    assert [each for each in checks.check_moderation(moderation, raw, "strict") if each.severity == "error"] == []
    assert thresholds(read_ledger(mine.ledger("threshold"), "threshold"), 1).cut == Cut("threshold", 0.6, 40)
    assert training_decisions(read_ledger(mine.ledger("training"), "training")).feedback_method == "letters"
    assert read_ledger(mine.ledger("wording"), "wording").height == 0
    assert set(moderation["suggested_by"]) == {"ccai new"}
    sets = set(read_consultation(SAMPLE).file.benchmarks)
    assert set(mine.file.benchmarks) == sets - {"sample_opinions"}, "another public's opinions do not come along"


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
    assert "Rows: 125 taken over from the export, 15 starting values, 1 decided by people" in status
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
    start = ["new", "--from-export", str(SAMPLE / "votes")]
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


def test_a_clone_alone_makes_a_folder_without_sign_offs(test_data: Path, tmp_path: Path) -> None:
    source = clone(test_data, tmp_path / "clone")
    made = CliRunner().invoke(app, ["new", "--from-ccai", str(source), str(tmp_path / "ccai_2023")])
    assert made.exit_code == 0, made.output
    assert "https://arxiv.org/pdf/2406.07814" in made.output and "--select '+key:replication_report'" in made.output
    assert read_ledger(tmp_path / "ccai_2023" / "decisions" / "signoff.csv", "signoff").height == 0
