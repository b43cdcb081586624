"""What a file is that is no table, whatever its name ends with: told by how it begins.

What a download gives in place of a table (a page that asks for a login, an error) and what a spreadsheet saves under
another name are refused for what they are.
"""

from __future__ import annotations

import html
import re

from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.text import printable

PAGE = re.compile(r"\s*(<!--.*?-->\s*)*<(!doctype\s+html|html|head|body|table|script|meta|div)\b", re.DOTALL | re.I)
XML = re.compile(r"\s*<(\?xml|!doctype)\b", re.I)
TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.DOTALL | re.I)
JSON = re.compile(r'\s*(\[\s*)?\{\s*["}]')
LONGEST_TITLE = 80
WORKBOOK = ("a zip or a workbook", "Unpack it, or open it in a spreadsheet and save its sheets as CSV")
SIGNATURES = {
    b"%PDF": ("a PDF", "Export the table itself as CSV"),
    b"PK\x03\x04": WORKBOOK,
    b"\xd0\xcf\x11\xe0": ("an Excel workbook", "Open it in a spreadsheet and save its sheets as CSV"),
    b"\x1f\x8b": ("packed (gzip)", "Unpack it"),
    b"PAR1": ("Parquet", "Give it a name that ends with .parquet"),
    b"SQLite format 3": ("a database", "Export its tables as CSV"),
    b"{\\rtf": ("a text document", "Save the table in it as CSV"),
}
"""What a file is that begins with these bytes, and what to do."""


def refuse_other_kind(place: str, begin: bytes, text: str) -> None:
    """Check that a file may be a table of text.

    Args:
        place: What messages call it.
        begin: Its first bytes.
        text: The same, decoded.

    Raises:
        ConsultationError: It is something else; says what, and what to do.
    """
    if PAGE.match(text):
        title = TITLE.search(text)
        named = printable(html.unescape(title[1]), LONGEST_TITLE) if title else ""
        raise ConsultationError(
            f"{place}: a web page{f' with the title “{named}”' if named else ''}, not a table. If it was "
            "downloaded, the address may ask for a login or be gone: open it in a browser and save the export itself."
        )
    if XML.match(text):
        raise ConsultationError(f"{place}: XML, not a table. Export as CSV or JSON.")
    for signature, (what, remedy) in SIGNATURES.items():
        if begin.startswith(signature):
            raise ConsultationError(f"{place}: {what}, not a table in text. {remedy}.")


def refuse_json(place: str, text: str) -> None:
    """Check that what should be a CSV is no JSON.

    Raises:
        ConsultationError: It is.
    """
    if JSON.match(text):
        raise ConsultationError(f"{place}: JSON, whatever its name says. Give it a name that ends with .json.")
