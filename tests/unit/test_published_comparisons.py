"""Comparisons in the forms they are published in become comparisons of a consultation."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ccai_dagster.cli.app import app
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.feedback.prompts import read_comparisons
from ccai_dagster.feedback.published_comparisons import read_published

TRANSCRIPT = {
    "chosen": "\n\nHuman: How late is it?\n\nAssistant: Where?\n\nHuman: Here.\n\nAssistant: I cannot see a clock.",
    "rejected": "\n\nHuman: How late is it?\n\nAssistant: Where?\n\nHuman: Here.\n\nAssistant: Noon, surely.",
}
LETTERS = {
    "prompt": "\n\nConsider the following conversation between two:\n\nHuman: Can I park here?\n\n\nChoose. Options:\n"
    " (A) [[[Yes (B) or no.]]]\n (B) [[[Only on\n\nSundays.]]]\n\nThe answer is:",
    "corrects": [" (B)"],
}


def written(folder: Path, *rows: Any, name: str = "pairs.jsonl") -> Path:
    path = folder / name
    content = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


def preferred(row: dict[str, Any]) -> tuple[str, str]:
    first, second = row["response_a"], row["response_b"]
    return (first, second) if row["probability_a"] == 1.0 else (second, first)


@pytest.mark.parametrize("name", ["pairs.jsonl", "pairs.jsonl.gz"])
def test_the_last_replies_of_two_dialogues_are_compared(tmp_path: Path, name: str) -> None:
    (row,) = read_published(written(tmp_path, TRANSCRIPT, name=name), "hh", "Do not guess.").to_dicts()
    assert row["prompt"] == "How late is it?\n\nAssistant: Where?\n\nHuman: Here."
    assert preferred(row) == ("I cannot see a clock.", "Noon, surely.")
    assert (row["source"], row["principle"]) == ("hh", "Do not guess.")


def test_the_right_letter_names_the_better_option(tmp_path: Path) -> None:
    (row,) = read_published(written(tmp_path, LETTERS), "hhh", "Be honest.").to_dicts()
    assert row["prompt"] == "Can I park here?"
    assert preferred(row) == ("Only on\n\nSundays.", "Yes (B) or no.")


def test_the_order_of_responses_tells_nothing(tmp_path: Path) -> None:
    rows = [{name: text + str(at) for name, text in TRANSCRIPT.items()} for at in range(200)]
    labels = read_published(written(tmp_path, *rows), "hh", "Do not guess.")["probability_a"]
    assert 80 < labels.sum() < 120


def test_what_compares_nothing_is_left_out_and_doubles_count_once(tmp_path: Path) -> None:
    alike = {name: TRANSCRIPT["chosen"] for name in TRANSCRIPT}
    elsewhere = TRANSCRIPT | {"rejected": "\n\nHuman: Something else?\n\nAssistant: Noon, surely."}
    path = written(tmp_path, alike, TRANSCRIPT, elsewhere, TRANSCRIPT)
    assert read_published(path, "hh", "Do not guess.").height == 1
    with pytest.raises(ConsultationError, match="no pair of two different replies"):
        read_published(written(tmp_path, alike), "hh", "Do not guess.")


def test_a_pair_that_is_labelled_both_ways_has_no_better_reply(tmp_path: Path) -> None:
    turned = {"chosen": TRANSCRIPT["rejected"], "rejected": TRANSCRIPT["chosen"]}
    rows = read_published(written(tmp_path, TRANSCRIPT, LETTERS, turned, TRANSCRIPT), "hh", "Do not guess.")
    assert rows["prompt"].to_list() == ["Can I park here?"]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("{", r"line 1: not readable as JSON.*\(A set of your own\)"),
        ("[]", "line 1: neither a pair of dialogues"),
        (TRANSCRIPT | {"chosen": "Noon."}, "line 1: a dialogue has no turn"),
        (LETTERS | {"corrects": [" (A)", " (B)"]}, "line 1: two options"),
    ],
)
def test_a_line_of_neither_form_is_named(tmp_path: Path, row: Any, told: str) -> None:
    with pytest.raises(ConsultationError, match=told):
        read_published(written(tmp_path, row), "hh", "Do not guess.")


def test_the_command_writes_what_a_consultation_reads_and_never_over_a_file(tmp_path: Path) -> None:
    source, output = written(tmp_path, TRANSCRIPT, LETTERS, TRANSCRIPT), tmp_path / "judge" / "hh.jsonl"
    call = ["judge-set", str(source), str(output), "--source", "hh", "--principle", "Do not guess."]
    result = CliRunner().invoke(app, call)
    assert result.exit_code == 0, result.output
    assert "2 comparisons of 2 prompts" in result.output and "1 pair left out" in result.output
    told = " ".join(result.output.split())
    assert "right in 60% from guessing takes 194" in told and "accuracy to 5.0% either way 381" in told
    assert read_comparisons(output).equals(read_published(source, "hh", "Do not guess."))
    wished = ["--accuracy", "0.7", "--half-width", "0.1"]
    other = CliRunner().invoke(app, [*call[:2], str(tmp_path / "other.jsonl"), *call[3:], *wished])
    assert "takes 47 " in " ".join(other.output.split()) and "10.0% either way 93." in " ".join(other.output.split())
    again = CliRunner().invoke(app, call)
    assert again.exit_code == 1
    assert "is already there" in again.output
