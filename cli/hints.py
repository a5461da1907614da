"""What people who know other tools type, and what it is called here."""

from __future__ import annotations

import difflib
import re
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
    "predict": "nxt eval --predictions FILE.csv says what each test image is taken for",
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
# Option -> what it is called here; {set} is how a recipe's key is set in this command.
_OPTIONS = {
    **{f"--{name}": f"write {{set}}{_KEYS.get(name, name.replace('-', '_'))}=VALUE" for name in _SET},
    "--gpu": "write --device cuda:0",
    "--gpus": "write --workers N: one device each",
    "--pretrained": "write --weights torchvision, or --weights FILE",
    "--format": "write --to onnx, torch or safetensors",
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
    "--sampler": "write --set search.sampler=gp, tpe, nsga2 or random",
    "--scheduler": "write --set search.scheduler=asha",
    "--timeout": "write --hours H",
}


class Command(TyperCommand):
    """A command that knows what its options are called elsewhere."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the command; arguments that do not go together are a usage error."""
        try:
            return super().invoke(ctx)
        except UsageError as error:
            raise typer.BadParameter(as_options(str(error)), ctx) from None

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Reads the arguments; where an option does not exist, says what serves in its place."""
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            if "unable to parse string as a number" in error.message:
                error.message = "a number was expected, without a unit"
            elif "unable to parse string as an integer" in error.message:
                error.message = "one whole number was expected, without a unit"
            raise
        except Exception as error:  # typer's own class for this is not public
            option = getattr(error, "option_name", "")
            if not hasattr(error, "possibilities") or not (hint := self._hint(option)):
                raise
            ctx.fail(f"No such option: {option}; {hint}")
            raise  # not reached: what fails there raises

    def _hint(self, option: str) -> str:
        """Returns what serves in the place of an option; empty if that is unknown, or this command does not have it."""
        searching, name = self.name == "search", str(self.name)
        hint = (_IN_SEARCH.get(option) if searching else None) or _OPTIONS.get(option, "")
        hint = hint or (_ARGUMENTS.get(name, {}).get(option, ""))
        hint = hint.format(set="--set recipe." if searching else "--set ")
        known = {known for param in self.params for known in param.opts}
        return hint if set(re.findall(r"--[a-z-]+", hint)) <= known else ""


class Group(TyperGroup):
    """A group that knows what its commands are called elsewhere."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Reads the arguments; an option of a command that stands before it belongs behind it."""
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
        """Returns the command that the arguments begin with; where there is none, says what serves in its place."""
        if args and args[0] not in self.commands and (hint := self.hint(args[0])):
            ctx.fail(f"No such command {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)

    def hint(self, name: str) -> str:
        """Returns what to type in the place of a command that is not there; empty if that is unknown."""
        return _COMMANDS.get(name, "")
