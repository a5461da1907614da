"""Heads for dense prediction: which there are, of which stages of a network they are made, what they cost. No torch.

What is counted is an inference on one image, whose sides a detector pads to multiples of 32 before. Detectors see 1,000
proposals in each box head and 100 detections in the mask head, as many as torchvision's do at most. The auxiliary head
of a segmenter is for training alone and is not counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from nxt.arch.layers import ONE, Layer, Side, Size, blocks, conv, halved, together
from nxt.arch.spec import ArchSpec
from nxt.errors import ArchError

DETECTORS = ("faster-rcnn", "mask-rcnn", "cascade-rcnn", "cascade-mask-rcnn", "retinanet")
SEGMENTERS = ("deeplabv3", "fcn")
HEADS = DETECTORS + SEGMENTERS
TASKS = {"detection": DETECTORS, "segmentation": SEGMENTERS}  # with a head; without one, "classification"
COSTED = ("fpn", *HEADS)  # a pyramid alone has a cost, but predicts nothing
PYRAMID = 256  # channels of all levels of a feature pyramid
PROPOSALS, DETECTIONS = 1000, 100
_ANCHORS, _OCTAVES = 3, 9  # anchors at a pixel, with three aspect ratios; of RetinaNet, with three scales each
_BOX, _MASK = 7, 14  # sides of what is cut out of a level for the box head and the mask head


class Head(NamedTuple):
    """A head as it is counted: with the largest stride under it, as `checked_stride` has it, and a pyramid's width."""

    name: str
    output_stride: int | None = None
    pyramid: int = PYRAMID


Parts = Iterator[tuple[str, list[Layer]]]


def default_classes(spec: ArchSpec, head: str | None) -> int:
    """Returns how many classes are counted unless said otherwise: those of COCO, of ADE20K, or of classification."""
    return spec.classes if head is None else 150 if head in SEGMENTERS else 80


def task_of(head: str) -> str:
    """Returns the task that a head is for; "classification" for none."""
    return next((task for task, heads in TASKS.items() if head in heads), "classification")


def checked_stride(spec: ArchSpec, head: str, output_stride: int | None = None) -> int:
    """Returns the output stride at which a network gets a head.

    Segmenters take 8 unless told otherwise, as torchvision's do, or all that a network strides if that is less; a
    pyramid needs maps of different strides.

    Raises:
        ArchError: for an unknown head, and for an output stride that the network or the head cannot have.
    """
    if head not in COSTED:
        raise ArchError(f"head {head!r} is not one of {', '.join(COSTED)}")
    largest = spec.strides[-1]
    if head in SEGMENTERS:
        stride = min(8, largest) if output_stride is None else output_stride
        next(spec.stages(stride))  # raises for one that the network does not have
        return stride
    if output_stride not in (None, largest):
        raise ArchError(f"head {head}: its pyramid needs all strides of the network; leave output stride out")
    return largest


def pyramid_stages(spec: ArchSpec, head: str) -> tuple[int, ...]:
    """Returns the indices of the stages that enter a detector's pyramid.

    All do, as P2 to P5 of Lin et al. 2017 (arXiv 1612.03144); in RetinaNet all but the first, as P3 to P5 of Lin et al.
    2017 (arXiv 1708.02002), unless there is only one.
    """
    stages = tuple(range(len(spec.depths)))
    return stages[1:] or stages if head == "retinanet" else stages


