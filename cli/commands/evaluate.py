"""`nxt eval`: measures trained networks on images that were not used for training."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nxt.arch.measured import evaluated_row
from nxt.config import require
from nxt.data.ref import DataRef
from nxt.errors import ConfigError, NxtError
from nxt.files import is_folder, write_text

from .. import complete, options
from ..terminal import tables
from ..terminal.scene_view import print_scenes

if TYPE_CHECKING:
    from collections.abc import Callable

    from nxt.inference.classifier_evaluation import Evaluation, Paired
    from nxt.inference.evaluation import Predictions

_SIGNIFICANT = 0.05  # probability, below which a difference is called clear


def evaluate(
    checkpoints: Annotated[
        list[Path],
        typer.Argument(
            help="A checkpoint, or a training's run directory for its last one (RUN/checkpoints/best.pt is the best); "
            "an exported FILE.onnx, with --data; or a network, with --weights. Several are measured one by one, "
            "each against the first one, and as an ensemble.",
            metavar="CHECKPOINT",
        ),
    ],
    data: Annotated[
        DataRef | None,
        typer.Option(
            help="Another data set than it was trained on; classes go by name.",
            metavar="DATA",
            autocompletion=complete.data,
            parser=DataRef.of,
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
        list[str] | None,
        typer.Option(
            help="raw or ema; of a network, torchvision (its published ones) or a file. One for all, or one each.",
            show_default="the better on validation",
            metavar="KIND|FILE",
        ),
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(
            help="Judge on these classes only, one name a line, as in ImageNet-5K; or, of published weights, what all "
            "outputs are, in their order.",
            metavar="FILE",
        ),
    ] = None,
    per_class: Annotated[bool, typer.Option("--per-class", help="Print a table of the classes, worst first.")] = False,
    confusion: Annotated[
        Path | None, typer.Option(help="Write the confusion matrix (rows: true classes).", metavar="FILE.csv")
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            help="Write what each image was taken for; of a detector, FILE.json of its boxes in COCO's format; of a "
            "segmenter, a folder of masks.",
            metavar="FILE.csv",
        ),
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option("--csv", help="Write a row a network, for nxt zoo --against.", metavar="FILE.csv"),
    ] = None,
    device: options.Device = "auto",
    download: options.Download = False,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out images that cannot be read.")] = False,
    as_json: options.Json = False,
) -> None:
    """Measure trained networks on the test split. Tables and files of several networks are of their ensemble."""
    from nxt.inference.evaluate import evaluate as measure
    from nxt.inference.scene_evaluation import SceneEvaluation

    marked = predictions if predictions is not None and predictions.suffix != ".csv" else None
    files = {"--confusion": confusion, "--predictions": None if marked else predictions, "--csv": table}
    _check_files({option: file for option, file in files.items() if file is not None}, checkpoints, data)
    with _progress() as progress:
        measured = measure(
            checkpoints,
            data,
            split,
            size=size,
            crop=crop,
            views=views,
            scales=_numbers(scales),
            weights=weights or None,
            classes=classes,
            device=device,
            download=download,
            skip_bad=skip_bad,
            predictions=marked,
            note=tables.note,
            progress=progress,
        )
    if isinstance(measured, SceneEvaluation):
        if as_json:
            tables.print_json({"models": measured.rows} if len(measured.rows) > 1 else measured.rows[0])
        else:
            print_scenes(measured, per_class)
        return
    _write_files(measured, confusion, predictions, table)
    rows, several = measured.rows, len(measured.rows) > 1
    if as_json:
        compared = [pair.to_dict() for pair in measured.against_first]
        all_of_them = {"models": rows, "ensemble": measured.ensemble_row, "against_first": compared}
        tables.print_json(all_of_them if several else rows[0])
        return
    for row in rows:
        _print_line(str(row["checkpoint" if several else "name"]), row)
    for pair in measured.against_first:
        _print_paired(pair, str(rows[0]["checkpoint"]))
    if several:
        _print_line(f"ensemble of {len(rows)}", measured.ensemble_row)
    if per_class:
        _print_classes(measured.predictions, "Classes, by the ensemble" if several else None)


def _check_files(files: Mapping[str, Path], checkpoints: list[Path], data: DataRef | None) -> None:
    """Raises ConfigError if a file cannot be written, or is of classifiers alone, before anything is measured."""
    taken: dict[Path, str] = {}
    for option, file in files.items():
        require(not is_folder(file), option, f"{file} is a folder; name a file")
        require(is_folder(file.parent), option, f"{file} would lie in a folder that does not exist")
        require(file.suffix == ".csv", option, f"{file}: name a file that ends in .csv")
        other = taken.setdefault(file.resolve(), option)
        require(other == option, option, f"{file} is {other}'s file; name another one")
    classifies = not files or _is_classification(checkpoints[0], data)
    for option, file in files.items():
        require(classifies, option, f"{file}: a table of classifications; see --help for what detectors give")


def _is_classification(checkpoint: Path, data: DataRef | None) -> bool:
    """Returns whether classifiers are measured; also if the checkpoint cannot be read, which measuring tells."""
    from nxt.inference.onnx_file import open_model

    with suppress(NxtError):
        return (data or open_model(checkpoint).data).task == "classification"
    return True


def _numbers(scales: str | None) -> tuple[int, ...]:
    try:
        return () if scales is None else tuple(int(part) for part in scales.split(","))
    except ValueError:
        raise ConfigError(f"--scales {scales!r}: write whole numbers of pixels, such as 224,256,384") from None


@contextmanager
def _progress() -> Iterator[Callable[[Path, int, int], None]]:
    """Shows on a terminal how many images each network has processed."""
    from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = tables.err()
    columns = (TextColumn("{task.description}", markup=False), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks: dict[Path, Any] = {}

        def show(path: Path, done: int, total: int) -> None:
            if path not in tasks:
                tasks[path] = bars.add_task(path.name, total=total)
            bars.update(tasks[path], completed=done)

        yield show


def _print_line(name: str, row: dict[str, Any]) -> None:
    from nxt.data.dataset import is_uneven

    low, high = row["interval"]
    data = DataRef.parse(row["data"]).display
    parts = [f"{name}: {row['accuracy']:.2%} of {row['images']} {row['split']} images of {data}"]
    if "accuracy_kway" in row:
        parts[0] += " among the listed classes"
        parts.append(f"{row['accuracy_kway']:.2%} among all")
    parts.append(f"95 % interval {100 * low:.2f} to {high:.2%}")
    if is_uneven(row["largest_class"], row["classes"]):
        parts.append(f"mean over the classes {row['balanced_accuracy']:.2%}")
        parts.append(f"always the largest class {row['largest_class']:.2%}")
    parts += [f"top-5 {row['top5']:.2%}"] * (row["classes"] > 5)
    parts += [f"loss {row['loss']:.3f}", f"ECE {row['ece']:.1%}"]
    setting = ""
    if "views" in row:
        what = row["weights"] if row["epoch"] is None else f"epoch {row['epoch']}, {row['weights']} weights"
        dense = f", dense at {', '.join(map(str, row.get('scales', [])))}"
        views = {"center": "", "ten": ", ten crops", "dense": dense}[row["views"]]
        onnx = f", {row['onnx']} in ONNX" if "onnx" in row else ""
        setting = f" ({what}{onnx}, {row['size']} px{views})"
    tables.out().print(", ".join(parts) + setting, soft_wrap=True)


def _print_paired(pair: Paired, first: str) -> None:
    """Prints how a network compares with the first one, and whether these images show a difference."""
    clear = "clearly" if pair.p < _SIGNIFICANT else "not clearly"
    tables.out().print(
        f"{pair.checkpoint} against {first}: {100 * pair.gain:+.2f} points, {clear} different on these images: "
        f"{pair.gained} right that the other gets wrong, {pair.lost} the other way (McNemar's exact test: "
        f"p = {pair.p:.2g}; the noise of seeds is not in it)",
        soft_wrap=True,
    )


def _print_classes(predictions: Predictions, caption: str | None) -> None:
    rows = [
        [row.name, row.images, f"{row.accuracy:.2%}", f"{row.mistaken} ({row.times})" if row.mistaken else "-"]
        for row in predictions.worst()
    ]
    tables.print_table(["class", "images", "accuracy", "most often taken for"], rows, ["images"], caption)


def _write_files(measured: Evaluation, confusion: Path | None, predictions: Path | None, table: Path | None) -> None:
    """Writes the confusion matrix, the prediction for each image, and the table of networks, as far as asked for."""
    names = measured.predictions.classes
    if confusion is not None:
        _write(confusion, ["", *names], zip(names, *measured.predictions.confusion().T, strict=True))
    if predictions is not None:
        rows = ({**row, "probability": f"{row['probability']:.6f}"}.values() for row in measured.image_rows())
        _write(predictions, ["image", "true", "predicted", "probability"], rows)
    if table is not None:
        networks = [evaluated_row(row, names) for row in measured.rows]
        _write(table, list(networks[0]), (row.values() for row in networks))


def _write(path: Path, head: list[str], rows: Iterable[Iterable[Any]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    write_text(path, text.getvalue())
