"""A consultation before its first principle is worded: pages that tell what waits, and others once it is worded."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
from parsed_page import Page
from small_graph import Workplace, event, observe, sensor, small_folder, table
from white_paper import white_paper

from ccai_dagster.automation import DELIBERATE
from ccai_dagster.decisions.ledger import current, read_ledger

PAGES = ("constitution.html", "summary.html")
NONE_YET = "No principle is worded yet."


@pytest.mark.timeout(300)
def test_there_are_pages_before_the_first_wording_and_they_are_made_again_after_it(tmp_path: Path) -> None:
    small_folder(tmp_path / "town", tmp_path, topics=False)  # no model is asked for anything
    ledger, report = tmp_path / "town" / "decisions" / "wording.csv", tmp_path / "home" / "town" / "report"
    whole = ledger.read_text()
    ledger.write_text(whole.splitlines()[0] + "\n")
    with dg.DagsterInstance.ephemeral() as instance, white_paper():
        town = Workplace(tmp_path, instance)
        done = town.run()
        selected = table(town, "selected_statements").filter("selected")
        assert done.failed == [] and done.waiting == {} and done.unworded == {"public": selected.height}
        assert {"public/constitution", "constitution_report", "public_summary"} <= set(done.materialized)
        assert not [key for key in done.materialized if "base" in key or "signed" in key or key == "decision_trail"]
        assert table(town, "public/constitution").is_empty() and set(selected["fate"]) == {"undecided"}
        waiting = f"{NONE_YET} {selected.height} statements reached the cut and wait for a wording."
        for name in PAGES:
            page = Page((report / name).read_text())
            assert page.faults == [] and waiting in page.words()
            assert [text for text in selected["text"] if text not in page.words()] == []
        assert "waits for a first wording" in str(sensor(town, "signed_off_training").skip_message)
        assert "up to date" in str(sensor(town, "changed_deliberation").skip_message)
        (refused,) = town.run(select="key:public/signed_constitution").failed
        assert "has no principle yet, so there is nothing to sign off" in refused
        assert town.run().materialized == []

        ledger.write_text(whole)
        observe(town)
        chosen = sensor(town, "changed_deliberation").asset_selection
        job = town.defs.resolve_job_def(DELIBERATE)
        assert job.execute_in_process(instance=instance, asset_selection=chosen).success
        signed = current(read_ledger(town.folder / "decisions" / "signoff.csv", "signoff"))
        by_arm = {row["subject_ids"][0]: row["inputs_digest"] for row in signed.to_dicts()}
        assert event(town, "public/constitution").tags["dagster/data_version"] == by_arm["public"]
        principles = table(town, "public/constitution")
        assert (
            f"{principles.height} principles, the widest consensus first."
            in Page((report / PAGES[0]).read_text()).words()
        )
        for name in PAGES:
            words = Page((report / name).read_text()).words()
            assert NONE_YET not in words and [text for text in principles["text"] if text not in words] == []
        assert "up to date" in str(sensor(town, "changed_deliberation").skip_message)
