"""Recipes: training hyper-parameters as data, read from YAML."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nxt.config import from_mapping, merged, read_yaml, require
from nxt.data.augment import Augment
from nxt.errors import ConfigError, suggestion

FOLDER = Path(__file__).with_name("recipes")
SCHEDULES = ("cosine", "step")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train: SGD with a rate that is a function of the step alone.

    Raises:
        ConfigError: for values that cannot train anything.
    """

    about: str = ""
    epochs: int
    batch: int  # images per step
    lr: float  # highest rate
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 1e-4
    decay_all: bool = True  # False: none on parameters with one dimension (biases, BN)
    schedule: str = "cosine"
    warmup: float = 0.0  # epochs of linear rise before the schedule
    milestones: tuple[float, ...] = ()  # of "step": shares of the training after which the rate falls to a tenth
    label_smoothing: float = 0.0
    zero_last_gamma: bool = False
    calibrate: int = (
        0  # training images from which the BN statistics are averaged anew after every epoch; 0: as they run
    )
    eval_crop: float = 1.0  # share of the side that the centre crop of an evaluation keeps
    augment: Augment = field(default_factory=Augment)

    def __post_init__(self) -> None:
        where = "recipe"
        require(1 <= self.epochs <= 100_000, where, f"epochs is {self.epochs}; it lies in 1..100000")
        require(self.batch >= 2, where, f"batch is {self.batch}; batch norm needs at least 2")
        require(0 < self.lr < math.inf, where, f"lr is {self.lr}; a positive number is needed")
        require(0 <= self.momentum < 1, where, f"momentum is {self.momentum}; it lies in [0, 1)")
        require(0 <= self.weight_decay < 1, where, f"weight_decay is {self.weight_decay}; it lies in [0, 1)")
        require(0 <= self.warmup <= self.epochs, where, f"warmup is {self.warmup} epochs of {self.epochs}")
        require(self.calibrate >= 0, where, f"calibrate is {self.calibrate} images; it is 0 or more")
        require(0 <= self.label_smoothing < 1, where, f"label_smoothing is {self.label_smoothing}; it lies in [0, 1)")
        require(0 < self.eval_crop <= 1, where, f"eval_crop is {self.eval_crop}; it lies in (0, 1]")
        near = suggestion(self.schedule, SCHEDULES) or f"; known are {', '.join(SCHEDULES)}"
        require(self.schedule in SCHEDULES, where, f"no schedule is called {self.schedule!r}{near}")
        require(not self.nesterov or self.momentum > 0, where, "nesterov needs a momentum above 0")

    def with_epochs(self, epochs: int) -> Recipe:
        """Return the same recipe in another length; the warm-up keeps its share."""
        return dataclasses.replace(self, epochs=epochs, warmup=self.warmup * epochs / self.epochs)

    def rate(self, step: int, steps_per_epoch: int) -> float:
        """Return the learning rate of a step, counted from 0 over the whole training."""
        total, rising = self.epochs * steps_per_epoch, self.warmup * steps_per_epoch
        if step < rising:
            return self.lr * (step + 1) / (rising + 1)
        if self.schedule == "step":
            return self.lr * math.prod(0.1 for share in self.milestones if step >= share * total)
        return self.lr * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, total - rising)))


def load_recipe(name_or_path: str, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Load a recipe that comes with nxt, by name, or from a YAML file; `overrides` replace single values.

    Raises:
        ConfigError: if there is no such recipe, or it is not a valid one.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = FOLDER / f"{name_or_path}.yaml"
        if not path.is_file():
            known = sorted(file.stem for file in FOLDER.glob("*.yaml"))
            near = suggestion(name_or_path, known) or f"; known are {', '.join(known)}, or give a YAML file"
            raise ConfigError(f"no recipe is called {name_or_path!r}{near}")
    return from_mapping(Recipe, merged(read_yaml(path), overrides or {}), str(path))
