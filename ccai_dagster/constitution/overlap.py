"""How much two constitutions say the same: by the words they use, and by people's tags where there are any.

People's tags are the better measure. On the 52 tagged principles of the embedded consultation likeness agrees with
them hardly more than by chance (Cohen's kappa 0.14 and 0.13, intervals from -0.1 to 0.4): different words often say
the same. Tried as well, by the area under the curve of telling pairs with a common tag from others, and principles
with a counterpart from those without (either way round): words and pairs of words, as used here, 0.69, 0.42 and
0.53; pieces of words 0.73, 0.47 and 0.52; mean last states of the embedded model 0.88, 0.58 and 0.78. The last is
better, but would tie what people decided to a language model, and where there are tags it is not needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from ccai_dagster.constitution.framing import framing
from ccai_dagster.constitution.principle_tags import Tags
from ccai_dagster.contracts import CONSTITUTION_OVERLAP


def constitution_overlap(
    constitutions: Mapping[str, pl.DataFrame], shared_from: float, tags: Tags | None = None
) -> pl.DataFrame:
    """Return the table `constitution_overlap`: for each principle its counterparts in each other constitution.

    Likeness is the cosine between weighted counts of words (term frequency times inverse document frequency over
    words and pairs of words, English stop words and the template's own words left out). It sees shared words, not
    shared meaning; `comparison` tells how far it agrees with people's tags. Where both constitutions are tagged, a
    principle is shared by tags if one of the other carries one of its tags.

    Args:
        shared_from: Likeness in [0, 1] from which two principles count as shared (a recorded decision).
        tags: By arm and principle; a principle that nobody tagged is not counted by tags.
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
            others = other_table["principle_id"].to_list()
            for place, (principle, text) in enumerate(table.select("principle_id", "text").iter_rows()):
                value = float(similarity[place, nearest[place]])
                rows.append(
                    {
                        "arm": arm,
                        "principle_id": principle,
                        "other_arm": other,
                        "nearest_principle_id": others[int(nearest[place])],
                        "similarity": value,
                        "shared": value >= shared_from,
                        **_by_tags(tags or {}, arm, principle, other, others),
                        "framing": framing(text),
                    }
                )
    return CONSTITUTION_OVERLAP.build(rows)


def _by_tags(tags: Tags, arm: str, principle: str, other: str, others: list[str]) -> dict[str, Any]:
    own = tags.get(arm, {}).get(principle, ())
    tagged = {each: set(tags[other][each]) for each in others if each in tags.get(other, {})}
    found = [each for each, theirs in tagged.items() if theirs & set(own)]
    known = bool(own) and bool(tagged)
    return {
        "tags": list(own),
        "same_tag_principle_ids": found,
        "shared_by_tags": bool(found) if known else None,
    }
