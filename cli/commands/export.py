"""`nxt export`: writes a trained network as a file for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nxt.config import to_mapping

from .. import options
from ..terminal import tables

if TYPE_CHECKING:
    from nxt.inference.precision import Judged


def export(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            help="A checkpoint, or a training's run directory for its last one; or a network, with --weights.",
            metavar="CHECKPOINT",
        ),
    ],
    to: Annotated[
        str | None,
        typer.Option(
            help="onnx, torch (a program of torch.export), safetensors (nxt reads it, too), timm, hub (folders that "
            "timm and the Hugging Face Hub read) or openvino.",
            metavar="KIND",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The file or folder to write; replaced if it exists.", show_default="beside the checkpoint"),
    ] = None,
    weights: options.Weights = None,
    size: Annotated[int | None, typer.Option(help="Image side in pixels.", show_default="as trained")] = None,
    features: Annotated[
        bool, typer.Option("--features", help="Let onnx or torch return each stage's features, by stride, not logits.")
    ] = False,
    precision: Annotated[
        str,
        typer.Option(
            help="fp32; for onnx also fp16 or int8 (calibrated on the validation split); tells what it costs.",
            metavar="KIND",
        ),
    ] = "fp32",
    push: Annotated[
        str | None,
        typer.Option(help="Upload the hub folder there; a new repository is private.", metavar="USER/NAME"),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Write a trained network for other programs (ONNX, torch.export, timm and more), and compare it with the original.

    ONNX files and programs take normalised images in batches of any number; the file says how to normalise.
    """
    if to is None:
        raise typer.BadParameter("give the kind of file with --to: onnx, torch, safetensors, timm, hub or openvino")
    to = to.lower()
    from nxt.inference.export import export_file

    exported = export_file(
        checkpoint,
        to,
        out,
        weights=weights,
        size=size,
        features=features,
        precision=precision,
        push=push,
        note=tables.note,
    )
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
                "precision": exported.precision,
                "judged": to_mapping(exported.judged),
                "pushed": exported.pushed,
            }
        )
        return
    agreement = f"within {exported.difference:.1e} of the network" if exported.difference else "equal to the network"
    origin = exported.kind if exported.epoch is None else f"epoch {exported.epoch}, {exported.kind} weights"
    judged = exported.judged
    if judged is not None:
        agreement = f"in fp32 {agreement}"
    tables.out().print(
        f"{exported.path}: {exported.bytes / 1e6:.1f} MB, {', '.join(exported.outputs)} {agreement} "
        f"on {exported.images} ({exported.name}, {origin}, {exported.size} px)",
        soft_wrap=True,
    )
    if judged is not None:
        tables.out().print(_told(exported.precision, judged, exported.bytes), soft_wrap=True)
    if exported.pushed is not None:
        tables.out().print(f"pushed to {exported.pushed}", soft_wrap=True)


def _told(precision: str, judged: Judged, size: int) -> str:
    """Returns what fewer bits cost, as a sentence."""
    parts = [f"{precision}: {size / judged.bytes_fp32:.0%} of the {judged.bytes_fp32 / 1e6:.1f} MB of fp32"]
    if judged.accuracy is not None:
        parts.append(f"{judged.accuracy_fp32:.2%} before, {judged.accuracy:.2%} after")
    kind = "random" if judged.accuracy is None else "validation"
    parts.append(f"the same class for {judged.agreement:.2%} of {judged.images:,} {kind} images")
    calibrated = f"; calibrated on {judged.calibration} of them" if judged.calibration else ""
    slower = ""
    if precision == "int8" and judged.slowdown is not None:  # a CPU computes fp16 in 32 bits
        slower = f"; on this machine's CPU it takes {judged.slowdown:.1f} times as long as fp32"
        slower += ", and is the slower one here" if judged.slowdown > 1 else ""
    return ", ".join(parts) + calibrated + slower
