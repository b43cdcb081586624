"""What two constitutions share by words and tags, and how principles are framed."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from ccai_dagster.constitution.comparison import (
    AGREEMENT,
    BY_LIKENESS,
    BY_TAGS,
    SAYS,
    constitution_comparison,
    constitution_overlap,
    framing,
    read_principle_tags,
)
from ccai_dagster.constitution.principles import read_constitution
from ccai_dagster.consultation.folder import SAMPLE, read_consultation
from ccai_dagster.contracts import CONSTITUTION, CONSTITUTION_COMPARISON, CONSTITUTION_OVERLAP
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.decisions.ledger import read_ledger
from ccai_dagster.decisions.outcomes import wordings

SORTED = {
    "P1": "do",
    "P2": "do",
    "P3": "both",
    "P4": "both",
    "P5": "do",
    "P6": "do",
    "P7": "avoid",
    "P8": "avoid",
    "P9": "avoid",
    "P10": "do",
    "P11": "do",
    "P12": "do",
    "P13": "both",
    "P14": "do",
    "P15": "both",
    "P16": "do",
    "P17": "both",
    "P18": "avoid",
    "P19": "both",
    "P20": "both",
    "P21": "do",
    "P22": "both",
    "P23": "do",
    "P24": "avoid",
    "P25": "do",
    "P26": "avoid",
    "P27": "do",
    "P28": "do",
    "S1": "do",
    "S2": "avoid",
    "S3": "do",
    "S4": "avoid",
    "S5": "avoid",
    "S6": "avoid",
    "S7": "avoid",
    "S8": "avoid",
    "S9": "do",
    "S10": "avoid",
    "S11": "avoid",
    "S12": "do",
    "S13": "do",
    "S14": "do",
    "S15": "avoid",
    "S16": "do",
    "S17": "do",
    "S18": "do",
    "S19": "avoid",
    "S20": "do",
    "S21": "avoid",
    "S22": "do",
    "S23": "avoid",
    "S24": "do",
}
"""The sample's principles as a person sorted them, before the rule was written."""


def constitution(arm: str, *texts: str) -> pl.DataFrame:
    return CONSTITUTION.build(
        [
            {
                "principle_id": f"{arm}{number}",
                "arm": arm,
                "text": text,
                "statement_ids": [],
                "merged_text": None,
                "gac": None,
                "side": None,
                "decision_ids": [],
            }
            for number, text in enumerate(texts)
        ]
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Choose the response that most supports life.", "do"),
        ("Choose the response that most strongly discourages cruelty.", "avoid"),
        ("Choose the response that gives at most a hint.", "avoid"),
        ("Choose the response that is the most honest.", "do"),
        ("Choose the least dishonest response.", "avoid"),
        ("Which response is kindest?", "do"),
        ("Choose the response that most readily admits what it does not know.", "do"),
        ("Choose the kindest response. Do NOT choose responses that insult.", "both"),
        ("Choose the response that refuses no more than it has to.", "avoid"),
        ("Which response suggests caution?", "do"),
        ("Choose the response that doesn\u2019t lie but is as kind as possible.", "both"),
    ],
)
def test_framing_by_words(text: str, found: str) -> None:
    assert framing(text) == found


def test_framing_agrees_with_a_person_on_the_sample() -> None:
    texts = {
        each.principle_id: each.text for each in wordings(read_ledger(SAMPLE / "decisions" / "wording.csv", "wording"))
    }
    texts |= dict(
        read_constitution(SAMPLE / "constitutions" / "standard.csv", "standard")
        .select("principle_id", "text")
        .iter_rows()
    )
    wrong = [key for key, wanted in SORTED.items() if framing(texts[key] or "") != wanted]
    assert wrong == ["P15"]


