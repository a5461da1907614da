"""W&B: a run for the whole, and one for each trial in its group. WANDB_PROJECT, WANDB_MODE and the like hold."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from nxt.tracking.sender import PROJECT, Entry

_SECONDS = 20.0  # for a run to begin, and to end


class WandbTracker:
    """See `nxt.tracking.sender.Tracker`. W&B itself drops epochs that a run has already."""

    def __init__(self) -> None:
        import wandb

        settings = wandb.setup().settings
        if settings.mode == "online" and not wandb.login(prompt=False):
            raise RuntimeError("not logged in; `wandb login`, or WANDB_MODE=offline")
        self._wandb, self._group = wandb, ""
        self._run: Any = None

    def begin(self, run: Entry) -> None:
        """Opens the run."""
        self._group = f"{run.name}-{run.key[:4]}"
        self._run = self._opened(run, "run")

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Adds an epoch to the run."""
        self._run.log(dict(row), step=row["epoch"])

    def trial(self, trial: Entry, rows: Sequence[Mapping[str, Any]], done: bool) -> None:
        """Adds a run to the group."""
        run = self._opened(trial, "trial")
        for row in rows:
            run.log(dict(row), step=row["epoch"])
        run.finish(exit_code=0 if done else 1)

    def end(self, summary: Mapping[str, Any], done: bool) -> None:
        """Writes the summary and closes the run."""
        self._run.summary.update(dict(summary))
        self._run.finish(exit_code=0 if done else 1)

    def _opened(self, entry: Entry, kind: str) -> Any:
        limits = {"init_timeout": _SECONDS, "finish_timeout": _SECONDS, "finish_timeout_raises": True}
        quiet = {"console": "off", "silent": True, "x_disable_stats": True, "disable_git": True}
        return self._wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            group=self._group,
            job_type=kind,
            id=entry.key,
            name=entry.name,
            config=dict(entry.params),
            allow_val_change=True,
            resume="allow",
            reinit="create_new",
            settings=self._wandb.Settings(**limits, **quiet),
        )
