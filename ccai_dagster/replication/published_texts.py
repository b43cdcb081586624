"""Finding the published texts in what a person saved from the authors' pages, as plain text or PDF.

The project holds none of these texts. It knows each by the number of its letters and a digest of them, so that what is
found is the published text whatever the columns, bullets and line breaks around it. A saved file is untrusted: its
size, pages and letters are bounded.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ccai_dagster.core.errors import ConsultationError

PAPER = "https://arxiv.org/pdf/2406.07814"
"""Address of the paper with its appendix, which holds every text."""
MOST_BYTES = 50_000_000
MOST_PAGES = 200
MOST_CHARACTERS = 2_000_000
HEADING_LINES = 4
"""Lines at the top and at the bottom of a page that may be its header or footer."""
MARKS = ".?!"
"""What a sentence ends with; an occurrence that ends with one goes before one that does not."""
STRAIGHT = str.maketrans("‘’“”", "''\"\"")
"""A text is the same whether its quotes were saved curly or not."""
REPEATED, REPEATED_SHARE = 3, 0.25
"""Pages, and share of all pages, on which such a line stands that is no part of the text.

Of lists whose items begin alike some first lines stand at an edge, too, but only on the few pages of the list.
"""


@dataclass(frozen=True)
class KnownText:
    """A published text without its words.

    Attributes:
        part: Where it belongs: `public`, `standard`, `merge` or `prompt`.
        key: Id of the principle, or number of the prompt.
        letters: How many letters it has.
        digest: SHA-256 of its letters, see `letters_of`.
    """

    part: str
    key: str
    letters: int
    digest: str


def letters_of(text: str) -> str:
    """Return the letters of a text, in lower case and without accents: what its digest is taken of."""
    return "".join(each for each in unicodedata.normalize("NFKD", text).lower() if "a" <= each <= "z")


def find_texts(saved: Sequence[Path], known: Sequence[KnownText]) -> dict[tuple[str, str], str]:
    """Return the published texts that saved files hold, by part and key.

    Raises:
        ConsultationError: A file cannot be read or is too large, or holds none of them; names it.
    """
    found: dict[tuple[str, str], str] = {}
    for path in saved:
        here = _found_in(_running_text(_pages(path)), known)
        if not here:
            raise ConsultationError(
                f"{path}: holds none of the {len(known)} published texts. Save the whole paper, {PAPER}, as PDF or "
                "text; a scan without text will not do."
            )
        found = here | found
    return found


def _found_in(text: str, known: Sequence[KnownText]) -> dict[tuple[str, str], str]:
    """Compare every run of whole words that has as many letters as a known text with its digest."""
    wanted: dict[int, dict[str, list[KnownText]]] = defaultdict(lambda: defaultdict(list))
    for each in known:
        wanted[each.letters][each.digest].append(each)
    places = [place for place, character in enumerate(text) for _ in letters_of(character)]
    stream = letters_of(text).encode()
    begins = [at for at, place in enumerate(places) if at == 0 or places[at - 1] not in (place, place - 1)]
    ends = {*begins[1:], len(stream)}
    found: dict[tuple[str, str], str] = {}
    for begin in begins:
        for end in (begin + length for length in wanted if begin + length in ends):
            for each in wanted[end - begin].get(hashlib.sha256(stream[begin:end]).hexdigest(), ()):
                written = _as_written(text, places[begin], places[end - 1] + 1)
                key = each.part, each.key
                if key not in found or (written[-1] in MARKS and found[key][-1].isalpha()):
                    found[key] = written
    return found


def _as_written(text: str, begin: int, end: int) -> str:
    """Return a text with what closes it: the mark at its end, and a bracket that was opened in it."""
    closing = re.match(f"[{MARKS})]*", text[end:])[0]  # type: ignore[index]  # it matches the empty text, too
    if text[begin:end].count("(") <= text[begin:end].count(")"):
        closing = closing.partition(")")[0]
    return " ".join((text[begin:end] + closing).split())


def _running_text(pages: Sequence[str]) -> str:
    """Join pages without their headers and footers, ligatures, curly quotes and words that a line break divides."""
    lines = [[line.strip() for line in page.splitlines() if line.strip()] for page in pages]
    at_edge = Counter(letters_of(line) for page in lines for line in {*page[:HEADING_LINES], *page[-HEADING_LINES:]})
    repeated = max(REPEATED, REPEATED_SHARE * len(lines))
    kept = []
    for page in lines:
        for number, line in enumerate(page):
            edge = number < HEADING_LINES or number >= len(page) - HEADING_LINES
            if not (edge and at_edge[letters_of(line)] >= repeated):
                kept.append(line)
    text = unicodedata.normalize("NFKC", "\n".join(kept)).translate(STRAIGHT)
    # A match begins where a word does, or one endless word would be searched from each of its letters.
    whole = set(re.findall(r"\b\w+-\w+", text))

    def joined(divided: re.Match[str]) -> str:
        hyphenated = f"{divided[1]}-{divided[2]}"
        return hyphenated if hyphenated in whole else divided[1] + divided[2]

    return re.sub(r"\b(\w+)[-\u00ad]\n([a-z]\w*)", joined, text)


def _pages(path: Path) -> list[str]:
    """Read a saved file, page by page where it has pages."""
    try:
        if (size := path.stat().st_size) > MOST_BYTES:
            raise ConsultationError(f"{path}: {size:,} bytes; at most {MOST_BYTES:,} are read. Save the paper alone.")
        content = path.read_bytes()
    except OSError as error:
        raise ConsultationError(f"{path}: cannot be read ({error.strerror}).") from error
    if content.startswith(b"%PDF-"):
        pages = _pdf_pages(path)
    else:
        try:
            pages = content.decode("utf-8-sig").split("\f")
        except UnicodeDecodeError as error:
            raise ConsultationError(
                f"{path}: neither a PDF nor text in UTF-8 (byte {error.start}); save it as one of the two."
            ) from error
    if (characters := sum(map(len, pages))) > MOST_CHARACTERS:
        raise ConsultationError(
            f"{path}: {characters:,} characters; at most {MOST_CHARACTERS:,} are read. Save the paper alone."
        )
    return pages


def _pdf_pages(path: Path) -> list[str]:
    from pypdf import PdfReader

    pages: list[str] = []
    try:
        reader = PdfReader(path)
        if (count := len(reader.pages)) > MOST_PAGES:
            raise ConsultationError(f"{path}: {count} pages; at most {MOST_PAGES} are read. Save the paper alone.")
        for page in reader.pages:
            pages.append(page.extract_text())
            if sum(map(len, pages)) > MOST_CHARACTERS:
                break
    except ConsultationError:
        raise
    except Exception as error:  # a damaged file makes pypdf raise whatever its parser stumbles over
        raise ConsultationError(
            f"{path}: not readable as PDF ({type(error).__name__}: {error}). Save it anew, or as plain text."
        ) from error
    return pages
