"""Recipes: training hyper-parameters as data, read from YAML."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nxt.arch.heads import HEADS, PYRAMID, task_of
from nxt.config import from_mapping, merged, read_yaml, require
from nxt.data.augment import Augment
from nxt.data.dataset import VAL_SHARE
from nxt.data.preprocess import INTERPOLATIONS, Preprocess
from nxt.data.scenes.scene import Scene
from nxt.errors import ConfigError, expecting, suggestion
from nxt.files import is_file
from nxt.units import plural

FOLDER = Path(__file__).with_name("recipes")
OPTIMIZERS = ("sgd", "adamw")
SCHEDULES = ("cosine", "step", "poly")
LOSSES = ("cross-entropy", "bce")
_MOST_LR = 1e30  # what optimizers can compute with


@dataclass(frozen=True, kw_only=True)
class Saving:
    """Which checkpoints a training keeps beside the last two and the best.

    Raises:
        ConfigError: for values out of range.
    """

    minutes: float = 10.0  # between two saves inside an epoch
    every: int = 0  # epochs between two that are kept for good; 0: none
    most: int = 5  # of those; older ones go

    def __post_init__(self) -> None:
        require(0 < self.minutes <= 1e6, "recipe: saving", f"minutes is {self.minutes}; a positive number is needed")
        require(self.every >= 0, "recipe: saving", f"every is {self.every} epochs; it is 0 or more")
        require(self.most >= 1, "recipe: saving", f"most is {self.most}; it is at least 1")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train: hyper-parameters, with rates that are functions of the step alone.

    Raises:
        ConfigError: for values that cannot train anything.
    """

    about: str = ""
    epochs: int = 0  # 0: as many as `steps` are
    steps: int | None = None  # of the whole training, in the place of epochs; the last epoch may be cut short
    batch: int  # images per step, over all workers
    accumulate: int = 1  # passes that add up to a step, for batches beyond the device's memory
    lr: float  # highest rate
    lr_batch: int | None = None  # images per step that lr is meant for; the rate is scaled linearly. None: `batch`
    optimizer: str = "sgd"
    momentum: float = 0.9
    nesterov: bool = True
    betas: tuple[float, ...] = (0.9, 0.999)  # of adamw
    weight_decay: float = 1e-4
    decay_all: bool = True  # False: none on parameters with one dimension (biases, BN)
    clip: float = 0.0  # largest norm of a gradient; 0: any
    schedule: str = "cosine"
    warmup: float = 0.0  # epochs of linear rise before the schedule
    warmup_steps: int = 0  # likewise in steps, in the place of epochs
    milestones: tuple[float, ...] = ()  # of "step": shares of the training after which the rate falls to a tenth
    loss: str = "cross-entropy"
    label_smoothing: float = 0.0
    mixup: float = 0.0  # parameter of the Beta distribution (Zhang et al. 2018, arXiv 1710.09412); 0: none
    cutmix: float = 0.0  # likewise (Yun et al. 2019, arXiv 1905.04899); with both, each batch gets one of them
    dropout: float = 0.0  # before the last layer
    drop_block: float = 0.0  # probability in the last epoch, rising linearly (Ghiasi et al. 2018, arXiv 1810.12890)
    stochastic_depth: float = 0.0  # of the last block, rising linearly with depth (Huang et al. 2016)
    zero_last_gamma: bool = False
    sync_bn: bool = False  # BN statistics over the images of all workers
    ema: float = 0.0  # decay of the weights' moving average; 0: none
    ema_every: int = 1  # steps between two updates of it
    calibrate: int = (
        0  # training images from which the BN statistics are averaged anew after every epoch; 0: as they run
    )
    holdout: float = VAL_SHARE  # of the training images, to select by, where the data holds out none; 0: all train
    size: int | None = None  # image side in training, in pixels; None: the data's own, or the network's
    eval_size: int | None = None  # image side in evaluation; None: as in training
    eval_crop: float = 1.0  # share of the side that the centre crop of an evaluation keeps
    interpolation: str = "bilinear"
    augment: Augment = field(default_factory=Augment)
    head: str = ""  # of `nxt.arch.heads.HEADS`; empty: the network's own, a classifier's
    head_lr: float = 1.0  # the head's rate, relative to the rest's
    output_stride: int | None = None  # the largest one under a head, for which stages are dilated; None: as usual there
    frozen_bn: bool = False  # under a head: BN keeps the statistics and the scales that it starts from
    pyramid: int = PYRAMID  # channels of a detector's feature pyramid, on which those of its heads depend
    rois: int = 512  # regions of an image that train a detector's heads
    aux: float = 0.0  # share of the loss of a second head on the last but one stage, in segmentation
    scene: Scene = field(default_factory=Scene)  # how images with boxes or masks are made
    saving: Saving = field(default_factory=Saving)

    def __post_init__(self) -> None:
        where = "recipe"
        require(self.steps is None or 1 <= self.steps <= 10**9, where, f"steps is {self.steps}; it lies in 1..10^9")
        require(self.epochs != 0 or self.steps is not None, where, "epochs is 0, or missing; give it, or steps")
        require(0 <= self.epochs <= 100_000, where, f"epochs is {self.epochs}; it lies in 1..100000")
        require(0 <= self.holdout <= 0.5, where, f"holdout is {self.holdout}; it lies in [0, 0.5]")
        least = 1 if self.frozen_bn else 2
        require(self.batch >= least, where, f"batch is {self.batch}; batch norm needs at least 2")
        require(self.accumulate >= 1, where, f"accumulate is {self.accumulate}; it is at least 1")
        passes = f"batch {self.batch} is not {self.accumulate} passes of {least} or more images"
        require(self.batch % self.accumulate == 0 and self.batch >= least * self.accumulate, where, passes)
        require(0 < self.lr <= _MOST_LR, where, f"lr is {self.lr}; it lies in (0, {_MOST_LR:g}]")
        require(self.lr_batch is None or self.lr_batch > 0, where, f"lr_batch is {self.lr_batch}; it is at least 1")
        require(len(self.betas) == 2, where, f"betas are two numbers, not {len(self.betas)}")
        for name, value in {"momentum": self.momentum, "betas": max(self.betas), "ema": self.ema}.items():
            require(0 <= value < 1, where, f"{name} is {value}; it lies in [0, 1)")
        require(min(self.betas) >= 0, where, f"betas is {min(self.betas)}; it lies in [0, 1)")
        for name in ("weight_decay", "label_smoothing", "dropout", "drop_block", "stochastic_depth"):
            require(0 <= getattr(self, name) < 1, where, f"{name} is {getattr(self, name)}; it lies in [0, 1)")
        for name in ("mixup", "cutmix", "clip", "calibrate"):
            require(0 <= getattr(self, name) < math.inf, where, f"{name} is {getattr(self, name)}; it is 0 or more")
        for name in ("mixup", "cutmix"):
            value = getattr(self, name)
            require(value == 0 or value >= 1e-3, where, f"{name} is {value}; it is 0 (none), or at least 0.001")
        require(self.ema_every >= 1, where, f"ema_every is {self.ema_every} steps; it is at least 1")
        require(self.warmup_steps >= 0, where, f"warmup_steps is {self.warmup_steps}; it is 0 or more")
        require(not (self.warmup and self.warmup_steps), where, "warmup and warmup_steps are both given; give one")
        long_enough = 0 <= self.warmup <= self.epochs or (not self.epochs and self.warmup >= 0)
        require(long_enough, where, f"warmup is {self.warmup} epochs of {self.epochs}")
        for share in self.milestones:
            require(0 < share < 1, where, f"milestones are shares of the training between 0 and 1, not {share}")
        for side in (self.size, self.eval_size):
            require(side is None or 4 <= side <= 4096, where, f"a size of {side} is not between 4 and 4096 pixels")
        require(0 < self.eval_crop <= 1, where, f"eval_crop is {self.eval_crop}; it lies in (0, 1]")
        kinds = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES, "loss": LOSSES, "interpolation": INTERPOLATIONS}
        for name, known in kinds.items():
            value = getattr(self, name)
            near = suggestion(value, known) or f"; known are {', '.join(known)}"
            require(value in known, where, f"no {name} is called {value!r}{near}")
        require(not self.nesterov or self.momentum > 0, where, "nesterov needs a momentum above 0")
        self._check_head(where)

    def _check_head(self, where: str) -> None:
        near = suggestion(self.head, HEADS) or f"; known are {', '.join(HEADS)}"
        require(not self.head or self.head in HEADS, where, f"no head is called {self.head!r}{near}")
        require(self.head_lr > 0, where, f"head_lr is {self.head_lr}; it is above 0")
        require(8 <= self.pyramid <= 4096, where, f"pyramid is {self.pyramid} channels; it lies in 8..4096")
        require(4 <= self.rois <= 4096, where, f"rois is {self.rois}; it lies in 4..4096")
        require(0 <= self.aux <= 10, where, f"aux is {self.aux}; it lies in [0, 10]")
        if not self.head:
            return
        task = task_of(self.head)
        for name in ("mixup", "cutmix", "calibrate", "dropout"):
            require(not getattr(self, name), where, f"{name} is for classification, not for {task}; leave it out")
        for name in ("crop_area", "shift", "rotate", "zoom", "policy", "erase"):
            same = getattr(self.augment, name) == getattr(Augment(), name)
            require(same, where, f"augment.{name} is for classification, not for {task}; leave it out")
        require(self.loss == "cross-entropy", where, f"loss {self.loss} is for classification, not for {task}")

    @property
    def peak(self) -> float:
        """The highest rate, scaled to the batch."""
        return self.lr * self.batch / (self.lr_batch or self.batch)

    @property
    def sides(self) -> tuple[int, int]:
        """Image sides in training and in evaluation, of a recipe that says them.

        Raises:
            ConfigError: if it does not.
        """
        if self.size is None or self.eval_size is None:
            raise ConfigError("recipe: size and eval_size are missing")
        return self.size, self.eval_size

    def with_batch(self, batch: int) -> Recipe:
        """Returns the same recipe with another batch, its rate scaled linearly."""
        scaled = self.lr if self.lr_batch else self.lr * batch / self.batch
        return dataclasses.replace(self, batch=batch, lr=scaled)

    def preprocess(self, size: int, mean: tuple[float, ...], std: tuple[float, ...]) -> Preprocess:
        """Returns how images of that side are made."""
        return Preprocess(size=size, crop=self.eval_crop, interpolation=self.interpolation, mean=mean, std=std)

    def with_epochs(self, epochs: int) -> Recipe:
        """Returns the same recipe in another length; the warm-up keeps its share."""
        warmup = self.warmup * epochs / self.epochs if self.epochs else min(self.warmup, epochs)
        return dataclasses.replace(self, epochs=epochs, steps=None, warmup=warmup)

    def with_images(self, count: int) -> Recipe:
        """Returns the same recipe with the epochs that its steps are, on so many training images.

        Raises:
            ConfigError: if it says another number of epochs.
        """
        if self.steps is None:
            return self
        epochs = math.ceil(self.steps / steps_per_epoch(count, self.batch))
        both = f"{self.steps:,} steps are {plural(epochs, 'epoch')} of {count:,} images, not {self.epochs}; give one"
        require(self.epochs in (0, epochs), "recipe", both)
        return dataclasses.replace(self, epochs=epochs)

    def total_steps(self, per_epoch: int) -> int:
        """Returns the steps of the whole training."""
        return self.steps or self.epochs * per_epoch

    def rate(self, step: int, per_epoch: int) -> float:
        """Returns the learning rate of a step, counted from 0 over the whole training."""
        total, rising = self.total_steps(per_epoch), self.warmup * per_epoch + self.warmup_steps
        if step < rising:
            return self.peak * (step + 1) / (rising + 1)
        if self.schedule == "step":
            return self.peak * math.prod(0.1 for share in self.milestones if step >= share * total)
        done = (step - rising) / max(1, total - rising)
        if self.schedule == "poly":  # of a power of 0.9, as in DeepLab (Chen et al. 2017, arXiv 1606.00915, sec. 4.1)
            return self.peak * math.pow(1 - done, 0.9)
        return self.peak * 0.5 * (1 + math.cos(math.pi * done))


