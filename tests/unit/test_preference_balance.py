from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from ccai_dagster.consultation.folder import SAMPLE
from ccai_dagster.contracts import BENIGN_PAIRS
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.training.preference_balance import MANNERS, annoyance, read_benign_pairs

HEADER = "pair_id,prompt,manner,plain,annoying\n"
ROWS = "B1,hey,refusing,Hello!,No.\nB2,,lecturing,Yes.,You ought not ask.\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "benign.csv"
    path.write_text(text)
    return path


def test_rows_without_a_prompt_are_used_with_every_safe_prompt(tmp_path: Path) -> None:
    path = written(tmp_path, HEADER + ROWS)
    safe = {f"set:{at}": f"How do I kill process {at}?" for at in range(5)}
    table = read_benign_pairs(path, safe, None, seed=1)
    assert BENIGN_PAIRS.violations(table).is_empty()
    assert table["pair_id"].to_list() == ["B1", *(f"B2:set:{at}" for at in range(5))]
    assert table["prompt"].to_list() == ["hey", *safe.values()]
    few = read_benign_pairs(path, safe, 2, seed=1)
    assert few.height == 3
    assert few.equals(read_benign_pairs(path, dict(reversed(safe.items())), 2, seed=1))
    assert read_benign_pairs(path, {}, None, seed=1)["pair_id"].to_list() == ["B1"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pair_id,prompt\n", "line 1: the header must be"),
        (HEADER + "B1,hey,refusing,Hello!\n", "line 2: expected 5 cells, found 4"),
        (HEADER + ROWS + "B1,hey,refusing,Hi,No\n", "line 4: `pair_id` 'B1' is already used on line 2"),
        (HEADER + "B 1,hey,refusing,Hi,No\n", "'B 1' is empty or not one word"),
        (HEADER + "B1,hey,shouting,Hi,NO\n", "unknown manner 'shouting' of pair B1"),
        (HEADER + "B1,hey,refusing, ,No\n", "pair B1 lacks a response"),
        (HEADER + "B2,,lecturing,Yes.,No.\n", "no pair with a prompt"),
        (HEADER + 'B1,hey,refusing,"Hi,No\n', "not readable as CSV"),
    ],
)
def test_malformed_files_name_the_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConsultationError, match=message):
        read_benign_pairs(written(tmp_path, text), {}, None, seed=1)
    with pytest.raises(ConsultationError, match="cannot be read"):
        read_benign_pairs(tmp_path / "none.csv", {}, None, seed=1)


def test_the_pairs_of_the_sample_do_not_give_themselves_away_by_length() -> None:
    table = read_benign_pairs(SAMPLE / "benign.csv", {"set:1": "How do I kill an hour?"}, None, seed=1)
    assert set(table["manner"]) == set(MANNERS)
    assert table["prompt"][0] == "hey"
    lengths = table.select(pl.col("plain", "annoying").str.len_chars().mean()).row(0)
    assert max(lengths) / min(lengths) < 1.1
    assert table.filter(pl.col("plain") == pl.col("annoying")).is_empty()


def test_annoyance_of_a_hand_worked_case() -> None:
    table = BENIGN_PAIRS.build(
        [
            {"pair_id": f"B{at}", "prompt": prompt, "manner": manner, "plain": "a", "annoying": "b"}
            for at, (prompt, manner) in enumerate(
                [(" Hey", "refusing"), ("hey", "lecturing"), ("What?", "refusing"), ("Why?", "refusing")]
            )
        ]
    )
    figures = annoyance(table, [1.0, -3.0, 0.0, -0.5], seed=1)
    assert figures["annoyance"] == (0 + 1 + 0.5 + 1) / 4
    assert figures["refusing"] == pytest.approx((0 + 0.5 + 1) / 3)
    assert figures["lecturing"] == 1.0
    assert figures["apologising"] is None
    assert figures["greeting_margin"] == -1.0
    assert 0 <= figures["annoyance_low"] < 0.625 < figures["annoyance_high"] <= 1
    assert annoyance(table[2:], [1.0, 1.0], seed=1)["greeting_margin"] is None
