"""The program on DEPLOY.md gives what nxt gives."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import nxt as library
from nxt.arch.load import parse_name
from nxt.data.preprocess import Preprocess
from nxt.data.ref import DataRef
from nxt.inference.agreement import TOLERANCE
from nxt.inference.export import export
from nxt.models.network import build
from nxt.train.checkpoint import Checkpoint, save
from nxt.train.recipe import Recipe

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "DEPLOY.md").read_text("utf-8")
SNIPPET = re.search(r"^```python\n# classify\.py\n(.*?)^```", PAGE, re.M | re.S)[1]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A checkpoint, and the ONNX file made from it."""
    folder, spec = tmp_path_factory.mktemp("deploy"), parse_name("resnext_1-1-1_w8_1x8d_cifar")
    torch.manual_seed(0)
    checkpoint = Checkpoint(
        spec=spec, classes=("cat", "dog", "owl"), data=DataRef("folder", "/no/such/folder"), identity="", seed=0,
        preprocess=Preprocess(size=28, crop=0.875, interpolation="bicubic", mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25)),
        recipe=Recipe(epochs=1, batch=2, lr=0.1), accuracies={"raw": 0.5},
        state={"epoch": 1, "weights": {"raw": build(spec, 3).state_dict()}},
    )  # fmt: skip
    save(folder / "a.pt", checkpoint)
    export(checkpoint, "onnx", folder / "a.onnx")
    return folder


@pytest.mark.parametrize("side", [(70, 45), (45, 70), (33, 33)])
def test_the_program_on_the_page_gives_the_logits_of_predict(made, side, tmp_path, capsys, monkeypatch):
    """Its pixels are within a level of nxt's, and its logits as far from nxt's as those pixels make them."""
    small = np.random.default_rng(0).integers(0, 256, (9, 8, 3), dtype=np.uint8)
    image = Image.fromarray(small).resize(side, Image.Resampling.BICUBIC)
    image.save(tmp_path / "one.png")
    monkeypatch.setattr("sys.argv", ["classify.py", str(made / "a.onnx"), str(tmp_path / "one.png")])
    there: dict = {}
    exec(compile(SNIPPET, "classify.py", "exec"), there)
    said, printed = capsys.readouterr().out.split(" ", 1)
    logits = torch.tensor(json.loads(printed))
    found, network = library.predict(made / "a.pt", tmp_path / "one.png"), library.load(made / "a.pt")
    assert said == found.rows[0]["classes"][0]
    theirs, ours = torch.from_numpy(there["pixels"].transpose(2, 0, 1)), network.transform(image)
    level = 1.001 / 255 / torch.tensor([0.2, 0.3, 0.25])[:, None, None]
    assert ((theirs - ours).abs() <= level).all()
    with torch.inference_mode():
        torch.testing.assert_close(logits, network(theirs[None])[0], rtol=0, atol=TOLERANCE)
    pixels = ours[None].requires_grad_()
    gradients = [torch.autograd.grad(one, pixels, retain_graph=True)[0] for one in network(pixels)[0]]
    most = torch.stack([((theirs - ours).abs() * one).abs().sum() for one in gradients])  # to first order
    assert ((logits - torch.from_numpy(found.logits[0])).abs() <= 2 * most + TOLERANCE).all()
    if side != (33, 33):  # what the page warns of would be found
        squashed = network.transform(image.resize((32, 32), Image.Resampling.BICUBIC))
        assert ((squashed - ours).abs() > level).any()
