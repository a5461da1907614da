"""Noise: against numpy, against the plain front, and by what letters are to mean."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nxt.pareto import front
from nxt.search.noise import CLEAR, Noise, clear, deviation, front_probability, pooled_deviation, ties

QUICK = settings(max_examples=40)
SHARES = st.floats(0, 1, allow_nan=False)
FEW = st.integers(1, 4).map(float)  # so that equal costs and equal accuracies are frequent


@pytest.mark.parametrize("seed", range(10))
def test_the_pooled_deviation_is_the_root_of_the_mean_variance_weighted_by_degrees_of_freedom(seed):
    rng = np.random.default_rng(seed)
    groups = [rng.random(size) for size in rng.integers(1, 7, size=8)]
    freedom = [len(group) - 1 for group in groups]
    variances = [np.var(group, ddof=1) if len(group) > 1 else 0.0 for group in groups]
    expected = np.sqrt(np.average(variances, weights=freedom))
    assert pooled_deviation([list(group) for group in groups]) == pytest.approx(expected, rel=1e-12)


def test_the_deviation_of_one_group_is_the_sample_standard_deviation():
    values = [0.5, 0.75, 0.625, 0.5]
    assert deviation(values) == pytest.approx(np.std(values, ddof=1), rel=1e-12)


@pytest.mark.parametrize("groups", [[], [[]], [[0.5]], [[0.5], [], [0.75]]])
def test_without_a_second_value_there_is_no_deviation(groups):
    assert pooled_deviation(groups) is None


def test_groups_of_one_change_nothing():
    assert pooled_deviation([[0.25, 0.5], [0.9], []]) == pooled_deviation([[0.25, 0.5]])


@pytest.mark.parametrize(("seeds", "known"), [(0.02, 0.02), (None, 0.0)])
@pytest.mark.parametrize("accuracy", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("trainings", [1, 4])
def test_the_error_is_made_of_seeds_and_of_images(seeds, known, accuracy, trainings):
    expected = math.sqrt(known**2 / trainings + accuracy * (1 - accuracy) / 360)
    assert Noise(seeds, 360).error(accuracy, trainings) == pytest.approx(expected, rel=1e-12)


def test_more_trainings_lessen_the_noise_of_seeds_only():
    noise = Noise(0.05, 1000)
    errors = [noise.error(0.5, n) for n in (1, 2, 10, 10**9)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] == pytest.approx(math.sqrt(0.25 / 1000), rel=1e-6)


def certain(points):
    """Return the indices that are on the front for sure, where no accuracy is blurred."""
    probabilities = front_probability(*zip(*points, strict=True), [0.0] * len(points))
    assert set(probabilities) <= {0.0, 1.0}
    return {i for i, p in enumerate(probabilities) if p == 1}


@QUICK
@given(st.lists(st.tuples(FEW, SHARES), min_size=1, max_size=8, unique_by=lambda point: point[1]))
def test_without_errors_the_probability_is_one_on_the_plain_front_and_zero_elsewhere(points):
    assert certain(points) == set(front(points))


@QUICK
@given(st.lists(st.tuples(FEW, FEW.map(lambda n: n / 4)), min_size=1, max_size=8))
def test_without_errors_that_holds_also_where_costs_and_accuracies_are_equal(points):
    assert certain(points) == set(front(points))


def test_without_errors_equal_points_are_both_on_the_front_and_of_equal_accuracies_the_cheaper():
    assert certain([(2.0, 0.5), (1.0, 0.25), (2.0, 0.5), (2.0, 0.375)]) == {0, 1, 2}
    assert certain([(1.0, 1.0), (2.0, 1.0), (3.0, 1.0)]) == {0}


def test_no_points_have_no_probabilities():
    assert front_probability([], [], []).shape == (0,)


def test_the_costlier_of_two_equal_accuracies_is_on_the_front_half_the_time():
    cheap, dear = front_probability([1.0, 2.0], [0.5, 0.5], [0.02, 0.02])
    assert cheap == 1.0 and dear == pytest.approx(0.5, abs=0.05)
    assert front_probability([2.0, 2.0], [0.5, 0.5], [0.02, 0.02]) == pytest.approx([0.5, 0.5], abs=0.05)


@pytest.mark.parametrize(("accuracies", "expected"), [([0.9, 0.1], [1, 0]), ([0.1, 0.9], [1, 1])])
def test_points_far_apart_are_as_sure_as_without_noise(accuracies, expected):
    assert list(front_probability([1.0, 2.0], accuracies, [0.02, 0.02])) == expected


def test_the_probability_is_that_of_the_normal_distribution():
    _, dear = front_probability([1.0, 2.0], [0.50, 0.53], [0.03, 0.04])
    expected = 0.5 * (1 + math.erf(0.03 / math.hypot(0.03, 0.04) / math.sqrt(2)))
    assert dear == pytest.approx(expected, abs=4 * math.sqrt(0.25 / 2000))


def test_the_probability_does_not_depend_on_the_run_but_on_the_seed():
    points = ([1.0, 2.0, 3.0], [0.5, 0.52, 0.5], [0.02, 0.02, 0.03])
    assert np.array_equal(front_probability(*points), front_probability(*points))
    assert not np.array_equal(front_probability(*points), front_probability(*points, seed=1))


@QUICK
@given(
    st.lists(st.tuples(FEW, st.floats(0.3, 0.7), st.floats(0.005, 0.1)), min_size=2, max_size=6),
    st.floats(0.0, 0.2),
    st.data(),
)
def test_a_point_that_gets_more_accurate_gains_and_no_other_does(points, gain, data):
    costs, accuracies, errors = (list(column) for column in zip(*points, strict=True))
    better = data.draw(st.integers(0, len(points) - 1))
    before = front_probability(costs, accuracies, errors)
    accuracies[better] += gain
    after = front_probability(costs, accuracies, errors)
    assert ((before >= 0) & (before <= 1)).all()
    for i, (was, now) in enumerate(zip(before, after, strict=True)):
        assert now >= was if i == better else now <= was


@QUICK
@given(st.lists(st.tuples(FEW, st.floats(0.3, 0.7), st.floats(0.01, 0.1)), min_size=1, max_size=6))
def test_each_draw_has_a_front_so_the_probabilities_add_up_to_one_at_least(points):
    assert front_probability(*zip(*points, strict=True)).sum() >= 1 - 1e-9


@pytest.mark.parametrize("accuracies", [[], [0.5]])
def test_letters_need_two_values(accuracies):
    assert ties(accuracies, [0.1] * len(accuracies)) == [""] * len(accuracies)


@pytest.mark.parametrize(
    ("accuracies", "letters"),
    [
        ([0.50, 0.51], ["a", "a"]),
        ([0.50, 0.90], ["", ""]),
        ([0.50, 0.52, 0.54], ["b", "ab", "a"]),
        ([0.90, 0.50, 0.91, 0.51], ["a", "b", "a", "b"]),
        ([0.50, 0.51, 0.52], ["a", "a", "a"]),
        ([0.90, 0.50, 0.51, 0.10], ["", "a", "a", ""]),
        ([0.5, 0.5], ["a", "a"]),
    ],
)
def test_values_share_a_letter_where_the_noise_does_not_tell_them_apart(accuracies, letters):
    assert ties(accuracies, [0.01] * len(accuracies)) == letters


def test_equal_values_without_noise_share_a_letter_and_others_do_not():
    assert ties([0.5, 0.5, 0.6], [0.0, 0.0, 0.0]) == ["a", "a", ""]


@pytest.mark.parametrize(("gap", "expected"), [(CLEAR * 0.99, False), (CLEAR * 1.01, True)])
def test_clear_is_a_difference_of_two_standard_errors_of_the_difference(gap, expected):
    assert clear(0, 1, [0.5, 0.5 + gap * 0.05], [0.03, 0.04]) is expected
    assert clear(1, 0, [0.5, 0.5 + gap * 0.05], [0.03, 0.04]) is expected


@QUICK
@given(st.lists(SHARES, max_size=25), st.floats(0.001, 0.2))
def test_with_equal_errors_two_values_share_a_letter_exactly_where_they_are_not_clearly_apart(accuracies, error):
    errors = [error] * len(accuracies)
    letters = ties(accuracies, errors)
    for i, j in itertools.combinations(range(len(accuracies)), 2):
        assert bool(set(letters[i]) & set(letters[j])) is not clear(i, j, accuracies, errors)


@QUICK
@given(st.lists(st.tuples(SHARES, st.floats(0.001, 0.2)), max_size=25))
def test_whatever_the_errors_neighbours_within_the_noise_share_a_letter(points):
    accuracies, errors = [a for a, _ in points], [e for _, e in points]
    letters = ties(accuracies, errors)
    order = sorted(range(len(points)), key=lambda i: -accuracies[i])
    for i, j in itertools.pairwise(order):
        if not clear(i, j, accuracies, errors):
            assert set(letters[i]) & set(letters[j])


def test_also_of_a_long_front_only_neighbours_within_the_noise_share_a_letter():
    accuracies = [0.1 + 0.01 * n for n in range(60)]
    letters = ties(accuracies, [0.005] * 60)  # each is tied with the next one, and with no other
    for i, j in itertools.combinations(range(60), 2):
        assert bool(set(letters[i]) & set(letters[j])) == (j == i + 1)
