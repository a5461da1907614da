"""Detectors on any network, of torchvision's parts: Faster, Mask and Cascade R-CNN, and RetinaNet."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, MaskRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
from torchvision.ops.boxes import clip_boxes_to_image
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7
from torchvision.ops.poolers import initLevelMapper

from nxt.arch.heads import pyramid_stages
from nxt.models.network import Network

# Of each stage of a cascade: IoU from which a proposal is an object, weights of the box regression (Cai and Vasconcelos
# 2018, arXiv 1712.00726, sec. 4 and 5), and weight of its losses (MMDetection's configurations).
CASCADE = (
    (0.5, (10.0, 10.0, 5.0, 5.0), 1.0),
    (0.6, (20.0, 20.0, 10.0, 10.0), 0.5),
    (0.7, (30.0, 30.0, 15.0, 15.0), 0.25),
)
_RATIOS = (0.5, 1.0, 2.0)
_LOSSES = ("loss_classifier", "loss_box_reg")


class Pyramid(nn.Module):
    """A network with a feature pyramid; names of its children are torchvision's."""

    def __init__(self, network: Network, head: str, width: int) -> None:
        super().__init__()
        self.body, self.out_channels = network, width
        self.stages = pyramid_stages(network.spec, head)
        widths = [network.spec.widths[stage] for stage in self.stages]
        more = LastLevelP6P7(width, width) if head == "retinanet" else LastLevelMaxPool()
        self.fpn = FeaturePyramidNetwork(widths, width, more)

    @property
    def strides(self) -> list[int]:
        """Strides of its levels, with the coarser ones that are made from its last."""
        strides = [self.body.strides[stage] for stage in self.stages]
        more = 2 if isinstance(self.fpn.extra_blocks, LastLevelP6P7) else 1
        return strides + [strides[-1] << step for step in range(1, more + 1)]

    def forward(self, x: Tensor) -> Mapping[str, Tensor]:
        """Maps images (B, 3, H, W) to the levels, finest first, (B, out_channels, H', W') by name."""
        maps = self.body.features(x)
        return self.fpn(OrderedDict((str(n), maps[stage]) for n, stage in enumerate(self.stages)))  # type: ignore[no-any-return]


def detector(network: Network, head: str, classes: int, width: int, rois: int) -> nn.Module:
    """Returns a detector of `classes` kinds of objects, labelled from 1, with its paper's anchors for each level.

    Heads have the widths of torchvision's, relative to the pyramid's `width` channels: 1024 and 256 for 256. `rois`
    regions of an image train them.
    """
    pyramid = Pyramid(network, head, width)
    outputs = classes + 1  # with the background, which in RetinaNet is no class, but has its place as in torchvision
    if head == "retinanet":
        sizes = [tuple(int(4 * stride * 2 ** (octave / 3)) for octave in range(3)) for stride in pyramid.strides]
        made = RetinaNet(pyramid, outputs, anchor_generator=_anchors(sizes))
    else:
        parts: dict[str, Any] = {
            "rpn_anchor_generator": _anchors([(8 * stride,) for stride in pyramid.strides]),
            "box_roi_pool": _pooling(pyramid, 7),
            "box_head": TwoMLPHead(width * 7**2, 4 * width),
            "box_predictor": FastRCNNPredictor(4 * width, outputs),
            "box_batch_size_per_image": rois,
        }
        if "mask" in head:
            parts |= {
                "mask_roi_pool": _pooling(pyramid, 14),
                "mask_head": MaskRCNNHeads(width, (width,) * 4, 1),
                "mask_predictor": MaskRCNNPredictor(width, width, outputs),
            }
        made = (MaskRCNN if "mask" in head else FasterRCNN)(pyramid, **parts)
    if head.startswith("cascade"):
        made.roi_heads = _cascaded(made.roi_heads, outputs)
    made.transform = AsGiven(800, 1333, [0.0] * 3, [1.0] * 3)
    return made  # type: ignore[no-any-return]


def _pooling(pyramid: Pyramid, side: int) -> MultiScaleRoIAlign:
    """Returns what pools a region to `side` x `side` from the level of its size, among those of the network's stages.

    Torchvision guesses the strides from the first images that it sees, and keeps them: wrong ones where padding makes
    small images half as large again, and others in a training that goes on than in one that nothing stopped.
    """
    strides = pyramid.strides[: len(pyramid.stages)]
    pooling = MultiScaleRoIAlign([str(level) for level in range(len(strides))], side, 2)
    pooling.scales = [1 / stride for stride in strides]
    pooling.map_levels = initLevelMapper(int(math.log2(strides[0])), int(math.log2(strides[-1])))
    return pooling


