"""`nxt predict`: tells what a trained network takes images for."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import options
from ..terminal import tables

if TYPE_CHECKING:
    from nxt.inference.scene_prediction import ScenePredictions

_SHOWN = 8  # objects of an image in a line


def predict(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            help="A checkpoint, a training's run directory for its last one, or an ONNX file of nxt export; or a "
            "network, with --weights.",
            metavar="CHECKPOINT",
        ),
    ],
    images: Annotated[
        list[Path],
        typer.Argument(help="Image files, and folders, which are walked through.", metavar="IMAGE|FOLDER"),
    ],
    top: Annotated[int, typer.Option(help="How many classes to tell of each image.", metavar="N")] = 5,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Of a detector or segmenter: the folder for pictures with what it finds drawn on them.",
            metavar="FOLDER",
        ),
    ] = None,
    weights: options.Weights = None,
    device: options.Device = "auto",
    as_json: options.Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print a row of comma-separated values an image.")] = False,
) -> None:
    """Tell what a trained network takes images for: the most probable classes, for files without labels.

    Of a detector, the boxes of objects; of a segmenter, the classes of the pixels; both are drawn, too.

    An image that cannot be read is named and left out, and the exit code is then 1; so it is if none can be read.
    """
    if as_json and as_csv:
        raise typer.BadParameter("--json and --csv: give one of both")
    from nxt.inference.prediction import predict as predicted
    from nxt.inference.scene_prediction import ScenePredictions

    console = tables.err()
    with console.status("") as status:
        found = predicted(
            checkpoint,
            images,
            top=top,
            weights=weights,
            device=device,
            out=out,
            note=lambda text: console.print(text, soft_wrap=True),
            progress=lambda done, total: status.update(f"{done:,} of {total:,} images"),
        )
    if isinstance(found, ScenePredictions):
        if as_csv:
            raise typer.BadParameter("--csv: is for classifiers; give --json")
        _print_scenes(found, as_json)
    elif as_json:
        tables.print_json({**found.network, "images": found.rows, "unreadable": list(found.unreadable)})
    elif as_csv:
        _print_csv(found.rows)
    else:
        _print_table(found.rows)
    if found.unreadable:
        raise typer.Exit(1)


def _print_scenes(found: ScenePredictions, as_json: bool) -> None:
    if as_json:
        tables.print_json({**found.network, "images": found.rows, "unreadable": list(found.unreadable)})
        return
    for row in found.rows:
        if "objects" in row:
            seen = ", ".join(f"{one['class']} {one['score']:.0%}" for one in row["objects"][:_SHOWN])
            more = len(row["objects"]) - _SHOWN
            text = (seen or "nothing") + (f" and {more} more" if more > 0 else "")
        else:
            text = ", ".join(f"{name} {share:.0%}" for name, share in row["classes"].items() if share >= 0.005)
        drawn = f"; drawn in {row['picture']}" if "picture" in row else ""
        tables.out().print(f"{row['image']}: {text}{drawn}", soft_wrap=True, markup=False)


def _print_csv(rows: Sequence[dict[str, Any]]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    ends = ["", *(f"_{rank}" for rank in range(2, len(rows[0]["classes"]) + 1))]
    writer.writerow(["image", *(f"{name}{end}" for end in ends for name in ("predicted", "probability"))])
    for row in rows:
        pairs = zip(row["classes"], row["probabilities"], strict=True)
        writer.writerow([row["image"], *(cell for name, share in pairs for cell in (name, f"{share:.6f}"))])


def _print_table(rows: Sequence[dict[str, Any]]) -> None:
    columns = [f"top {rank}" for rank in range(1, len(rows[0]["classes"]) + 1)]
    cells = []
    for row in rows:
        pairs = zip(row["classes"], row["probabilities"], strict=True)
        cells.append([row["image"], *(f"{name} {share:.1%}" for name, share in pairs)])
    tables.print_table(["image", *columns], cells, columns[:0:-1], left=columns)
