"""The replication page in a real browser: no script, no network, phones, contrasts, links that lead somewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import accessibility_findings
from contrasts import CONTRASTS
from playwright.sync_api import BrowserContext, Page
from small_replication import replication_page

from ccai_dagster.replication.page import render_replication

HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)> {{ 7*7 }} $x$ " + "unbroken" * 30


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("replication") / "replication.html"
    path.write_text(render_replication(replication_page(HOSTILE)), encoding="utf-8")
    return path


@pytest.fixture
def page(context_of_files: BrowserContext, file: Path) -> Iterator[Page]:
    opened = context_of_files.new_page()
    wrong: list[str] = []
    opened.on("console", lambda message: wrong.append(message.text))
    opened.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    opened.on("request", lambda request: wrong.append(request.url))
    opened.goto(file.as_uri())
    opened.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = true; })")
    yield opened
    assert [each for each in wrong if not each.startswith("data:image/png;base64,")] == [file.as_uri()]
    opened.close()


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_sticks_out_at_the_side(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.get_by_role("heading", level=1).is_visible() and HOSTILE in str(page.locator("h1").text_content())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_told_from_its_ground(page: Page, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    contrasts = page.evaluate(CONTRASTS)
    assert len(contrasts) > 50 and [each for each in contrasts if each["ratio"] < 4.5] == []


def test_every_link_leads_to_a_place_on_the_page(page: Page) -> None:
    targets = page.eval_on_selector_all("a[href]", "links => links.map(link => link.getAttribute('href'))")
    assert len(targets) > 5 and all(each.startswith("#") for each in targets)
    assert [each for each in targets if page.locator(f"[id='{each[1:]}']").count() != 1] == []


def test_a_program_for_accessibility_finds_nothing(page: Page) -> None:
    assert accessibility_findings(page) == []
