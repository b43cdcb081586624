"""The language of pages for the public: their texts, and how it writes numbers, shares, dates and lists.

Texts are written in English where they are used, as messages of gettext; `languages/` has a catalogue (PO) for each
other language there is, and a consultation may name a file with those of one more. A page is made within `speaking`,
and the functions here then answer in its language; everywhere else they answer in English. Belongs here: reading
catalogues and refusing what is incomplete. Doesn't belong here: any text of a page.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from gettext import GNUTranslations, NullTranslations
from pathlib import Path
from typing import TYPE_CHECKING

from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.text import listed

if TYPE_CHECKING:
    from babel import Locale
    from babel.messages import Catalog, Message

CATALOGUES = Path(__file__).parent / "languages"
SOURCE = "en"
"""The language that texts are written in."""


@dataclass(frozen=True)
class Language:
    """A language, and a translation of every text into it.

    Attributes:
        code: Of BCP 47, as `de` or `de-CH`.
    """

    code: str = SOURCE
    translations: NullTranslations = field(default_factory=NullTranslations)

    @property
    def locale(self) -> Locale:
        """How numbers, dates and lists are written; English ones as in Britain."""
        from babel import Locale

        return Locale.parse("en-GB" if self.code == SOURCE else self.code, sep="-")

    @property
    def direction(self) -> str:
        """`ltr` or `rtl`."""
        return self.locale.text_direction

    def gettext(self, message: str, **values: object) -> str:
        """Return a text, with values in the places that it names as `%(name)s`."""
        return self.translations.gettext(message) % values

    def ngettext(self, one: str, many: str, count: int, **values: object) -> str:
        """Return a text that depends on a number, which stands in it as `%(count)s`."""
        return self.translations.ngettext(one, many, count) % {"count": self.number(count), **values}

    def number(self, value: float, decimals: int = 0) -> str:
        """Return a number with so many decimals: `1,200` or `1.200`."""
        if self.code == SOURCE:
            return f"{value:,.{decimals}f}"
        from babel.numbers import format_decimal

        rounded = Decimal(f"{value:.{decimals}f}")  # as Python does, so that a number is the same in every language
        return format_decimal(rounded, "#,##0" + ("." + "0" * decimals if decimals else ""), locale=self.locale)

    def percent(self, share: float) -> str:
        """Return a share in [0, 1] as a whole percentage."""
        if self.code == SOURCE:
            return f"{share:.0%}"
        from babel.numbers import format_percent

        return format_percent(Decimal(f"{share * 100:.0f}") / 100, locale=self.locale)

    def date(self, day: str) -> str:
        """Return a date, given as ISO 8601 or the year alone, with its month as a word."""
        from babel.dates import format_date

        try:
            return format_date(date.fromisoformat(day[:10]), "long", locale=self.locale)
        except ValueError:
            return day

    def listed(self, items: Sequence[str]) -> str:
        """Return `a`, `a and b`, or `a, b and c`."""
        from babel.lists import format_list

        return listed(items) if self.code == SOURCE else format_list(list(items), locale=self.locale)


ENGLISH = Language()
_SPOKEN: ContextVar[Language] = ContextVar("language", default=ENGLISH)


@contextmanager
def speaking(language: Language) -> Iterator[None]:
    """Let the functions of this module answer in a language meanwhile, in this thread or task."""
    before = _SPOKEN.set(language)
    try:
        yield
    finally:
        _SPOKEN.reset(before)


def spoken() -> Language:
    """Return the language that a page is being made in; English outside of `speaking`."""
    return _SPOKEN.get()


def gettext(message: str, **values: object) -> str:
    """Return a text as `Language.gettext` does, in the language that is spoken."""
    return spoken().gettext(message, **values)


def ngettext(one: str, many: str, count: int, **values: object) -> str:
    """Return a text as `Language.ngettext` does, in the language that is spoken."""
    return spoken().ngettext(one, many, count, **values)


def number(value: float, decimals: int = 0) -> str:
    """Return a number as the language that is spoken writes it."""
    return spoken().number(value, decimals)


def percent(share: float) -> str:
    """Return a share in [0, 1] as a whole percentage, as the language that is spoken writes it."""
    return spoken().percent(share)


def enumerated(items: Sequence[str]) -> str:
    """Return items as a list in a sentence of the language that is spoken."""
    return spoken().listed(items)


def languages() -> list[str]:
    """Return the languages that have all texts."""
    return [SOURCE, *sorted(path.stem for path in CATALOGUES.glob("*.po"))]


def is_language(code: str) -> bool:
    """Whether numbers and dates of a language, as `de` or `pt-BR`, are known."""
    from babel import Locale, UnknownLocaleError

    try:
        return Locale.parse(code, sep="-") is not None
    except (UnknownLocaleError, ValueError):
        return False


def read_language(code: str, texts: Path | None = None) -> Language:
    """Return a language with all texts.

    Args:
        code: Of BCP 47; a country's form (`de-AT`) has the texts of its language and numbers of its own.
        texts: PO file with the texts; None takes those that are there.

    Raises:
        ConsultationError: The file lacks a text, or says something that cannot be filled in, or is no PO file.
    """
    if texts is None:
        base = code.partition("-")[0]
        return Language(code) if base == SOURCE else Language(code, _compiled(_read(CATALOGUES / f"{base}.po")))
    catalogue = _read(texts)
    for message in catalogue:
        for error in message.check(catalogue):
            raise ConsultationError(f"{texts}, line {message.lineno}: {error}: {message.string!r}. Correct this text.")
    lacking = [key for key, known in _known_texts().items() if not _translated(catalogue.get(known.id))]
    if lacking:
        raise ConsultationError(
            f"{texts}: {len(lacking)} of {len(_known_texts())} texts have no translation, first {lacking[0]!r}. "
            f"{CATALOGUES / 'de.po'} has all of them, in German."
        )
    return Language(code, _compiled(catalogue))


@functools.cache
def _known_texts() -> dict[str, Message]:
    """Every text of pages, by its English words; of those with a number, by the singular."""
    catalogue = _read(CATALOGUES / "de.po")
    return {_english(message): message for message in catalogue if message.id}


def _english(message: Message) -> str:
    return message.id if isinstance(message.id, str) else message.id[0]


def _translated(message: Message | None) -> bool:
    if message is None or message.fuzzy:
        return False
    return all(message.string) if isinstance(message.string, tuple | list) else bool(message.string)


def _read(path: Path) -> Catalog:
    from babel.messages.pofile import PoFileError, read_po

    try:
        with path.open("rb") as handle:
            return read_po(handle, abort_invalid=True)
    except (PoFileError, OSError, UnicodeError, ValueError) as error:
        raise ConsultationError(f"{path}: not readable as a PO file: {error}") from error


def _compiled(catalogue: Catalog) -> GNUTranslations:
    """A catalogue in the form that gettext reads, made in memory."""
    from babel.messages.mofile import write_mo

    compiled = io.BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return GNUTranslations(compiled)
