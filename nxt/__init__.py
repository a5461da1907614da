"""nxt: architecture search and model zoo for the ResNeXt/ResNeSt family.

The names below are loaded on first use, so that `import nxt` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nxt.api import cost as cost
    from nxt.api import load_run as load_run
    from nxt.arch.spec import ArchSpec as ArchSpec
    from nxt.arch.spec import load_arch as load_arch
    from nxt.models.network import build as build
    from nxt.train.checkpoint import load as load

__version__ = "0.1.0"

_HOMES = {
    "ArchSpec": "nxt.arch.spec",
    "load_arch": "nxt.arch.spec",
    "cost": "nxt.api",
    "load_run": "nxt.api",
    "build": "nxt.models.network",
    "load": "nxt.train.checkpoint",
}
__all__ = ["ArchSpec", "build", "cost", "load", "load_arch", "load_run"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'nxt' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
