from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccai_dagster.consultation.settings import SentenceModelSettings
from ccai_dagster.contracts import GAC_SCORES, OPINION_GROUPS, REPRESENTATIVE_STATEMENTS, STATEMENT_TOPICS, STATEMENTS
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.deliberation.narrative import narrative
from ccai_dagster.deliberation.topics import near_duplicates, statement_topics
from ccai_dagster.stages.sentence_model import load_sentence_model

TEXTS = [
    "The AI should tell the truth about buses",
    "The AI should know when buses run",
    "buses need drivers",
    "The AI should be kind to children",
    "children deserve kind answers",
    "AI must protect children",
]
# What all have in common lies on the third axis: without their mean, two directions are left.
VECTORS = np.array([[1, 0, 9], [1, 0, 9], [0.8, 0.6, 9], [-1, 0, 9], [-0.8, -0.6, 9], [-1, 0, 9]], dtype=np.float32)


def test_topics_are_named_by_what_only_their_statements_say() -> None:
    table = statement_topics([10, 11, 12, 13, 14, 15], TEXTS, VECTORS)
    assert not STATEMENT_TOPICS.violations(table).height
    assert table["topic_id"].to_list() == [0, 0, 0, 1, 1, 1]
    assert [name.split(", ")[0] for name in table["topic"]] == ["buses"] * 3 + ["children"] * 3


def test_a_topic_is_named_by_words_that_several_of_its_statements_share_and_by_no_halves_of_words() -> None:
    texts = ["Don't delay buses", "unexpected buses", "buses, buses!", "kind children", "children", "don't"]
    table = statement_topics([10, 11, 12, 13, 14, 15], texts, VECTORS)
    assert table["topic"].unique(maintain_order=True).to_list() == ["buses, delay, unexpected", "children, kind"]


def test_the_nearest_are_told_by_the_angle_between_meanings_and_then_by_id() -> None:
    table = statement_topics([10, 11, 12, 13, 14, 15], TEXTS, VECTORS)
    first = table.row(0, named=True)
    assert first["neighbour_ids"] == [11, 12, 14]
    assert first["neighbour_similarity"] == [1.0, 0.8, -0.8]
    # Its own similarity, one with its equal and 0.8 with the third.
    assert first["centrality"] == pytest.approx((1 + 1 + 0.8) / 3, abs=1e-4)
    assert near_duplicates(table) == [
        (10, 11, 1.0),
        (13, 15, 1.0),
        (10, 12, 0.8),
        (11, 12, 0.8),
        (13, 14, 0.8),
        (14, 15, 0.8),
    ]


@given(st.permutations(range(6)))
def test_the_order_of_statements_changes_nothing(order: list[int]) -> None:
    ids = [10, 11, 12, 13, 14, 15]
    shuffled = statement_topics([ids[place] for place in order], [TEXTS[place] for place in order], VECTORS[order])
    assert shuffled.equals(statement_topics(ids, TEXTS, VECTORS))


@pytest.mark.parametrize("number", [0, 1, 2])
def test_few_statements_are_one_topic(number: int) -> None:
    table = statement_topics(list(range(number)), TEXTS[:number], VECTORS[:number])
    assert table["topic_id"].to_list() == [0] * number


def test_statements_without_a_word_that_counts_have_a_number_for_a_name() -> None:
    table = statement_topics([1, 2], ["?!", "the"], VECTORS[:2])
    assert table["topic"].to_list() == ["topic 1", "topic 1"]


def small_tables() -> dict[str, pl.DataFrame]:
    statement = {"author_id": None, "rewritten": False, "decision_ids": []}
    shares = {3: [0.9, 0.8], 4: [0.9, 0.2], 5: [1.0, 0.0]}
    votes = {3: [20, 20], 4: [20, 20], 5: [20, 1]}
    person = {"x": 0.0, "y": 0.0}
    score = {"n_votes": 40, "n_agree": 20, "n_disagree": 20, "n_pass": 0, "published_gac": None}
    score |= {"polarization_index": 0.5, "adjusted_polarization_index": 0.5, "group_ids": [0, 1]}
    representative = {"group_id": 1, "side": "disagree", "best_agreed": False, "n_side": 16, "n_votes": 20}
    representative |= {"probability": 0.8, "probability_z": 2.0, "ratio": 3.0, "ratio_z": 2.0}
    return {
        "statements": STATEMENTS.build(
            [statement | {"statement_id": key, "text": f"text {key}", "raw_text": f"text {key}"} for key in shares]
        ),
        "opinion_groups": OPINION_GROUPS.build(
            [person | {"participant_id": each, "group_id": int(each > 2)} for each in range(5)]
        ),
        "representative_statements": REPRESENTATIVE_STATEMENTS.build(
            [
                representative | {"statement_id": 4, "rank": 1, "eligible": True},
                representative | {"statement_id": 5, "rank": 2, "eligible": False},
            ]
        ),
        "gac_scores": GAC_SCORES.build(
            [
                score
                | {
                    "statement_id": key,
                    "gac": float(np.prod(share)),
                    "gac_disagree": 0.0,
                    "gac_if_unanimous": None,
                    "least_participation": None,
                    "group_rejection": [0.0, 0.0],
                    "group_agreement": share,
                    "group_votes": votes[key],
                }
                for key, share in shares.items()
            ]
        ),
    }


def test_every_sentence_says_what_the_tables_hold_and_names_its_statements() -> None:
    topics = statement_topics([3, 4, 5], ["harbour walls", "harbour boats", "harbour lights"], VECTORS[[0, 1, 1]])
    told = narrative(
        **small_tables(), statement_topics=topics.with_columns(topic_id=pl.lit(0), topic=pl.lit("harbour"))
    )
    assert told.select("scope", "about", "place", "sentence", "statement_ids").rows() == [
        (
            "group",
            "Group B",
            1,
            "Group B (2 people) disagrees more than everybody else with “text 4” (statement 4): 16 of 20 votes.",
            [4],
        ),
        (
            "topic",
            "harbour",
            1,
            "Of 3 statements, groups agree most widely on “text 3” (statement 3): "
            "90% of 20 votes of Group A and 80% of 20 votes of Group B agree.",
            [3],
        ),
        (
            "topic",
            "harbour",
            2,
            # Statement 5 parts them further, but by one vote.
            "They part most on “text 4” (statement 4): "
            "90% of 20 votes of Group A and 20% of 20 votes of Group B agree.",
            [4],
        ),
    ]


def test_without_topics_only_groups_are_told_of() -> None:
    assert narrative(**small_tables())["scope"].to_list() == ["group"]


@pytest.mark.torch
def test_a_text_means_the_same_alone_and_beside_longer_ones(tiny_model: Path, tmp_path: Path) -> None:
    model = load_sentence_model(SentenceModelSettings(source=f"folder:{tiny_model}"), tmp_path)
    together = model.embed(TEXTS)
    assert together.shape == (6, model.model.config.hidden_size)
    assert np.linalg.norm(together, axis=1) == pytest.approx(1, abs=1e-5)
    alone = np.vstack([model.embed([text]) for text in TEXTS])
    assert together == pytest.approx(alone, abs=1e-5)


@pytest.mark.torch
def test_a_model_that_does_not_average_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    with pytest.raises(ConsultationError, match="Take a sentence model with mean pooling"):
        load_sentence_model(SentenceModelSettings(source=f"folder:{folder}"), tmp_path)
