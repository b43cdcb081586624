"""Two constitutions compared: which principles they share, and whether they say what to do or what to avoid.

Shared, by likeness of words and by people's tags (a word or two for what a principle is about, by which Huang et al.
2024, section 4.2, counted the overlap of two constitutions). Tags are the better measure. On the 52 tagged principles
of the embedded consultation likeness agrees with them hardly more than by chance (Cohen's kappa 0.14 and 0.13,
intervals from -0.1 to 0.4): different words often say the same. Tried as well, by the area under the curve of telling
pairs with a common tag from others, and principles with a counterpart from those without (either way round): words
and pairs of words, as used here, 0.69, 0.42 and 0.53; pieces of words 0.73, 0.47 and 0.52; mean last states of the
embedded model 0.88, 0.58 and 0.78. The last is better, but would tie what people decided to a language model, and
where there are tags it is not needed.

Framing: the same section notes that over half of the public's principles encourage something, while the standard ones
rather discourage. A rule makes the count repeatable. It looks at words that compare or forbid:

- `avoid`: least, less, fewest, fewer, never, nobody, without, at most, no more than, a form of avoid, discourage
  or oppose, or "does not" as the predicate of the response (not "what it does not know");
- `do`: most, more, best, better, "as ... as possible", or a superlative in -est; but not "most discourages";
- `both` where it finds both, and `do` where it finds neither.

Measured on the 52 principles of the embedded consultation, sorted by a person: 51 alike, after one correction of
the rule on the same principles, so rather more than on new ones. Of the 75 published public principles it finds
43 to do, 30 to avoid and 2 both; a reader found 45, 29 and 1. It sees words, not meaning: "harmless" forbids
nothing here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from ccai_dagster.contracts import CONSTITUTION_COMPARISON, CONSTITUTION_OVERLAP
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.stop_words import ENGLISH_STOP_WORDS
from ccai_dagster.statistics.agreement import cohens_kappa
from ccai_dagster.statistics.intervals import difference_interval, wilson_interval

Framing = Literal["do", "avoid", "both"]
FRAMINGS: tuple[Framing, ...] = ("do", "avoid", "both")
BY_LIKENESS = "shared by likeness"
BY_TAGS = "shared by tags"
AGREEMENT = "agreement of likeness and tags"
SAYS = {"do": "says what to do", "avoid": "says what to avoid", "both": "says both"}
MEASURES = (BY_LIKENESS, BY_TAGS, AGREEMENT, *SAYS.values())
PRINTED = {"concept_overlap": BY_TAGS, "positive_valence": SAYS["do"]}
"""Figures of Huang et al. (2024, section 4.2) and what they count; the authors counted by hand."""
RESAMPLES = 10_000
Published = Mapping[tuple[str, str, str], str]
"""What was printed, by arm, other arm and measure."""

TAG_COLUMNS = ("arm", "principle_id", "tags")
Tags = Mapping[str, Mapping[str, tuple[str, ...]]]
"""By arm and principle."""

_AVOID = re.compile(
    r"\b(?:least|less|fewest|fewer|never|nobody|without|at most|no more than|avoid\w*|discourag\w*|oppos\w*)\b"
    r"|(?:^|[.,;]|\b(?:that|and|but))\s*(?:does|do)(?: not|n['\u2019]t)\b",
    re.IGNORECASE,
)
_DO = re.compile(
    r"(?<!\bat )\bmost\b(?!(?:\s+\w+ly)?\s+(?:discourag|oppos|avoid))|(?<!\bno )\bmore\b|\b(?:best|better)\b"
    r"|\bas\b[^.]*?\bas possible\b",
    re.IGNORECASE,
)
_ENDS_AS_SUPERLATIVE = re.compile(r"\b\w{3,}est\b", re.IGNORECASE)
_NO_SUPERLATIVES = re.compile(
    r"(?:arr|ch|cont|dig|(?:dis)?hon|earn|few|for|gu|harv|inter|inv|le|manif|mod|prot|qu|requ|sugg|t|w)est",
    re.IGNORECASE,
)


def constitution_overlap(
    constitutions: Mapping[str, pl.DataFrame], shared_from: float, tags: Tags | None = None
) -> pl.DataFrame:
    """Return the table `constitution_overlap`: for each principle its counterparts in each other constitution.

    Likeness is the cosine between weighted counts of words (term frequency times inverse document frequency over
    words and pairs of words, English stop words and the template's own words left out). It sees shared words, not
    shared meaning; `constitution_comparison` tells how far it agrees with people's tags. Where both constitutions are
    tagged, a principle is shared by tags if one of the other carries one of its tags. A constitution without
    principles is compared with none.

    Args:
        shared_from: Likeness in [0, 1] from which two principles count as shared (a recorded decision).
        tags: A principle that nobody tagged is not counted by tags.
    """
    constitutions = {arm: table for arm, table in constitutions.items() if table.height}
    if len(constitutions) < 2:
        return CONSTITUTION_OVERLAP.empty()

    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.metrics.pairwise import linear_kernel

    texts = [text for table in constitutions.values() for text in table["text"]]
    stop = sorted(ENGLISH_STOP_WORDS | {"choose", "response", "please"})
    weights = TfidfVectorizer(stop_words=stop, ngram_range=(1, 2), sublinear_tf=True)
    fitted = weights.fit(texts)
    vectors = {arm: fitted.transform(table["text"].to_list()) for arm, table in constitutions.items()}
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
    return {"tags": list(own), "same_tag_principle_ids": found, "shared_by_tags": bool(found) if known else None}


def constitution_comparison(overlap: pl.DataFrame, published: Published, seed: int) -> pl.DataFrame:
    """Return the table `constitution_comparison`.

    Args:
        published: Figures of a published comparison, to stand beside the computed ones.
        seed: Of the resampling of principles for the agreement.

    Returns:
        CONSTITUTION_COMPARISON: for every ordered pair of constitutions each of `MEASURES`, in that order.
    """
    rows = []
    for (arm, other), own in sorted(overlap.group_by(["arm", "other_arm"])):
        back = overlap.filter((pl.col("arm") == other) & (pl.col("other_arm") == arm))
        for measure, figures in _figures(own.sort("principle_id"), back, seed):
            rows.append(
                {
                    "arm": arm,
                    "other_arm": other,
                    "measure": measure,
                    **figures,
                    "published": published.get((str(arm), str(other), measure)),
                }
            )
    return CONSTITUTION_COMPARISON.build(rows)


def _figures(own: pl.DataFrame, back: pl.DataFrame, seed: int) -> Iterator[tuple[str, dict[str, Any]]]:
    alone = dict.fromkeys(("difference", "difference_low", "difference_high"))
    tagged = own.drop_nulls("shared_by_tags")
    yield BY_LIKENESS, _share(own["shared"]) | alone
    yield BY_TAGS, _share(tagged["shared_by_tags"]) | alone
    yield AGREEMENT, _agreement(tagged, seed) | alone
    for name in FRAMINGS:
        first, second = _share(own["framing"] == name), _share(back["framing"] == name)
        yield SAYS[name], first | _difference(first, second)


def _share(chosen: pl.Series) -> dict[str, Any]:
    """Share of principles with Wilson's interval; no principles leave everything open."""
    n, found = len(chosen), int(chosen.sum() or 0)
    low, high = wilson_interval(found, n)
    return {"n": n, "value": found / n if n else None, "low": low, "high": high}


def _difference(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    gap, low, high = difference_interval(*((each["value"], each["low"], each["high"]) for each in (first, second)))
    return {"difference": gap, "difference_low": low, "difference_high": high}


def _agreement(tagged: pl.DataFrame, seed: int) -> dict[str, Any]:
    """Cohen's kappa of the two ways to find counterparts; its interval resamples principles."""
    pairs = [(bool(one), bool(other)) for one, other in tagged.select("shared", "shared_by_tags").iter_rows()]
    cells = np.array([[pairs.count((one, other)) for other in (True, False)] for one in (True, False)])
    kappa = float(cohens_kappa(cells))
    if np.isnan(kappa):
        return {"n": len(pairs), "value": None, "low": -1.0, "high": 1.0}
    drawn = np.random.default_rng(seed).multinomial(len(pairs), cells.ravel() / len(pairs), size=RESAMPLES)
    # A draw in which both ways always say the same one thing tells nothing about agreement.
    low, high = np.nanquantile(cohens_kappa(drawn.reshape(-1, 2, 2)), (0.025, 0.975))
    return {"n": len(pairs), "value": kappa, "low": min(float(low), kappa), "high": max(float(high), kappa)}


def framing(text: str) -> Framing:
    """Sort a principle by its words."""
    avoids = _AVOID.search(text) is not None
    superlative = any(not _NO_SUPERLATIVES.fullmatch(word) for word in _ENDS_AS_SUPERLATIVE.findall(text))
    does = superlative or _DO.search(text) is not None
    if avoids and does:
        return "both"
    return "avoid" if avoids else "do"


def read_principle_tags(path: Path, arms: Collection[str]) -> dict[str, dict[str, tuple[str, ...]]]:
    """Read people's tags of principles, by arm and principle.

    Args:
        path: CSV with the columns `arm,principle_id,tags`; tags separated by spaces, one word each. Principles that
            are not in a constitution at the moment may have tags, and not every principle needs them.

    Returns:
        Each tag once, sorted.

    Raises:
        ConsultationError: Unreadable, other columns, an unknown arm, a principle twice or without tags; names the row.
    """
    try:
        table = pl.read_csv(path, infer_schema=False)
    except (OSError, UnicodeDecodeError, pl.exceptions.PolarsError) as error:
        raise ConsultationError(f"{path}: not readable as CSV in UTF-8 ({error}).") from error
    if tuple(table.columns) != TAG_COLUMNS:
        raise ConsultationError(
            f"{path}: columns are {', '.join(table.columns)}; they must be {', '.join(TAG_COLUMNS)}."
        )
    tags: dict[str, dict[str, tuple[str, ...]]] = {}
    for number, row in enumerate(table.iter_rows(named=True), start=1):
        arm, key, own = ((row[name] or "").strip() for name in TAG_COLUMNS)
        if arm not in arms:
            raise ConsultationError(f"{path}, data row {number}: there is no arm {arm!r}; there are {', '.join(arms)}.")
        if not key or not own:
            raise ConsultationError(f"{path}, data row {number}: principle_id or tags is empty. Fill it in.")
        if key in tags.setdefault(arm, {}):
            raise ConsultationError(f"{path}, data row {number}: {arm}/{key} stands twice. Put its tags in one row.")
        tags[arm][key] = tuple(sorted(set(own.split())))
    return tags
