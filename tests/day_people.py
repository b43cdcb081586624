"""The people of `day.py`, each in a browser of their own: who takes part, moderates and rates, and how they do it.

Several sit before their browsers at once. Some have telephones, some only a keyboard, some no JavaScript.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from chromium import launch_options
from playwright.async_api import Browser, Locator, Page, async_playwright, expect

PHONE, WIDE = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
AT_ONCE = 4
KEYS = {"Agree": "a", "Disagree": "d", "Pass / Unsure": "p"}
LETTERS = {"1": "1", "2": "2", "tie": "t"}
OWN = (
    "The assistant should say when the office is open.",
    "The assistant should answer in easy language.",
    "Buy cheap roofs at example.org!",
    "<b>The assistant</b> should never sell anything & always say who pays for it.",
    '=HYPERLINK("http://example.org") The assistant should link to the law.',
    "على المساعد أن يجيب بلغة السائل.",
)
"""What participants write, among it advertising, markup, a formula and another script."""
UNDISPUTED = "everybody with the same respect"
"""What everybody agrees with who is asked, so that it reaches the cut in whatever groups there are."""


@dataclass
class Browsers:
    """Browsers of many people, and what went wrong in any."""

    browser: Browser
    address: str
    wrong: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def page(self, **more: Any) -> AsyncIterator[Page]:
        context = await self.browser.new_context(**more)
        page = await context.new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("request", lambda request: request.url.startswith(self.address) or self.wrong.append(request.url))
        try:
            yield page
        finally:
            await context.close()


def browsed(address: str, work: Callable[[Browsers], Awaitable[Any]]) -> tuple[Any, list[str]]:
    """Let people do something in browsers; return what came of it, and what went wrong in any."""

    async def done() -> tuple[Any, list[str]]:
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(**launch_options())
            browsers = Browsers(browser, address)
            found = await work(browsers)
            await browser.close()
            return found, browsers.wrong

    return asyncio.run(done())


async def at_once(tasks: Sequence[Awaitable[Any]], most: int = AT_ONCE) -> list[Any]:
    """Do several things at the same time, so many at once."""
    places = asyncio.Semaphore(most)

    async def one(task: Awaitable[Any]) -> Any:
        async with places:
            return await task

    return await asyncio.gather(*(one(each) for each in tasks))


@dataclass
class Took:
    """What a participant did, as the pages acknowledged it."""

    code: str = ""
    answers: int = 0
    added: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    came_back: bool = False
    deleted: bool = False


def opinion(number: int, statement: str) -> str:
    """What somebody thinks: two camps agree on two of three statements, and part on the third."""
    if UNDISPUTED in statement:
        return "Agree"
    drawn = hashlib.sha256(f"{number} {statement}".encode()).digest()[0]
    if drawn < 20:
        return "Pass / Unsure"
    divides = hashlib.sha256(statement.encode()).digest()[0] % 3 == 0
    agrees = number % 2 == 0 if divides else True
    return "Agree" if agrees is (drawn < 240) else "Disagree"


async def take_part(browsers: Browsers, number: int, votes: int) -> Took:
    """One of the public: by touch, mouse or keyboard, with and without JavaScript."""
    took = Took()
    by_keyboard, without_script = number % 4 == 0, number % 4 == 1
    view = {"viewport": PHONE if number % 2 else WIDE, "java_script_enabled": not without_script}
    async with browsers.page(**view) as page:
        await page.goto(browsers.address)
        await page.get_by_label("Yes", exact=True).check()
        await page.get_by_label(("under 30", "30 to 59", "60 and older")[number % 3]).check()
        consent = page.get_by_label(re.compile("I have read this"))
        await consent.check()
        await (consent.press("Enter") if by_keyboard else page.get_by_role("button", name="Take part").click())
        took.code = str(await page.text_content(".code"))
        await page.get_by_role("link", name="Start voting").click()
        for _ in range(votes):
            await answer(page, number, took, by_keyboard)
        if number < len(OWN):
            await add(browsers, page, OWN[number], took)
        elif number == len(OWN):
            await add(browsers, page, OWN[0].upper(), took)
        if number % 10 == 7:
            await page.goto(browsers.address)
            await page.get_by_role("button", name="Leave on this device").click()
            await come_in(page, took.code)
            await answer(page, number, took, by_keyboard)
            took.came_back = f"{took.answers} answered" in await page.inner_text("main")
        if number % 20 == 13:
            await page.goto(f"{browsers.address}/delete")
            await page.get_by_role("button", name="Delete my data").click()
            took.deleted = "deleted" in str(await page.text_content("h1")).lower()
    return took


async def come_in(page: Page, code: str) -> None:
    await page.get_by_role("link", name="I have a code already").click()
    await page.get_by_label("Your code").fill(code)
    await page.get_by_role("button", name="Come in").click()


async def come_back(browsers: Browsers, code: str) -> str:
    """Come back on another device; return what the page says."""
    async with browsers.page(viewport=PHONE) as page:
        await page.goto(browsers.address)
        await come_in(page, code)
        return await page.inner_text("main")


async def answer(page: Page, number: int, took: Took, by_keyboard: bool) -> None:
    """Answer the statement that is asked; some press twice."""
    statement = str(await page.text_content("blockquote"))
    said = opinion(number, statement)
    button = page.get_by_role("button", name=said, exact=True)
    far = page.locator("#progress")
    before = str(await far.get_attribute("value"))
    if by_keyboard:
        await page.keyboard.press(KEYS[said])
    elif number % 5 == 2 and number % 4 != 1:
        await button.dblclick(no_wait_after=True)
    else:
        await button.click()
    # With JavaScript the page stays and its part changes; without it another one is loaded.
    await expect(far).not_to_have_attribute("value", before, timeout=60_000)
    await page.wait_for_load_state()
    took.answers += 1


async def add(browsers: Browsers, page: Page, text: str, took: Took) -> None:
    """Send a statement, or be told that it is there."""
    await page.goto(f"{browsers.address}/add")
    await page.get_by_label("Your statement").fill(text)
    await page.get_by_role("button", name="Go on").click()
    if await page.get_by_role("button", name="Send it").count():
        await page.get_by_role("button", name="Send it").click()
    if await page.get_by_role("alert").count():
        took.refused.append(await page.inner_text("[role=alert]"))
    else:
        took.added.append(text)


@asynccontextmanager
async def signed_in(browsers: Browsers, name: str, password: str, **more: Any) -> AsyncIterator[Page]:
    """Somebody of the team, who has signed in."""
    async with browsers.page(**{"viewport": WIDE, **more}) as page:
        await page.goto(f"{browsers.address}/desk/sign-in")
        await page.get_by_label("Name").fill(name)
        await page.get_by_label("Password").fill(password)
        await press(page, page.get_by_role("button", name="Sign in"))
        yield page


async def press(page: Page, button: Locator) -> None:
    """Press a button that leads to another page, and wait for that; on a busy machine it takes its time."""
    async with page.expect_navigation():
        await button.click()


async def decide(page: Page, statements: Sequence[str], verb: str, text: str, reason: str) -> str:
    """Tick statements at the desk, decide, and return what the page says then."""
    boxes = page.locator(".queue > li")
    for at in range(await boxes.count()):
        box = boxes.nth(at).locator("input[name=statement]")
        shown = await boxes.nth(at).locator("label:has(input[name=statement])").inner_text()
        if not statements or shown.strip() in statements:
            await box.check()
    await page.locator(f"input[name=verb][value='{verb}']").check()
    await page.locator("#text").fill(text)
    await page.locator("#reason").fill(reason)
    await press(page, page.get_by_role("button", name="Record", exact=True))
    return await page.inner_text("main")


async def edit(page: Page, ledger: str, answer: str, reason: str) -> str:
    """Answer all that a page of an editor's ledger asks, by the value of the answer; return what the page says then."""
    await page.goto(page.url.partition("/desk/")[0] + f"/desk/ledger/{ledger}")
    for item in await page.locator("[data-item]").all():
        await item.locator(f"input[type=radio][value='{answer}']").first.check()
    if not await page.locator("[data-item]").count():
        return await page.inner_text("main")
    await page.get_by_label(re.compile("^Reason")).fill(reason)
    await press(page, page.get_by_role("button", name="Record", exact=True))
    return await page.inner_text("main")


