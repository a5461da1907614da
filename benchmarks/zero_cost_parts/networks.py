"""Networks whose accuracies are known: nxt's own population, and published ones."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from common import RESULTS
from numpy.typing import NDArray
from population import POPULATIONS

from nxt.analysis import trust
from nxt.arch.costs import cost
from nxt.arch.spec import ArchSpec
from nxt.config import read_yaml
from nxt.search.strategy.features import Features
from nxt.space.budget import parse_budget
from nxt.space.feasible import FeasibleSet
from nxt.space.load import load_space

Array = NDArray[np.float64]
CLASSES = 10
LARGEST = 2e9  # multiply-adds of published networks: three have more, and would take most of the time


@dataclass
class Networks:
    """Networks that others have trained, or nxt."""

    names: list[str]
    inputs: Array  # of the model: axes and logarithms of costs, within 0..1, (networks, inputs)
    errors: dict[str, Array]  # by what they were trained on
    known: dict[str, Array] = field(default_factory=dict)  # what a proxy says of their accuracy
    seconds: dict[str, float] = field(default_factory=dict)  # that it took, of one network

    def costs(self) -> dict[str, Array]:
        """Return the costs at 32 px."""
        found = [cost(ArchSpec.from_name(name), 32, CLASSES) for name in self.names]
        return {name: np.array([getattr(c, name) for c in found], float) for name in trust.BASELINES}


def population(name: str) -> Networks:
    """Read a population of nxt's own: the first full training of each network."""
    with (RESULTS.parent / "populations" / f"{name}.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["repeat"] == "1"]
    full = [row for row in rows if row["condition"] == "full"]
    proxies = {row["name"]: row for row in rows if row["condition"] == "size-16"}
    proxy = [proxies[row["name"]] for row in full]
    plan = read_yaml(POPULATIONS / f"{name}.yaml")
    feasible = FeasibleSet(load_space(plan["space"]), parse_budget(plan["budget"]))
    points = {feasible.space.spec(point).fingerprint: point for point in feasible.points()}
    inputs = Features(feasible, 10_000, 0).inputs(np.array([points[row["fingerprint"]] for row in full]))
    epoch = float(np.median([float(row["epoch_seconds"]) for row in proxy]))
    return Networks(
        [row["name"] for row in full],
        inputs,
        {name: np.array([1 - float(row["acc_16"]) for row in full])},
        {f"size-16, epoch {n} of 8": np.array([float(row[f"acc_{n}"]) for row in proxy]) for n in (1, 8)},
        {f"size-16, epoch {n} of 8": n * epoch for n in (1, 8)},
    )


def published(folder: Path) -> Networks:
    """Read the published ResNeXt networks of three stages, each trained on three data sets."""
    axes, errors = ("depth", "cardinality", "bottleneck_width"), {}
    with (folder / "imgclsmob_resnetlike.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["name"].startswith("ResNeXt-")]
    rows = [row for row in rows if row["dataset"] != "imagenet1k" and float(row["macs_M"]) * 1e6 <= LARGEST]
    for dataset in ("cifar10", "cifar100", "svhn"):
        errors[dataset] = {row["name"]: float(row["top1_err"]) / 100 for row in rows if row["dataset"] == dataset}
    first = [row for row in rows if row["dataset"] == "cifar10" and all(row["name"] in e for e in errors.values())]
    names = ["resnext{}_{}x{}d_cifar".format(*(row[axis] for axis in axes)) for row in first]
    targets = {dataset: np.array([e[row["name"]] for row in first]) for dataset, e in errors.items()}
    networks = Networks(names, np.empty((len(names), 0)), targets)
    columns = [np.unique([int(row[axis]) for row in first], return_inverse=True)[1].astype(float) for axis in axes]
    networks.inputs = np.stack(list(map(unit, [*columns, *map(np.log, networks.costs().values())])), axis=1)
    return networks


def unit(values: Array) -> Array:
    """Return values moved and scaled into 0..1."""
    return np.asarray((values - values.min()) / (np.ptp(values) or 1.0))
