"""Full trainings that are cut off, and whether two of them ended in the same bits."""

import json

import torch

from nxt.train import checkpoint as checkpoints
from nxt.train.engine.open import prepared
from nxt.train.engine.session import Watcher

CLOCK = ("seconds", "images_per_second", "wait", "time")  # what differs from run to run
ALWAYS = 1e-9  # minutes between two saves inside an epoch: one after every step
CPU = torch.device("cpu")


class CutOffError(Exception):
    """Stands for whatever ends a training before its time."""


def run(request, until=None, resume=False, steps=None):
    """Train; cut off after the epoch `until`, or after so many steps of this process."""
    left = steps

    def on_epoch(report):
        if report.epoch == until:
            raise CutOffError

    def on_step(_position):
        nonlocal left
        if left is not None:
            left -= 1
            if left == 0:
                raise CutOffError

    with prepared(request, CPU, resume, Watcher(step=on_step, epoch=on_epoch)) as training:
        return training.run()


def metrics(out):
    """Return the rows of a run's epochs, without what differs from run to run."""
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in CLOCK} for row in rows]


def weights(out, name="last.pt"):
    """Return the state in a checkpoint of a run."""
    return checkpoints.read(out / "checkpoints" / name).state


def assert_same_bits(a, b):
    """Compare two nested states of tensors and plain data."""
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same_bits(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same_bits(x, y)
    else:
        assert a == b


def assert_same_run(a, b):
    """Assert that two run directories have the same epochs, and the same bits in their checkpoints."""
    assert metrics(a) == metrics(b)
    for name in ("last.pt", "best.pt"):
        assert_same_bits(weights(a, name), weights(b, name))
