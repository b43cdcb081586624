"""What all commands share: which consultation is meant, and how an error ends a command."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from ccai_dagster.cli.app import app
from ccai_dagster.cli.options import LONGEST, mendable_errors
from ccai_dagster.consultation.folder import SAMPLE, chosen_consultation
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.open_consultation import open_consultation


def test_an_error_ends_a_command_with_a_sentence_that_acts_on_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended, mendable_errors():
        raise ConsultationError("row 3:\n  \x1b[2J is no outcome")
    assert ended.value.exit_code == 1
    assert capsys.readouterr().err == "row 3:\n  \\x1b[2J is no outcome\n"

    with pytest.raises(typer.Exit), mendable_errors():
        raise ConsultationError("x" * (LONGEST + 5))
    assert capsys.readouterr().err == "x" * LONGEST + "… [5 more characters]\n"


def test_what_a_disk_does_not_do_ends_a_command_with_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), mendable_errors():
        raise OSError(errno.ENOSPC, "No space left on device", "/a/b")
    assert capsys.readouterr().err.startswith("/a/b: the disk is full. Make room and run again")

    with pytest.raises(OSError, match="no file is named"), mendable_errors():
        raise OSError(errno.EPERM, "no file is named")


def test_a_command_knows_where_it_is_and_decides_in_no_consultation_that_nobody_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CCAI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CCAI_CONSULTATION", "")
    monkeypatch.chdir(tmp_path)
    decide = ["decide", "threshold", "gac_threshold", "0.5", "--reason", "r", "--as", "x"]
    refused = CliRunner().invoke(app, decide)
    assert refused.exit_code == 1 and "Name the consultation, or go to its folder" in refused.output
    embedded = f"The embedded consultation: {chosen_consultation().file.title}"
    assert embedded in CliRunner().invoke(app, ["status"]).output
    town = tmp_path / "town"
    shutil.copytree(SAMPLE, town)
    assert embedded in CliRunner().invoke(app, ["verify"]).output
    assert embedded not in CliRunner().invoke(app, ["verify", str(town)]).output
    monkeypatch.chdir(town)
    assert chosen_consultation().folder == town.resolve()
    monkeypatch.chdir(town / "decisions")
    assert chosen_consultation().folder == town.resolve()
    assert "The embedded consultation" not in CliRunner().invoke(app, ["status"]).output
    before = (town / "decisions" / "threshold.csv").read_bytes()
    assert "Recorded" in CliRunner().invoke(app, [*decide, "--supersedes", "T8"]).output
    assert (town / "decisions" / "threshold.csv").read_bytes() != before


def test_the_consultation_is_the_one_named_then_that_of_the_environment_then_the_sample(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CCAI_CONSULTATION", "")
    assert chosen_consultation().folder == SAMPLE
    monkeypatch.setenv("CCAI_CONSULTATION", str(tmp_path))
    with pytest.raises(ConsultationError, match=str(tmp_path)):
        chosen_consultation()
    assert open_consultation(SAMPLE, "merge").consultation.folder == SAMPLE
    with pytest.raises(ConsultationError, match="There is no ledger 'vote'; there are "):
        open_consultation(SAMPLE, "vote")


@pytest.mark.parametrize("command", [["ui", "--dagster-port"], ["ui", "--mlflow-port"], ["serve", "--port"]])
@pytest.mark.parametrize(("port", "why"), [("0", "greater than or equal to 1"), ("65536", "or equal to 65535")])
def test_a_port_that_there_is_not_is_refused(command: list[str], port: str, why: str) -> None:
    refused = CliRunner().invoke(app, [*command, port, "--consultation", str(SAMPLE)])
    assert refused.exit_code == 2 and why in " ".join(refused.output.replace("│", " ").split())
