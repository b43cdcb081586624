"""The replication of CCAI: the published figures exactly, the corrected ones, the page, and the assets."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from ccai_publication import clone, paper
from white_paper import white_paper

from assets import replication as replication_assets
from ccai_dagster import contracts
from ccai_dagster.cli.new import PAGE
from ccai_dagster.constitution.principles import read_constitution
from ccai_dagster.consultation.folder import SAMPLE, read_consultation
from ccai_dagster.core.digest import table_digest
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.home import Home
from ccai_dagster.deliberation.importing.read_votes import read_votes
from ccai_dagster.deliberation.importing.tables import Import
from ccai_dagster.deliberation.opinion_map import opinion_map
from ccai_dagster.pages import drawings
from ccai_dagster.replication import figures, published_groups, scores
from ccai_dagster.replication.figures import ReplicationTables
from ccai_dagster.replication.new_folder import build_from_ccai
from ccai_dagster.replication.page import ReplicationPage, render_replication, summary, verdict
from ccai_dagster.replication.published_groups import PUBLISHED_PROCEDURE, published_votes, replicated_groups
from ccai_dagster.replication.published_results import Published, read_published
from ccai_dagster.run import run

EIGHT = ["P58", "P61", "P63", "P64", "P67", "P71", "P72", "P75"]
HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)> {{ 7*7 }} $x$"


@pytest.fixture(scope="module")
def ccai(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The replication of CCAI with two seeds and 200 shuffles."""
    folder = tmp_path_factory.mktemp("replication")
    saved = paper(test_data, folder / "paper.txt")
    build_from_ccai(clone(test_data, folder / "clone"), folder / "ccai", [saved])
    consultation = read_consultation(folder / "ccai")
    assert consultation.file.replication is not None
    published = read_published(consultation, consultation.file.replication)
    imported = read_votes(consultation.path("votes"))
    matrix = published_votes(published, imported.raw_votes)
    groups = replicated_groups(published, matrix, 2)
    found = published_groups.alignment_evidence(published, matrix, groups, imported.raw_participants, 200, 0)
    scored = scores.replicated_scores(published, matrix, groups)
    constitution = read_constitution(consultation.path("constitutions/published.csv"), "published")
    sources = scores.sources_of(constitution, set(published.agreement))
    statements = scores.replicated_statements(
        published, matrix, scored, imported.raw_statements, groups, sources, 100, 0
    )
    return {
        "folder": consultation,
        "published": published,
        "imported": imported,
        "matrix": matrix,
        "evidence": found,
        "scores": scored,
        "statements": statements,
        "constitution": constitution,
        "groups": groups,
        "principles": scores.replicated_principles(constitution, statements, scored),
        "baseline": read_constitution(consultation.path("constitutions/standard.csv"), "standard"),
    }


def figures_of(ccai: dict[str, Any], published: Published | None = None, **changes: Any) -> pl.DataFrame:
    imported: Import = ccai["imported"]
    kept = imported.raw_participants["participant_id"].is_in(ccai["published"].participant_ids.tolist())
    participants = imported.raw_participants.with_columns(
        kept=kept, fate=pl.when(kept).then(pl.lit("kept")).otherwise(pl.lit("too few votes"))
    )
    return figures.replication(
        published or ccai["published"],
        replace(
            ReplicationTables(
                raw_statements=imported.raw_statements,
                raw_votes=imported.raw_votes,
                raw_participants=imported.raw_participants,
                participants=participants,
                statements=imported.raw_statements.filter(pl.col("moderated") == 1),
                evidence=ccai["evidence"],
                scores=ccai["scores"],
                replicated_statements=ccai["statements"],
                replicated_principles=ccai["principles"],
                constitution=ccai["constitution"],
                baseline=ccai["baseline"],
                n_merges=34,
            ),
            **changes,
        ),
    )


def test_ccai_published_votes_and_explained_variance(ccai: dict[str, Any]) -> None:
    matrix = ccai["matrix"]
    assert matrix.shape == (1002, 275) and ccai["imported"].raw_votes.height == 38_252
    explained = opinion_map(matrix, PUBLISHED_PROCEDURE).explained_variance
    assert [round(each, 4) for each in explained] == [0.0729, 0.0420]


