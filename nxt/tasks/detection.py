"""Detection and instance segmentation: torchvision's losses, and COCO's average precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nxt.compute.mode import Compute
from nxt.compute.ranks import Ranks
from nxt.data.resident import Images
from nxt.errors import DataError, DivergedError
from nxt.tasks.average_precision import Found, Precision, average_precision
from nxt.train.recipe import Recipe

Detected = dict[str, Tensor]  # boxes (n, 4) xyxy, labels (n,) in 1..K, scores (n,), perhaps masks (n, h, w) bool


class Detection:
    """Boxes, and masks, around the objects of each image; see `Task`.

    Inputs are lists of images (3, h, w); targets are dicts with boxes (n, 4) in xyxy, labels (n,) in 1..K, and masks
    (n, h, w) where the head predicts them.
    """

    alike = False

    def __init__(self, recipe: Recipe, classes: int) -> None:
        self.recipe, self.classes = recipe, classes

    def prepared(
        self, inputs: list[Tensor], targets: list[Detected], compute: Compute
    ) -> tuple[list[Tensor], list[Detected]]:
        """Returns the batch as it is: torchvision lays it out."""
        return inputs, targets

    def loss_of(self, network: nn.Module, inputs: list[Tensor], targets: list[Detected]) -> Tensor:
        """Returns the sum of the losses of region proposals, classes, boxes and masks."""
        losses: dict[str, Tensor] = network(inputs, targets)
        return torch.stack(list(losses.values())).sum()

    def measures(
        self,
        network: nn.Module,
        images: Images,
        batch: int,
        compute: Compute,
        ranks: Ranks,
        notify: Callable[[], None] = lambda: None,
    ) -> dict[str, float]:
        """Returns COCO's average precisions, of masks first where the head predicts them."""
        tables = self.tables(self.found(network, images, batch, compute, ranks, notify))
        figures = {f"{table.kind} {name}": value for table in tables for name, value in table.figures.items()}
        known = {name: value for name, value in figures.items() if value is not None}
        if next(iter(known), "") != next(iter(figures)):
            raise DataError("no image that is judged has an object; hold out others, or more of them")
        return known

    def found(
        self,
        network: nn.Module,
        images: Images,
        batch: int,
        compute: Compute,
        ranks: Ranks,
        notify: Callable[[], None] = lambda: None,
    ) -> list[Found]:
        """Returns what a network finds on all images, beside what is there. Raises as `detect` does."""
        network.eval()
        own: list[Found] = []
        for inputs, targets in images.plain(batch, ranks.rank, ranks.world):
            outputs = detect(network, inputs, targets, compute, images.device)
            own += (Found.of(target, output) for target, output in zip(targets, outputs, strict=True))
            notify()
        return [one for part in ranks.gather(own) for one in part]

    def tables(self, found: list[Found]) -> list[Precision]:
        """Returns COCO's figures of masks, where the head predicts them, and of boxes."""
        kinds = ("mask", "box") if "mask" in self.recipe.head else ("box",)
        return [average_precision(found, self.classes, kind) for kind in kinds]


@torch.inference_mode()
def detect(
    network: nn.Module, inputs: list[Tensor], targets: list[dict[str, Any]], compute: Compute, device: torch.device
) -> list[Detected]:
    """Returns what a network finds on images, on the CPU, in the pixels of the images as they were.

    Args:
        network: The detector, in evaluation mode.
        inputs: Images (3, h, w) as the network takes them.
        targets: Have "size" (height, width), of each image as it was.
        compute: How to compute.
        device: Where.

    Raises:
        DivergedError: if a box or a score is not finite.
    """
    with compute.autocast(device):
        outputs = network(inputs)
    found = []
    for image, target, output in zip(inputs, targets, outputs, strict=True):
        height, width = target["size"]
        scale = torch.tensor([width / image.shape[2], height / image.shape[1]] * 2, device=device)
        one = {key: output[key].float() if key != "labels" else output[key] for key in ("boxes", "labels", "scores")}
        one["boxes"] = one["boxes"] * scale
        if not (one["boxes"].isfinite().all() and one["scores"].isfinite().all()):
            raise DivergedError("the boxes or scores for an image became infinite or NaN")
        if "masks" in output:
            one["masks"] = _resized(output["masks"].float(), height, width)
        found.append({key: value.cpu() for key, value in one.items()})
    return found


def _resized(masks: Tensor, height: int, width: int) -> Tensor:
    """Returns probabilities (n, 1, h, w) as masks (n, height, width) bool; one by one, for they are large."""
    resized = [F.interpolate(mask[None], (height, width), mode="bilinear")[0, 0] > 0.5 for mask in masks]
    return torch.stack(resized) if resized else torch.zeros(0, height, width, dtype=torch.bool, device=masks.device)
