"""A consultation of which only counts by group are there: scored like the votes they were counted from."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl
import pytest
import yaml
from polars.testing import assert_frame_equal
from typer.testing import CliRunner

from assets import constitution, decisions, deliberation, public_input, public_opinion, topics
from ccai_dagster.cli.app import app
from ccai_dagster.cli.new import from_export
from ccai_dagster.cli.summary import summary
from ccai_dagster.consultation.folder import read_consultation
from ccai_dagster.core.home import Home
from ccai_dagster.decisions.checks import texts_digest
from ccai_dagster.decisions.ledger import Decision, append_decision
from ccai_dagster.deliberation.structure import UNTESTED
from ccai_dagster.open_consultation import OpenConsultation
from resources.tables import Tables
from resources.vote_source import VoteSource

PEOPLE, STATEMENTS = 40, 12
GROUP = np.arange(PEOPLE) % 2
"""Of each person, by parity."""
ABOUT_PEOPLE = STATEMENTS - 1
"""The statement that moderation sets apart."""
SAME = (
    "gac_scores",
    "representative_statements",
    "consensus_statements",
    "uncertain_statements",
    "selected_statements",
)
"""Tables that must be the same whether votes or counts of them came in."""


def cast() -> pl.DataFrame:
    """Votes of two camps; everybody leaves out one statement."""
    generator = np.random.default_rng(3)
    leaning = np.where(np.arange(STATEMENTS) % 3 == 0, 1 - 2 * GROUP[:, None], 1)
    drawn = np.where(generator.random((PEOPLE, STATEMENTS)) < 0.9, leaning, -leaning)
    drawn[generator.random((PEOPLE, STATEMENTS)) < 0.1] = 0
    rows = [(p, s, int(vote)) for (p, s), vote in np.ndenumerate(drawn) if s != p % STATEMENTS]
    return pl.DataFrame(rows, schema=["participant", "statement", "vote"], orient="row")


def counts(votes: pl.DataFrame, groups: pl.DataFrame) -> str:
    """The votes as Polis's comment-groups.csv has them."""
    lines = ["comment-id,comment"]
    names = ["a", "b"]
    lines[0] += "".join(
        f",group-{name}-{kind}" for name in names for kind in ("votes", "agrees", "disagrees", "passes")
    )
    by_group = votes.join(groups, left_on="participant", right_on="participant_id")
    for statement in range(STATEMENTS):
        cells: list[object] = [statement, f"The assistant should do thing number {statement}"]
        for group in range(2):
            own = by_group.filter(statement=statement, group_id=group)["vote"].to_list()
            cells += [len(own), own.count(1), own.count(-1), own.count(0)]
        lines.append(",".join(map(str, cells)))
    return "\n".join([*lines, ""])


def made_from(export: Path, folder: Path, home: Path) -> OpenConsultation:
    """Make a folder and everything up to what is selected, and tell what is told on the way."""
    from_export(str(export), folder, "lenient")
    settings = folder / "consultation.yaml"
    content = yaml.safe_load(settings.read_text())
    content["profiles"] = {"demo": {"deliberation": {"bootstraps": 10, "shuffles": 19}}}
    settings.write_text(yaml.safe_dump(content))
    about = str(ABOUT_PEOPLE)
    taken_on = texts_digest([about], {about: f"The assistant should do thing number {about}"})
    apart = Decision("M1", "moderation", (about,), "metadata", "who votes", "us", "2025-03-04", inputs_digest=taken_on)
    append_decision(folder / "decisions" / "moderation.csv", apart)
    consultation, place = read_consultation(folder), Home(home, folder.name)
    resources = {"tables": Tables(url=place.tables_url), "vote_source": VoteSource(downloads=str(place.downloads))}
    observed, *imported = public_input.build(consultation)
    sources = [observed, *decisions.build(consultation, place)]
    look = dg.define_asset_job("look", dg.AssetSelection.assets(*(each.key for each in sources)))
    selection = [
        each for each in constitution.build(consultation) if each.key.to_user_string() == "selected_statements"
    ]
    made = [
        *imported,
        *deliberation.build(consultation),
        *public_opinion.build(consultation),
        *topics.build(consultation),
        *selection,
    ]
    with dg.DagsterInstance.ephemeral() as instance:
        definitions = dg.Definitions(assets=sources, jobs=[look], resources=resources)
        assert definitions.resolve_job_def("look").execute_in_process(instance=instance).success
        assert dg.materialize(made, instance=instance, resources=resources).success
    return OpenConsultation(consultation, place)


def test_counts_give_the_scores_of_the_votes_they_were_counted_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CCAI_HOME", str(tmp_path / "home"))
    votes = cast()
    people = tmp_path / "people"
    people.mkdir()
    votes.write_csv(people / "votes.csv")
    texts = [f"{each},The assistant should do thing number {each},0" for each in range(STATEMENTS)]
    (people / "statements.csv").write_text("\n".join(["statement,text,moderated", *texts, ""]))
    with_people = made_from(people, tmp_path / "votes", tmp_path / "home")
    groups = with_people.table("opinion_groups")
    assert groups is not None and groups["group_id"].n_unique() == 2
    (tmp_path / "comment-groups.csv").write_text(counts(votes, groups.select("participant_id", "group_id")))
    alone = made_from(tmp_path / "comment-groups.csv", tmp_path / "counts", tmp_path / "home")
    for name in SAME:
        here, there = with_people.table(name), alone.table(name)
        assert here is not None and there is not None and here.height
        if name == "gac_scores":
            assert there["least_participation"].null_count() == ABOUT_PEOPLE, "nobody tells how large the groups are"
            here, there = here.drop("least_participation"), there.drop("least_participation")
        assert_frame_equal(here, there)
    here, there = with_people.table("group_profile"), alone.table("group_profile")
    assert here is not None and there is not None and here.height == 2 and there["group_size"].null_count() == 2
    assert_frame_equal(here.drop("group_size"), there.drop("group_size"))
    for name in ("participants", "votes", "opinion_groups", "group_structure", "consensus_stability"):
        table = alone.table(name)
        assert table is not None and table.is_empty(), "nothing is made up"
    told = "\n".join(summary(alone, tmp_path))
    assert "Groups            2; the table has counts by group and no votes of people" in told
    assert "Participants" not in told and "How sure" not in told
    asked = CliRunner().invoke(app, ["audit", str(ABOUT_PEOPLE), "--consultation", str(tmp_path / "counts")])
    assert asked.exit_code == 0, asked.output
    answered = " ".join(asked.output.split())
    assert "statement about the people who vote" in answered and f"Group A: of {here['n_votes'][0]} votes" in answered
    status = CliRunner().invoke(app, ["status", str(tmp_path / "counts")])
    assert status.exit_code == 0, status.output
    assert f"in the last run: the votes show {UNTESTED}" in status.output
    assert "STOPS THE RUN" not in status.output.partition("\nsignoff")[0]
