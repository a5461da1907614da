"""Classification: the loss with the mixing of images and labels that goes with it, and the accuracy."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nxt.compute.accelerator import accelerator
from nxt.compute.mode import Compute
from nxt.compute.ranks import Ranks
from nxt.data.resident import Images
from nxt.errors import DivergedError
from nxt.train.recipe import Recipe

# Images judged at a time, at least. On a GPU up to eight batches of training, which in memory take less than one does.
_JUDGED, _JUDGED_ON_GPU = 64, 512


class Classification:
    """One class for each image. Inputs are images (B, 3, H, W), targets labels (B,); see `Task`.

    Args:
        recipe: Which loss, label smoothing, mixup and cutmix.
        classes: How many classes there are.
    """

    alike = True

    def __init__(self, recipe: Recipe, classes: int) -> None:
        from torchvision.transforms import v2

        self.recipe, self.classes = recipe, classes
        kinds = {v2.MixUp: recipe.mixup, v2.CutMix: recipe.cutmix}
        self._mixes = [kind(alpha=alpha, num_classes=classes) for kind, alpha in kinds.items() if alpha]

    def prepared(self, inputs: Tensor, targets: Tensor, compute: Compute) -> tuple[Tensor, Tensor]:
        """Returns images (B, 3, H, W) and targets as `mix` gives them."""
        images, targets = self.mix(inputs, targets)
        return images.contiguous(memory_format=compute.memory_format), targets

    def loss_of(self, network: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        """Returns the mean loss of a network for images (B, 3, H, W) and targets as `mix` gives them."""
        return self.loss(network(inputs), targets)

    def measures(
        self,
        network: nn.Module,
        images: Images,
        batch: int,
        compute: Compute,
        ranks: Ranks,
        notify: Callable[[], None] = lambda: None,
    ) -> dict[str, float]:
        """Returns the top-1 accuracy. Raises as `evaluate` does."""
        return {"accuracy": evaluate(network, images, batch, compute, ranks, notify)}

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


@torch.inference_mode()
def evaluate(
    network: nn.Module,
    images: Images,
    batch: int,
    compute: Compute,
    ranks: Ranks,
    notify: Callable[[], None] = lambda: None,
) -> float:
    """Returns the top-1 accuracy in 0..1 on all images, which the workers share among them.

    Raises:
        DivergedError: if an output is not finite. The largest of NaNs is the first, so an accuracy would come out.
    """
    network.eval()
    counts = torch.zeros(2, dtype=torch.int64, device=images.device)  # correct images; those with outputs not finite
    gpu = accelerator(images.device).is_gpu
    wanted = max(_JUDGED, batch, min(_JUDGED_ON_GPU, 8 * batch)) if gpu else max(_JUDGED, batch)
    wanted = min(wanted, -(-len(images) // ranks.world))
    for inputs, labels in images.plain(wanted, ranks.rank, ranks.world):
        missing = wanted - len(inputs) if gpu else 0  # else cuDNN would choose anew for a shape that comes once
        inputs = F.pad(inputs, (0, 0, 0, 0, 0, 0, 0, missing)) if missing else inputs
        with compute.autocast(images.device):
            logits = network(inputs.contiguous(memory_format=compute.memory_format))[: len(labels)]
        counts[0] += (logits.argmax(dim=1) == labels).sum()
        counts[1] += (~logits.isfinite().all(dim=1)).sum()
        notify()
    correct, broken = ranks.total(counts).tolist()
    if broken:
        raise DivergedError(f"the outputs for {broken} of {len(images)} images became infinite or NaN")
    return int(correct) / len(images)
