"""The predicted peak memory of inference against tensors that are really alive together."""

import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from nxt.arch.layers import Side
from nxt.arch.load import parse_name
from nxt.arch.memory import peak
from nxt.arch.spec import ArchSpec
from nxt.models.network import build


class Alive(TorchDispatchMode):
    """Sums the bytes of all storages that operators have made and that are still referenced."""

    def __init__(self):
        super().__init__()
        self.known, self.now, self.most = {}, 0, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in tree_flatten(out)[0]:
            if isinstance(tensor, torch.Tensor):
                self.hold(tensor)
        return out

    def hold(self, tensor):
        storage = tensor.untyped_storage()
        if storage._cdata in self.known:
            return
        self.known[storage._cdata] = storage.nbytes()
        self.now += storage.nbytes()
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self.release, storage._cdata)

    def release(self, key):
        self.now -= self.known.pop(key)


def measured(spec, size, classes, output_stride=None):
    network = build(spec, classes, output_stride=output_stride).eval()
    with torch.no_grad(), Alive() as alive:
        for parameter in (*network.parameters(), *network.buffers()):
            alive.known[parameter.untyped_storage()._cdata] = 0  # weights do not count
        image = torch.zeros(1, 3, *Side.of(size)[:2])
        network(image)
    return alive.most


def small(**changes):
    return ArchSpec(**{"depths": (2, 2), "widths": (64, 128), "base_width": 8, "stem_width": 16, **changes})


SPECS = {
    "resnet50": parse_name("resnet50"),
    "resnext50_32x4d": parse_name("resnext50_32x4d"),
    "resnext50_32x8d": parse_name("resnext50_32x8d"),
    "resnest50": parse_name("resnest50"),
    "resnest50_fast_4s2x40d": parse_name("resnest50_fast_4s2x40d"),
    "resnest50_fast_1s1x64d": parse_name("resnest50_fast_1s1x64d"),
    "resnext29_8x64d_cifar": parse_name("resnext29_8x64d_cifar"),
    "resnext29_8x64d_cifar_preact": parse_name("resnext29_8x64d_cifar_preact"),
    "resnet50_preact": parse_name("resnet50_preact"),
    "no shortcut": small(shortcut=False),
    "wide stem": small(stem_width=256, stem="deep"),
    "wide bottleneck": small(cardinality=16),
    "wide bottleneck, pre-activation": small(cardinality=16, preact=True),
    "average pooling": small(cardinality=16, avd=True, avg_down=True),
    "average pooling before": small(cardinality=16, avd=True, avd_first=True, preact=True),
    "radix 4": small(cardinality=4, radix=4, stem="cifar"),
    "radix 1": small(cardinality=4, radix=1),
    "basic": small(block="basic", widths=(16, 32), base_width=16),
    "basic, wide inside": small(block="basic", widths=(16, 32), base_width=48, stem="cifar"),
    "basic, pre-activation": small(block="basic", widths=(16, 32), base_width=48, preact=True),
    "resnet20": parse_name("resnet20"),
    "padded": small(padded=True, avg_down=True),
    "padded, pre-activation": small(padded=True, preact=True),
    "squeeze-and-excitation": small(attention="se"),
    "basic, squeeze-and-excitation": small(attention="se", block="basic", widths=(64, 64), stem="cifar"),
    "selective kernel": small(attention="sk", cardinality=16),
    "selective kernel, average pooling": small(attention="sk", cardinality=8, avd=True, avd_first=True),
}


@pytest.mark.parametrize("size", [64, 97])
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_the_predicted_peak_is_what_is_alive(spec, size):
    assert peak(spec, size, 10).bytes == pytest.approx(measured(spec, size, 10), rel=0.002)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_dilated_stages_and_images_that_are_not_square_too(spec):
    stride = spec.strides[0]
    assert peak(spec, (64, 97), 10, stride).bytes == pytest.approx(measured(spec, (64, 97), 10, stride), rel=0.002)
