"""What a search is asked: everything that decides its result, made from options, or read from a run's record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nxt.config import from_mapping, key_paths, parse_settings, require, to_mapping
from nxt.errors import ArchError, ConfigError, SpaceError
from nxt.files import data_from_anywhere
from nxt.provenance import typed, versions
from nxt.search.proxy import Proxy, full_training, load_proxy
from nxt.search.results.run import architectures, read_record
from nxt.search.strategy.sampler import SAMPLERS
from nxt.search.strategy.schedulers import SCHEDULERS
from nxt.space.arch_list import ArchList
from nxt.space.budget import Budget, Limit
from nxt.space.space import Space
from nxt.train.recipe import Recipe, load_recipe

UNLIMITED = 10**6  # trials, where hours are the limit
_PATIENCE = 86400.0  # seconds granted to the first epoch of a full training
_KEEP = ("running", "front", "all")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to search: the values that `--set search.key=value` changes.

    Raises:
        ConfigError: for values out of range.
    """

    sampler: str = "gp"  # what proposes: gp, tpe, nsga2 or random
    scheduler: str = "none"  # what stops trials early: none, asha (in bands of cost) or pareto-asha
    eta: float = 3.0  # one in eta trials goes on at a rung
    grace: float = 0.5  # share of a trial's epochs before the first rung
    control: float = 0.15  # share of the trials to be stopped that run on to the end
    confirm: int = 3  # how many of the most accurate are trained again before one is called the best
    confirm_seeds: int = 2  # how often each of them
    retries: int = 2  # how often a trial is started again when its worker process died
    patience: float = 3600.0  # seconds granted to an epoch before any was measured; later, ten times the slowest
    keep: str = "running"  # whose checkpoints: those of running trials, also of the front, or of all

    def __post_init__(self) -> None:
        require(self.sampler in SAMPLERS, "search", f"sampler is {self.sampler!r}, not one of {', '.join(SAMPLERS)}")
        known = ", ".join(SCHEDULERS)
        require(self.scheduler in SCHEDULERS, "search", f"scheduler is {self.scheduler!r}, not one of {known}")
        require(1 < self.eta <= 100, "search", f"eta is {self.eta}; it lies in (1, 100]")
        require(0 < self.grace <= 1, "search", f"grace is {self.grace}; it lies in (0, 1]")
        require(0 <= self.control <= 1, "search", f"control is {self.control}; it lies in [0, 1]")
        require(0 <= self.confirm <= 1000, "--confirm", f"{self.confirm} is not between 0 and 1000")
        require(1 <= self.confirm_seeds <= 100, "search", f"confirm_seeds is {self.confirm_seeds}; it lies in 1..100")
        require(0 <= self.retries <= 100, "search", f"retries is {self.retries}; it lies in 0..100")
        require(1 <= self.patience <= 10**7, "search", f"patience is {self.patience}; it lies in 1..1e7 seconds")
        require(self.keep in _KEEP, "search", f"keep is {self.keep!r}, not one of {', '.join(_KEEP)}")


_SECTIONS: dict[str, type] = {"proxy": Proxy, "recipe": Recipe, "search": Settings}


@dataclass(frozen=True, kw_only=True)
class SearchRequest:
    """What was asked of a search, as recorded in run.yaml."""

    space: Space | ArchList
    budget: Budget
    data: str
    proxy: Proxy
    recipe: Recipe
    trials: int
    seed: int
    objective: str  # the cost that is kept low while accuracy gets high
    settings: Settings = field(default_factory=Settings)
    repeats: int = 1  # of each architecture of a list
    storage: str = ""  # where trials keep their checkpoints, if not in the run directory
    origins: tuple[str, ...] = ()  # the searches that a list came from

    def __post_init__(self) -> None:
        require(1 <= self.repeats <= 1000, "--repeats", f"{self.repeats} is not between 1 and 1000")
        require(1 <= self.trials <= UNLIMITED, "--trials", f"{self.trials} is not between 1 and {UNLIMITED}")
        require(0 <= self.seed < 2**31, "--seed", f"{self.seed} is not between 0 and 2147483647")

    def record(self) -> dict[str, Any]:
        """Return the request as plain data, for run.yaml."""
        example = example_of(self.space)
        made_for = f"{example.size} px, {example.classes} classes"
        return {
            "command": "search",
            "space_name": self.space.name,
            "budget_rule": str(self.budget),
            "convention": f"MACs of convolution and linear layers, no bias, {made_for}",
            "objective": self.objective,
            "trials": self.trials,
            "repeats": self.repeats,
            "seed": self.seed,
            "data": self.data,
            "storage": self.storage,
            "origins": list(self.origins),
            "proxy": to_mapping(self.proxy),
            "recipe": to_mapping(self.recipe),
            "search": to_mapping(self.settings),
            "budget": [to_mapping(limit) for limit in self.budget.limits],
            "space": self.space.to_dict(),
            "typed": typed(),
            "versions": versions(),
        }


