"""What would follow from a decision: as if it were taken, and nothing is written."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from ccai_dagster import open_consultation
from ccai_dagster.alternatives import as_decided, selections
from ccai_dagster.audit.manifest import Manifest, Materialization, describe_files, write_manifest
from ccai_dagster.checked_decisions import record_decision
from ccai_dagster.cli.what_if import what_if
from ccai_dagster.consultation.folder import EXPORT, SAMPLE, read_consultation
from ccai_dagster.contracts import OPINION_GROUPS
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.home import Home, place
from ccai_dagster.decisions.ledger import ledger_digest
from ccai_dagster.decisions.recording import Answer
from ccai_dagster.deliberation.importing.read_votes import export_digest, read_votes
from ccai_dagster.deliberation.importing.tables import IMPORTED
from ccai_dagster.open_consultation import OpenConsultation


@pytest.fixture
def opened(tmp_path: Path) -> OpenConsultation:
    """A copy of the sample, before any run."""
    folder = tmp_path / "town"
    shutil.copytree(SAMPLE, folder)
    return OpenConsultation(read_consultation(folder), Home(tmp_path / "home", "town"))


@pytest.fixture
def run(opened: OpenConsultation) -> OpenConsultation:
    """The same after a run that imported the votes and put people into two groups, of those with even and odd ids."""
    imported, home, folder = opened.imported, opened.home, opened.consultation.folder
    people = as_decided(opened)[0].scored(as_decided(opened)[1]).matrix.participant_ids.tolist()
    groups = [{"participant_id": each, "group_id": each % 2, "x": 0.0, "y": 0.0} for each in people]
    tables = {name: getattr(imported, name) for name in IMPORTED} | {"opinion_groups": OPINION_GROUPS.build(groups)}
    tables_folder = place(home.tables_url)
    tables_folder.mkdir(parents=True)
    for name, table in tables.items():
        table.write_parquet(tables_folder / f"{name}.parquet")
    versions = {EXPORT: export_digest(Path(opened.consultation.votes))}
    versions["threshold_ledger"] = ledger_digest(opened.ledger("threshold"))
    made = {name: Materialization(data_version=name, dagster_run="r", made_at="t", inputs=versions) for name in tables}
    files = describe_files(
        {f"tables/{name}.parquet": tables_folder / f"{name}.parquet" for name in tables}
        | {"consultation/consultation.yaml": folder / "consultation.yaml"}
    )
    manifest = Manifest(consultation="town", folder=str(folder), materializations=made, files=files)
    write_manifest(home.manifest, manifest)
    return OpenConsultation(opened.consultation, home, as_imported=True)


def sizes(opened: OpenConsultation) -> list[int]:
    recomputation, record = as_decided(OpenConsultation(opened.consultation, opened.home, as_imported=True))
    found = recomputation.scored(record).sizes
    return [] if found is None else found.tolist()


def test_the_groups_of_the_last_run_are_taken_while_nothing_they_rest_on_has_changed(run: OpenConsultation) -> None:
    now = as_decided(run)[0].scored(as_decided(run)[1])
    ids = now.matrix.participant_ids
    by_parity = [int((ids % 2 == 0).sum()), int((ids % 2).sum())]
    lines = what_if(run, "threshold", ["gac_threshold"], "0.4")
    assert count(lines, "Groups")[1:] == by_parity == sizes(run)
    (place(run.home.tables_url) / "opinion_groups.parquet").touch()
    assert sizes(run) == by_parity
    settings = run.consultation.folder / "consultation.yaml"
    kept = settings.read_text(encoding="utf-8")
    settings.write_text(kept + "# seen\n", encoding="utf-8")
    assert sizes(run) != by_parity
    settings.write_text(kept, encoding="utf-8")
    assert sizes(run) == by_parity
    answer = Answer("threshold", ("group_participation",), "0.1", "r", "somebody")
    before = [row for row in run.ledger("threshold").to_dicts() if "group_participation" in row["subject_ids"]]
    record_decision(run, replace(answer, supersedes=tuple(row["decision_id"] for row in before)))
    assert sizes(run) != by_parity


def test_an_export_is_read_anew_only_when_it_has_changed(
    run: OpenConsultation, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    monkeypatch.setattr(
        open_consultation, "read_votes", lambda place, values: read.append(place) or read_votes(place, values)
    )
    assert run.imported.raw_statements.equals(read_votes(Path(run.consultation.votes)).raw_statements)
    assert not read
    comments = Path(run.consultation.votes) / "comments.csv"
    text = run.imported.raw_statements["text"][0]
    comments.write_text(comments.read_text(encoding="utf-8").replace(text, "something else"), encoding="utf-8")
    again = OpenConsultation(run.consultation, run.home, as_imported=True)
    assert "something else" in again.imported.raw_statements["text"].to_list()
    assert read == [Path(run.consultation.votes)]


def ledgers(opened: OpenConsultation) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (opened.consultation.folder / "decisions").iterdir()}


def count(lines: list[str], name: str) -> list[int]:
    """The number before, and that after if it is another."""
    (line,) = [line for line in lines if line.strip().startswith(name)]
    return [int(each) for each in re.findall(r"\b\d+\b", line)]


def test_a_number_selects_what_the_sheet_says_and_nothing_is_written(opened: OpenConsultation) -> None:
    before = ledgers(opened)
    said = {
        value: int(re.findall(r"selects (\d+) of", told)[0])
        for value, _, told in (line.partition(": ") for line in selections(opened, "idea_budget"))
    }
    fewest = min(said, key=int)
    now = len(as_decided(opened)[0].selected(as_decided(opened)[1]).ids)
    lines = what_if(opened, "threshold", ["idea_budget"], fewest)
    assert said[fewest] < now and count(lines, "Statements") == [now, said[fewest]]
    assert count(lines, f"{now - said[fewest]} drop out") == [now - said[fewest]]
    assert lines[0].startswith(f"Were idea_budget decided as {fewest} and not ")
    assert "its sign-off lapses" in lines[-1]
    assert ledgers(opened) == before


def test_it_is_what_follows_if_it_is_really_decided(opened: OpenConsultation) -> None:
    lines = what_if(opened, "moderation", ["1"], "out: off topic")
    (row,) = [each for each in opened.ledger("moderation").to_dicts() if "1" in each["subject_ids"]]
    record_decision(opened, Answer("moderation", ("1",), "out: off topic", "r", "somebody", (row["decision_id"],)))
    recomputation, record = as_decided(opened)
    assert count(lines, "Statements")[-1] == len(recomputation.selected(record).ids)


def test_a_principle_that_is_left_out_is_lost(opened: OpenConsultation) -> None:
    row = next(each for each in opened.ledger("wording").to_dicts() if each["outcome"].startswith("principle"))
    lines = what_if(opened, "wording", row["subject_ids"], "leave out")
    (before, after) = count(lines, "Principles")
    assert after == before - 1
    assert any(row["outcome"].removeprefix("principle: ")[:60] in line for line in lines)


def test_a_line_that_is_not_in_force_is_told(opened: OpenConsultation) -> None:
    lines = what_if(opened, "threshold", ["gac_threshold"], "0.4")
    assert lines[1] == "  gac_threshold counts only where selection_rule is threshold; it is ideas"
    assert "stays as it is" in lines[-1]


@pytest.mark.parametrize(
    ("kind", "subject", "outcome", "why"),
    [
        ("threshold", "gac_threshold", "2", "0 to 1"),
        ("threshold", "nothing", "2", "not in this consultation"),
        ("moderation", "99999", "in", "not in this consultation"),
        ("signoff", "public", "signed off", "hang on no signoff"),
        ("training", "feedback_method", "letters", "in a copy of the folder, run it, and `ccai compare` the two"),
    ],
)
def test_what_could_not_be_decided_is_refused(
    opened: OpenConsultation, kind: str, subject: str, outcome: str, why: str
) -> None:
    with pytest.raises(ConsultationError, match=why):
        what_if(opened, kind, [subject], outcome)


def test_where_nothing_reaches_the_cut_no_sign_off_is_said_to_stand(opened: OpenConsultation) -> None:
    for name, value, row in (("selection_rule", "threshold", "T7"), ("gac_threshold", "1", "T8")):
        record_decision(opened, Answer("threshold", (name,), value, "r", "somebody", (row,)))
    lines = what_if(opened, "threshold", ["gac_threshold"], "0.99")
    assert count(lines, "Principles") == [0]
    assert lines[-1].endswith("public has no principle, so that there is nothing to sign and to train on")


def test_what_could_not_be_decided_is_refused_without_naming_a_copy_that_is_gone(opened: OpenConsultation) -> None:
    with pytest.raises(ConsultationError) as refused:
        what_if(opened, "moderation", ["17"], "out")
    assert str(refused.value) == "`outcome` `out` needs a text: write `out: ...`. Nothing was recorded."
