"""Who may import whom: the syntax trees of all modules under nxt/, against the tables below.

An import counts wherever it stands, inside functions too, but not under `if TYPE_CHECKING:`.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from limits import LIMIT

import nxt

ROOT = Path(nxt.__file__).parent

# Heavy or optional packages, and the only places (modules or whole packages) that may import them.
ALLOWED = {
    "torch": ("nxt.models", "nxt.data", "nxt.train", "nxt.search", "nxt.api"),
    "torchvision": ("nxt.models", "nxt.data", "nxt.train"),
    "fvcore": ("nxt.models.check",),
    "optuna": ("nxt.search",),
    "ray": ("nxt.compute.ray_cluster", "nxt.train.engine.distributed", "nxt.search.engine.ray_runner"),
    "tensorboardX": ("nxt.train.tensorboard",),
    "pyarrow": ("nxt.search.engine.checkpoints",),
    "rich": ("nxt.cli",),
    "typer": ("nxt.cli",),
    "matplotlib": ("nxt.report",),
    "plotly": ("nxt.report",),
    "pandas": ("nxt.search.results.notebook",),
    "timm": (),
}
# The modules directly in nxt/, lowest first. A module may import only from layers below its own.
LAYERS = [
    {"errors", "pareto"},
    {"units"},
    {"config", "files", "provenance"},
    {"mistaken"},
    {"arch"},
    {"names"},
    {"zoo", "layers"},
    {"costs", "memory"},
    {"profiles", "sensitivity"},
    {"budget", "iso"},
    {"space"},
    {"stagewise"},
    {"gate"},
    {"feasible", "archlist"},
    {"references", "lint"},
    {"api"},
]
# Imports that go upwards on purpose: inside functions, at the time of a call.
LAZY_UPWARDS = {
    ("nxt.arch.spec", "nxt.arch.names"),
    ("nxt.mistaken", "nxt.space.space"),
    ("nxt.mistaken", "nxt.arch.zoo"),
    ("nxt.arch.names", "nxt.arch.zoo"),
    ("nxt.space.space", "nxt.space.stagewise"),
}
PURE = sorted(set().union(*LAYERS) - {"api"})
# Packages, and what each may import besides itself. "pure" stands for every module above but api.
PACKAGES = {
    "models": ("pure",),
    "data": ("pure",),
    "train": ("pure", "models", "data"),
    "search": ("pure", "models", "data", "train"),
    "report": ("pure", "search"),
}
STANDS_ALONE = {"errors", "pareto"}


def module_name(path):
    parts = ("nxt", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    module_name(path): path
    for path in sorted(ROOT.rglob("*.py"))
    if path.relative_to(ROOT).parts[0] not in ("cli", "search_spaces")  # present only in an installed package
}


def is_type_checking(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def imports(path, name):
    """Yield (imported module, runs when the module is loaded) for all imports that can run."""

    def visit(node, top):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, top
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative import in line {node.lineno}"
            yield node.module, top
            for alias in node.names:
                yield f"{node.module}.{alias.name}", top
        inside = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for child in node.orelse if is_type_checking(node) else ast.iter_child_nodes(node):
            yield from visit(child, top and not inside)

    return list(visit(ast.parse(path.read_text(encoding="utf-8")), True))


def internal(path, name):
    """Return the modules of nxt that a module imports, each once."""
    found = set()
    for target, _ in imports(path, name):
        while target.startswith("nxt.") and target not in MODULES:
            target = target.rpartition(".")[0]  # a name inside a module
        if target.startswith("nxt.") and target != name:
            found.add(target)
    return sorted(found)


def within(module, places):
    return any(module == place or module.startswith(f"{place}.") for place in places)


def layer(name):
    return next((index for index, names in enumerate(LAYERS) if name.removeprefix("nxt.") in names), None)


TOP = sorted(name for name in MODULES if name.count(".") == 1 and MODULES[name].name != "__init__.py")
INSIDE = sorted(name for name in MODULES if name.split(".")[1:] and name.split(".")[1] in PACKAGES)


def test_the_tables_cover_every_module():
    assert set(TOP) <= {f"nxt.{name}" for names in LAYERS for name in names}
    assert set(MODULES) == {"nxt", *TOP, *INSIDE}
    assert len(MODULES) > 15


@pytest.mark.parametrize("name", MODULES)
def test_heavy_packages_are_imported_only_where_they_belong(name):
    for target, _ in imports(MODULES[name], name):
        package = target.split(".")[0]
        assert package not in ALLOWED or within(name, ALLOWED[package]), f"{name} imports {target}"


@pytest.mark.parametrize("name", MODULES)
def test_nothing_imports_the_command_line(name):
    assert not [target for target, _ in imports(MODULES[name], name) if within(target, ("cli", "nxt.cli"))]


@pytest.mark.parametrize("name", TOP)
def test_a_module_imports_only_from_layers_below(name):
    if name == "nxt.api":
        return
    for target in internal(MODULES[name], name):
        assert target in TOP, f"{name} imports {target}"
        assert layer(target) < layer(name) or (name, target) in LAZY_UPWARDS, f"{name} imports {target}"


@pytest.mark.parametrize(("name", "target"), sorted(LAZY_UPWARDS))
def test_an_import_upwards_waits_for_a_call(name, target):
    tops = [top for found, top in imports(MODULES[name], name) if found == target]
    assert tops and not any(tops)


@pytest.mark.parametrize("name", sorted(STANDS_ALONE))
def test_a_module_that_stands_alone_imports_nothing_of_nxt(name):
    assert internal(MODULES[f"nxt.{name}"], name) == []


@pytest.mark.parametrize("name", INSIDE)
def test_a_package_imports_only_what_its_row_allows(name):
    package = name.split(".")[1]
    for target in internal(MODULES[name], name):
        owner = target.split(".")[1]
        allowed = owner == package or owner in PACKAGES[package] or (owner in PURE and "pure" in PACKAGES[package])
        assert allowed, f"{name} imports {target}"


def test_the_walk_sees_lazy_imports_and_leaves_out_those_for_types():
    """The walk itself, on source of its own."""
    source = (
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import torch\n"
        "else:\n    import ray\n"
        "def f():\n    import optuna.trial\n    from nxt import costs\n"
        "try:\n    import rich\nexcept ImportError:\n    pass\n"
    )

    class Source:
        def read_text(self, encoding):
            return source

    found = dict(imports(Source(), "nxt.x"))
    assert found == {
        "typing": True,
        "typing.TYPE_CHECKING": True,
        "ray": True,
        "optuna.trial": False,
        "nxt": False,
        "nxt.arch.costs": False,
        "rich": True,
    }
    assert internal(Source(), "nxt.x") == ["nxt.arch.costs"]


# What a first import loads. yaml is loaded only where a file is read.
LOADS = {
    "nxt": ("torch", "ray", "optuna", "numpy", "yaml", "rich", "typer", "matplotlib"),
    "nxt.arch.costs": ("torch", "ray", "optuna", "numpy", "yaml", "rich", "typer", "matplotlib"),
    "nxt.arch.zoo": ("torch", "ray", "optuna", "numpy", "yaml", "rich", "typer", "matplotlib"),
    "nxt.space.budget": ("torch", "ray", "optuna", "numpy", "yaml", "rich", "typer", "matplotlib"),
    "nxt.space.space": ("torch", "ray", "optuna", "numpy", "rich", "typer", "matplotlib"),
    "nxt.space.references": ("torch", "ray", "optuna", "rich", "typer", "matplotlib"),
    "nxt.pareto": ("torch", "ray", "optuna", "rich", "typer", "matplotlib"),
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
