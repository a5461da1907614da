"""A training's run directory as far as it has come, read without torch, also while it trains."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nxt.config import check_record, read_yaml
from nxt.errors import RunError
from nxt.files import is_file
from nxt.rundir import LOCK, is_active

METRICS = "metrics.jsonl"  # a row for each epoch trained
_ROW = ("epoch", "loss", "accuracy", "ema_accuracy", "seconds", "images_per_second", "time")


@dataclass(frozen=True)
class History:
    """The record of a training, and its epochs' metrics so far. Accuracies are on the validation split, in 0..1."""

    path: Path
    record: Mapping[str, Any]
    rows: list[dict[str, Any]]  # by epoch, as in metrics.jsonl

    @property
    def active(self) -> bool:
        """Whether a training is at work there, as far as this machine can tell."""
        return is_active(self.path)

    @property
    def epochs(self) -> int:
        """Epochs of the whole training."""
        return int(self.record["recipe"]["epochs"])

    @property
    def state(self) -> str:
        """Returns running, ended or interrupted."""
        if len(self.rows) >= self.epochs:
            return "ended"
        return "running" if self.active else "interrupted"

    @property
    def best(self) -> dict[str, Any] | None:
        """The row of the best epoch, as `best_row` has it; None: no epoch has ended."""
        return best_row(self.rows) if self.rows else None

    def seconds_left(self) -> float | None:
        """Predicts how long a running training still takes, from its epochs' mean; None: not running, or none ended."""
        if self.state != "running" or not self.rows:
            return None
        each = float(sum(row["seconds"] for row in self.rows)) / len(self.rows)
        try:
            began = (self.path / LOCK).stat().st_mtime  # this session; before it, nothing may have run for long
        except OSError:
            return None
        since = time.time() - max(began, float(self.rows[-1]["time"]))  # of the epoch that runs
        return max(0.0, each * (self.epochs - len(self.rows)) - min(since, each))


def best_row(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Returns the row of the best epoch: the most accurate, the earliest of equals; the last if none is held out."""
    return rows[-1] if rows[-1].get("split") == "train" else max(rows, key=accuracy_of)


def judged_on(row: Mapping[str, Any]) -> str:
    """Returns in words which images an epoch's accuracy is of."""
    return "images it was trained on, as none are held out" if row.get("split") == "train" else "the validation split"


def measures_of(row: Mapping[str, Any]) -> dict[str, float]:
    """Returns what was measured after an epoch by name; the first one is `accuracy`, by which epochs are compared."""
    return dict(row.get("measures") or {"accuracy": row["accuracy"]})


def measure_of(row: Mapping[str, Any]) -> str:
    """Returns what an epoch's `accuracy` is of: "accuracy", "mIoU" and so on."""
    return next(iter(measures_of(row)))


def flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """Returns an epoch's metrics as numbers by name, with all measures but the first, which is `accuracy`."""
    others = {key: value for key, value in measures_of(row).items() if key != measure_of(row)}
    return {key: value for key, value in row.items() if key != "measures"} | others


def accuracy_of(row: Mapping[str, Any]) -> float:
    """Returns an epoch's accuracy: the higher one of raw and averaged weights."""
    return max(float(row["accuracy"]), row["ema_accuracy"] or 0.0)


def is_training(run: Path) -> bool:
    """Tells whether a run directory is a training's. Raises ConfigError if its record cannot be read."""
    return is_file(run / "run.yaml") and read_yaml(run / "run.yaml").get("command") == "train"


def load_history(run: Path) -> History:
    """Reads a training's run directory.

    Raises:
        RunError: if its metrics are damaged.
        ConfigError: if its record is damaged.
    """
    record = read_yaml(run / "run.yaml")
    check_record(record, {"name": str, "data": str, "recipe": dict}, str(run / "run.yaml"))
    check_record(record["recipe"], {"epochs": int}, f"{run / 'run.yaml'}: recipe")
    metrics = run / METRICS
    try:
        lines = metrics.read_text(encoding="utf-8").splitlines() if is_file(metrics) else []
        rows = [json.loads(line) for line in lines]
    except (OSError, ValueError) as error:
        raise RunError(f"{metrics}: cannot be read ({error})") from None
    if not all(isinstance(row, dict) and row.keys() >= set(_ROW) for row in rows):
        raise RunError(f"{metrics}: damaged; `resume` {run} writes it anew from the checkpoint")
    return History(run, record, rows)
