from __future__ import annotations

import random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, TfidfVectorizer

from ccai_dagster.consultation.folder import SAMPLE
from ccai_dagster.core import stop_words
from ccai_dagster.decisions.agenda import SameWords, draft_principle, odd_participants
from ccai_dagster.deliberation.topics import TEMPLATE_WORDS


def test_statements_with_the_same_rare_words_are_near() -> None:
    words = SameWords({4: "The AI should protect children", 9: "Protect our children!", 2: "Cite sources", 7: "!!"})

    assert [key for key, _ in words.nearest(4)] == [9]
    assert words.nearest(4)[0][1] == pytest.approx(1.0)
    assert [pair[:2] for pair in words.pairs()] == [(4, 9)]
    assert words.nearest(7) == words.nearest(99) == []


def test_texts_without_words_are_near_nothing() -> None:
    assert SameWords({1: "...", 2: "the"}).pairs(0.0) == []
    assert SameWords({1: "...", 2: "the"}).nearest(1) == []


def test_words_weigh_what_they_weigh_in_scikit_learn() -> None:
    rows = pl.read_csv(SAMPLE / "votes" / "comments.csv")
    german = ["Die KI muss Kinder schützen!", "Kinder schützen, Kinder fördern", "Maße und MASSE, don’t", "", "!?"]
    texts = dict(enumerate([*rows["comment-body"], *german]))

    words = TfidfVectorizer(stop_words=sorted(ENGLISH_STOP_WORDS | TEMPLATE_WORDS), sublinear_tf=True)
    weights = words.fit_transform(texts.values())
    alike = (weights @ weights.T).toarray()
    expected = {(a, b): alike[a, b] for a in texts for b in texts if a < b and alike[a, b] > 0}
    own = {(a, b): likeness for a, b, likeness in SameWords(texts).pairs(0.0)}

    assert len(expected) > len(texts)
    assert own.keys() == expected.keys()
    assert own == pytest.approx(expected, abs=1e-14)
    assert stop_words.ENGLISH_STOP_WORDS == ENGLISH_STOP_WORDS


@settings(max_examples=10)
@given(st.permutations([(1, "bus lanes now"), (2, "more bus lanes"), (3, "lanes for bikes"), (4, "quiet nights")]))
def test_neighbours_do_not_depend_on_the_order(texts: list[tuple[int, str]]) -> None:
    words = SameWords(dict(texts))

    assert [key for key, _ in words.nearest(3)] == [1, 2]
    assert [pair[:2] for pair in words.pairs(0.01)] == [(1, 2), (1, 3), (2, 3)]


@pytest.mark.parametrize(
    ("text", "draft"),
    [
        ("The AI should be honest.", "Choose the response that is most honest."),
        ("the assistant must never be rude", "Choose the response that is least rude."),
        ("AI should not spread lies", "Choose the response that does least to spread lies."),
        ("It shouldn't ask for more", "Choose the response that does least to ask for more."),
        ("The AI should always tell the truth!", "Choose the response that does most to tell the truth."),
        ("No racist answers", 'Choose the response that agrees best with this: "No racist answers"'),
        ("{0} %s", 'Choose the response that agrees best with this: "{0} %s"'),
    ],
)
def test_drafts_by_template(text: str, draft: str) -> None:
    assert draft_principle(text) == draft


def test_odd_voting_patterns() -> None:
    def cast(participant: int, votes: list[int]) -> list[dict[str, int]]:
        return [
            {"participant_id": participant, "statement_id": place, "vote": vote} for place, vote in enumerate(votes)
        ]

    mixed = [1, -1, 0] * 6
    rows = (
        cast(5, [1] * 20)
        + cast(3, [-1] * 15)
        + cast(9, mixed)
        + cast(8, mixed)
        + cast(4, [*mixed[:-1], 1])
        + cast(6, [1] * 14)
        + cast(7, [0] * 20)
    )

    assert odd_participants(pl.DataFrame(rows)) == [
        (("3",), "disagreed in all of 15 votes"),
        (("5",), "agreed in all of 20 votes"),
        (("8", "9"), "voted on the same 18 statements in the same way"),
    ]


@pytest.mark.parametrize("count", [1, 3, 40])
def test_the_nearest_are_the_first_of_all_in_order(count: int) -> None:
    generator = random.Random(5)
    words = ["tree", "lamp", "bus", "park", "lake", "road"]
    texts = {key: " ".join(generator.choices(words, k=3)) for key in generator.sample(range(1000), 30)}
    alike = SameWords(texts)
    for key in texts:
        everyone = alike.nearest(key, len(texts))
        assert everyone == sorted(everyone, key=lambda each: (-round(each[1], 9), each[0]))
        assert alike.nearest(key, count) == everyone[:count]
