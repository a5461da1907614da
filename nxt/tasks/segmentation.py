"""Semantic segmentation: cross entropy of all pixels, with an auxiliary loss, and the mean IoU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nxt.compute.mode import Compute
from nxt.compute.ranks import Ranks
from nxt.data.dataset import IGNORED
from nxt.data.resident import Images
from nxt.errors import DataError, DivergedError
from nxt.tasks.confusion import confusion, overlap
from nxt.train.recipe import Recipe


@dataclass(frozen=True)
class Scan:
    """How an image is looked at in a test: at several scales, mirrored too, and in windows where it is large.

    `window` is the side of square windows in pixels, which overlap by a third as in the ResNeSt authors' code; 0: the
    whole image at once.
    """

    scales: tuple[float, ...] = (1.0,)
    mirror: bool = False
    window: int = 0


class Segmentation:
    """A class for each pixel; see `Task`. Inputs are images (B, 3, H, W), targets classes (B, H, W), 255: ignored."""

    alike = False

    def __init__(self, recipe: Recipe, classes: int) -> None:
        self.recipe, self.classes = recipe, classes

    def prepared(self, inputs: Tensor, targets: Tensor, compute: Compute) -> tuple[Tensor, Tensor]:
        """Returns the images laid out, and the targets."""
        return inputs.contiguous(memory_format=compute.memory_format), targets

    def loss_of(self, network: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        """Returns the mean cross entropy of the pixels, plus that of the auxiliary head in the recipe's share."""
        outputs: dict[str, Tensor] = network(inputs)
        loss = self._loss(outputs["out"], targets)
        return loss + self.recipe.aux * self._loss(outputs["aux"], targets) if "aux" in outputs else loss

    def _loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        smoothing = self.recipe.label_smoothing
        total = F.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum", label_smoothing=smoothing)
        return total / (targets != IGNORED).sum().clamp(min=1)  # of a crop without a class the mean would be NaN

    def measures(
        self,
        network: nn.Module,
        images: Images,
        batch: int,
        compute: Compute,
        ranks: Ranks,
        notify: Callable[[], None] = lambda: None,
    ) -> dict[str, float]:
        """Returns mean IoU, pixel accuracy and the mean accuracy of the classes."""
        matrix = self.matrix(network, images, batch, compute, ranks, notify)
        if not matrix.any():
            raise DataError("all pixels of the images that are judged are ignored; hold out others, or more of them")
        return overlap(matrix).figures

    def matrix(
        self,
        network: nn.Module,
        images: Images,
        batch: int,
        compute: Compute,
        ranks: Ranks,
        notify: Callable[[], None] = lambda: None,
        scan: Scan | None = None,
        keep: Callable[[int, Tensor], None] = lambda row, classes: None,
    ) -> Tensor:
        """Returns the confusion matrix of a network over all images. Raises as `classify` does.

        `scan` says how images are looked at; `keep` is called with the row of each image and its pixels' classes.
        """
        network.eval()
        matrix = torch.zeros(self.classes, self.classes, dtype=torch.int64, device=images.device)
        for inputs, targets in images.plain(batch, ranks.rank, ranks.world):
            for image, target in zip(inputs, targets, strict=True):
                classes = classify(network, image, target["size"], compute, scan)
                keep(target["row"], classes)
                matrix += confusion(classes, target["mask"].to(images.device), self.classes)
            notify()
        return ranks.total(matrix)


@torch.inference_mode()
def classify(
    network: nn.Module, image: Tensor, size: tuple[int, int], compute: Compute, scan: Scan | None = None
) -> Tensor:
    """Returns the class of each pixel of an image as it was, `size` (H, W), int64.

    Args:
        network: The segmenter, in evaluation mode.
        image: The image (3, h, w) as the network takes it.
        size: Height and width of the image as it was.
        compute: How to compute.
        scan: How the image is looked at. Probabilities of several looks are averaged.

    Raises:
        DivergedError: if an output is not finite.
    """
    scan = scan or Scan()
    total: Tensor | None = None
    for scale in scan.scales:
        scaled = image[None] if scale == 1 else F.interpolate(image[None], scale_factor=scale, mode="bilinear")
        for shown in (scaled, scaled.flip(-1))[: 1 + scan.mirror]:
            logits = _logits(network, shown, compute, scan.window)
            logits = logits if shown is scaled else logits.flip(-1)
            shares = F.interpolate(logits, size, mode="bilinear").softmax(dim=1)
            total = shares if total is None else total + shares
    assert total is not None
    if not total.isfinite().all():
        raise DivergedError("the outputs for an image became infinite or NaN")
    return total[0].argmax(dim=0)


def _logits(network: nn.Module, image: Tensor, compute: Compute, window: int) -> Tensor:
    """Returns logits (1, K, h, w) for an image (1, 3, h, w); where windows overlap, their mean."""
    height, width = image.shape[2:]
    if not window or max(height, width) <= window:
        return _forward(network, image, compute)
    padded = F.pad(image, (0, max(0, window - width), 0, max(0, window - height)))
    total: Tensor | None = None
    count = torch.zeros(padded.shape[2:], device=image.device)
    for top in _starts(padded.shape[2], window):
        for left in _starts(padded.shape[3], window):
            logits = _forward(network, padded[:, :, top : top + window, left : left + window], compute)
            if total is None:
                total = logits.new_zeros(1, logits.shape[1], *padded.shape[2:])
            total[:, :, top : top + window, left : left + window] += logits
            count[top : top + window, left : left + window] += 1
    assert total is not None
    return (total / count)[:, :, :height, :width]


def _starts(length: int, window: int) -> Iterator[int]:
    """Yields where windows begin along a side, at most two thirds of a window apart; the last one ends with it."""
    last = length - window
    steps = -(-3 * last // (2 * window))
    yield from (round(last * step / max(1, steps)) for step in range(steps + 1))


def _forward(network: nn.Module, images: Tensor, compute: Compute) -> Tensor:
    with compute.autocast(images.device):
        outputs: dict[str, Tensor] = network(images.contiguous(memory_format=compute.memory_format))
    return outputs["out"].float()
