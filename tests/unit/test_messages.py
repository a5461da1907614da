"""What the library says: no option of the command line is named in it; and how the command line shows its messages."""

import ast
import pickle
import re
from pathlib import Path

import pytest
from nxt.cli.messages import as_options, explained

import nxt
from nxt.errors import ArchError, NxtError, expecting

ROOT = Path(nxt.__file__).parent
OPTION = re.compile(r"(?<![\w-])--[a-z]")
# Words with two dashes that are no options of nxt, or stand in what people read beside the command line.
NOT_OURS = {
    "report/assets.py": "variables of a style sheet",
    "data/processes.py": "an option of docker",
    "compute/doctor.py": "an option of docker",
    "compute/machine.py": "options of nvidia-smi",
    "compute/ray_cluster.py": "an option of Ray's own program",
    "train/model_card.py": "the commands that a model card tells its reader",
    "report/sections.py": "the commands that a report tells its reader",
    "report/training.py": "the commands that a report tells its reader",
}


def strings(path):
    """Yield the line and text of every string of a module, docstrings left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documents = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documents:
            yield node.lineno, node.value


MODULES = [path for path in sorted(ROOT.rglob("*.py")) if path.relative_to(ROOT).parts[0] != "cli"]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_message_of_the_library_names_no_option_of_the_command_line(path):
    named = [(line, text) for line, text in strings(path) if OPTION.search(text)]
    assert not named or str(path.relative_to(ROOT)) in NOT_OURS, named


def test_the_exceptions_are_needed():
    for name in NOT_OURS:
        assert any(OPTION.search(text) for _, text in strings(ROOT / name)), name


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("`trials`: 0 is not between 1 and 9", "--trials: 0 is not between 1 and 9"),
        ("`gpus_per_trial` 3: there are 2", "--gpus-per-trial 3: there are 2"),
        ("change `settings` lr, or `archs`; write `target` onnx", "change --set lr, or --arch; write --to onnx"),
        ("`space` cannot be given", "SPACE cannot be given"),
        ("`Two Words` and `9` stay", "`Two Words` and `9` stay"),
    ],
)
def test_arguments_are_shown_as_options(message, shown):
    assert as_options(message) == shown


def test_an_error_notes_what_was_wanted_once_and_keeps_it_in_another_process():
    with pytest.raises(ArchError) as caught, expecting("space", "outer"), expecting("network", "inner"):
        raise ArchError("none")
    error = pickle.loads(pickle.dumps(caught.value))
    assert (error.given, error.wanted, str(error)) == ("inner", "network", "none")
    assert (NxtError("x").given, NxtError("x").wanted) == ("", "")


def test_a_hint_replaces_the_message_only_where_the_thing_is_of_another_kind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def shown(wanted, given):
        with pytest.raises(ArchError) as caught, expecting(wanted, given):
            raise ArchError("no such thing; `out`")
        return explained(caught.value)

    assert shown("network", "cifar") == "cifar: a design space, where a network was expected; nxt search cifar"
    assert shown("space", "cifar") == shown("network", "resnet50") == "no such thing; --out"
    assert shown("network", "nothing of the kind") == "no such thing; --out"
