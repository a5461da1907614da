"""What a worker does with one trial: train the proxy network epoch by epoch, with its own checkpoint. No Ray here."""

from __future__ import annotations

import dataclasses
import gc
import io
import os
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nxt.arch.spec import ArchSpec
from nxt.compute.accelerator import accelerator, is_out_of_memory
from nxt.compute.cuda_graph import RecordingError
from nxt.compute.devices import choose
from nxt.compute.mode import Compute
from nxt.config import from_mapping, to_mapping
from nxt.data.dataset import ImagePlacement, Source
from nxt.data.ref import DataRef
from nxt.data.squares import Squares
from nxt.errors import CheckpointError, DivergedError, RunError, first_line
from nxt.models.tensors import read_tensors
from nxt.search.engine.checkpoints import Storage
from nxt.search.engine.packing import Share
from nxt.search.engine.watchdog import Watchdog, hang_of
from nxt.search.trial import Epoch, EpochResult, Outcome, TrialFailure
from nxt.train.checkpoint import Checkpoint, record
from nxt.train.engine.proxy_compute import way_for
from nxt.train.engine.setup import open_inputs, resident_trainer, source_trainer
from nxt.train.engine.trainer import EpochReport, Trainer
from nxt.train.recipe import Recipe


@dataclass(frozen=True)
class TrialTask:
    """One trial as plain data. `arch` is the proxy network, not the architecture it stands for."""

    number: int
    arch: ArchSpec
    recipe: Recipe
    size: int
    seed: int
    threads: int
    share: Share  # of a GPU
    predicted: int  # bytes that it is predicted to take of a GPU, images apart; 0 on a CPU
    ways: Mapping[str, Compute]  # how proxies compute on a GPU, by family
    eager: str  # why its passes are not to be recorded; empty if they are
    reported: int  # epochs that the study has already
    data: DataRef
    together: int  # trials at a time that share this machine
    storage: str  # where its checkpoint is kept, as for `Storage`
    full: bool  # whether it is a full training
    images: float  # share of the training images, where it opens them itself
    patience: float  # seconds granted without a sign of life while it starts; see `Watchdog`


