"""Makes the requests of searches, and of lists that are trained fully, from what a user says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from nxt.config import from_mapping, key_paths, merged, require
from nxt.data.dataset import VAL_SHARE
from nxt.data.ref import DataRef
from nxt.errors import ConfigError, own_name
from nxt.search.proxy import Proxy, full_training, load_proxy
from nxt.search.request import OBJECTIVES, SearchRequest, Settings, with_head
from nxt.space.arch_list import ArchList
from nxt.space.budget import COSTS, Budget
from nxt.space.space import Space
from nxt.train.recipe import Recipe, load_recipe
from nxt.train.request import check_task

_SECTIONS: dict[str, type] = {"proxy": Proxy, "recipe": Recipe, "search": Settings}


def make_request(
    space: Space | ArchList,
    budget: Budget,
    data: DataRef | str = "digits",
    trials: int | None = None,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    repeats: int = 1,
    storage: str = "",
    objectives: str | None = None,
) -> SearchRequest:
    """Makes the request of a search.

    Args:
        space: The architectures to choose from.
        budget: The limits on an architecture's costs.
        data: The data to train on.
        trials: How many to explore; None: as many as the hours allow. Ignored for a list.
        seed: The seed of the search.
        settings: Values by key under `proxy`, `recipe` and `search` that replace the defaults.
        repeats: Trainings of each architecture of a list.
        storage: Where trials keep their checkpoints, if not in the run directory.
        objectives: `accuracy,COST`; by default the cost is acts inside a window of multiply-adds, and else macs.

    Raises:
        ConfigError: if settings are unknown or unusable, or there are no such objectives.
        DataError: if there is no such kind of data.
    """
    settings, data = settings or {}, DataRef.of(data)
    _check_sections(settings)
    proxy = load_proxy(data, settings.get("proxy", {}))
    sizes: dict[str, Any] = {"size": None, "eval_size": None}  # the proxy's
    if proxy.size is not None and data.task != "classification":
        sizes |= {"scene": {"sides": [], "longest": 2 * proxy.size}}
    recipe = load_recipe(proxy.recipe, merged(sizes, settings.get("recipe", {}))).with_epochs(proxy.epochs)
    check_task(data, recipe)
    space = with_head(space, recipe)
    full_only = {"augment.policy": bool(recipe.augment.policy), "size": recipe.size, "eval_size": recipe.eval_size}
    for key, value in full_only.items():
        problem = "it is for full trainings; in a search images are resident, and sized by proxy.size"
        require(not value, f"recipe: {key}", problem)
    _check_comparable(recipe)
    return SearchRequest(
        space=space,
        budget=budget,
        data=data,
        proxy=proxy,
        recipe=recipe,
        trials=space.size * repeats if isinstance(space, ArchList) else trials,
        seed=seed,
        objective=_objective(objectives, space, budget),
        settings=from_mapping(Settings, settings.get("search", {}), "`settings` search"),
        repeats=repeats,
        storage=storage,
    )


def _objective(objectives: str | None, space: Space | ArchList, budget: Budget) -> str:
    """Returns the cost to minimise."""
    if objectives is None:
        return "acts" if budget.is_window else "macs"
    words = [word.strip() for word in objectives.split(",")]
    name = next((word for word in words if word != "accuracy"), "")
    name = COSTS.get(name, name)
    known = ", ".join(("flops", *OBJECTIVES[1:]))
    right = len(words) == 2 and "accuracy" in words and name in OBJECTIVES
    require(right, f"`objectives` {objectives}", f"write accuracy,COST, where COST is one of {known}")
    lacks = name == "latency" and (isinstance(space, ArchList) or space.latency is None)
    advice = "it needs a table of latencies: `latency_table` FILE; nxt latency measure SPACE makes one"
    require(not lacks, f"`objectives` {objectives}", advice)
    return name


def _check_comparable(recipe: Recipe) -> None:
    """Raises ConfigError for a recipe by which several trainings cannot be compared."""
    advice = "it is for the training of one network; several are compared by epochs, on images held out alike"
    for key, usual in {"holdout": VAL_SHARE, "steps": None}.items():
        require(getattr(recipe, key) == usual, f"recipe: {key}", advice)
    fresh = "it keeps the BN statistics of weights to start from, and several networks start from new ones"
    require(not recipe.frozen_bn, "recipe: frozen_bn", fresh)


def full_request(
    space: ArchList, data: DataRef, name: str, recipe: Recipe, seed: int, repeats: int, origins: Iterable[str] = ()
) -> SearchRequest:
    """Returns the request to train a list fully with the recipe of that name, and to keep the weights.

    Raises:
        ConfigError: if numbers are out of range, or the recipe is for one network.
    """
    _check_comparable(recipe)
    return SearchRequest(
        space=space,
        budget=Budget(()),
        data=data,
        proxy=full_training(name, recipe.epochs),
        recipe=recipe,
        trials=space.size * repeats,
        seed=seed,
        objective="macs",
        settings=Settings(keep="all"),
        repeats=repeats,
        origins=tuple(origins),
    )


def _check_sections(settings: Mapping[str, Any]) -> None:
    """Raises ConfigError unless the settings are mappings under proxy, recipe and search, without recipe.epochs."""
    for section, values in settings.items():
        if section not in _SECTIONS:
            keys = (f"{name}.{key}" for name, kind in _SECTIONS.items() for key in key_paths(kind))
            near = next((f"; write {key}=VALUE" for key in keys if key.endswith(f".{own_name(section)}")), "")
            raise ConfigError(f"`settings` {section}...: the sections are proxy, recipe and search{near}")
        problem = "write section.key=value, such as proxy.epochs=3"
        require(isinstance(values, Mapping), f"`settings` {section}", problem)
    no_epochs = "epochs" not in settings.get("recipe", {})
    require(no_epochs, "`settings` recipe.epochs", "a trial's length is proxy.epochs")
