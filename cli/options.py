"""Declares the options that several commands share, with the same meaning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nxt.data.ref import DataRef

from . import complete


def _checked(settings: list[str] | None) -> list[str] | None:
    """Checks the form of settings first, so that the 0.1 of `--set lr 0.1` is not read as a network."""
    from nxt.config import parse_settings

    parse_settings(settings or [])
    return settings


def _part_of_gpu(text: str) -> float | None:
    """Reads a part of a GPU; None is `auto`."""
    try:
        return None if text == "auto" else float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a part of a GPU; write auto, 1, 0.25 or 0 (the CPU)") from None


SearchRun = Annotated[Path, typer.Argument(help="Run directory of a search.", metavar="RUN")]
NewRun = Annotated[
    Path | None, typer.Option("--out", help="Run directory to create; default: a new one under results/.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else on stdout.")]
Flops = Annotated[
    str | None,
    typer.Option("--flops", help="Multiply-adds: 4.1G (a window of +-8%), 4.1G+-2%, 1G:4.1G, :4.1G.", metavar="BUDGET"),
]
Params = Annotated[str | None, typer.Option("--params", help="Parameters, in the same grammar.", metavar="BUDGET")]
Acts = Annotated[
    str | None,
    typer.Option("--acts", help="Output elements of all convolutions, in the same grammar.", metavar="BUDGET"),
]
Memory = Annotated[
    str | None,
    typer.Option(
        "--memory",
        help="Predicted bytes of a training step (batch 32, float32), in the same grammar.",
        metavar="BUDGET",
    ),
]
Head = Annotated[
    str | None,
    typer.Option(
        "--head",
        help="What stands on the network: faster-rcnn, mask-rcnn, cascade-rcnn, cascade-mask-rcnn, retinanet; "
        "deeplabv3, fcn.",
        show_default="the recipe's",
    ),
]
Latency = Annotated[
    str | None,
    typer.Option("--latency", help="Predicted latency of a batch: :5ms, 300us:2ms, 5ms+-5%.", metavar="BUDGET"),
]
Throughput = Annotated[
    str | None,
    typer.Option("--throughput", help="Predicted images a second, in the same grammar: 2000:.", metavar="BUDGET"),
]
LatencyTable = Annotated[
    Path | None,
    typer.Option("--latency-table", help="Count latency, too, by this file of nxt latency measure.", metavar="FILE"),
]
Like = Annotated[
    str | None,
    typer.Option(
        "--like",
        help="Take the multiply-adds of this network as the window.",
        metavar="NAME",
        autocompletion=complete.networks,
    ),
]
Size = Annotated[
    int | None, typer.Option("--size", help="Count costs at this image side; default: what the space is made for.")
]
Classes = Annotated[
    int | None, typer.Option("--classes", help="Count costs with so many classes; default: what the space is made for.")
]
Data = Annotated[
    DataRef | None,
    typer.Option(
        "--data",
        help="digits (bundled), cifar10[:PATH], cifar100[:PATH], folder:PATH (train/CLASS/*.jpg or CLASS/*.jpg, also "
        "in a zip or tar, or at a URI), table:FILE.csv (also Parquet), hf:PATH or shards:PATTERN (WebDataset's tars); "
        "with --resume, where the same data lies now.",
        metavar="DATA",
        show_default="digits; for a file that a search wrote, its own",
        autocompletion=complete.data,
        parser=DataRef.of,
    ),
]
Download = Annotated[bool, typer.Option("--download", help="Let data be downloaded if it is not there.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Same seed, same command: same run.", show_default="0")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
GpusPerTrial = Annotated[
    float | None,
    typer.Option(
        "--gpus-per-trial",
        help="Part of a GPU for each trial, at most 1; 0: the CPU; auto: what each trial needs.",
        metavar="auto|PART",
        show_default="auto",
        parser=_part_of_gpu,
    ),
]
Address = Annotated[
    str | None,
    typer.Option("--address", help="Join the Ray cluster there instead of this machine alone.", metavar="HOST:PORT"),
]
Track = Annotated[
    str | None,
    typer.Option("--track", help="Tell a tracker, too, which must be installed.", metavar="mlflow|wandb|trackio"),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change one setting; may be repeated.", metavar="KEY=VALUE", callback=_checked),
]
Weights = Annotated[
    str | None,
    typer.Option(
        "--weights",
        help="raw or ema; of a network, torchvision (its published ones) or a file.",
        show_default="the better on validation",
        metavar="KIND|FILE",
    ),
]
