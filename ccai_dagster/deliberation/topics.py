"""What statements are about: topics, and which statements say nearly the same, from their embeddings.

Embeddings come from a sentence model (`stages.sentence_model`). Topics order what people read; nothing is counted,
scored or selected by them, and merging stays a person's decision.

Measured on the 275 statements of Collective Constitutional AI that were moderated in: of the 53 pairs that its
authors merged, 25 are among the three nearest by meaning (by `decisions.agenda.SameWords` 16), and of the 72 pairs
above `NEAR_DUPLICATE` 14 were merged (of the 71 most similar in words 10).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from ccai_dagster.contracts import STATEMENT_TOPICS
from ccai_dagster.core.stop_words import ENGLISH_STOP_WORDS

NEAR_DUPLICATE = 0.55
"""Similarity in meaning from which two statements are suggested for merging."""
NEIGHBOURS = 3
NAMING_WORDS = 3
WORD = r"(?u)(?<!['’])\b[^\W\d_]{3,}\b(?!['’])"
"""A word that may name a topic: at least three letters, and no half of one as in `don't`."""
TEMPLATE_WORDS = frozenset(
    {"ai", "assistant", "chatbot", "model", "must", "need", "needs", "ought", "should", "system"}
)
"""What most rules for an assistant have in common."""


def common_words() -> list[str]:
    """Return English words that tell nothing about a statement, sorted."""
    return sorted(ENGLISH_STOP_WORDS | TEMPLATE_WORDS)


def statement_topics(statement_ids: Sequence[int], texts: Sequence[str], embeddings: np.ndarray) -> pl.DataFrame:
    """Group statements by what they are about and find the nearest of each.

    The mean of all embeddings, what the statements have in common ("The AI should"), is taken off first. Topics are
    the square root of the number of statements in number, by Ward's criterion (Ward 1963, doi:10.2307/2282967):
    meaning has no gaps between topics, so no index finds a right number, and a list of that length can be read.
    A topic is named by the words that stand in many of its statements and in few of the others', by class-based tf-idf
    (Grootendorst 2022, arXiv:2203.05794, section 3.3), a word counted once a statement.

    Args:
        statement_ids: In any order, each once.
        texts: Of these statements.
        embeddings: n x d, of these statements.

    Returns:
        STATEMENT_TOPICS; topic 0 is the largest. Similarities are cosines, rounded to four digits so that a table
        does not depend on the order of additions.
    """
    if not statement_ids:
        return STATEMENT_TOPICS.build([])
    order = np.argsort(statement_ids)
    ids, words = np.asarray(statement_ids)[order], [texts[place] for place in order]
    centred = embeddings[order].astype(np.float64) - embeddings.mean(axis=0, dtype=np.float64)
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), np.finfo(centred.dtype).tiny)
    topics = _topics(centred)
    names = _names(words, topics)
    similarity = np.round(centred @ centred.T, 4).clip(-1, 1)
    rows = []
    for place, topic in enumerate(topics):
        others = np.flatnonzero(np.arange(len(ids)) != place)
        nearest = others[np.lexsort((ids[others], -similarity[place, others]))][:NEIGHBOURS]
        rows.append(
            {
                "statement_id": int(ids[place]),
                "topic_id": int(topic),
                "topic": names[topic],
                "centrality": float(np.round(similarity[place, topics == topic].mean(), 4)),
                "neighbour_ids": ids[nearest].tolist(),
                "neighbour_similarity": similarity[place, nearest].tolist(),
            }
        )
    return STATEMENT_TOPICS.build(rows)


def near_duplicates(statement_topics: pl.DataFrame) -> list[tuple[int, int, float]]:
    """Return pairs of neighbours (lower id first) at least `NEAR_DUPLICATE` alike, the most similar first."""
    pairs = {
        (min(own, other), max(own, other)): similarity
        for own, neighbours, similarities in statement_topics.select(
            "statement_id", "neighbour_ids", "neighbour_similarity"
        ).iter_rows()
        for other, similarity in zip(neighbours, similarities, strict=True)
        if similarity >= NEAR_DUPLICATE
    }
    return sorted(((*pair, value) for pair, value in pairs.items()), key=lambda each: (-each[2], each[:2]))


def _topics(vectors: np.ndarray) -> np.ndarray:
    """Return the topic of each vector, numbered from the largest; of equal ones, that of the first vector is first."""
    from sklearn.cluster import AgglomerativeClustering

    number = round(len(vectors) ** 0.5)
    if number < 2:
        return np.zeros(len(vectors), dtype=int)
    found = AgglomerativeClustering(number, linkage="ward").fit_predict(vectors)
    _, first, sizes = np.unique(found, return_index=True, return_counts=True)
    place = np.empty(number, dtype=int)
    place[np.lexsort((first, -sizes))] = np.arange(number)
    return np.asarray(place[found])


def _names(texts: Sequence[str], topics: np.ndarray) -> list[str]:
    """Return the most telling words of each topic; a topic without any is named by its number."""
    from sklearn.feature_extraction.text import CountVectorizer

    number = int(topics.max()) + 1
    counter = CountVectorizer(stop_words=common_words(), binary=True, token_pattern=WORD)
    try:
        stands = counter.fit_transform(texts)
    except ValueError:  # no statement has a word that counts
        return [f"topic {topic + 1}" for topic in range(number)]
    counts = np.vstack([np.asarray(stands[topics == topic].sum(axis=0)) for topic in range(number)])
    weights = counts * np.log(1 + counts.sum() / number / counts.sum(axis=0))
    words = counter.get_feature_names_out()
    named = (
        # What a single statement says names a topic only where nothing is said twice.
        ", ".join(words[place] for place in np.lexsort((-row, count < 2))[:NAMING_WORDS] if row[place] > 0)
        for row, count in zip(weights, counts, strict=True)
    )
    return [name or f"topic {topic + 1}" for topic, name in enumerate(named)]
