"""The browser in which pages are opened."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from chromium import chromium
from playwright.sync_api import Browser, BrowserContext


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def context_of_files(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    """For pages that keep nothing in the browser; while one stays open, the others need no process of their own."""
    file = tmp_path_factory.mktemp("open") / "empty.html"
    file.touch()
    with browser.new_context() as context:
        context.new_page().goto(file.as_uri())
        yield context
