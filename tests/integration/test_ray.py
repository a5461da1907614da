"""The Ray instance that a search starts: what it exposes, and what it refuses to promise."""

import os
from pathlib import Path

import pytest

from nxt.compute import ray_cluster
from nxt.errors import DeviceError

LISTEN = "0A"
LOOPBACK = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}


def exposed():
    """Return the sockets on this machine that listen on more than the loopback address, as the kernel lists them."""
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()[1:]]
    return {row[1] for row in rows if row[3] == LISTEN and row[1].split(":")[0] not in LOOPBACK}


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="the kernel's list of sockets is read from /proc")
def test_ray_listens_on_the_loopback_address_alone_and_has_no_more_than_the_machine():
    before = exposed()
    with ray_cluster.cluster(0):
        assert exposed() <= before
        assert os.environ["RAY_AUTH_MODE"] == "token"  # Ray's default for a cluster of one's own: it stays
        assert ray_cluster.place(1, 0).gpus == 0
        for workers, gpus, message in [(10_000, 0, "`workers` 10000: only"), (None, 0.5, r"no machine has 0.5 GPU")]:
            with pytest.raises(DeviceError, match=message):
                ray_cluster.place(workers, gpus)


def test_what_goes_wrong_on_a_machine_is_raised_here():
    def broken():
        yield 1
        raise ZeroDivisionError("a mistake of the task's own")

    with ray_cluster.cluster(0):
        answers = ray_cluster.on_each_node(broken)
        assert next(answers)[1] == 1
        with pytest.raises(ZeroDivisionError, match="a mistake of the task's own"):
            list(answers)
