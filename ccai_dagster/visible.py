"""Text that strangers typed, made safe to print on a terminal or to open in a spreadsheet.

Statements may hold anything: escape sequences that move the cursor, characters that turn the reading direction
around, formulas. What is stored keeps every character; what is shown goes through here.
"""

from __future__ import annotations

import re
import unicodedata

SHOWN = 1_000
"""Characters of one text that are printed unless somebody asks for more."""

_UNSEEN = {"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"}
"""Unicode categories of characters that do something or show nothing: controls, direction marks, unassigned."""

_JOINERS = {"\u200c", "\u200d"}
"""Needed to write Persian and several Indian scripts; they change nothing but the shape of letters."""

FORMULA = re.compile(r"\s*[=+\-@]|[\t\r]")
"""How a cell begins that a spreadsheet takes for a formula (OWASP, CSV injection)."""


def visible(text: str, longest: int = SHOWN) -> str:
    r"""Return text on one line in which every character that acts or hides is spelt out.

    White space of any kind becomes single spaces; controls, direction marks and other unseen characters are
    written as `\x1b` or `\u202e`. What is longer than `longest` characters is cut, and it is said how much.
    """
    line = " ".join(text.split())
    rest = len(line) - longest
    shown = "".join(_spelt(each) for each in line[:longest])
    return f"{shown}… [{rest:,} more characters]" if rest > 0 else shown


def visible_lines(text: str) -> str:
    """Return text whole and with its lines and indents, every other character that acts or hides spelt out."""
    lines = text.replace("\r\n", "\n")
    return "".join(each if each in "\n\t" else _spelt(each) for each in lines)


def spreadsheet_cell(text: str) -> str:
    """Return text for a cell of a table that is made for spreadsheets: one that would be computed gets a `'`.

    Ledgers are not such tables: their text is kept as it is, and rows are refused that begin like a formula.
    """
    return f"'{text}" if FORMULA.match(text) else text


def _spelt(character: str) -> str:
    if unicodedata.category(character) not in _UNSEEN or character in _JOINERS:
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
