"""Pages in other languages: every text is translated, numbers and dates are written as the language does."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from gettext import NullTranslations
from pathlib import Path

import polars as pl
import pytest
import yaml
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po
from parsed_page import Page
from small_evaluation import score
from small_report import inputs, unworded

from ccai_dagster.constitution.comparison import MEASURES
from ccai_dagster.consultation.folder import SAMPLE, read_consultation
from ccai_dagster.contracts import ELO_DIFFERENCES, EVAL_SCORES
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.language import CATALOGUES, ENGLISH, Language, languages, read_language
from ccai_dagster.decisions.origins import ORIGINS
from ccai_dagster.deliberation.importing.group_counts import NOT_THERE
from ccai_dagster.deliberation.structure import UNTESTED, VERDICTS
from ccai_dagster.pages import report_decisions, report_public
from ccai_dagster.pages.drawings.consensus import SIDES
from ccai_dagster.pages.inputs import ReportInputs
from ccai_dagster.pages.parts import MARKS
from ccai_dagster.pages.public_summary import render_results, render_summary
from ccai_dagster.pages.report import render_report
from ccai_dagster.pages.report_sample import HIDDEN
from ccai_dagster.pages.summary import SELECTED_FATES, summary

__all__ = ["inputs"]

PAGES = Path(render_summary.__code__.co_filename).parent
ROOMS = [PAGES, *(PAGES.parent / room for room in ("audit", "decisions", "deliberation"))]
CHOSEN = {
    NOT_THERE,
    UNTESTED,
    *VERDICTS.values(),
    *ORIGINS,
    *SELECTED_FATES.values(),
    *report_public.DRAWN.values(),
    *report_public.EXPLANATIONS.values(),
    *report_public.FATES.values(),
    report_public.MARKED,
    report_public.PASSED,
    *report_decisions.KINDS.values(),
    *report_decisions.LEDGER_KINDS.values(),
    *MEASURES,
    *MARKS.values(),
    HIDDEN,
    *(name for name, _ in SIDES.values()),
}
"""Texts that a table or a table's value picks, and that no call of `gettext` names."""
GERMAN = CATALOGUES / "de.po"


class Untranslated(NullTranslations):
    """Where gettext looks for what a catalogue lacks."""

    def gettext(self, message: str) -> str:
        raise AssertionError(f"not translated: {message}")

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        raise AssertionError(f"not translated: {msgid1}")


@pytest.fixture
def german() -> Language:
    language = read_language("de")
    language.translations.add_fallback(Untranslated())
    return language


@pytest.mark.parametrize("code", [code for code in languages() if code != ENGLISH.code])
def test_a_catalogue_has_every_text_and_no_other(code: str) -> None:
    methods = [("templates/**.j2", "jinja2.ext:babel_extract"), ("**.py", "python")]
    found = {text for room in ROOMS for _, _, text, _, _ in extract_from_dir(room, method_map=methods)}
    found |= CHOSEN
    with (CATALOGUES / f"{code}.po").open("rb") as file:
        catalogue = read_po(file)
    assert {message.id for message in catalogue if message.id} == found
    assert not [message.id for message in catalogue if message.fuzzy or list(message.check(catalogue))]


def test_the_page_for_the_public_is_german_throughout(inputs: ReportInputs, german: Language) -> None:
    early = replace(inputs, models=inputs.models.clear(), language=german)
    page = Page(render_summary(early, "constitution.html"))
    assert page.faults == [] and dict(page.elements)["html"] == {"lang": "de"}
    words = page.words()
    for shown in (
        "22 Personen nahmen teil; gezählt werden die Stimmen von 20.",
        "2 Meinungsgruppen: 12 Personen in Gruppe A und 8 Personen in Gruppe B.",
        "mehr Struktur, als der Zufall erwarten ließe (p = 0,005)",
        "Gruppe A 90 %",
        "mit Entscheidungen bis zum ",
    ):
        assert shown in words, shown
    assert "Group" not in words and "<script>alert" not in render_summary(early, "constitution.html")
    kept = score("public", "adherence", "adherence", (0.7, 0.6, 0.8), "base", (0.2, -0.1, 0.3), category="public")
    scored = replace(early, eval_scores=EVAL_SCORES.build([kept]))
    after = Page(render_results(scored, "constitution.html", ELO_DIFFERENCES.empty(), "evaluation.html"))
    came_of = after.words().partition("Was daraus wurde ")[2]
    assert "als das untrainierte Modell, lässt sich nicht sagen (+20,0 von hundert Punkten, 95-%-Intervall" in came_of
    assert "Nach allen Werten gibt es 1 Vergleich zweier Modelle: 0 mit einem Unterschied" in came_of


