"""Opinions as distributions, the questions they are asked by, and whom they represent."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccai_dagster.consultation.folder import EvaluationSet
from ccai_dagster.consultation.settings import EvaluationSettings
from ccai_dagster.contracts import BENCHMARK_ITEMS, EVAL_SCORES, OPINION_REPRESENTATIVENESS
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.evaluation.benchmarks import run_benchmarks
from ccai_dagster.evaluation.opinions import representativeness_table
from ccai_dagster.evaluation.scores import score_table
from ccai_dagster.evaluation.sets.formats import read_evaluation_set
from ccai_dagster.evaluation.sets.opinion_qa import (
    OpinionItem,
    expected_similarity,
    letter_masses,
    model_opinion,
    similarity,
)
from ccai_dagster.pages import pictures
from ccai_dagster.stages.transformers_model import TransformersModel
from sample.build_opinions import FILE, build

OPINIONS = Path("eval", "opinionqa", "opinionqa_disagreement500.jsonl")


def question(key: str = "q1", **changes: Any) -> dict[str, Any]:
    """Four people of `old` chose the ends of the scale, four of `young` the middle."""
    row = {
        "key": key,
        "survey": "s",
        "question": "How much?",
        "options": ["None", "Some", "All"],
        "ordinal": [1.0, 2.0, 3.0],
        "refusal_options": ["Refused"],
        "groups": {
            "Overall": {"n": 9, "counts": [2, 4, 2], "refused": 1},
            "AGE:old": {"n": 5, "counts": [2, 0, 2], "refused": 1},
            "AGE:young": {"n": 4, "counts": [0, 4, 0], "refused": 0},
            "AGE:Refused": {"n": 1, "counts": [1, 0, 0]},
        },
    }
    return row | changes


def read(tmp_path: Path, *rows: Any, prompt: Any = None) -> list[Any]:
    path = tmp_path / "opinions.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return read_evaluation_set(EvaluationSet(format="opinion_qa", path=path, prompt=prompt))


def logs(*probabilities: float) -> list[tuple[float, bool]]:
    return [(math.log(each) if each else -math.inf, each == max(probabilities)) for each in probabilities]


def test_similarity_by_hand() -> None:
    ends, middle = np.array([0.5, 0.0, 0.5]), np.array([0.0, 1.0, 0.0])
    assert similarity(ends, middle, [1, 2, 3]) == 0.5  # half a person moves half the scale, twice
    assert similarity(ends, ends, [1, 2, 3]) == 1.0
    assert similarity(np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), [1, 2, 1.5]) == 0.0
    assert similarity(np.array([1.0, 0, 0]), np.array([0, 0, 1.0]), [1, 2, 1.5]) == 0.5


@settings(max_examples=60)
@given(st.integers(2, 7), st.integers(0, 10**6))
def test_similarity_is_one_less_the_scaled_wasserstein_distance(n: int, seed: int) -> None:
    from scipy.stats import wasserstein_distance

    generator = np.random.default_rng(seed)
    places = generator.permutation(n) * 1.5
    first, second = generator.dirichlet(np.ones(n), size=2)
    distance = wasserstein_distance(places, places, first, second) / np.ptp(places)
    assert similarity(first, second, places.tolist()) == pytest.approx(1 - distance)
    assert similarity(first, second, places.tolist()) == similarity(second, first, places.tolist())


def test_the_expected_similarity_of_a_sample_is_its_mean_over_all_samples() -> None:
    # Of two people at 1/4, 1/2, 1/4: nine ordered pairs by hand, weighted by their probability.
    shares, weighted = np.array([0.25, 0.5, 0.25]), 0.0
    for one in range(3):
        for other in range(3):
            drawn = np.bincount([one, other], minlength=3) / 2
            weighted += shares[one] * shares[other] * similarity(drawn, shares, [1, 2, 3])
    assert expected_similarity(shares, 2, [1, 2, 3]) == pytest.approx(weighted)
    assert expected_similarity(np.array([0.0, 1.0, 0.0]), 5, [1, 2, 3]) == 1.0
    assert expected_similarity(shares, 10**6, [1, 2, 3]) == pytest.approx(1.0, abs=1e-3)


def test_letters_take_their_likelier_form_and_missing_ones_what_is_left() -> None:
    with np.errstate(divide="ignore"):
        forms = np.log(np.array([[0.2, 0.0, 0.1, 0.0], [0.3, 0.0, 0.05, 0.0]]))
    # The smallest that was seen is 0.05; two letters are missing, and 0.35 is left for them.
    assert letter_masses(forms) == pytest.approx([0.3, 0.05, 0.1, 0.05])
    crowded = np.log(np.array([[0.5, 0.49, 1e-300]]))
    crowded[0, 2] = -np.inf
    assert letter_masses(crowded) == pytest.approx([0.5, 0.49, 0.01])
    assert letter_masses(np.full((2, 3), -np.inf)).tolist() == [0, 0, 0]


def test_refusal_is_apart_from_the_opinion() -> None:
    told = model_opinion(np.log([[0.1, 0.3, 0.4]]), 2)
    assert told.options == pytest.approx([0.25, 0.75])
    assert told.refusal == pytest.approx(0.5)
    nothing = model_opinion(np.full((1, 3), -np.inf), 2)
    assert (nothing.options, nothing.refusal) == (None, None)
    only_refusal = np.array([[-np.inf, -np.inf, 0.0]])
    refused = model_opinion(only_refusal, 2)
    assert (refused.options, refused.refusal) == (None, 1.0)


def test_an_answer_is_scored_for_every_group(tmp_path: Path) -> None:
    (item,) = read(tmp_path, question())
    assert list(item.groups()) == ["AGE: old", "AGE: young", "everybody: Overall"]
    reading = item.read(logs(0.1, 0.2, 0.1, 0.1))
    assert reading.scores["refusal_mass"] == pytest.approx(0.2)
    found = {category: value for (_, category), value in reading.by_category.items()}
    # Opinion 1/4, 1/2, 1/4: a quarter of the people moves half the scale at either end.
    assert found == pytest.approx({"AGE: old": 0.75, "AGE: young": 0.75, "everybody: Overall": 1.0})
    assert json.loads(reading.output) == {"A": 0.1, "B": 0.2, "C": 0.1, "D": 0.1}
    silent = item.read([(-math.inf, False)] * 4)
    assert silent.scores == {"refusal_mass": None} and set(silent.by_category.values()) == {None}
    assert not silent.answered
    with pytest.raises(ConsultationError, match="no finite probabilities"):
        item.read([(math.nan, False)] * 4)


def test_bare_text_is_asked_as_published(tmp_path: Path) -> None:
    (item,) = read(tmp_path, question(), prompt="plain")
    (prompt,) = item.prompts()
    assert (prompt.turns, prompt.beginning) == (
        (),
        "Question: How much?\nA. None\nB. Some\nC. All\nD. Refused\nAnswer:",
    )
    assert item.continuations == ["A", "B", "C", "D", " A", " B", " C", " D"]
    either = item.read(logs(0.1, 0.0, 0.1, 0.1, 0.0, 0.2, 0.0, 0.1))
    assert either.scores["refusal_mass"] == pytest.approx(0.2)


def test_questions_without_order_or_with_silent_groups_lose_only_what_they_lack(tmp_path: Path) -> None:
    silent = question()["groups"] | {"AGE:old": {"n": 3, "counts": [0, 0, 0], "refused": 3}}
    first, second = read(tmp_path, question(groups=silent), question("q2", ordinal=[1, 1, 1]))
    assert "AGE: old" not in first.groups()
    unordered = second.read(logs(0.1, 0.2, 0.1, 0.1))
    assert (unordered.by_category, unordered.scores["refusal_mass"]) == ({}, pytest.approx(0.2))


def test_questions_with_one_key_are_resampled_together(tmp_path: Path) -> None:
    rows = [question("same", question=text) for text in ("Zebras?", "Apes?")]
    items = read(tmp_path, *rows)
    assert [(item.id, item.cluster, item.question) for item in items] == [
        ("same/1", "same", "Apes?"),
        ("same/2", "same", "Zebras?"),
    ]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"ordinal": [1, 2]}, "2 places in `ordinal` for 3 options"),
        ({"groups": {}}, "no group answered it"),
        ({"groups": {"AGE:old": {"counts": [0, 0, 0], "refused": 2}}}, "no group answered it"),
        ({"groups": {"AGE:old": {"n": 3}}}, "give either `counts` or `dist`"),
        ({"groups": {"AGE:old": {"counts": [1, 2]}}}, "2 answers of AGE: old for 3 options"),
        ({"groups": {"AGE:old": {"counts": [1, 2, -1]}}}, "greater than or equal to 0"),
        ({"groups": {"AGE:old": {"dist": [0.5, 0.2, 0.2]}}}, "sums to 0.900"),
        ({"options": ["Same", "Same", "All"]}, "the same text"),
    ],
)
def test_bad_questions_are_told(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ConsultationError, match=r"opinions\.jsonl, line 1") as caught:
        read(tmp_path, question(**changes))
    assert told in str(caught.value)


def test_missing_and_empty_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConsultationError, match="not readable"):
        read_evaluation_set(EvaluationSet(format="opinion_qa", path=tmp_path / "none.jsonl"))
    with pytest.raises(ConsultationError, match="no questions"):
        read(tmp_path)
    row = question()
    del row["ordinal"]
    with pytest.raises(ConsultationError, match="`ordinal` is missing"):
        read(tmp_path, row)


def answered(items: list[OpinionItem], probabilities: list[tuple[float, ...]]) -> pl.DataFrame:
    rows = []
    for item, given_ in zip(items, probabilities, strict=True):
        reading = item.read(logs(*given_))
        for (metric, category), value in reading.by_category.items():
            rows.append(
                {
                    "benchmark": "ours",
                    "metric": metric,
                    "item_id": f"{item.id}/{category}",
                    "cluster": item.cluster,
                    "category": category,
                    "value": value,
                    "answered": reading.answered,
                    "finished": True,
                    "output": reading.output,
                }
            )
    return BENCHMARK_ITEMS.build(rows)


def represented(tmp_path: Path) -> tuple[list[OpinionItem], dict[str, dict[str, pl.DataFrame]], pl.DataFrame]:
    """Twelve questions: base has no preference, standard thinks as the young do, public as the old."""
    items = read(tmp_path, *(question(f"q{number:02}") for number in range(12)))
    opinions = {"base": (0.2, 0.2, 0.2, 0.4), "standard": (0.0, 0.9, 0.0, 0.1), "public": (0.4, 0.0, 0.4, 0.2)}
    tables = {arm: {"ours": answered(items, [each] * 12)} for arm, each in opinions.items()}
    from ccai_dagster.contracts import ADHERENCE, ADHERENCE_SCORES, ELO_SCORES

    scores = score_table(
        tables,
        dict.fromkeys(tables, ADHERENCE.empty()),
        ADHERENCE_SCORES.empty(),
        ELO_SCORES.empty(),
        "standard",
        200,
        1,
        False,
    )
    return items, tables, scores


def test_values_stand_beside_what_can_be_expected(tmp_path: Path) -> None:
    items, tables, scores = represented(tmp_path)
    assert EVAL_SCORES.violations(scores).is_empty()
    table = representativeness_table(scores, tables, {"ours": items}, "standard", 200, 1)
    assert OPINION_REPRESENTATIVENESS.violations(table).is_empty()
    assert table.height == 9
    rows = {(row["arm"], row["group"]): row for row in table.iter_rows(named=True)}
    uniform = 1 - (1 / 3) * 0.5 * 2
    base = rows["base", "young"]
    assert (base["value"], base["uniform"]) == (pytest.approx(uniform), pytest.approx(uniform))
    assert base["above_uniform"] == pytest.approx(0, abs=1e-12)
    assert base["above_uniform_low"] <= 0 <= base["above_uniform_high"]
    assert base["compared_with"] is None and base["difference"] is None
    public = rows["public", "young"]
    assert (public["compared_with"], public["n"]) == ("standard", 12)
    assert (public["value"], public["difference"]) == (pytest.approx(0.5), pytest.approx(-0.5))
    standard = rows["standard", "young"]
    assert (standard["value"], standard["compared_with"]) == (pytest.approx(1.0), "base")
    # Four people of one mind are themselves in every sample; the others' mean deviation is 3/16 at both places.
    assert rows["public", "young"]["ceiling"] == 1.0
    assert rows["public", "old"]["ceiling"] == pytest.approx(1 - 2 * 0.5 * 0.1875)
    assert (public["nearest_group"], public["nearest_value"]) == ("old", 0.5)
    assert rows["public", "Overall"]["nearest_group"] is None


def test_a_changed_file_is_told_and_shares_have_no_ceiling(tmp_path: Path) -> None:
    items, tables, scores = represented(tmp_path)
    with pytest.raises(ConsultationError, match=r"was asked 'q00', .* evaluate .* again"):
        representativeness_table(scores, tables, {"ours": items[1:]}, "standard", 200, 1)
    shares = question("q00")["groups"] | {"AGE:old": {"dist": [0.5, 0.0, 0.5]}}
    (changed,) = read(tmp_path, question("q00", groups=shares))
    table = representativeness_table(scores, tables, {"ours": [changed, *items[1:]]}, "standard", 200, 1).filter(
        arm="public"
    )
    assert dict(table.select("group", "ceiling").iter_rows())["old"] is None


def test_picture_and_its_words(tmp_path: Path) -> None:
    items, tables, scores = represented(tmp_path)
    table = representativeness_table(scores, tables, {"ours": items}, "standard", 200, 1)
    drawn = pictures.representativeness(table)
    assert drawn.png.startswith(b"\x89PNG") and drawn == pictures.representativeness(table.reverse())
    assert drawn.png != pictures.representativeness(table.with_columns(value=1 - pl.col("value"))).png
    assert "3 groups" in drawn.alt and "public from" in drawn.alt and "0.667" in drawn.alt
    assert pictures.representativeness(table.clear()).alt == "No model was asked for opinions."


def test_the_sample_is_what_its_model_draws(tmp_path: Path) -> None:
    build(tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_bytes() == FILE.read_bytes()
    for item in read_evaluation_set(EvaluationSet(format="opinion_qa", path=FILE)):
        groups = item.answers["opinion group"]
        assert sum(each.n or 0 for each in groups.values()) == 340
        for place, count in enumerate(item.answers["everybody"]["Overall"].counts or ()):
            assert count == sum((each.counts or ())[place] for each in groups.values())


@pytest.mark.torch
def test_a_model_is_asked_and_no_group_is_lost(tiny_model: Path) -> None:
    sets = {"sample_opinions": EvaluationSet(format="opinion_qa", path=FILE, limit=6)}
    run = run_benchmarks(TransformersModel(tiny_model, "float32", 16), sets, EvaluationSettings(), 1)
    table = run.items["sample_opinions"]
    assert BENCHMARK_ITEMS.violations(table).is_empty()
    assert dict(table.group_by("metric").len().iter_rows()) == {"refusal_mass": 6, "representativeness": 24}
    assert table["value"].is_between(0, 1).all() and table["cluster"].n_unique() == 6


def test_published_yardsticks(test_data: Path) -> None:
    """A model without preferences and the two parties against everybody, as measured before in another way."""
    items = [item for item in read_opinions(test_data) if item.ordered]
    assert len(items) == 490

    def mean(opinion: Any) -> float:
        values = [
            similarity(opinion(item), item.answers["everybody"]["Overall"].shares, item.ordinals)
            for item in items
            if opinion(item) is not None
        ]
        return float(np.mean(values))

    def party(name: str) -> Any:
        return lambda item: item.answers["party"][name].shares if name in item.answers["party"] else None

    assert mean(lambda item: np.full(len(item.ordinals), 1 / len(item.ordinals))) == pytest.approx(0.833, abs=5e-4)
    assert mean(party("Democrat")) == pytest.approx(0.925, abs=5e-4)
    assert mean(party("Republican")) == pytest.approx(0.903, abs=5e-4)


def read_opinions(test_data: Path) -> list[Any]:
    return read_evaluation_set(EvaluationSet(format="opinion_qa", path=test_data / OPINIONS))
