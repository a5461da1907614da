"""Who may import whom: the syntax trees of all modules under nxt/ and cli/, against the tables below.

An import counts wherever it stands, inside functions too, but not under `if TYPE_CHECKING:`. The faces of packages
(`__init__.py`) name modules as strings and load them on first use; they are not counted.
"""

import ast
import subprocess
import sys
from pathlib import Path

import nxt.cli
import pytest
from limits import LIMIT

import nxt

# The rooms, lowest first. A module may import from its own room and from those above it in this list. A room is a
# module directly in nxt/, or a package without the packages inside it.
ROOMS = [
    "nxt.errors", "nxt.faces", "nxt.pareto", "nxt.units", "nxt.files", "nxt.config", "nxt.rundir", "nxt.provenance",
    "nxt.arch", "nxt.space",  # pure: no torch, no Ray
    "nxt.models", "nxt.compute", "nxt.latency", "nxt.data", "nxt.data.sources", "nxt.data.scenes", "nxt.tracking",
    "nxt.train", "nxt.tasks", "nxt.train.engine",
    "nxt.inference",
    "nxt.search", "nxt.search.study", "nxt.search.strategy", "nxt.search.results", "nxt.search.engine",
    "nxt.search.simulation", "nxt.analysis", "nxt.report",
    "nxt.cli.terminal", "nxt.cli", "nxt.cli.commands", "nxt.__main__",
]  # fmt: skip
PURE = ROOMS[: ROOMS.index("nxt.models")]
STANDS_ALONE = ("nxt.errors", "nxt.faces", "nxt.pareto")  # import nothing of nxt
MOST = 14  # modules in a room, about

# Heavy or optional packages, and the only places (modules or whole packages) that may import them.
ALLOWED = {
    "torch": (
        "nxt.models",
        "nxt.data",
        "nxt.compute",
        "nxt.latency.torch_runtime",
        "nxt.train",
        "nxt.tasks",
        "nxt.inference",
        "nxt.search.engine",
    ),
    "onnx": ("nxt.latency.onnx_graph", "nxt.inference"),
    "onnxruntime": ("nxt.latency.onnx_runtime", "nxt.inference"),
    "torchvision": ("nxt.models", "nxt.data", "nxt.train", "nxt.tasks", "nxt.inference"),
    "pycocotools": ("nxt.data.sources.coco", "nxt.tasks.average_precision"),
    "fvcore": ("nxt.models.check",),
    "optuna": ("nxt.search",),
    "ray": ("nxt.compute.ray_cluster", "nxt.train.engine.distributed", "nxt.search.engine.ray_runner"),
    "tensorboardX": ("nxt.train.tensorboard",),
    "pyarrow": ("nxt.search.engine.checkpoints", "nxt.data.sources"),
    "datasets": ("nxt.data.sources.hugging_face",),
    "rich": ("nxt.cli", "nxt.search.engine.progress", "nxt.train.engine.progress"),
    "typer": ("nxt.cli",),
    "matplotlib": ("nxt.report",),
    "plotly": ("nxt.report",),
    "scipy": (
        "nxt.inference.classifier_evaluation",
        "nxt.search.strategy",
        "nxt.search.results.ablation",
        "nxt.analysis",
        "nxt.report",
        "nxt.cli",
    ),
    "sklearn": ("nxt.search.strategy.surrogate",),
    "pandas": ("nxt.search.results.notebook",),
    "timm": ("nxt.inference.hub",),
    **{name: (f"nxt.tracking.{name}_tracker",) for name in ("mlflow", "wandb", "trackio")},
}