def make_request(
    space: Space | ArchList,
    budget: Budget,
    data: str,
    trials: int,
    seed: int,
    settings: Iterable[str],
    repeats: int = 1,
    storage: str = "",
) -> SearchRequest:
    """Put a request together from what the command line gave; `settings` are `section.key=value`.

    Raises:
        ConfigError: for unknown or unusable settings.
    """
    given = parse_settings(list(settings))
    unknown = next(iter(set(given) - set(_SECTIONS)), None)
    if unknown is not None:
        known = (f"{section}.{key}" for section, kind in _SECTIONS.items() for key in key_paths(kind))
        meant = next((f"; write {key}=VALUE" for key in known if key.endswith(f".{unknown}")), "")
        raise ConfigError(f"--set {unknown}...: the sections are proxy, recipe and search{meant}")
    for section, values in given.items():
        require(isinstance(values, dict), f"--set {section}", "write section.key=value, such as proxy.epochs=3")
    require("epochs" not in given.get("recipe", {}), "--set recipe.epochs", "a trial's length is proxy.epochs")
    proxy = load_proxy(data, given.get("proxy", {}))
    recipe = load_recipe(proxy.recipe, given.get("recipe", {})).with_epochs(proxy.epochs)
    asked = {"augment.policy": bool(recipe.augment.policy), "size": recipe.size, "eval_size": recipe.eval_size}
    for key, value in asked.items():
        require(
            not value, f"recipe: {key}", "it is for nxt train; in a search images are resident, and sized by proxy.size"
        )
    limit = budget.limit("macs")
    return SearchRequest(
        space=space,
        budget=budget,
        data=data,
        proxy=proxy,
        recipe=recipe,
        trials=trials if isinstance(space, Space) else space.size * repeats,
        seed=seed,
        objective="acts" if limit is not None and limit.is_window else "macs",
        settings=from_mapping(Settings, given.get("search", {}), "--set search"),
        repeats=repeats,
        storage=storage,
    )


def full_request(
    space: ArchList, data: str, name: str, recipe: Recipe, seed: int, repeats: int, origins: Iterable[str] = ()
) -> SearchRequest:
    """Return the request to train all architectures of a list fully, by a recipe of that name, and keep their weights.

    Raises:
        ConfigError: for numbers out of range.
    """
    return SearchRequest(
        space=space,
        budget=Budget(()),
        data=data,
        proxy=full_training(name, recipe.epochs),
        recipe=recipe,
        trials=space.size * repeats,
        seed=seed,
        objective="macs",
        settings=Settings(keep="all", patience=_PATIENCE),
        repeats=repeats,
        origins=tuple(origins),
    )


def load_request(run: Path) -> SearchRequest:
    """Read what a search in a run directory was asked.

    Raises:
        RunError: if it is no run directory of a search.
        ConfigError: if its record is damaged.
    """
    path = run / "run.yaml"
    record = read_record(run)
    where = str(path)
    try:
        return SearchRequest(
            space=architectures(record, where),
            budget=Budget(tuple(from_mapping(Limit, limit, where) for limit in record["budget"])),
            proxy=from_mapping(Proxy, record["proxy"], where),
            recipe=from_mapping(Recipe, record["recipe"], where),
            settings=from_mapping(Settings, record["search"], where),
            origins=tuple(record.get("origins", [])),
            **{key: record[key] for key in ("data", "trials", "seed", "objective", "repeats", "storage")},
        )
    except (SpaceError, ArchError) as error:
        raise ConfigError(f"{path}: {error}") from None


def example_of(space: Space | ArchList) -> Any:
    """Return one architecture, for what all of a space have in common."""
    return space.specs[0] if isinstance(space, ArchList) else space.example


def same_conditions(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    """Return which condition of training differs between two records (empty: none), as far as both have it."""
    keys = ("data", "train_images", "val_images", "proxy", "recipe")

    def value(record: Mapping[str, Any], key: str) -> object:
        return data_from_anywhere(str(record[key])) if key == "data" else record[key]  # older ones have relative paths

    return next((k for k in keys if k in first and k in second and value(first, k) != value(second, k)), "")
