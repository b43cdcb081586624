from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from assets.table_asset import Checked, Table, table_asset
from ccai_dagster.contracts import CONSTITUTION, PROMPT_COVERAGE
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.decisions.outcomes import PolicyChoice
from ccai_dagster.feedback.prompt_coverage import (
    MissingPrompt,
    content_words,
    coverage_findings,
    draft_from_words,
    prompt_coverage,
    wanted_prompts,
)
from ccai_dagster.feedback.prompts import read_prompts


def constitution(arm: str, **texts: str) -> pl.DataFrame:
    common = {"arm": arm, "statement_ids": [], "merged_text": None, "gac": None, "side": None, "decision_ids": []}
    return CONSTITUTION.build([{"principle_id": key, "text": text} | common for key, text in texts.items()])


def written(tmp_path: Path, prompts: str, themes: str) -> tuple[Path, Path]:
    paths = tmp_path / "prompts.csv", tmp_path / "themes.csv"
    for path, content in zip(paths, (prompts, themes), strict=True):
        path.write_text(content)
    return paths


THEMES = {"privacy": ("privat",), "fairness": ("fair",)}
CONSTITUTIONS = {
    "public": constitution("public", P1="Keep private matters.", P2="Bake good bread.", P3="Be fair in private."),
    "standard": constitution("standard", S1="Be fair.", P2="Bake bread, please."),
}
ROWS = """prompt_id,text,purpose,themes
a,Who lives here?,preference,privacy
b,Compare us,policy,privacy fairness
c,Judge us,held_out,fairness
d,Bread?,revision,standard/P2
e,Old,policy,public/P9
"""


@pytest.fixture
def prompts(tmp_path: Path) -> pl.DataFrame:
    themes = "theme,words\n" + "".join(f"{name},{words[0]}\n" for name, words in THEMES.items())
    return read_prompts(*written(tmp_path, ROWS, themes), CONSTITUTIONS)


def test_prompts_are_counted_by_purpose_for_each_principle(prompts: pl.DataFrame) -> None:
    table = prompt_coverage(prompts, CONSTITUTIONS, 2)
    assert PROMPT_COVERAGE.violations(table).is_empty()
    counted = table.drop("text", "qualitative").rows()
    assert counted == [
        # arm, principle, revision, preference, policy, held out, training, below the minimum of 2
        ("public", "P1", 0, 1, 1, 0, 2, False),
        ("public", "P2", 0, 0, 0, 0, 0, True),
        ("public", "P3", 0, 1, 1, 1, 2, False),
        ("standard", "P2", 1, 0, 0, 0, 1, True),
        ("standard", "S1", 0, 0, 1, 1, 1, True),
    ]
    turned = prompt_coverage(prompts.reverse(), dict(reversed(CONSTITUTIONS.items())), 2)
    assert turned.equals(table)
    assert not prompt_coverage(prompts, CONSTITUTIONS, 0)["below_minimum"].any()


def test_principles_below_the_minimum_and_tags_of_lost_principles_are_named(prompts: pl.DataFrame) -> None:
    table = prompt_coverage(prompts, CONSTITUTIONS, 1)
    found = coverage_findings(table, prompts, 1, "R8")
    assert [(each.severity, each.decision_id, each.subject) for each in found] == [
        ("warning", "R8", "public/P2"),
        ("warning", None, "e"),
    ]
    assert "0 prompts for training are relevant to it, and 1 should be" in found[0].message
    assert "public/P9" in found[1].message


def test_a_prompt_must_not_name_an_unknown_arm(tmp_path: Path) -> None:
    files = written(tmp_path, ROWS + "f,Odd,policy,nowhere/P1\n", "theme,words\nprivacy,a\nfairness,b\n")
    with pytest.raises(ConsultationError, match=r"line 7: prompt f names themes .*: nowhere/P1"):
        read_prompts(*files, CONSTITUTIONS)


