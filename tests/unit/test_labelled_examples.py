from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ccai_dagster.consultation.folder import SAMPLE
from ccai_dagster.contracts import (
    ADHERENCE_EXAMPLES,
    CONSTITUTION,
    CONTRAST_PAIRS,
    CONTROL_STATEMENTS,
    PROMPTS,
    SELECTED_STATEMENTS,
)
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.evaluation.labelled_examples import (
    REJECTED,
    KnownPrinciples,
    pairs_of_examples,
    read_contrast_pairs,
    read_examples,
)
from ccai_dagster.evaluation.specificity import control_statements, drawn_controls

KNOWN = KnownPrinciples(
    {
        ("public", "P1"): "Be kind.",
        ("public", "P2"): "Be brief.",
        ("standard", "S1"): "Be useful.",
        (REJECTED, "12"): "It should sing.",
    },
    {("public", "P9"), (REJECTED, "13")},
)


def written(folder: Path, *rows: dict[str, Any] | str) -> Path:
    path = folder / "lines.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return path


def example(name: str, **changes: Any) -> dict[str, Any]:
    row = {"id": name, "principle": "public/P1", "prompt": "Hi", "response": "Hello", "satisfied": True}
    return row | changes


def pair(name: str, **changes: Any) -> dict[str, Any]:
    return {"id": name, "principle": "public/P1", "prompt": "Hi", "keeps": "Hello", "breaks": "What?"} | changes


def test_examples_are_read_with_the_text_they_were_labelled_under(tmp_path: Path) -> None:
    rows = (example("e2", satisfied=False), "", example("e1"), example("e3", principle="public/P9"))
    table, left_out = read_examples(written(tmp_path, *rows), KNOWN)
    assert ADHERENCE_EXAMPLES.violations(table).is_empty()
    assert table.select("example_id", "principle", "satisfied").rows() == [
        ("e1", "Be kind.", True),
        ("e2", "Be kind.", False),
    ]
    assert left_out == ["e3"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ((example("e1"), example("e1")), r"line 2: id 'e1' is already that of line 1"),
        ((example("e1", principle="public/P7"),), r"line 1: there is no principle 'public/P7'.* public/P1"),
        ((example("e1", principle="statement:12"),), r"there is no principle 'statement:12'"),
        ((example("e1", satisfied="yes"),), r"line 1: satisfied: Input should be a valid boolean"),
        (("{",), r"line 1: line: Invalid JSON"),
        ((example("e1", mood="good"),), r"line 1: mood: Extra inputs"),
        ((example("e1", prompt=" "),), r"line 1: prompt"),
        ((example("e1"), example("e2")), r"every example is satisfied.*Label some"),
        ((example("e1", satisfied=False),), r"every example is not satisfied"),
    ],
)
def test_bad_examples_name_line_and_remedy(tmp_path: Path, rows: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ConsultationError, match=message):
        read_examples(written(tmp_path, *rows), KNOWN)


def test_missing_and_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConsultationError, match=r"nothing\.jsonl: cannot be read"):
        read_examples(tmp_path / "nothing.jsonl", KNOWN)
    (tmp_path / "latin.jsonl").write_bytes(b'{"id": "\xe4"}')
    with pytest.raises(ConsultationError, match=r"latin\.jsonl: not UTF-8 at byte 8"):
        read_contrast_pairs(tmp_path / "latin.jsonl", KNOWN)


