"""`ccai prompts`: nothing is used before a person accepts it, and nothing else in the files changes."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import polars as pl
import pytest
import yaml
from typer.testing import CliRunner

from ccai_dagster.cli.app import app
from ccai_dagster.constitution.principles import read_constitution
from ccai_dagster.consultation.folder import SAMPLE, read_consultation
from ccai_dagster.contracts import MODEL
from ccai_dagster.core.digest import folder_digest, text_digest
from ccai_dagster.decisions.checks import check_training
from ccai_dagster.decisions.ledger import read_ledger
from ccai_dagster.feedback.prompt_coverage import VERSION, add_drafts, read_drafts, remove_drafts
from ccai_dagster.feedback.prompts import read_prompts

PUBLIC = """principle_id,text
P1,Choose the response that keeps private matters private.
P2,Choose the response that bakes better bread.
P3,Choose the response that is as it is.
"""


class Village:
    """A copy of the sample whose public constitution is a file, with two principles no prompt exercises."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "village"
        self.home = folder / "home"
        shutil.copytree(SAMPLE, self.folder)
        (self.folder / "constitutions" / "public.csv").write_text(PUBLIC)
        self.settings(lambda content: content["arms"]["public"].update(constitution="constitutions/public.csv"))
        self.prompts, self.drafts = self.folder / "prompts.csv", self.folder / "prompts_drafted.csv"

    def settings(self, change: object) -> None:
        path = self.folder / "consultation.yaml"
        content = yaml.safe_load(path.read_text())
        change(content)  # type: ignore[operator]
        path.write_text(yaml.safe_dump(content))

    def ccai(self, *words: str, fails: bool = False) -> str:
        result = CliRunner().invoke(app, ["prompts", *words, "--consultation", str(self.folder)])
        assert result.exit_code == int(fails), result.output
        return result.output

    def rows(self) -> list[dict[str, str]]:
        with self.drafts.open(newline="", encoding="utf-8") as handle:
            return list(csv.DictReader(handle))

    def ledger(self) -> pl.DataFrame:
        return read_ledger(self.folder / "decisions" / "training.csv", "training")


