"""The portal in other languages: every sentence is translated, and what the team reads stays in English."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

from ccai_dagster.consultation.people import PORTAL_TEXTS, PortalSettings, portal_languages

PORTAL = PORTAL_TEXTS.parent
KEYWORDS = {"_": None, "gettext_lazy": None, "ngettext": (1, 2)}
LITERAL = r"""u?('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
CALL = re.compile(rf"gettext\(\s*{LITERAL}(?:,\s*{LITERAL})?")


def _sentences() -> set[str | tuple[str, ...]]:
    """What templates and views say, one or two forms each."""
    from django.utils.translation.template import templatize

    found = {text for _, _, text, _, _ in extract_from_dir(PORTAL, method_map=[("**.py", "python")], keywords=KEYWORDS)}
    for path in (PORTAL / "templates").rglob("*.html"):
        for one, many in CALL.findall(templatize(path.read_text(encoding="utf-8"))):
            found.add((ast.literal_eval(one), ast.literal_eval(many)) if many else ast.literal_eval(one))
    return found


@pytest.mark.parametrize("code", portal_languages()[1:])
def test_a_catalogue_has_every_sentence_of_the_portal_and_keeps_its_places(code: str) -> None:
    with (PORTAL_TEXTS / f"{code}.po").open("rb") as file:
        catalogue = read_po(file, abort_invalid=True)
    messages = [message for message in catalogue if message.id]
    assert {message.id for message in messages} == _sentences()
    assert not [message.id for message in messages if message.fuzzy or list(message.check(catalogue))]
    for message in messages:
        forms = message.string if isinstance(message.string, tuple) else (message.string,)
        given = message.id if isinstance(message.id, str) else message.id[0]
        assert len(forms) == (1 if isinstance(message.id, str) else catalogue.num_plurals)
        for form in forms:
            assert form.strip(), given
            assert set(re.findall(r"%\(\w+\)\w", form)) == set(re.findall(r"%\(\w+\)\w", given)), given


def test_there_are_three_languages_and_no_other_can_be_named() -> None:
    assert portal_languages() == ["en", "ar", "de"]
    with pytest.raises(ValueError, match=r"the portal has no texts in \['fr'\], only in \['en', 'ar', 'de'\]"):
        PortalSettings.model_validate({"languages": ["de", "fr"]})


def test_catalogues_are_compiled_once_for_what_they_say(tmp_path: Path) -> None:
    from ccai_dagster.portal.catalogues import compiled_texts

    folder = compiled_texts(tmp_path)
    compiled = folder / "de" / "LC_MESSAGES" / "django.mo"
    before = compiled.stat().st_mtime_ns
    assert compiled_texts(tmp_path) == folder and compiled.stat().st_mtime_ns == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
