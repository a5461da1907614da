"""Networks with heads: against torchvision's detectors and segmenters, a step of training, what is refused."""

import re

import pytest
import torch
from near import assert_near
from torch import nn
from torchvision.models import detection, segmentation
from torchvision.models.detection.faster_rcnn import TwoMLPHead
from torchvision.ops import FrozenBatchNorm2d

from nxt.arch.heads import DETECTORS, HEADS, SEGMENTERS
from nxt.arch.load import parse_name
from nxt.arch.spec import ArchSpec
from nxt.errors import ArchError
from nxt.models.detectors import CASCADE, AgnosticPredictor, Pyramid
from nxt.models.heads import build_with_head
from nxt.models.network import build
from nxt.models.weights import load_weights

pytestmark = pytest.mark.usefixtures("one_thread")

TINY = ArchSpec(stem="deep", depths=(1, 1, 1, 1), widths=(32, 64, 96, 128), base_width=8, stem_width=16)
RESNEST = TINY.replace(radix=2, avd=True, avg_down=True, base_width=16)
CIFAR = ArchSpec(stem="cifar", depths=(1, 1, 1), widths=(32, 64, 128), base_width=8, stem_width=16)


def scenes(sides=((64, 96), (80, 70))):
    """Images with a bright square each, and where it is."""
    torch.manual_seed(1)
    images, targets = [], []
    for number, (height, width) in enumerate(sides):
        x, y, side = 10 + 8 * number, 14, 24 + 6 * number
        image, mask = 0.1 * torch.randn(3, height, width), torch.zeros(1, height, width, dtype=torch.uint8)
        image[:, y : y + side, x : x + side] += 2
        mask[:, y : y + side, x : x + side] = 1
        boxes = torch.tensor([[x, y, x + side, y + side]], dtype=torch.float32)
        targets.append({"boxes": boxes, "labels": torch.tensor([1 + number % 2]), "masks": mask})
        images.append(image)
    return images, targets


def randomise_norms(module):
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1)
            nn.init.uniform_(part.running_mean, -0.2, 0.2)
            nn.init.uniform_(part.running_var, 0.5, 1.5)


def quick(model):
    """Lets few proposals through, which takes a tenth of the time."""
    if hasattr(model, "rpn"):
        model.rpn._pre_nms_top_n = model.rpn._post_nms_top_n = {"training": 40, "testing": 40}
        for heads in (*getattr(model.roi_heads, "earlier", ()), model.roi_heads):
            heads.fg_bg_sampler.batch_size_per_image, heads.detections_per_img = 32, 10
    elif hasattr(model, "detections_per_img"):
        model.detections_per_img = 10


def made(spec, head, **options):
    torch.manual_seed(0)
    network = build_with_head(spec, head, 2, **options)
    quick(network.model)
    return network


@pytest.mark.parametrize(
    ("head", "maker"),
    [
        ("faster-rcnn", detection.fasterrcnn_resnet50_fpn),
        ("mask-rcnn", detection.maskrcnn_resnet50_fpn),
        ("retinanet", detection.retinanet_resnet50_fpn),
    ],
)
def test_detectors_are_torchvisions(head, maker):
    torch.manual_seed(0)
    theirs = maker(weights=None, weights_backbone=None, num_classes=4)
    randomise_norms(theirs)
    for frozen in (False, True):
        ours = build_with_head("resnet50", head, 3, frozen_bn=frozen)
        state = {f"model.{key}": value for key, value in theirs.state_dict().items()}
        assert set(state) >= set(ours.state_dict())
        ours.load_state_dict({key: state[key] for key in ours.state_dict()})
        theirs.transform = ours.model.transform
        for model in (theirs, ours.model):
            quick(model)
        if head == "retinanet":  # it starts with scores near 0.01
            theirs.score_thresh = ours.model.score_thresh = 0.0
        images, _ = scenes()
        with torch.no_grad():
            expected = theirs.double().eval()([each.double() for each in images])
            found = ours.double().eval()([each.double() for each in images])
        for a, b in zip(expected, found, strict=True):
            assert len(a["boxes"]) and set(a) == set(b)
            torch.testing.assert_close(b["labels"], a["labels"])
            for part in set(a) - {"labels"}:
                assert_near(b[part], a[part])


@pytest.mark.parametrize(
    ("head", "maker"), [("deeplabv3", segmentation.deeplabv3_resnet50), ("fcn", segmentation.fcn_resnet50)]
)
def test_segmenters_are_torchvisions(head, maker):
    torch.manual_seed(0)
    theirs = maker(weights=None, weights_backbone=None, num_classes=5, aux_loss=True).double()
    randomise_norms(theirs)
    ours = build_with_head("resnet50", head, 5).double()
    ours.load_state_dict({f"model.{key}": value for key, value in theirs.state_dict().items()})
    images = torch.randn(2, 3, 65, 90, dtype=torch.float64)
    for mode in (False, True):
        found = []
        for network in (theirs.train(mode), ours.train(mode)):
            torch.manual_seed(2)  # dropout
            with torch.no_grad():
                found.append(network(images))
        assert set(found[1]) == ({"out", "aux"} if mode else {"out"})
        for part, logits in found[1].items():
            assert logits.shape == (2, 5, 65, 90)
            assert_near(logits, found[0][part])


