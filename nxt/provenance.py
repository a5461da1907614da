"""What a result was made with."""

from __future__ import annotations

import platform
import shlex
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import nxt


def versions() -> dict[str, str]:
    """Returns the versions of nxt, Python and the libraries that results depend on."""
    found = {"nxt": nxt.__version__, "python": platform.python_version()}
    for package in ("torch", "torchvision", "ray", "optuna", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def typed() -> str:
    """Returns the command line, where nxt's own program runs; empty elsewhere."""
    return shlex.join(["nxt", *sys.argv[1:]]) if Path(sys.argv[0]).name in ("nxt", "nxt.exe") else ""