def test_the_page_to_sign_is_german_throughout(inputs: ReportInputs, german: Language) -> None:
    page = Page(render_report(replace(inputs, models=inputs.models.clear(), language=german)))
    assert page.faults == [] and dict(page.elements)["html"] == {"lang": "de"}
    words = page.words()
    for shown in (
        "Gruppe A: 90 % von 10 Stimmen stimmen zu (95-%-Intervall 60 bis 98)",
        "Einigkeit 0,810 (90-%-Intervall 0,710 bis 0,910).",
        "Als Grundsatz formuliert. Begründung:",
        "Enthalten bei 75 % von 8 Zahlenkombinationen.",
        "Wären Aussagen 1 und 2 weggelassen worden: Aussagen 1 und 2 fielen heraus; Grundsatz P1 ginge verloren.",
    ):
        assert shown in words, shown
    named = [attributes.get("aria-label") for _, attributes in page.elements]
    map_of_people = "Karte von 20 Personen danach, wie sie abgestimmt haben"
    assert f"{map_of_people}: 12 Personen in Gruppe A und 8 Personen in Gruppe B." in named
    assert "gegenüber standard" in words and not re.search(r"[+−]\d+\.\d", words)
    for english in ("Group", "statement", "decision", "votes", "interval", "consensus", "principles", "against"):
        assert not re.search(rf"\b{english}\b", words), english
    early = replace(unworded(inputs), language=german)
    for rendered in (render_report(early), render_summary(early, "constitution.html")):
        early_words = Page(rendered).words()
        assert "Noch ist kein Grundsatz formuliert. 3 Aussagen erreichten die Schwelle und warten" in early_words
        assert "noch kein Grundsatz, mit Entscheidungen bis zum " in early_words


def test_every_sentence_there_is_has_a_german_one(inputs: ReportInputs, german: Language) -> None:
    counts = replace(
        inputs,
        participants=inputs.participants.clear(),
        opinion_groups=inputs.opinion_groups.clear(),
        group_structure=inputs.group_structure.clear(),
    )
    nobody = replace(inputs, opinion_groups=inputs.opinion_groups.clear())
    rejected = replace(inputs, selected_statements=inputs.selected_statements.with_columns(side=pl.lit("disagree")))
    together = replace(inputs, opinion_groups=inputs.opinion_groups.with_columns(group_id=pl.lit(0, pl.Int64)))
    told = {
        sentence
        for each in (inputs, counts, nobody, rejected, together)
        for sentence in summary(replace(each, language=german))
    }
    assert "Die Tabelle enthält die Stimmen von 2 Gruppen: Gruppe A und Gruppe B." in told
    assert "Es wurden keine Meinungsgruppen gefunden." in told
    assert "Davon erreichten sie 3, weil jede Gruppe sie ablehnt." in told
    assert "Die Verfassung, die daraus folgt, hat 1 Grundsatz." in told


def test_numbers_and_dates_are_written_as_the_language_does() -> None:
    written = [
        (each.number(1234), each.number(0.05, 3), each.percent(0.956), each.date("2025-03-04T10:00"), each.date("2023"))
        for each in (ENGLISH, read_language("de"), read_language("de-CH"))
    ]
    assert written == [
        ("1,234", "0.050", "96%", "4 March 2025", "2023"),
        ("1.234", "0,050", "96\xa0%", "4. März 2025", "2023"),
        ("1'234", "0.050", "96%", "4. März 2025", "2023"),
    ]
    assert [read_language(code).listed(["a", "b", "c"]) for code in ("en", "de")] == ["a, b and c", "a, b und c"]
    assert (Language("ar").direction, ENGLISH.direction) == ("rtl", "ltr")


def test_shares_and_scores_are_rounded_alike_in_every_language() -> None:
    shares = {of / among for among in range(1, 90) for of in range(among + 1)}
    english, german = read_language("en"), read_language("de")
    assert [each for each in shares if german.percent(each).replace("\xa0", "") != english.percent(each)] == []
    scores = [each / 10_000 for each in range(10_000)]
    assert [each for each in scores if german.number(each, 3).replace(",", ".") != english.number(each, 3)] == []


def test_a_file_of_texts_is_taken_whole_or_refused(tmp_path: Path) -> None:
    own = tmp_path / "gsw.po"
    text = GERMAN.read_text(encoding="utf-8").replace("Gruppe %(letters)s", "Gruppä %(letters)s")
    own.write_text(text, encoding="utf-8")
    assert read_language("gsw", own).gettext("Group %(letters)s", letters="A") == "Gruppä A"
    own.write_text(text.replace('msgstr "warum"', 'msgstr ""'), encoding="utf-8")
    with pytest.raises(ConsultationError, match=r"gsw\.po: 1 of \d+ texts have no translation, first 'why'"):
        read_language("gsw", own)
    own.write_text(text.replace("Gruppä %(letters)s", "Gruppä %(number)s"), encoding="utf-8")
    with pytest.raises(ConsultationError, match=r"gsw\.po, line \d+: .*'Gruppä %\(number\)s'"):
        read_language("gsw", own)
    own.write_text("nonsense", encoding="utf-8")
    with pytest.raises(ConsultationError, match="not readable as a PO file"):
        read_language("gsw", own)


def test_a_translation_is_text_and_no_markup(inputs: ReportInputs, tmp_path: Path) -> None:
    own = tmp_path / "de.po"
    own.write_text(GERMAN.read_text(encoding="utf-8").replace("Was daraus wird", "<b>Was daraus wird</b>"), "utf-8")
    rendered = render_summary(replace(inputs, language=read_language("de", own)), "constitution.html")
    assert "&lt;b&gt;Was daraus wird&lt;/b&gt;" in rendered


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"language": "klingonisch"}, "no language is known as 'klingonisch'"),
        ({"language": "gsw"}, "pages have no texts in 'gsw', only in en, de. Name a PO file"),
        ({"language": "gsw", "page_texts": "gsw.po"}, "names files that do not exist: .*gsw.po"),
    ],
)
def test_a_language_that_cannot_be_had_is_refused(tmp_path: Path, settings: dict[str, str], words: str) -> None:
    folder = Path(shutil.copytree(SAMPLE, tmp_path / "town"))
    path = folder / "consultation.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **settings}))
    with pytest.raises(ConsultationError, match=words):
        read_consultation(folder)
