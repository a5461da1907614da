"""`nxt export`: a trained network as a file for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import options
from ..terminal import tables as render


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
    from nxt.errors import CheckpointError, RunError
    from nxt.inference.export import SUFFIXES
    from nxt.inference.export import export as write
    from nxt.train.checkpoint import read

    loaded = read(checkpoint)
    if out is None:
        stem = checkpoint / loaded.spec.name if checkpoint.is_dir() else checkpoint.with_suffix("")
        out = stem.with_name(stem.name + ("_features" if features else "") + SUFFIXES.get(to, ""))
    if to in SUFFIXES and out.suffix != SUFFIXES[to]:
        raise RunError(f"{out}: a file of this kind is called NAME{SUFFIXES[to]}; give another --out")
    if out.resolve() == checkpoint.resolve():
        raise RunError(f"{out}: is what is to be exported; give another --out")
    try:
        done = write(loaded, to, out, weights, size, features)
    except CheckpointError as error:
        raise CheckpointError(f"{checkpoint}: {error}") from None
    if as_json:
        render.print_json(
            {
                "checkpoint": str(checkpoint),
                "name": loaded.spec.name,
                "to": to,
                "file": str(out),
                "bytes": done.bytes,
                "weights": done.kind,
                "epoch": loaded.epoch,
                "size": done.size,
                "outputs": list(done.outputs),
                "difference": done.difference,
                "images": done.images,
            }
        )
        return
    agreement = f"within {done.difference:.1e} of the network" if done.difference else "equal to the network"
    render.out().print(
        f"{out}: {done.bytes / 1e6:.1f} MB, {', '.join(done.outputs)} {agreement} on {done.images} "
        f"({loaded.spec.name}, epoch {loaded.epoch}, {done.kind} weights, {done.size} px)",
        soft_wrap=True,
    )
