from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccai_dagster.visible import spreadsheet_cell, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Be kind", "Be kind"),
        ("a\x1b[31mred\x07", "a\\x1b[31mred\\x07"),
        ("abc\u202edcba\u2066", "abc\\u202edcba\\u2066"),
        ("one\n two\tthree\u2028four", "one two three four"),
        ("zero\u200bwidth\ufeff", "zero\\u200bwidth\\ufeff"),
        ("نمی\u200cخواهم", "نمی\u200cخواهم"),
        ("[bold]no markup[/bold]", "[bold]no markup[/bold]"),
        ("\U000e0041", "\\U000e0041"),
        ("", ""),
    ],
)
def test_what_acts_or_hides_is_spelt_out(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_long_text_is_cut_with_a_note() -> None:
    assert visible("x" * 10_000, 20) == "x" * 20 + "… [9,980 more characters]"
    assert visible("x" * 20, 20) == "x" * 20


@given(
    st.text(
        st.sampled_from("aß字 \t\n\r\x00\x1b\x7f\x9b\u00ad\u200b\u200e\u202e\u2028\u2066\ue000\U000e0001[]"),
        max_size=60,
    )
)
def test_nothing_that_acts_is_left(text: str) -> None:
    shown = visible(text)

    assert not any(unicodedata.category(each) in {"Cc", "Cs", "Co", "Cn", "Zl", "Zp"} for each in shown)
    assert "\n" not in shown


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", " =1", "\tx", "\rx"])
def test_formulas_are_quoted_for_spreadsheets(text: str) -> None:
    assert spreadsheet_cell(text) == f"'{text}"


def test_other_cells_are_left_alone() -> None:
    assert spreadsheet_cell("a = b") == "a = b"
