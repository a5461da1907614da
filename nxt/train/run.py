"""A full training as a run directory: metrics, checkpoints, and exact continuation."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nxt.arch import ArchSpec
from nxt.config import check_record, dump_yaml, from_mapping, read_yaml, to_mapping
from nxt.data.batches import Batches
from nxt.data.dataset import Dataset, load_split, load_train, open_source
from nxt.errors import CheckpointError, ConfigError, DataError, RunError
from nxt.files import is_file, new_run_directory, write_text
from nxt.models.network import build
from nxt.train import checkpoint as checkpoints
from nxt.train.checkpoint import Checkpoint
from nxt.train.loop import EpochReport, Trainer, evaluate, memory_format
from nxt.train.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """What to train, on what, how, and where the results go."""

    spec: ArchSpec
    data: str
    size: int | None  # image side in pixels; None: the data's own, or the network's
    recipe: Recipe
    seed: int
    out: Path
    download: bool = False


@dataclass(frozen=True)
class TrainResult:
    """The outcome: the run directory, the last epoch's report, and the best validation accuracy with its epoch."""

    out: Path
    last: EpochReport
    best_accuracy: float
    best_epoch: int


@contextmanager
def prepared(request: TrainRequest, device: torch.device, resume: bool = False) -> Iterator[Training]:
    """Check a request, load the data, and make or reopen the run directory; then give the training, ready to run.

    Args:
        request: What was asked.
        device: Where to compute.
        resume: Go on from `checkpoints/last.pt` of an existing run.

    Raises:
        RunError: if the run directory exists (or, to resume, does not) or cannot be written.
        DataError: as the data does.
        CheckpointError: if the checkpoint is damaged or of another architecture.
    """
    source = open_source(request.data, request.download)
    size = request.size or source.size or request.spec.size
    previous = _previous(request) if resume and _begun(request.out) else None
    metrics = _read_metrics(request.out / "metrics.jsonl", previous.epoch) if previous else []
    with nullcontext(request.out.resolve()) if resume else new_run_directory(request.out) as out:
        data = load_train(source, round(size / request.recipe.eval_crop))
        torch.manual_seed(request.seed)
        network = build(request.spec, len(data.classes))
        if request.recipe.zero_last_gamma:
            network.zero_last_gamma()
        trainer = Trainer(network, data, request.recipe, size, device, request.seed)
        if previous is not None:
            _restore(trainer, previous)
        elif not resume:
            (out / "checkpoints").mkdir()
            write_text(out / "run.yaml", dump_yaml(_record(request, size, device)))
        yield Training(request, out, data, size, trainer, metrics)