async def sign(page: Page, reason: str) -> str:
    """Sign every constitution that waits; return what the page says then."""
    await page.goto(page.url.partition("/desk/")[0] + "/desk/sign")
    while await page.locator("form:has(input[name=arm])").count():
        form = page.locator("form:has(input[name=arm])").first
        await form.locator("input[name=read]").check()
        await form.locator("input[name=reason]").fill(reason)
        await press(page, form.get_by_role("button", name=re.compile("^Sign")))
    return await page.inner_text("main")


async def rate_pairs(page: Page, number: int, by_keyboard: bool) -> list[str]:
    """Compare pairs of responses until there are none; return what was shown, page by page."""
    shown = []
    for turn in range(100):
        shown.append(await page.inner_text("body"))
        if not await page.locator("input[name=pair]").count():
            return shown
        rating = ("1", "tie", "2")[(turn + number) % 3]
        await choose(page, rating, "by the look of it", by_keyboard)
    return shown


async def choose(page: Page, rating: str, reason: str, by_keyboard: bool) -> None:
    """Choose one of two, or neither."""
    async with page.expect_navigation():
        if by_keyboard:
            await page.keyboard.press(LETTERS[rating])
            await page.keyboard.type(reason)
            await page.keyboard.press("Enter")
        else:
            await page.locator(f"input[name=rating][value='{rating}']").check()
            await page.get_by_label(re.compile("Why")).fill(reason)
            await page.locator("form:has(input[name=rating]) button").click()
    await page.wait_for_load_state()


async def converse(browsers: Browsers, page: Page, number: int, messages: Sequence[str]) -> list[str]:
    """Talk with two models; return what was shown, page by page."""
    shown = []
    await page.goto(f"{browsers.address}/rate/conversation/helpfulness")
    for turn, message in enumerate(messages):
        await page.get_by_label(re.compile("in up to")).fill(message)
        async with page.expect_navigation():
            send = page.get_by_role("button", name="Send")
            await (send.dblclick(no_wait_after=True) if turn % 2 else send.click())
        await page.wait_for_load_state()
        shown.append(await page.inner_text("body"))
        await page.reload()
        await choose(page, ("1", "2", "tie")[(turn + number) % 3], "", by_keyboard=bool(number))
        shown.append(await page.inner_text("body"))
    return shown
