"""What a worker does with one trial: train the proxy network epoch by epoch, with its own checkpoint. No Ray here."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nxt.arch import ArchSpec
from nxt.config import from_mapping
from nxt.data.dataset import Dataset
from nxt.errors import CheckpointError, DivergedError
from nxt.files import replacing
from nxt.models.network import build
from nxt.search.trial import Outcome
from nxt.train.checkpoint import read_tensors
from nxt.train.devices import choose
from nxt.train.loop import Trainer
from nxt.train.recipe import Recipe


@dataclass(frozen=True)
class TrialTask:
    """One trial as plain data. `arch` is the proxy network, not the architecture it stands for."""

    number: int
    arch: dict[str, Any]
    recipe: dict[str, Any]
    size: int
    seed: int
    device: str
    threads: int
    gpu_share: float  # of the device's memory that this trial may take; 0 on a CPU
    reported: int  # epochs that the study has already
    checkpoint: str

    @property
    def epochs(self) -> int:
        """Length of the whole trial."""
        return int(self.recipe["epochs"])


class TrialRun:
    """One trial in training. `step` never raises: what goes wrong is its answer."""

    def __init__(self, task: TrialTask, data: Dataset) -> None:
        self.task, self.data = task, data
        self._trainer: Trainer | None = None
        self._reports: list[dict[str, Any]] = []  # of all epochs trained
        self._given = 0  # epochs that step has answered for

    def step(self) -> dict[str, Any]:
        """Train one epoch; or report one that was trained before a kill, but never reported.

        Returns:
            `epoch, accuracy, loss, seconds`; or `outcome` and `message` where the trial failed.
        """
        try:
            return self._epoch()
        except DivergedError as error:
            return {"outcome": str(Outcome.DIVERGED), "message": str(error)}
        except (torch.OutOfMemoryError, MemoryError) as error:
            return {"outcome": str(Outcome.OOM), "message": str(error).splitlines()[0] if str(error) else "no memory"}
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{Path(where.filename).name}:{where.lineno}"
            return {"outcome": str(Outcome.CRASHED), "message": f"{type(error).__name__}: {error} ({place})"}

    def _epoch(self) -> dict[str, Any]:
        trainer = self._trainer = self._trainer or self._start()
        self._given = max(self._given, self.task.reported) + 1
        if self._given <= len(self._reports):
            return self._reports[self._given - 1]
        report = trainer.run_epoch()
        values = {key: getattr(report, key) for key in ("epoch", "accuracy", "loss", "seconds")}
        self._reports.append(values)
        with replacing(Path(self.task.checkpoint)) as file:
            torch.save({"state": trainer.state(), "reports": self._reports}, file)
        return values

    def _start(self) -> Trainer:
        task = self.task
        device = choose(task.device)
        torch.set_num_threads(task.threads)
        if 0 < task.gpu_share < 1:
            torch.cuda.set_per_process_memory_fraction(task.gpu_share)
        torch.manual_seed(task.seed)
        recipe = from_mapping(Recipe, task.recipe, "recipe")
        network = build(ArchSpec.from_dict(task.arch), len(self.data.classes))
        if recipe.zero_last_gamma:
            network.zero_last_gamma()
        trainer = Trainer(network, self.data, recipe, task.size, device, task.seed)
        path = Path(task.checkpoint)
        if path.exists():
            try:
                saved = read_tensors(path)
                trainer.restore(saved["state"])
                self._reports = saved["reports"]
            except (CheckpointError, KeyError):
                path.unlink()  # of no use to anyone: the trial starts over
        return trainer
