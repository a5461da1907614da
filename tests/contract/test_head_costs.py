"""Closed forms of heads, output strides and sizes that are not square, against counts of the built networks."""

import re

import pytest
from torchvision.models import detection, segmentation

from nxt.arch import heads
from nxt.arch.costs import cost
from nxt.arch.heads import COSTED, DETECTORS, blocks_with_head
from nxt.arch.load import parse_name
from nxt.arch.spec import ArchSpec
from nxt.errors import ArchError
from nxt.models import check
from nxt.models.check import residuals

pytestmark = pytest.mark.usefixtures("one_thread")

TINY = ArchSpec(stem="deep", depths=(1, 2, 1, 1), widths=(32, 64, 96, 128), base_width=8, stem_width=16)
SPECS = {
    "resnet": TINY,
    "resnest": TINY.replace(radix=2, base_width=16, avd=True, avg_down=True),
    "fast": TINY.replace(radix=1, base_width=16, avd=True, avd_first=True),
    "basic": TINY.replace(block="basic", base_width=32, padded=True, avg_down=True),
    "pre-activation": TINY.replace(preact=True),
    "equal widths": TINY.replace(widths=(32, 32, 64, 64), attention="sk"),
    "cifar": ArchSpec(stem="cifar", depths=(1, 1, 1), widths=(32, 64, 128), base_width=8, stem_width=16),
}


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("stride", [0, 1, -1])
def test_dilated_networks_cost_what_others_count(spec, stride):
    assert set(residuals(spec, (75, 101), 5, output_stride=spec.strides[stride]).values()) == {0}


@pytest.mark.parametrize("name", ["resnet", "resnest", "pre-activation", "cifar"])
@pytest.mark.parametrize("head", COSTED)
def test_heads_cost_what_others_count(head, name, monkeypatch):
    """Multiply-adds, parameters, activations, fvcore's whole count, and every layer by its name."""
    for module in (heads, check):  # all would take minutes to run
        monkeypatch.setattr(module, "PROPOSALS", 7)
        monkeypatch.setattr(module, "DETECTIONS", 3)
    assert set(residuals(SPECS[name], (75, 101), 5, head=head).values()) == {0}


@pytest.mark.parametrize(
    ("head", "published"),
    [
        ("faster-rcnn", detection.FasterRCNN_ResNet50_FPN_Weights.DEFAULT),
        ("mask-rcnn", detection.MaskRCNN_ResNet50_FPN_Weights.DEFAULT),
        ("retinanet", detection.RetinaNet_ResNet50_FPN_Weights.DEFAULT),
        ("deeplabv3", segmentation.DeepLabV3_ResNet50_Weights.DEFAULT),
        ("fcn", segmentation.FCN_ResNet50_Weights.DEFAULT),
    ],
)
def test_networks_have_the_parameters_that_torchvision_publishes(head, published):
    """Which leaves out the frozen batch norms of detectors, and counts the auxiliary heads of segmenters."""
    detects = head in DETECTORS
    spec = parse_name("resnet50")
    found = cost(spec, classes=90 if detects else 21, head=head).params
    frozen = sum(2 * layer.norm for *_, layers in blocks_with_head(spec, head, 64, 90) for layer in layers)
    auxiliary = 1024 * 256 * 9 + 2 * 256 + 21 * (256 + 1)
    assert published.meta["num_params"] == (found - frozen if detects else found + auxiliary)


def test_detectors_are_counted_with_a_thousand_proposals_and_a_hundred_masks():
    outputs = 81
    one = 256 * 7 * 7 * 1024 + 1024 * 1024 + 1024 * 5 * outputs
    parts = {
        part: sum(layer.macs for layer in layers) for part, _, layers in blocks_with_head(TINY, "mask-rcnn", 64, 80)
    }
    assert parts["box head"] == 1000 * one
    assert parts["mask head"] == 100 * 14 * 14 * (4 * 9 * 256 * 256 + 4 * 256 * 256 + 4 * 256 * outputs)


def test_a_wide_image_costs_as_much_as_a_high_one_and_more_than_its_shorter_side():
    for head in (None, *COSTED):
        wide, high = (cost(SPECS["resnest"], size, head=head) for size in ((75, 101), (101, 75)))
        assert wide == high
        assert cost(SPECS["resnest"], 75, head=head).macs < wide.macs < cost(SPECS["resnest"], 101, head=head).macs


def test_what_has_no_cost_is_refused():
    for head, stride, message in (
        ("yolo", None, "head 'yolo' is not one of fpn, faster-rcnn"),
        ("fpn", 8, "head fpn: its pyramid needs all strides"),
        ("fcn", 64, "output stride 64 of resnet50 is not one of 4, 8, 16, 32"),
    ):
        with pytest.raises(ArchError, match=re.escape(message)):
            cost(parse_name("resnet50"), head=head, output_stride=stride)