def atrous_rates(stride: int) -> tuple[int, int, int]:
    """Returns the dilations in DeepLabV3's pyramid: 6, 12, 18 at output stride 16, twice that at 8.

    Chen et al. 2017 (arXiv 1706.05587) sec. 4.
    """
    rate = max(1, 96 // stride)
    return rate, 2 * rate, 3 * rate


def blocks_with_head(
    spec: ArchSpec, head: str, size: Size, classes: int, output_stride: int | None = None, pyramid: int = PYRAMID
) -> Iterator[tuple[str, int, list[Layer]]]:
    """Yields (name of the stem, stage or part of the head; number of the block in it; layers), input to output.

    Names of the layers are those of the modules in a built network with this head, without `model.`.

    Raises:
        ArchError: as `checked_stride`.
    """
    stride = checked_stride(spec, head, output_stride)
    place = "backbone." if head in SEGMENTERS else "backbone.body."
    *network, (_, _, (fc,)) = blocks(spec, size, classes, stride)
    for part, block, layers in network:
        yield part, block, [layer._replace(name=place + layer.name) for layer in layers]
    if fc.norm:  # after the last stage, with pre-activation
        yield "norm", 0, [fc._replace(name=f"{place}norm.0", out_width=0, out_side=fc.in_side, bias=0, beside=0)]
    image = Side.of(size)
    strides = [min(each, stride) for each in spec.strides]
    sides = [Side.of((-(-image.height // each), -(-image.width // each))) for each in strides]
    if head in SEGMENTERS:
        parts = _segmenter(spec, head, sides[-1], image, classes)
    else:
        parts = _detector(spec, head, sides, classes, pyramid)
    for part, layers in parts:
        yield part, 0, layers


def _segmenter(spec: ArchSpec, head: str, side: Side, image: Side, classes: int) -> Parts:
    """Yields DeepLabV3's pyramid (arXiv 1706.05587, fig. 5) or the one convolution of FCN, and the classifier."""
    width, name = spec.widths[-1], "classifier."
    hidden = width // 4 if head == "fcn" else 256
    layers = [conv(f"{name}0", width, hidden, 3, side, side)]
    if head == "deeplabv3":
        kernels = (1, 3, 3, 3)
        pooled = conv(f"{name}0.convs.4.1", width, hidden, 1, ONE, ONE)
        layers = [
            *(conv(f"{name}0.convs.{n}.0", width, hidden, kernel, side, side) for n, kernel in enumerate(kernels)),
            pooled._replace(beside=(width + 4 * hidden) * side.pixels),
            conv(f"{name}0.project.0", 5 * hidden, hidden, 1, side, side),
            conv(f"{name}1", hidden, hidden, 3, side, side),
        ]
    last = _plain(f"{name}4", hidden, classes, 1, side)
    yield "head", [*layers, last._replace(beside=4 * classes * image.pixels)]


def _detector(spec: ArchSpec, head: str, sides: Sequence[Side], classes: int, width: int) -> Parts:
    """Yields a pyramid of `width` channels and what predicts from it; `classes` are without the background."""
    stages = pyramid_stages(spec, head)
    *finer, coarsest = [sides[stage] for stage in stages]
    levels, further = [*finer, coarsest], [halved(coarsest)]
    pyramid = []
    for n, (stage, side) in enumerate(zip(stages, levels, strict=True)):
        enlarged = width * side.pixels if side is not coarsest else 0
        inner = _plain(f"backbone.fpn.inner_blocks.{n}.0", spec.widths[stage], width, 1, side)
        pyramid += [
            inner._replace(beside=enlarged),
            _plain(f"backbone.fpn.layer_blocks.{n}.0", width, width, 3, side),
        ]
    if head == "retinanet":
        further.append(halved(further[0]))
        for n, side in enumerate(further):
            pyramid.append(_plain(f"backbone.fpn.extra_blocks.p{6 + n}", width, width, 3, side))
    yield "fpn", pyramid
    if head == "fpn":
        return
    seen = together([*levels, *further])
    if head == "retinanet":
        for part, what, outputs in (
            ("classification", "cls_logits", _OCTAVES * (classes + 1)),
            ("regression", "bbox_reg", _OCTAVES * 4),
        ):
            name = f"head.{part}_head."
            convs = [_plain(f"{name}conv.{n}.0", width, width, 3, seen) for n in range(4)]
            yield part, [*convs, _plain(name + what, width, outputs, 3, seen)]
        return
    yield (
        "rpn",
        [
            _plain("rpn.head.conv.0.0", width, width, 3, seen),
            _plain("rpn.head.cls_logits", width, _ANCHORS, 1, seen),
            _plain("rpn.head.bbox_pred", width, 4 * _ANCHORS, 1, seen),
        ],
    )
    cascade = head.startswith("cascade")
    for stage in range(3 if cascade else 1):
        name = f"roi_heads.earlier.{stage}." if cascade and stage < 2 else "roi_heads."
        yield f"box head {stage + 1}" if cascade else "box head", _box_head(name, classes + 1, cascade, width)
    if "mask" in head:
        yield "mask head", _mask_head(classes + 1, width)


def _box_head(name: str, outputs: int, agnostic: bool, width: int) -> list[Layer]:
    rois = together([ONE] * PROPOSALS)
    widths = (
        ("box_head.fc6", width * _BOX * _BOX, 4 * width),
        ("box_head.fc7", 4 * width, 4 * width),
        ("box_predictor.cls_score", 4 * width, outputs),
        ("box_predictor.bbox_pred", 4 * width, 4 if agnostic else 4 * outputs),
    )
    return [_plain(name + layer, before, after, 1, rois)._replace(linear=True) for layer, before, after in widths]


def _mask_head(outputs: int, width: int) -> list[Layer]:
    cut, twice = (together([Side.of(factor * _MASK)] * DETECTIONS) for factor in (1, 2))
    # A transposed convolution of kernel and stride 2 does the work of four 1x1 convolutions with one bias.
    enlarging = _plain("roi_heads.mask_predictor.conv5_mask", width, 4 * width, 1, cut)._replace(bias=width)
    return [
        *(_plain(f"roi_heads.mask_head.{n}.0", width, width, 3, cut) for n in range(4)),
        enlarging,
        _plain("roi_heads.mask_predictor.mask_fcn_logits", width, outputs, 1, twice),
    ]


def _plain(name: str, in_width: int, out_width: int, kernel: int, side: Side) -> Layer:
    """Returns a convolution with a bias and without a norm."""
    return conv(name, in_width, out_width, kernel, side, side, norm=0, bias=True)
