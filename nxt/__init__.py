"""nxt: architecture search and model zoo for the ResNeXt/ResNeSt family.

The names below are loaded on first use, so that `import nxt` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nxt.faces import lazy_face

if TYPE_CHECKING:
    from nxt.analysis.profile import profile as profile
    from nxt.arch.load import cost as cost
    from nxt.arch.load import load_arch as load_arch
    from nxt.arch.spec import ArchSpec as ArchSpec
    from nxt.inference.evaluate import evaluate as evaluate
    from nxt.inference.export import export_file as export  # noqa: F401  # handed out under this name
    from nxt.models.network import build as build
    from nxt.search.engine.calls import search as search
    from nxt.search.engine.train_many import train_many as train_many
    from nxt.search.results.run import load_run as load_run
    from nxt.train.checkpoint import load as load
    from nxt.train.engine.train import train as train

__version__ = "0.1.0"

_HOMES = {
    "ArchSpec": "nxt.arch.spec",
    "load_arch": "nxt.arch.load",
    "cost": "nxt.arch.load",
    "profile": "nxt.analysis.profile",
    "build": "nxt.models.network",
    "evaluate": "nxt.inference.evaluate",
    "export": "nxt.inference.export:export_file",
    "load": "nxt.train.checkpoint",
    "load_run": "nxt.search.results.run",
    "search": "nxt.search.engine.calls",
    "train": "nxt.train.engine.train",
    "train_many": "nxt.search.engine.train_many",
}
if not TYPE_CHECKING:
    __getattr__, __all__ = lazy_face(__name__, _HOMES)
