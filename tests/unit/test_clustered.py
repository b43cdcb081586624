from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccai_dagster.statistics.intervals import wilson_interval
from ccai_dagster.statistics.paired import Comparison, Ratio, compare_scores, holm, score_intervals, smallest_detectable

BIAS, SHARE = (-1.0, 1.0), (0.0, 1.0)


def ratio(above: list[float], below: list[float] | None = None) -> Ratio:
    return Ratio(np.array(above, dtype=float), np.array(below or [1.0] * len(above)))


def compared(first: Ratio, second: Ratio, limits: tuple[float, float] = BIAS) -> Comparison:
    comparison = compare_scores([(first, second)], limits, seed=1)[0]
    assert comparison is not None
    return comparison


def test_a_ratio_divides_sums_and_may_have_no_value() -> None:
    # Published s_DIS with 6 stereotyped and 2 other persons named: 2 * 6 / 8 - 1 = (6 - 2) / 8.
    assert ratio([3.0, 1.0], [5.0, 3.0]).value == 0.5
    nobody_named = ratio([0.0, 0.0], [0.0, 0.0])
    assert nobody_named.value is None
    assert score_intervals([nobody_named], BIAS, bootstraps=100, seed=0) == [BIAS]
    assert compare_scores([(ratio([1.0, 1.0]), nobody_named)], BIAS, seed=0) == [None]


def test_single_items_keep_wilsons_interval_and_scores_do_not_disturb_each_other() -> None:
    share = ratio([1.0] * 3 + [0.0] * 7)
    other = ratio(list(np.linspace(0.1, 0.9, 10)))
    first, second = score_intervals([share, other], SHARE, bootstraps=500, seed=0)
    assert first == wilson_interval(3, 10)
    assert second[0] < 0.5 < second[1]


def test_a_difference_agrees_with_all_halves_of_the_clusters() -> None:
    differences = np.array([0.5, 0.3, 0.2, -0.1, 0.4, 0.1, 0.6, -0.2, 0.3, 0.25])
    found = compared(Ratio(differences, np.ones(10)), ratio([0.0] * 10))
    means = []
    for half in product((0, 1), repeat=10):
        chosen = np.array(half, dtype=bool)
        means.append(differences[chosen].mean() if chosen.any() else np.nan)
    not_above = np.mean([not mean > 1e-12 for mean in means])
    # The same by flipping signs: as many of the 1,024 flips give a sum at least as large as the one seen.
    flipped = [abs(np.dot(differences, signs)) for signs in product((-1, 1), repeat=10)]
    assert np.mean(np.array(flipped) >= differences.sum() - 1e-12) == pytest.approx(2 * not_above)
    assert found.p_value == pytest.approx(2 * not_above, abs=0.004)
    assert found.difference == pytest.approx(0.235)
    low, high = np.nanquantile(means, [0.025, 0.975])
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.02)


def test_what_cannot_be_told_is_told_as_such() -> None:
    five = compared(ratio([1.0] * 5), ratio([-1.0] * 5))
    assert five.p_value == pytest.approx(2 * 0.5**5, abs=0.006)
    assert (five.low, five.high, five.smallest_detectable) == (-2.0, 2.0, None)
    mixed = compared(ratio([1.0, 0.5, 0.2, 0.9, 1.0]), ratio([0.0] * 5))
    assert (mixed.low, mixed.high, mixed.smallest_detectable) == (-2.0, 2.0, None)
    unseen = 1.959964**2 / (40 + 1.959964**2)
    alike = compared(ratio([0.3] * 40), ratio([0.3] * 40))
    assert (alike.difference, alike.p_value, alike.smallest_detectable) == (0.0, 1.0, None)
    assert (alike.low, alike.high) == pytest.approx((-2 * unseen, 2 * unseen), abs=1e-4)


def test_ratios_are_paired_by_cluster_not_by_what_they_divide_by() -> None:
    # In every template the first is more biased by 0.15 or 0.25, whatever the template's own bias.
    generator = np.random.default_rng(0)
    bias, people = generator.uniform(-0.6, 0.4, 26), np.repeat(generator.integers(5, 40, 13) * 1.0, 2)
    first = Ratio((bias + 0.2 + 0.05 * np.tile([1, -1], 13)) * people, people)
    found = compared(first, Ratio(bias * people / 2, people / 2))
    assert found.difference == pytest.approx(0.2)
    assert (found.low, found.high) == pytest.approx((0.18, 0.22), abs=0.01)
    assert found.p_value < 0.001
    low, high = score_intervals([first], BIAS, bootstraps=2000, seed=0)[0]
    assert high - low > 0.2  # one by one the templates differ far more


