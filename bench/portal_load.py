"""People who vote in the portal, all in one process: they read, think, answer, and note what was acknowledged.

`crowd` is people as they are, with seconds of thought; `storm` sends answers as fast as they are taken, to the portal
or to a bare view. Run by `bench.portal` as a second process: `python -m bench.portal_load crowd ADDRESS ...`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import re
import sys
import time
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

THOUGHT = (2.0, 5.0)
TOGETHER = 32
"""Answers under way in a storm."""
HEADERS = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36",
    "Accept-Language": "en-GB,en;q=0.9,de;q=0.8",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Sec-Fetch-Site": "same-origin",
}
"""What a browser says with every request."""
PART = {"X-Part": "main"}
"""What the script of the page says beside."""
JOIN = {"consent": "yes", "question-0": "Yes", "about-age": "under 40"}


@dataclass
class Person:
    """A browser's cookies, and what this person was asked last."""

    cookies: dict[str, str] = field(default_factory=dict)
    statement: int = 0

    @property
    def number(self) -> int:
        """The participant's, which stands in the session's cookie."""
        payload = self.cookies["sessionid"].partition(":")[0]
        content = base64.urlsafe_b64decode(payload.lstrip(".") + "==")
        return int(json.loads(zlib.decompress(content) if payload.startswith(".") else content)["participant"])


@dataclass
class Load:
    """One client for all people, and what became of their answers.

    Attributes:
        scripted: Whether browsers run the script of the page, which asks for what changes, or load a page each time.
        seconds: From an answer to the next statement on the screen, of each answer while it was measured.
        errors: Everything that was no page as it should be, while it was measured.
        acknowledged: Participant, statement and value of every vote that the server said it had.
    """

    address: str
    client: aiohttp.ClientSession
    scripted: bool = True
    measured: bool = True
    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    acknowledged: list[tuple[int, int, int]] = field(default_factory=list)

    async def ask(self, person: Person, path: str, form: dict[str, str] | None = None, **more: str) -> tuple[int, str]:
        """Send one request with this person's cookies, and more headers; return status and text of the answer."""
        cookies = "; ".join(f"{name}={value}" for name, value in person.cookies.items())
        headers = {**HEADERS, "Origin": self.address, "Referer": f"{self.address}/vote", "Cookie": cookies, **more}
        data = form and {**form, "csrfmiddlewaretoken": person.cookies["csrftoken"]}
        method = "GET" if form is None else "POST"
        url = self.address + path
        async with self.client.request(method, url, data=data, headers=headers, allow_redirects=False) as answer:
            person.cookies |= {name: each.value for name, each in answer.cookies.items()}
            return answer.status, await answer.text()

    async def join(self, person: Person) -> None:
        """Let somebody begin and see the first statement."""
        await self.ask(person, "/")
        status, page = await self.ask(person, "/join", JOIN)
        assert status == 302, page
        await self.look(person)

    async def look(self, person: Person) -> None:
        """Read what is asked next."""
        self.read(person, *await self.ask(person, "/vote"))

    def read(self, person: Person, status: int, page: str) -> None:
        """Note what is asked on a page.

        Raises:
            ValueError: It is not a page that asks something.
        """
        found = re.search(r'name="statement" value="(\d+)"', page)
        if status != 200 or not found:
            raise ValueError(f"status {status}: {page[:300]}")
        person.statement = int(found[1])

    async def answer(self, person: Person, value: str) -> None:
        """Answer what is asked, note what was acknowledged, and read what is asked next.

        Raises:
            ValueError: The server said something else.
        """
        form, more = {"statement": str(person.statement), "vote": value}, PART if self.scripted else {}
        status, page = await self.ask(person, "/vote", form, **more)
        if status != (200 if self.scripted else 302):
            raise ValueError(f"status {status}: {page[:300]}")
        self.acknowledged.append((person.number, person.statement, {"agree": 1, "disagree": -1, "pass": 0}[value]))
        if self.scripted:
            self.read(person, status, page)
        else:
            await self.look(person)

    async def take_part(self, number: int, person: Person) -> None:
        """Think and answer until the server is gone."""
        draw = random.Random(number)
        await asyncio.sleep(draw.uniform(0, THOUGHT[1]))
        while True:
            began, value = time.perf_counter(), draw.choice(["agree", "disagree", "pass"])
            measured = self.measured
            try:
                await self.answer(person, value)
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                if self.measured:
                    self.errors.append(repr(error))
                return
            if measured:
                self.seconds.append(time.perf_counter() - began)
            await asyncio.sleep(draw.uniform(*THOUGHT))


async def crowd(address: str, people: int, seconds: float, output: Path, scripted: bool) -> None:
    """Let people join, then vote; after so many seconds say so, and go on until the server is gone."""
    async with _client() as client:
        load, persons = Load(address, client, scripted), [Person() for _ in range(people)]
        await _joined(load, persons)
        tasks = [asyncio.create_task(load.take_part(number, each)) for number, each in enumerate(persons)]
        await asyncio.sleep(THOUGHT[1])
        load.seconds.clear()
        print("begins", flush=True)
        await asyncio.sleep(seconds)
        load.measured = False
        print("measured", flush=True)
        await asyncio.gather(*tasks)
    written = {"seconds": load.seconds, "errors": load.errors, "acknowledged": load.acknowledged}
    output.write_text(json.dumps(written))


async def _joined(load: Load, persons: list[Person]) -> None:
    for begin in range(0, len(persons), TOGETHER):
        await asyncio.gather(*(load.join(each) for each in persons[begin : begin + TOGETHER]))


async def storm(portal: str, bare: str, people: int, seconds: float, pairs: int) -> None:
    """Send answers to the portal, alone and for the next statement, and to the bare view in turn; print the rates."""
    async with _client() as client:
        load, persons = Load(portal, client), [Person() for _ in range(people)]
        await _joined(load, persons)
        own, other = iter(range(10**9)), iter(range(10**9))

        async def vote(status: int = 302, **more: str) -> None:
            at = next(own)
            form = {"statement": str(at // people + 1), "vote": "agree"}
            got, page = await load.ask(persons[at % people], "/vote", form, **more)
            assert got == status, page

        async def answer() -> None:
            await vote(200, **PART)

        async def insert() -> None:
            at = next(other)
            form = {"participant": str(at % people + 1), "statement": str(at // people + 1)}
            async with client.post(f"{bare}/", data=form) as answer:
                assert answer.status == 204, await answer.text()

        for _ in range(pairs):
            print(json.dumps([await _rate(each, seconds) for each in (vote, answer, insert)]), flush=True)


async def _rate(action, seconds: float) -> float:  # type: ignore[no-untyped-def]
    began = time.perf_counter()

    async def again() -> int:
        done = 0
        while time.perf_counter() - began < seconds:
            await action()
            done += 1
        return done

    done = sum(await asyncio.gather(*(again() for _ in range(TOGETHER))))
    return done / (time.perf_counter() - began)


def _client() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(30), cookie_jar=aiohttp.DummyCookieJar()
    )


if __name__ == "__main__":
    kind, *rest = sys.argv[1:]
    if kind == "crowd":
        asyncio.run(crowd(rest[0], int(rest[1]), float(rest[2]), Path(rest[3]), rest[4] == "scripted"))
    else:
        asyncio.run(storm(rest[0], rest[1], int(rest[2]), float(rest[3]), int(rest[4])))
