"""MLflow: runs nested in a run. Where to, its own variables say: MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from nxt.tracking.sender import PROJECT, Entry

_KEY = "nxt.key"  # the tag by which a run is found again
_LONGEST = 500  # characters of a parameter that every store takes
_MOST = 1000  # metrics at a time


class MlflowTracker:
    """See `nxt.tracking.sender.Tracker`."""

    def __init__(self) -> None:
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # the sender tries again; 7 take minutes
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
        from mlflow import MlflowClient

        self._client, self._experiment, self._run = MlflowClient(), "", ""

    def begin(self, run: Entry) -> None:
        """Opens the run."""
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or PROJECT
        found = self._client.get_experiment_by_name(name)
        self._experiment = found.experiment_id if found else self._client.create_experiment(name)
        self._run = self._opened(run)
        self._client.update_run(self._run, status="RUNNING")

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Adds an epoch to the run."""
        self._log(self._run, [row])

    def trial(self, trial: Entry, rows: Sequence[Mapping[str, Any]], done: bool) -> None:
        """Adds a nested run."""
        run = self._opened(trial, {"mlflow.parentRunId": self._run})
        self._log(run, rows)
        self._client.set_terminated(run, "FINISHED" if done else "FAILED")

    def end(self, summary: Mapping[str, Any], done: bool) -> None:
        """Writes the summary as tags, its numbers as metrics too, and closes the run."""
        for key, value in summary.items():
            self._client.set_tag(self._run, key, value)
        self._log(self._run, [{key: value for key, value in summary.items() if not isinstance(value, str)}])
        self._client.set_terminated(self._run, "FINISHED" if done else "KILLED")

    def _opened(self, entry: Entry, tags: Mapping[str, str] | None = None) -> str:
        """Returns the id of the run of an entry, which is made if it is not there."""
        from mlflow.entities import Param

        found = self._client.search_runs([self._experiment], f"tags.`{_KEY}` = '{entry.key}'", max_results=1)
        new = {_KEY: entry.key, **(tags or {})}
        run = found[0] if found else self._client.create_run(self._experiment, tags=new, run_name=entry.name)
        had = run.data.params  # what was asked may change when a run goes on; MLflow changes no parameter
        params = [Param(key, str(value)[:_LONGEST]) for key, value in entry.params.items() if key not in had]
        self._client.log_batch(run.info.run_id, params=params)
        return str(run.info.run_id)

    def _log(self, run: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Adds metrics. MLflow drops what it has with the same step and time: those of an epoch are always the same."""
        from mlflow.entities import Metric

        began, now = self._client.get_run(run).info.start_time, int(1000 * time.time())
        metrics = [
            Metric(key, float(value), began + row["epoch"] if "epoch" in row else now, row.get("epoch", 0))
            for row in rows
            for key, value in row.items()
            if value is not None and key != "epoch"
        ]
        for first in range(0, len(metrics), _MOST):
            self._client.log_batch(run, metrics=metrics[first : first + _MOST])
