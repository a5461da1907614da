"""The part of the Python interface that needs a word more than its parts: `nxt.cost`, `nxt.load_run`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nxt.arch import costs
from nxt.arch.names import resolve
from nxt.arch.spec import ArchSpec

if TYPE_CHECKING:
    from nxt.search.results.run import Run


def cost(network: str | ArchSpec, size: int | None = None, classes: int | None = None) -> costs.Cost:
    """Return the exact cost of a network for one image.

    Args:
        network: A name, the path of an architecture file, or a specification.
        size: Image side in pixels; by default what the network is made for.
        classes: Outputs of the last layer; by default what the network is made for.

    Raises:
        ArchError, ConfigError: if there is no such network.
    """
    spec = resolve(network) if isinstance(network, str) else network
    return costs.cost(spec, size, classes)


def load_run(path: Path | str) -> Run:
    """Read a search's run directory, also while the search runs. Errors as `nxt.search.results.run.load_run`."""
    from nxt.search.results import run as results

    return results.load_run(path)
