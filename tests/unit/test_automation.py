"""Sensors: what they ask for, how often, and what they say while they wait."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import dagster as dg
import pytest
from small_town import SUCCEEDS, Town

from assets.constitution import REACH_THE_CUT
from ccai_dagster import automation
from ccai_dagster.constitution.principles import NO_PRINCIPLES
from ccai_dagster.consultation.folder import read_consultation
from ccai_dagster.definitions import build_defs, build_resources
from ccai_dagster.terminal import OBSERVE
from resources import run_tags


def test_content_is_read_when_it_is_the_same_at_two_looks(town: Town) -> None:
    town.observe()
    assert "as they were last observed" in town.told("new_inputs")
    town.export(21)
    assert "not read before it is the same at two looks" in town.told("new_inputs")
    town.export(22)
    assert "polis_export changed" in town.told("new_inputs")
    assert town.asked("new_inputs").tags == {
        run_tags.BECAUSE: "polis_export changed",
        run_tags.STARTED_BY: "sensor new_inputs",
        run_tags.COMPARED: town.asked("new_inputs").tags[run_tags.COMPARED],
    }


def test_what_is_observed_during_a_look_is_not_asked_for_again(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    town.observe()
    town.export(21)
    town.told("new_inputs")
    number = automation._number

    def observed_meanwhile(key: dg.AssetKey, instance: dg.DagsterInstance) -> int | None:
        town.observe()
        return number(key, instance)

    monkeypatch.setattr(automation, "_number", observed_meanwhile)
    assert "polis_export was observed during this look" in town.told("new_inputs")


def test_a_look_before_the_content_went_back_does_not_count(town: Town) -> None:
    town.observe()
    town.export(21)
    town.told("new_inputs")
    town.export(20)
    assert "as they were last observed" in town.told("new_inputs")
    town.export(21)
    assert "two looks" in town.told("new_inputs")


def test_content_that_comes_back_is_seen_each_time(town: Town) -> None:
    town.observe()
    keys = []
    for people in (21, 20, 21, 20, 21):
        town.export(people)
        town.told("new_inputs")
        request = town.asked("new_inputs")
        town.end(request, SUCCEEDS)
        town.observe()
        keys.append(request.run_key)
    assert len(set(keys)) == 5
    assert "as they were last observed" in town.told("new_inputs")


def test_a_failed_run_is_tried_three_times_and_then_told(town: Town) -> None:
    town.observe()
    town.export(21)
    town.told("new_inputs")
    requests = []
    for _ in range(3):
        requests.append(town.asked("new_inputs"))
        last = town.end(requests[-1])
    assert len({each.run_key for each in requests}) == 3
    told = town.told("new_inputs")
    assert f"after 3 runs; run {last[:12]} failed: work: the disk is full. Mend that" in told and "ccai run" in told
    assert town.told("new_inputs") == told
    town.export(22)
    town.told("new_inputs")
    town.asked("new_inputs")


def test_what_a_person_cancelled_is_not_started_again(settled: Town) -> None:
    settled.see(automation.POLIS_EXPORT, "another")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(automation, "unobserved", lambda consultation, instance: {})
        run_id = settled.end(settled.asked("changed_deliberation"), SUCCEEDS)
        run = settled.instance.get_run_by_id(run_id)
        assert run is not None
        settled.instance.report_run_canceled(run)
        told = settled.told("changed_deliberation")
    assert f"after 1 run; run {run_id[:12]} was cancelled." in told


def test_one_run_is_asked_for_everything_that_follows_new_votes(settled: Town) -> None:
    assert settled.told("changed_deliberation") == "everything is up to date"
    settled.export(21)
    assert "polis_export changed since it was last observed" in settled.told("changed_deliberation")
    settled.observe()
    request = settled.asked("changed_deliberation")
    chosen = {key.to_user_string() for key in request.asset_selection or ()}
    assert {"raw_votes", "import_report", "votes", "opinion_groups", "public/constitution"} <= chosen
    assert {"constitution_report", "public_summary"} <= chosen, "there are pages to sign by"
    assert chosen <= {key.to_user_string() for key in settled.light}
    assert "public/signed_constitution" not in chosen and "standard/constitution" not in chosen
    assert request.tags[run_tags.BECAUSE] == "polis_export changed"
    assert "not settled" in settled.told("signed_off_training")


def test_a_ledger_asks_for_what_follows_it_only(settled: Town) -> None:
    settled.see(dg.AssetKey("wording_ledger"), "another")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(automation, "unobserved", lambda consultation, instance: {})
        chosen = {key.to_user_string() for key in settled.asked("changed_deliberation").asset_selection or ()}
    assert "public/constitution" in chosen
    assert not chosen & {"raw_votes", "statements", "opinion_groups", "gac_scores"}


def test_training_waits_for_a_first_wording_and_the_pages_do_not(settled: Town) -> None:
    ledger = settled.consultation.ledger("wording")
    ledger.write_text(ledger.read_text(encoding="utf-8").splitlines()[0] + "\n", encoding="utf-8")
    settled.observe()
    request = settled.asked("changed_deliberation")
    asked = {"selected_statements", "public/constitution", "constitution_report", "public_summary"}
    assert {key.to_user_string() for key in request.asset_selection or ()} >= asked
    for key in settled.light:
        if key in (request.asset_selection or ()):
            settled.make(key, version=NO_PRINCIPLES if key.path == ["public", "constitution"] else "1")
    selected = dg.AssetKey("selected_statements")
    settled.make(selected, metadata={REACH_THE_CUT: 7})
    assert settled.told("changed_deliberation") == "everything is up to date"
    assert settled.told("signed_off_training") == "waits for a first wording in decisions/wording.csv: public"
    assert automation.unworded(settled.consultation, settled.instance) == {"public": 7}
    assert set(automation.unsigned(settled.consultation, settled.instance)) == {"standard"}


def test_what_is_made_together_is_asked_for_together(settled: Town) -> None:
    Path(str(build_resources(settled.home)["tables"].path(dg.AssetKey("raw_votes")))).unlink()
    chosen = {key.to_user_string() for key in settled.asked("changed_deliberation").asset_selection or ()}
    assert {"raw_votes", "raw_statements", "raw_participants", "import_report"} <= chosen


def test_deliberation_that_comes_back_is_asked_for_each_time(settled: Town) -> None:
    keys = []
    for people in (21, 20, 21, 20):
        settled.export(people)
        settled.observe()
        keys.append(settled.asked("changed_deliberation").run_key)
        settled.make(*settled.light)
        assert settled.told("changed_deliberation") == "everything is up to date"
    assert len(set(keys)) == 4


def test_a_decision_starts_the_attempts_anew(settled: Town) -> None:
    settled.export(21)
    settled.observe()
    for _ in range(3):
        settled.end(settled.asked("changed_deliberation"))
    assert "after 3 runs" in settled.told("changed_deliberation")
    ledger = settled.consultation.ledger("signoff")
    ledger.write_text(ledger.read_text() + f"X1,signoff,polis_export,signed off,right,,us,2025-01-01,,{'a' * 64},\n")
    settled.observe()
    settled.asked("changed_deliberation")


def test_nothing_is_asked_for_while_a_run_is_under_way(settled: Town) -> None:
    settled.export(21)
    settled.observe()
    run = settled.instance.get_run_by_id(settled.end(settled.asked("changed_deliberation")))
    assert run is not None
    settled.instance.add_run(run.with_status(dg.DagsterRunStatus.STARTED)._replace(run_id="b" * 32))
    assert "under way" in settled.told("changed_deliberation")


def test_an_address_is_asked_at_first_and_when_it_is_late(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    file = town.consultation.folder / "consultation.yaml"
    file.write_text(file.read_text().replace("votes: votes", "votes: https://127.0.0.1:9/reportExport/r2demo"))
    consultation = read_consultation(town.consultation.folder)
    assert consultation.votes.startswith("https")
    town.repository = build_defs(consultation, town.home.root).get_repository_def()
    town.consultation = consultation
    town.told("new_inputs")
    assert "polis_export" in town.asked("new_inputs").tags[run_tags.BECAUSE]
    assert "polis_export" in town.told("changed_deliberation")
    town.observe()
    assert "as they were last observed" in town.told("new_inputs")
    now = time.time()
    for days, late in ((0, False), (2, True), (-2, True)):  # of a clock that was set back
        with monkeypatch.context() as patch:
            patch.setattr(time, "time", partial(float, now + days * 86_400))
            assert automation.is_late(consultation, town.instance) is late
    monkeypatch.setattr(automation, "LATE", -1)
    assert town.asked("new_inputs").tags[run_tags.BECAUSE] == "the address was not asked for a day"
    for _ in range(3):
        town.end(town.asked("new_inputs"))
    assert "after 3 runs" in town.told("new_inputs")


def test_jobs_say_whose_runs_they_start(town: Town) -> None:
    for name in (OBSERVE, automation.DELIBERATE, automation.TRAIN):
        tags = town.repository.get_job(name).run_tags
        assert tags[run_tags.CONSULTATION] == "town" and tags[run_tags.STARTED_BY] == "a person, in Dagster"
    (schedule,) = town.repository.schedule_defs
    with dg.build_schedule_context(instance=town.instance) as context:
        (request,) = schedule.evaluate_tick(context).run_requests or ()
    assert request.tags[run_tags.STARTED_BY] == "schedule daily_observation"


def test_every_check_says_what_it_holds(town: Town) -> None:
    specs = [spec for made in town.repository.asset_graph.assets_defs for spec in made.check_specs]
    assert len(specs) > 100 and [spec.name for spec in specs if not spec.description] == []
