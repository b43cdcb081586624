"""Votes from the address of a report's export, asked from a real server that fails in every way it can."""

from __future__ import annotations

import base64
import os
import shutil
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import dagster as dg
import httpx
import polars as pl
import pytest
import yaml
from field_conversation import all_votes, plain_files, write
from small_export import write_export

from assets import public_input
from ccai_dagster.automation import present_versions
from ccai_dagster.cli.new import from_export
from ccai_dagster.consultation.folder import SAMPLE, Consultation, read_consultation
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.deliberation.importing.read_votes import find_vote_files, read_votes
from resources import vote_source
from resources.tables import Tables
from resources.vote_source import VoteSource

EXPORT = {
    "comments.csv": "timestamp,datetime,comment-id,author-id,agrees,disagrees,moderated,comment-body\n"
    '1700000000,Tue,0,1,1,0,1,"Be kind, always"\n1700000001,Tue,1,2,1,0,0,Be brief\n',
    "votes.csv": "timestamp,datetime,comment-id,voter-id,vote\n1700000000,Tue,0,1,1\n1700000001,Tue,1,2,1\n",
    "participant-votes.csv": "participant,group-id,n-comments,n-votes,n-agree,n-disagree,0,1\n1,0,1,1,1,0,1,\n",
    "comment-groups.csv": "comment-id,comment,total-votes\n0,Be kind,1\n",
    "summary.csv": 'topic,"Manners"\nvoters,2\n',
}
PATH = "/api/v3/reportExport/r2demo"


