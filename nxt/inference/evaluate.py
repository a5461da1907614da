"""Evaluates checkpoints in one call: returns figures and predictions. The command line uses this, too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from nxt.compute.devices import choose
from nxt.config import require
from nxt.data.dataset import Source
from nxt.data.readable import without_bad
from nxt.data.ref import DataRef
from nxt.data.sources.open import open_source
from nxt.errors import CheckpointError, DataError
from nxt.inference.classifier_evaluation import Evaluation, evaluate_classifiers
from nxt.inference.evaluation import SPLITS
from nxt.inference.onnx_file import OnnxCheckpoint, open_model
from nxt.inference.scene_evaluation import SceneEvaluation, evaluate_scenes
from nxt.train.checkpoint import Checkpoint
from nxt.train.trained import from_elsewhere

_LOOKED_AT = 64  # images that are called as training images, to see whether they are the same


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
    loaded = _read([Path(path) for path in _listed(checkpoints)], _listed(weights), data is not None, note)
    dataset = loaded[0][1].data if data is None else DataRef.of(data)
    _check_task(loaded, dataset)
    source = _open(dataset, split, loaded, download, skip_bad, note)
    if dataset.task != "classification":
        for name, given in {"crop": crop, "classes": classes}.items():
            require(given is None, f"`{name}`", f"it is for classification, not for {dataset.task}; leave it out")
        return evaluate_scenes(
            loaded, dataset, split, source, target, size=size, views=views, scales=scales, written=predictions,
            progress=progress,
        )  # fmt: skip
    table = f"{predictions}: of classifiers it is a table; name a file that ends in .csv"
    require(predictions is None, "`predictions`", table)
    names = None if classes is None else Path(classes)
    return evaluate_classifiers(
        loaded, dataset, split, source, target, size=size, crop=crop, views=views, scales=scales, classes=names,
        progress=progress,
    )  # fmt: skip


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
) -> list[tuple[Path, Checkpoint]]:
    """Reads checkpoints with their weights; returns each with its path.

    Raises:
        CheckpointError: if their data differs, unless data is given.
    """
    number = f"{len(weights)} for {len(paths)} networks; give one for all, or one each, in their order"
    require(len(weights) in (0, 1, len(paths)), "`weights`", number)
    each = weights if len(weights) == len(paths) else [*weights, None][:1] * len(paths)
    for path, one in zip(paths, each, strict=True):
        _require_data(has_data or not from_elsewhere(path, one), f"{path} has weights from elsewhere")
    loaded = [(path, open_model(path, one, note)) for path, one in zip(paths, each, strict=True)]
    first = loaded[0][1].data
    for path, checkpoint in loaded:
        _require_data(has_data or not isinstance(checkpoint, OnnxCheckpoint), f"{path} does not tell where its data is")
        _require_data(has_data or not checkpoint.origin, f"{path} has weights from elsewhere")
        if not has_data and checkpoint.data.absolute() != first.absolute():
            difference = f"{checkpoint.data.display}, and {paths[0]} on {first.display}"
            raise CheckpointError(f"{path}: was trained on {difference}; say with `data` on what to measure them")
    return loaded


def _require_data(there: bool, why: str) -> None:
    require(there, "`data`", f"{why}; say on what to measure it, such as folder:PATH")


def _check_task(loaded: Sequence[tuple[Path, Checkpoint]], data: DataRef) -> None:
    """Raises CheckpointError if a checkpoint is for another task than the data."""
    for path, checkpoint in loaded:
        if checkpoint.task != data.task:
            raise CheckpointError(f"{path}: was trained for {checkpoint.task}, and {data.display} is for {data.task}")


def _open(
    data: DataRef,
    split: str,
    loaded: Sequence[tuple[Path, Checkpoint]],
    download: bool,
    skip_bad: bool,
    note: Callable[[str], None],
) -> Source:
    """Opens the images, and warns if a network may have been trained on images of the split."""
    trained = [(path, checkpoint) for path, checkpoint in loaded if not checkpoint.origin]
    source = open_source(data, download, to_train=False, hold_out=bool(trained))
    for text in source.notes:
        note(text)
    if skip_bad:
        source = without_bad(source, lambda message: note(f"left out: {message}"))
    for path, checkpoint in trained:
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
        for path, checkpoint in loaded:
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
