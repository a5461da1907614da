"""The request of a search: everything that decides its result, made from settings, or read from a run's record."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nxt.arch.costs import resolution
from nxt.arch.heads import Head, task_of
from nxt.arch.latency import LatencyTable, read_table
from nxt.compute.mode import Compute
from nxt.config import check_record, from_mapping, require, to_mapping
from nxt.data.ref import DataRef
from nxt.errors import ArchError, ConfigError, DataError, SpaceError
from nxt.provenance import typed, versions
from nxt.rundir import RECORD, read_run_record
from nxt.search.proxy import Proxy
from nxt.space.arch_list import ArchList
from nxt.space.budget import Budget, Limit
from nxt.space.load import space_from_dict
from nxt.space.space import Space
from nxt.train.recipe import Recipe
from nxt.units import plural

SAMPLERS = ("ehvi", "gp", "tpe", "nsga2", "random")
SCHEDULERS = ("none", "asha", "pareto-asha")
OBJECTIVES = ("macs", "params", "acts", "latency")  # costs that can be minimised while accuracy is maximised
LATENCY = "latency.json"  # the table of latencies, in the run directory
KEEP = ("running", "front", "all")
_MOST_TRIALS = 10**6 - 1
_BY_HOURS = 10**6  # the number of trials in older records of searches that only the hours limited


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to search: the values under `search` in the settings of a search.

    Raises:
        ConfigError: if values are out of range.
    """

    sampler: str = "ehvi"  # proposes architectures: ehvi, gp, tpe, nsga2 or random
    scheduler: str = "none"  # stops trials early: none, asha (in bands of cost) or pareto-asha
    eta: float = 3.0  # one in eta trials continues at a rung
    grace: float = 0.5  # share of a trial's epochs before the first rung
    control: float = 0.15  # share of the trials due to stop that continue to the end
    confirm: int = 3  # how many of the most accurate, at most, are trained again before one is called the best
    confirm_seeds: int = 3  # how often each of them is trained again, at most
    retries: int = 2  # how often a trial is started again after its worker process died or hung
    patience: float = 3600.0  # seconds without a sign of life that a start may take; a step: 300, or 20 of the slowest
    keep: str = "running"  # checkpoints to keep: running (of running trials), front (also of the front) or all

    def __post_init__(self) -> None:
        for key, known in {"sampler": SAMPLERS, "scheduler": SCHEDULERS, "keep": KEEP}.items():
            value = getattr(self, key)
            require(value in known, "search", f"{key} is {value!r}, not one of {', '.join(known)}")
        require(1 < self.eta <= 100, "search", f"eta is {self.eta}; it lies in (1, 100]")
        require(0 < self.grace <= 1, "search", f"grace is {self.grace}; it lies in (0, 1]")
        require(0 <= self.control <= 1, "search", f"control is {self.control}; it lies in [0, 1]")
        require(0 <= self.confirm <= 1000, "`confirm`", f"{self.confirm} is not between 0 and 1000")
        require(1 <= self.confirm_seeds <= 100, "search", f"confirm_seeds is {self.confirm_seeds}; it lies in 1..100")
        require(0 <= self.retries <= 100, "search", f"retries is {self.retries}; it lies in 0..100")
        require(1 <= self.patience <= 10**7, "search", f"patience is {self.patience}; it lies in 1..1e7 seconds")