@pytest.fixture
def village(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Village:
    monkeypatch.setenv("CCAI_HOME", str(tmp_path / "home"))
    return Village(tmp_path)


def test_drafts_are_for_uncovered_principles_and_change_nothing(village: Village) -> None:
    before = village.prompts.read_bytes(), (village.folder / "decisions" / "training.csv").read_bytes()
    output = village.ccai("draft")
    assert "2 of 27 principles are below the minimum of 1 prompts for training" in output
    assert "public/P3: not drafted, no word in it to go by" in output
    (row,) = village.rows()
    assert (row["prompt_id"], row["purpose"], row["themes"]) == ("drafted-public-P2-1", "revision", "public/P2")
    assert "bakes and bread" in row["text"] and row["draft_digest"] == text_digest(row["text"])
    assert before == (village.prompts.read_bytes(), (village.folder / "decisions" / "training.csv").read_bytes())
    again = village.drafts.read_bytes()
    assert "1 drafts wait" in village.ccai("draft")
    assert village.drafts.read_bytes() == again, "a draft that waits is not drafted again"
    village.ccai("draft", "--principle", "standard/S1")
    assert [row["principle"] for row in village.rows()] == ["public/P2", "standard/S1"]
    assert village.drafts.read_bytes().startswith(again)


def test_an_accepted_draft_is_a_prompt_with_its_decision(village: Village) -> None:
    village.ccai("draft")
    village.ccai("draft", "--principle", "standard/S1")
    kept = village.drafts.read_bytes().splitlines(keepends=True)
    before, rows = village.prompts.read_bytes(), village.ledger().height
    output = village.ccai("accept", "drafted-public-P2-1", "--as", "editor", "--reason", "Fits the bakery.")
    assert "accepted, recorded as training-1" in output and "1 prompts added" in output
    after = village.prompts.read_bytes()
    assert after.startswith(before)
    assert village.drafts.read_bytes() == kept[0] + kept[2]
    consultation = read_consultation(village.folder)
    constitutions = {
        arm: read_constitution(consultation.path(each.constitution), arm) for arm, each in consultation.arms.items()
    }
    prompts = read_prompts(village.prompts, village.folder / "themes.csv", constitutions)
    assert prompts.filter(prompt_id="drafted-public-P2-1")["relevant_principles"].item().to_list() == ["public/P2"]
    row = village.ledger().row(-1, named=True)
    assert village.ledger().height == rows + 1 and check_training(village.ledger()) == []
    assert (row["decided_by"], row["reason"]) == ("editor", "Fits the bakery.")
    assert row["suggested_by"].startswith("template ")
    assert row["outcome"].startswith("policy: in the prompt database for revision, to exercise public/P2; as it was")
    # An acceptance that was stopped before the draft was taken out can be repeated.
    village.drafts.write_bytes(b"".join(kept))
    output = village.ccai("accept", "drafted-public-P2-1", "--as", "editor", "--reason", "Fits.")
    assert "accepted by training-1 already" in output
    assert village.prompts.read_bytes() == after and village.ledger().height == rows + 1


def test_a_change_by_hand_is_on_record_and_other_line_ends_are_kept(village: Village) -> None:
    village.prompts.write_bytes(village.prompts.read_bytes().replace(b"\n", b"\r\n").rstrip())
    before = village.prompts.read_bytes()
    village.ccai("draft")
    village.drafts.write_text(village.drafts.read_text().replace("bakes and bread", "sourdough"))
    village.ccai("accept", "drafted-public-P2-1", "--as", "editor", "--reason", "Reworded.")
    added = village.prompts.read_bytes().removeprefix(before)
    assert added.startswith(b"\r\ndrafted-public-P2-1,") and added.endswith(b",revision,public/P2\r\n")
    assert village.ledger()["outcome"][-1].endswith("; changed since it was drafted")


@pytest.mark.parametrize(
    ("change", "words", "message"),
    [
        (("", ""), ("nothing",), "no draft nothing; there are drafted-public-P2-1"),
        ((",revision,", ",amusement,"), ("drafted-public-P2-1",), "line 2: unknown purpose 'amusement'"),
        ((",public/P2,public", ",war,public"), ("drafted-public-P2-1",), "names themes that"),
        (("drafted-public-P2-1", "revision-01"), ("revision-01",), "another prompt has the id revision-01"),
        (("prompt_id", "id"), ("drafted-public-P2-1",), "line 1: the header must be"),
    ],
)
def test_what_cannot_be_accepted_changes_nothing(
    village: Village, change: tuple[str, str], words: tuple[str, ...], message: str
) -> None:
    village.ccai("draft")
    village.drafts.write_text(village.drafts.read_text().replace(*change, 1))
    ledger = village.folder / "decisions" / "training.csv"
    before = village.prompts.read_bytes(), village.drafts.read_bytes(), ledger.read_bytes()
    output = village.ccai("accept", *words, "--as", "editor", "--reason", "Good.", fails=True)
    assert message in " ".join(output.split())
    assert before == (village.prompts.read_bytes(), village.drafts.read_bytes(), ledger.read_bytes())


def test_a_formula_is_refused_and_so_is_the_embedded_database(village: Village) -> None:
    village.ccai("draft")
    rows = village.rows()
    village.drafts.write_text(village.drafts.read_text().replace(rows[0]["text"], "=1+1"))
    accept = ("accept", "drafted-public-P2-1", "--as", "editor", "--reason", "Good.")
    assert "begins like a formula" in village.ccai(*accept, fails=True)
    village.settings(lambda content: content.update(prompts="sample:prompts.csv"))
    assert "which other consultations use too" in " ".join(village.ccai(*accept, fails=True).split())


def test_the_minimum_is_a_decision(village: Village) -> None:
    choose = ["decide", "training", "prompt_minimum", "3", "--reason", "Once is chance.", "--as", "research lead"]
    result = CliRunner().invoke(app, [*choose, "--consultation", str(village.folder)])
    assert result.exit_code == 0, result.output
    assert "below the minimum of 3 prompts" in village.ccai("draft", "--principle", "public/P2")
    assert [row["purpose"] for row in village.rows()] == ["revision", "preference", "policy"]
    choose[3] = "many"
    refused = CliRunner().invoke(app, [*choose, "--consultation", str(village.folder)])
    assert refused.exit_code == 1 and "must be a whole number from 0" in refused.output


def test_rows_over_several_lines_are_taken_out_whole(tmp_path: Path) -> None:
    path = tmp_path / "prompts_drafted.csv"
    header = "prompt_id,text,purpose,themes,principle,drafted_by,draft_digest\n"
    one = 'a,"Say\n""b,"" twice",policy,,public/P1,template 0,x\n'
    other = 'b,"It is 5"" long, or so",policy,,public/P1,template 0,x\n'
    path.write_text(header + one + other)
    remove_drafts(path, ["a"])
    assert path.read_text() == header + other
    assert list(read_drafts(path)) == ["b"]
    add_drafts(path, [])
    assert path.read_text() == header + other


@pytest.mark.torch
def test_the_base_model_of_the_last_run_can_draft(village: Village, tiny_model: Path) -> None:
    assert "no run has made the base model yet" in village.ccai("draft", "--with-model", fails=True)
    digest = folder_digest(tiny_model)
    shutil.copytree(tiny_model, village.home / "village" / "models" / digest)
    record = dict.fromkeys(MODEL.fields) | {
        "model_digest": digest,
        "stage": "base_model",
        "arm": "base",
        "settings_digest": "0",
        "settings": "{}",
        "metrics": "{}",
    }
    tables = village.home / "village" / "tables"
    tables.mkdir()
    MODEL.build([record]).write_parquet(tables / "base_model.parquet")
    village.ccai("draft", "--with-model")
    rows = village.rows()
    assert {row["principle"] for row in rows} <= {"public/P2", "public/P3"} and rows
    assert {row["drafted_by"] for row in rows} == {f"language model {digest}, request version {VERSION}"}
    assert all(row["text"].isprintable() and row["draft_digest"] == text_digest(row["text"]) for row in rows)