def test_pairs_may_be_about_principles_statements_and_conflicts(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        pair("c"),
        pair("b", principle="statement:12"),
        pair("a", against="public/P2"),
        pair("d", principle="statement:13"),
        pair("e", against="public/P9"),
    )
    table, left_out = read_contrast_pairs(path, KNOWN)
    assert CONTRAST_PAIRS.violations(table).is_empty()
    assert table.select("pair_id", "constitution_arm", "principle_id", "against_id").rows() == [
        ("a", "public", "P1", "P2"),
        ("b", REJECTED, "12", None),
        ("c", "public", "P1", None),
    ]
    assert left_out == ["d", "e"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (pair("a", breaks="Hello"), "line 1: both responses of pair a are the same"),
        (pair("a", against="public/P1"), "two different principles of one constitution"),
        (pair("a", against="standard/S1"), "two different principles of one constitution"),
        (pair("a", against="statement:12"), "there is no principle 'statement:12'"),
        (pair("a", principle="statement:99"), "there is no principle 'statement:99'.*or `statement:ID`"),
        (pair("a", keeps=""), "line 1: keeps"),
    ],
)
def test_bad_pairs_name_line_and_remedy(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    with pytest.raises(ConsultationError, match=message):
        read_contrast_pairs(written(tmp_path, row), KNOWN)


def test_labelled_examples_of_one_prompt_make_pairs(tmp_path: Path) -> None:
    rows = (
        example("e1"),
        example("e2", satisfied=False, response="Go away"),
        example("e3", satisfied=False, response=" "),
        example("e4", satisfied=False, prompt="Other"),
        example("e5", response="Welcome"),
        example("e6", satisfied=False, principle="public/P2", response="Long"),
    )
    pairs = pairs_of_examples(read_examples(written(tmp_path, *rows), KNOWN)[0])
    assert pairs.select("pair_id", "keeps", "breaks", "source").rows() == [
        ("e1+e2", "Hello", "Go away", "labelled examples"),
        ("e5+e2", "Welcome", "Go away", "labelled examples"),
    ]
    assert pairs_of_examples(ADHERENCE_EXAMPLES.empty()).equals(CONTRAST_PAIRS.empty())


def selected(*rows: tuple[int, str, str]) -> pl.DataFrame:
    return SELECTED_STATEMENTS.build(
        [
            {
                "statement_id": key,
                "text": text,
                "gac": 0.1,
                "side": "agree",
                "rank": key,
                "selected": fate != "below the cut",
                "ideas": [],
                "new_ideas": 0,
                "fate": fate,
                "decision_ids": [],
            }
            for key, text, fate in rows
        ]
    )


def test_controls_are_below_the_cut_and_say_what_no_principle_says(tmp_path: Path) -> None:
    themes = tmp_path / "themes.csv"
    themes.write_text("theme,words\nmusic,sing song\ncolour,blue\n")
    prompts = PROMPTS.build(
        [
            {"prompt_id": name, "text": name, "purpose": purpose, "themes": tags, "relevant_principles": []}
            for name, purpose, tags in (
                ("h1", "held_out", ["music"]),
                ("h2", "held_out", ["colour", "music"]),
                ("p1", "policy", ["music"]),
            )
        ]
    )
    constitutions = {
        "public": CONSTITUTION.build(
            [
                {
                    "principle_id": "P1",
                    "arm": "public",
                    "text": "Choose the response that protects whales best.",
                    "statement_ids": [1],
                    "merged_text": None,
                    "gac": None,
                    "side": None,
                    "decision_ids": [],
                }
            ]
        )
    }
    table = selected(
        (1, "It should protect whales.", "principle"),
        (2, "It protects whales best", "below the cut"),
        (3, "It should sing a blue tune.", "below the cut"),
        (4, "It should sing.", "below the cut"),
        (5, "It should whisper.", "below the cut"),
        (6, "Sing louder!", "left out"),
    )

    def drawn(count: int) -> pl.DataFrame:
        return control_statements(table, constitutions, prompts, themes, 0.4, count, seed=1)

    found = drawn(9)
    assert CONTROL_STATEMENTS.violations(found).is_empty()
    assert found.rows() == [
        (3, "It should sing a blue tune.", ["h1", "h2"]),
        (4, "It should sing.", ["h1", "h2"]),
        (5, "It should whisper.", []),
    ]
    assert drawn(2)["statement_id"].to_list() == [3, 4], "those with a prompt come first"
    assert control_statements(table.filter(pl.col("selected")), constitutions, prompts, themes, 0.4, 9, 1).is_empty()
    chosen = prompts.filter(pl.col("purpose") == "held_out")
    rows = drawn_controls(chosen, found.reverse(), 1, seed=1)
    assert rows["prompt_id"].to_list() == ["h1", "h2"] and set(rows["constitution_arm"]) == {REJECTED}
    assert rows.equals(drawn_controls(chosen.reverse(), found, 1, seed=1))
    assert drawn_controls(chosen, found, 5, seed=1)["principle_id"].to_list() == ["3", "4", "3", "4"]


def test_the_embedded_files_have_both_labels_and_every_kind_of_pair() -> None:
    lines = [json.loads(line) for line in (SAMPLE / "adherence_examples.jsonl").read_text().splitlines()]
    assert len(lines) == 40 and 10 < sum(line["satisfied"] for line in lines) < 30
    pairs = [json.loads(line) for line in (SAMPLE / "contrast_pairs.jsonl").read_text().splitlines()]
    subjects = [row["principle"].split("/")[0].split(":")[0] for row in pairs if "against" not in row]
    assert {name: subjects.count(name) for name in set(subjects)} == {"public": 10, "standard": 10, "statement": 8}
    assert len([row for row in pairs if "against" in row]) == 9