def test_what_is_missing_is_for_the_purpose_with_the_fewest_prompts(prompts: pl.DataFrame) -> None:
    table = prompt_coverage(prompts, CONSTITUTIONS, 2)
    taken = {"drafted-public-P2-1"}
    wanted = wanted_prompts(table, 2, ["standard/S1"], taken, THEMES)
    assert [(each.principle, each.purpose, each.prompt_id, each.themes) for each in wanted] == [
        ("public/P2", "revision", "drafted-public-P2-2", ("public/P2",)),
        ("public/P2", "preference", "drafted-public-P2-3", ("public/P2",)),
        ("standard/P2", "preference", "drafted-standard-P2-1", ("standard/P2",)),
    ]
    (named,) = wanted_prompts(table, 2, [], (), THEMES, ["P3"])
    assert (named.purpose, named.themes) == ("revision", ("privacy", "fairness"))
    with pytest.raises(ConsultationError, match="name one of public/P2, standard/P2"):
        wanted_prompts(table, 2, [], (), THEMES, ["P2"])
    with pytest.raises(ConsultationError, match="--principle P7: no constitution has this principle"):
        wanted_prompts(table, 2, [], (), THEMES, ["P7"])


def test_a_template_takes_up_the_words_that_tell_what_a_principle_is_about(prompts: pl.DataFrame) -> None:
    text = "Choose the response that is least likely to endorse slavery, TORTURE or slavery of children."
    assert content_words(text) == ["endorse", "slavery", "torture", "children"]
    table = prompt_coverage(prompts, CONSTITUTIONS, 1)
    (wanted,) = wanted_prompts(table, 1, [], (), THEMES)
    draft = draft_from_words(wanted, seed=7)
    assert draft is not None and "bake, good and bread" in draft.text and "{" not in draft.text
    assert draft.drafted_by.startswith("template ") and draft.drafted_by.endswith(", version 2")
    empty = wanted_prompts(table.with_columns(text=pl.lit("Do as you are.")), 1, [], (), THEMES)[0]
    assert draft_from_words(empty, seed=7) is None


def test_a_draft_is_in_the_language_of_the_consultation_or_as_a_template_on_record_says() -> None:
    german = "Wähle die Antwort, die Kinder am besten vor Gewalt und Hass schützt. Menschen in Not sollen Hilfe finden."
    wanted = MissingPrompt("public/P1", german, "policy", "drafted-public-P1-1", ())
    draft = draft_from_words(wanted, 7, "de")
    assert draft is not None and ": Kinder, Gewalt und Hass" in draft.text and "Freund" in draft.text
    policy = PolicyChoice("training-4", "training", "prompt_template", "Was denkst du über {words}?", "It is German.")
    own = draft_from_words(wanted, 7, "de", policy)
    assert own is not None
    assert (own.text, own.drafted_by) == ("Was denkst du über Kinder, Gewalt und Hass?", "prompt template training-4")
    english = replace(wanted, text="Choose the response that is most honest about its own mistakes.")
    assert draft_from_words(english, 7, "de") == draft_from_words(english, 7)
    french = replace(wanted, text="Choisis la réponse qui respecte le mieux la liberté de chacun.")
    with pytest.raises(ConsultationError, match=r"templates of prompts in de and en and none in fr, .*`ccai decide"):
        draft_from_words(french, 7, "fr")
    asked = draft_from_words(french, 7, "fr", replace(policy, text="Que penses-tu de ceci : {words} ?"))
    assert asked is not None and asked.text == "Que penses-tu de ceci : respecte, liberté et chacun ?"
    with pytest.raises(ConsultationError, match=r"training-4: prompt_template has no \{words\}"):
        draft_from_words(wanted, 7, "de", replace(policy, text="Was denkst du?"))


@pytest.mark.parametrize("minimum", [0, 1])
def test_the_check_warns_and_stops_nothing(prompts: pl.DataFrame, minimum: int) -> None:
    table = prompt_coverage(prompts.filter(pl.col("prompt_id") != "e"), CONSTITUTIONS, minimum)
    found = coverage_findings(table, prompts.clear(), minimum, None)

    def covered() -> Table:
        return Table(table, checks=[Checked("every_principle_has_prompts", found, warns=True)])

    made = table_asset(
        PROMPT_COVERAGE, group="g", description="d", owner="team:t", kinds=set(), checks=["every_principle_has_prompts"]
    )(covered)
    after = dg.asset(name="after", deps=[made])(lambda: None)
    result = dg.materialize(
        [made, after], resources={"tables": dg.mem_io_manager}, instance=dg.DagsterInstance.ephemeral()
    )
    assert result.success and result.asset_materializations_for_node("after")
    checks = {each.check_name: each for each in result.get_asset_check_evaluations()}
    warned = checks["every_principle_has_prompts"]
    assert checks["contract"].passed and warned.passed == (minimum == 0)
    if minimum:
        assert warned.severity == dg.AssetCheckSeverity.WARN
        assert "public/P2" in str(warned.metadata["what"].value)
