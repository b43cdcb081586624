"""Runs after the first: nothing, what was lost, what was asked for, and what people put in the way."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from small_graph import EVERYTHING, TRAINED, Workplace, event, sensor, table

from ccai_dagster.audit.manifest import read_manifest
from ccai_dagster.consultation.folder import read_consultation
from ccai_dagster.core.home import Home
from ccai_dagster.evaluation.rating_export import blinded_pairs, write_pairs
from ccai_dagster.evaluation.ratings import import_ratings
from ccai_dagster.run import run

pytestmark = [pytest.mark.torch, pytest.mark.timeout(1500)]


def test_what_was_lost_is_made_again_and_nothing_else(copy: Workplace) -> None:
    (copy.root / "town" / "report" / "provenance.json").unlink()
    (copy.root / "town" / "tables" / "gac_scores.parquet").unlink()
    again = copy.run()
    made = {"gac_scores", "provenance"}
    assert again.failed == [] and set(again.materialized) == made and set(again.fresh) == EVERYTHING - made


def test_a_selection_is_materialized_even_if_fresh(copy: Workplace) -> None:
    assert copy.run(select="key:gac_scores or key:group_votes").materialized == ["group_votes", "gac_scores"]
    together = {"raw_votes", "raw_statements", "raw_participants", "raw_group_votes", "import_report"}
    assert set(copy.run(select="key:raw_votes").materialized) == together


def test_what_people_rate_stands_beside_what_the_judge_says(copy: Workplace) -> None:
    # The tiny models may all respond alike; people are asked here all the same.
    compared = table(copy, "comparisons").with_columns(status=pl.lit("compared"))
    quality, one, other = compared.select("quality", "arm_a", "arm_b").row(0)
    folder, output = copy.folder / "ratings", copy.root / "sheet.csv"
    write_pairs(folder, blinded_pairs(compared, (one, other), quality, 1, 7), output)
    pl.read_csv(output, infer_schema=False).with_columns(rating=pl.lit("tie")).write_csv(output)
    import_ratings(folder, output, "rater-1")
    assert isinstance(sensor(copy, "new_inputs"), dg.RunRequest)
    before = event(copy, "comparisons").tags["dagster/data_version"]
    done = copy.run()
    assert done.failed == []
    assert {"elo_scores", "elo_differences", "rater_agreement", "audit_report"} <= set(done.materialized)
    assert not set(done.materialized) & (TRAINED | {"comparisons"})
    assert event(copy, "comparisons").tags["dagster/data_version"] == before
    people = table(copy, "elo_differences").filter(source="people")
    assert people.select("n", "n_ties", "n_raters", "judge_at_chance").rows() == [(1, 1, 1, False)]
    manifest, _ = read_manifest(Home(copy.root, "town").manifest)
    assert {"consultation/ratings/rater-1.csv", "consultation/ratings/keys/pairs.csv"} <= set(manifest.files)


def test_a_malformed_export_stops_before_anything_is_replaced(copy: Workplace) -> None:
    votes = copy.folder / "votes" / "votes.csv"
    whole, before = votes.read_text(), table(copy, "raw_votes")
    # More than a tenth of the votes, which is more than may be set aside.
    votes.write_text(whole.rstrip("\n") + "\n" + "1700000000000,Mon,0,7,5\n" * (whole.count("\n") // 8))
    broken = copy.run()
    assert len(broken.failed) == 1
    assert "votes.csv, data row" in broken.failed[0] and "5=pass" in broken.failed[0]
    assert table(copy, "raw_votes").equals(before)
    votes.write_text(whole)
    assert copy.run().failed == []


def test_a_decision_on_another_text_stops_its_room(copy: Workplace) -> None:
    path = copy.folder / "decisions" / "merge.csv"
    whole, before = path.read_text(), table(copy, "selected_statements")
    rows = list(csv.DictReader(whole.splitlines()))
    lapsing = next(row for row in rows if row["inputs_digest"])
    digest = lapsing["inputs_digest"]
    path.write_text(whole.replace(digest, "0" * 64))
    broken = copy.run()
    assert len(broken.failed) == 1 and lapsing["decision_id"] in broken.failed[0]
    assert table(copy, "selected_statements").equals(before)
    path.write_text(whole)
    assert copy.run().failed == []


def test_deliberation_is_the_same_in_another_home(workplace: Workplace, tmp_path: Path) -> None:
    shutil.copytree(workplace.folder, tmp_path / "town")
    with dg.DagsterInstance.ephemeral() as instance:
        chosen = "+key:consensus_stability or +key:public/constitution"
        outcome = run(read_consultation(tmp_path / "town"), tmp_path / "home", lambda line: None, chosen, instance)
        assert outcome.failed == []
    for key in ("raw_votes", "opinion_groups", "consensus_stability", "selected_statements", "public/constitution"):
        ours = workplace.root / "town" / "tables" / f"{key}.parquet"
        assert (tmp_path / "home" / "town" / "tables" / f"{key}.parquet").read_bytes() == ours.read_bytes()