@dataclass(frozen=True, kw_only=True)
class SearchRequest:
    """The request of a search.

    Raises:
        ConfigError: if numbers are out of range.
    """

    space: Space | ArchList
    budget: Budget
    data: DataRef
    proxy: Proxy
    recipe: Recipe
    trials: int | None  # how many to explore; None: as many as the hours allow
    seed: int
    objective: str  # the cost that is minimised while accuracy is maximised, one of OBJECTIVES
    settings: Settings = field(default_factory=Settings)
    repeats: int = 1  # trainings of each architecture of a list
    storage: str = ""  # where trials keep their checkpoints, if not in the run directory
    origins: tuple[str, ...] = ()  # the searches that a list came from
    skip_bad: bool = False  # images that cannot be read are left out

    def __post_init__(self) -> None:
        trials = 1 if self.trials is None else self.trials
        require(1 <= self.repeats <= 1000, "`repeats`", f"{self.repeats} is not between 1 and 1000")
        require(1 <= trials <= _MOST_TRIALS, "`trials`", f"{trials} is not between 1 and {_MOST_TRIALS}")
        require(0 <= self.seed < 2**31, "`seed`", f"{self.seed} is not between 0 and 2147483647")

    @property
    def is_list(self) -> bool:
        """Whether a plain list is trained, without a search."""
        return isinstance(self.space, ArchList)

    @property
    def task(self) -> str:
        """What is trained for: "classification", "detection" or "segmentation"."""
        return task_of(self.recipe.head)

    @property
    def measure(self) -> str:
        """What accuracies are, where they are compared: of each task the first of its measures."""
        if self.task == "classification":
            return "accuracy"
        return "mIoU" if self.task == "segmentation" else "mask AP" if "mask" in self.recipe.head else "box AP"

    @property
    def full(self) -> bool:
        """Whether trials are full trainings, not proxies."""
        return self.proxy.full

    @property
    def latency(self) -> LatencyTable | None:
        """The table by which latencies are counted, if they are."""
        found = self.space.latency if isinstance(self.space, Space) else None
        return found if isinstance(found, LatencyTable) else None

    @property
    def counted_at(self) -> str:
        """At which image side and number of classes costs are counted, to be added to a budget in words."""
        size, classes, head = self._counted
        return f" at {size} px, {classes:,} classes{head}"

    @property
    def convention(self) -> str:
        """Which operations count as multiply-adds, at which image size and number of classes."""
        size, classes, head = self._counted
        return f"MACs of convolution and linear layers, no bias, {size} px, {classes} classes{head}"

    @property
    def _counted(self) -> tuple[int, int, str]:
        """At which image side and number of classes costs are counted, and with which head, in words."""
        head = self.space.head if isinstance(self.space, Space) else None
        counted = resolution(self.space.example, *self.space.counted, head=head and head.name)
        return *counted, "" if head is None else f", with {head.name}"

    @property
    def conditions(self) -> dict[str, Any]:
        """What must be equal for accuracies to be comparable."""
        data = self.data.absolute()  # older records have relative paths
        return {"data": str(data), "proxy": to_mapping(self.proxy), "recipe": to_mapping(self.recipe)}

    def to_dict(self) -> dict[str, Any]:
        """Returns the request as plain data."""
        return {
            "space_name": self.space.name,
            "budget_rule": str(self.budget),
            "convention": self.convention,
            "objective": self.objective,
            "trials": self.trials,
            "repeats": self.repeats,
            "seed": self.seed,
            "data": str(self.data),
            "storage": self.storage,
            "origins": list(self.origins),
            **({"skip_bad": True} if self.skip_bad else {}),
            **({} if self.latency is None else {"latency": {**self.latency.conditions, "table": LATENCY}}),
            "proxy": to_mapping(self.proxy),
            "recipe": to_mapping(self.recipe),
            "search": to_mapping(self.settings),
            "budget": [to_mapping(limit) for limit in self.budget.limits],
            "space": self.space.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str) -> SearchRequest:
        """Reads a request from the plain data of `to_dict`.

        Raises:
            ConfigError: if it is damaged.
        """
        check_record(data, _KINDS, where)
        require(data["objective"] in OBJECTIVES, where, f"damaged; objective is {data['objective']!r}")
        trials = data.get("trials")
        try:
            return cls(
                space=with_head(_architectures(data, where), from_mapping(Recipe, data["recipe"], where)),
                budget=Budget(tuple(from_mapping(Limit, limit, where) for limit in data["budget"])),
                proxy=from_mapping(Proxy, data["proxy"], where),
                recipe=from_mapping(Recipe, data["recipe"], where),
                settings=from_mapping(Settings, data["search"], where),
                trials=None if trials == _BY_HOURS else trials,
                origins=tuple(data.get("origins", [])),
                skip_bad=bool(data.get("skip_bad", False)),
                data=DataRef.parse(data["data"]),
                **{key: data[key] for key in ("seed", "objective", "repeats", "storage")},
            )
        except (SpaceError, ArchError, DataError) as error:
            raise ConfigError(f"{where}: {error}") from None


