"""Defines the errors that a user can cause or fix.

The command line prints an `NxtError` as one line on stderr and exits with code 1. So each message says what is wrong,
where, and what to do. Any other exception is a bug in nxt.

Messages name arguments as in Python, in backquotes: "choose another `out`". The command line shows them as options.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class NxtError(Exception):
    """Base class of all errors that nxt raises on purpose.

    `wanted` is the kind of thing that was expected ("network", "architecture", "space", "recipe", "checkpoint",
    "search", "run"), and `given` is what the user gave instead. Both are empty if unknown. The command line makes a
    hint from them.
    """

    given: str = ""
    wanted: str = ""


@contextmanager
def expecting(wanted: str, given: Path | str) -> Iterator[None]:
    """Sets `given` and `wanted` of an `NxtError` that leaves the block, unless they are set already."""
    try:
        yield
    except NxtError as error:
        if not error.wanted:
            error.given, error.wanted = str(given), wanted
        raise


class UsageError(NxtError):
    """Arguments exclude each other, or one is missing or out of range."""


class ConfigError(NxtError):
    """A YAML file, a mapping or a `key=value` setting cannot be used."""


class ArchError(NxtError):
    """An architecture is invalid, or no network has the given name."""


class SpaceError(NxtError):
    """A design space is invalid, or contains nothing inside the budget."""


class BudgetError(NxtError):
    """A budget such as `4.1G+-2%` cannot be parsed."""


class DataError(NxtError):
    """A data set is missing, unreadable or unusable."""


class DeviceError(NxtError):
    """This machine does not have the requested device."""


class DivergedError(NxtError):
    """The loss of a training is not a finite number any more."""


class CheckpointError(NxtError):
    """A checkpoint is missing or damaged, or belongs to another network or training."""


class UnreadableError(CheckpointError):
    """The system does not give a checkpoint: it is missing, or there are no rights. What is in it may well be whole."""


class RunError(NxtError):
    """A run directory cannot be created, read or continued."""


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's message, or the name of its class if there is no message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


# What other tools call settings, without underscores: {nxt's name: theirs}.
_ELSEWHERE = {
    "lr": ("learningrate", "lr0", "baselr", "initiallr", "maxlr"),
    "batch": ("batchsize", "bs", "trainbatchsize", "perdevicetrainbatchsize"),
    "weight_decay": ("wd", "decay", "l2"),
    "epochs": ("numepochs", "nepochs", "maxepochs", "numtrainepochs"),
    "schedule": ("scheduler", "lrscheduler", "lrschedule", "sched", "lrdecay"),
    "warmup": ("warmupepochs", "lrwarmupepochs"),
    "optimizer": ("opt", "optim", "solver"),
    "label_smoothing": ("smoothing",),
    "clip": ("clipgrad", "gradclip", "gradientclip", "gradientclipval", "maxgradnorm", "clipgradnorm"),
    "accumulate": ("gradaccum", "accumulategradbatches", "gradientaccumulationsteps", "accumsteps"),
    "stochastic_depth": ("droppath", "droppathrate", "dropconnect", "survivalprob"),
    "dropout": ("drop", "droprate", "dropoutrate"),
    "drop_block": ("dropblockrate",),
    "mixup": ("mixupalpha",),
    "cutmix": ("cutmixalpha",),
    "loss": ("criterion", "lossfn", "objective"),
    "ema": ("modelema", "emadecay", "modelemadecay"),
    "size": ("imgsize", "imagesize", "imgsz", "resolution", "inputsize", "trainsize", "traincropsize"),
}
_OWN_NAMES = {theirs: own for own, others in _ELSEWHERE.items() for theirs in others}


def own_name(word: str) -> str:
    """Returns nxt's name of a setting that other tools call by this one; else the word."""
    return _OWN_NAMES.get(word.lower().replace("_", "").replace("-", ""), word)


def suggestion(word: str, known: Iterable[str]) -> str:
    """Returns `; did you mean X?` with the known word that is meant or the nearest; an empty string if none is near."""
    names = list(known)
    own = own_name(word)
    near = [own] if own in names else difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""
