"""ONNX graphs written from layers, against the networks that torch builds."""

import numpy as np
import onnxruntime
import pytest
import torch

from nxt.arch.load import resolve
from nxt.arch.spec import ArchSpec
from nxt.latency.onnx_graph import model
from nxt.latency.parts import chain
from nxt.models.network import build

SMALL = {"depths": (2, 2), "widths": (16, 32), "cardinality": (2,), "base_width": (4,)}
SPECS = {
    "resnext": resolve("resnext_1-2-1_w8_2x4d_cifar"),
    "imagenet": ArchSpec(stem_width=8, **SMALL),
    "deep": ArchSpec(stem="deep", stem_width=8, avg_down=True, **SMALL),
    "squeeze": ArchSpec(stem="cifar", stem_width=8, radix=1, **SMALL),
    "split": ArchSpec(stem="deep", stem_width=8, radix=2, avd=True, avg_down=True, **SMALL),
    "fast": ArchSpec(stem="imagenet", stem_width=8, radix=4, avd=True, avd_first=True, **SMALL),
    "preact": ArchSpec(stem="cifar", stem_width=8, preact=True, avd=True, **SMALL),
    "basic": ArchSpec(block="basic", stem_width=8, depths=(2, 2), widths=(8, 16), base_width=8),
    "basic, preact": ArchSpec(block="basic", stem="cifar", preact=True, depths=(2, 2), widths=(8, 16), base_width=8),
    "excited": ArchSpec(stem="deep", stem_width=8, avg_down=True, attention="se", **SMALL),
    "plain": ArchSpec(stem="cifar", stem_width=8, shortcut=False, **SMALL),
}


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("size", [32, 35])
def test_a_graph_computes_what_the_network_does(name, size):
    """A fresh network's batch norms change nothing, so its convolutions are all the weights that there are."""
    spec = SPECS[name]
    torch.manual_seed(0)
    network = build(spec, 7).eval()

    def weights(layer):
        module = network.get_submodule(layer.name)
        bias = torch.zeros(layer.out_width) if module.bias is None else module.bias
        weight = module.weight.detach().numpy()
        return weight.reshape(*weight.shape, *(1,) * (4 - weight.ndim)), bias.detach().numpy()

    content = model(list(chain(spec, size, 7)), batch=2, weights=weights)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).standard_normal((2, 3, size, size), dtype=np.float32)
    (found,) = session.run(None, {"x": images})
    with torch.inference_mode():
        expected = network(torch.from_numpy(images)).numpy()
    assert np.abs(found - expected).max() < 1e-3 * np.abs(expected).max()
