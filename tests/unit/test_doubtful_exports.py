"""Exports that may not be whole: how they are told, what stops, and how a person lets one pass."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from small_export import write_export
from typer.testing import CliRunner

from assets import decisions, public_input
from ccai_dagster.cli.app import app
from ccai_dagster.cli.decide import decide_one, show_status
from ccai_dagster.consultation.folder import SAMPLE, read_consultation
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.home import Home
from ccai_dagster.decisions.recording import Answer
from ccai_dagster.deliberation.importing.comparison import came_since, doubts
from ccai_dagster.deliberation.importing.read_votes import read_votes
from ccai_dagster.deliberation.importing.tables import Import
from ccai_dagster.notices import notices
from ccai_dagster.open_consultation import OpenConsultation
from ccai_dagster.run_failures import standing_failures
from resources import run_tags
from resources.tables import Tables
from resources.vote_source import VoteSource


def imported(folder: Path, people: int, statements: int = 4, **stated: int) -> Import:
    write_export(folder, people, statements, stated)
    return read_votes(folder)


def test_a_whole_export_raises_no_doubt(tmp_path: Path) -> None:
    export = imported(tmp_path, 20)
    assert doubts(None, export) == doubts(export, export) == []
    assert [(each.file, each.what, each.stated, each.counted) for each in export.stated] == [
        ("comments.csv", "agreeing and disagreeing votes", 80, 80),
        ("summary.csv", "voters", 20, 20),
        ("summary.csv", "statements", 4, 4),
    ]


@pytest.mark.parametrize(
    ("stated", "sentences"),
    [
        ({"agrees": 25}, ["comments.csv states 100 agreeing and disagreeing votes, and 80 of them are there"]),
        ({"voters": 24}, ["summary.csv states 24 voters, and 20 of them are there"]),
        ({"comments": 8}, ["summary.csv states 8 statements, and 4 of them are there"]),
        ({"voters": 23, "comments": 7}, []),  # few enough for people who voted while the files were downloaded
        ({"agrees": 15, "voters": 15, "comments": 3}, []),  # the other files are the older ones
    ],
)
def test_less_than_the_export_states_is_a_doubt_in_numbers(
    tmp_path: Path, stated: dict[str, int], sentences: list[str]
) -> None:
    assert doubts(None, imported(tmp_path, 20, **stated)) == sentences


def test_one_in_a_hundred_may_be_missing_of_many(tmp_path: Path) -> None:
    assert doubts(None, imported(tmp_path, 500, voters=505)) == []
    assert len(doubts(None, imported(tmp_path, 500, voters=506))) == 1


def test_a_matrix_lacks_votes_that_were_cast_again(tmp_path: Path) -> None:
    write_export(tmp_path, 20, 4, {"agrees": 22, "voters": 20})
    (tmp_path / "votes.csv").unlink()
    rows = [f"{person},,4,4,4,0,1,1,1,1" for person in range(20)]
    header = "participant,group-id,n-comments,n-votes,n-agree,n-disagree,0,1,2,3"
    (tmp_path / "participants-votes.csv").write_text("\n".join([header, *rows, ""]))
    assert doubts(None, read_votes(tmp_path)) == []
    (tmp_path / "participants-votes.csv").write_text("\n".join([header, *rows[:15], ""]))
    assert doubts(None, read_votes(tmp_path)) == [
        "comments.csv states 88 agreeing and disagreeing votes, and 60 of them are there",
        "summary.csv states 20 voters, and 15 of them are there",
    ]


def test_totals_of_the_server_that_counted_other_conversations_are_no_matter(tmp_path: Path) -> None:
    write_export(tmp_path, 20, stated={"agrees": 900})
    assert len(doubts(None, read_votes(tmp_path))) == 1
    comments = tmp_path / "comments.csv"
    unquoted = comments.read_text().replace('"', "").replace("kind 2", "kind, always")
    comments.write_text(unquoted)
    assert doubts(None, read_votes(tmp_path)) == []


def test_fewer_than_before_is_a_doubt_and_more_is_none(tmp_path: Path) -> None:
    before, now = imported(tmp_path, 20), imported(tmp_path, 18, 3)
    assert doubts(before, now) == [
        "54 votes where the last import had 80, 26 fewer",
        "18 participants where the last import had 20, 2 fewer",
        "3 statements where the last import had 4, 1 fewer",
    ]
    assert doubts(now, before) == []


def test_what_came_since_the_last_import_is_told(tmp_path: Path) -> None:
    before, more = imported(tmp_path, 20), imported(tmp_path, 23, 4)
    moderated = more.raw_statements.with_columns(moderated=pl.Series([1, -1, 1, 0], dtype=pl.Int8))
    turned = more.raw_votes.with_columns(vote=pl.when(pl.col("participant_id") == 7).then(-1).otherwise("vote"))
    rest = (more.raw_participants, turned, more.import_report)
    later = Import(moderated, *rest)
    assert came_since(before, later) == (
        "12 votes and 3 people more, 4 votes changed, 2 statements moderated otherwise"
    )
    assert came_since(more, before) == "12 votes and 3 people fewer"
    marked = moderated.with_columns(
        moderated=pl.lit(1, pl.Int8), is_meta=pl.Series([True, False, None, True], dtype=pl.Boolean)
    )
    # What `ccai status` lists: the first and the last became metadata, the second came in, the third stayed in.
    assert came_since(later, Import(marked, *rest)) == "3 statements moderated otherwise"
    assert came_since(Import(marked, *rest), later) == "1 statement moderated otherwise", "no marks say nothing"
    assert came_since(before, before) == "nothing came since the last import"
    assert came_since(None, before) == "80 votes, 20 people and 4 statements; no earlier import to compare with"


class Town:
    """A consultation around a small export, imported for real."""

    def __init__(self, base: Path, instance: dg.DagsterInstance) -> None:
        shutil.copytree(SAMPLE, base / "town")
        shutil.rmtree(base / "town" / "votes")
        self.consultation, self.home = read_consultation, Home(base / "home", "town")
        self.folder, self.instance = base / "town", instance
        self.resources = {
            "tables": Tables(url=self.home.tables_url),
            "vote_source": VoteSource(downloads=str(self.home.downloads)),
        }

    def export(self, people: int, **stated: int) -> None:
        write_export(self.folder / "votes", people, 4, stated)
        for path in (self.folder / "votes").iterdir():
            os.utime(path, (1_700_000_000, 1_700_000_000))  # nobody is writing any more

    def observe(self) -> None:
        consultation = read_consultation(self.folder)
        sources = [public_input.build(consultation)[0], decisions.build(consultation, self.home)[-1]]
        look = dg.define_asset_job("look", dg.AssetSelection.assets(*(each.key for each in sources)))
        job = dg.Definitions(assets=sources, jobs=[look], resources=self.resources).resolve_job_def("look")
        assert job.execute_in_process(instance=self.instance).success

    def bring_in(self, **tags: str) -> dg.ExecuteInProcessResult:
        assets = public_input.build(read_consultation(self.folder))[1:]
        return dg.materialize(
            assets, instance=self.instance, resources=self.resources, raise_on_error=False, tags={**tags}
        )

    def opened(self) -> OpenConsultation:
        return OpenConsultation(read_consultation(self.folder), self.home)

    def said(self) -> str:
        event = self.instance.get_latest_materialization_event(dg.AssetKey("raw_votes"))
        assert event is not None and event.asset_materialization is not None
        return str(event.asset_materialization.metadata["since the last import"].value)

    def votes(self) -> int:
        table = self.opened().table("raw_votes")
        assert table is not None
        return table.height


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    with dg.DagsterInstance.ephemeral() as instance:
        made = Town(tmp_path, instance)
        made.export(20)
        made.observe()
        assert made.bring_in().success
        yield made


def check(result: dg.ExecuteInProcessResult) -> Any:
    (found,) = [each for each in result.get_asset_check_evaluations() if each.check_name == "whole"]
    return found


def test_an_export_that_grew_says_what_came(town: Town) -> None:
    assert town.said() == "80 votes, 20 people and 4 statements; no earlier import to compare with"
    town.export(23)
    town.observe()
    result = town.bring_in()
    assert result.success and check(result).passed
    assert town.said() == "12 votes and 3 people more"


def sign(town: Town, digest: str) -> None:
    answer = Answer("signoff", ("polis_export",), "signed off", "Two people asked to be forgotten.", "council")
    decide_one(town.opened(), answer, digest, lambda line: None)


def test_an_export_that_shrank_stops_until_somebody_signs_it(town: Town) -> None:
    town.export(18)
    town.observe()
    refused = town.bring_in()
    assert not refused.success and not check(refused).passed
    said = str(check(refused).metadata["what"].value)
    assert "72 votes where the last import had 80, 8 fewer" in said
    assert "18 participants where the last import had 20, 2 fewer" in said
    opened = town.opened()
    version = opened.basis("signoff")(["polis_export"])
    assert version is not None and f"subject polis_export and inputs_digest {version}" in said
    assert town.votes() == 80

    status: list[str] = []
    show_status(opened, status.append)
    assert [line for line in status if "72 votes where the last import had 80, 8 fewer" in line]
    assert [item.state for item in opened.agenda("signoff") if item.subject == ("polis_export",)] == ["undecided"]
    with pytest.raises(ConsultationError, match="The export has the digest"):
        sign(town, "0" * 64)
    answers = f"signed off\n{version[:12]}\nTwo people asked to be forgotten.\nq\n"
    reviewed = CliRunner().invoke(
        app,
        ["review", "signoff", "--consultation", str(town.folder), "--as", "council"],
        input=answers,
        env={"CCAI_HOME": str(town.home.root)},
    )
    assert "signoff 1 of" in reviewed.output and "── the export ── undecided" in reviewed.output
    assert "72 votes where the last import had 80, 8 fewer" in reviewed.output and "Recorded" in reviewed.output
    assert [item.state for item in town.opened().agenda("signoff") if item.subject == ("polis_export",)] == ["decided"]
    town.observe()
    accepted = town.bring_in()
    assert accepted.success and check(accepted).passed
    assert "72 votes where the last import had 80" in str(check(accepted).metadata["what"].value)
    assert (town.said(), town.votes()) == ("8 votes and 2 people fewer", 72)
    assert not [item for item in town.opened().agenda("signoff") if item.subject == ("polis_export",)]

    town.export(15)  # a sign-off is for one export
    town.observe()
    again = town.bring_in()
    assert not again.success and "the sign-off is for another export" in str(check(again).metadata["what"].value)


def test_nothing_waits_for_a_signature_on_an_export_without_doubt(town: Town) -> None:
    opened = town.opened()
    assert not [item for item in opened.agenda("signoff") if item.subject == ("polis_export",)]
    with pytest.raises(ConsultationError, match="nothing speaks against it"):
        sign(town, "0" * 64)


def test_an_export_that_changes_after_its_observation_fails_no_run_of_a_sensor(town: Town) -> None:
    town.export(23)
    by_hand = town.bring_in()
    assert not by_hand.success
    by_sensor = town.bring_in(**{run_tags.STARTED_BY: f"{run_tags.SENSOR}changed_deliberation"})
    assert by_sensor.success and not by_sensor.asset_materializations_for_node("polis_import")
    evaluated = by_sensor.get_asset_check_evaluations()
    assert len(evaluated) == len(public_input.TABLES) + 1 and {each.severity for each in evaluated} == {
        dg.AssetCheckSeverity.WARN
    }
    assert "not what it was when polis_export was last observed" in str(check(by_sensor).metadata["what"].value)
    assert town.votes() == 80
    town.observe()
    assert town.bring_in().success and town.votes() == 92


def test_a_refused_export_is_a_failure_until_the_one_before_comes_back(town: Town) -> None:
    assert standing_failures(town.instance) == []
    town.export(18)
    town.observe()
    refused = town.bring_in()
    (failure,) = standing_failures(town.instance)
    assert failure.run.run_id == refused.run_id
    assert {key.to_user_string() for key in failure.assets} == set(public_input.TABLES)
    assert "failed: polis_import: raw_votes was not stored:" in str(failure) and "8 fewer" in str(failure)
    assert str(failure) in [each.text for each in notices(town.opened(), town.instance)]
    town.export(20)
    town.observe()
    assert standing_failures(town.instance) == []
