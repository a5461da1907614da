"""Images that worker processes read from files while the device trains."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.overrides import TorchFunctionMode

from gpu_check_steps.check import Check, folder, preprocess, rates, spec
from nxt.data.augment import Augment
from nxt.data.dataset import Source
from nxt.data.ref import DataRef
from nxt.data.sources.open import open_source
from nxt.data.stream import Stream
from nxt.models.network import build
from nxt.train.engine.trainer import Trainer
from nxt.train.recipe import Recipe

_CROPS = Augment(crop_area=0.25, mirror=True)


def stream(check: Check) -> None:
    """Trains on PNG files, and compares what arrives on the device with what is read without it."""
    count, side, size, workers = (48, 24, 16, 1) if check.small else (1024, 160, 128, 8)
    with folder() as place:
        _draw(Path(place), count, side)
        source = open_source(DataRef("folder", str(place)))
        rows = np.arange(len(source.labels("train")))
        few = _stream(source, rows[:32], size, check.device, 0)
        _compare(check, few, _stream(source, rows[:32], size, torch.device("cpu"), 0))
        images = _stream(source, rows, size, check.device, workers)
        recipe = Recipe(epochs=9, batch=16 if check.small else 128, lr=0.01, augment=_CROPS)
        trainer = Trainer(build(spec(2, wide=1 if check.small else 4), 2), images, few, recipe, 0)
        waits = []

        def epoch() -> int:
            waits.append(trainer.run_epoch().wait)
            return len(rows)

        with _Uploads() as uploads:
            check.figures["images_per_second"] = rates(check, {"epoch": epoch}, 1 if check.small else 3)["epoch"]
    check.figures |= {"wait_shares": waits, "workers": workers, "uploads": len(uploads.pinned)}
    if check.small:
        check.skip("pinned memory", "a CPU's images are not copied to it")
    else:
        check.expect(len(uploads.pinned) > 0, "no batch was seen on its way to the device")
        check.expect(all(uploads.pinned), f"{uploads.pinned.count(False)} of {len(uploads.pinned)} uploads not pinned")


def _draw(place: Path, count: int, side: int) -> None:
    """Writes PNG files of two classes: smooth pictures with some noise."""
    rng = np.random.default_rng(0)
    for split, number in (("train", count), ("test", 4)):
        for name in ("a", "b"):
            (place / split / name).mkdir(parents=True)
            for index in range(number // 2):
                coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
                coarse.resize((side, side), Image.Resampling.BICUBIC).save(place / split / name / f"{index}.png")


def _stream(source: Source, rows: np.ndarray[Any, Any], size: int, device: torch.device, workers: int) -> Stream:
    return Stream(source, "train", rows, preprocess(size), device, workers)


def _compare(check: Check, one: Stream, other: Stream) -> None:
    for (images, labels), (plain, names) in zip(one.plain(16), other.plain(16), strict=True):
        far = float((images.cpu() - plain).abs().max())
        check.expect(far < 1e-5 and bool((labels.cpu() == names).all()), f"images on the device are {far:.1e} away")


class _Uploads(TorchFunctionMode):
    """Notes of each batch of images that is copied to a device whether it lay in pinned memory."""

    def __init__(self) -> None:
        super().__init__()
        self.pinned: list[bool] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = args[0] if args else None
        images = isinstance(given, torch.Tensor) and given.dtype == torch.uint8 and given.ndim == 4
        result = func(*args, **(kwargs or {}))
        if images and func in (torch.Tensor.to, torch.Tensor.copy_):
            source = args[1] if func is torch.Tensor.copy_ else given
            if source.device.type == "cpu" and result.device.type != "cpu":
                self.pinned.append(source.is_pinned())
        return result
