"""The method `words`: a score of a response that is the mean taste of its words, learnt from labelled comparisons.

It needs no language model and reads neither prompt nor principle. It is what a judge that learnt from the same labels
has to beat: on human comparisons of harmlessness that is hard (`docs/evaluation.md`); on crossed comparisons it is
right in one half.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ccai_dagster.core.digest import file_digest
from ccai_dagster.feedback.fitted_scores import FittedScore, fitted_score

FILE = "words.safetensors"
STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0)
"""Inverse strengths of regularisation tried; cross-validation over prompts chooses."""
FEWEST_RESPONSES = 2
"""A word or pair of words that occurs in fewer responses says nothing about others."""


@dataclass(frozen=True)
class WordJudge:
    """Scores a response by its words and pairs of neighbouring words: a `ScoringModel` for the method `words`.

    Attributes:
        name: Digest of its file.
        words: In order; a pair has a space between.
        weights: Of each, shape (words,).
    """

    name: str
    words: tuple[str, ...]
    weights: np.ndarray

    def scores(self, exchanges: Sequence[tuple[str, str]]) -> np.ndarray:
        """Return the sum of the weights of a response's words over the root of their number, each counted once.

        Args:
            exchanges: What comes before a response is not read.

        Returns:
            Shape (exchanges,); 0 where no word is known.
        """
        if not self.words or not exchanges:
            return np.zeros(len(exchanges))
        scored: np.ndarray = (
            _features(word_counter(vocabulary=self.words), [each for _, each in exchanges]) @ self.weights
        )
        return scored


def fit_words(table: pl.DataFrame) -> tuple[tuple[str, ...], FittedScore]:
    """Learn which words people prefer.

    Args:
        table: As `training.tuned_judge.tuning_table` returns it.

    Returns:
        The words in order, and the score of them; no words where none occurs in two responses.
    """
    sides = [table[name].to_list() for name in ("preferred", "other")]
    counter = word_counter(min_df=FEWEST_RESPONSES)
    try:
        counter.fit([*sides[0], *sides[1]])
    except ValueError:  # no word is left
        return (), FittedScore(np.zeros(0), 0.5, STRENGTHS[0])
    differences = _features(counter, sides[0]) - _features(counter, sides[1])
    score = fitted_score(differences.tocsr(), table["target"].to_numpy(), table["prompt"].to_numpy(), STRENGTHS)
    return tuple(counter.get_feature_names_out()), score


def save_words(words: Sequence[str], weights: np.ndarray, folder: Path) -> None:
    """Write weights and words as numbers and text (`FILE`)."""
    from safetensors.numpy import save_file

    save_file({"weights": weights.astype(np.float32)}, folder / FILE, metadata={"words": json.dumps(list(words))})


def load_words(folder: Path) -> WordJudge:
    """Load what `save_words` wrote."""
    from safetensors import safe_open

    with safe_open(folder / FILE, framework="numpy") as file:
        words, weights = tuple(json.loads(file.metadata()["words"])), file.get_tensor("weights")
    return WordJudge(file_digest(folder / FILE), words, weights.astype(float))


def word_counter(**options: Any) -> Any:
    """Words, single signs and pairs of neighbours, in lower case, each once."""
    from sklearn.feature_extraction.text import CountVectorizer

    return CountVectorizer(ngram_range=(1, 2), token_pattern=r"\w+|[^\w\s]", binary=True, **options)  # noqa: S106


def _features(counter: Any, texts: Sequence[str]) -> Any:
    """Sparse matrix of the words of each text, of length 1 so that long responses weigh no more than short ones."""
    from sklearn.preprocessing import normalize

    return normalize(counter.transform(texts).astype(float))