class TrialRun:
    """One trial in training. `step` never raises: what goes wrong is its answer.

    Args:
        task: The trial.
        data: Where its images are; a `Source` for a full training, and for images with boxes or masks.
    """

    def __init__(self, task: TrialTask, data: Squares | Source) -> None:
        self.task, self.data = task, data
        self.device = torch.device("cpu")  # until it starts
        self._storage = Storage(task.storage)
        self._trainer: Trainer | None = None
        self._results: list[EpochResult] = []  # of all epochs trained
        self._given = task.reported  # epochs that step has answered for
        self._batch = task.recipe.batch
        self._remark = ""
        self._watchdog = Watchdog(task.patience)
        self._hang = ""  # how it hung before it was started again
        self._inputs: dict[str, Any] = {}  # how images are kept, where the trial opens them itself

    def step(self) -> EpochResult | TrialFailure:
        """Trains one epoch; or reports one that was trained before a kill, but never reported.

        An epoch that runs out of memory is tried once more with half the batch, and half the learning rate; in full
        trainings with twice the passes. Where others share its GPU, and it was this program that let them, it fails,
        to be tried alone on one. A pass that cannot be recorded ends this process; the next one leaves it eager.
        """
        hung = self._storage.local(f"{self.task.number}.hung")
        if hang := hang_of(hung):
            self._hang = f"started again: {hang}"
        try:
            with self._watchdog.watching(hung):
                try:
                    return self._epoch()
                except Exception as error:
                    if not (is_out_of_memory(error) and self._can_halve()):
                        raise
                self._halve()
                return self._epoch()
        except RecordingError as error:
            with suppress(OSError, RunError):  # without the marker this counts as a death of the worker
                self._storage.write(f"{self.task.number}.eager", str(error).encode())
            os._exit(1)  # a recording that failed may leave torch's allocator in a state of no use
        except DivergedError as error:
            return TrialFailure(Outcome.DIVERGED, str(error))
        except Exception as error:
            if is_out_of_memory(error):
                return TrialFailure(Outcome.OOM, f"with a batch of {self._batch}: {first_line(error)}")
            where = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{Path(where.filename).name}:{where.lineno}"
            return TrialFailure(Outcome.CRASHED, f"{type(error).__name__}: {first_line(error)} ({place})")

    def _epoch(self) -> EpochResult:
        trainer = self._trainer = self._trainer or self._start()
        if self._given < len(self._results):
            self._given += 1
            return self._results[self._given - 1]
        report = trainer.run_epoch(on_step=self._watchdog.step)
        epoch = Epoch(report.epoch, report.best, report.loss, report.seconds, report.train_accuracy)
        remark = "; ".join(part for part in (self._remark, trainer.remark, self._hang) if part)
        gpu = accelerator(self.device)
        memory = gpu.peak_reserved() if gpu.is_gpu else 0
        self._results.append(EpochResult(epoch, remark, memory))
        content = io.BytesIO()
        torch.save(self._content(trainer, report), content)
        try:
            self._storage.write(f"{self.task.number}.pt", content.getvalue())
        except (RunError, OSError) as error:  # the trial can do without; a full disk stops the driver, too
            self._results[-1] = EpochResult(epoch, f"its checkpoint could not be written: {first_line(error)}", memory)
        self._given = len(self._results)
        return self._results[-1]

    def _content(self, trainer: Trainer, report: EpochReport) -> dict[str, Any]:
        """Returns the trial's checkpoint, one that `nxt eval` reads; at its end without what only a training needs."""
        source = self.data if isinstance(self.data, Source) else self.data.source
        state = trainer.state()
        if report.epoch == self.task.recipe.epochs:
            state = {key: state[key] for key in ("epoch", "step", "weights")}
        found = {"raw": report.accuracy, "ema": report.ema_accuracy}
        checkpoint = Checkpoint(
            spec=self.task.arch,
            classes=source.classes,
            data=self.task.data,
            identity=source.identity(),
            preprocess=trainer.val_images.preprocess,
            recipe=self.task.recipe,
            seed=self.task.seed,
            accuracies={kind: value for kind, value in found.items() if value is not None},
            state=state,
        )
        rows = [{**to_mapping(result.epoch), "remark": result.remark} for result in self._results]
        own = {"state": state, "reports": rows, "batch": self._batch, "inputs": self._inputs}
        return {**record(checkpoint), **self._identity(), **own}

    def _can_halve(self) -> bool:
        whole = self._batch == self.task.recipe.batch
        return whole and self.task.share.halves and self._batch // self.task.recipe.accumulate >= 4

    def _halve(self) -> None:
        self._trainer = None
        gc.collect()  # what refers to itself, such as an optimizer, holds memory until then
        accelerator(self.device).release_memory()
        self._remark = f"batch halved to {self._batch // 2}: out of memory with {self._batch}"
        self._batch //= 2

    def _start(self) -> Trainer:
        task = self.task
        self._watchdog.starting()
        self.device = device = choose("cuda" if task.share.gpus else "cpu")
        torch.set_num_threads(task.threads)
        gpu = accelerator(device)
        gpu.limit_memory(task.share.memory)
        gpu.reset_peaks()
        saved = self._saved()
        spec, recipe, data = task.arch, task.recipe, self.data
        if isinstance(data, Source):  # of full trainings the recipe stays what it is
            recipe = dataclasses.replace(recipe, accumulate=recipe.accumulate * recipe.batch // self._batch)
            placements = self._placements(saved)
            inputs = open_inputs(
                data, recipe, task.size, device, share=task.images, placements=placements, processes=task.together,
                on_progress=self._watchdog.beat,
            )  # fmt: skip
            self._inputs = {split: to_mapping(placement) for split, placement in inputs.placements.items()}
            trainer = source_trainer(spec, data, inputs, recipe, task.seed, task.full)
        else:
            recipe, compute = recipe.with_batch(self._batch), way_for(spec, task.ways, device)
            if task.eager:
                compute, self._remark = dataclasses.replace(compute, graph=False), task.eager
            opened = data.open(self._watchdog.beat)
            trainer = resident_trainer(
                spec, opened, recipe, task.size, device, task.seed, compute=compute, room=task.share.room
            )
        if saved is not None:
            if "optimizer" in saved["state"]:  # else it has ended, and only its reports are wanted
                trainer.restore(saved["state"])
            self._results = [_result(row) for row in saved["reports"]]
        return trainer

    def _placements(self, saved: Mapping[str, Any] | None) -> dict[str, ImagePlacement]:
        """Returns how images were kept before: kept otherwise they would be changed by other numbers."""
        before = {} if saved is None else saved["inputs"]
        where = "the trial's checkpoint"
        return {split: from_mapping(ImagePlacement, placement, where) for split, placement in before.items()}

    def _saved(self) -> dict[str, Any] | None:
        """Returns the trial's checkpoint; None if there is none, or one of no use: then the trial starts over."""
        try:
            content = self._storage.read(f"{self.task.number}.pt")
            saved = read_tensors(io.BytesIO(content), "the trial's checkpoint") if content is not None else {}
            identity = self._identity()
            if any(saved[key] != value for key, value in identity.items()):
                return None  # of a trial of another search
            batch, remark = int(saved["batch"]), _result(saved["reports"][-1]).remark
            saved["state"], saved["inputs"]
        except (CheckpointError, OSError, LookupError, TypeError, ValueError):
            return None
        if batch < self._batch:
            self._batch, self._remark = batch, remark
        return saved

    def _identity(self) -> dict[str, Any]:
        """Returns what a checkpoint must have been made with to be this trial's."""
        task = self.task
        arch, recipe = task.arch.to_dict(), to_mapping(task.recipe)
        return {"arch": arch, "recipe": recipe, "size": task.size, "seed": task.seed}


def _result(row: Mapping[str, Any]) -> EpochResult:
    """Reads a result from a checkpoint, where it is plain data."""
    values = {key: row[key] for key in ("epoch", "accuracy", "loss", "seconds")}
    return EpochResult(Epoch(**values, train_accuracy=row.get("train_accuracy")), str(row["remark"]))
