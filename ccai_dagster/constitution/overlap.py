"""How much two constitutions say the same, by the words they use."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from ccai_dagster.contracts import CONSTITUTION_OVERLAP


def constitution_overlap(constitutions: Mapping[str, pl.DataFrame], shared_from: float) -> pl.DataFrame:
    """Return the table `constitution_overlap`: for each principle the most similar one of each other arm.

    Similarity is the cosine between weighted counts of words (term frequency times inverse document
    frequency over words and pairs of words, English stop words and the template's own words left out). It
    sees shared words, not shared meaning: a floor of the true overlap.

    Args:
        constitutions: By arm.
        shared_from: Similarity in [0, 1] from which two principles count as shared (a recorded decision).
    """
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, TfidfVectorizer
    from sklearn.metrics.pairwise import linear_kernel

    texts = [text for table in constitutions.values() for text in table["text"]]
    stop = sorted(ENGLISH_STOP_WORDS | {"choose", "response", "please"})
    weights = TfidfVectorizer(stop_words=stop, ngram_range=(1, 2), sublinear_tf=True)
    vectors = dict[str, object]()
    fitted = weights.fit(texts)
    for arm, table in constitutions.items():
        vectors[arm] = fitted.transform(table["text"].to_list())
    rows = []
    for arm, table in constitutions.items():
        for other, other_table in constitutions.items():
            if other == arm:
                continue
            similarity = linear_kernel(vectors[arm], vectors[other]).clip(0.0, 1.0)
            nearest = similarity.argmax(axis=1)
            for place, principle in enumerate(table["principle_id"]):
                value = float(similarity[place, nearest[place]])
                rows.append(
                    {
                        "arm": arm,
                        "principle_id": principle,
                        "other_arm": other,
                        "nearest_principle_id": other_table["principle_id"][int(nearest[place])],
                        "similarity": value,
                        "shared": value >= shared_from,
                    }
                )
    return CONSTITUTION_OVERLAP.build(rows)