def steps_per_epoch(images: int, batch: int) -> int:
    """Returns the steps of an epoch; what is left over of a batch waits for the next shuffle."""
    return max(1, images // batch)


def load_recipe(name_or_path: str, overrides: Mapping[str, Any] | None = None, network: str = "") -> Recipe:
    """Loads a recipe that comes with nxt, by name, or from a YAML file.

    Args:
        name_or_path: The recipe. Under `models` its file may give values of their own for some networks, by name.
        overrides: Values in the place of the file's.
        network: The name of the network to train.

    Raises:
        ConfigError: if there is no such recipe, or it is not a valid one.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = FOLDER / f"{name_or_path}.yaml"
        if not is_file(path):
            known = sorted(file.stem for file in FOLDER.glob("*.yaml") if file.stem != "proxy")
            near = suggestion(name_or_path, known) or f"; known are {', '.join(known)}, or give a YAML file"
            raise ConfigError(f"no recipe is called {name_or_path!r}{near}")
    with expecting("recipe", path):
        own = _read(path, network)
        recipe = from_mapping(Recipe, own, str(path))
        return from_mapping(Recipe, merged(own, overrides), "`settings`") if overrides else recipe


def _read(path: Path, network: str) -> dict[str, Any]:
    """Reads the values of a recipe's file for a network; they are checked for the others, too."""
    data = read_yaml(path)
    models = data.pop("models", {})
    require(isinstance(models, dict), f"{path}: models", "a mapping of networks' names to values was expected")
    for name, values in models.items():
        require(isinstance(values, dict), f"{path}: models: {name}", "a mapping of keys to values was expected")
        from_mapping(Recipe, merged(data, values), f"{path}: models: {name}")  # so that a mistake shows for any network
    return merged(data, models.get(network, {}))


def make_recipe(
    recipe: str | Path | Mapping[str, Any],
    network: str = "",
    *,
    epochs: int | None = None,
    size: int | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Recipe:
    """Returns a recipe with single values changed.

    Args:
        recipe: A recipe's name, a YAML file, or its values.
        network: The name of the network to train.
        epochs: Epochs, instead of the recipe's; the warm-up keeps its share.
        size: Image side in pixels, in training and evaluation.
        settings: Values in the place of the recipe's.

    Raises:
        ConfigError: if there is no such recipe, or a value is not valid.
    """
    changes = dict(settings or {})
    require(size is None or 4 <= size <= 4096, "`size`", f"{size} is not between 4 and 4096 pixels")
    for section in {"recipe", "proxy", "search"} & set(changes):
        advice = "a training has no sections; write the key alone, such as `settings` lr=0.1"
        raise ConfigError(f"`settings` {section}...: {advice}")
    changes = merged({} if size is None else {"size": size, "eval_size": size}, changes)
    if "steps" in changes:
        changes = {"epochs": 0, **changes}
    if isinstance(recipe, Mapping):
        made = from_mapping(Recipe, merged(recipe, changes), "`recipe`")
    else:
        made = load_recipe(str(recipe), changes, network)
    return made if epochs is None else made.with_epochs(epochs)
