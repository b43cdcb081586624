from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from ccai_dagster.contracts import CONSTITUTION, HELPFULNESS_PAIRS, PROMPTS
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.feedback.prompts import (
    carries_theme,
    check_held_out,
    chosen_prompts,
    read_comparisons,
    read_prompts,
    read_themes,
)

THEMES = "theme,words\nprivacy,privat personal\nfairness,fair equal\n"
PROMPT_ROWS = (
    "prompt_id,text,purpose,themes\n"
    'b1,"Who lives\nhere?",preference,privacy\n'
    "a1,Say hello,revision,\n"
    "c1,Compare us,preference,privacy fairness\n"
)


def constitution(arm: str, **texts: str) -> pl.DataFrame:
    return CONSTITUTION.build(
        [
            {
                "principle_id": name,
                "arm": arm,
                "text": text,
                "statement_ids": [],
                "merged_text": None,
                "gac": None,
                "side": None,
                "decision_ids": [],
            }
            for name, text in texts.items()
        ]
    )


CONSTITUTIONS = {
    "public": constitution("public", P1="Keep PRIVATE matters private.", P2="Be kind."),
    "standard": constitution("standard", S1="Be fair and respect personal data.", S2="Unfair is wrong."),
}


def written(tmp_path: Path, prompts: str = PROMPT_ROWS, themes: str = THEMES) -> tuple[Path, Path]:
    (tmp_path / "prompts.csv").write_text(prompts, encoding="utf-8")
    (tmp_path / "themes.csv").write_text(themes, encoding="utf-8")
    return tmp_path / "prompts.csv", tmp_path / "themes.csv"


def test_prompts_are_tagged_with_the_principles_that_carry_their_themes(tmp_path: Path) -> None:
    table = read_prompts(*written(tmp_path), CONSTITUTIONS)
    assert PROMPTS.violations(table).is_empty()
    assert table["prompt_id"].to_list() == ["a1", "b1", "c1"]
    assert table["text"].to_list() == ["Say hello", "Who lives\nhere?", "Compare us"]
    assert table["relevant_principles"].to_list() == [[], ["public/P1", "standard/S1"], ["public/P1", "standard/S1"]]


@pytest.mark.parametrize(
    ("text", "words", "expected"),
    [
        ("Respect Privacy.", ("privac",), True),
        ("It is unfair", ("fair",), False),
        ("A c++ (rule)", ("(rule",), True),
        ("Être juste", ("être",), True),
        ("", ("fair",), False),
    ],
)
def test_a_theme_is_a_word_prefix(text: str, words: tuple[str, ...], expected: bool) -> None:
    assert carries_theme(text, words) is expected


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ("prompt_id,text,themes\n", r"prompts\.csv, line 1: the header"),
        (PROMPT_ROWS + "b1,Again,policy,\n", r"line 6: `prompt_id` 'b1' is already used on line 2"),
        (PROMPT_ROWS + "d1,Again,other,\n", r"line 6: unknown purpose 'other' of prompt d1"),
        (PROMPT_ROWS + "d1,Again,policy,privacy war\n", r"line 6: prompt d1 names themes .*: war"),
        (PROMPT_ROWS + "d1,  ,policy,\n", r"line 6: prompt d1 has no text"),
        (PROMPT_ROWS + "d1,one, two,policy,\n", r"line 6: expected 4 cells, found 5"),
        (PROMPT_ROWS + "d 1,one,policy,\n", r"line 6: `prompt_id` 'd 1' must be one word"),
        (
            PROMPT_ROWS + "d1,say  HELLO,held_out,\n",
            r"line 6: prompt d1 is held out .*, and prompt a1 on line 4, which trains them, says the same",
        ),
        ("prompt_id,text,purpose,themes\n", r"no prompts"),
        ('prompt_id,text,purpose,themes\na,"open', r"not readable as CSV"),
    ],
)
def test_a_bad_prompt_file_is_named_with_its_line(tmp_path: Path, prompts: str, message: str) -> None:
    with pytest.raises(ConsultationError, match=message):
        read_prompts(*written(tmp_path, prompts), CONSTITUTIONS)


def test_a_prompt_that_is_held_out_is_none_of_the_comparisons_that_are_learnt_from(tmp_path: Path) -> None:
    prompts = read_prompts(*written(tmp_path, PROMPT_ROWS + "h1,Who  are you?,held_out,\n"), {})
    row = {"response_a": "A", "response_b": "B", "probability_a": 1.0, "source": "people"}
    rows = [{"pair_id": f"c{at}", "prompt": text} | row for at, text in enumerate(["Say hello", "who are YOU?"])]
    check_held_out(prompts, HELPFULNESS_PAIRS.build(rows[:1]), Path("helpful.jsonl"))
    with pytest.raises(ConsultationError, match=r"helpful\.jsonl: the prompt of c1, .* says the same as prompt h1"):
        check_held_out(prompts, HELPFULNESS_PAIRS.build(rows), Path("helpful.jsonl"))