def test_ccai_evidence(ccai: dict[str, Any]) -> None:
    position, own = ccai["evidence"].row(0, named=True), ccai["evidence"].row(1, named=True)
    assert position["group_sizes"] == own["group_sizes"] == [619, 383]
    assert (position["n_displaced"], position["n_compared"]) == (1002, 1002)
    assert (position["n_agreeing"], own["n_agreeing"]) == (510, 928)
    assert (round(position["adjusted_rand"], 3), round(own["adjusted_rand"], 3)) == (-0.005, 0.725)
    assert (round(position["chi_square"]), round(own["chi_square"])) == (295, 1767)
    assert position["p_value"] > 0.05 and own["p_value"] == 1 / 201


def test_ccai_published_shares_are_reproduced_to_the_last_digit(ccai: dict[str, Any], test_data: Path) -> None:
    with (test_data / "ccai" / "clean_comments.csv").open(newline="", encoding="utf-8") as handle:
        printed = {
            int(row["comment-id"]): [float(row["group_0_consensus"]), float(row["group_1_consensus"])]
            for row in csv.DictReader(handle)
        }
    reproduced = dict(ccai["statements"].select("statement_id", "reproduced_agreement").iter_rows())
    assert reproduced == printed


def test_ccai_figures(ccai: dict[str, Any]) -> None:
    found = figures_of(ccai)
    assert contracts.REPLICATION.violations(found).is_empty()
    rows = {row["figure_id"]: row for row in found.iter_rows(named=True)}
    verdicts = dict(found["verdict"].value_counts().iter_rows())
    assert verdicts == {"equal": 24, "differs": 1, "not computed": 29}
    assert rows["statements_contributed"]["verdict"] == "differs"
    both = {
        name: (round(rows[name]["reproduced"], 3), round(rows[name]["corrected"], 3))
        for name in ("gac_mean", "gac_median", "gac_min", "gac_max", "pi_median", "pi_adjusted_median")
    }
    assert both == {
        "gac_mean": (0.643, 0.625),
        "gac_median": (0.704, 0.692),
        "gac_min": (0.042, 0.029),
        "gac_max": (0.963, 0.943),
        "pi_median": (0.247, 0.247),
        "pi_adjusted_median": (0.231, 0.231),
    }
    assert 0.624 < rows["gac_mean"]["recomputed_low"] <= rows["gac_mean"]["recomputed_high"] < 0.629
    assert 0.691 < rows["gac_median"]["recomputed_low"] <= rows["gac_median"]["recomputed_high"] < 0.7005
    counted = (
        "participants",
        "votes",
        "statements_moderated_in",
        "group_a",
        "group_b",
        "seed_from_standard",
        "harmless_count",
        "statements_at_threshold",
        "agreement_shares",
        "principles_with_a_source",
    )
    assert [rows[name]["reproduced"] for name in counted] == [1002, 38_252, 275, 708, 386, 7, 6, 116, 550, 75]
    assert (rows["statements_at_threshold"]["corrected"], rows["principles_with_a_source"]["corrected"]) == (113, 67)
    assert rows["gac_threshold"]["reproduced"] == pytest.approx(0.7235, abs=5e-5)
    assert "models" in rows["mmlu_public"]["explanation"] and rows["mmlu_public"]["reproduced"] is None


def test_figures_that_rest_on_texts_wait_for_them(ccai: dict[str, Any]) -> None:
    ids_only = ccai["baseline"].with_columns(text=pl.lit(""))
    found = figures_of(ccai, replace(ccai["published"], n_prompts=0), baseline=ids_only, n_merges=0)
    waiting = found.filter(pl.col("explanation") == figures.NO_TEXTS)
    assert waiting["figure_id"].to_list() == ["harmless_count", "aggregated_statements", "qualitative_prompts"]
    assert set(waiting["verdict"]) == {"not computed"} and found["verdict"].eq("equal").sum() == 21
    assert found.filter(pl.col("figure_id") == "standard_principles")["reproduced"].item() == 58


def test_ccai_statements_and_principles(ccai: dict[str, Any]) -> None:
    crossing = dict(ccai["statements"]["crossing"].value_counts().iter_rows())
    assert crossing == {"stays above": 104, "falls below": 12, "rises above": 9, "stays below": 150}
    found = ccai["principles"]
    assert found.filter(pl.col("fate") == "loses all its sources")["principle_id"].to_list() == EIGHT
    assert found["corrected_rank"].drop_nulls().sort().to_list() == list(range(1, 68))
    # With groups of its own, seed 0 loses P35 where the published groups lose P67.
    lost = set(found.filter(pl.col("lost_seeds").list.contains(0))["principle_id"])
    assert lost == set(EIGHT) - {"P67"} | {"P35"}


