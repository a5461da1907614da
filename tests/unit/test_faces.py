"""The faces of packages: what they hand out is there, on first use; and packages that can be called."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from limits import LIMIT

import nxt
from nxt.faces import make_callable

PACKAGES = sorted(
    ".".join(("nxt", *path.relative_to(Path(nxt.__file__).parent).parts[:-1]))
    for path in Path(nxt.__file__).parent.rglob("__init__.py")
    if path.relative_to(Path(nxt.__file__).parent).parts[0] != "cli"  # present only in an installed package
)


@pytest.mark.parametrize("name", PACKAGES)
def test_a_face_says_what_its_package_is_for_and_hands_out_what_it_lists(name):
    package = importlib.import_module(name)
    assert package.__doc__ and len(package.__doc__.split()) >= 8
    for public in getattr(package, "__all__", []):
        assert getattr(package, public) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        package.no_such_name  # noqa: B018


@pytest.mark.parametrize("name", PACKAGES)
def test_no_public_name_is_also_a_module_s_whose_import_would_replace_it(name):
    package = importlib.import_module(name)
    modules = {path.stem for path in Path(package.__file__).parent.glob("*.py")}
    assert not modules & set(getattr(package, "__all__", []))


def test_what_people_need_stands_in_the_top_face():
    assert {"ArchSpec", "build", "cost", "load", "load_arch", "load_run", "profile"} <= set(nxt.__all__)


def test_help_names_every_function(capsys):
    help(nxt)
    shown = capsys.readouterr().out
    assert {name for name in nxt.__all__ if f"nxt.{name}" not in shown} == {"ArchSpec"} and "ArchSpec" in shown
    assert set(nxt.__all__) <= set(dir(nxt))


@pytest.mark.parametrize("how", [["-m", "nxt"], ["-c", "from nxt.cli.main import program; program()"]])
def test_the_command_line_is_the_module_s_too(how):
    command = [sys.executable, *how, "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=LIMIT)
    assert done.stdout == f"nxt {nxt.__version__}\n"


@pytest.mark.parametrize("first", ["nxt.search.proxy", "nxt.arch.spec"])
def test_search_is_a_function_also_once_something_inside_the_package_was_imported(first):
    code = (
        f"import inspect, {first}, nxt\n"
        "assert callable(nxt.search) and 'flops' in inspect.signature(nxt.search).parameters\n"
        "try: nxt.search(trials=3)\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=LIMIT)
    assert done.stdout.startswith("UsageError give a budget")


def test_a_package_that_is_called_passes_everything_on(tmp_path, monkeypatch):
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "__init__.py").touch()
    (tmp_path / "toy" / "home.py").write_text("def serve(*args, **options):\n    return args, options\n")
    monkeypatch.syspath_prepend(tmp_path)
    toy = importlib.import_module("toy")
    make_callable("toy", "toy.home:serve")
    assert toy(1, two=2) == ((1,), {"two": 2})