@dataclass(frozen=True, kw_only=True)
class SearchRecord:
    """run.yaml of a search: the request, the number of images, the command typed and the versions."""

    request: SearchRequest
    train_images: int
    val_images: int
    typed: str = field(default_factory=typed)
    versions: Mapping[str, Any] = field(default_factory=versions)
    ways: Mapping[str, Compute] = field(default_factory=dict)  # how proxies compute on a GPU, by family, if measured
    size: int | None = None  # image side in pixels that trials train at; None in older records
    largest_class: float | None = None  # its share of the validation images: what to name it always would give

    @property
    def trained(self) -> str:
        """How trials are trained: image side, stem, width, share of the images, epochs and recipe, as they are."""
        request, proxy = self.request, self.request.proxy
        most = f"at most {proxy.size} px" if proxy.size else ""
        size = most if self.size is None else f"{self.size} px"
        epochs = plural(proxy.epochs, "epoch")
        parts = [size, "" if proxy.full else proxy.described(self.size, request.space.example.stem), epochs]
        head = f"head {request.recipe.head}, compared by {request.measure}" if request.recipe.head else ""
        trained = ", ".join(part for part in (*parts, f"recipe {proxy.recipe}", head) if part)
        always = self.largest_class
        return trained if always is None else f"{trained}; always the largest class would give {always:.1%}"

    @property
    def conditions(self) -> dict[str, Any]:
        """What must be equal for accuracies to be comparable."""
        return {**self.request.conditions, **self._images}

    def to_dict(self) -> dict[str, Any]:
        """Returns the record as plain data, for run.yaml."""
        made_by = {"typed": self.typed, "versions": dict(self.versions)}
        ways = {"ways": {name: to_mapping(way) for name, way in self.ways.items()}} if self.ways else {}
        known: dict[str, Any] = {} if self.size is None else {"size": self.size}
        known |= {} if self.largest_class is None else {"largest_class": self.largest_class}
        return {"command": "search", **self.request.to_dict(), **made_by, **self._images, **known, **ways}

    @property
    def _images(self) -> dict[str, int]:
        return {"train_images": self.train_images, "val_images": self.val_images}


def load_record(run: Path) -> SearchRecord:
    """Reads run.yaml of a search.

    Raises:
        RunError: if the directory is not a run of a search.
        ConfigError: if the record is damaged.
    """
    data, where = read_run_record(run, "search"), str(run / RECORD)
    check_record(data, {"train_images": int, "val_images": int}, where)
    for key, kind in {"size": int, "largest_class": float}.items():
        require(isinstance(data.get(key), kind | None), where, f"damaged; {key} is {data.get(key)!r}")
    request = SearchRequest.from_dict(data, where)
    if "latency" in data and isinstance(request.space, Space):
        space = request.space.with_latency(read_table(run / LATENCY))
        request = dataclasses.replace(request, space=space)
    return SearchRecord(
        request=request,
        train_images=data["train_images"],
        val_images=data["val_images"],
        typed=str(data.get("typed", "")),
        versions=data.get("versions") or {},
        ways={name: from_mapping(Compute, way, where) for name, way in (data.get("ways") or {}).items()},
        size=data.get("size"),
        largest_class=data.get("largest_class"),
    )


def first_difference(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    """Returns the first key that both have with different values; empty if there is none."""
    return next((key for key in first if key in second and first[key] != second[key]), "")


_KINDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("space_name", "objective", "data", "storage"), str),
    **dict.fromkeys(("repeats", "seed"), int),
    **dict.fromkeys(("proxy", "recipe", "search", "space"), dict),
    "trials": (int, type(None)),
    "budget": list,
}


def _architectures(data: Mapping[str, Any], where: str) -> Space | ArchList:
    if "architectures" in data["space"]:
        return ArchList.from_dict(data["space"], where)
    return space_from_dict(data["space"], data["space_name"], where)


def with_head(space: Space | ArchList, recipe: Recipe) -> Space | ArchList:
    """Returns a space with the recipe's head on its networks, which its costs count then."""
    if not recipe.head or isinstance(space, ArchList):
        return space
    stride = None if recipe.output_stride is None else min(recipe.output_stride, space.example.strides[-1])
    return space.with_head(Head(recipe.head, stride, recipe.pyramid))