def test_shares_and_tags_by_hand() -> None:
    constitutions = {
        "a": constitution(
            "a",
            "Choose the response that most protects privacy.",
            "Choose the kindest response.",
            "Choose the response that is funniest.",
            "Choose the least rude response.",
        ),
        "b": constitution(
            "b", "Choose the response that least insults.", "Choose the response that most protects privacy."
        ),
    }
    tags = {"a": {"a0": ("privacy",), "a1": ("kind",), "a3": ("manners",)}, "b": {"b0": ("manners",), "b1": ("law",)}}
    overlap = constitution_overlap(constitutions, 0.9, tags)
    assert CONSTITUTION_OVERLAP.violations(overlap).is_empty()
    found = {(row["arm"], row["principle_id"]): row for row in overlap.iter_rows(named=True)}
    assert found["a", "a3"]["same_tag_principle_ids"] == ["b0"] and found["a", "a3"]["shared_by_tags"] is True
    assert found["a", "a0"]["shared"] and found["a", "a0"]["shared_by_tags"] is False
    assert found["a", "a2"]["tags"] == [] and found["a", "a2"]["shared_by_tags"] is None
    table = constitution_comparison(overlap, {("a", "b", BY_TAGS): "about half"}, 1)
    assert CONSTITUTION_COMPARISON.violations(table).is_empty()
    rows = {(row["arm"], row["measure"]): row for row in table.iter_rows(named=True)}
    assert (rows["a", BY_LIKENESS]["value"], rows["a", BY_LIKENESS]["n"]) == (0.25, 4)
    assert (rows["b", BY_LIKENESS]["value"], rows["b", BY_LIKENESS]["n"]) == (0.5, 2)
    assert rows["a", BY_TAGS]["value"] == pytest.approx(1 / 3)
    assert (rows["a", BY_TAGS]["published"], rows["b", BY_TAGS]["published"]) == ("about half", None)
    # Of a0, a1, a3 the two ways agree on a1 alone: observed 1/3, expected 1/3 * 1/3 + 2/3 * 2/3.
    assert rows["a", AGREEMENT]["value"] == pytest.approx((1 / 3 - 5 / 9) / (4 / 9))
    do = rows["a", SAYS["do"]]
    assert (do["value"], do["difference"]) == (0.75, 0.25)
    # Newcombe, from Wilson's 0.30064 to 0.95443 (3 of 4) and 0.09453 to 0.90547 (1 of 2).
    assert (do["difference_low"], do["difference_high"]) == pytest.approx((-0.35525, 0.70408), abs=5e-5)
    assert rows["b", SAYS["do"]]["difference_high"] == pytest.approx(-do["difference_low"])


def test_without_tags_nothing_is_claimed_by_tags() -> None:
    constitutions = {name: constitution(name, "Choose the kindest response.") for name in ("a", "b")}
    table = constitution_comparison(constitution_overlap(constitutions, 0.5), {}, 1)
    by_tags = table.filter(pl.col("measure").is_in([BY_TAGS, AGREEMENT]))
    assert by_tags["value"].null_count() == 4 and by_tags["n"].sum() == 0
    assert by_tags.filter(measure=BY_TAGS).select("low", "high").rows() == [(0.0, 1.0)] * 2


def test_tags_of_the_sample_cover_every_principle() -> None:
    consultation = read_consultation(SAMPLE)
    tags = read_principle_tags(consultation.path(consultation.file.principle_tags or ""), consultation.arms)
    assert {*SORTED} <= {*tags["public"], *tags["standard"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("arm,principle_id\na,P1\n", "they must be arm, principle_id, tags"),
        ("arm,principle_id,tags\nc,P1,kind\n", "there is no arm 'c'"),
        ("arm,principle_id,tags\na,P1,\n", "is empty"),
        ("arm,principle_id,tags\na,P1,kind\na,P1,rude\n", "data row 2: a/P1 stands twice"),
        ("", "not readable"),
    ],
)
def test_bad_tags_are_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "tags.csv"
    path.write_text(content)
    with pytest.raises(ConsultationError, match=r"tags\.csv") as caught:
        read_principle_tags(path, ["a", "b"])
    assert message in str(caught.value)


def test_the_published_constitution_says_more_often_what_to_do(test_data: Path) -> None:
    constitutions = {
        arm: read_constitution(test_data / "ccai" / f"{arm}_constitution.csv", arm) for arm in ("public", "standard")
    }
    table = constitution_comparison(constitution_overlap(constitutions, 0.5), {}, 1)
    row = table.filter(arm="public", measure=SAYS["do"]).row(0, named=True)
    # A reader counted 45 of 75; the paper says over half, and that the standard one rather discourages.
    assert row["value"] == pytest.approx(43 / 75) and row["value"] > 0.5 and row["difference_low"] > 0
