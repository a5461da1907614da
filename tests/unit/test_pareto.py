"""Pareto fronts, against the definition over all pairs and areas counted cell by cell."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nxt.pareto import by_dominance, front, hypervolume, knee

SIDE = 8
cells = st.tuples(st.integers(0, SIDE), st.integers(0, SIDE))
grids = st.lists(cells, max_size=14)
floats = st.floats(-1e6, 1e6)
clouds = st.lists(st.tuples(floats, floats), max_size=14)


def dominates(a, b):
    return a[0] <= b[0] and a[1] >= b[1] and tuple(a) != tuple(b)


def brute_front(points):
    return {i for i, p in enumerate(points) if not any(dominates(q, p) for q in points)}


def brute_area(points, reference):
    """Count the unit cells between a whole-numbered reference and the points."""
    limit, floor = reference
    return sum(
        any(cost <= x and accuracy >= y + 1 for cost, accuracy in points)
        for x in range(-1, limit)
        for y in range(floor, SIDE + 1)
    )


@given(grids | clouds)
def test_the_front_is_what_no_other_point_dominates(points):
    found = front(points)
    assert set(found) == brute_front(points)
    assert len(set(found)) == len(found)


@given(grids | clouds)
def test_the_front_rises_in_cost_and_in_accuracy(points):
    members = [points[i] for i in front(points)]
    assert all(a == b or (a[0] < b[0] and a[1] < b[1]) for a, b in itertools.pairwise(members))


@given(st.lists(cells, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_the_order_of_the_points_does_not_matter(points, random):
    points = points + points[:2]
    shuffled = random.sample(points, len(points))
    assert sorted(shuffled[i] for i in front(shuffled)) == sorted(points[i] for i in front(points))
    reference = (SIDE + 1, -1)
    assert hypervolume(shuffled, reference) == hypervolume(points, reference)
    if len({points[i] for i in brute_front(points)}) >= 3:
        assert height(shuffled, knee(shuffled)) == pytest.approx(height(points, knee(points)))


def test_equal_points_all_stay_and_dominated_ones_go():
    assert sorted(front([(1, 1), (1, 1), (2, 1), (1, 0), (2, 2)])) == [0, 1, 4]


def test_no_points_have_an_empty_front_and_no_area():
    assert front([]) == []
    assert hypervolume([], (1, 0)) == 0


@given(grids, st.integers(0, SIDE), st.integers(0, SIDE))
def test_the_hypervolume_is_the_number_of_dominated_cells(points, limit, floor):
    assert hypervolume(points, (limit, floor)) == brute_area(points, (limit, floor))


@given(grids, cells)
def test_one_more_point_never_shrinks_the_hypervolume(points, point):
    reference = (SIDE, 0)
    more = hypervolume([*points, point], reference)
    assert more >= hypervolume(points, reference)
    if not any(p == point or dominates(p, point) for p in points) and point[0] < SIDE and point[1] > 0:
        assert more > hypervolume(points, reference)


@given(grids)
def test_the_front_alone_has_the_whole_hypervolume(points):
    reference = (SIDE, 0)
    assert hypervolume([points[i] for i in front(points)], reference) == hypervolume(points, reference)


def test_points_on_the_reference_s_lines_add_nothing():
    assert hypervolume([(2, 5), (0, 1), (3, 9)], (2, 1)) == 0


def height(points, index):
    """How far a point lies above the line between the front's ends, both objectives scaled to the front."""
    members = [points[i] for i in front(points)]
    (x0, y0), (x1, y1) = members[0], members[-1]
    x, y = points[index]
    return (y - y0) / (y1 - y0) - (x - x0) / (x1 - x0)


@given(grids)
def test_the_knee_is_the_member_highest_above_the_line_between_the_ends(points):
    members = sorted(brute_front(points))
    if len({points[i] for i in members}) < 3:
        return
    found = knee(points)
    assert found in members
    assert height(points, found) == pytest.approx(max(height(points, i) for i in members))


def test_the_knee_of_a_bent_front_is_at_its_bend():
    assert knee([(0, 0), (1, 8), (10, 10), (5, 1)]) == 1
    assert knee([(1e9, 70), (2e9, 79), (4e9, 80)]) == 1


@pytest.mark.parametrize(("points", "index"), [([(3, 1)], 0), ([(1, 1), (2, 2)], 1), ([(2, 2), (1, 1), (3, 0)], 0)])
def test_a_front_of_one_or_two_has_its_most_accurate_point_for_a_knee(points, index):
    assert knee(points) == index


def test_there_is_no_knee_without_points():
    with pytest.raises(ValueError, match="no points"):
        knee([])


@given(grids)
def test_dominance_ranks_are_what_is_left_when_fronts_are_taken_away(points):
    found, left, rank = by_dominance(points), dict(enumerate(points)), 0
    while left:
        members = {i for i, p in left.items() if not any(dominates(q, p) for q in left.values())}
        assert members == {i for i in left if found[i][0] == rank}
        left = {i: p for i, p in left.items() if i not in members}
        rank += 1


def test_of_a_rank_the_ends_come_first_and_the_crowded_last():
    points = [(0.0, 0.0), (5.0, 4.0), (6.0, 5.0), (10.0, 10.0)]
    assert by_dominance(points) == [(0, -math.inf), (0, pytest.approx(-1.1)), (0, pytest.approx(-1.1)), (0, -math.inf)]
    crowded = [(0.0, 0.0), (5.0, 5.0), (5.5, 5.5), (6.0, 6.0), (10.0, 10.0), (7.0, 3.0)]
    keys = by_dominance(crowded)
    assert sorted(range(6), key=keys.__getitem__) == [0, 4, 1, 3, 2, 5]


def test_equal_points_have_equal_places():
    points = [(1.0, 1.0), (2.0, 2.0), (1.0, 1.0), (3.0, 3.0), (2.0, 2.0)]
    keys = by_dominance(points)
    assert keys[0] == keys[2] and keys[1] == keys[4]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("function", [front, by_dominance, knee, lambda points: hypervolume(points, (9, 0))])
def test_points_that_are_not_finite_are_refused(function, place, bad):
    point = [1.0, 1.0]
    point[place] = bad
    with pytest.raises(ValueError, match="finite"):
        function([(0.0, 0.0), tuple(point)])
