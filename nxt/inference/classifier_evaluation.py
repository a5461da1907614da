"""Measures classifiers on the images of a split, one by one and as an ensemble (`nxt.evaluate`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nxt.data.dataset import Source
from nxt.data.ref import DataRef
from nxt.errors import CheckpointError
from nxt.inference.evaluation import Examples, Predictions, ensemble, examples, predict, read_classes
from nxt.inference.onnx_file import OnnxCheckpoint
from nxt.inference.outputs import with_outputs_named
from nxt.inference.views import Views
from nxt.train.checkpoint import Checkpoint


@dataclass(frozen=True, kw_only=True)
class EvaluatedModel:
    """The predictions of one network, and how it was evaluated."""

    path: Path  # of the checkpoint, or the network's name, as given
    checkpoint: Checkpoint
    weights: str  # "raw" or "ema"; of weights from elsewhere, what they are
    views: Views
    predictions: Predictions  # among all classes

    @property
    def setting(self) -> dict[str, Any]:
        """The network and the views of each image, as plain data."""
        views = self.views
        setting = {
            "checkpoint": str(self.path),
            "name": self.checkpoint.spec.name,
            "epoch": None if self.checkpoint.origin else self.checkpoint.epoch,
            "weights": self.weights,
            "size": views.preprocess.size,
            "crop": None if views.kind == "dense" else views.preprocess.crop,
            "views": views.kind,
        }
        if isinstance(self.checkpoint, OnnxCheckpoint):
            setting["onnx"] = self.checkpoint.precision
        return setting | ({"scales": list(views.sides)} if views.kind == "dense" else {})


@dataclass(frozen=True)
class Paired:
    """How a network compares with the first one of an evaluation, image by image."""

    checkpoint: str  # as given
    images: int
    gained: int  # images that it gets right and the first one does not
    lost: int  # the other way

    @property
    def gain(self) -> float:
        """The difference of the accuracies."""
        return (self.gained - self.lost) / self.images

    @property
    def p(self) -> float:
        """The probability of so many images one way, or more, if both were as good (McNemar's test, exact, two sides).

        It knows the noise of these images, not that of seeds.
        """
        from scipy.stats import binomtest

        differing = self.gained + self.lost
        return float(binomtest(self.gained, differing).pvalue) if differing else 1.0

    def to_dict(self) -> dict[str, Any]:
        """Returns what was counted, `gain` and `p` as plain data."""
        return dataclasses.asdict(self) | {"gain": self.gain, "p": self.p}


@dataclass(frozen=True, kw_only=True, repr=False)
class Evaluation:
    """The results of networks on the images of a split, one by one and as an ensemble."""

    data: DataRef
    split: str
    images: Examples
    columns: NDArray[np.int64] | None  # the classes to evaluate, as columns of the predictions; None: all
    models: tuple[EvaluatedModel, ...]

    @cached_property
    def ensemble(self) -> Predictions:
        """Predictions of the averaged probabilities among all classes; those of the network if there is one only."""
        return ensemble([model.predictions for model in self.models])

    @cached_property
    def predictions(self) -> Predictions:
        """The ensemble's predictions among the classes to evaluate."""
        return self._shown(self.ensemble)

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """Results of each network as plain data: its setting, and what `Predictions.figures` returns."""
        return [model.setting | self._figures(model.predictions) for model in self.models]

    @cached_property
    def ensemble_row(self) -> dict[str, Any]:
        """Results of the ensemble as plain data."""
        return self._figures(self.ensemble)

    @cached_property
    def against_first(self) -> list[Paired]:
        """How each of the other networks compares with the first one, on the same images."""
        right = [_right(self._shown(model.predictions)) for model in self.models]
        pairs = zip(self.models[1:], right[1:], strict=True)
        counts = [(model, one & ~right[0], ~one & right[0]) for model, one in pairs]
        return [Paired(str(each.path), len(self.images), int(up.sum()), int(down.sum())) for each, up, down in counts]

    def __repr__(self) -> str:
        accuracies = ", ".join(f"{row['name']} {row['accuracy']:.1%}" for row in self.rows)
        return f"<Evaluation on the {self.split} split of {self.data.display}, {len(self.images)} images: {accuracies}>"

    def image_rows(self) -> Iterator[dict[str, Any]]:
        """Yields, for each image, its name, its true class, and the ensemble's class with its probability."""
        predictions, images = self.predictions, self.images
        columns = zip(images.rows, predictions.labels, predictions.predicted, predictions.confidence, strict=True)
        for row, true, predicted, probability in columns:
            yield {
                "image": images.source.called(images.split, int(row)),
                "true": predictions.classes[true],
                "predicted": predictions.classes[predicted],
                "probability": float(probability),
            }

    def _shown(self, predictions: Predictions) -> Predictions:
        return predictions if self.columns is None else predictions.among(self.columns)

    def _figures(self, predictions: Predictions) -> dict[str, Any]:
        """Returns figures; with a list of classes, those of a softmax over them, and also the accuracy among all."""
        row: dict[str, Any] = {"data": str(self.data), "split": self.split}
        if self.columns is None:
            return row | predictions.figures()
        return row | self._shown(predictions).figures() | {"accuracy_kway": predictions.top(1)}


def _right(predictions: Predictions) -> NDArray[np.bool_]:
    """Tells which images are taken for what they are, (N,)."""
    return predictions.predicted == predictions.labels  # type: ignore[no-any-return]


def evaluate_classifiers(
    loaded: Sequence[tuple[Path, Checkpoint]],
    data: DataRef,
    split: str,
    source: Source,
    device: torch.device,
    *,
    size: int | None = None,
    crop: float | None = None,
    views: str = "center",
    scales: Sequence[int] = (),
    classes: Path | None = None,
    progress: Callable[[Path, int, int], object] = lambda path, done, total: None,
) -> Evaluation:
    """Measures checkpoints of classifiers. Arguments beside these are those of `nxt.evaluate`.

    Args:
        loaded: The checkpoints with their paths.
        data: What they are measured on.
        split: Its split.
        source: The images of it.
        device: Where to compute.

    Raises:
        ConfigError: if a value is out of range.
        CheckpointError: if checkpoints have other classes, or a network cannot be computed.
        DataError: if the data has other classes, or images cannot be read.
    """
    paths = [path for path, _ in loaded]
    checkpoints = with_outputs_named([checkpoint for _, checkpoint in loaded], source, classes)
    names = _common_classes(paths, checkpoints)
    columns = None if classes is None else read_classes(classes, names)
    if columns is not None and len(columns) == len(names):
        columns = None  # all of them
    images = examples(source, split, names, columns, min(checkpoint.holdout for checkpoint in checkpoints))
    models = []
    for path, checkpoint in zip(paths, checkpoints, strict=True):
        own = checkpoint.preprocess
        preprocess = dataclasses.replace(own, size=size or own.size, crop=crop or own.crop)
        if isinstance(checkpoint, OnnxCheckpoint):
            checkpoint.require_views(path, preprocess.size, views)
        shown = Views(preprocess=preprocess, kind=views, scales=tuple(scales), mirror=images.source.mirror)
        advance = _counted(path, len(images), progress)
        with _naming(path):
            scores = predict(checkpoint.network(), images, shown, device, progress=advance)
        models.append(
            EvaluatedModel(
                path=path,
                checkpoint=checkpoint,
                weights=checkpoint.origin or checkpoint.better,
                views=shown,
                predictions=Predictions(scores, images.labels, names),
            )
        )
    return Evaluation(data=data, split=split, images=images, columns=columns, models=tuple(models))


def _common_classes(paths: Sequence[Path], loaded: Sequence[Checkpoint]) -> tuple[str, ...]:
    """Returns the classes of all checkpoints. Raises CheckpointError if they differ."""
    for path, checkpoint in zip(paths, loaded, strict=True):
        if checkpoint.classes != loaded[0].classes:
            difference = f"{len(checkpoint.classes)} classes that are not the {len(loaded[0].classes)} of {paths[0]}"
            raise CheckpointError(f"{path}: has {difference}; an ensemble needs the same")
    return loaded[0].classes


def _counted(path: Path, total: int, progress: Callable[[Path, int, int], object]) -> Callable[[int], None]:
    """Returns a function for `predict` that sums up the images of all batches."""
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress(path, done, total)

    return advance


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Adds the path of a checkpoint to errors about its content."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
