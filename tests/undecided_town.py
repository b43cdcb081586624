"""A copy of the sample in which statements wait for moderation, and `ccai` on it."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Mapping
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from ccai_dagster.cli.app import app
from ccai_dagster.consultation.folder import SAMPLE
from ccai_dagster.contracts import SELECTED_STATEMENTS
from ccai_dagster.decisions.ledger import COLUMNS, read_ledger

HOSTILE = "Be \x1b[2Jkind [bold]now[/bold] \u202edrow " + "x" * 10_000
UNDECIDED = ("M079", "M083", "M084")
"""The only rows on statements 114, 118 and 119 of the sample."""


class Town:
    """A copy of the sample in which three statements wait for moderation, one of them hostile."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "town"
        self.tables = folder / "home" / "town" / "tables"
        shutil.copytree(SAMPLE, self.folder)
        self.edit("moderation", lambda rows: [row for row in rows if row["decision_id"] not in UNDECIDED])
        path = self.folder / "votes" / "comments.csv"
        with path.open(newline="", encoding="utf-8") as handle:
            rows = list(csv.DictReader(handle))
        for row in rows:
            row["comment-body"] = HOSTILE if row["comment-id"] == "118" else row["comment-body"]
        write_rows(path, rows)

    def edit(self, kind: str, change: object) -> None:
        path = self.folder / "decisions" / f"{kind}.csv"
        with path.open(newline="", encoding="utf-8") as handle:
            rows = list(csv.DictReader(handle))
        write_rows(path, change(rows), COLUMNS)  # type: ignore[operator]

    def add(self, kind: str, decision_id: str, subjects: str, outcome: str, role: str) -> None:
        new = dict.fromkeys(COLUMNS, "") | {
            "decision_id": decision_id,
            "kind": kind,
            "subject_ids": subjects,
            "outcome": outcome,
            "reason": "Because",
            "decided_by": role,
            "decided_at": "2026-01-05",
        }
        self.edit(kind, lambda rows: [*rows, new])

    def ledger(self, kind: str) -> pl.DataFrame:
        return read_ledger(self.folder / "decisions" / f"{kind}.csv", kind)

    def ccai(self, *words: str, typed: str = "", fails: bool = False) -> str:
        place = [str(self.folder)] if words[0] == "status" else ["--consultation", str(self.folder)]
        result = CliRunner().invoke(app, [*words, *place], input=typed)
        assert result.exit_code == int(fails), result.output
        return result.output


def write_rows(path: Path, rows: list[dict[str, str]], columns: tuple[str, ...] | None = None) -> None:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, columns or list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def town(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Town:
    monkeypatch.setenv("CCAI_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("CCAI_TABLES_URL", raising=False)
    return Town(tmp_path)


def added(town: Town, kind: str) -> list[dict[str, object]]:
    return town.ledger(kind).filter(pl.col("decision_id").str.starts_with(f"{kind}-")).to_dicts()


def selected_undecided(sides: Mapping[int, str], texts: Mapping[int, str]) -> pl.DataFrame:
    """The table of statements that reach the cut on these sides, in this order, and that nobody has worded."""
    return SELECTED_STATEMENTS.build(
        [
            {
                "statement_id": key,
                "text": texts.get(key, ""),
                "gac": 0.9,
                "side": side,
                "rank": rank,
                "selected": True,
                "ideas": [],
                "new_ideas": 0,
                "fate": "undecided",
                "decision_ids": [],
            }
            for rank, (key, side) in enumerate(sides.items(), start=1)
        ]
    )
