"""How many trials a cluster of made-up machines runs at a time, now and when machines join."""

import pytest

from nxt.compute import ray_cluster
from nxt.compute.ray_cluster import Placement, at_a_time, place
from nxt.errors import DeviceError

MACHINE = {"CPU": 4.0}


@pytest.fixture
def machines(monkeypatch):
    """The machines of the cluster, which a test may change."""
    made = [MACHINE, MACHINE]
    monkeypatch.setattr(ray_cluster, "_nodes", lambda: made)
    return made


@pytest.mark.parametrize(
    ("workers", "joined", "expected", "growth"),
    [
        (None, False, Placement(8, 1, 0.0, 8), ""),
        (2, False, Placement(2, 4, 0.0, 2), ""),
        (None, True, Placement(8, 1, 0.0, None), ", more as machines join"),
        (2, True, Placement(2, 4, 0.0, 2), ""),
        (20, True, Placement(8, 1, 0.0, 20), ", up to 20 as machines join"),
    ],
)
def test_only_a_cluster_of_others_grows(machines, workers, joined, expected, growth):
    placement = place(workers, 0.0, joined)
    assert placement == expected and placement.growth == growth


def test_a_machine_of_our_own_has_no_more_than_it_has(machines):
    with pytest.raises(DeviceError, match=r"`workers` 9: only 8 trial\(s\) fit here at a time"):
        place(9, 0.0)


@pytest.mark.parametrize(("workers", "counts"), [(None, (8, 12, 4)), (9, (8, 9, 4))])
def test_trials_at_a_time_follow_the_machines(machines, workers, counts):
    placement = place(workers, 0.0, joined=True)
    found = [at_a_time(placement)]
    machines.append(MACHINE)
    found.append(at_a_time(placement))
    del machines[1:]
    assert (*found, at_a_time(placement)) == counts
