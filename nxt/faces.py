"""Public names of packages that are imported on first use (PEP 562)."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any


def lazy_face(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], list[str]]:
    """Returns a package's `__getattr__` and `__all__`.

    Args:
        package: The package's full name.
        homes: By public name, the full name of its module; `module:name` if it has another name there.
    """

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return _loaded(homes[name], name)

    return load, sorted(homes)


def make_callable(package: str, home: str) -> None:
    """Makes a package callable, so that `nxt.search(...)` works although `nxt.search` is also a package.

    (When a module inside the package is imported, Python sets the attribute `nxt.search` to the package.)

    Args:
        package: The package's full name.
        home: The function to call, as `module:name`.
    """

    class CallablePackage(ModuleType):
        def __call__(self, *args: Any, **options: Any) -> Any:
            return _loaded(home)(*args, **options)

        @property
        def __wrapped__(self) -> Any:  # inspect and help() read it
            return _loaded(home)

    sys.modules[package].__class__ = CallablePackage


def _loaded(home: str, name: str = "") -> Any:
    module, _, own_name = home.partition(":")
    return getattr(importlib.import_module(module), own_name or name)
