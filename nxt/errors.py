"""Every failure that a user can cause or cure.

The command line turns an `NxtError` into one line on stderr and exit code 1, so each message says
what is wrong, where, and what to do. Anything else that escapes is a defect in nxt.

Messages name arguments as Python spells them, in backquotes: "choose another `out`". The command line shows them as
its options.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class NxtError(Exception):
    """Root of all errors that nxt raises on purpose.

    `given` is what a user gave where `wanted` says which kind of thing was expected ("network", "architecture",
    "space", "recipe", "checkpoint", "search", "run"); both are empty where that is not known. From them the command
    line tells what was given in the place of what was wanted.
    """

    given: str = ""
    wanted: str = ""


@contextmanager
def expecting(wanted: str, given: Path | str) -> Iterator[None]:
    """Notes in an `NxtError` that leaves the block what was given and what was wanted, unless it is noted already."""
    try:
        yield
    except NxtError as error:
        if not error.wanted:
            error.given, error.wanted = str(given), wanted
        raise


class UsageError(NxtError):
    """Arguments do not go together, one is missing, or one is out of range."""


class ConfigError(NxtError):
    """A YAML file, a mapping or a `key=value` setting cannot be used."""


class ArchError(NxtError):
    """An architecture is not well formed, or no network has the given name."""


class SpaceError(NxtError):
    """A design space is not well formed, or it holds nothing inside the budget."""


class BudgetError(NxtError):
    """A budget such as `4.1G+-2%` cannot be read."""


class DataError(NxtError):
    """A data set is missing, unreadable or unusable."""


class DeviceError(NxtError):
    """A device was asked for that this machine does not have."""


class DivergedError(NxtError):
    """A training's loss is no longer a finite number."""


class CheckpointError(NxtError):
    """A checkpoint is missing, damaged or belongs to something else."""


class RunError(NxtError):
    """A run directory cannot be created, read or continued."""


def first_line(error: BaseException) -> str:
    """Returns what an error says, on one line; its kind if it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def suggestion(word: str, known: Iterable[str]) -> str:
    """Returns `; did you mean X?` for the nearest of the known words, or an empty string."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""
