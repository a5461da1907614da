"""The loss, and the mixing of images and labels that goes with it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nxt.train.recipe import Recipe


class Objective:
    """What a training minimises.

    Args:
        recipe: Which loss, label smoothing, mixup and cutmix.
        classes: How many classes there are.
    """

    def __init__(self, recipe: Recipe, classes: int) -> None:
        from torchvision.transforms import v2

        self.recipe, self.classes = recipe, classes
        kinds = {v2.MixUp: recipe.mixup, v2.CutMix: recipe.cutmix}
        self._mixes = [kind(alpha=alpha, num_classes=classes) for kind, alpha in kinds.items() if alpha]

    def mix(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mixes each image of a batch with its neighbour, in a share that torch's global generator draws.

        Returns:
            Images (B, 3, H, W), and targets: labels (B,) as they were, or shares of the classes (B, classes).
        """
        if not self._mixes:
            return images, labels
        mix = self._mixes[int(torch.randint(len(self._mixes), ()))]
        mixed, targets = mix(images, labels)
        return mixed, targets

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Returns the mean loss of logits (B, classes) for targets as `mix` gives them.

        The binary form judges each class by itself, as in Wightman et al. 2021 (arXiv 2110.00476); but of mixed images
        the targets are the shares of the classes, where they are 1 there.
        """
        smoothing = self.recipe.label_smoothing
        if self.recipe.loss == "cross-entropy":
            return F.cross_entropy(logits, targets, label_smoothing=smoothing)
        shares = targets if targets.ndim == 2 else F.one_hot(targets, self.classes).to(logits.dtype)
        return F.binary_cross_entropy_with_logits(logits, shares * (1 - smoothing) + smoothing / self.classes)
