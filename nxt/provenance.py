"""What a result was made with."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import nxt


def versions() -> dict[str, str]:
    """Return the versions of nxt, Python and the libraries that results depend on."""
    found = {"nxt": nxt.__version__, "python": platform.python_version()}
    for package in ("torch", "torchvision", "ray", "optuna", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
