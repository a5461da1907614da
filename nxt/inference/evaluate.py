"""Evaluates checkpoints in one call: returns figures and predictions. The command line uses this, too."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nxt.compute.devices import choose
from nxt.config import require
from nxt.data.dataset import Source
from nxt.data.readable import without_bad
from nxt.data.ref import DataRef
from nxt.data.sources.open import open_source
from nxt.errors import CheckpointError, DataError
from nxt.inference.evaluation import SPLITS, Examples, Predictions, ensemble, examples, predict, read_classes
from nxt.inference.onnx_file import OnnxCheckpoint, open_model
from nxt.inference.outputs import with_outputs_named
from nxt.inference.scene_evaluation import SceneEvaluation, evaluate_scenes
from nxt.inference.views import Views
from nxt.train.checkpoint import Checkpoint
from nxt.train.trained import from_elsewhere

_LOOKED_AT = 64  # images that are called as training images, to see whether they are the same


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
        return self.ensemble if self.columns is None else self.ensemble.among(self.columns)

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """Results of each network as plain data: its setting, and what `Predictions.figures` returns."""
        return [model.setting | self._figures(model.predictions) for model in self.models]

    @cached_property
    def ensemble_row(self) -> dict[str, Any]:
        """Results of the ensemble as plain data."""
        return self._figures(self.ensemble)

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

    def _figures(self, predictions: Predictions) -> dict[str, Any]:
        """Returns figures; with a list of classes, those of a softmax over them, and also the accuracy among all."""
        row: dict[str, Any] = {"data": str(self.data), "split": self.split}
        if self.columns is None:
            return row | predictions.figures()
        return row | predictions.among(self.columns).figures() | {"accuracy_kway": predictions.top(1)}


def evaluate(
    checkpoints: str | Path | Sequence[str | Path],
    data: str | DataRef | None = None,
    split: str = "test",
    *,
    size: int | None = None,
    crop: float | None = None,
    views: str = "center",
    scales: Sequence[int] = (),
    weights: str | Path | Sequence[str | Path] | None = None,
    classes: str | Path | None = None,
    device: str = "auto",
    download: bool = False,
    skip_bad: bool = False,
    predictions: Path | None = None,
    note: Callable[[str], None] = lambda text: None,
    progress: Callable[[Path, int, int], object] = lambda path, done, total: None,
) -> Evaluation | SceneEvaluation:
    """Measures trained networks on images that were not used for training.

    Example:
        >>> nxt.evaluate("results/run", views="ten").rows[0]["accuracy"]
        >>> nxt.evaluate("resnext50_32x4d", "folder:imagenet/val", weights="torchvision").rows[0]["accuracy"]

    Args:
        checkpoints: A checkpoint, or a training's run directory for its last one, or an ONNX file that nxt exported
            (which runs on the CPU), or the name or file of a network whose `weights` come from elsewhere; or several,
            measured on the same images one by one and as an ensemble.
        data: Another data set than they were trained on; classes are matched by name. A folder of a test split alone
            will do; with weights from elsewhere alone, so do class folders, and 1,000 wnids are ImageNet's classes.
        split: "test", or "val" for the images by which a training selects.
        size: Image side in pixels; by default as trained.
        crop: Share of the resized side that the crops keep; by default as trained.
        views: "center", "ten" (corners and centre, mirrored) or "dense" (the whole image at several scales).
        scales: Shorter sides in pixels for dense views; by default the papers', by size.
        weights: "raw" or "ema"; by default those that are better on the validation split. Of a network "torchvision",
            "torchvision:VERSION" or a file, as in `nxt.load`. Either one for all, or one each.
        classes: A file of the classes to evaluate, one name a line; by default all. For weights from elsewhere it may
            name the outputs in their order instead.
        device: "auto", "cpu", "cuda" or "cuda:N".
        download: Whether data may be downloaded if it is not there.
        skip_bad: Whether to leave out images that cannot be read.
        predictions: Of a detector, a JSON file for its detections in COCO's format; of a segmenter, a folder for masks.
        note: Called with each sentence that the user should read.
        progress: Called after each batch with the checkpoint, the number of images done, and the number of all.

    Raises:
        ConfigError: if a value is out of range.
        CheckpointError: if a checkpoint cannot be read, or several have other classes or data.
        ArchError: if there is no such network.
        DataError: if the data is missing or has other classes.
        DeviceError: if this machine does not have the device.
        RunError: if ONNX Runtime is missing.
    """
    _check(split, size, crop, views)
    target = choose(device)
    paths = [Path(path) for path in _listed(checkpoints)]
    loaded = _read(paths, _listed(weights), data is not None, note)
    dataset = loaded[0].data if data is None else DataRef.of(data)
    _check_task(paths, loaded, dataset)
    source = _open(dataset, split, dict(zip(paths, loaded, strict=True)), download, skip_bad, note)
    if dataset.task != "classification":
        for name, given in {"crop": crop, "classes": classes}.items():
            require(given is None, f"`{name}`", f"it is for classification, not for {dataset.task}; leave it out")
        scenes = examples(source, split, loaded[0].classes, None, min(checkpoint.holdout for checkpoint in loaded))
        pairs = list(zip(paths, loaded, strict=True))
        return evaluate_scenes(
            pairs, dataset, split, scenes, target, size=size, views=views, scales=scales, written=predictions,
            progress=progress,
        )  # fmt: skip
    table = f"{predictions}: of classifiers it is a table; name a file that ends in .csv"
    require(predictions is None, "`predictions`", table)
    loaded = with_outputs_named(loaded, source, None if classes is None else Path(classes))
    names = _common_classes(paths, loaded)
    columns = None if classes is None else read_classes(Path(classes), names)
    if columns is not None and len(columns) == len(names):
        columns = None  # all of them
    images = examples(source, split, names, columns, min(checkpoint.holdout for checkpoint in loaded))
    models = []
    for path, checkpoint in zip(paths, loaded, strict=True):
        own = checkpoint.preprocess
        preprocess = dataclasses.replace(own, size=size or own.size, crop=crop or own.crop)
        if isinstance(checkpoint, OnnxCheckpoint):
            checkpoint.require_views(path, preprocess.size, views)
        shown = Views(preprocess=preprocess, kind=views, scales=tuple(scales), mirror=images.source.mirror)
        advance = _counted(path, len(images), progress)
        with _naming(path):
            scores = predict(checkpoint.network(), images, shown, target, progress=advance)
        models.append(
            EvaluatedModel(
                path=path,
                checkpoint=checkpoint,
                weights=checkpoint.origin or checkpoint.better,
                views=shown,
                predictions=Predictions(scores, images.labels, names),
            )
        )
    return Evaluation(data=dataset, split=split, images=images, columns=columns, models=tuple(models))


def _check(split: str, size: int | None, crop: float | None, views: str) -> None:
    """Raises ConfigError for invalid values, before anything is read."""
    require(split in SPLITS, "`split`", f"{split!r} is not one of {', '.join(SPLITS)}")
    require(size is None or 4 <= size <= 4096, "`size`", f"{size} is not between 4 and 4096 pixels")
    require(crop is None or 0 < crop <= 1, "`crop`", f"{crop} is not above 0 and at most 1")
    require(crop is None or views != "dense", "`crop`", "dense views show the whole image; leave it out")


def _listed(given: str | Path | Sequence[str | Path] | None) -> list[str | Path]:
    """Returns what was given as a list, also where it was one or nothing."""
    return [] if given is None else [given] if isinstance(given, (str, Path)) else list(given)


def _read(
    paths: Sequence[Path], weights: Sequence[str | Path], has_data: bool, note: Callable[[str], None]
) -> list[Checkpoint]:
    """Reads checkpoints with their weights. Raises CheckpointError if their data differs, unless data is given."""
    number = f"{len(weights)} for {len(paths)} networks; give one for all, or one each, in their order"
    require(len(weights) in (0, 1, len(paths)), "`weights`", number)
    each = weights if len(weights) == len(paths) else [*weights, None][:1] * len(paths)
    for path, one in zip(paths, each, strict=True):
        _require_data(has_data or not from_elsewhere(path, one), f"{path} has weights from elsewhere")
    loaded = [open_model(path, one, note) for path, one in zip(paths, each, strict=True)]
    for path, checkpoint in zip(paths, loaded, strict=True):
        _require_data(has_data or not isinstance(checkpoint, OnnxCheckpoint), f"{path} does not tell where its data is")
        _require_data(has_data or not checkpoint.origin, f"{path} has weights from elsewhere")
        if not has_data and checkpoint.data.absolute() != loaded[0].data.absolute():
            difference = f"{checkpoint.data.display}, and {paths[0]} on {loaded[0].data.display}"
            raise CheckpointError(f"{path}: was trained on {difference}; say with `data` on what to measure them")
    return loaded


def _require_data(there: bool, why: str) -> None:
    require(there, "`data`", f"{why}; say on what to measure it, such as folder:PATH")


def _check_task(paths: Sequence[Path], loaded: Sequence[Checkpoint], data: DataRef) -> None:
    """Raises CheckpointError if a checkpoint is for another task than the data."""
    for path, checkpoint in zip(paths, loaded, strict=True):
        if checkpoint.task != data.task:
            raise CheckpointError(f"{path}: was trained for {checkpoint.task}, and {data.display} is for {data.task}")


def _common_classes(paths: Sequence[Path], loaded: Sequence[Checkpoint]) -> tuple[str, ...]:
    """Returns the classes of all checkpoints. Raises CheckpointError if they differ."""
    for path, checkpoint in zip(paths, loaded, strict=True):
        if checkpoint.classes != loaded[0].classes:
            difference = f"{len(checkpoint.classes)} classes that are not the {len(loaded[0].classes)} of {paths[0]}"
            raise CheckpointError(f"{path}: has {difference}; an ensemble needs the same")
    return loaded[0].classes


def _open(
    data: DataRef,
    split: str,
    loaded: Mapping[Path, Checkpoint],
    download: bool,
    skip_bad: bool,
    note: Callable[[str], None],
) -> Source:
    """Opens the images, and warns if a network may have been trained on images of the split."""
    trained = {path: checkpoint for path, checkpoint in loaded.items() if not checkpoint.origin}
    source = open_source(data, download, to_train=False, hold_out=bool(trained))
    for text in source.notes:
        note(text)
    if skip_bad:
        source = without_bad(source, lambda message: note(f"left out: {message}"))
    for path, checkpoint in trained.items():
        held_out = not (source.has_val if split == "val" else source.has_test)
        same = data.absolute() == checkpoint.data.absolute()
        comparable = same or (data.is_own and checkpoint.data.is_own)
        if held_out and comparable and source.identity() != checkpoint.identity:
            when = f"as it was when {path} was trained"
            other = f"the same as {checkpoint.data.display}, on which {path} was trained"
            but = "" if skip_bad else ", unless all that differs is what `skip_bad` left out then"
            why = f"{data.display} is not {when if same else other}, and its {split} split is held out from all images"
            note(f"note: {why}; it may have been trained on these{but}")
        elif not held_out and comparable and not same and (name := _seen(source, split, checkpoint.data)):
            where = f"{checkpoint.data.display}, on which {path} was trained"
            note(f"note: {split} images are training images of {where}, such as {name}: what it has seen flatters it")
    if split == "val" and not source.has_val:
        for path, checkpoint in loaded.items():
            if not checkpoint.holdout:
                where = f"all images of {data.display} (holdout: 0)"
                raise DataError(f"{path} was trained on {where}; `split` test has others")
    return source


def _seen(source: Source, split: str, trained_on: DataRef) -> str:
    """Returns an image of a split that was trained on, and is called the same there; empty if it finds none."""
    try:
        before = open_source(trained_on, to_train=False, hold_out=True)
    except DataError:  # it is gone
        return ""
    rows = {before.called("train", row): row for row in range(len(before.labels("train")))}
    names = {row: source.called(split, row) for row in range(len(source.labels(split)))}
    alike = [(row, name) for row, name in names.items() if name in rows]
    for row, name in alike[:: 1 + len(alike) // _LOOKED_AT]:
        with suppress(DataError):
            if source.open(split, row) == before.open("train", rows[name]):
                return name
    return ""


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
