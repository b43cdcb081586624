"""The one environment in which pages are rendered: escaping, number formats, and files put into the page.

Belongs here: what the templates of all pages share. Doesn't belong here: what any page says.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ccai_dagster.core.digest import SHORT
from ccai_dagster.core.language import ENGLISH, Language
from ccai_dagster.core.text import counted, listed, number, percent, readable

if TYPE_CHECKING:
    from jinja2 import BytecodeCache
    from jinja2.bccache import Bucket
    from markupsafe import Markup


def render(
    template: str, /, shared: Mapping[str, object] | None = None, language: Language = ENGLISH, **values: object
) -> str:
    """Render a page.

    Args:
        shared: What macros may use as well; they don't see `values`.
        language: Of the page. Its texts are escaped as well.
        values: What the template shows. All of it is escaped, wherever it comes from.

    Returns:
        An HTML document; the same values give the same text.

    Raises:
        UndefinedError: The template names a value that is not there.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    loader = PackageLoader("ccai_dagster.pages", "templates")
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        bytecode_cache=_compiled(),
    )

    def inline(name: str) -> Markup:
        """A style sheet or script of this package, without anything a participant or a model typed."""
        return Markup(loader.get_source(environment, name)[0])  # noqa: S704

    environment.filters |= {
        "readable": readable,
        "number": number,
        "share": share,
        "figure": figure,
        "short": lambda digest: str(digest)[:SHORT],
        "data_address": data_address,
        "css_string": css_string,
        "source_hash": source_hash,
    }
    environment.tests["from_right_to_left"] = from_right_to_left
    environment.globals |= {"counted": counted, "listed": listed, "percent": percent, "inline": inline}
    environment.globals |= {"language": language, "gettext": language.gettext, "ngettext": language.ngettext}
    environment.globals |= shared or {}
    return environment.get_template(template).render(**values)


@functools.cache
def _compiled() -> BytecodeCache:
    """Templates as this process compiled them, which takes longer than to fill them."""
    from jinja2 import BytecodeCache

    class Compiled(BytecodeCache):
        def __init__(self) -> None:
            self.kept: dict[tuple[str, str], bytes] = {}

        def load_bytecode(self, bucket: Bucket) -> None:
            if kept := self.kept.get((bucket.key, bucket.checksum)):
                bucket.bytecode_from_string(kept)

        def dump_bytecode(self, bucket: Bucket) -> None:
            self.kept[bucket.key, bucket.checksum] = bucket.bytecode_to_string()

    return Compiled()


def decimals(value: float, digits: int, sign: bool = False) -> str:
    """Return a number with so many decimals; nothing has no sign, everything else above it a plus if wanted."""
    rounded = round(value, digits) + 0.0
    text = f"{rounded:+.{digits}f}" if sign and rounded else f"{rounded:.{digits}f}"
    return text.replace("-", "−")


def share(value: float | None) -> str:
    """Return a share, a score or an index with three decimals, a dash if missing."""
    return "–" if value is None else decimals(value, 3)


def figure(value: float | None) -> str:
    """Return a figure of any size: whole numbers whole, others with two or four decimals, a dash if missing."""
    if value is None:
        return "–"
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.2f}" if abs(value) >= 10 else f"{value:.4f}"


def from_right_to_left(text: str) -> bool:
    """Whether any of a text is read from right to left, so that it must not take its surroundings along."""
    return not text.isascii() and any(unicodedata.bidirectional(each) in ("R", "AL", "AN") for each in text)


def plain_findings(findings: Iterable[str]) -> list[str]:
    """Return the findings with names between quotation marks, where Markdown has backticks."""
    return [re.sub(r"`([^`]*)`", r"“\1”", finding) for finding in findings]


def data_address(picture: bytes) -> str:
    """Return the address of a picture, PNG or WebP, that lies in the page itself."""
    kind = "webp" if picture.startswith(b"RIFF") else "png"
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode('ascii')}"


def css_string(text: str) -> Markup:
    """Return text as a string of a style sheet; nothing in it can end the string or the element it stands in."""
    from markupsafe import Markup

    told = re.sub(r"[^\w .,;:-]", lambda each: f"\\{ord(each[0]):x} ", text)
    return Markup(f'"{told}"')  # noqa: S704


def source_hash(script: str) -> str:
    """Return what a content security policy names a script by, to let it run and no other."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode('ascii')}"
