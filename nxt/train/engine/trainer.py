"""The training loop, the same for proxies inside a search and for full training.

Every step is a pure function of the state before it, the seed and its number: the order of the images, their
augmentation and the network's own random layers draw from generators seeded by these, and rates depend on the step
alone. A training that continues from a state taken at any step therefore ends, on one CPU with the same number of
threads, in the same bits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nxt.compute.accelerator import accelerator
from nxt.compute.cuda_graph import Replayed
from nxt.compute.mode import Compute, by_rule, compiled
from nxt.compute.ranks import Ranks
from nxt.data.augment import Augment
from nxt.data.draw import Draw, derived
from nxt.data.resident import Images
from nxt.errors import ConfigError, DivergedError
from nxt.tasks.task import deciding, task_for
from nxt.train.engine import optim
from nxt.train.model import Model, backbone_of
from nxt.train.recipe import Recipe, steps_per_epoch

_CHECK = 50  # steps between two looks at the loss: each look waits for the device


@dataclass(frozen=True, kw_only=True)
class EpochReport:
    """The figures of one epoch, in 0..1. `accuracy` is the measure of the task: top-1, box or mask AP, or mean IoU."""

    epoch: int  # counted from 1
    loss: float
    accuracy: float
    ema_accuracy: float | None  # of the averaged weights, where the recipe averages them
    lr: float  # of the last step
    seconds: float
    images_per_second: float  # training alone
    wait: float  # share of the training's time spent until images were there to be sent to the device
    train_accuracy: float | None = None  # on all training images, after the last epoch of a full training
    split: str = "val"  # what the accuracies are of; "train": images that are trained on, as none are held out
    measures: Mapping[str, float] = field(default_factory=dict)  # the task's, `accuracy` first; of the better weights

    @property
    def best(self) -> float:
        """The higher one of the accuracies."""
        return max(self.accuracy, self.ema_accuracy or 0.0)


class Trainer:
    """A network in training.

    Args:
        network: The network; it is moved to the images' device.
        train: Images to train on.
        val: Images to be judged on.
        recipe: Hyper-parameters.
        seed: Decides order, augmentation, and what random layers drop.
        mirror: Whether a mirrored image keeps its class.
        compute: How to compute; None: by rule.
        ranks: This worker's place among several.
        full: Whether it is a full training, of which the accuracy on the training images is told at the end.
    """

    def __init__(
        self,
        network: Model,
        train: Images,
        val: Images,
        recipe: Recipe,
        seed: int,
        *,
        mirror: bool = True,
        compute: Compute | None = None,
        ranks: Ranks | None = None,
        full: bool = False,
    ) -> None:
        self.full = full
        self.device = train.device
        accelerator(self.device).prepare()
        self.compute, self.ranks = compute or by_rule(self.device), ranks or Ranks()
        self.network = network.to(self.device).to(memory_format=self.compute.memory_format)
        self.train_images, self.val_images, self.recipe, self.seed = train, val, recipe, seed
        self.optimizer = optim.optimizer(self.network, recipe)
        self.averaged = optim.MovingAverage(self.network, recipe.ema) if recipe.ema else None
        self.task = task_for(recipe, network.num_classes)
        augment = recipe.augment if mirror else recipe.augment.without_mirror()
        share = {"rank": self.ranks.rank, "world": self.ranks.world}
        self._draw = Draw(batch=recipe.batch // recipe.accumulate, augment=augment, seed=seed, **share)
        self.steps_per_epoch = steps_per_epoch(len(train), recipe.batch)
        self.epoch = self.step = 0  # whole epochs, and steps of the one that runs
        self._losses: list[Tensor] = []  # of the steps of the epoch that runs
        self._checked = 0  # how many of them are known to be finite
        if recipe.accumulate > 1 and len(train) < recipe.batch:
            raise ConfigError(f"recipe: batch is {recipe.batch}, but there are only {len(train)} training images")
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=self.compute.precision == "fp16")
        self._forward = self._parallel()
        alone = self.ranks.world == 1 and recipe.accumulate == 1 and not self._scaler.is_enabled()
        recorded = self.compute.graph and alone and not self.compute.compile and self.task.alike
        self._replayed = Replayed(self.network, accelerator(self.device)) if recorded else None

    @property
    def steps_of_epoch(self) -> int:
        """Steps of the epoch that runs: of the last one, where the recipe counts in steps, those that are left."""
        left = self.recipe.total_steps(self.steps_per_epoch) - self.epoch * self.steps_per_epoch
        return min(self.steps_per_epoch, left)

    @property
    def remark(self) -> str:
        """What differs from the request, in a sentence; empty if nothing does."""
        return self._replayed.problem if self._replayed is not None else ""

    def _parallel(self) -> nn.Module:
        """Returns the network as it is called in training: in step with other workers, compiled."""
        forward: nn.Module = self.network
        if self.ranks.world > 1:
            forward = nn.parallel.DistributedDataParallel(forward)
        return compiled(forward) if self.compute.compile else forward

    def run_epoch(self, on_step: Callable[[], None] | None = None) -> EpochReport:
        """Trains one epoch, or the rest of one, and measures the accuracy on the validation split.

        `on_step` is called after every step, and after every batch of the measurements at the end of the epoch; `state`
        is whole then, and what `on_step` raises ends the epoch there. In measurements it runs in inference mode.

        Raises:
            DivergedError: if the loss, or an output for a validation image, is no longer finite.
        """
        notify = on_step or (lambda: None)
        start, begun, waited = time.perf_counter(), self.step, self.train_images.waited
        self.network.train()
        backbone_of(self.network).set_drop_block(self.recipe.drop_block * (self.epoch + 1) / self.recipe.epochs)
        passes = self.train_images.train(self._draw, self.epoch, self.step * self.recipe.accumulate)
        try:
            while self.step < self.steps_of_epoch:
                self._step(passes)
                self.step += 1
                if self.step % _CHECK == 0:
                    self.check()
                notify()
        finally:
            close = getattr(passes, "close", None)
            if close is not None:
                close()
        self.check()
        trained = time.perf_counter() - start
        measures = self._judge(self.network, notify)
        averaged = None if self.averaged is None else self._judge(self.averaged.module, notify)
        accuracy, ema = deciding(measures), None if averaged is None else deciding(averaged)
        last = self.full and self.epoch + 1 == self.recipe.epochs
        better = self.averaged.module if self.averaged is not None and (ema or 0.0) > accuracy else self.network
        report = EpochReport(
            epoch=self.epoch + 1,
            loss=float(torch.stack(self._losses).mean()),
            accuracy=accuracy,
            ema_accuracy=ema,
            train_accuracy=deciding(self._measures(better, self.train_images, notify)) if last else None,
            measures=measures if better is self.network or averaged is None else averaged,
            lr=self.optimizer.param_groups[0]["lr"],
            seconds=time.perf_counter() - start,
            images_per_second=(self.step - begun) * min(self.recipe.batch, len(self.train_images)) / trained,
            wait=(self.train_images.waited - waited) / trained,
        )
        self.epoch, self.step, self._losses, self._checked = self.epoch + 1, 0, [], 0
        return report

    def check(self) -> None:
        """Raises DivergedError if a loss of this epoch is not finite: from NaN no training comes back."""
        fresh = self._losses[self._checked :]
        for step, loss in enumerate(torch.stack(fresh).tolist() if fresh else [], self._checked):
            if not math.isfinite(loss):
                number = self.epoch * self.steps_per_epoch + step
                rate = self.recipe.rate(number, self.steps_per_epoch)
                where = f"in epoch {self.epoch + 1}, step {step + 1}, at a rate of {rate:.3g}"
                raise DivergedError(f"the loss became {loss} {where}; lower the recipe's lr")
        self._checked = len(self._losses)

    @torch.no_grad()
    def check_weights(self) -> None:
        """Raises DivergedError if a weight or a BN statistic is not finite. The loss shows that a step later only."""
        values = [value for value in self.network.state_dict().values() if value.is_floating_point()]
        if not torch.stack([value.isfinite().all() for value in values]).all():
            raise DivergedError(f"the weights became infinite or NaN {self._where()}")

    def _where(self) -> str:
        """Returns where the training is, and what to do where it diverged."""
        rate = self.optimizer.param_groups[0]["lr"]
        return f"in epoch {self.epoch + 1}, step {self.step}, at a rate of {rate:.3g}; lower the recipe's lr"

    def _step(self, passes: Iterator[tuple[Any, Any]]) -> None:
        """Trains one step. On a GPU it only launches: nothing in it reads a value, which would wait for the GPU."""
        recipe, number = self.recipe, self.epoch * self.steps_per_epoch + self.step
        for group in self.optimizer.param_groups:
            group["lr"] = group.get("scale", 1.0) * recipe.rate(number, self.steps_per_epoch)
        total = torch.zeros((), device=self.device)
        self.optimizer.zero_grad()
        for index in range(recipe.accumulate):
            images, labels = next(passes)
            if index == 0:
                torch.manual_seed(derived(self.seed, number, self.ranks.rank))
            total += self._backward(images, labels, last=index == recipe.accumulate - 1)
        if recipe.clip:
            self._scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), recipe.clip)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        if self.averaged is not None and (number + 1) % recipe.ema_every == 0:
            self.averaged.update(self.network)
        self._losses.append(self.ranks.mean(total))

    def _backward(self, images: Any, labels: Any, last: bool) -> Tensor:
        """Adds one pass to the gradients, and returns its part of the step's loss."""
        images, targets = self.task.prepared(images, labels, self.compute)
        if self._replayed is not None:
            return self._replayed(self._pass, images, targets)
        apart = self.ranks.world > 1 and not last
        with self._forward.no_sync() if apart else nullcontext():  # type: ignore[operator]
            return self._pass(images, targets)

    def _pass(self, images: Any, targets: Any) -> Tensor:
        with self.compute.autocast(self.device):
            loss = self.task.loss_of(self._forward, images, targets) / self.recipe.accumulate
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _judge(self, network: nn.Module, notify: Callable[[], None]) -> dict[str, float]:
        """Returns a network's measures on the validation split, after calibration where the recipe asks for it."""
        if self.recipe.calibrate:
            self._calibrate(network, notify)
        self.ranks.share_buffers(network)
        return self._measures(network, self.val_images, notify)

    def _measures(self, network: nn.Module, images: Images, notify: Callable[[], None]) -> dict[str, float]:
        """Returns a network's measures on images as they are."""
        own = self._draw.batch // self.ranks.world
        try:
            return self.task.measures(network, images, own, self.compute, self.ranks, notify)
        except DivergedError as error:
            raise DivergedError(f"{error} {self._where()}") from None

    @torch.no_grad()
    def _calibrate(self, network: nn.Module, notify: Callable[[], None]) -> None:
        """Averages the BN statistics over some training images, under the weights as they are now.

        Running averages lag behind the weights and, with small batches, are noisy: in short trainings of deep networks
        they cost several points of accuracy from one epoch to the next. pycls calls this precise BN.
        """
        network.train()
        norms = [module for module in network.modules() if isinstance(module, _BatchNorm) and module.training]
        momenta = [norm.momentum for norm in norms]
        network.eval()  # nothing is dropped
        for norm in norms:
            norm.train()
            norm.reset_running_stats()
        draw = Draw(batch=max(64, self._draw.batch), augment=Augment(), seed=derived(self.seed, self.epoch))
        count = max(1, min(self.recipe.calibrate, len(self.train_images)) // draw.batch)
        try:
            for number, (images, _) in enumerate(islice(self.train_images.train(draw, self.epoch), count), 1):
                for norm in norms:
                    norm.momentum = 1 / number  # so that all batches weigh the same; None would read a counter of each
                with self.compute.autocast(self.device):
                    network(images.contiguous(memory_format=self.compute.memory_format))
                notify()
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum

    def state(self) -> dict[str, Any]:
        """Returns the whole state of the training, as tensors and plain data."""
        weights = {"raw": self.network.state_dict()}
        if self.averaged is not None:
            weights["ema"] = self.averaged.module.state_dict()
        return {
            "epoch": self.epoch,
            "step": self.step,
            "losses": torch.stack(self._losses) if self._losses else torch.zeros(0),
            "weights": weights,
            "averaged": 0 if self.averaged is None else self.averaged.updates,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continues from a state that `state` returned for the same network, recipe and data."""
        self.network.load_state_dict(state["weights"]["raw"])
        if self.averaged is not None:
            self.averaged.module.load_state_dict(state["weights"]["ema"])
            self.averaged.updates = state["averaged"]
        self.optimizer.load_state_dict(state["optimizer"])
        if state["scaler"]:  # else it was trained without, in another precision
            self._scaler.load_state_dict(state["scaler"])
        self.epoch, self.step = state["epoch"], state["step"]
        self._losses, self._checked = list(state["losses"].to(self.device)), 0