def test_ccai_crossings_are_those_found_by_hand(ccai: dict[str, Any], test_data: Path) -> None:
    with (test_data / "ccai" / "discrepancies.csv").open(newline="", encoding="utf-8") as handle:
        listed = list(csv.DictReader(handle))
    for kind, crossing in (("below", "falls below"), ("above", "rises above")):
        wanted = {int(row["comment_id"]) for row in listed if row["kind"] == f"{kind}_threshold_if_realigned"}
        found = ccai["statements"].filter(pl.col("crossing") == crossing)["statement_id"].to_list()
        assert set(found) == wanted and wanted


def changed(published: Published, name: str, **changes: str) -> Published:
    return replace(
        published,
        figures=tuple(replace(each, **changes) if each.figure_id == name else each for each in published.figures),
    )


def test_another_published_figure_differs_and_a_bad_one_is_refused(ccai: dict[str, Any]) -> None:
    published = ccai["published"]
    for name, value, expected in (
        ("gac_mean", "0.65", "differs"),
        ("gac_mean", "0.6430", "equal"),
        ("gac_threshold", "0.724", "differs"),
    ):
        rows = figures_of(ccai, changed(published, name, value=value))
        assert rows.filter(pl.col("figure_id") == name)["verdict"].item() == expected, (name, value)
    with pytest.raises(ConsultationError, match="'about half' for gac_mean"):
        figures_of(ccai, changed(published, "gac_mean", value="about half"))
    with pytest.raises(ConsultationError, match="mmlu_public the status 'lost'; known are"):
        figures_of(ccai, changed(published, "mmlu_public", status="lost"))


def test_neither_order_of_votes_nor_names_of_participants_matter(ccai: dict[str, Any]) -> None:
    published, imported = ccai["published"], ccai["imported"]
    votes = imported.raw_votes.sample(fraction=1.0, shuffle=True, seed=3).with_columns(pl.col("participant_id") + 5000)
    people = imported.raw_participants.reverse().with_columns(pl.col("participant_id") + 5000)
    renamed = replace(published, participant_ids=published.participant_ids + 5000)
    matrix = published_votes(renamed, votes)
    groups = replicated_groups(renamed, matrix, 1)
    again = published_groups.alignment_evidence(renamed, matrix, groups, people, 200, 0)
    assert again.equals(ccai["evidence"].head(4))


def page_of(ccai: dict[str, Any], **changes: pl.DataFrame) -> ReplicationPage:
    tables = {
        "replication": figures_of(ccai),
        "evidence": ccai["evidence"],
        "scores": ccai["scores"],
        "replicated_statements": ccai["statements"],
        "replicated_principles": ccai["principles"],
    }
    return ReplicationPage(title="A replication", threshold=0.723, **tables | changes)


