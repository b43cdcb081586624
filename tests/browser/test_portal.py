"""The portal in a real browser on a phone, by keyboard alone: from consent to a code, and to a moderator's decision."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from chromium import accessibility_findings
from contrasts import CONTRASTS
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect
from small_portal import password_of, portal_folder, serving

from ccai_dagster.consultation.folder import Consultation
from ccai_dagster.decisions.ledger import read_ledger

PHONE = {"width": 390, "height": 844}
COLOURS = ("red", "blue", "green", "white", "black", "brown", "pink", "grey", "orange", "purple", "yellow", "golden")
SEEDS = tuple(f"The AI should prefer {each} letters to all others." for each in COLOURS)
OWN = "The AI should prefer silver letters where it can."
FOCUSED = """() => {
    const own = document.activeElement;
    const label = own.labels && own.labels[0] ? own.labels[0].innerText : own.innerText;
    return [(label || own.value || "").trim(), getComputedStyle(own).outlineStyle];
}"""


@dataclass
class Served:
    """A portal in a process of its own, and the moderator's password."""

    consultation: Consultation
    address: str
    password: str
    home: Path


@dataclass
class Phone:
    """Somebody's telephone with a keyboard; everything that goes wrong or out of the house is noted."""

    page: Page
    served: Served
    wrong: list[str] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.page.on("console", lambda message: self.wrong.append(message.text))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", lambda request: self.outside(request.url))

    def outside(self, url: str) -> None:
        if not url.startswith(self.served.address):
            self.wrong.append(url)

    def to(self, label: str) -> None:
        """Press Tab until something with this label has the focus, visibly."""
        for _ in range(80):
            self.page.keyboard.press("Tab")
            text, outline = self.page.evaluate(FOCUSED)
            if text.startswith(label):
                assert outline == "solid", label
                return
        raise AssertionError(f"{label}: Tab never reaches it on {self.page.url}")

    def press(self, label: str) -> None:
        """Go to a link or button and press Enter."""
        self.to(label)
        with self.page.expect_navigation():
            self.page.keyboard.press("Enter")

    def key(self, key: str) -> None:
        with self.page.expect_navigation():
            self.page.keyboard.press(key)

    @contextmanager
    def answered(self) -> Iterator[None]:
        """An answer, or taking it back, after which the page says so without being loaded anew."""
        before = self.page.get_attribute("#progress", "value")
        self.page.evaluate("window.loaded = true")
        yield
        expect(self.page.locator("#progress")).not_to_have_attribute("value", str(before))
        assert self.page.evaluate("window.loaded && document.activeElement.id") == "now"

    def type(self, text: str) -> None:
        self.page.keyboard.type(text)

    def shows(self, text: str) -> None:
        """This is on the page, which fits and can be read and used by everybody when it is seen first."""
        words = self.page.inner_text("body")
        assert text in words, f"{text!r} is not on {self.page.url}: {words}"
        heading = self.page.url + str(self.page.text_content("h1"))
        if heading in self.seen:
            return
        self.seen.add(heading)
        assert self.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        assert [each for each in self.page.evaluate(CONTRASTS) if each["ratio"] < 4.5] == []
        assert accessibility_findings(self.page) == []


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("portal")
    consultation = portal_folder(root / "town", 10, SEEDS, "lenient")
    folder, home = root / "town", root / "home"
    password = password_of("ann", folder, home, "--role", "moderator")
    with serving(folder, home) as address:
        yield Served(consultation, address, password, home)


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    opened = browser.new_context(viewport=PHONE)
    yield opened
    opened.close()


@pytest.fixture
def phone(context: BrowserContext, served: Served) -> Iterator[Phone]:
    opened = Phone(context.new_page(), served)
    yield opened
    assert opened.wrong == []


