"""The training loop, the same for proxies inside a search and for full training.

Every epoch is a pure function of the state before it, the seed and its number: shuffling and augmentation draw
from a generator seeded by (seed, epoch), and the rate depends on the step alone. A training that continues from a
checkpoint therefore ends, on one CPU with the same number of threads, in the same bits.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nxt.data.augment import Augment
from nxt.data.batches import Batches
from nxt.data.dataset import Dataset
from nxt.errors import DivergedError
from nxt.train.recipe import Recipe

_CHECK = 50  # steps between two looks at the loss: each look waits for the device


@dataclass(frozen=True)
class EpochReport:
    """What one epoch gave. `accuracy` is top-1 on the validation split, in 0..1."""

    epoch: int  # counted from 1
    loss: float
    accuracy: float
    lr: float  # of the last step
    seconds: float
    images_per_second: float  # training alone


class Trainer:
    """A network in training on a data set that is resident on the device.

    Args:
        network: The network; it is moved to the device.
        data: Training and validation splits.
        recipe: Hyper-parameters.
        size: Side of the training images in pixels.
        device: Where to train.
        seed: Decides shuffling and augmentation.
    """

    def __init__(
        self, network: nn.Module, data: Dataset, recipe: Recipe, size: int, device: torch.device, seed: int
    ) -> None:
        self.network = network.to(device).to(memory_format=memory_format(device))
        self.recipe, self.device, self.seed = recipe, device, seed
        self.train_batches = Batches(data.train, data.mean, data.std, size, device)
        self.val_batches = Batches(data.val, data.mean, data.std, size, device)
        self.augment = recipe.augment.without_mirror() if not data.mirror else recipe.augment
        self.steps_per_epoch = max(1, len(self.train_batches) // recipe.batch)
        self.epoch = 0
        self.optimizer = torch.optim.SGD(
            _parameter_groups(self.network, recipe),
            lr=recipe.lr,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
        )

    def run_epoch(self) -> EpochReport:
        """Train one epoch and measure the accuracy on the validation split.

        Raises:
            DivergedError: if the loss is no longer finite.
        """
        start = time.perf_counter()
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        self.network.train()
        losses: list[Tensor] = []
        seen = 0
        for images, labels in self.train_batches.train(self.recipe.batch, self.augment, generator):
            losses.append(self._step(images, labels, self.epoch * self.steps_per_epoch + len(losses)))
            seen += len(labels)
            if len(losses) % _CHECK == 0:
                self._check(losses[-1])
        loss = self._check(torch.stack(losses).mean())
        trained = time.perf_counter() - start
        if self.recipe.calibrate:
            self._calibrate(generator)
        self.epoch += 1
        accuracy = evaluate(self.network, self.val_batches, self.recipe)
        return EpochReport(
            epoch=self.epoch,
            loss=loss,
            accuracy=accuracy,
            lr=self.optimizer.param_groups[0]["lr"],
            seconds=time.perf_counter() - start,
            images_per_second=seen / trained,
        )

    def _check(self, loss: Tensor) -> float:
        """Return the loss, or raise DivergedError if it is not finite: from NaN no training comes back."""
        value = float(loss)
        if not math.isfinite(value):
            raise DivergedError(f"the loss became {value} in epoch {self.epoch + 1}; lower the recipe's lr")
        return value

    def _step(self, images: Tensor, labels: Tensor, step: int) -> Tensor:
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.rate(step, self.steps_per_epoch)
        images = images.contiguous(memory_format=memory_format(self.device))
        with autocast(self.device):
            loss = F.cross_entropy(self.network(images), labels, label_smoothing=self.recipe.label_smoothing)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return loss.detach()

    @torch.no_grad()
    def _calibrate(self, generator: torch.Generator) -> None:
        """Average the BN statistics over some training images, under the weights as they are now.

        Running averages lag behind the weights and, with small batches, are noisy: in short trainings of deep networks
        they cost several points of accuracy from one epoch to the next. pycls calls this precise BN.
        """
        norms = [module for module in self.network.modules() if isinstance(module, nn.BatchNorm2d)]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain average over the batches that follow
        batch = max(64, self.recipe.batch)
        count = max(1, min(self.recipe.calibrate, len(self.train_batches)) // batch)
        for images, _ in islice(self.train_batches.train(batch, Augment(), generator), count):
            with autocast(self.device):
                self.network(images.contiguous(memory_format=memory_format(self.device)))
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum

    def state(self) -> dict[str, Any]:
        """Return everything that the next epoch depends on, as tensors and plain data."""
        return {
            "epoch": self.epoch,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a state that `state` returned for the same network, recipe and data."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch = state["epoch"]


@torch.inference_mode()
def evaluate(network: nn.Module, batches: Batches, recipe: Recipe) -> float:
    """Return the top-1 accuracy in 0..1 on all images, resized and centre cropped as the recipe says."""
    network.eval()
    correct = torch.zeros((), dtype=torch.int64, device=batches.device)
    for images, labels in batches.plain(max(64, recipe.batch), recipe.eval_crop):
        with autocast(batches.device):
            logits = network(images)
        correct += (logits.argmax(dim=1) == labels).sum()
    return int(correct) / len(batches)


def memory_format(device: torch.device) -> torch.memory_format:
    """Return the layout in use: channels last on a CPU, where it is the faster one; torch's default elsewhere."""
    return torch.channels_last if device.type == "cpu" else torch.contiguous_format


def autocast(device: torch.device) -> torch.autocast:
    """Return the mixed precision in use: bfloat16 on a GPU that computes in it, none elsewhere."""
    on = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return torch.autocast(device.type, torch.bfloat16, enabled=on)


def _parameter_groups(network: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    decayed: list[nn.Parameter] = []
    spared: list[nn.Parameter] = []
    for parameter in network.parameters():
        (decayed if recipe.decay_all or parameter.ndim > 1 else spared).append(parameter)
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}]
    return [*groups, {"params": spared, "weight_decay": 0.0}] if spared else groups