def words(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def rendered(page: ReplicationPage) -> str:
    with white_paper():
        return render_replication(page)


def test_the_page_says_what_the_tables_say(ccai: dict[str, Any]) -> None:
    page = page_of(ccai)
    html = rendered(page)
    text = words(html)
    for sentence in (
        "550 of 550 published shares of agreement come out exactly",
        "for 510 of 1,002 participants. Put in order of participant id, the same groups agree for 928.",
        "104 of the 116 statements that reach the published threshold still do, 12 fall below it and 9 others",
        "67 of 75 published principles keep a source; P58, P61, P63, P64, P67, P71, P72 and P75 keep none.",
        "21 of the 22 figures of the paper that can be computed come out as printed",
    ):
        assert sentence in text, sentence
    assert all(table_digest(table) in html for table in page.tables.values())
    assert rendered(page_of(ccai)) == html
    fewer = ccai["evidence"].with_columns(n_agreeing=pl.lit(333, dtype=pl.Int64))
    assert "for 333 of 1,002 participants" in " ".join(summary(page_of(ccai, evidence=fewer)))


def test_the_page_fetches_nothing_and_shows_what_was_typed_as_text(ccai: dict[str, Any]) -> None:
    typed = ccai["statements"].with_columns(text=pl.lit(HOSTILE))
    html = rendered(page_of(ccai, replicated_statements=typed))
    assert "<script" not in html and "onerror=alert(1)>" not in html and "{{ 7*7 }}" in html
    assert set(re.findall(r'(?:src|href)="([^"]{5})', html)) <= {"data:"} | {
        link[:5] for link in re.findall(r'href="(#[^"]+)', html)
    }
    assert "http" not in re.sub(r'http-equiv="[^"]+"', "", html)
    assert "default-src 'none'" in html


def test_the_verdict_depends_on_the_test(ccai: dict[str, Any]) -> None:
    assert "written beside rows in another order" in verdict(ccai["evidence"])
    unclear = ccai["evidence"].with_columns(p_value=pl.lit(0.4))
    assert "doesn't tell the two ways" in verdict(unclear)


def test_the_pictures_tell_the_same(ccai: dict[str, Any]) -> None:
    moved = drawings.published_and_corrected(ccai["statements"], 0.723)
    fit = drawings.shuffled_fit(ccai["evidence"])
    assert moved == drawings.published_and_corrected(ccai["statements"].reverse(), 0.723)
    assert moved.shapes != drawings.published_and_corrected(ccai["statements"], 0.6).shapes
    assert "104 stay above, 150 stay below, 12 fall below and 9 rise above" in moved.alt
    assert "reach 295; each at the participant it belongs to, 1,767" in fit.alt


def test_a_clone_of_the_public_repository_reaches_the_page(
    ccai: dict[str, Any], test_data: Path, tmp_path: Path
) -> None:
    built = build_from_ccai(clone(test_data, tmp_path / "clone"), tmp_path / "ccai")
    assert built.complete == ()
    consultation = read_consultation(tmp_path / "ccai")
    few = consultation.file.replication.model_copy(update={"seeds": 2, "permutations": 200, "bootstraps": 100})
    file = consultation.file.model_copy(update={"replication": few})
    consultation = consultation.model_copy(update={"file": file})
    with dg.DagsterInstance.ephemeral() as instance, white_paper():
        outcome = run(consultation, tmp_path / "home", lambda line: None, PAGE, instance)
    assert outcome.failed == []
    made = tmp_path / "home" / "ccai"
    for key, name in (
        ("replicated_statements", "statements"),
        ("alignment_evidence", "evidence"),
        ("replicated_scores", "scores"),
        ("replicated_groups", "groups"),
    ):
        assert pl.read_parquet(made / "tables" / f"{key}.parquet").equals(ccai[name]), key
    principles = pl.read_parquet(made / "tables" / "replicated_principles.parquet")
    assert principles.drop("text").equals(ccai["principles"].drop("text")) and set(principles["text"]) == {""}
    assert pl.read_parquet(made / "tables" / "replication.parquet")["verdict"].eq("equal").sum() == 21
    page = (made / "report" / "replication.html").read_text(encoding="utf-8")
    assert "510 of 1,002" in page and "Of 1,126 in the export, 87 cast too few votes" in page
    assert "Of the 75 principles only ids and sources are known here" in page
    assert "P58 from statement 845" in words(page) and "P12 from statements 460, 251" in words(page)


def test_without_a_published_result_there_are_no_such_assets(tmp_path: Path) -> None:
    assert replication_assets.build(read_consultation(SAMPLE), Home(tmp_path, "sample")) == []


def test_a_replication_of_an_unknown_arm_or_file_is_refused(ccai: dict[str, Any], tmp_path: Path) -> None:
    text = (ccai["folder"].folder / "consultation.yaml").read_text(encoding="utf-8")
    for old, new, message in (
        ("  constitution: published\n", "  constitution: printed\n", r"\['printed'\] must be among the arms that are"),
        ("  constitution: published\n", "  constitution: public\n", r"\['public'\] must be .* \['published',"),
        ("published/groups.csv", "published/labels.csv", r"names files that do not exist: .*labels\.csv"),
    ):
        assert old in text
        folder = tmp_path / new.strip().replace("/", "_").replace(":", "")
        folder.mkdir()
        for each in ccai["folder"].folder.iterdir():
            if each.name != "consultation.yaml":
                (folder / each.name).symlink_to(each)
        (folder / "consultation.yaml").write_text(text.replace(old, new), encoding="utf-8")
        with pytest.raises(ConsultationError, match=message):
            read_consultation(folder)
