"""Where a search stands, in sentences for people at a terminal."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from nxt.files import display_path
from nxt.units import format_seconds

if TYPE_CHECKING:
    from nxt.search.results.run import Run
    from nxt.search.results.status import Status


def status_sentence(run: Run, status: Status) -> str:
    """Says where a search stands in one line, with what to do about it."""
    if status.state == "ended":
        return "Ended: all that was asked for is done."
    if status.state == "interrupted":
        return f"Interrupted while {status.phase}. Go on with: {resume_command(run)}"
    left = "" if status.seconds is None else f", about {format_seconds(status.seconds)} left by the epochs so far"
    return f"Running: {status.phase}{left}."


def resume_command(run: Run) -> str:
    """Returns the command that goes on with a run."""
    hours = " --hours H" if run.request.trials is None else ""
    return f"nxt {'train' if run.full else 'search'} --resume {shlex.quote(str(display_path(run.path)))}{hours}"
