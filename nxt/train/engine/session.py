"""A training in its run directory, step by step: when it saves what, and what it reports."""

from __future__ import annotations

import dataclasses
import json
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from nxt.config import to_mapping
from nxt.data.dataset import Source, divided, is_uneven, largest_share
from nxt.errors import DivergedError
from nxt.files import display_path, exists, is_file, write_text
from nxt.train.checkpoint import Checkpoint
from nxt.train.checkpoint_folder import LAST, CheckpointFolder
from nxt.train.engine.trainer import EpochReport, Trainer
from nxt.train.history import METRICS, accuracy_of, best_row
from nxt.train.model_card import write_card
from nxt.train.request import TrainRequest
from nxt.train.signals import Stop, StoppedError, stopping
from nxt.train.tensorboard import TensorBoardWriter
from nxt.units import plural

_AGREE = 10  # steps between two times that several workers ask each other whether to stop


@dataclass(frozen=True)
class TrainResult:
    """The outcome: the run directory, the last epoch's report, the best validation accuracy, and all metrics."""

    out: Path
    last: EpochReport
    best_accuracy: float
    best_epoch: int
    metrics: tuple[Mapping[str, Any], ...]  # by epoch


@dataclass(frozen=True)
class Position:
    """How far a training is."""

    epoch: int  # whole epochs trained
    step: int  # of the epoch that runs
    steps: int  # in an epoch
    epochs: int
    batch: int  # images a step
    total: int  # steps of the whole training

    @property
    def done(self) -> int:
        """Steps trained."""
        return min(self.total, self.epoch * self.steps + self.step)


@dataclass(frozen=True)
class Watcher:
    """Follows a training: its functions are called as it goes. `note` gets what a person should know."""

    note: Callable[[str], None] = lambda text: None
    reading: Callable[[int, int], None] = lambda done, total: None  # images, before the training
    begin: Callable[[Position], None] = lambda position: None
    step: Callable[[Position], None] = lambda position: None
    epoch: Callable[[EpochReport], None] = lambda report: None