def test_bad_theme_files(tmp_path: Path) -> None:
    for themes, message in (
        ("theme,words\nprivacy,\n", "line 2: theme 'privacy' has no words"),
        (THEMES + "privacy,x\n", "line 4: `theme` 'privacy' is already used on line 2"),
    ):
        with pytest.raises(ConsultationError, match=message):
            read_themes(written(tmp_path, themes=themes)[1])
    with pytest.raises(ConsultationError, match="cannot be read"):
        read_themes(tmp_path / "missing.csv")
    (tmp_path / "latin.csv").write_bytes(b"theme,words\ncaf\xe9,x\n")
    with pytest.raises(ConsultationError, match="not UTF-8 at byte 15"):
        read_themes(tmp_path / "latin.csv")


def test_the_choice_of_prompts_does_not_depend_on_row_order(tmp_path: Path) -> None:
    rows = "".join(f"p{number},Text {number},policy,\n" for number in range(30))
    table = read_prompts(*written(tmp_path, "prompt_id,text,purpose,themes\n" + rows), {})
    chosen = chosen_prompts(table, "policy", 10, seed=7)
    assert chosen.height == 10
    assert chosen.equals(chosen_prompts(table.reverse(), "policy", 10, seed=7))
    assert not chosen.equals(chosen_prompts(table, "policy", 10, seed=8))
    assert chosen_prompts(table, "policy", 99, seed=7).height == 30
    # A smaller choice is part of a larger one, so a larger demo only adds to what was there.
    assert set(chosen["prompt_id"]) <= set(chosen_prompts(table, "policy", 20, seed=7)["prompt_id"])
    with pytest.raises(ConsultationError, match="purpose 'held_out'"):
        chosen_prompts(table, "held_out", 1, seed=7)


ROW = {"pair_id": "h1", "prompt": "Why?", "response_a": "Because.", "response_b": "", "probability_a": 1, "source": "x"}


def lines(tmp_path: Path, *rows: object) -> Path:
    path = tmp_path / "comparisons.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return path


def test_comparisons_are_read_with_and_without_principles(tmp_path: Path) -> None:
    separator = ROW | {"pair_id": "h0", "prompt": "one\u2028two", "probability_a": 0.25}
    path = lines(tmp_path, ROW, "", json.dumps(separator, ensure_ascii=False))
    table = read_comparisons(path)
    assert HELPFULNESS_PAIRS.violations(table).is_empty()
    assert table["probability_a"].to_list() == [0.25, 1.0]
    assert table["prompt"][0] == "one\u2028two"
    table = read_comparisons(lines(tmp_path, ROW | {"principle": "Be kind."}))
    assert table["principle"].to_list() == ["Be kind."]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (ROW, "line 2: `pair_id` 'h1' is already used on line 1"),
        ({**ROW, "pair_id": "h2", "extra": 1}, r"line 2: missing or unknown fields \['extra'\]"),
        ({**ROW, "pair_id": "h2", "principle": "Be kind."}, r"unknown fields \['principle'\]"),
        ({**ROW, "pair_id": "h2", "probability_a": 1.5}, "`probability_a` must be between 0 and 1, found 1.5"),
        ({**ROW, "pair_id": "h2", "probability_a": True}, "found True"),
        ('{"probability_a": NaN}', "missing or unknown fields"),
        (json.dumps({**ROW, "pair_id": "h2", "probability_a": float("nan")}), "found nan"),
        ({**ROW, "pair_id": "h2", "prompt": 3}, "`prompt` must be a text, found 3"),
        ({**ROW, "pair_id": "h2", "prompt": " "}, "`prompt` is empty"),
        ("[1]", "expected an object, found list"),
        ("{", "line 2: not readable as JSON"),
        ({**ROW, "pair_id": "h2"}, "line 2: 'h2' compares what line 1 compares"),
        ({**ROW, "pair_id": "h2", "response_a": "", "response_b": "Because."}, "line 2: 'h2' compares what line 1"),
    ],
)
def test_a_bad_comparison_is_named_with_its_line(tmp_path: Path, row: object, message: str) -> None:
    with pytest.raises(ConsultationError, match=message):
        read_comparisons(lines(tmp_path, ROW, row))


def test_an_empty_comparison_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConsultationError, match="no comparisons"):
        read_comparisons(lines(tmp_path, ""))