@dataclass
class Training:
    """A training in its run directory. `metrics` has one row for each epoch trained."""

    request: TrainRequest
    out: Path
    data: Dataset
    size: int
    trainer: Trainer
    metrics: list[dict[str, Any]]

    def run(self, on_epoch: Callable[[EpochReport], None]) -> TrainResult:
        """Train to the end of the recipe, with a checkpoint after every epoch.

        Raises:
            DivergedError: if the loss is no longer finite.
            RunError: if the run directory cannot be written.
        """
        while self.trainer.epoch < self.request.recipe.epochs:
            report = self.trainer.run_epoch()
            self.metrics.append({**to_mapping(report), "time": round(time.time(), 3)})
            self._store()
            on_epoch(report)
        best = max(self.metrics, key=lambda row: float(row["accuracy"]))
        last = EpochReport(**{key: self.metrics[-1][key] for key in EpochReport.__dataclass_fields__})
        return TrainResult(self.out, last, best["accuracy"], best["epoch"])

    def _store(self) -> None:
        """Write metrics first, then the checkpoint: a run killed in between trains that epoch again, and alike."""
        rows = self.metrics
        write_text(self.out / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        accuracy = rows[-1]["accuracy"]
        checkpoint = Checkpoint(
            spec=self.request.spec,
            classes=self.data.classes,
            data=self.request.data,
            size=self.size,
            mean=self.data.mean,
            std=self.data.std,
            recipe=self.request.recipe,
            seed=self.request.seed,
            accuracy=accuracy,
            state=self.trainer.state(),
        )
        if accuracy >= max(row["accuracy"] for row in rows):
            checkpoints.save(self.out / "checkpoints" / "best.pt", checkpoint)
        checkpoints.save(self.out / "checkpoints" / "last.pt", checkpoint)


def accuracy_on_test(
    checkpoint: Checkpoint,
    device: torch.device,
    data: str | None = None,
    size: int | None = None,
    download: bool = False,
) -> tuple[float, int]:
    """Return a trained network's top-1 accuracy in 0..1 on the test split, and how many images that has.

    Args:
        checkpoint: What to evaluate; its preprocessing is used.
        device: Where to compute.
        data: Another data set than it was trained on, with the same classes.
        size: Another image side than it was trained at.
        download: Whether data may be downloaded.

    Raises:
        DataError: as the data does, and if its classes are others.
    """
    source = open_source(data or checkpoint.data, download)
    if source.classes != checkpoint.classes:
        raise DataError(
            f"{source.name} has {len(source.classes)} classes that are not the checkpoint's {len(checkpoint.classes)}"
        )
    side = size or checkpoint.size
    crop = checkpoint.recipe.eval_crop
    split = load_split(source, "test", round(side / crop))
    batches = Batches(split, checkpoint.mean, checkpoint.std, side, device)
    network = checkpoint.network().to(device).to(memory_format=memory_format(device))
    return evaluate(network, batches, checkpoint.recipe), len(split)


def load_request(run: Path) -> TrainRequest:
    """Read what a training run was asked to do.

    Raises:
        RunError: if the directory is no training run.
        ConfigError: if its record is damaged.
    """
    if not is_file(run / "run.yaml"):
        raise RunError(f"{run}: not a run directory (no run.yaml in it)")
    record = read_yaml(run / "run.yaml")
    if record.get("command") != "train":
        raise RunError(f"{run}: a run of {record.get('command')!r}, where a training was expected")
    where = str(run / "run.yaml")
    kinds = {"arch": dict, "data": str, "size": int, "recipe": dict, "seed": int}
    check_record(record, kinds, where)
    return TrainRequest(
        spec=ArchSpec.from_dict(record["arch"], where),
        data=record["data"],
        size=record["size"],
        recipe=from_mapping(Recipe, record["recipe"], where),
        seed=record["seed"],
        out=run,
    )


def _record(request: TrainRequest, size: int, device: torch.device) -> dict[str, Any]:
    from nxt.provenance import versions

    return {
        "command": "train",
        "name": request.spec.name,
        "fingerprint": request.spec.fingerprint,
        "arch": request.spec.to_dict(),
        "data": request.data,
        "size": size,
        "recipe": to_mapping(request.recipe),
        "seed": request.seed,
        "device": str(device),
        "versions": versions(),
    }


def _begun(run: Path) -> bool:
    """Tell whether a run got past its first epoch: one that was cut off before that begins anew when resumed."""
    if not is_file(run / "run.yaml"):
        raise RunError(f"{run}: not a run directory (no run.yaml in it)")
    return is_file(run / "metrics.jsonl") or is_file(run / "checkpoints" / "last.pt")


def _previous(request: TrainRequest) -> Checkpoint:
    path = request.out / "checkpoints" / "last.pt"
    previous = checkpoints.read(path)
    if previous.spec.fingerprint != request.spec.fingerprint:
        raise CheckpointError(
            f"{path}: holds {previous.spec.name}, not {request.spec.name}; train that one, or choose another --out"
        )
    return previous


def _read_metrics(path: Path, epochs: int) -> list[dict[str, Any]]:
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()][:epochs]
        for row in rows:
            check_record(row, {field.name: (int, float) for field in dataclasses.fields(EpochReport)}, str(path))
    except (OSError, ValueError, AttributeError, ConfigError):
        rows = []
    if len(rows) < epochs:
        raise RunError(f"{path}: missing or damaged, so the run cannot go on; train into a new --out")
    return rows


def _restore(trainer: Trainer, previous: Checkpoint) -> None:
    try:
        trainer.restore(previous.state)
    except (RuntimeError, KeyError, ValueError) as error:
        problem = str(error).splitlines()[0]
        raise CheckpointError(f"the checkpoint does not fit this training ({problem}); was the data changed?") from None
