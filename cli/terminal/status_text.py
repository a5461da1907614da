"""Describes the state of a run in sentences, with the command to resume it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nxt.files import display_path
from nxt.units import format_seconds

from . import tables

if TYPE_CHECKING:
    from nxt.search.results.run import Run
    from nxt.search.results.status import Status


def status_sentence(run: Run, status: Status) -> str:
    """Returns the state of a search in one line, and how to resume it."""
    by_hours = run.request.trials is None
    command = resume_command(run.path, run.full, hours="H" if by_hours else None)
    if status.state == "ended":
        return (
            f"Ended: the hours are over. Go on with: {command}"
            if by_hours
            else "Ended: all that was asked for is done."
        )
    if status.state == "interrupted":
        ended = "Ended early, by the hours or a signal," if by_hours else "Interrupted"
        return f"{ended} while {status.phase}. Go on with: {command}"
    left = "" if status.seconds is None else f", about {format_seconds(status.seconds)} left by the epochs so far"
    return f"Running: {status.phase}{left}."


def resume_command(path: Path, full: bool, **again: object) -> str:
    """Returns the command that resumes a run, with the options to give again; those that are None were not given."""
    options = [f" --{name.replace('_', '-')} {value}" for name, value in again.items() if value is not None]
    return f"nxt {'train' if full else 'search'} --resume {shell_path(path)}{''.join(options)}"


def shell_path(path: Path) -> str:
    """Returns a path to type in a shell: quoted, and relative if it lies in the current folder."""
    return shlex.quote(str(display_path(path)))


def measured(row: Mapping[str, Any]) -> str:
    """Returns what was measured after an epoch: an accuracy alone, else all measures by name."""
    from nxt.train.history import accuracy_of, measure_of, measures_of

    measure, best = measure_of(row), tables.percent(accuracy_of(row))
    if measure == "accuracy":
        return best
    others = [f"{name} {tables.percent(value)}" for name, value in measures_of(row).items() if name != measure]
    return f"{measure} {best}" + (f" ({', '.join(others)})" if others else "")


def how_to_test(run: Path, last: int, best: int) -> str:
    """Returns how to test a training whose last and best epochs are these; the last one was chosen by nothing."""
    other = f", or its best epoch: nxt eval {shell_path(run / 'checkpoints' / 'best.pt')}"
    return f"Test it: nxt eval {shell_path(run)}{'' if best == last else other}"