def _joined(phone: Phone) -> str:
    """Consent, screening and the code, which is returned."""
    phone.page.goto(phone.served.address)
    phone.shows("What is kept of you")
    phone.to("Yes")
    phone.page.keyboard.press("Space")
    phone.to("under 40")
    phone.page.keyboard.press("ArrowDown")
    phone.to("I have read this")
    phone.page.keyboard.press("Space")
    phone.press("Take part")
    phone.shows("Write it down")
    code = phone.page.text_content(".code")
    assert code
    phone.press("Start voting")
    return code


def test_somebody_takes_part_adds_a_statement_and_comes_back_by_keyboard_alone(phone: Phone) -> None:
    code, page = _joined(phone), phone.page
    asked = []
    for done, key in enumerate("adpadpadpa"):
        phone.shows(f"{done} of 10")
        asked.append(page.text_content("blockquote"))
        with phone.answered():
            page.keyboard.down(key)
        page.keyboard.down(key)  # a key that is held answers nothing more
        page.keyboard.up(key)
    assert len(set(asked)) == 10
    phone.to("Undo the last answer")
    with phone.answered():
        page.keyboard.press("Enter")
    phone.shows("9 of 10")
    assert page.text_content("blockquote") == asked[-1]
    page.reload()
    assert page.text_content("blockquote") == asked[-1]
    with phone.answered():  # the key of A where letters are Arabic
        page.evaluate(
            "document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 'ش', code: 'KeyA', bubbles: true}))"
        )
    phone.shows("10 answered")
    phone.press("Add a statement of your own")
    phone.to("Your statement")
    phone.type(OWN)
    phone.press("Go on")
    phone.shows("These come nearest to it")
    phone.press("Send it")
    phone.shows("Moderators read it next")
    phone.press("Ask Brackwater")
    phone.press("Leave on this device")
    phone.press("I have a code already")
    phone.shows("Come back")
    phone.to("Your code")
    phone.type(code)
    phone.key("Enter")
    phone.shows("11 answered")
    phone.press("Your answers")
    phone.shows("Your own statement. Your answer: Agree")
    phone.press("Questions and answers")
    phone.shows("Why?")
    phone.press("Feedback")
    phone.shows("It is no vote and no statement")


def test_an_answer_that_the_script_cannot_send_is_sent_by_the_browser_and_a_page_that_says_why_not_is_shown(
    context: BrowserContext, served: Served
) -> None:
    page = context.new_page()
    _joined(Phone(page, served))
    page.keyboard.press("p")
    expect(page.get_by_text("1 of 10")).to_be_visible()
    without = [Route.abort, lambda route: None, lambda route: route.fulfill(status=502, body="")]
    for done, lost in enumerate(without, start=2):  # no network, one that is silent, a proxy without the portal
        page.evaluate("const after = AbortSignal.timeout; AbortSignal.timeout = () => after.call(AbortSignal, 50)")
        page.route("**/vote", _of_the_script(lost))
        with page.expect_navigation():
            page.keyboard.press("p")
        expect(page.get_by_text(f"{done} of 10")).to_be_visible()
        page.unroute("**/vote")
    page.get_by_role("button", name="Undo").dblclick()
    expect(page.get_by_text("3 of 10")).to_be_visible()
    context.clear_cookies(name="sessionid")
    page.keyboard.press("p")
    expect(page.get_by_role("heading", name="Please come in again")).to_be_visible()
    assert (page.title(), page.evaluate("document.activeElement.id")) == ("Please come in again", "main")


def _of_the_script(treat: Callable[[Route], None]) -> Callable[[Route], None]:
    return lambda route: treat(route) if route.request.resource_type == "fetch" else route.continue_()


