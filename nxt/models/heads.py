"""Networks with a head for dense prediction: detectors, instance segmenters and semantic segmenters.

Heads are torchvision's, and so are the names in state dicts behind `model.`: a detector's network is `backbone.body`, a
segmenter's `backbone`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.segmentation.deeplabv3 import DeepLabHead
from torchvision.models.segmentation.fcn import FCNHead
from torchvision.ops import FrozenBatchNorm2d

from nxt.arch.heads import HEADS, PYRAMID, SEGMENTERS, atrous_rates, checked_stride
from nxt.arch.load import resolve
from nxt.arch.spec import ArchSpec
from nxt.errors import ArchError
from nxt.models.detectors import detector
from nxt.models.network import Network, build


class DenseNetwork(nn.Module):
    """A network with a head: `backbone_network` in `model`, of architecture `spec`, with `head` for `num_classes`.

    One from `nxt.load` also has `classes`, the names of what it finds (a detector's label 1 is the first of them), and
    `transform`, which turns a PIL image into its input (3, h, w).
    """

    classes: tuple[str, ...] = ()
    transform: Callable[[Any], Tensor] | None = None

    def __init__(self, model: nn.Module, spec: ArchSpec, head: str, num_classes: int) -> None:
        super().__init__()
        self.model, self.spec, self.head, self.num_classes = model, spec, head, num_classes

    @property
    def backbone_network(self) -> Network:
        """The network, without its last layer."""
        return cast(Network, self.model.backbone if self.head in SEGMENTERS else self.model.backbone.body)  # type: ignore[union-attr]

    def forward(self, images: Any, targets: list[dict[str, Tensor]] | None = None) -> Any:
        """Predicts, or as a detector in training mode returns losses.

        Args:
            images: Normalised. Of a detector a list of (3, h, w), of any sizes, which are not resized; of a segmenter
                (B, 3, H, W).
            targets: Of a detector in training, for each image `boxes` (n, 4) as x1, y1, x2, y2 in pixels, `labels` (n,)
                from 1 to `num_classes`, and `masks` (n, h, w) if it predicts masks.

        Returns:
            Of a detector in training a dict of losses; otherwise for each image a dict of `boxes` (n, 4), `labels`
            (n,), `scores` (n,) and, if it predicts them, `masks` (n, 1, h, w) in 0..1. Of a segmenter a dict of logits
            (B, num_classes, H, W): `out`, and in training `aux` if it has an auxiliary head.

        Raises:
            ArchError: in training, if a batch norm sees a single value for each channel.
        """
        try:
            return self.model(images) if targets is None else self.model(images, targets)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise ArchError(
                f"{self.spec.name} with head {self.head} cannot train on one image at a time: batch norms after a "
                "pooling of the whole image need more; freeze or synchronise them, or take larger batches"
            ) from None


class Segmenter(nn.Module):
    """A network whose last stage's output is classified pixel by pixel, with an auxiliary head on the one before.

    The auxiliary head only helps in training (Zhao et al. 2017, arXiv 1612.01105, sec. 3.3).
    """

    def __init__(self, network: Network, classifier: nn.Module, aux_classifier: nn.Module | None) -> None:
        super().__init__()
        self.backbone, self.classifier, self.aux_classifier = network, classifier, aux_classifier

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Maps (B, 3, H, W) to logits (B, K, H, W): `out`, and in training `aux`."""
        *_, before, last = (None, *self.backbone.features(x))
        size = x.shape[-2:]
        found = {"out": _enlarged(self.classifier(last), size)}
        if self.training and self.aux_classifier is not None:
            found["aux"] = _enlarged(self.aux_classifier(before), size)
        return found


def build_with_head(
    spec: str | Path | ArchSpec,
    head: str,
    classes: int,
    *,
    output_stride: int | None = None,
    aux: bool = True,
    frozen_bn: bool = False,
    pyramid: int = PYRAMID,
    rois: int = 512,
) -> DenseNetwork:
    """Builds a network with a head, with freshly initialised weights.

    Args:
        spec: A name, the path of an architecture file, or a specification.
        head: "faster-rcnn", "mask-rcnn", "cascade-rcnn" or "cascade-mask-rcnn" on a pyramid of all stages, "retinanet"
            on one of all but the first; "deeplabv3" or "fcn" on the last stage.
        classes: Kinds of objects of a detector, without background; all classes of a segmenter.
        output_stride: Of a segmenter's network, 8 by default, as in `nxt.build`.
        aux: Whether a segmenter gets an auxiliary head (FCN) on the last stage but one, if there is one.
        frozen_bn: Whether batch norms of the network keep their statistics, weights and biases in training. Load
            trained weights then; without them nothing is normalised.
        pyramid: Channels of a detector's pyramid, on which those of its heads depend.
        rois: Regions of an image that train a detector's heads for boxes and masks.

    Raises:
        ArchError: for an unknown network or head, and for a number of classes or an output stride that cannot be.
        ConfigError: if the architecture file cannot be read.
    """
    spec = resolve(spec)
    if head not in HEADS:
        raise ArchError(f"head {head!r} is not one of {', '.join(HEADS)}")
    stride = checked_stride(spec, head, output_stride)
    network = build(spec, classes, output_stride=stride)
    network.add_module("fc", nn.Identity())  # no parameter without gradient
    if frozen_bn:
        freeze_norms(network)
    if head not in SEGMENTERS:
        return DenseNetwork(detector(network, head, classes, pyramid, rois), spec, head, classes)
    width = spec.widths[-1]
    classifier = FCNHead(width, classes) if head == "fcn" else DeepLabHead(width, classes, atrous_rates(stride))
    auxiliary = FCNHead(spec.widths[-2], classes) if aux and len(spec.widths) > 1 else None
    return DenseNetwork(Segmenter(network, classifier, auxiliary), spec, head, classes)


def freeze_norms(module: nn.Module) -> None:
    """Replaces all batch norms inside by ones that keep their values; weights load into them as before."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            frozen = FrozenBatchNorm2d(child.num_features, child.eps)
            frozen.load_state_dict(child.state_dict())
            module.add_module(name, frozen)
        else:
            freeze_norms(child)


def _enlarged(logits: Tensor, size: Any) -> Tensor:
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
