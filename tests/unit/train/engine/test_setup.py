"""From a recipe to a trainer: where the images of a proxy live."""

import numpy as np
import pytest
import torch

from nxt.arch.spec import ArchSpec
from nxt.data.dataset import Dataset, Split
from nxt.errors import CheckpointError
from nxt.models.network import build
from nxt.train.engine.setup import resident_trainer, start_from
from nxt.train.recipe import Recipe

SPEC = ArchSpec(stem="cifar", stem_width=4, depths=(1, 1), widths=(16, 32), cardinality=2, base_width=2)
TRAIN, VAL = 64 * 3 * 8 * 8, 32 * 3 * 8 * 8  # bytes


def trainer(**room):
    rng = np.random.default_rng(0)
    splits = [Split(rng.integers(0, 256, (n, 3, 8, 8), dtype=np.uint8), rng.integers(0, 3, n)) for n in (64, 32)]
    data = Dataset("made", ("a", "b", "c"), (0.5,) * 3, (0.25,) * 3, True, *splits)
    return resident_trainer(SPEC, data, Recipe(epochs=1, batch=16, lr=0.1), 8, torch.device("cpu"), 0, **room)


@pytest.mark.parametrize(
    ("room", "train", "val"),
    [
        ({}, True, True),
        ({"room": TRAIN + VAL}, True, True),
        ({"room": TRAIN + VAL - 1}, True, False),
        ({"room": TRAIN - 1}, False, True),
        ({"room": 0}, False, False),
    ],
)
def test_a_proxys_images_live_on_the_device_as_far_as_they_fit_and_the_numbers_stay(room, train, val):
    made, expected = trainer(**room), trainer()
    assert (made.train_images.on_device, made.val_images.on_device) == (train, val)
    report, plain = made.run_epoch(), expected.run_epoch()
    assert (report.loss, report.accuracy) == (plain.loss, plain.accuracy)


def test_weights_to_start_from_that_are_not_finite_are_refused_by_name(tmp_path):
    network = build(SPEC, 3)
    state = network.state_dict()
    name = [key for key in state if key.endswith("running_var")][-1]
    torch.save(state, tmp_path / "good.pt")
    assert start_from(build(SPEC, 3), str(tmp_path / "good.pt")).startswith("started from")
    state[name][0] = float("nan")
    torch.save(state, tmp_path / "nan.pt")
    with pytest.raises(CheckpointError, match=rf"nan\.pt: '{name}' holds infinite or NaN values"):
        start_from(build(SPEC, 3), str(tmp_path / "nan.pt"))
