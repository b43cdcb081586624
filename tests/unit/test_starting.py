"""`ccai new`: folders that can be run at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from ccai_dagster.constitution.principles import constitution_digest, read_constitution
from ccai_dagster.consultation import SAMPLE, read_consultation
from ccai_dagster.decisions import checks
from ccai_dagster.decisions.ledger import read_ledger
from ccai_dagster.decisions.settled_values import thresholds, training_decisions
from ccai_dagster.decisions.verdicts import signoffs
from ccai_dagster.deliberation.polis_export import read_polis_export
from ccai_dagster.errors import ConsultationError
from ccai_dagster.starting import from_ccai, from_export


def test_a_folder_around_an_export(tmp_path: Path) -> None:
    lines = from_export(SAMPLE / "votes", tmp_path / "mine")
    assert "340 participants, 127 statements" in lines[0]
    mine = read_consultation(tmp_path / "mine")
    raw = read_polis_export(mine.path("votes")).raw_statements
    moderation = read_ledger(mine.ledger("moderation"), "moderation")
    assert [
        each for each in checks.check_moderation(moderation, raw, "strict") if each.severity == "error"
    ] == []
    assert thresholds(read_ledger(mine.ledger("threshold"), "threshold")).selection_rule == "threshold"
    assert training_decisions(read_ledger(mine.ledger("training"), "training")).feedback_method == "letters"
    assert read_ledger(mine.ledger("wording"), "wording").height == 0
    assert set(moderation["suggested_by"]) == {"ccai new"}


def test_nothing_is_made_of_a_bad_export_or_over_another_folder(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConsultationError, match=r"comments\.csv"):
        from_export(tmp_path / "empty", tmp_path / "mine")
    assert not (tmp_path / "mine").exists()
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "note.txt").write_text("mine")
    with pytest.raises(ConsultationError, match="holds something"):
        from_export(SAMPLE / "votes", tmp_path / "taken")
    assert [path.name for path in (tmp_path / "taken").iterdir()] == ["note.txt"]


def test_ccai_has_three_signed_arms(test_data: Path, tmp_path: Path) -> None:
    lines = from_ccai(test_data / "ccai", tmp_path / "ccai")
    folder = read_consultation(tmp_path / "ccai")
    signed = signoffs(read_ledger(folder.ledger("signoff"), "signoff"))
    assert set(signed) == set(folder.arms) == {"public", "published", "standard"}
    published = read_constitution(folder.path(folder.arms["published"].constitution), "published")
    assert published.height == 75 and signed["published"] == constitution_digest(published)
    counts = [line.split()[1] for line in lines if line.startswith("  ") and "principles" in line]
    assert counts[1:] == ["75", "58"] and 64 <= int(counts[0]) <= 70
    assert "xid" not in (folder.path("votes") / "participants-votes.csv").read_text().splitlines()[0]
