"""`nxt eval`: how good trained networks are on images that did not train them."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nxt.files import data_from_anywhere, data_place

from .. import complete, options
from ..terminal import tables as render

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nxt.inference.evaluation import Examples, Predictions
    from nxt.inference.views import Views
    from nxt.train.checkpoint import Checkpoint


def evaluate(
    checkpoints: Annotated[
        list[Path],
        typer.Argument(
            help="A checkpoint, or a training's run directory for its last one (RUN/checkpoints/best.pt is the best). "
            "Several are measured one by one and as an ensemble.",
            metavar="CHECKPOINT",
        ),
    ],
    data: Annotated[
        str | None,
        typer.Option(
            help="Another data set than it was trained on; classes go by name.",
            metavar="DATA",
            autocompletion=complete.data,
            callback=options.anywhere,
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="test, or val: the images by which a training selects.")] = "test",
    size: Annotated[int | None, typer.Option(help="Image side in pixels.", show_default="as trained")] = None,
    crop: Annotated[
        float | None, typer.Option(help="Share of the resized side that the crops keep.", show_default="as trained")
    ] = None,
    views: Annotated[
        str, typer.Option(help="center, ten (corners and centre, mirrored), or dense (whole image, several scales).")
    ] = "center",
    scales: Annotated[
        str | None,
        typer.Option(
            help="Shorter sides in pixels for dense views.", metavar="N,N,...", show_default="the papers', by size"
        ),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="raw or ema.", show_default="the better on validation", metavar="KIND")
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(help="Judge on these classes only, one name a line, as in ImageNet-5K.", metavar="FILE"),
    ] = None,
    per_class: Annotated[bool, typer.Option("--per-class", help="Print a table of the classes, worst first.")] = False,
    confusion: Annotated[
        Path | None, typer.Option(help="Write the confusion matrix (rows: true classes).", metavar="FILE.csv")
    ] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="Write what each image was taken for.", metavar="FILE.csv")
    ] = None,
    device: options.Device = "auto",
    download: options.Download = False,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out images that cannot be read.")] = False,
    as_json: options.Json = False,
) -> None:
    """Measure trained networks on the test split. Tables and files of several networks are of their ensemble."""
    from nxt.compute.devices import choose
    from nxt.inference.evaluation import Predictions, ensemble, predict, read_classes

    _check(split, size, crop, views, weights, confusion, predictions)
    target, sides = choose(device), _numbers(scales)
    loaded = _read(checkpoints, data)
    names, place = loaded[0].classes, data or loaded[0].data
    columns = read_classes(classes, names) if classes is not None else None
    images = _images(place, split, dict(zip(checkpoints, loaded, strict=True)), columns, download, skip_bad)
    shown = [_views(checkpoint, size, crop, views, sides, images.source.mirror) for checkpoint in loaded]
    found: list[Predictions] = []
    models: list[dict[str, Any]] = []
    for path, checkpoint, seen in zip(checkpoints, loaded, shown, strict=True):
        with _naming(path), _progress(path, len(images)) as advance:
            scores = predict(checkpoint.network(weights), images, seen, target, progress=advance)
        found.append(Predictions(scores, images.labels, names))
        about = _about(path, checkpoint, seen, weights or checkpoint.better) | {"data": place, "split": split}
        models.append(about | _figures(found[-1], columns))
    together = ensemble(found)
    joint = {"data": place, "split": split} | _figures(together, columns)
    judged = together if columns is None else together.among(columns)
    _write_files(judged, images, confusion, predictions)
    if as_json:
        render.print_json(models[0] if len(models) == 1 else {"models": models, "ensemble": joint})
        return
    for model in models:
        _print_line(str(model["name" if len(models) == 1 else "checkpoint"]), model)
    if len(models) > 1:
        _print_line(f"ensemble of {len(models)}", joint)
    if per_class:
        _print_classes(judged)


def _check(
    split: str,
    size: int | None,
    crop: float | None,
    views: str,
    weights: str | None,
    confusion: Path | None,
    predictions: Path | None,
) -> None:
    """Raise ConfigError for options that cannot be, before anything is read."""
    from nxt.config import require
    from nxt.files import is_folder
    from nxt.inference.evaluation import SPLITS
    from nxt.train.checkpoint import WEIGHTS

    require(split in SPLITS, "--split", f"{split!r} is not one of {', '.join(SPLITS)}")
    require(size is None or 4 <= size <= 4096, "--size", f"{size} is not between 4 and 4096 pixels")
    require(crop is None or 0 < crop <= 1, "--crop", f"{crop} is not above 0 and at most 1")
    require(crop is None or views != "dense", "--crop", "dense views show the whole image; leave it out")
    require(weights is None or weights in WEIGHTS, "--weights", f"{weights!r} is not one of {', '.join(WEIGHTS)}")
    for option, file in (("--confusion", confusion), ("--predictions", predictions)):
        require(file is None or not is_folder(file), option, f"{file} is a folder; name a file")
        require(file is None or is_folder(file.parent), option, f"{file} would lie in a folder that does not exist")
        require(file is None or file.suffix == ".csv", option, f"{file}: name a file that ends in .csv")
    same = confusion is not None and predictions is not None and confusion.resolve() == predictions.resolve()
    require(not same, "--predictions", f"{predictions} is --confusion's file; name another one")


def _numbers(scales: str | None) -> tuple[int, ...]:
    from nxt.errors import ConfigError

    try:
        return () if scales is None else tuple(int(part) for part in scales.split(","))
    except ValueError:
        raise ConfigError(f"--scales {scales!r}: write whole numbers of pixels, such as 224,256,384") from None


def _read(paths: list[Path], data: str | None) -> list[Checkpoint]:
    """Read checkpoints that can be measured on the same images."""
    from nxt.errors import CheckpointError
    from nxt.train.checkpoint import read

    loaded = [read(path) for path in paths]
    for path, checkpoint in zip(paths, loaded, strict=True):
        if checkpoint.classes != loaded[0].classes:
            counts = f"{len(checkpoint.classes)} classes that are not the {len(loaded[0].classes)} of {paths[0]}"
            raise CheckpointError(f"{path}: has {counts}; an ensemble needs the same")
        if data is None and data_from_anywhere(checkpoint.data) != data_from_anywhere(loaded[0].data):
            others = f"{data_place(checkpoint.data)}, and {paths[0]} on {data_place(loaded[0].data)}"
            raise CheckpointError(f"{path}: was trained on {others}; say with --data on what to measure them")
    return loaded


def _views(
    checkpoint: Checkpoint, size: int | None, crop: float | None, kind: str, scales: tuple[int, ...], mirror: bool
) -> Views:
    from nxt.inference.views import Views

    own = checkpoint.preprocess
    preprocess = dataclasses.replace(own, size=size or own.size, crop=crop or own.crop)
    return Views(preprocess=preprocess, kind=kind, scales=scales, mirror=mirror)


def _images(
    data: str,
    split: str,
    loaded: Mapping[Path, Checkpoint],
    columns: NDArray[np.int64] | None,
    download: bool,
    skip_bad: bool,
) -> Examples:
    """Open the images. Tell where some of those held out for validation may have trained a network."""
    from nxt.data.dataset import open_source
    from nxt.data.readable import without_bad
    from nxt.inference.evaluation import examples

    def tell(text: str) -> None:
        render.err().print(text, soft_wrap=True)

    source = open_source(data, download)
    if skip_bad:
        source = without_bad(source, lambda message: tell(f"left out: {message}"))
    for path, checkpoint in loaded.items():
        if (
            split == "val"
            and not source.has_val
            and data_from_anywhere(data) == data_from_anywhere(checkpoint.data)
            and source.identity() != checkpoint.identity
        ):
            changed = f"{data_place(data)} is not as it was when {path} was trained"
            tell(f"note: {changed}; it may have been trained on these images")
    return examples(source, split, next(iter(loaded.values())).classes, columns)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Let errors about a checkpoint's content say which one it is."""
    from nxt.errors import CheckpointError

    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None