def modules(root, name):
    """Return the module files under a folder by their full names, packages' faces left out."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        inside = name == "nxt" and parts[0] in ("cli", "search_spaces")  # present only in an installed package
        if parts[-1] != "__init__" and not inside:
            found[".".join((name, *parts))] = path
    return found


ROOTS = {"nxt": Path(nxt.__file__).parent, "nxt.cli": Path(nxt.cli.__file__).parent}
MODULES = {module: path for name, root in ROOTS.items() for module, path in modules(root, name).items()}


def is_type_checking(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def imports(source, name):
    """Return (imported module, runs when the module is loaded) for all imports that can run."""

    def visit(node, top):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, top
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(name.split(".")[: -node.level]) if node.level else ""
            whole = ".".join(part for part in (base, node.module) if part)
            yield whole, top
            for alias in node.names:
                yield f"{whole}.{alias.name}", top
        inside = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for child in node.orelse if is_type_checking(node) else ast.iter_child_nodes(node):
            yield from visit(child, top and not inside)

    return list(visit(ast.parse(source), True))


def internal(source, name):
    """Return the modules of nxt that a module imports, each once."""
    found = {target for target, _ in imports(source, name) if target in MODULES}
    return sorted(found - {name})


IMPORTS = {name: imports(path.read_text(encoding="utf-8"), name) for name, path in MODULES.items()}
INTERNAL = {name: internal(path.read_text(encoding="utf-8"), name) for name, path in MODULES.items()}


def room(module):
    return module if module in ROOMS else module.rpartition(".")[0]


def within(module, places):
    return any(module == place or module.startswith(f"{place}.") for place in places)


def test_the_list_of_rooms_is_complete():
    assert {room(name) for name in MODULES} == set(ROOMS)


@pytest.mark.parametrize("name", [name for name in ROOMS if name != "nxt.cli.commands"])  # there, a file a command
def test_a_room_is_not_crowded(name):
    assert sum(room(module) == name for module in MODULES) <= MOST + 1


@pytest.mark.parametrize("name", MODULES)
def test_no_import_runs_up(name):
    for target in INTERNAL[name]:
        assert ROOMS.index(room(target)) <= ROOMS.index(room(name)), f"{name} imports {target}"


def test_no_import_runs_in_a_circle():
    """Depth first over the modules; a module that is met while it is still being visited closes a circle."""
    done, trail = set(), []

    def visit(name):
        assert name not in trail, " -> ".join([*trail[trail.index(name) :], name])
        if name not in done:
            trail.append(name)
            for target in INTERNAL[name]:
                visit(target)
            done.add(trail.pop())

    for name in MODULES:
        visit(name)
    assert done == set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_heavy_packages_are_imported_only_where_they_belong(name):
    for target, _ in IMPORTS[name]:
        package = target.split(".")[0]
        assert package not in ALLOWED or within(name, ALLOWED[package]), f"{name} imports {target}"


@pytest.mark.parametrize("name", STANDS_ALONE)
def test_a_module_that_stands_alone_imports_nothing_of_nxt(name):
    assert INTERNAL[name] == []


def test_the_walk_sees_lazy_and_relative_imports_and_leaves_out_those_for_types():
    """The walk itself, on source of its own."""
    source = (
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import torch\n"
        "else:\n    import ray\n"
        "def f():\n    import optuna.trial\n    from nxt.arch import costs\n"
        "try:\n    import rich\nexcept ImportError:\n    pass\n"
        "from .. import options\n"
    )
    assert dict(imports(source, "nxt.cli.commands.x")) == {
        "typing": True,
        "typing.TYPE_CHECKING": True,
        "ray": True,
        "optuna.trial": False,
        "nxt.arch": False,
        "nxt.arch.costs": False,
        "rich": True,
        "nxt.cli": True,
        "nxt.cli.options": True,
    }
    assert internal(source, "nxt.cli.commands.x") == ["nxt.arch.costs", "nxt.cli.options"]


# What a first import loads. yaml is loaded only where a file is read.
HEAVY = ("torch", "ray", "optuna", "rich", "typer", "matplotlib")
LOADS = {
    "nxt": (*HEAVY, "numpy", "yaml"),
    "nxt.arch.costs": (*HEAVY, "numpy", "yaml"),
    "nxt.arch.zoo": (*HEAVY, "numpy", "yaml"),
    "nxt.space.budget": (*HEAVY, "numpy", "yaml"),
    "nxt.space.space": (*HEAVY, "numpy"),
    "nxt.space.references": HEAVY,
    "nxt.pareto": HEAVY,
}


@pytest.mark.parametrize(("module", "heavy"), LOADS.items())
def test_importing_a_light_module_loads_no_heavy_package(module, heavy):
    code = f"import sys, {module}; print(*sorted(set({heavy!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=LIMIT)
    assert done.stdout.strip() == ""


def test_costing_a_zoo_network_needs_no_heavy_package():
    code = (
        "import sys; from nxt.arch.costs import cost; from nxt.arch.zoo import ZOO; cost(ZOO['resnet50'].spec);"
        "print(*sorted({'torch', 'ray', 'optuna', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=LIMIT)
    assert done.stdout.strip() == ""
