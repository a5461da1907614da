"""Latency tables of all kinds of blocks: their parts are told apart, run, and add up."""

import numpy as np
import pytest

from nxt.arch.spec import ArchSpec
from nxt.errors import ConfigError
from nxt.latency import onnx_graph
from nxt.latency.parts import chain, features, parts_of_networks
from nxt.latency.runtime import Asked
from nxt.latency.torch_runtime import TorchRuntime

KINDS = {
    "basic": {"block": "basic", "widths": (8, 16), "base_width": 8},
    "basic, padded": {"block": "basic", "widths": (8, 16), "base_width": 8, "padded": True},
    "squeeze-and-excitation": {"attention": "se"},
    "selective kernel": {"attention": "sk"},
    "padded": {"padded": True},
}


def tiny(**changes):
    values = {"depths": (2, 2), "widths": (32, 64), "base_width": 8, "stem_width": 8, "stem": "cifar", **changes}
    return ArchSpec(**values)


@pytest.mark.parametrize("changes", KINDS.values(), ids=KINDS)
def test_the_parts_of_other_blocks_run_and_are_described(changes):
    spec = tiny(**changes)
    parts = list(chain(spec, 16, 5))
    runtime = TorchRuntime(Asked(device="cpu", batch=1, size=16, classes=5, precision="fp32", runtime="torch"))
    for part in parts:
        for _, run in runtime.part(part):
            run()
    blocks = [part for part in parts if part.stage is not None]
    assert np.isfinite(features(blocks)).all()
    if spec.attention == "sk" or spec.padded:
        with pytest.raises(ConfigError, match="measure with `runtime` torch"):
            onnx_graph.model(blocks[:1], 1)


def test_blocks_that_do_other_work_have_other_keys():
    keys = [set(parts_of_networks([tiny(**changes)], 16, 5)) for changes in [{}, *KINDS.values()]]
    blocks = [frozenset(key for key in own if key.startswith("block")) for own in keys]
    assert all(len(own) >= 3 for own in blocks)
    for index, own in enumerate(blocks):
        for other in blocks[index + 1 :]:
            assert not own & other


def test_a_padded_shortcut_that_pools_has_a_key_of_its_own():
    keys = [set(parts_of_networks([tiny(padded=True, avg_down=pools)], 16, 5)) for pools in (False, True)]
    assert not {key for key in keys[0] & keys[1] if key.startswith("block")}