@contextmanager
def _progress(path: Path, images: int) -> Iterator[Callable[[int], object]]:
    """Show on a terminal how far it is."""
    from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = render.err()
    shown = (TextColumn("{task.description}", markup=False), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*shown, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(path.name, total=images)
        yield lambda count: progress.advance(task, count)


def _about(path: Path, checkpoint: Checkpoint, views: Views, weights: str) -> dict[str, Any]:
    """Return what was measured, and how."""
    about = {
        "checkpoint": str(path),
        "name": checkpoint.spec.name,
        "epoch": checkpoint.epoch,
        "weights": weights,
        "size": views.preprocess.size,
        "crop": None if views.kind == "dense" else views.preprocess.crop,
        "views": views.kind,
    }
    return about | ({"scales": list(views.sides)} if views.kind == "dense" else {})


def _figures(predictions: Predictions, columns: NDArray[np.int64] | None) -> dict[str, Any]:
    """Return figures; with listed classes, of softmax over those, and the accuracy among all classes beside them."""
    if columns is None:
        return predictions.figures()
    return predictions.among(columns).figures() | {"accuracy_kway": predictions.top(1)}


def _print_line(name: str, row: dict[str, Any]) -> None:
    low, high = row["interval"]
    parts = [f"{name}: {row['accuracy']:.2%} of {row['images']} {row['split']} images of {data_place(row['data'])}"]
    if "accuracy_kway" in row:
        parts[0] += " among the listed classes"
        parts.append(f"{row['accuracy_kway']:.2%} among all")
    parts.append(f"95 % interval {100 * low:.2f} to {high:.2%}")
    parts += [f"top-5 {row['top5']:.2%}"] * (row["classes"] > 5)
    parts += [f"loss {row['loss']:.3f}", f"ECE {row['ece']:.1%}"]
    how = ""
    if "epoch" in row:
        shown = {
            "center": "",
            "ten": ", ten crops",
            "dense": f", dense at {', '.join(map(str, row.get('scales', [])))}",
        }[row["views"]]
        how = f" (epoch {row['epoch']}, {row['weights']} weights, {row['size']} px{shown})"
    render.out().print(", ".join(parts) + how, soft_wrap=True)


def _print_classes(predictions: Predictions) -> None:
    rows = [
        [row.name, row.images, f"{row.accuracy:.2%}", f"{row.mistaken} ({row.times})" if row.mistaken else "-"]
        for row in predictions.worst()
    ]
    render.print_table(["class", "images", "accuracy", "most often taken for"], rows, ["images"])


def _write_files(predictions: Predictions, images: Examples, confusion: Path | None, single: Path | None) -> None:
    """Write what was asked for: the confusion matrix, and what each image was taken for."""
    names = predictions.classes
    if confusion is not None:
        _write(confusion, ["", *names], zip(names, *predictions.confusion().T, strict=True))
    if single is not None:
        true, said = ([names[column] for column in of] for of in (predictions.labels, predictions.predicted))
        sure = (f"{value:.6f}" for value in predictions.confidence)
        called = (images.source.called(images.split, int(row)) for row in images.rows)
        _write(single, ["image", "true", "predicted", "probability"], zip(called, true, said, sure, strict=True))


def _write(path: Path, head: list[str], rows: Iterable[Iterable[Any]]) -> None:
    from nxt.files import write_text

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    write_text(path, text.getvalue())
