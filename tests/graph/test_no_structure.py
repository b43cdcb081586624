"""A consultation in which nothing goes together: from its export to one group, with every asset on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest
import yaml
from white_paper import white_paper

from assets import decisions, deliberation, public_input, public_opinion
from ccai_dagster.alternatives import as_decided, numbers_decided
from ccai_dagster.audit.reversals import recorded_decisions
from ccai_dagster.cli.new import from_export
from ccai_dagster.cli.summary import summary
from ccai_dagster.consultation.folder import read_consultation
from ccai_dagster.contracts import OPINION_GROUPS
from ccai_dagster.core.home import Home
from ccai_dagster.deliberation.consensus import GroupCounts
from ccai_dagster.open_consultation import OpenConsultation
from resources.tables import Tables
from resources.vote_source import VoteSource

PEOPLE, STATEMENTS = 26, 12


def write_votes(folder: Path, people: int = PEOPLE, statements: int = STATEMENTS) -> None:
    """Votes at random, on statements of which half are popular."""
    generator = np.random.default_rng(5)
    popular = np.arange(statements) < statements // 2
    votes = np.where(generator.random((people, statements)) < np.where(popular, 0.9, 0.5), 1, -1)
    folder.mkdir()
    rows = [f"{person},{statement},{vote}" for (person, statement), vote in np.ndenumerate(votes)]
    (folder / "votes.csv").write_text("\n".join(["participant,statement,vote", *rows, ""]))
    texts = [f"{each},The assistant should do the thing number {each},1" for each in range(statements)]
    (folder / "statements.csv").write_text("\n".join(["statement,text,moderated", *texts, ""]))


def materialized(tmp_path: Path) -> tuple[dg.ExecuteInProcessResult, OpenConsultation]:
    """Make everything up to what the public's votes tell, of the export in this folder."""
    from_export(str(tmp_path / "export"), tmp_path / "town", "strict")
    settings = tmp_path / "town" / "consultation.yaml"
    content = yaml.safe_load(settings.read_text())
    content["profiles"] = {"demo": {"deliberation": {"bootstraps": 10, "shuffles": 19}}}
    settings.write_text(yaml.safe_dump(content))
    consultation, home = read_consultation(tmp_path / "town"), Home(tmp_path / "home", "town")
    resources = {"tables": Tables(url=home.tables_url), "vote_source": VoteSource(downloads=str(home.downloads))}
    observed, *imported = public_input.build(consultation)
    sources = [observed, *decisions.build(consultation, home)]
    look = dg.define_asset_job("look", dg.AssetSelection.assets(*(each.key for each in sources)))
    with dg.DagsterInstance.ephemeral() as instance, white_paper():
        definitions = dg.Definitions(assets=sources, jobs=[look], resources=resources)
        assert definitions.resolve_job_def("look").execute_in_process(instance=instance).success
        made = dg.materialize(
            [*imported, *deliberation.build(consultation), *public_opinion.build(consultation)],
            instance=instance,
            resources=resources,
        )
    return made, OpenConsultation(consultation, home)


@pytest.mark.parametrize(("people", "statements"), [(1, 4), (40, 1)])
def test_where_nobody_cast_enough_votes_everything_is_made_and_says_so(
    tmp_path: Path, people: int, statements: int
) -> None:
    write_votes(tmp_path / "export", people, statements)
    made, opened = materialized(tmp_path)
    told = {
        str(each.asset_key.to_user_string()): each.metadata
        for each in made.asset_materializations_for_node("uncertainty")
    }
    assert "nobody cast the votes" in str(told["consensus_stability"]["how sure"].value)
    counts = GroupCounts(*[np.empty((0, statements))] * 3)
    assert counts.fewest.tolist() == [0] * statements
    recorded = recorded_decisions(
        as_decided(opened)[0].inputs, numbers_decided(opened), OPINION_GROUPS.empty(), opened.ledger("wording")
    )
    assert recorded.n_groups == 0 and set(recorded.smallest_group_votes.values()) == {0}


def test_votes_without_structure_make_one_group_and_say_so(tmp_path: Path) -> None:
    write_votes(tmp_path / "export")
    made, opened = materialized(tmp_path)

    def table(name: str) -> pl.DataFrame:
        found = opened.table(name)
        assert found is not None
        return found

    assert table("group_structure").filter("decides")["p_value"].item() > 0.05
    assert table("opinion_groups")["group_id"].to_list() == [0] * PEOPLE
    assert table("representative_statements").is_empty()
    assert set(table("group_stability")["n_groups"]) == {1} and set(table("group_stability")["adjusted_rand"]) == {1.0}
    scores = table("gac_scores")
    assert scores["gac"].to_list() == pytest.approx(((scores["n_agree"] + 1) / (scores["n_votes"] + 2)).to_list())
    assert scores["gac_if_unanimous"].to_list() == pytest.approx([(PEOPLE + 1) / (PEOPLE + 2)] * STATEMENTS)

    checks: dict[str, Any] = {each.check_name: each for each in made.get_asset_check_evaluations()}
    assert not checks["structure"].passed and checks["structure"].severity == dg.AssetCheckSeverity.WARN
    assert "so everybody is one group" in str(checks["structure"].metadata["what"].value)
    assert checks["group_sizes"].passed and checks["reachable"].passed
    told = "\n".join(summary(opened, opened.home.report))
    assert f"{PEOPLE} of {PEOPLE} kept, in one group of {PEOPLE}\n" in told
    assert "the votes show no more structure than chance would show (p = " in told
