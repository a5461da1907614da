"""Cuts the views of a test image, and applies networks to them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from nxt.arch.breakdown import portions
from nxt.config import require
from nxt.data.dataset import Source
from nxt.data.preprocess import Preprocess
from nxt.data.transforms import as_tensor, evaluation
from nxt.errors import suggestion
from nxt.models.network import Network

if TYPE_CHECKING:
    from PIL.Image import Image

KINDS = ("center", "ten", "dense")
SCALES = (224, 256, 384, 480, 640)  # for networks made for 224 pixels; ResNet (arXiv 1512.03385) sec. 3.4
_MADE_FOR = 224
Stack = tuple[list[int], NDArray[np.uint8]]  # places of images in a batch, and one view of each, (n, 3, H, W)


@dataclass(frozen=True, kw_only=True)
class Views:
    """The views of an image that a network gets. The scores (softmax) of all views are averaged with equal weights.

    `center`: resized and cropped as the preprocessing says. `ten`: the four corners and the centre of the resized
    image, and their mirror images (Krizhevsky et al. 2012). `dense`: the whole image with its shorter side at each of
    several scales, and mirrored; see `Dense`. The best results of the ResNeXt paper (sec. 5.1) use dense testing as
    in the ResNet paper.

    Args:
        preprocess: How to preprocess an image. In dense testing `size` is the side that the network is made for.
        kind: "center", "ten" or "dense".
        scales: Shorter sides in pixels for dense testing; by default the papers', in proportion to the size.
        mirror: Whether a mirrored image keeps its class. If not, there are five crops, and each scale once.

    Raises:
        ConfigError: for an unknown kind, scales out of range, or scales without dense testing.
    """

    preprocess: Preprocess
    kind: str = "center"
    scales: tuple[int, ...] = ()
    mirror: bool = True

    def __post_init__(self) -> None:
        near = suggestion(self.kind, KINDS) or f"; known are {', '.join(KINDS)}"
        require(self.kind in KINDS, "views", f"no views are called {self.kind!r}{near}")
        require(not self.scales or self.kind == "dense", "views", f"scales belong to dense views, not to {self.kind}")
        for scale in self.scales:
            require(4 <= scale <= 4096, "views", f"a scale is {scale}; it lies in 4..4096 pixels")

    @property
    def sides(self) -> tuple[int, ...]:
        """Shorter sides, in pixels, to which an image is resized."""
        if self.kind != "dense":
            return (self.preprocess.resized,)
        size = self.preprocess.size
        return self.scales or tuple(math.floor(size * scale / _MADE_FOR + 0.5) for scale in SCALES)

    @property
    def largest(self) -> int:
        """Side of the largest view in pixels; in dense testing, its shorter side."""
        return max(self.sides) if self.kind == "dense" else self.preprocess.size

    @property
    def mirrored(self) -> bool:
        """Whether each view is used a second time as its mirror image."""
        return self.mirror and self.kind != "center"

    def cut(self, image: Image) -> list[Tensor]:
        """Returns an image's views as uint8, (3, H, W) each, without mirror images; the same number for every image."""
        if self.kind == "center":
            return [evaluation(self.preprocess)(image)]
        pixels, kind = as_tensor(image), InterpolationMode(self.preprocess.interpolation)
        resized = [functional.resize(pixels, [side], kind, antialias=True) for side in self.sides]
        return resized if self.kind == "dense" else list(functional.five_crop(resized[0], [self.preprocess.size] * 2))

    def applied(self, network: Network) -> nn.Module:
        """Returns a module that maps a batch of one view, (B, 3, H, W), to the logits of its scores, (B, K)."""
        return Dense(network, self.preprocess.size) if self.kind == "dense" else network


@dataclass(frozen=True)
class Cutter:
    """Cuts the views of rows in a worker process, and stacks those with the same number and shape.

    Stacks are arrays, which are sent through a pipe. Tensors would each need a file descriptor.
    """

    source: Source
    split: str
    views: Views

    def __call__(self, rows: NDArray[np.int64]) -> list[Stack]:
        stacks: dict[tuple[int, ...], tuple[list[int], list[Tensor]]] = {}
        for place, row in enumerate(rows.tolist()):
            for number, view in enumerate(self.views.cut(self.source.open(self.split, row))):
                places, members = stacks.setdefault((number, *view.shape), ([], []))
                places.append(place)
                members.append(view)
        return [(places, torch.stack(members).numpy()) for places, members in stacks.values()]


class Dense(nn.Module):
    """A network applied at all positions of images of any shape (VGG, arXiv 1409.1556, sec. 3.2; ResNet sec. 3.4).

    The average pooling slides over the last feature map with stride one. Its window is as large as the whole map of an
    image of the network's own size. The linear layer becomes a 1x1 convolution behind it. So an image of that size has
    one position, with the network's own output.

    Softmax scores are averaged over the positions, as in the papers. Averaged logits would be worse: with windows of
    1x1 they are the logits of the averaged features, which is the network's own forward pass on a larger image. If the
    map is smaller than the window, the window is cut. Split attention pools over the whole image.

    Args:
        network: The network; its layers are used, not copied.
        size: Side in pixels that the network is made for.
    """

    def __init__(self, network: Network, size: int) -> None:
        super().__init__()
        layers = list(network.children())  # in forward order; the head follows the pooling
        self.trunk, self.head = nn.Sequential(*layers[: layers.index(network.avgpool)]), network.fc
        self.window = portions(network.spec, size)[-2].side.height

    def forward(self, x: Tensor) -> Tensor:
        """Maps images (B, 3, H, W), normalised, to the logarithm of the scores averaged over positions, (B, K)."""
        features = self.trunk(x)
        height, width = features.shape[-2:]
        pooled = F.avg_pool2d(features, (min(self.window, height), min(self.window, width)), stride=1)
        logits = self.head(pooled.flatten(2).transpose(1, 2))  # (B, positions, K)
        scores = logits.float().log_softmax(dim=2)
        return scores.logsumexp(dim=1) - math.log(scores.shape[1])  # type: ignore[no-any-return]
