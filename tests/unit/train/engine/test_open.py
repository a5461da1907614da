"""What a training, and an evaluation, tell of their data before they begin."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from nxt.arch.load import parse_name
from nxt.compute.ranks import Ranks
from nxt.data.ref import DataRef
from nxt.data.sources import open_source
from nxt.inference import evaluate
from nxt.train.engine import open as opening
from nxt.train.engine.session import Watcher
from nxt.train.recipe import load_recipe
from nxt.train.request import TrainRequest, at_size
from nxt.units import format_count


@pytest.mark.parametrize("job", ["train", "evaluate"])
def test_what_was_left_out_of_the_data_is_told(tmp_path, job):
    for shade, place in enumerate(("train/cat", "train/dog", "test/cat", "test/dog", "train/cat/inside")):
        (tmp_path / place).mkdir(parents=True)
        Image.new("L", (8, 8), shade).save(tmp_path / place / "0.png")
    data, told = DataRef("folder", str(tmp_path)), []
    if job == "train":
        opening._source(SimpleNamespace(data=data, download=False, skip_bad=False), Watcher(note=told.append))
    else:
        loaded = [(Path("a.pt"), SimpleNamespace(classes=("cat", "dog"), data=data, holdout=0.2, origin=""))]
        evaluate._open(data, "test", loaded, False, False, told.append)
    assert told == [
        f"left out of {tmp_path}: 1 images in folders inside class folders (such as train/cat/inside/0.png)"
    ]


def test_how_much_of_a_frozen_network_is_trained_is_told(tmp_path):
    spec, told = parse_name("resnext_1-1-1_w8_1x8d_cifar"), []
    recipe = load_recipe("quick", {"size": 8})
    request = TrainRequest(
        spec=spec,
        data=DataRef("digits"),
        recipe=at_size(recipe, 8),
        seed=0,
        out=tmp_path,
        weights="w.pt",
        freeze="stage3",
    )
    source = open_source(request.data)
    _, trainer = opening._trainer(request, source, torch.device("cpu"), Ranks(), False, Watcher(note=told.append))
    left = sum(value.numel() for name, value in trainer.network.named_parameters() if name.startswith("fc."))
    every = sum(value.numel() for value in trainer.network.parameters())
    assert f"frozen up to stage3: {format_count(left)} of {format_count(every)} parameters are trained" in told