def test_nothing_is_taken_back_while_an_answer_is_on_its_way_and_a_page_is_in_one_language(
    context: BrowserContext, served: Served
) -> None:
    page, held = context.new_page(), list[Route]()
    _joined(Phone(page, served))
    page.keyboard.press("p")
    expect(page.get_by_text("1 of 10")).to_be_visible()
    page.route("**/vote", lambda route: held.append(route))
    page.keyboard.press("p")
    page.get_by_role("button", name="Undo").click()
    held[0].continue_()
    page.unroute("**/vote")
    expect(page.get_by_text("2 of 10")).to_be_visible()
    spoken = "[document.documentElement.lang, document.documentElement.dir]"
    context.add_cookies([{"name": "django_language", "value": "ar", "url": served.address}])  # chosen in another tab
    with page.expect_navigation():
        page.keyboard.press("p")
    expect(page.get_by_role("button", name="غير موافق")).to_be_visible()
    assert page.evaluate(spoken) == ["ar", "rtl"]
    context.clear_cookies()
    page.keyboard.press("p")
    expect(page.get_by_role("heading", name="Please try once more")).to_be_visible()
    assert page.evaluate(spoken) == ["en", "ltr"]


def test_a_moderator_decides_by_keyboard_alone(phone: Phone) -> None:
    page = phone.page
    page.goto(f"{phone.served.address}/desk/")
    phone.to("Name")
    phone.type("ann")
    phone.to("Password")
    phone.type(phone.served.password)
    phone.key("Enter")
    phone.shows(f"Waiting for you: {len(SEEDS)}" if page.locator(".queue > li").count() == len(SEEDS) else OWN)
    page.locator("details").evaluate_all("all => all.forEach((each) => each.open = true)")
    phone.to("Order")
    page.keyboard.press("o")  # in a list a letter looks for an answer
    assert page.evaluate("document.activeElement.name") == "order"
    page.evaluate("document.activeElement.blur()")
    for keys, words, state in [
        ("jxi", ["fits the question"], "moderation-1"),
        ("jxo", ["spam", "sells"], "moderation-2"),
    ]:
        for key in keys:
            page.keyboard.press(key)
        phone.type(words[0])
        if len(words) > 1:
            phone.to("Reason, in your own words")
            phone.type(words[1])
        phone.key("Enter")
        phone.shows(f"Recorded {state}.")
    rows = read_ledger(phone.served.consultation.ledger("moderation"), "moderation")
    assert rows.select("subject_ids", "outcome", "reason", "decided_by").rows() == [
        (["1"], "in", "fits the question", "moderator"),
        (["2"], "out: spam", "sells", "moderator"),
    ]
    phone.press("Decided")
    phone.shows("Decided: 2")


def test_an_editor_decides_by_keyboard_alone_and_every_page_of_the_desk_is_accessible(phone: Phone) -> None:
    page, served = phone.page, phone.served
    duties = [word for duty in ("moderate", "edit", "sign") for word in ("--may", duty)]
    password = password_of("eve", served.consultation.folder, served.home, "--role", "editor", *duties)
    page.goto(f"{served.address}/desk/")
    page.fill("#name", "eve")
    page.fill("#password", password)
    with page.expect_navigation():
        page.keyboard.press("Enter")
    page.goto(f"{served.address}/desk/ledgers")
    phone.shows("Where there is no link, another account decides.")
    phone.press("Statements that say the same")
    phone.shows("Look at other statements together")
    phone.to("Look at other statements together")
    phone.type("3 4")
    phone.key("Enter")
    phone.shows("Which of them")
    for key in "j2r":
        page.keyboard.press(key)
    phone.type("other colours")
    phone.key("Enter")
    phone.shows("Recorded merge-1.")
    phone.key("z")
    phone.shows("Recorded merge-2.")
    rows = read_ledger(served.consultation.ledger("merge"), "merge")
    assert rows["outcome"].to_list() == ["keep apart", "withdrawn"] and rows["supersedes"][1] == "merge-1"
    for path, words in [("ledger/threshold?subject=gac_threshold", "gac_threshold"), ("sign", "Sign-off")]:
        page.goto(f"{served.address}/desk/{path}")
        phone.shows(words)
