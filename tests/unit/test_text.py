from __future__ import annotations

import html
import re
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccai_dagster.core.text import markdown, printable, printable_lines, readable, spreadsheet_cell, without_thought


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
    assert printable(text) == shown


def test_long_text_is_cut_with_a_note() -> None:
    assert printable("x" * 10_000, 20) == "x" * 20 + "… [9,980 more characters]"
    assert printable("x" * 20, 20) == "x" * 20


ANYTHING = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from(
            "aß字 \t\n\r\x00\x1b\x7f\x9b\u00ad\u200b\u200e\u061c\u202e\u2028\u2066\u2069\ufeff\ud800\ue000\U000e0041"
            "[]()<>&\"'*_`~#|$\\!-+1. "
        ),
    ),
    max_size=60,
)


def acting_or_hidden(text: str) -> set[str]:
    """Characters that a terminal must not get, save what joins letters."""
    unseen = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    return {each for each in text if unicodedata.category(each) in unseen} - {"\u200c", "\u200d"}


@given(ANYTHING, st.integers(1, 40))
def test_a_terminal_gets_one_short_line_on_which_nothing_acts_or_hides(text: str, longest: int) -> None:
    shown = printable(text, longest)

    assert not acting_or_hidden(shown)
    assert len(shown) <= longest * len("\\U000e0041") + len("… [60 more characters]")
    assert "\\u202e" in printable(f"\u202e{text}", longest)


@given(ANYTHING, st.integers(1, 40))
def test_lines_for_a_terminal_keep_everything_but_what_acts_or_hides(text: str, longest: int) -> None:
    shown = printable_lines(text)

    assert shown.count("\n") == text.count("\n") and shown.count("\t") == text.count("\t")
    assert printable_lines(shown) == shown
    assert not acting_or_hidden(shown.replace("\n", "").replace("\t", ""))
    assert len(printable_lines(text, longest)) <= longest * len("\\U000e0041") + len("… [60 more characters]")


@given(ANYTHING, st.integers(1, 40))
def test_a_page_gets_short_text_with_a_mark_for_what_acts_and_keeps_what_scripts_need(text: str, longest: int) -> None:
    shown = readable(text, longest)

    assert not any(unicodedata.category(each) == "Cs" for each in shown)
    assert not any(unicodedata.category(each) == "Cc" and each not in "\t\n\r" for each in shown)
    assert not any(unicodedata.bidirectional(each) in DIRECTIONS for each in shown)
    kept = set("\u200b\u200c\u200e\u200f\u061c\ufeff\U000e0041")
    assert [each for each in shown if each in kept] == [each for each in text[:longest].rstrip() if each in kept]
    assert len(shown) <= longest + len("… [cut here; 60 characters in all]")
    assert readable(f"\u202e{text}", longest).startswith("\ufffd")


DIRECTIONS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def test_whatever_a_page_marks_a_terminal_spells_out() -> None:
    every = map(chr, range(sys.maxunicode + 1))
    marked = [each for each in every if readable(each) != each and not each.isspace()]

    assert [each for each in marked if printable(each) == each] == []


@given(ANYTHING)
def test_in_markdown_no_markup_survives(text: str) -> None:
    shown = markdown(text)

    assert html.unescape(re.sub(r"\\(.)", r"\1", shown)) == readable(" ".join(text.split()))
    bare = re.sub(r"&(?:#x27|quot|amp|lt|gt);", "", shown)
    assert not re.search(r"(?<!\\)(?:\\\\)*[`*_\[\]|#~$]", bare) and not set("<>\"'\n\r\t") & set(shown)
    assert not re.match(r"[-+] |[-+]$|---|\d+[.)](?: |$)", shown)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Don't (ever) say 3.5 + 2!", "Don&#x27;t (ever) say 3.5 + 2!"),
        ("<b>a</b> & [x](y)", "&lt;b&gt;a&lt;/b&gt; &amp; \\[x\\](y)"),
        ("- a", "\\- a"),
        ("12. a", "12\\. a"),
        ("-3", "-3"),
        ("12.5", "12.5"),
        ("one\n two\u202e", "one two\ufffd"),
    ],
)
def test_markdown_shows_text_as_it_stands(text: str, shown: str) -> None:
    assert markdown(text) == shown


@pytest.mark.parametrize("text", ["نمی\u200cخواهم", "co\u00adoperate", "\u0600\u0661", "\U0001fae8", "a\n\tb"])
def test_letters_of_all_scripts_and_the_newest_emoji_stay_on_pages(text: str) -> None:
    assert readable(text) == text


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", " =1", "\tx", "\rx"])
def test_formulas_are_quoted_for_spreadsheets(text: str) -> None:
    assert spreadsheet_cell(text) == f"'{text}"


def test_other_cells_are_left_alone() -> None:
    assert spreadsheet_cell("a = b") == "a = b"


def test_what_was_thought_first_is_no_part_of_what_was_said() -> None:
    thoughts = {
        "<think>Hm.</think>\n\nYes.": "Yes.",
        "\n<think>Hm. <think>": "",
        "Hm.\n</think>\n\nYes.": "Yes.",
        "<THOUGHT>Hm.</thought>Yes. </thought>": "Yes. </thought>",
        "[THINK]Hm.[/THINK]Yes.": "Yes.",
        "I <think> so.": "I <think> so.",
        "Yes.": "Yes.",
    }
    assert {text: without_thought(text).strip() for text in thoughts} == thoughts