def step(network, head, images, targets):
    """Returns the losses of one step, after the backward pass."""
    if head in SEGMENTERS:
        side = min(min(image.shape[1:]) for image in images)
        batch = torch.stack([image[:, :side, :side] for image in images])
        masks = torch.stack([target["masks"][0, :side, :side] for target in targets]).long()
        losses = {k: nn.functional.cross_entropy(v, masks) for k, v in network.train()(batch).items()}
    else:
        losses = network.train()(images, targets)
    sum(losses.values()).backward()
    return losses


@pytest.mark.parametrize("spec", [TINY, RESNEST, CIFAR], ids=["resnet", "resnest", "cifar"])
@pytest.mark.parametrize("head", HEADS)
def test_every_parameter_learns_and_predictions_have_their_form(head, spec):
    network = made(spec, head)
    images, targets = scenes()
    losses = step(network, head, images, targets)
    assert all(torch.isfinite(loss) for loss in losses.values())
    missing = [n for n, p in network.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert missing == []
    assert (network.spec, network.head, network.num_classes) == (spec, head, 2)
    assert not list(network.backbone_network.fc.parameters())
    network.eval()
    with torch.no_grad():
        if head in SEGMENTERS:
            assert network(torch.stack([images[0]] * 2))["out"].shape == (2, 2, *images[0].shape[1:])
            return
        for image, found in zip(images, network(images), strict=True):
            assert set(found) == {"boxes", "labels", "scores"} | ({"masks"} if "mask" in head else set())
            assert found["boxes"].shape == (len(found["scores"]), 4)
            assert set(found["labels"].tolist()) <= {1, 2}
            if "masks" in found:
                assert found["masks"].shape == (len(found["scores"]), 1, *image.shape[1:])


@pytest.mark.parametrize("head", HEADS)
def test_one_image_trains_split_attention_if_norms_are_frozen(head):
    images, targets = scenes(((64, 96),))
    with pytest.raises(ArchError, match=f"head {head} cannot train on one image at a time"):
        step(made(RESNEST, head), head, images, targets)
    network = made(RESNEST, head, frozen_bn=True)
    if head == "deeplabv3":  # its own pooling of the image is normalised, too
        with pytest.raises(ArchError, match="freeze or synchronise them, or take larger batches"):
            step(network, head, images, targets)
        images, targets = images * 2, targets * 2
    assert all(torch.isfinite(loss) for loss in step(network, head, images, targets).values())


def test_an_image_without_objects_trains():
    torch.manual_seed(0)
    images, targets = scenes()
    targets[0] = {
        "boxes": torch.zeros(0, 4),
        "labels": torch.zeros(0, dtype=torch.int64),
        "masks": targets[0]["masks"][:0],
    }
    for head in DETECTORS:
        losses = step(made(TINY, head), head, images, targets)
        assert all(torch.isfinite(loss) for loss in losses.values()), head


def test_frozen_norms_keep_their_values_and_take_the_weights_of_others():
    torch.manual_seed(0)
    trained = build(RESNEST, 7)
    randomise_norms(trained)
    network = build_with_head(RESNEST, "fcn", 2, output_stride=32, frozen_bn=True).backbone_network
    assert not any(isinstance(part, nn.BatchNorm2d) for part in network.modules())
    norms = [part for part in network.modules() if isinstance(part, FrozenBatchNorm2d)]
    assert len(norms) == sum(isinstance(part, nn.BatchNorm2d) for part in trained.modules())
    load_weights(network, trained.state_dict(), "others")  # with the counters and the last layer, which it has not
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        for a, b in zip(trained.eval().features(image), network.train().features(image), strict=True):
            torch.testing.assert_close(b, a)


@pytest.mark.parametrize("head", DETECTORS)
def test_pyramids_have_as_many_levels_as_the_network_gives_and_anchors_for_each(head):
    for name, strides in {"resnet50": [4, 8, 16, 32], "resnet20": [1, 2, 4], "resnext_1_w8_1x8d": [4]}.items():
        network = build_with_head(parse_name(name), head, 2).model
        more = 2 if head == "retinanet" else 1
        used = strides[1:] or strides if head == "retinanet" else strides
        assert network.backbone.strides == used + [used[-1] * 2 ** (n + 1) for n in range(more)]
        with torch.no_grad():
            maps = network.eval().backbone(torch.randn(1, 3, 64, 64))
        assert [one.shape[-1] for one in maps.values()] == [max(1, 64 // s) for s in network.backbone.strides]
    with torch.device("meta"):
        published = build_with_head("resnet50", head, 2).model
    made = published.anchor_generator if head == "retinanet" else published.rpn.anchor_generator
    octaves = [[32, 40, 50], [64, 80, 101], [128, 161, 203], [256, 322, 406], [512, 645, 812]]
    assert [list(sizes) for sizes in made.sizes] == (octaves if head == "retinanet" else [[o[0]] for o in octaves])


@pytest.mark.parametrize("head", ["mask-rcnn", "cascade-mask-rcnn"])
def test_what_was_seen_before_changes_nothing(head):
    """Torchvision's pooling keeps what it guesses from the first images, and guesses wrong for small ones."""
    fresh, used = made(CIFAR, head).eval(), made(CIFAR, head).eval()
    used.load_state_dict(fresh.state_dict())
    images, _ = scenes(((60, 60),))
    with torch.inference_mode():
        used([image[:, :36, :40] for image in images])
        (expected,), (found,) = fresh(images), used(images)
        assert len(expected["scores"]) and all(torch.equal(found[key], expected[key]) for key in expected)
        pooling = fresh.model.roi_heads.mask_roi_pool
        level = {"0": torch.arange(64.0).expand(1, 1, 64, 64)} | {n: torch.zeros(1, 1, 1, 1) for n in ("1", "2")}
        (pooled,) = pooling(level, [torch.tensor([[8.0, 8.0, 22.0, 22.0]])], [(36, 40)])
        assert_near(pooled[0], torch.arange(8.5, 22.0).expand(14, 14))  # the means of two pixels each


def test_a_cascade_learns_from_rising_overlaps_and_averages_its_scores():
    network = made(TINY, "cascade-rcnn")
    heads = network.model.roi_heads
    stages = [*heads.earlier, heads]
    assert (
        [stage.proposal_matcher.high_threshold for stage in stages] == [0.5, 0.6, 0.7] == [iou for iou, *_ in CASCADE]
    )
    images, targets = scenes()
    losses = network.train()(images, targets)
    assert {name for name in losses if "classifier" in name} == {
        "loss_classifier_1",
        "loss_classifier_2",
        "loss_classifier",
    }
    with torch.no_grad():
        for stage, favoured in zip(stages, ([0.0, 3.0, 0.0], [0.0, 0.0, 3.0], [1.0, 1.0, 1.0]), strict=True):
            stage.box_predictor.cls_score.weight.zero_()
            stage.box_predictor.cls_score.bias.copy_(torch.tensor(favoured))
        found = network.eval()(images)[0]["scores"]
        logits = [stage.box_predictor.cls_score.bias.softmax(0) for stage in stages]
    assert_near(found.max(), torch.stack(logits).mean(0)[1:].max())


def test_a_detector_overfits_what_it_sees():
    """All parts together: the losses fall, and the object is found where it is."""
    images, targets = scenes(((64, 64),))
    network = made(TINY, "cascade-mask-rcnn", frozen_bn=True).train()
    for stage in (*network.model.roi_heads.earlier, network.model.roi_heads):  # smaller ones take a third of the time
        stage.box_head, stage.box_predictor = TwoMLPHead(256 * 7 * 7, 64), AgnosticPredictor(64, 3)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(50):
        optimizer.zero_grad()
        sum(network(images, targets).values()).backward()
        optimizer.step()
    with torch.no_grad():
        best = {part: values[0] for part, values in network.eval()(images)[0].items()}
    assert best["labels"] == 1 and best["scores"] > 0.5
    assert (best["boxes"] - targets[0]["boxes"][0]).abs().max() < 6
    wanted = targets[0]["masks"][0].bool()
    found = best["masks"][0] > 0.5
    assert (found & wanted).sum() / (found | wanted).sum() > 0.5


@pytest.mark.parametrize(
    ("head", "stride", "message"),
    [
        ("yolo", None, "head 'yolo' is not one of faster-rcnn, mask-rcnn"),
        ("faster-rcnn", 16, "head faster-rcnn: its pyramid needs all strides of the network; leave output stride out"),
        ("fcn", 5, "output stride 5 of resnet50 is not one of 4, 8, 16, 32"),
    ],
)
def test_what_cannot_be_built_is_refused(head, stride, message):
    with pytest.raises(ArchError, match=re.escape(message)):
        build_with_head("resnet50", head, 3, output_stride=stride)


def test_segmenters_stride_by_8_unless_told_otherwise():
    for name, asked, got in (("resnet50", None, 8), ("resnet50", 16, 16), ("resnet20", None, 4), ("resnet20", 2, 2)):
        with torch.device("meta"):
            network = build_with_head(name, "deeplabv3", 3, output_stride=asked)
        assert network.backbone_network.strides[-1] == got
        aspp = network.model.classifier[0].convs
        assert [conv[0].dilation[0] for conv in aspp[1:4]] == [96 // got, 192 // got, 288 // got]
    assert isinstance(build_with_head(TINY, "retinanet", 2).model.backbone, Pyramid)
