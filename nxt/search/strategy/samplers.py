"""Makes a sampler from its name."""

from __future__ import annotations

from collections.abc import Sequence

from nxt.errors import ConfigError, suggestion
from nxt.search.request import SAMPLERS
from nxt.search.strategy.ehvi import STARTUP, ImprovementSampler
from nxt.search.strategy.optuna_samplers import MODEL_STARTUP, MovedSampler
from nxt.search.strategy.sampler import Choices, FeasibleSampler
from nxt.space.space import Point


def make_sampler(
    name: str,
    feasible: Choices,
    first: Sequence[Point],
    seed: int,
    objectives: Sequence[str] = ("macs",),
    window: bool = False,
) -> FeasibleSampler:
    """Returns the sampler of that name.

    Args:
        name: One of `request.SAMPLERS`.
        feasible: The architectures to choose from.
        first: The references: points to propose before anything else.
        seed: The seed of the search.
        objectives: The costs that are minimised while accuracy is maximised.
        window: Whether the budget asks for one size, so that the best network counts more than a front.

    Raises:
        ConfigError: if there is no such sampler.
    """
    if name not in SAMPLERS:
        near = suggestion(name, SAMPLERS) or f"; known are {', '.join(SAMPLERS)}"
        raise ConfigError(f"no sampler is called {name!r}{near}")
    if name == "ehvi":
        return ImprovementSampler(feasible, first, seed, objectives, window)
    if name == "random":
        return FeasibleSampler(feasible, first, seed)
    return MovedSampler(feasible, first, seed, name)


def begins(name: str) -> int | None:
    """Returns the number of architectures after which a sampler proposes by a model; None if it has none."""
    return {"ehvi": STARTUP, "gp": MODEL_STARTUP, "tpe": MODEL_STARTUP}.get(name)
