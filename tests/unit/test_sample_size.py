from __future__ import annotations

import pytest

from ccai_dagster.statistics.intervals import wilson_interval
from ccai_dagster.statistics.sample_size import comparisons_to_tell, comparisons_within


@pytest.mark.parametrize(("half_width", "expected"), [(0.05, 381), (0.1, 93), (0.03, 1064), (0.49, 1)])
def test_so_many_comparisons_make_the_widest_interval_narrow_enough_and_one_less_does_not(
    half_width: float, expected: int
) -> None:
    assert comparisons_within(half_width) == expected
    low, high = wilson_interval(expected / 2, expected)
    assert high - low <= 2 * half_width
    if expected > 1:
        low, high = wilson_interval((expected - 1) / 2, expected - 1)
        assert high - low > 2 * half_width


# (1.95996 / 2 + 0.84162 sqrt(0.6 * 0.4))**2 / 0.1**2 = 193.8
@pytest.mark.parametrize(
    ("accuracy", "expected"), [(0.6, 194), (0.4, 194), (0.55, 783), (0.65, 85), (0.7, 47), (1.0, 4), (0.0, 4)]
)
def test_so_many_comparisons_tell_an_accuracy_from_one_half(accuracy: float, expected: int) -> None:
    assert comparisons_to_tell(accuracy) == expected


@pytest.mark.parametrize("value", [0.5, -0.1, 1.1, float("nan")])
def test_what_no_number_of_comparisons_does_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="an accuracy of"):
        comparisons_to_tell(value)
    with pytest.raises(ValueError, match="a half-width of"):
        comparisons_within(value)
