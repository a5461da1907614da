"""Write docs/COMMANDS.md and docs/API.md from the program itself: `python docs/generate.py`."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import typer
from nxt.cli import lazy, main

import nxt
from nxt.analysis.profile import Profile
from nxt.arch.costs import Cost
from nxt.arch.spec import Stage
from nxt.inference.classifier_evaluation import Evaluation
from nxt.inference.prediction import ImagePredictions
from nxt.models.network import Network
from nxt.search.noise import Noise
from nxt.search.proxy import Proxy
from nxt.search.ranking import RankedArch
from nxt.search.request import SearchRequest, Settings
from nxt.search.results.run import Run
from nxt.search.results.runs import RunSummary
from nxt.search.trial import Epoch, Outcome, Trial
from nxt.train.engine.session import TrainResult

HERE = Path(__file__).parent
RETURNED = (
    Stage,
    Cost,
    Network,
    Run,
    RunSummary,
    SearchRequest,
    RankedArch,
    Noise,
    Trial,
    Epoch,
    Outcome,
    TrainResult,
    Evaluation,
    ImagePredictions,
    Profile,
)  # by the public names or by each other
NOTE = "Written by `python docs/generate.py`; a test compares."


def commands() -> str:
    """Return docs/COMMANDS.md."""
    found = [("nxt", typer.main.get_command(main.app))]
    for name in lazy.COMMANDS:
        command = lazy.load(name)
        found.append((f"nxt {name}", command))
        found += [(f"nxt {name} {sub}", inner) for sub, inner in getattr(command, "commands", {}).items()]
    index = ", ".join(f"[{name}](#{name.replace(' ', '-')})" for name, _ in found)
    top = f"# Commands\n\nWhich arguments and options has a command? All that `--help` says, on one page. {NOTE}"
    return "\n\n".join([top, index, *(_command(name, command) for name, command in found), _settings()]) + "\n"


def _settings() -> str:
    """Return the settings of a search as tables, from the classes that read them and the comments there."""
    text = [
        "## Settings of a search",
        "What `--set KEY=VALUE` changes in `nxt search`, beside the keys of the trials' recipe (`recipe.lr` and so on, "
        "in [TRAINING](TRAINING.md#recipes)). Proxies have defaults by data set, in `nxt/search/proxies/`; `run.yaml` "
        "has what was used.",
    ]
    for section, kind in (("proxy", Proxy), ("search", Settings)):
        comments = dict(re.findall(r"^    (\w+): .*?  # (.*)$", inspect.getsource(kind), re.MULTILINE))
        rows = [
            f"| `{section}.{field.name}` | {_default(field.default)} | {_cell(comments[field.name])} |"
            for field in dataclasses.fields(kind)
        ]
        text.append("\n".join(["| key | default | what it says |", "|---|---|---|", *rows]))
    return "\n\n".join(text)


def _command(name: str, command: Any) -> str:
    context = typer.Context(command, info_name=name, max_content_width=10**6, terminal_width=10**6)
    usage = command.get_usage(context).removeprefix("Usage: ")
    text = [f"## {name}", f"`{usage}`", inspect.cleandoc(command.help or "")]
    records = [record for param in command.params if (record := param.get_help_record(context))]
    if records:
        rows = [f"| `{left}` | {_cell(right)} |" for left, right in records]
        text.append("\n".join(["| argument or option | what it says |", "|---|---|", *rows]))
    return "\n\n".join(text)


def _default(value: object) -> str:
    return f"`{value}`" if value not in (None, "") else ""


def _cell(text: str) -> str:
    text = re.sub(r"\[default: \(([^()]*)\)", r"[default: \1", text)  # a default that is put into words
    return re.sub(r"\s+", " ", text).replace("|", "\\|").replace("<", "&lt;")


def api() -> str:
    """Return docs/API.md."""
    top = f"# Python interface\n\nWhat does `import nxt` offer, and what do its functions return? {NOTE}"
    names = [f"`nxt.{name}`" for name in nxt.__all__]
    functions = {name: one for name in nxt.__all__ if not inspect.isclass(one := inspect.unwrap(getattr(nxt, name)))}
    classes = [getattr(nxt, name) for name in nxt.__all__ if inspect.isclass(getattr(nxt, name))]
    text = [top, f"Public names: {', '.join(names)}. All else may change.", "## Functions"]
    text += [_function(function, "### nxt.", name) for name, function in functions.items()]
    text += ["## Classes", *(_class(one, "nxt." if one in classes else "") for one in (*classes, *RETURNED))]
    return "\n\n".join(text) + "\n"


def _class(kind: type, prefix: str) -> str:
    home = "" if prefix else f"From `{kind.__module__}`.\n\n"
    text = [f"### {prefix}{kind.__name__}", home + _prose(inspect.getdoc(kind) or "")]
    if fields := list(_fields(kind)):
        text.append("```python\n" + "\n".join(fields) + "\n```")
    members = {name: getattr(member, "__func__", member) for name, member in vars(kind).items() if name[0] != "_"}
    if properties := [_property(name, getter) for name, one in members.items() if (getter := _getter(one))]:
        text.append("\n".join(properties))
    text += [_function(member, "#### ") for member in members.values() if inspect.isfunction(member)]
    return "\n\n".join(text)


def _fields(kind: type) -> Iterator[str]:
    """Yield the lines of a class that declare its fields (of an enumeration: its members), with their comments."""
    source = textwrap.dedent(inspect.getsource(kind))
    lines = source.splitlines()
    for node in ast.parse(source).body[0].body:  # type: ignore[attr-defined]
        if isinstance(node, ast.AnnAssign | ast.Assign):
            yield from textwrap.dedent("\n".join(lines[node.lineno - 1 : node.end_lineno])).splitlines()


def _getter(member: Any) -> Callable[..., Any] | None:
    if isinstance(member, cached_property):
        return member.func
    return member.fget if isinstance(member, property) else None


def _property(name: str, getter: Callable[..., Any]) -> str:
    meaning = " ".join((inspect.getdoc(getter) or "").split())
    return f"- `{name}: {getter.__annotations__['return']}`: {meaning}"


def _function(function: Callable[..., Any], heading: str, public: str = "") -> str:
    signature = re.sub(r"(: |-> )'([^']*)'", r"\1\2", str(inspect.signature(function)))  # annotations are strings
    signature = re.sub(r"<function .*? at 0x\w+>", "...", signature)
    signature = signature.replace("(self, ", "(").replace("(self)", "()").replace("(cls, ", "(")
    name = public or function.__name__
    return f"{heading}{name}\n\n```python\n{name}{signature}\n```\n\n{_prose(inspect.getdoc(function) or '')}"


def _prose(text: str) -> str:
    """Turn the sections of a docstring (Args, Raises ...) into lists."""
    lines = []
    for line in text.splitlines():
        if re.fullmatch(r"[A-Z]\w+:", line):
            lines += [line, ""]
        elif re.match(r"    \S", line):
            lines.append(f"- {line.strip()}")
        else:
            lines.append(f"  {line.strip()}" if line.startswith("    ") else line)
    return "\n".join(lines)


PAGES = {"COMMANDS.md": commands, "API.md": api}

if __name__ == "__main__":
    for page, make in PAGES.items():
        (HERE / page).write_text(make(), encoding="utf-8")