@dataclass
class Report:
    """A report on a server: its files, what the next answers to each are, and what was asked."""

    files: dict[str, str] = field(default_factory=lambda: dict(EXPORT))
    failures: dict[str, list[str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    address: str = ""
    authorization: list[str | None] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)


class Handler(BaseHTTPRequestHandler):
    served: Report

    def do_GET(self) -> None:
        folder, _, name = self.path.rpartition("/")
        self.served.asked.append(name)
        self.served.authorization.append(self.headers.get("Authorization"))
        failures = self.served.failures.get(name, [])
        failure = failures.pop(0) if failures else ""
        body = self.served.files.get(name, "").encode()
        if failure == "slow":
            time.sleep(1.0)
        if failure in ("drops", "heading drops"):
            self._drop(failure)
        elif failure.startswith("to "):
            self._answer(302, b"", {"Location": failure.removeprefix("to ")})
        elif failure == "cut":
            self._answer(200, body[: len(body) // 2], length=len(body))
        elif failure.isdecimal():
            self._answer(int(failure), b"busy", {"Retry-After": "0"} if failure == "429" else {})
        elif failure == "page":
            self._answer(200, b"<!doctype html>", {"Content-Type": "text/html; charset=utf-8"})
        elif folder != PATH or name not in self.served.files:
            self._answer(404, b"polis_error_data_unknown_report")
        else:
            self._answer(200, body)

    def _drop(self, what: str) -> None:
        """Answer a byte at a time without end."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\n" + (b"X-Long: " if what == "heading drops" else b"\r\n"))
        with suppress(OSError):  # nobody listens any more
            while not self.served.over.wait(0.02):
                self.wfile.write(b"x")

    def _answer(
        self, status: int, body: bytes, headers: dict[str, str] | None = None, length: int | None = None
    ) -> None:
        self.send_response(status)
        for key, value in {"Content-Type": "text/csv", **(headers or {})}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def report() -> Iterator[Report]:
    served = Report()
    handler = type("ReportHandler", (Handler,), {"served": served})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        served.address = f"http://127.0.0.1:{server.server_port}{PATH}"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield served
        served.over.set()
        server.shutdown()


def source(tmp_path: Path) -> VoteSource:
    return VoteSource(downloads=str(tmp_path / "downloads"), timeout=0.5, attempts=3, pause=0.01)


def kept(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "downloads").iterdir())


def test_five_files_are_kept_under_the_digest_of_their_content(report: Report, tmp_path: Path) -> None:
    observed = source(tmp_path).observe(report.address + "/")
    assert report.asked[-1] == "comments.csv" and sorted(report.asked) == sorted(EXPORT)
    assert kept(tmp_path) == [observed.version] == [find_vote_files(observed.place).digest()]
    assert {path.name: path.read_text() for path in observed.place.iterdir()} == EXPORT
    assert observed.sizes["votes.csv"] == len(EXPORT["votes.csv"])
    assert read_votes(observed.place).raw_votes.height == 2
    again = source(tmp_path).observe(report.address)
    assert (again.version, kept(tmp_path)) == (observed.version, [observed.version])
    report.files["votes.csv"] += "1700000009,Tue,0,2,-1\n"
    later = source(tmp_path).observe(report.address)
    assert later.version != observed.version and kept(tmp_path) == sorted([observed.version, later.version])
    assert read_votes(source(tmp_path).place(report.address, observed.version)).raw_votes.height == 2


def test_a_busy_slow_or_broken_server_is_asked_again(report: Report, tmp_path: Path) -> None:
    report.failures = {"votes.csv": ["503", "cut"], "comments.csv": ["slow"], "summary.csv": ["429", "500"]}
    observed = source(tmp_path).observe(report.address)
    assert {path.name: path.read_text() for path in observed.place.iterdir()} == EXPORT
    assert (report.asked.count("votes.csv"), report.asked.count("comments.csv")) == (3, 2)


@pytest.mark.parametrize(
    ("failures", "message", "asked"),
    [
        (["503"] * 5, r"votes\.csv: no answer in 3 attempts \(status 503\)", 3),
        (["cut"] * 5, r"votes\.csv: no answer in 3 attempts \(RemoteProtocolError", 3),
        (["403"], r"refused with status 403. Is the report public", 1),
        (["404"], r"votes\.csv: not found.*reportExport", 1),
        (["page"], r"votes\.csv: not found.*reportExport", 1),
    ],
)
def test_what_cannot_be_had_is_named_and_leaves_nothing(
    report: Report, tmp_path: Path, failures: list[str], message: str, asked: int
) -> None:
    before = source(tmp_path).observe(report.address).version
    report.asked.clear()
    report.failures = {"votes.csv": failures}
    with pytest.raises(ConsultationError, match=message):
        source(tmp_path).observe(report.address)
    assert report.asked == ["votes.csv"] * asked
    assert kept(tmp_path) == [before]


def test_files_that_an_era_does_not_have_may_be_missing(report: Report, tmp_path: Path) -> None:
    for name in ("participant-votes.csv", "comment-groups.csv"):
        del report.files[name]
    report.failures = {"summary.csv": ["page"]}
    observed = source(tmp_path).observe(report.address)
    assert sorted(observed.sizes) == ["comments.csv", "votes.csv"]


@pytest.mark.parametrize("failure", ["drops", "heading drops"])
def test_an_answer_that_never_ends_is_given_up(report: Report, tmp_path: Path, failure: str) -> None:
    report.failures = {"votes.csv": [failure]}
    limited = VoteSource(downloads=str(tmp_path / "downloads"), timeout=5.0, attempts=3, pause=0.0, limit=0.1)
    with pytest.raises(
        ConsultationError, match=r"votes\.csv: not all there after 0\.1 s, the limit of a whole download"
    ):
        limited.observe(report.address)
    assert report.asked == ["votes.csv"] and kept(tmp_path) == []


def test_a_redirect_on_the_same_server_is_followed(report: Report, tmp_path: Path) -> None:
    report.failures = {"votes.csv": [f"to {PATH}/votes.csv"]}
    assert source(tmp_path).observe(report.address).sizes["votes.csv"] == len(EXPORT["votes.csv"])
    assert report.asked[:2] == ["votes.csv", "votes.csv"]


def test_nobody_is_led_to_another_server_or_service(report: Report, tmp_path: Path) -> None:
    other = report.address.replace("127.0.0.1", "localhost")
    for target in (
        f"{other}/votes.csv",
        "http://169.254.169.254/latest",
        "http://127.0.0.1:9/",
        "file://127.0.0.1/etc/passwd",
    ):
        report.failures, report.asked = {"votes.csv": [f"to {target}"]}, []
        with pytest.raises(ConsultationError) as refused:
            source(tmp_path).observe(report.address)
        assert report.asked == ["votes.csv"]
        assert f"sends one on to {target}, which is another server" in str(refused.value)
    assert kept(tmp_path) == []


def test_from_http_to_https_is_no_other_server() -> None:
    def same(one: str, other: str) -> bool:
        return vote_source._same_service(httpx.URL(one), httpx.URL(other))

    assert same("http://polis.example/r", "https://polis.example/r")
    assert not same("https://polis.example/r", "http://polis.example/r")
    assert not same("https://polis.example/r", "https://polis.example:8443/r")
    assert not same("https://polis.example/r", "https://polis.example.org/r")


def test_a_password_is_sent_and_not_shown(report: Report, tmp_path: Path) -> None:
    address = report.address.replace("http://", "http://town:s%40cret@")
    observed = source(tmp_path).observe(address)
    assert observed.source == report.address
    assert set(report.authorization) == {f"Basic {base64.b64encode(b'town:s@cret').decode()}"}
    report.failures = {"votes.csv": ["403"]}
    with pytest.raises(ConsultationError) as refused:
        source(tmp_path).observe(address)
    with pytest.raises(ConsultationError) as gone:
        source(tmp_path).place(address, None)
    for said in (str(refused.value), str(gone.value)):
        assert report.address in said and "town:" not in said and "cret" not in said


def test_personal_codes_and_unknown_columns_are_not_kept(report: Report, tmp_path: Path) -> None:
    report.files["participant-votes.csv"] = (
        "participant,xid,group-id,n-comments,n-votes,n-agree,n-disagree,0,1,mood\n"
        '1,"secret, one",0,1,1,1,0,1,,glad\n2,secret-two,,0,1,1,0,,1,\n'
    )
    report.files["votes.csv"] = (
        report.files["votes.csv"].replace("vote\n", "vote,device\n", 1).replace(",1\n", ",1,my-phone\n")
    )
    whole = tmp_path / "whole"
    whole.mkdir()
    for name, content in report.files.items():
        (whole / name).write_text(content)
    place = source(tmp_path).observe(report.address).place
    stored = "".join(path.read_text() for path in place.iterdir())
    assert not [word for word in ("secret", "glad", "my-phone") if word in stored]
    assert (place / "participant-votes.csv").read_text() == (
        "participant,xid,group-id,n-comments,n-votes,n-agree,n-disagree,0,1,mood\n1,,0,1,1,1,0,1,,\n2,,,0,1,1,0,,1,\n"
    )
    for name in ("raw_statements", "raw_participants", "raw_votes", "import_report"):
        assert getattr(read_votes(place), name).equals(getattr(read_votes(whole), name))
    assert stat.S_IMODE(place.stat().st_mode) == 0o700


def test_a_file_that_is_being_written_is_not_observed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_export(tmp_path / "votes", 3)
    slept: list[float] = []

    def written_meanwhile(seconds: float) -> None:
        slept.append(seconds)
        write_export(tmp_path / "votes", 4)

    monkeypatch.setattr("time.sleep", written_meanwhile)
    with pytest.raises(ConsultationError, match="votes: is being written"):
        source(tmp_path).observe(str(tmp_path / "votes"))
    assert 0 < slept[0] <= 1
    for path in (tmp_path / "votes").iterdir():
        os.utime(path, (1_700_000_000, 1_700_000_000))
    slept.clear()
    assert source(tmp_path).observe(str(tmp_path / "votes")).source == str(tmp_path / "votes")
    assert slept == []


def test_an_address_that_is_none_is_told_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(ConsultationError, match=r"^http://\[::1/report: not a valid address"):
        source(tmp_path).observe("http://town:secret@[::1/report")


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(ConsultationError, match="no answer in 3 attempts"):
        source(tmp_path).observe("http://127.0.0.1:9/report")


def test_too_much_is_not_kept(report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resources.vote_source.MOST_BYTES", 20)
    with pytest.raises(ConsultationError, match=r"votes\.csv: more than 20 bytes"):
        source(tmp_path).observe(report.address)
    assert kept(tmp_path) == []


def consultation(tmp_path: Path, votes: str) -> Consultation:
    shutil.copytree(SAMPLE, tmp_path / "town")
    path = tmp_path / "town" / "consultation.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "votes": votes}))
    return read_consultation(tmp_path / "town")


def graph(chosen: Consultation, tmp_path: Path) -> dg.Definitions:
    resources = {"vote_source": source(tmp_path), "tables": Tables(url=str(tmp_path / "tables"))}
    observe = dg.define_asset_job("observe", dg.AssetSelection.assets("polis_export"))
    return dg.Definitions(assets=public_input.build(chosen), resources=resources, jobs=[observe])


def execute(definitions: dg.Definitions, what: str, instance: dg.DagsterInstance) -> str:
    """Observe or import, and return what made it fail, or nothing."""
    if what == "observe":
        job, keys = definitions.resolve_job_def("observe"), None
    else:
        job = definitions.resolve_implicit_global_asset_job_def()
        keys = [dg.AssetKey(name) for name in public_input.TABLES]
    result = job.execute_in_process(instance=instance, raise_on_error=False, asset_selection=keys)
    failed = result.filter_events(lambda each: each.event_type == dg.DagsterEventType.STEP_FAILURE)
    return " ".join(str(event.step_failure_data.user_failure_data.description) for event in failed)


def votes_at(tmp_path: Path) -> int:
    return pl.read_parquet(tmp_path / "tables" / "raw_votes.parquet").height


def test_the_graph_imports_what_was_observed_and_not_what_came_since(report: Report, tmp_path: Path) -> None:
    chosen = consultation(tmp_path, report.address)
    definitions = graph(chosen, tmp_path)
    with dg.DagsterInstance.ephemeral() as instance:
        assert "Observe polis_export again" in execute(definitions, "import", instance)
        assert execute(definitions, "observe", instance) == ""
        report.files["votes.csv"] += "1700000009,Tue,0,2,-1\n"
        report.asked.clear()
        assert execute(definitions, "import", instance) == ""
        assert (votes_at(tmp_path), report.asked) == (2, [])
        assert execute(definitions, "observe", instance) == "" == execute(definitions, "import", instance)
        assert votes_at(tmp_path) == 3
        report.failures = {"votes.csv": ["503"] * 3}
        assert "no answer in 3 attempts" in execute(definitions, "observe", instance)
        assert votes_at(tmp_path) == 3
    # A sensor that looks every minute leaves other people's servers alone.
    report.asked.clear()
    assert dg.AssetKey("polis_export") not in present_versions(chosen) and report.asked == []


def test_the_graph_refuses_files_that_changed_since_they_were_observed(tmp_path: Path) -> None:
    chosen = consultation(tmp_path, "votes")
    definitions = graph(chosen, tmp_path)
    votes = tmp_path / "town" / "votes" / "votes.csv"
    with dg.DagsterInstance.ephemeral() as instance:
        assert execute(definitions, "import", instance) == ""
        before = votes_at(tmp_path)
        assert execute(definitions, "observe", instance) == ""
        votes.write_text(votes.read_text() + "1790000000000,Mon,0,999,1\n")
        assert "not what it was when polis_export was last observed" in execute(definitions, "import", instance)
        assert votes_at(tmp_path) == before
        assert execute(definitions, "observe", instance) == "" == execute(definitions, "import", instance)
        assert votes_at(tmp_path) == before + 1


def test_the_graph_reads_votes_as_the_consultation_says(tmp_path: Path) -> None:
    plain = consultation(tmp_path, "votes")
    shutil.rmtree(tmp_path / "town" / "votes")
    scale = [(p, s, 3 - 2 * v, t) for p, s, v, t in all_votes()]
    write(tmp_path / "town" / "votes", plain_files(scale))
    path = tmp_path / "town" / "consultation.yaml"
    turned = {"1..2": "agree", "3": "pass", "4..5": "disagree"}
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "vote_values": turned}))
    chosen = read_consultation(tmp_path / "town")
    with dg.DagsterInstance.ephemeral() as instance:
        assert execute(graph(chosen, tmp_path), "observe", instance) == ""
        assert execute(graph(chosen, tmp_path), "import", instance) == ""
    stored = pl.read_parquet(tmp_path / "tables" / "raw_votes.parquet")
    assert stored["vote"].to_list() == [v for _, _, v, _ in sorted(all_votes())]
    before, after = (public_input.build(each)[1].code_versions_by_key for each in (plain, chosen))
    assert before.keys() == after.keys() and all(before[key] != after[key] for key in before)


def test_a_new_folder_around_an_address(report: Report, tmp_path: Path) -> None:
    lines = from_export(report.address, tmp_path / "mine", "lenient")
    mine = read_consultation(tmp_path / "mine")
    assert mine.votes == mine.file.votes == report.address and mine.file.moderation == "lenient"
    assert not (tmp_path / "mine" / "votes").exists()
    assert "2 participants, 2 statements, 2 votes" in lines[0]
    report.failures = {"votes.csv": ["404"]}
    with pytest.raises(ConsultationError, match="not found"):
        from_export(report.address, tmp_path / "other", "strict")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine"]
