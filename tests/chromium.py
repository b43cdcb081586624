"""A real browser for pages that people read: Chromium, driven by Playwright, and what axe-core finds in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
# Without these Chromium looks for updates in the network at every start.
QUIET = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def launch_options() -> dict[str, Any]:
    """Where Chromium of the system is, if there is one, and how it is started."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    alone = ["--no-sandbox"] if os.geteuid() == 0 else []
    return {"executable_path": found, "args": [*QUIET, *alone]}


@contextmanager
def chromium() -> Iterator[Browser]:
    """Chromium of the system, or the one Playwright keeps; `make test` installs one of them. One at a time."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**launch_options())
        yield browser
        browser.close()


def accessibility_findings(page: Page) -> list[tuple[str, str]]:
    """What axe-core finds against the guidelines and against good practice in what is open: rule and place."""
    return [(each["id"], each["nodes"][0]["html"]) for each in Axe().run(page).response["violations"]]
