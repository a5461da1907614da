"""Records the versions and the command line that a result was made with."""

from __future__ import annotations

import platform
import shlex
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import nxt


def versions() -> dict[str, str]:
    """Returns the versions of nxt, Python and the libraries that results depend on."""
    installed = {"nxt": nxt.__version__, "python": platform.python_version()}
    for package in ("torch", "torchvision", "ray", "optuna", "numpy"):
        with suppress(PackageNotFoundError):
            installed[package] = version(package)
    return installed


def typed() -> str:
    """Returns the command line if this is the nxt program, else an empty string."""
    return shlex.join(["nxt", *sys.argv[1:]]) if Path(sys.argv[0]).name in ("nxt", "nxt.exe") else ""
