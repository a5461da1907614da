"""Trackio: a run for the whole, and one for each trial in its group. TRACKIO_PROJECT names another project."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from nxt.tracking.sender import PROJECT, Entry


class TrackioTracker:
    """See `nxt.tracking.sender.Tracker`."""

    def __init__(self) -> None:
        import trackio
        import trackio.run
        import trackio.utils

        for module in (trackio, trackio.run, trackio.utils):
            vars(module)["print"] = lambda *_, **__: None  # it tells of each run on stdout, where results go
        self._trackio, self._project = trackio, os.environ.get("TRACKIO_PROJECT") or PROJECT
        self._entry = Entry("", "", {})

    def begin(self, run: Entry) -> None:
        """Notes the run, which is opened for each epoch: Trackio has one open at a time."""
        self._entry = run

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Adds an epoch to the run."""
        self._log(self._entry, [row])

    def trial(self, trial: Entry, rows: Sequence[Mapping[str, Any]], done: bool) -> None:
        """Adds a run to the group."""
        self._log(trial, rows)

    def end(self, summary: Mapping[str, Any], done: bool) -> None:
        """Adds the summary as a last step of the run."""
        self._log(self._entry, [dict(summary)])

    def _log(self, entry: Entry, rows: Sequence[Mapping[str, Any]]) -> None:
        name = f"{entry.name}-{entry.key[:4]}{entry.key[16:]}"
        last = self._trackio.SQLiteStorage.get_max_step_for_run(self._project, name)
        run = self._trackio.init(
            self._project, name, self._entry.name, config=dict(entry.params), resume="allow",
            embed=False, auto_log_gpu=False, auto_log_cpu=False,
        )  # fmt: skip
        for row in rows:
            step = row.get("epoch")
            if step is None or last is None or step > last:
                run.log({key: value for key, value in row.items() if value is not None}, step=step)
        run.finish()
