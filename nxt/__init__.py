"""nxt: architecture search and model zoo for the ResNeXt/ResNeSt family.

    nxt.search(...)        searches a design space, and returns its run
    nxt.load_run(path)     reads a run of a search: its trials, its front, its best
    nxt.list_runs(folder)  finds all runs in a folder, and how far they are
    nxt.train(...)         trains a network fully; nxt.train_many(...) several
    nxt.load(path)         returns a trained network; nxt.evaluate(...) tests it, nxt.export(...) writes it for others
    nxt.predict(...)       tells what it takes image files for
    nxt.build(network)     returns a fresh network, by name, architecture file (as nxt.load_arch reads) or ArchSpec
    nxt.cost(network)      returns its exact cost; nxt.profile(network) all of it, also measured

Each has its own help, such as help(nxt.search). They are loaded on first use, so that `import nxt` costs nothing.
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
    from nxt.inference.prediction import predict as predict
    from nxt.models.network import build as build
    from nxt.search.engine.calls import search as search
    from nxt.search.engine.train_many import train_many as train_many
    from nxt.search.results.run import load_run as load_run
    from nxt.search.results.runs import list_runs as list_runs
    from nxt.train.engine.train import train as train
    from nxt.train.trained import load as load

__version__ = "0.1.0"

_HOMES = {
    "ArchSpec": "nxt.arch.spec",
    "load_arch": "nxt.arch.load",
    "cost": "nxt.arch.load",
    "predict": "nxt.inference.prediction",
    "profile": "nxt.analysis.profile",
    "build": "nxt.models.network",
    "evaluate": "nxt.inference.evaluate",
    "export": "nxt.inference.export:export_file",
    "load": "nxt.train.trained",
    "load_run": "nxt.search.results.run",
    "list_runs": "nxt.search.results.runs",
    "search": "nxt.search.engine.calls",
    "train": "nxt.train.engine.train",
    "train_many": "nxt.search.engine.train_many",
}
if not TYPE_CHECKING:
    __getattr__, __all__ = lazy_face(__name__, _HOMES)

    def __dir__() -> list[str]:  # help() and completion list what is not loaded yet, too
        return sorted({*globals(), *__all__})
