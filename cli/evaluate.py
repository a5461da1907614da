"""`nxt eval`: accuracy on the test split."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options, render


def evaluate(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint, or a training's run directory.")],
    data: Annotated[str | None, typer.Option(help="Another data set than it was trained on.", metavar="DATA")] = None,
    size: Annotated[int | None, typer.Option(help="Image side in pixels; default: as trained.")] = None,
    device: options.Device = "auto",
    download: options.Download = False,
    as_json: options.Json = False,
) -> None:
    """Measure a trained network's accuracy on the test split."""
    from nxt.config import require
    from nxt.train.checkpoint import read
    from nxt.train.devices import choose
    from nxt.train.run import accuracy_on_test

    require(size is None or 4 <= size <= 4096, "--size", f"{size} is not between 4 and 4096 pixels")
    loaded = read(checkpoint)
    found, images = accuracy_on_test(loaded, choose(device), data, size, download)
    if as_json:
        render.print_json(
            {
                "checkpoint": str(checkpoint),
                "name": loaded.spec.name,
                "data": data or loaded.data,
                "split": "test",
                "images": images,
                "accuracy": found,
                "size": size or loaded.size,
                "epoch": loaded.epoch,
            }
        )
        return
    render.out().print(
        f"{loaded.spec.name}: {found:.2%} of {images} test images of {data or loaded.data} "
        f"(epoch {loaded.epoch}, {size or loaded.size} px)",
        soft_wrap=True,
    )
