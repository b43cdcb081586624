"""The portal under a thousand people, in SQLite and PostgreSQL, until every process is killed; and what a vote costs.

People think for two to five seconds in a process of their own (`bench.portal_load`); how long it takes from an answer
to the next statement is what they wait for. Their browsers run the page's script; what it costs without is a smaller
figure beside. Then all processes of the portal are killed at once, and every vote that was acknowledged has to be in
the database. Votes a second are compared with a bare view of the same framework (`bench.portal_bare`), in turn.

`python -m bench.portal` takes about seven minutes; `--quick` a minute, for a look.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pgserver
import polars as pl
import psutil
import yaml

from bench.crowd import write_votes
from bench.pairs import seconds
from ccai_dagster.cli.serve import server_command
from ccai_dagster.consultation.folder import read_consultation
from ccai_dagster.core.home import Home
from ccai_dagster.core.portal_database import VARIABLE, read_rows
from tests.small_portal import portal_folder

STATEMENTS, WORKERS = 200, 2
LARGE = (30_000, 1_000, 1_000_000)
"""Participants, statements and votes among which the next statement is drawn."""
PEOPLE, SECONDS, PAIRS, SECONDS_OF_STORM = 1000, 60.0, 5, 4.0
WITHOUT_SCRIPT = (200, 15.0)
"""People and seconds."""
QUICK = {"PEOPLE": 200, "SECONDS": 5.0, "PAIRS": 2, "SECONDS_OF_STORM": 2.0, "WITHOUT_SCRIPT": (100, 5.0)}


def main() -> None:
    """Print what people wait for, what was lost, votes a second, and how long a draw takes."""
    if "--quick" in sys.argv:
        globals().update(QUICK)
    with tempfile.TemporaryDirectory() as place, pgserver.get_server(tempfile.mkdtemp(), cleanup_mode="delete") as own:
        for name, database in (("SQLite", ""), ("PostgreSQL", own.get_uri())):
            os.environ[VARIABLE] = database
            process = psutil.Process(own.get_pid()) if database else None
            waited(name, Path(place) / f"crowd_{name}", PEOPLE, SECONDS, database=process)
            waited(name, Path(place) / f"plain_{name}", *WITHOUT_SCRIPT, scripted=False, database=process)
            compared(name, Path(place) / f"storm_{name}")
            draws = [sys.executable, "-m", "bench.portal", "--draw", name, str(Path(place) / f"draw_{name}")]
            subprocess.run(draws, check=True)


def waited(
    name: str, place: Path, people: int, seconds: float, scripted: bool = True, database: psutil.Process | None = None
) -> None:
    """Let a crowd vote, kill everything, and look for what was acknowledged.

    Args:
        people: How many vote.
        seconds: How long it is measured.
        scripted: Whether their browsers run the page's script.
        database: The process of PostgreSQL.
    """
    home, output = consultation_in(place), place / "load.json"
    with served(place, "ccai_dagster.portal.wsgi:application()", WORKERS) as (server, address):
        load = start_load("crowd", address, people, seconds, output, "scripted" if scripted else "plain")
        measured = [server, database] if database else [server]
        assert load.stdout and load.stdout.readline() == "begins\n"
        before = [_cpu(each) for each in measured]
        assert load.stdout.readline() == "measured\n"
        used = [_cpu(each) - first for each, first in zip(measured, before, strict=True)]
        time.sleep(1.0)
        for each in [server, *server.children(recursive=True)]:
            each.kill()
        load.wait(60)
    told = json.loads(output.read_text())
    kept = set(read_rows(home.portal, ["SELECT participant_id, statement_id, value FROM portal_vote"])[0])
    lost = {tuple(each) for each in told["acknowledged"]} - kept
    waits = np.sort(told["seconds"]) * 1000
    print(
        f"{name}, {people} people {'with' if scripted else 'without'} JavaScript, {WORKERS} processes: "
        f"from an answer to the next statement {np.quantile(waits, 0.5):.0f} ms (median), "
        f"{np.quantile(waits, 0.95):.0f} ms (95 %), {waits[-1]:.0f} ms (longest of {len(waits)}); "
        f"{len(waits) / seconds:.0f} votes a second; errors: {len(told['errors'])}; "
        f"CPU {' + '.join(f'{1000 * each / len(waits):.1f}' for each in used)} ms a vote and page"
        f"{' (portal + PostgreSQL)' if database else ''}; "
        f"killed: {len(lost)} of {len(told['acknowledged'])} acknowledged votes lost",
        flush=True,
    )
    for error in told["errors"][:3]:
        print("   ", error[:300])


def _cpu(server: psutil.Process) -> float:
    return sum(sum(each.cpu_times()[:2]) for each in [server, *server.children(recursive=True)])


def compared(name: str, place: Path) -> None:
    """Votes a second of the portal and of a bare view, each beside the other on the same server and database."""
    consultation_in(place)
    with (
        served(place, "ccai_dagster.portal.wsgi:application()") as (_, own),
        served(bare_in(place), "bench.portal_bare:application()") as (_, bare),
    ):
        load = start_load("storm", own, bare, PEOPLE, SECONDS_OF_STORM, PAIRS)
        output, _ = load.communicate()
    rates = np.array([json.loads(line) for line in output.splitlines()])
    alone, answered, inserted = np.median(rates, axis=0)
    ratios = np.median(rates[:, :2] / rates[:, 2:], axis=0)
    print(
        f"{name}: {alone:.0f} votes a second, {answered:.0f} with the next statement; a bare view that inserts a row: "
        f"{inserted:.0f}; ratios {ratios[0]:.2f} and {ratios[1]:.2f} (medians of {len(rates)})",
        flush=True,
    )


def drawn(name: str, place: Path) -> None:
    """How long the next statement takes among many; in a process of its own, since Django is set up once in each."""
    home = consultation_in(place)
    participants, statements, votes = LARGE
    from ccai_dagster.portal.configuration import set_up

    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    consultation = read_consultation(place / place.name)
    set_up(consultation, home)
    from ccai_dagster.portal.figures import Source
    from ccai_dagster.portal.models import Participant, Statement, Vote
    from ccai_dagster.portal.participation import votes_of

    write_votes(place / "votes.parquet", participants, statements, votes)
    cast = pl.read_parquet(place / "votes.parquet").rename({"participant_id": "who", "statement_id": "what"})
    Participant.objects.bulk_create((Participant(code_digest=str(each)) for each in range(participants)), 5000)
    Statement.objects.bulk_create(
        (Statement(text=f"Statement {each}", key=str(each), is_seed=True) for each in range(statements)), 5000
    )
    rows = cast.select(pl.col("who") - cast["who"].min() + 1, pl.col("what") + 1, "vote").iter_rows()
    Vote.objects.bulk_create(
        (Vote(participant_id=who, statement_id=what, value=value) for who, what, value in rows), 5000
    )
    source, rng = Source(consultation, home), np.random.default_rng(1)
    computing = seconds(source.renew)
    figures, people = source.now(), list(Participant.objects.order_by("pk")[: participants : participants // 500])
    figures.draw(votes_of(people[0]), rng)
    times = [seconds(lambda each=each: figures.draw(votes_of(each), rng)) * 1000 for each in people]
    print(
        f"{name}, {cast.height:,} votes of {participants:,} people on {statements:,} statements: the next statement "
        f"takes {statistics.median(times):.1f} ms (median), {np.quantile(times, 0.95):.1f} ms (95 %); the figures, "
        f"computed beside, {computing:.1f} s",
        flush=True,
    )


def consultation_in(place: Path) -> Home:
    """Make a consultation with many statements that are shown at once and without a limit on who begins."""
    place.mkdir()
    seeds = tuple(f"The assistant should follow rule number {each}." for each in range(STATEMENTS))
    consultation = portal_folder(place / place.name, seeds=seeds, moderation="lenient")
    path = consultation.folder / "consultation.yaml"
    settings = yaml.safe_load(path.read_text())
    settings["portal"]["joins_a_day"] = 10**6
    path.write_text(yaml.safe_dump(settings))
    return Home(place / "home", consultation.name)


def bare_in(place: Path) -> Path:
    """A second consultation beside the first, whose votes the bare view inserts."""
    other = place / f"bare_{place.name}"
    consultation_in(other)
    return other


@contextmanager
def served(place: Path, application: str, workers: int = 1) -> Iterator[tuple[psutil.Process, str]]:
    """The web server of `ccai serve`, with an application; yields its process and address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "CCAI_HOME": str(place / "home"), "CCAI_CONSULTATION": str(place / place.name)}
    setting_up = "from bench.portal import fill; fill()"
    subprocess.run([sys.executable, "-c", setting_up], env=environment, check=True)
    process = subprocess.Popen(server_command(application, port, workers=workers), env=environment)
    address = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until and process.poll() is None:
            try:
                httpx.get(address)
                break
            except httpx.TransportError:
                time.sleep(0.1)
        yield psutil.Process(process.pid), address
    finally:
        process.terminate()
        process.wait()


def fill() -> None:
    """Put statements into the database of the consultation that the environment names, and people for a bare view."""
    from ccai_dagster.consultation.folder import chosen_consultation, home_of
    from ccai_dagster.portal.configuration import set_up

    consultation = chosen_consultation()
    set_up(consultation, home_of(consultation))
    from ccai_dagster.portal.models import Participant
    from ccai_dagster.portal.team import add_seed_statements

    add_seed_statements(consultation)
    if consultation.name.startswith("bare"):
        Participant.objects.bulk_create(Participant(code_digest=str(each)) for each in range(PEOPLE))


def start_load(*arguments: object) -> subprocess.Popen[str]:
    """Start the people who vote."""
    command = [sys.executable, "-m", "bench.portal_load", *(str(each) for each in arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


if __name__ == "__main__":
    if "--draw" in sys.argv:
        drawn(sys.argv[-2], Path(sys.argv[-1]))
    else:
        main()
