"""The figures of trainings, and of a search's trials, for TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

_NAMES = {
    "loss": "train/loss",
    "lr": "train/rate",
    "images_per_second": "train/images_per_second",
    "wait": "train/wait",
    "accuracy": "val/accuracy",
    "ema_accuracy": "val/accuracy_averaged",
}


class TensorBoardWriter:
    """Event files in a folder. What an earlier process wrote for the first epoch added, and later, no longer counts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writer: Any = None

    def add(self, row: Mapping[str, Any]) -> None:
        """Adds the metrics of an epoch: those of `_NAMES` that it has, at its `epoch` and `time`."""
        from tensorboardX import SummaryWriter

        if self._writer is None:
            try:
                self._writer = SummaryWriter(str(self.folder), purge_step=row["epoch"], flush_secs=1)
            except OSError:
                return  # a training can do without
        measures = row.get("measures") or {}
        own = {name: row[key] for key, name in _NAMES.items() if row.get(key) is not None}
        others = {f"val/{name}": value for name, value in measures.items() if name != next(iter(measures))}
        for name, value in (own | others).items():
            self._writer.add_scalar(name, value, row["epoch"], walltime=row["time"])
        self._writer.flush()

    def close(self) -> None:
        """Closes the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
