"""Expected hypervolume improvement with known costs: equal to what sampling gives, and to the volume itself."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nxt.pareto import front, hypervolume
from nxt.search.strategy.improvement import cells, hypervolume_improvement, improvement, non_dominated

WORST = 1.25


def volume(costs, scores, worst, floor):
    """Measure the volume that points dominate, by adding up the cells of the grid through all of their costs."""
    edges = [np.unique(np.append(np.minimum(column, top), top)) for column, top in zip(costs.T, worst, strict=True)]
    total = 0.0
    for corner in np.ndindex(*[len(axis) - 1 for axis in edges]):
        low = np.array([axis[i] for axis, i in zip(edges, corner, strict=True)])
        high = np.array([axis[i + 1] for axis, i in zip(edges, corner, strict=True)])
        reach = scores[(costs <= low).all(axis=1)]
        total += np.prod(high - low) * max(0.0, max(reach, default=floor) - floor)
    return total


@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_the_closed_form_equals_the_mean_over_many_draws(objectives):
    rng = np.random.default_rng(objectives)
    known, scores = rng.random((4, objectives)), rng.random(4)
    costs, mean, deviation = rng.random((3, objectives)), rng.random(3), rng.uniform(0.1, 0.5, 3)
    worst = np.full(objectives, WORST)
    expected = hypervolume_improvement(costs, mean, deviation, known, scores, worst, 0.1)
    before = volume(known, scores, worst, 0.1)
    draws = 1000
    for i in range(3):
        gains = [
            volume(np.vstack([known, costs[i]]), np.append(scores, value), worst, 0.1) - before
            for value in rng.normal(mean[i], deviation[i], draws)
        ]
        assert abs(np.mean(gains) - expected[i]) < 5 * np.std(gains) / np.sqrt(draws) + 1e-4


@given(arrays(float, (8, 2), elements=st.floats(0, 1, width=16)), arrays(float, 2, elements=st.floats(0, 1, width=16)))
def test_without_doubt_it_is_the_gain_in_hypervolume(known, new):
    certain = hypervolume_improvement(
        new[:1, None], new[1:], np.array([1e-12]), known[:, :1], known[:, 1], np.array([WORST]), 0.0
    )
    points = [tuple(row) for row in known]
    gain = hypervolume([*points, tuple(new)], (WORST, 0.0)) - hypervolume(points, (WORST, 0.0))
    assert certain[0] == pytest.approx(gain, abs=1e-9)


@given(arrays(float, (8, 2), elements=st.floats(0, 1, width=16)))
def test_dominance_is_that_of_fronts(points):
    assert set(np.flatnonzero(non_dominated(points[:, :1], points[:, 1]))) == set(front([tuple(p) for p in points]))


def test_the_improvement_of_one_variable():
    values = improvement(np.array([1.0, 0.0, -9.0]), np.array([1e-9, 1.0, 1.0]), np.array([0.25, 0.0, 0.0]))
    assert (
        values[0] == pytest.approx(0.75)
        and values[1] == pytest.approx(1 / np.sqrt(2 * np.pi))
        and 0 <= values[2] < 1e-15
    )


def test_nothing_counts_beyond_the_worst_cost_or_below_the_floor():
    costs, doubt = np.array([[0.2], [1.3]]), np.array([1e-9, 1e-9])
    known, worst = np.empty((0, 1)), np.array([WORST])
    gains = hypervolume_improvement(costs, np.array([0.9, 0.9]), doubt, known, np.empty(0), worst, 0.5)
    assert gains[0] == pytest.approx(0.4 * (WORST - 0.2)) and gains[1] == 0
    assert hypervolume_improvement(costs, np.array([0.4, 0.4]), doubt, known, np.empty(0), worst, 0.5).max() < 1e-9


def test_the_cells_of_two_costs_hold_the_best_score_at_no_higher_cost():
    known, scores = np.array([[0.2, 0.8], [0.6, 0.4], [0.7, 0.9]]), np.array([0.5, 0.7, 0.6])
    edges, heights = cells(known, scores, np.array([1.0, 1.0]), 0.0)
    assert [edge.tolist() for edge in edges] == [[-np.inf, 0.2, 0.6, 1.0], [-np.inf, 0.4, 0.8, 1.0]]
    assert heights.tolist() == [[0, 0, 0], [0, 0, 0.5], [0, 0.7, 0.7]]  # the third is dominated


def test_chunks_do_not_change_the_result(monkeypatch):
    rng = np.random.default_rng(0)
    given_ = rng.random((50, 1)), rng.random(50), rng.random(50) + 0.1, rng.random((7, 1)), rng.random(7)
    whole = hypervolume_improvement(*given_, np.array([WORST]), 0.0)
    monkeypatch.setattr("nxt.search.strategy.improvement._CHUNK", 16)
    assert (hypervolume_improvement(*given_, np.array([WORST]), 0.0) == whole).all()