class AsGiven(GeneralizedRCNNTransform):  # type: ignore[misc]
    """Pads images to a batch whose sides 32 divides, and neither resizes nor normalises them."""

    def normalize(self, image: Tensor) -> Tensor:
        """Returns the image as it is."""
        return image

    def resize(self, image: Tensor, target: dict[str, Tensor] | None = None) -> tuple[Tensor, Any]:
        """Returns image and target as they are."""
        return image, target


class AgnosticPredictor(FastRCNNPredictor):  # type: ignore[misc]
    """Predicts the classes and one box for all of them, as a cascade must, whose boxes go on to its next stage.

    The box is repeated for each class, so that torchvision's loss and postprocessing take it.
    """

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__(width, outputs)
        self.bbox_pred = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (N, width) to logits (N, outputs) and changes of boxes (N, 4 * outputs)."""
        logits, boxes = super().forward(x)
        return logits, boxes.repeat(1, logits.shape[1])


class CascadeHeads(RoIHeads):  # type: ignore[misc]
    """The last of several stages that each refine the boxes of the one before (arXiv 1712.00726, fig. 3d).

    Each samples its proposals anew by its own IoU. At test the classes' probabilities are the mean over the stages,
    each of its own proposals, as in MMDetection and Detectron2. The one mask head learns from the last stage's samples.
    """

    earlier: nn.ModuleList

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]] | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Returns the detections, in training none, and the losses, which exist in training alone."""
        losses: dict[str, Tensor] = {}
        self._probabilities: list[Tensor] = []
        stage: Any
        for number, stage in enumerate(self.earlier):
            if self.training:
                proposals, _, labels, wanted = stage.select_training_samples(proposals, targets)
            pooled = stage.box_roi_pool(features, proposals, image_shapes)
            logits, changes = stage.box_predictor(stage.box_head(pooled))
            if self.training:
                found = zip(_LOSSES, fastrcnn_loss(logits, changes, labels, wanted), strict=True)
                losses |= {f"{name}_{number + 1}": CASCADE[number][2] * loss for name, loss in found}
            else:
                self._probabilities.append(logits.softmax(-1))
            proposals = _refined(stage, changes, proposals, image_shapes)
        detections, last = super().forward(features, proposals, image_shapes, targets)
        for name in _LOSSES if self.training else ():
            last[name] = CASCADE[-1][2] * last[name]
        return detections, losses | last

    def postprocess_detections(
        self, class_logits: Tensor, box_regression: Tensor, proposals: list[Tensor], image_shapes: list[tuple[int, int]]
    ) -> Any:
        """Returns boxes, scores and labels by the last stage's boxes and the mean of all stages' probabilities."""
        mean = torch.stack([*self._probabilities, class_logits.softmax(-1)]).mean(0)
        return super().postprocess_detections(mean.log(), box_regression, proposals, image_shapes)


@torch.no_grad()
def _refined(
    stage: RoIHeads, changes: Tensor, proposals: list[Tensor], image_shapes: list[tuple[int, int]]
) -> list[Tensor]:
    """Returns the boxes of a stage of a cascade, inside the images."""
    boxes = stage.box_coder.decode(changes[:, :4], proposals)[:, 0].split([each.shape[0] for each in proposals])
    return [clip_boxes_to_image(each, shape) for each, shape in zip(boxes, image_shapes, strict=True)]


def _cascaded(heads: RoIHeads, outputs: int) -> RoIHeads:
    """Returns three stages in the place of one, with its pooling, limits and mask head."""
    width, sampler = heads.box_head.fc7.out_features, heads.fg_bg_sampler
    stages = []
    for kind, (iou, weights, _) in zip((RoIHeads, RoIHeads, CascadeHeads), CASCADE, strict=True):
        head, predictor = TwoMLPHead(heads.box_head.fc6.in_features, width), AgnosticPredictor(width, outputs)
        sampling = (iou, iou, sampler.batch_size_per_image, sampler.positive_fraction, weights)
        limits = (heads.score_thresh, heads.nms_thresh, heads.detections_per_img)
        stages.append(kind(heads.box_roi_pool, head, predictor, *sampling, *limits))
    *earlier, last = stages
    last.earlier = nn.ModuleList(earlier)
    for part in ("mask_roi_pool", "mask_head", "mask_predictor"):
        setattr(last, part, getattr(heads, part))
    return last


def _anchors(sizes: Sequence[tuple[int, ...]]) -> AnchorGenerator:
    return AnchorGenerator(tuple(sizes), (_RATIOS,) * len(sizes))
