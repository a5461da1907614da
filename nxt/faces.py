"""Faces of packages: the few public names that a package hands out, loaded on first use (PEP 562)."""

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
        homes: By public name, the full name of the module that has it; `module:name` where it has another name there.
    """

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return _loaded(homes[name], name)

    return load, sorted(homes)


def make_callable(package: str, home: str) -> None:
    """Lets a package be called: `nxt.search(...)` is a function although `nxt.search` is a package, too.

    (As soon as a module inside it is imported, Python sets the attribute `nxt.search` to the package.)

    Args:
        package: The package's full name.
        home: The function that serves the call, as `module:name`.
    """

    class CallablePackage(ModuleType):
        def __call__(self, *args: Any, **options: Any) -> Any:
            return _loaded(home)(*args, **options)

        @property
        def __wrapped__(self) -> Any:  # what inspect and help() look at
            return _loaded(home)

    sys.modules[package].__class__ = CallablePackage


def _loaded(home: str, name: str = "") -> Any:
    module, _, other = home.partition(":")
    return getattr(importlib.import_module(module), other or name)
