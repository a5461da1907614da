"""How fast images are given out for training, in images per second, against torchvision's ImageFolder and a DataLoader.

"streamed" decodes JPEG files in every epoch, "cached" reads the cache of decoded images, "resident" has them in memory
on the device. torchvision's loader has the same transforms in the same order (an area crop from 0.08, a mirror image),
as many worker processes that stay from epoch to epoch, and the same normalisation on the device. The images are made
up: noise over a smooth ground, as JPEG, 500 x 375 for batches at 224 px and 32 x 32 for batches at 32 px. All take
turns for some rounds, after an epoch each that does not count; nothing is trained.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import RESULTS, circumstances, options_of, show, tell, write_json
from PIL import Image
from torch import Tensor
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from nxt.data.augment import Augment
from nxt.data.batches import Draw, Images, Normalised
from nxt.data.choice import Choice, open_images
from nxt.data.dataset import Source, open_source
from nxt.data.preprocess import Preprocess
from nxt.data.workers import default_workers

SHAPES = {224: (500, 375), 32: (32, 32)}  # size of the batches: width and height of the files
ARMS = ("torchvision", "streamed", "cached", "resident")
AUGMENT = Augment(crop_area=0.08, mirror=True)
Epoch = Callable[[int], Iterator[Any]]


def paint(root: Path, shape: tuple[int, int], count: int) -> Source:
    """Make a folder of image files, `count` of them to train on."""
    rng = np.random.default_rng(0)
    for split, images in (("train", count), ("test", 2)):
        for index in range(images):
            file = root / split / "ab"[index % 2] / f"{index:06}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            ground = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
            smooth = np.asarray(ground.resize(shape, Image.Resampling.BICUBIC), dtype=np.float64)
            noisy = smooth + rng.normal(0, 12, smooth.shape)
            Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, quality=90)
    return open_source(f"folder:{root}")


def plain_epochs(root: Path, preprocess: Preprocess, batch: int, workers: int, device: torch.device) -> Epoch:
    """Return what runs an epoch of torchvision's loader."""
    crop = v2.RandomResizedCrop(preprocess.size, scale=(AUGMENT.crop_area, 1.0), antialias=True)
    files = ImageFolder(str(root / "train"), v2.Compose([v2.PILToTensor(), crop, v2.RandomHorizontalFlip()]))
    loader = torch.utils.data.DataLoader(
        files, batch, shuffle=True, drop_last=True, num_workers=workers,
        persistent_workers=workers > 0, pin_memory=device.type == "cuda",
    )  # fmt: skip
    normalised = Normalised(preprocess, device)

    def epoch(_number: int) -> Iterator[Any]:
        for images, labels in loader:
            yield normalised(images.to(device, non_blocking=True)), labels.to(device)

    return epoch


def nxt_epochs(
    source: Source, kind: str, preprocess: Preprocess, batch: int, workers: int, device: torch.device, folder: Path
) -> Epoch:
    """Return what runs an epoch of nxt's images, kept in one of the ways."""
    rows = np.arange(len(source.labels("train")))
    side = {"resident": preprocess.resized, "cached": preprocess.size * 3 // 2}.get(kind, 0)
    images: Images
    images, _ = open_images(
        source, "train", rows, preprocess, device, AUGMENT,
        workers=workers, folder=folder, choice=Choice(kind, side, ""),
    )  # fmt: skip
    return partial(images.train, Draw(batch=batch, augment=AUGMENT, seed=0))


def speed(epoch: Epoch, number: int, device: torch.device) -> float:
    """Return the images per second of one epoch."""
    start, seen = time.perf_counter(), 0
    last: Tensor | None = None
    for images, _ in epoch(number):
        seen, last = seen + len(images), images
    if last is not None:
        last.sum().item()  # waits for the device
    return seen / (time.perf_counter() - start)


def measure(size: int, options: argparse.Namespace, folder: Path) -> dict[str, dict[str, Any]]:
    """Return for each way of giving out images its speeds, their median and their range."""
    device, root = torch.device(options.device), folder / f"images-{size}"
    source = paint(root, SHAPES[size], options.images if size > 64 else 8 * options.images)
    preprocess = Preprocess(size=size, crop=0.875 if size > 64 else 1.0, mean=source.mean, std=source.std)
    how = {"preprocess": preprocess, "batch": options.batch, "workers": options.workers, "device": device}
    epochs = {"torchvision": plain_epochs(root, **how)}
    for kind in ARMS[1:]:
        start = time.perf_counter()
        epochs[kind] = nxt_epochs(source, kind, folder=folder / "cache", **how)
        tell(f"{size} px, {kind}: made ready in {time.perf_counter() - start:.1f} s")
    for name, epoch in epochs.items():
        tell(f"{size} px, {name}: first epoch at {speed(epoch, 0, device):.0f} images/s")
    speeds: dict[str, list[float]] = {name: [] for name in epochs}
    for number in range(1, options.rounds + 1):
        for name, epoch in epochs.items():
            speeds[name].append(speed(epoch, number, device))
    return {
        name: {"median": statistics.median(found), "least": min(found), "most": max(found), "speeds": found}
        for name, found in speeds.items()
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--images", type=int, default=1024, help="of 500 x 375; eight times as many of 32 x 32")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--workers", type=int, default=default_workers(), help="processes, of each way")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--sizes", default="224,32")
    parser.add_argument("--json", type=Path, default=RESULTS / "input.json", help="where results go")
    options = parser.parse_args()
    content: dict[str, Any] = {**circumstances(), "options": options_of(options), "sizes": {}}
    lines = [["images per second", *ARMS]]
    with tempfile.TemporaryDirectory() as folder:
        for size in map(int, options.sizes.split(",")):
            found = measure(size, options, Path(folder))
            content["sizes"][size] = found
            lines.append([f"{size} px, median", *(f"{found[name]['median']:.0f}" for name in ARMS)])
            lines.append(
                ["  least..most", *(f"{found[name]['least']:.0f}..{found[name]['most']:.0f}" for name in ARMS)]
            )
            once = found["torchvision"]["median"]
            lines.append(["  of torchvision's", *(f"{found[name]['median'] / once:.2f}" for name in ARMS)])
    write_json(options.json, content)
    show(lines)


if __name__ == "__main__":
    main()
