"""An HTML page taken apart, for the tests of every page that people read."""

from html.parser import HTMLParser

VOID = {"meta", "img", "input", "br", "link", "hr"}
ENDED_BY = {
    "li": {"li"},
    "p": {"p", "div", "ul", "ol", "table", "details", "h3", "h4"},
    "td": {"td", "th", "tr", "tbody"},
    "tr": {"tr", "tbody"},
}
"""Elements without an end tag, and which of those on our pages begin after their end (HTML 13.1.2.4)."""
ENDED_WITHIN = {
    "li": {"ul", "ol"},
    "td": {"table", "tbody", "tr"},
    "tr": {"table", "tbody"},
    "p": {"div", "li", "td", "details"},
}
"""The same by whose end tags end them as well."""


class Page(HTMLParser):
    """Collects elements and text, and notes every tag that is not closed in order, where HTML asks for that."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.faults: list[str] = []
        self.text: list[str] = []
        self.scripts: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        while self.open and tag in ENDED_BY.get(self.open[-1], ()):
            self.open.pop()
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self.open and tag in ENDED_WITHIN.get(self.open[-1], ()):
            self.open.pop()
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif not self.open or self.open[-1] != "style":
            self.text.append(data)

    def words(self) -> str:
        return " ".join("".join(self.text).split())
