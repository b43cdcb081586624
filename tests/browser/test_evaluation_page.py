"""The evaluation page in a real browser: phones, both colour schemes, keyboard, print, and no network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import accessibility_findings
from contrasts import CONTRASTS
from playwright.sync_api import Browser, Page
from small_evaluation import evaluation

from ccai_dagster.pages.evaluation import render_evaluation
from ccai_dagster.pages.inputs import EvaluationInputs

__all__ = ["evaluation"]

PHONE, DESKTOP = {"width": 360, "height": 740}, {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def page(browser: Browser, evaluation: EvaluationInputs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    path: Path = tmp_path_factory.mktemp("page") / "evaluation.html"
    path.write_text(render_evaluation(evaluation), encoding="utf-8")
    opened, logged, asked = browser.new_page(viewport=DESKTOP, java_script_enabled=True), [], []
    opened.on("console", lambda message: logged.append(message.text))
    opened.on("dialog", lambda dialog: (logged.append(dialog.message), dialog.dismiss()))
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto(path.as_uri())
    yield opened
    assert logged == []
    assert asked == [path.as_uri()]
    opened.close()


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_can_be_read_everywhere(page: Page, viewport: dict[str, int], scheme: str) -> None:
    page.set_viewport_size(viewport)
    page.emulate_media(color_scheme=scheme)
    contrasts = page.evaluate(CONTRASTS)  # unfolds everything
    assert len(contrasts) > 80
    # Level AA of the Web Content Accessibility Guidelines 2.2.
    assert [each for each in contrasts if each["ratio"] < 4.5] == []
    assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]


def test_a_point_stands_where_its_figure_is(page: Page) -> None:
    page.set_viewport_size(DESKTOP)
    row = page.locator("#knowledge ~ table tbody tr", has_text="50.0 (40.0 to 60.0)")
    line, range_, point = (row.locator(name).bounding_box() for name in (".line", "i", "b"))
    assert line and range_ and point
    assert (point["x"] + point["width"] / 2 - line["x"]) / line["width"] == pytest.approx(0.5, abs=0.01)
    assert (range_["x"] - line["x"]) / line["width"] == pytest.approx(0.4, abs=0.01)
    assert range_["width"] / line["width"] == pytest.approx(0.2, abs=0.01)


def test_the_keyboard_reaches_the_contents_and_the_folds(page: Page) -> None:
    page.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = false; }); scrollTo(0, 0)")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the page"
    hidden = page.get_by_text("−90.0 to 10.0").first
    assert not hidden.is_visible()
    page.locator("#bias ~ details summary").first.focus()
    page.keyboard.press("Enter")
    assert hidden.is_visible()


def test_print_unfolds_everything(page: Page) -> None:
    page.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = false; })")
    page.emulate_media(media="print", color_scheme="light")
    assert page.get_by_text("−90.0 to 10.0").first.bounding_box()
    assert page.pdf()[:5] == b"%PDF-"
    page.emulate_media(media="screen")


def test_a_program_for_accessibility_finds_nothing(page: Page) -> None:
    page.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = true; })")
    assert accessibility_findings(page) == []
