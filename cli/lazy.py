"""Imports each command when it is called, so that `nxt --help` and every command start fast."""

from __future__ import annotations

import importlib
from typing import Any

import typer
from typer.core import TyperCommand

from . import hints

# Name -> the first paragraph of its help, for the list of commands. A command is a function in the module of its name;
# `space` and `latency` are apps there.
COMMANDS = {
    "search": "Search a design space inside a budget and write the Pareto front of architectures.",
    "show": "Show where a search stands: its trials, the front, the best against the best reference, "
    "and whom to trust.",
    "runs": "List all searches and trainings in a folder: how far they are, and the best of each; the latest first.",
    "report": "Write all that a search, or a training, tells as one HTML page that needs no network, "
    "also while it runs.",
    "pick": "Pick one architecture as YAML: the front's knee, or with limits the most accurate network inside them.",
    "train": "Train a network fully. Killed at any moment, it goes on with --resume as if nothing had happened.",
    "eval": "Measure trained networks on the test split. Tables and files of several networks are of their ensemble.",
    "predict": "Tell what a trained network takes images for: the most probable classes, for files without labels.",
    "export": "Write a trained network for other programs (ONNX, torch.export, timm and more), "
    "and compare it with the original.",
    "profile": "Show what networks cost, in closed form; two of them also stage by stage side by side.",
    "zoo": "List the named networks with their cost and published accuracies.",
    "space": "Look into design spaces.",
    "cache": "List the decoded images that nxt keeps on this machine, or remove them.",
    "latency": "Measure latency, so that it can be a budget.",
    "doctor": "Show what nxt finds on this machine, and what to do about it.",
}
_HOMES = {"eval": "evaluate"}


def load(name: str) -> Any:
    """Imports a command and returns it as typer's command or group."""
    home = _HOMES.get(name, name)
    module = importlib.import_module(f"{__package__}.commands.{home}")
    app = getattr(module, "app", None)
    if app is None:
        app = typer.Typer(add_completion=False, context_settings=CONTEXT)
        app.command(name, cls=hints.Command)(getattr(module, home))
    command = typer.main.get_command(app)
    command.name = name
    return command


CONTEXT = {"help_option_names": ["-h", "--help"]}


class LazyGroup(hints.Group):
    """A group that knows the name and summary of each command, and imports the command that is called."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for name, summary in COMMANDS.items():
            self.add_command(TyperCommand(name, help=summary), name)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Returns the name and the imported command that the arguments begin with, and the other arguments."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, load(name) if name else None, rest
