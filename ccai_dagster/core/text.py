"""Text that strangers typed or models wrote, made safe to show, and the numbers and lists that sentences hold.

Statements may hold anything: escape sequences that move the cursor, characters that turn the reading direction
around or hide, markup, formulas. What is stored keeps every character; what is shown goes through here, once:
`printable` for a terminal, `readable` for pages and pictures, with `markdown` where nothing else escapes markup.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Sequence

LONGEST_LINE = 1_000
"""Characters of one text that are printed on a terminal unless somebody asks for more."""
LONGEST_TEXT = 1200
"""Characters of anything typed or generated that a page shows; tables keep the whole."""
LONGEST_QUOTE = 300
"""Characters of a statement that a sentence quotes; the whole text stands in its own column."""

REPLACEMENT = "\ufffd"
"""What a decoder writes for bytes that are no character, as where text was cut between the bytes of one."""
_UNSEEN = {"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"}
"""Unicode categories of characters that do something, show nothing or have no known width on a terminal."""
_JOINERS = {"\u200c", "\u200d"}
"""Needed to write Persian and several Indian scripts; they change nothing but the shape of letters."""
_UNREADABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What no page needs: controls save white space, what turns the direction of whole stretches, and surrogates. Marks of
direction, joiners and tags stay: Hebrew, Arabic, Persian and some flags are written with them."""
_MARKUP = re.compile(r"[\\`*_\[\]|#~$]")
_BEGINS_A_BLOCK = re.compile(r"^(\d+(?=[.)](?: |$))|(?=[-+](?: |$)|---))")
"""What makes a line of Markdown an item of a list, or a rule."""
_THOUGHT = re.compile(r"\s*(?:<(think|thinking|thought|reasoning)>|\[THINK\])", re.IGNORECASE)
_THOUGHT_ENDS = re.compile("</think>", re.IGNORECASE)
FORMULA = re.compile(r"\s*[=+\-@]|[\t\r]")
"""How a cell begins that a spreadsheet takes for a formula (OWASP, CSV injection)."""


def printable(text: str, longest: int = LONGEST_LINE) -> str:
    r"""Return text for a terminal: on one line, every character that acts or hides spelt out.

    White space of any kind becomes single spaces; controls, direction marks and other unseen characters are
    written as `\x1b` or `\u202e`. What is longer than `longest` characters is cut, and it is said how much.
    """
    line = " ".join(text.split())
    rest = len(line) - longest
    shown = "".join(_spelt(each) for each in line[:longest])
    return f"{shown}… [{rest:,} more characters]" if rest > 0 else shown


def printable_lines(text: str, longest: int | None = None) -> str:
    """Return text with its lines and indents, every other character that acts or hides spelt out; whole by default."""
    lines = text.replace("\r\n", "\n")
    rest = len(lines) - (len(lines) if longest is None else longest)
    shown = "".join(each if each in "\n\t" else _spelt(each) for each in lines[:longest])
    return f"{shown}… [{rest:,} more characters]" if rest > 0 else shown


def _spelt(character: str) -> str:
    if unicodedata.category(character) not in _UNSEEN or character in _JOINERS:
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def readable(text: object, longest: int = LONGEST_TEXT) -> str:
    """Return text for a page: not too long, a mark in place of every control and of what turns the reading direction.

    Markup is not escaped here: templates do that, matplotlib's formulas are for `pages.pictures.style`, and for
    Markdown there is `markdown`.
    """
    shown = _UNREADABLE.sub("\ufffd", str(text))
    if len(shown) <= longest:
        return shown
    return f"{shown[:longest].rstrip()}… [cut here; {len(shown):,} characters in all]"


def markdown(text: object) -> str:
    """Return text as one line that Markdown, and the HTML it may hold, show as it is; `readable` else."""
    line = _MARKUP.sub(r"\\\g<0>", readable(" ".join(str(text).split())))
    return html.escape(_BEGINS_A_BLOCK.sub(r"\1\\", line))


def spreadsheet_cell(text: str) -> str:
    """Return text for a cell of a table that is made for spreadsheets: one that would be computed gets a `'`.

    Ledgers are not such tables: their text is kept as it is, and rows are refused that begin like a formula.
    """
    return f"'{text}" if FORMULA.match(text) else text


def quoted(text: str) -> str:
    """Return text in quotation marks, on one line cut to `LONGEST_QUOTE` characters."""
    line = " ".join(text.split())
    shown = line if len(line) <= LONGEST_QUOTE else f"{line[:LONGEST_QUOTE].rstrip()}…"
    return f"“{shown}”"


def without_thought(response: str) -> str:
    """Return what a model said without the thought that it wrote first; empty where the thought has no end."""
    thought = _THOUGHT.match(response)
    if thought is None:
        # A template that opens the thought leaves its end alone to the response.
        return _THOUGHT_ENDS.split(response)[-1]
    end = f"</{thought[1]}>" if thought[1] else "[/THINK]"
    return "".join(re.split(re.escape(end), response, maxsplit=1, flags=re.IGNORECASE)[1:])


def listed(items: Sequence[object]) -> str:
    """Return `a`, `a and b`, or `a, b and c`."""
    words = [str(item) for item in items]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


def counted(number: int, singular: str, plural: str | None = None) -> str:
    """Return `1 vote`, `2 votes`, `1,200 votes`."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def percent(share: float) -> str:
    """Return a share in [0, 1] as a whole percentage."""
    return f"{share:.0%}"


def number(value: float | None, largest: float | None = None) -> str:
    """Return a score with two decimals, none if it or what stands beside it is large; a dash if missing.

    Args:
        largest: Largest absolute value of what stands beside it; the value itself if None.
    """
    if value is None:
        return "–"
    shown = f"{value:.0f}" if max(abs(value), largest or 0.0) >= 10 else f"{value:.2f}"
    return shown.replace("-", "−") if float(shown) else shown.replace("-", "")


def signed(value: float | None, largest: float | None = None) -> str:
    """Return a difference with its sign, as `number` does."""
    shown = number(value, largest)
    return shown if value is None or shown.startswith("−") else f"+{shown}"


def natural(name: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts P2 before P10."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]