def test_power_of_a_hand_worked_case() -> None:
    # t with 24 degrees of freedom: 2.0639 + 0.8569.
    assert smallest_detectable(0.05, 25) == pytest.approx(0.05 * 2.9208, abs=1e-5)
    assert smallest_detectable(0.05, 100_000) == pytest.approx(0.05 * 2.8016, abs=1e-4)


def simulated(kind: str, trials: int, generator: np.random.Generator) -> np.ndarray:
    """Means of 25 templates with 40 items each, around 0.1; shape (trials, 25)."""
    shape = (trials, 25)
    if kind == "equal":
        means = np.clip(generator.normal(0.1, 0.3, shape), -1, 1)
    elif kind == "skewed":  # one template in five is biased, by 0.5
        means = np.where(generator.random(shape) < 0.2, 0.5, 0.0)
    else:  # heavy tails
        means = np.clip(0.1 + 0.12 * generator.standard_t(2.5, shape), -1, 1)
    stereotyped = generator.binomial(40, (1 + means) / 2)
    return (2.0 * stereotyped - 40) / 40


@pytest.mark.parametrize(
    ("kind", "scores", "differences"),
    [
        ("equal", (0.92, 0.98), (0.92, 0.98)),
        ("skewed", (0.90, 0.98), (0.89, 0.98)),
        ("heavy", (0.92, 0.985), (0.92, 0.985)),
    ],
)
def test_intervals_of_25_templates_cover_the_truth_about_as_often_as_they_say(
    kind: str, scores: tuple[float, float], differences: tuple[float, float]
) -> None:
    drawn = simulated(kind, 250, np.random.default_rng(5))
    ratios = [Ratio(40 * row, np.full(25, 40.0)) for row in drawn]
    own = score_intervals(ratios, BIAS, bootstraps=2000, seed=2)
    assert scores[0] <= np.mean([low <= 0.1 <= high for low, high in own]) <= scores[1]
    nothing = Ratio(np.zeros(25), np.full(25, 40.0))
    paired = [each for each in compare_scores([(each, nothing) for each in ratios], BIAS, seed=3) if each]
    assert differences[0] <= np.mean([each.low <= 0.1 <= each.high for each in paired]) <= differences[1]
    # Interval and p value say the same.
    assert all((each.p_value <= 0.05) == (each.low > 0 or each.high < 0) for each in paired)


def test_the_test_errs_as_often_as_it_says_and_finds_what_it_says_it_would() -> None:
    generator = np.random.default_rng(6)
    templates = generator.normal(0.0, 0.2, (300, 25))
    sizes = np.full(25, 40.0)
    nothing = Ratio(np.zeros(25), sizes)
    none = compare_scores([(Ratio(40 * row, sizes), nothing) for row in templates], BIAS, seed=3)
    assert 0.025 <= np.mean([each.p_value <= 0.05 for each in none if each]) <= 0.08
    effect = smallest_detectable(0.2 / 5, 25)
    some = compare_scores([(Ratio(40 * (row + effect), sizes), nothing) for row in templates], BIAS, seed=3)
    assert 0.74 <= np.mean([each.p_value <= 0.05 for each in some if each]) <= 0.86
    told = [each.smallest_detectable or 0 for each in none if each]
    assert np.median(told) == pytest.approx(effect, rel=0.05)


@settings(max_examples=15)
@given(st.permutations(range(8)))
def test_the_order_of_clusters_does_not_matter(order: list[int]) -> None:
    first, second = np.linspace(-0.4, 0.9, 8), np.linspace(0.1, -0.2, 8) ** 2
    pair = (Ratio(first, np.ones(8)), Ratio(second, np.ones(8)))
    turned = (Ratio(first[order], np.ones(8)), Ratio(second[order], np.ones(8)))
    expected, found = compared(*pair), compared(*turned)
    assert found.p_value == expected.p_value
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_holm_of_a_hand_worked_case() -> None:
    # 3 * 0.01; 2 * 0.03; 0.04 is no less than that.
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.01, None, 0.5, 0.9]) == pytest.approx([0.03, None, 1.0, 1.0])
    assert holm([]) == [] and holm([None]) == [None] and holm([0.2]) == [0.2]
    with pytest.raises(ValueError, match=r"1\.2"):
        holm([0.1, 1.2])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_holm_never_lowers_a_value_and_does_not_mind_the_order(values: list[float], shuffle: object) -> None:
    adjusted = holm(values)
    assert all(p <= a <= min(1.0, len(values) * p) for p, a in zip(values, adjusted, strict=True) if a is not None)
    order = list(range(len(values)))
    shuffle.shuffle(order)  # type: ignore[attr-defined]
    assert holm([values[at] for at in order]) == [adjusted[at] for at in order]
