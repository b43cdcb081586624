"""The audit report in a real browser: search, filters, keyboard, no network, phones, print."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl
import pytest
from chromium import accessibility_findings
from contrasts import CONTRASTS
from playwright.sync_api import Browser, BrowserContext, Page
from small_consultation import small_consultation
from small_report import inputs

from ccai_dagster.core.language import read_language
from ccai_dagster.pages.inputs import ReportInputs
from ccai_dagster.pages.public_summary import render_summary
from ccai_dagster.pages.report import render_report

__all__ = ["inputs", "small_consultation"]

PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
SHOWN = ":is([data-item], .items > :is(li, details, tr[id])):not([hidden])"
WORDS = "items => items.map(item => Array.from(item.cells || [item], each => each.textContent).join(' '))"


@dataclass
class Opened:
    """The page, and everything that went wrong or out while it was open."""

    page: Page
    logged: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def shown(self) -> list[str]:
        """The words of the entries that are left after searching."""
        return [" ".join(text.split()) for text in self.page.locator(SHOWN).evaluate_all(WORDS)]


@pytest.fixture(scope="module")
def file(inputs: ReportInputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "audit_report.html"
    path.write_text(render_report(inputs), encoding="utf-8")
    return path


@pytest.fixture
def opened(context_of_files: BrowserContext, file: Path) -> Iterator[Opened]:
    page = context_of_files.new_page()
    page.set_viewport_size(DESKTOP)
    found = Opened(page)
    page.on("console", lambda message: found.logged.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: found.logged.append(str(error)))
    page.on("dialog", lambda dialog: (found.logged.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: found.asked.append(request.url))
    page.goto(file.as_uri())
    yield found
    # Hostile text did nothing, and nothing but the file and its own pictures was ever asked for.
    assert found.logged == []
    assert [url for url in found.asked if not url.startswith("data:image/webp;base64,")] == [file.as_uri()]
    page.close()


def test_search_leaves_what_has_all_words_and_unfolds_it(opened: Opened) -> None:
    page, before = opened.page, len(opened.shown())
    left_out = page.locator("#s5")
    assert not left_out.is_visible()
    page.get_by_label("Search principles").fill("SHORT the ai")
    assert [text[:24] for text in opened.shown()] == ["5 The AI should be short"]
    assert left_out.is_visible()
    assert page.locator("#search-note").text_content() == f"1 of {before} entries"
    assert not page.locator("#scores").is_visible()
    page.get_by_label("Search principles").fill("<script>")
    assert any(text.startswith("3 <script>alert('x')</script>") for text in opened.shown())
    page.keyboard.press("Escape")
    assert len(opened.shown()) == before
    assert not left_out.is_visible()
    assert page.locator("#scores").is_visible()


def test_a_number_or_an_id_is_meant_whole(opened: Opened) -> None:
    opened.page.get_by_label("Search principles").fill("T2")
    assert [text[:3] for text in opened.shown()] == ["T2 "], "decisions on the whole are entries as well"
    opened.page.get_by_label("Search principles").fill("2")
    found = opened.shown()
    assert found and all(re.search(r"(?<![\w.,])2(?!\w|[.,]\d)", text) for text in found)
    opened.page.get_by_label("Search principles").fill("0.7")
    assert any(text.startswith("T2 ") for text in opened.shown())
    opened.page.get_by_label("Search principles").fill("T")
    assert len(opened.shown()) > 1, "letters alone are found anywhere"


def test_every_id_of_every_ledger_is_found_and_so_is_a_value_by_its_name(opened: Opened, inputs: ReportInputs) -> None:
    page = opened.page
    sought = [each for ledger in inputs.ledgers.values() for each in ledger["decision_id"]]
    assert len(sought) > 10
    missing = []
    for each in [*sought, "gac_threshold"]:
        page.fill("#search-text", each)
        if not page.locator(SHOWN).count():
            missing.append(each)
    assert not missing


def test_filters_go_together_with_each_other_and_with_the_search(opened: Opened) -> None:
    page, before = opened.page, len(opened.shown())
    page.get_by_label("Fate").select_option("undecided")
    assert [text[:15] for text in opened.shown()] == ["Statement 6 The"]
    page.get_by_label("Marked").select_option("rewritten")
    assert opened.shown() == []
    assert page.locator("#search-note").text_content() == f"0 of {before} entries"
    page.get_by_label("Fate").select_option("principle")
    assert [text[:30] for text in opened.shown()] == ["P1 Choose the honest response."]
    page.locator("select[name=arm]").select_option("standard")
    page.get_by_label("Marked").select_option("")
    assert [text[:32] for text in opened.shown()] == ["S1 Choose the harmless response."]
    page.get_by_role("button", name="Show everything").click()
    assert len(opened.shown()) == before
    assert not page.get_by_role("button", name="Show everything").is_visible()


def test_the_keyboard_reaches_search_filters_and_folds(opened: Opened) -> None:
    page = opened.page
    focused = "document.activeElement.textContent || document.activeElement.id"
    page.keyboard.press("Tab")
    assert page.evaluate(focused) == "Skip to the report"
    page.keyboard.press("Tab")
    assert page.evaluate(focused) == "Skip to the search"
    assert page.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    page.keyboard.press("Enter")
    page.keyboard.type("honest")
    assert page.locator("#search-text").input_value() == "honest"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.name") == "fate"
    fold = page.locator("#principle-public-P1 > summary")
    assert fold.is_visible() and page.get_by_text("5 decisions led here").is_visible(), "opened, since it was found"
    page.get_by_text("5 decisions led here").focus()
    page.keyboard.press("Enter")
    assert page.get_by_text("Earlier decisions, replaced since:").is_visible()
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate(outline) == "solid"


def test_a_link_into_what_is_folded_or_searched_away_shows_it(opened: Opened) -> None:
    page = opened.page
    page.get_by_label("Search principles").fill("honest")
    assert not page.locator("#s5").is_visible()
    page.evaluate("location.hash = 'statement-5'")  # as earlier pages called it
    page.wait_for_function("document.getElementById('search-text').value === ''")
    assert page.locator("#s5").is_visible()
    covered = page.locator("#s5").bounding_box()
    bar = page.locator("#search").bounding_box()
    assert covered is not None
    assert bar is not None
    assert covered["y"] >= bar["y"] + bar["height"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_told_from_its_ground(opened: Opened, scheme: str) -> None:
    opened.page.emulate_media(color_scheme=scheme)
    contrasts = opened.page.evaluate(CONTRASTS)
    assert len(contrasts) > 50
    # Level AA of the Web Content Accessibility Guidelines 2.2.
    assert [each for each in contrasts if each["ratio"] < 4.5] == []


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_nothing_sticks_out_at_the_side(opened: Opened, viewport: dict[str, int], tmp_path: Path) -> None:
    page = opened.page
    page.set_viewport_size(viewport)
    page.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]
    picture = tmp_path / "page.png"
    page.screenshot(path=picture, full_page=True)
    assert picture.read_bytes()[16:20] == viewport["width"].to_bytes(4, "big")


def test_print_unfolds_everything_and_leaves_the_search_out(opened: Opened) -> None:
    page = opened.page
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.locator("#s5").is_visible()
    assert not page.locator("#search").is_visible()
    page.emulate_media(media="screen")
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert not page.locator("#s5").is_visible()


def test_a_program_for_accessibility_finds_nothing(opened: Opened) -> None:
    opened.page.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = true; })")
    assert accessibility_findings(opened.page) == []


def test_nor_does_it_in_german(browser: Browser, inputs: ReportInputs, tmp_path: Path) -> None:
    german = replace(inputs, language=read_language("de"), models=inputs.models.clear())
    page = browser.new_page(viewport=PHONE)
    for name, text in (
        ("constitution", render_report(german)),
        ("summary", render_summary(german, "constitution.html")),
    ):
        file = tmp_path / f"{name}.html"
        file.write_text(text, encoding="utf-8")
        page.goto(file.as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = true; })")
        assert page.locator("html").get_attribute("lang") == "de"
        assert accessibility_findings(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    page.close()


@pytest.mark.parametrize("said", ['data-ids="moderation-"', 'data-decision="moderation-5"'])
def test_an_id_that_is_said_once_for_many_is_found_at_each(
    context_of_files: BrowserContext, file: Path, tmp_path: Path, said: str
) -> None:
    once = tmp_path / "once.html"
    text = file.read_text(encoding="utf-8")
    assert '<tbody class="part items"' in text
    once.write_text(text.replace('<tbody class="part items"', f'<tbody class="part items" {said}'), "utf-8")
    page = context_of_files.new_page()
    page.goto(once.as_uri())
    page.get_by_label("Search principles").fill("moderation-5")
    assert Opened(page).shown() and page.locator("#s5").is_visible()
    page.close()


def test_many_principles_are_printed_on_two_sheets(browser: Browser, inputs: ReportInputs, tmp_path: Path) -> None:
    words = "Choose the response that says most plainly what it rests on, and leaves people to judge for themselves."
    (row,) = inputs.constitutions["public"].head(1).to_dicts()
    rows = [{**row, "principle_id": f"P{place}", "text": words} for place in range(67)]
    many = pl.DataFrame(rows, schema=inputs.constitutions["public"].schema)
    long = replace(inputs, models=inputs.models.clear(), constitutions={**inputs.constitutions, "public": many})
    short = tmp_path / "summary.html"
    short.write_text(render_summary(long, "constitution.html"), encoding="utf-8")
    page = browser.new_page(viewport=PHONE)
    page.goto(short.as_uri())
    assert accessibility_findings(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    printed = page.pdf(format="A4", prefer_css_page_size=True)
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) == 2
    page.close()
