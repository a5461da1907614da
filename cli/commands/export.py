"""`nxt export`: writes a trained network as a file for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import options
from ..terminal import tables


def export(
    checkpoint: Annotated[
        Path,
        typer.Argument(help="A checkpoint, or a training's run directory for its last one.", metavar="CHECKPOINT"),
    ],
    to: Annotated[
        str | None,
        typer.Option(
            help="onnx, torch (a program of torch.export) or safetensors (nxt reads it, too).", metavar="KIND"
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The file to write; replaced if it exists.", show_default="beside the checkpoint"),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="raw or ema.", show_default="the better on validation", metavar="KIND")
    ] = None,
    size: Annotated[int | None, typer.Option(help="Image side in pixels.", show_default="as trained")] = None,
    features: Annotated[
        bool, typer.Option("--features", help="Let onnx or torch return each stage's features, by stride, not logits.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Write a trained network as ONNX, as a torch.export program or as safetensors, and compare it with the original.

    ONNX files and programs take normalised images in batches of any number; the file says how to normalise.
    """
    if to is None:
        raise typer.BadParameter("give the kind of file with --to: onnx, torch or safetensors")
    to = to.lower()
    from nxt.inference.export import export_file

    exported = export_file(checkpoint, to, out, weights=weights, size=size, features=features)
    if as_json:
        tables.print_json(
            {
                "checkpoint": str(checkpoint),
                "name": exported.name,
                "to": to,
                "file": str(exported.path),
                "bytes": exported.bytes,
                "weights": exported.kind,
                "epoch": exported.epoch,
                "size": exported.size,
                "outputs": list(exported.outputs),
                "difference": exported.difference,
                "images": exported.images,
            }
        )
        return
    agreement = f"within {exported.difference:.1e} of the network" if exported.difference else "equal to the network"
    tables.out().print(
        f"{exported.path}: {exported.bytes / 1e6:.1f} MB, {', '.join(exported.outputs)} {agreement} "
        f"on {exported.images} ({exported.name}, epoch {exported.epoch}, {exported.kind} weights, {exported.size} px)",
        soft_wrap=True,
    )