@dataclass
class Training:
    """A training in its run directory. `metrics` has one row for each epoch trained."""

    request: TrainRequest
    out: Path
    source: Source
    identity: str
    trainer: Trainer
    folder: CheckpointFolder
    metrics: list[dict[str, Any]]
    watcher: Watcher
    saved: float = field(default_factory=time.monotonic)  # when
    stop_file: Path | None = None  # asks several workers to stop, once it is there
    _board: TensorBoardWriter = field(init=False)

    @property
    def summary(self) -> str:
        """What is trained and how, on one line: sizes, effective batch, rate, and the way to compute."""
        recipe, trainer = self.request.recipe, self.trainer
        parts = [f"{trainer.ranks.world} workers"] if trainer.ranks.world > 1 else []
        parts += [f"{recipe.accumulate} passes"] if recipe.accumulate > 1 else []
        share = recipe.batch // recipe.accumulate // trainer.ranks.world
        batch = f"batch {recipe.batch}" + (f" ({' x '.join([*parts, str(share)])})" if parts else "")
        scaled = f" ({recipe.lr:g} for {recipe.lr_batch} images)" if recipe.lr_batch not in (None, recipe.batch) else ""
        sizes = f"{recipe.size} px" + (f", tested at {recipe.eval_size}" if recipe.eval_size != recipe.size else "")
        how = f"{trainer.device}, {trainer.compute}"
        judged = f"{len(trainer.val_images):,} validation images" if self.held_out else "no validation images"
        images = f"{len(trainer.train_images):,} training and {judged}"
        if self.source.task == "classification":
            _, split, rows = divided(self.source, holdout=recipe.holdout)
            largest = largest_share(self.source.labels(split)[rows])
            images += f" ({largest:.1%} of the largest class)" if is_uneven(largest, len(self.source.classes)) else ""
        length = plural(recipe.epochs, "epoch") if recipe.steps is None else f"{recipe.steps:,} steps"
        return f"{images}, {sizes}; {length} of {batch}, highest rate {recipe.peak:g}{scaled}; {how}"

    def run(self) -> TrainResult:
        """Trains to the end of the recipe, with checkpoints on the way.

        Raises:
            DivergedError: if the loss, a weight or an output is no longer finite; no state of it is saved.
            StoppedError: if a signal stops it; the state is saved.
            RunError: if the run directory cannot be written.
        """
        self.watcher.note(
            f"training {self.request.spec.name} on {self.request.data.display}, into {display_path(self.out)}"
        )
        self.watcher.note(self.summary)
        for placement in self.request.inputs.values():
            if placement.kind != "resident":
                self.watcher.note(placement.sentence)
        self.watcher.begin(self.position)
        if self.metrics and self.trainer.ranks.rank == 0:
            self._write()  # what a kill may have left behind
        with stopping() as stop, closing(TensorBoardWriter(self.out / "tensorboard")) as self._board:
            if self.trainer.ranks.rank == 0 and self.trainer.epoch < self.request.recipe.epochs:
                for row in self.metrics:  # again: a kill may have lost the newest of them
                    self._board.add(row)

            def on_step() -> None:
                if (number := self._asked(stop)) is not None:
                    self._save()
                    where = f"in epoch {self.trainer.epoch + 1}, after step {self.trainer.step}"
                    raise StoppedError(f"stopped {where}; its state is saved", number)
                if time.monotonic() - self.saved > 60 * self.request.recipe.saving.minutes:
                    self._save()
                self.watcher.step(self.position)

            while self.trainer.epoch < self.request.recipe.epochs:
                try:
                    report = self.trainer.run_epoch(on_step)
                except DivergedError as error:
                    raise DivergedError(f"{error}. {self._last_good()}") from None
                report = dataclasses.replace(report, split="val" if self.held_out else "train")
                self._store(report)
                self.watcher.epoch(report)
                if self.trainer.ranks.world > 1 and self._agreed():
                    raise StoppedError(f"stopped after epoch {self.trainer.epoch}; its state is saved", signal.SIGTERM)
        best = best_row(self.metrics)
        last = EpochReport(**{key: self.metrics[-1][key] for key in _FIELDS if key in self.metrics[-1]})
        return TrainResult(self.out, last, accuracy_of(best), best["epoch"], tuple(self.metrics))

    @property
    def held_out(self) -> bool:
        """Whether accuracies are of images that are not trained on."""
        return self.source.has_val or self.request.recipe.holdout > 0

    @property
    def position(self) -> Position:
        """How far it is."""
        trainer, recipe = self.trainer, self.request.recipe
        steps = trainer.steps_per_epoch
        return Position(trainer.epoch, trainer.step, steps, recipe.epochs, recipe.batch, recipe.total_steps(steps))

    def _asked(self, stop: Stop) -> int | None:
        """Returns the signal that asks to stop, if one does. Several workers see it at the same step."""
        ranks, step = self.trainer.ranks, self.trainer.step
        if ranks.world == 1:
            return stop.signal
        training = 0 < step < self.trainer.steps_of_epoch  # in an evaluation not all have as many batches
        return signal.SIGTERM if training and step % _AGREE == 0 and self._agreed() else None

    def _agreed(self) -> bool:
        """Tells whether several workers are to stop; all of them must call this together."""
        ranks = self.trainer.ranks
        there = ranks.rank == 0 and self.stop_file is not None and exists(self.stop_file)
        return bool(ranks.total(torch.tensor(float(there), device=self.trainer.device)))

    def _store(self, report: EpochReport) -> None:
        """Saves the state, with the metrics; then the files that are made from them."""
        self.metrics.append({**to_mapping(report), "time": round(time.time(), 3)})
        self._save(best=best_row(self.metrics) is self.metrics[-1])
        if self.trainer.ranks.rank == 0:
            self._write()
            self._board.add(self.metrics[-1])

    def _write(self) -> None:
        """Writes the metrics and the model card."""
        write_text(self.out / METRICS, "".join(json.dumps(row) + "\n" for row in self.metrics))
        images = {"train": len(self.trainer.train_images), "val": len(self.trainer.val_images)}
        write_card(
            self.out, self.request, self.source.classes, images, self.metrics, self.trainer.val_images.preprocess
        )

    def _save(self, best: bool = False) -> None:
        self.trainer.check()
        self.trainer.check_weights()
        if self.trainer.ranks.rank == 0:
            self.folder.save(self.checkpoint(), best)
        self.saved = time.monotonic()

    def checkpoint(self) -> Checkpoint:
        """Returns the state as it is now."""
        whole = self.metrics and not self.trainer.step  # inside an epoch, the metrics are not of these weights
        row = self.metrics[-1] if whole else {}
        accuracies = {"raw": row.get("accuracy"), "ema": row.get("ema_accuracy")}
        return Checkpoint(
            spec=self.request.spec,
            classes=self.source.classes,
            data=self.request.data,
            identity=self.identity,
            preprocess=self.trainer.val_images.preprocess,
            recipe=self.request.recipe,
            seed=self.request.seed,
            metrics=self.metrics,
            accuracies={kind: value for kind, value in accuracies.items() if value is not None},
            state=self.trainer.state(),
        )

    def _last_good(self) -> str:
        if not is_file(self.folder.path / LAST):
            return "No checkpoint was written before"
        where = f"epoch {len(self.metrics)}" if self.metrics else "inside epoch 1"
        return f"The last good checkpoint is {self.folder.path / LAST} ({where})"


_FIELDS = tuple(EpochReport.__dataclass_fields__)
