"""Agreement of two raters beyond chance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccai_dagster.statistics.agreement import cohens_kappa, confusion_table, expected_agreement


def test_kappa_of_a_published_example() -> None:
    # Fleiss, Cohen and Everitt (Psychological Bulletin 72, 1969), table 1: 100 subjects, kappa .429.
    table = np.array([[53, 5, 2], [11, 14, 5], [1, 6, 3]])

    assert expected_agreement(table) == pytest.approx(0.475)
    assert cohens_kappa(table) == pytest.approx(0.429, abs=5e-4)


def test_kappa_where_chance_explains_everything_is_not_defined() -> None:
    tables = np.array([[[20, 5], [10, 15]], [[0, 1], [1, 0]], [[7, 0], [0, 0]], [[0, 0], [0, 0]]])

    assert cohens_kappa(tables) == pytest.approx([0.4, -1.0, np.nan, np.nan], nan_ok=True)


def test_pairs_are_counted_with_the_first_rater_by_row() -> None:
    assert confusion_table([("in", "out"), ("in", "in"), ("in", "out")]).tolist() == [[1, 2], [0, 0]]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1))
def test_kappa_is_the_libraries_and_blind_to_order(pairs: list[tuple[str, str]]) -> None:
    from sklearn.metrics import cohen_kappa_score

    ours = float(cohens_kappa(confusion_table(pairs)))
    if np.isnan(ours):
        assert len({each for pair in pairs for each in pair}) == 1
    else:
        one, other = zip(*pairs, strict=True)
        assert ours == pytest.approx(cohen_kappa_score(one, other))
        back = confusion_table([(b, a) for a, b in reversed(pairs)])
        assert float(cohens_kappa(back)) == pytest.approx(ours)
