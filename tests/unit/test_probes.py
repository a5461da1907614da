"""Probes of files go through `nxt.files`: pathlib's raise for closed folders, circles of links, very long names."""

import ast
from pathlib import Path

import pytest

import nxt

ROOT = Path(nxt.__file__).parent
PROBES = {"is_file", "is_dir", "exists", "stat", "iterdir", "expanduser"}


def bare(tree):
    """Return the lines of probes that stand in no `try` which catches OSError."""
    guarded = set()
    for node in ast.walk(tree):
        caught = [ast.unparse(each.type) for each in getattr(node, "handlers", []) if each.type is not None]
        if isinstance(node, ast.With):
            caught += [ast.unparse(item.context_expr) for item in node.items if "suppress(" in ast.unparse(item)]
        if any("OSError" in name or name == "Exception" for name in caught):
            guarded |= {id(inside) for part in node.body for inside in ast.walk(part)}
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and id(node) not in guarded and getattr(node.func, "attr", "") in PROBES
    ]


@pytest.mark.parametrize("call", sorted(PROBES))
def test_a_bare_probe_is_found(call):
    text = f"try:\n    path.{call}()\nexcept (OSError, ValueError):\n    path.{call}()\n"
    assert bare(ast.parse(text)) == [4]


def test_no_probe_of_a_path_can_end_in_a_traceback():
    files = [*sorted(ROOT.rglob("*.py")), *sorted((ROOT.parent / "cli").rglob("*.py"))]
    assert len(files) > 100
    found = {
        str(path.relative_to(ROOT.parent)): lines for path in files if (lines := bare(ast.parse(path.read_text())))
    }
    assert found == {}
