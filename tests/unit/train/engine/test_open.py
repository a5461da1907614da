"""What a training, and an evaluation, tell of their data before they begin."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from nxt.data.ref import DataRef
from nxt.inference import evaluate
from nxt.train.engine import open as opening
from nxt.train.engine.session import Watcher


@pytest.mark.parametrize("job", ["train", "evaluate"])
def test_what_was_left_out_of_the_data_is_told(tmp_path, job):
    for shade, place in enumerate(("train/cat", "train/dog", "test/cat", "test/dog", "train/cat/inside")):
        (tmp_path / place).mkdir(parents=True)
        Image.new("L", (8, 8), shade).save(tmp_path / place / "0.png")
    data, told = DataRef("folder", str(tmp_path)), []
    if job == "train":
        opening._source(SimpleNamespace(data=data, download=False, skip_bad=False), Watcher(note=told.append))
    else:
        loaded = {Path("a.pt"): SimpleNamespace(classes=("cat", "dog"), data=data)}
        evaluate._open(data, "test", loaded, None, False, False, told.append)
    assert told == [
        f"left out of {tmp_path}: 1 images in folders inside class folders (such as train/cat/inside/0.png)"
    ]
