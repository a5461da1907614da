"""Hints for commands and options that have another name in nxt than in other tools."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from nxt.errors import UsageError

from .messages import as_options

_COMMANDS = {
    "list": "nxt zoo lists networks, nxt space list lists spaces, and runs lie in results/",
    "models": "nxt zoo lists networks",
    "ls": "nxt zoo lists networks, nxt space list lists spaces, and runs lie in results/",
    "test": "nxt eval measures on the test split",
    "validate": "nxt eval --split val",
    "classify": "nxt predict CHECKPOINT IMAGE...",
    "infer": "nxt predict CHECKPOINT IMAGE...",
    "resume": "nxt search --resume RUN, or nxt train --resume RUN",
    "continue": "nxt search --resume RUN, or nxt train --resume RUN",
    "help": "nxt --help, or nxt COMMAND --help",
    "status": "nxt show RUN",
    "plot": "nxt report RUN",
}
_SET = ("lr", "batch", "batch-size", "optimizer", "weight-decay", "momentum", "warmup", "scheduler", "label-smoothing")
_KEYS = {
    "batch-size": "batch",
    "weight-decay": "weight_decay",
    "scheduler": "schedule",
    "label-smoothing": "label_smoothing",
}
# Option -> what to write here; {set} is replaced by how this command sets a recipe's key.
_OPTIONS = {
    **{f"--{name}": f"write {{set}}{_KEYS.get(name, name.replace('-', '_'))}=VALUE" for name in _SET},
    "--gpu": "write --device cuda:0",
    "--gpus": "write --workers N: one device each",
    "--pretrained": "write --weights torchvision, or --weights FILE",
    "--format": "write --to onnx, torch, safetensors, timm, hub or openvino",
    "--num-workers": "nothing to set: nxt chooses how many processes read images",
    "--imgsz": "write --size PIXELS",
    "--img-size": "write --size PIXELS",
    "-e": "write --epochs N",
    "-b": "write {set}batch=N",
    "-o": "write --out PATH",
    "--output": "write --out PATH",
    "--dataset": "write --data digits or --data folder:PATH",
}
_NETWORK = "the network is an argument: nxt {} resnext50_32x4d"
_ARGUMENTS = {
    "search": {"--space": "the space is an argument: nxt search cifar"},
    **{name: dict.fromkeys(("--model", "--arch"), _NETWORK.format(name)) for name in ("train", "profile")},
}
_ARGUMENTS["profile"]["--count"] = "tables count MACs; --json and --csv have FLOPs and fvcore's total, too"
_IN_SEARCH = {
    "--epochs": "write --set proxy.epochs=N",
    "--size": "write --set proxy.size=PIXELS",
    "--gpus": "write --gpus-per-trial N",
    "--gpu": "write --gpus-per-trial N",
    "--device": "a search uses all GPUs, or the CPU with --gpus-per-trial 0",
    "--num-trials": "write --trials N",
    "--n-trials": "write --trials N",
    "--sampler": "write --set search.sampler=ehvi, gp, tpe, nsga2 or random",
    "--scheduler": "write --set search.scheduler=asha",
    "--timeout": "write --hours H",
}


# What the parser says of a value -> what is said here.
_VALUES = {
    ".*unable to parse string as a number.*": "a number was expected, without a unit",
    ".*unable to parse string as an integer.*": "one whole number was expected, without a unit",
    "Input should be (greater|less)": r"it is to be \1",
    "^Value error, ": "",
}


class Command(TyperCommand):
    """A command that gives hints for options of other tools."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the command; shows a `UsageError` as typer's usage errors."""
        try:
            return super().invoke(ctx)
        except UsageError as error:
            raise typer.BadParameter(as_options(str(error)), ctx) from None

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parses the arguments; fails if an option of one value is given twice, or with a hint if there is none."""
        try:
            self._refuse_twice(ctx, args)
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            for pattern, words in _VALUES.items():
                error.message = re.sub(pattern, words, error.message)
            raise
        except Exception as error:  # typer's own class for this is not public
            option = getattr(error, "option_name", "")
            if not hasattr(error, "possibilities") or not (hint := self._hint(option)):
                raise
            ctx.fail(f"No such option: {option}; {hint}")
            raise  # not reached: what fails there raises

    def _refuse_twice(self, ctx: Any, args: list[str]) -> None:
        """Fails if an option that takes one value is given twice: the parser would drop the first one silently."""
        order: list[Any] = self.make_parser(ctx).parse_args(args=list(args))[2]
        for param, count in Counter(order).items():
            if count > 1 and param.param_type_name == "option" and not (param.multiple or param.is_flag or param.count):
                raise typer.BadParameter(f"{param.opts[0]}: given twice, but it takes one value", ctx)

    def _hint(self, option: str) -> str:
        """Returns what to write instead of an option; empty if that is unknown or names an option of other commands."""
        searching = self.name == "search"
        hints = (_IN_SEARCH if searching else {}) | _ARGUMENTS.get(str(self.name), {})
        hint = hints.get(option) or _OPTIONS.get(option, "")
        hint = hint.format(set="--set recipe." if searching else "--set ")
        known = {name for param in self.params for name in param.opts}
        return hint if set(re.findall(r"--[a-z-]+", hint)) <= known else ""


class Group(TyperGroup):
    """A group that gives hints for commands of other tools."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parses the arguments; fails with a hint if an option of a command stands before the command."""
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            option = getattr(error, "option_name", "")
            near = difflib.get_close_matches(option, getattr(error, "possibilities", None) or (), cutoff=0.7)
            if near or not hasattr(error, "possibilities"):
                raise
            place = f"options of a command stand behind it: {ctx.command_path} COMMAND {option}"
            ctx.fail(f"No such option: {option}; {'write --version' if option == '-v' else place}")
            raise  # not reached: what fails there raises

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Returns the command that the arguments begin with; fails with a hint if it does not exist."""
        if args and args[0] not in self.commands and (hint := self.hint(args[0])):
            ctx.fail(f"No such command {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)

    def hint(self, name: str) -> str:
        """Returns what to type instead of a command that does not exist; empty if unknown."""
        return _COMMANDS.get(name, "")
