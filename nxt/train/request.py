"""What to train: everything that decides a training's result, made from options or read from a run's record."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nxt.arch.heads import TASKS, task_of
from nxt.arch.spec import ArchSpec
from nxt.compute.mode import Compute
from nxt.config import check_record, from_mapping, require, to_mapping
from nxt.data.dataset import ImagePlacement
from nxt.data.ref import DataRef
from nxt.provenance import typed, versions
from nxt.rundir import read_run_record
from nxt.train.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """What to train, on what, how, and where the results go."""

    spec: ArchSpec
    data: DataRef
    recipe: Recipe
    seed: int
    out: Path
    weights: str = ""  # what to start from: a file, or "torchvision"; empty: from scratch
    freeze: str = ""  # the last part that keeps the weights it starts from, such as "stage2"
    tune: bool = True  # whether `compute` is chosen by measurement, not by rule
    compute: Compute | None = None  # None: to be chosen
    inputs: Mapping[str, ImagePlacement] = field(default_factory=dict)  # by split; empty: to be planned
    workers: int = 1
    download: bool = False  # data may be downloaded
    skip_bad: bool = False  # images that cannot be read are left out
    typed: str = field(default_factory=typed, compare=False)  # the command line, for the record

    def __post_init__(self) -> None:
        require(0 <= self.seed < 2**31, "`seed`", f"{self.seed} is not between 0 and 2147483647")
        require(1 <= self.workers <= 4096, "`workers`", f"{self.workers} is not between 1 and 4096")
        share = self.recipe.batch // self.recipe.accumulate
        uneven = (
            f"{self.workers} workers do not divide the {share} images of a pass; change `settings` batch or accumulate"
        )
        least = 1 if self.recipe.frozen_bn or (self.recipe.sync_bn and self.workers > 1) else 2
        require(share % self.workers == 0 and share >= least * self.workers, "`workers`", uneven)
        require(not self.freeze or bool(self.weights), "`freeze`", "it keeps the weights of `weights`; give those, too")
        check_task(self.data, self.recipe)
        frozen = "frozen_bn keeps the BN statistics that `weights` bring; give those, or `settings` frozen_bn=false"
        require(not self.recipe.frozen_bn or bool(self.weights), "recipe", frozen)

    def asked(self) -> dict[str, Any]:
        """Returns what a user asked, as plain data: without what nxt chose, and without how it was typed."""
        return {
            "name": self.spec.name,
            "fingerprint": self.spec.fingerprint,
            "data": str(self.data),
            **{key: getattr(self, key) for key in _PLAIN},
            "recipe": to_mapping(self.recipe),
        }

    def record(self) -> dict[str, Any]:
        """Returns the request as plain data, for run.yaml."""
        return {
            "command": "train",
            **self.asked(),
            "compute": to_mapping(self.compute),
            "inputs": {split: to_mapping(placement) for split, placement in self.inputs.items()},
            "arch": self.spec.to_dict(),
            "typed": self.typed,
            "versions": versions(),
        }


def check_task(data: DataRef, recipe: Recipe) -> None:
    """Raises ConfigError if data is for another task than a recipe."""
    task, heads = task_of(recipe.head), ", ".join(TASKS.get(data.task, ()))
    advice = f"give a `head` ({heads}), or a recipe that has one" if heads else "leave out the `head`"
    other = f"{data.display} is for {data.task}, the recipe for {task}"
    require(task == data.task, "`data`", f"{other}; {advice}")


_PLAIN = {"seed": int, "weights": str, "freeze": str, "workers": int, "skip_bad": bool, "tune": bool}


def read_record(run: Path) -> Mapping[str, Any]:
    """Reads the record of a training's run directory.

    Raises:
        RunError: if the directory is no training run.
        ConfigError: if its record is damaged.
    """
    record = read_run_record(run, "train")
    kinds = {**_PLAIN, "data": str, "arch": dict, "recipe": dict, "compute": dict, "inputs": dict}
    check_record(record, kinds, str(run / "run.yaml"))
    return record


def load_request(run: Path) -> TrainRequest:
    """Reads what a run's record says to train. Raises as `read_record` does."""
    record, where = read_record(run), str(run / "run.yaml")
    return TrainRequest(
        spec=ArchSpec.from_dict(record["arch"], where),
        recipe=from_mapping(Recipe, record["recipe"], where),
        compute=from_mapping(Compute, record["compute"], where),
        inputs={split: from_mapping(ImagePlacement, placement, where) for split, placement in record["inputs"].items()},
        data=DataRef.parse(record["data"]),
        out=run,
        **{key: record[key] for key in _PLAIN},
    )


def at_size(recipe: Recipe, otherwise: int) -> Recipe:
    """Returns a recipe that says its image sides in pixels, `otherwise` where it did not."""
    size = recipe.size or otherwise
    return dataclasses.replace(recipe, size=size, eval_size=recipe.eval_size or size)
