"""The pages of the embedded consultation in a real browser: nothing in the way of anybody, and not too long."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from chromium import accessibility_findings, chromium
from playwright.sync_api import Page
from small_graph import Workplace

SCREEN, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
MOST_SCREENS = {"audit_report": 17, "constitution": 13, "summary": 6}
MOST_BYTES = {"audit_report": 300_000, "constitution": 210_000, "summary": 35_000}
"""Without what is on pictures, which stay white in tests and have 24 colours."""


@pytest.fixture(scope="module")
def page(workplace: Workplace) -> Iterator[Page]:
    """Closed after this file: while it is open, nothing else in this process may have an event loop."""
    with chromium() as browser:
        yield browser.new_page()


@pytest.mark.parametrize("name", ["audit_report", "constitution", "evaluation", "summary"])
def test_a_program_for_accessibility_finds_nothing(workplace: Workplace, page: Page, name: str) -> None:
    page.set_viewport_size(PHONE)
    page.goto((workplace.root / "town" / "report" / f"{name}.html").as_uri())
    assert accessibility_findings(page) == []


def test_that_program_finds_what_is_amiss(page: Page) -> None:
    page.set_content("<title>A</title><main><h1>A</h1><img src='data:,'></main>")
    assert {rule for rule, _ in accessibility_findings(page)} == {"html-has-lang", "image-alt"}


@pytest.mark.parametrize("name", MOST_SCREENS)
def test_a_page_as_it_opens_is_not_too_long(workplace: Workplace, page: Page, name: str) -> None:
    path = workplace.root / "town" / "report" / f"{name}.html"
    page.set_viewport_size(SCREEN)
    page.goto(path.as_uri())
    screens = page.evaluate("document.documentElement.scrollHeight") / SCREEN["height"]
    assert MOST_SCREENS[name] / 2 < screens <= MOST_SCREENS[name]
    assert MOST_BYTES[name] / 2 < path.stat().st_size <= MOST_BYTES[name]
