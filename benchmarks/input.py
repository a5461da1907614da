"""How fast images are given out for training, in images per second, with nothing trained on them.

Small images (CIFAR-10 as files, or made up) are resident and augmented as in the recipe `resnext-cifar`: 4 pixels of
border, a crop of 32, a mirror image for half of them. The peers have the same images in the same batches:

- v2 on each batch: a resident uint8 tensor and torchvision's v2 on whole batches. That is its fastest way, but a weaker
  augmentation: one crop and one mirroring for all images of a batch.
- v2 on each image: the same, but each image is cropped and mirrored on its own, as nxt's are; only the normalisation is
  for the batch.
- ImageFolder + DataLoader: the files are decoded in every epoch by worker processes that stay.

Large images (made up, 500 x 375) are decoded in every epoch ("streamed") or read from nxt's cache of decoded ones, and
cropped by area to 224; the peer is ImageFolder + DataLoader with the same transforms and as many processes.

All take turns, round by round; the first round does not count. Ratios are taken in each round.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import Row, compared, in_rounds, tell, write_csv
from PIL import Image
from torch import Tensor
from torchvision import transforms as v1
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from nxt.data.augment import Augment
from nxt.data.dataset import ImagePlacement, Source, Split
from nxt.data.draw import Draw
from nxt.data.placement import open_images
from nxt.data.preprocess import Preprocess
from nxt.data.processes import default_workers
from nxt.data.ref import DataRef
from nxt.data.resident import Batches, Images, Normalised
from nxt.data.sources import open_source

SMALL, LARGE = (32, 32), (500, 375)  # width and height of the files
BORDER = 4
CIFAR = Augment(shift=0.125, mirror=True)
AREA = Augment(crop_area=0.08, mirror=True)
Epoch = Callable[[int], Iterator[Any]]


def paint(root: Path, shape: tuple[int, int], count: int) -> Source:
    """Make a folder of image files, noise over a smooth ground, `count` of them to train on."""
    rng = np.random.default_rng(0)
    for split, images in (("train", count), ("test", 2)):
        for index in range(images):
            file = root / split / "ab"[index % 2] / f"{index:06}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            ground = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
            smooth = np.asarray(ground.resize(shape, Image.Resampling.BICUBIC), dtype=np.float64)
            noisy = smooth + rng.normal(0, 12, smooth.shape)
            Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, quality=90)
    return open_source(DataRef("folder", str(root)))


def tensor_epoch(images: Tensor, labels: Tensor, preprocess: Preprocess, batch: int, *, each: bool) -> Epoch:
    """Return what runs an epoch over resident tensors through v2: image by image, or in whole batches."""
    move = v2.Compose([v2.RandomCrop(preprocess.size, padding=BORDER), v2.RandomHorizontalFlip()])
    normalise = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(preprocess.mean, preprocess.std)])

    def epoch(_number: int) -> Iterator[Any]:
        order = torch.randperm(len(labels), device=images.device)
        for rows in order[: len(order) // batch * batch].view(-1, batch):
            some = images.index_select(0, rows)
            moved = torch.stack([move(image) for image in some]) if each else move(some)
            yield normalise(moved), labels.index_select(0, rows)

    return epoch


def folder_epoch(
    root: Path, changes: Callable[[Any], Tensor], preprocess: Preprocess, batch: int, workers: int, device: torch.device
) -> Epoch:
    """Return what runs an epoch of ImageFolder and a DataLoader; images are normalised on the device, in batches."""
    loader = torch.utils.data.DataLoader(
        ImageFolder(str(root / "train"), changes), batch, shuffle=True, drop_last=True, num_workers=workers,
        persistent_workers=workers > 0, pin_memory=device.type == "cuda",
    )  # fmt: skip
    normalised = Normalised(preprocess, device)

    def epoch(_number: int) -> Iterator[Any]:
        for images, labels in loader:
            yield normalised(images.to(device, non_blocking=True)), labels.to(device)

    return epoch


def speed(epoch: Epoch, numbers: Iterator[int], device: torch.device) -> float:
    """Run the next epoch; return its images per second."""
    start, seen = time.perf_counter(), 0
    last: Tensor | None = None
    for images, _ in epoch(next(numbers)):
        seen, last = seen + len(images), images
    if last is not None:
        last.sum().item()  # waits for the device
    return seen / (time.perf_counter() - start)


def measured(epochs: dict[str, Epoch], rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Return the speeds of all ways, one for each round."""
    return in_rounds({name: partial(speed, epoch, itertools.count(), device) for name, epoch in epochs.items()}, rounds)


def small(options: argparse.Namespace, folder: Path) -> list[Row]:
    """Measure small images."""
    device, batch = torch.device(options.device), options.batch
    made_up = "" if options.data else "images made up"
    root = Path(options.data).resolve() if options.data else folder / "small"
    source = open_source(DataRef("folder", str(root))) if options.data else paint(root, SMALL, 8 * options.images)
    preprocess = Preprocess(size=SMALL[0], mean=source.mean, std=source.std)
    labels = source.labels("train")
    split = Split(source.images("train", np.arange(len(labels)), SMALL[0]), labels)
    own = Batches(split, preprocess, device)
    tensors = {"preprocess": preprocess, "batch": batch}
    # of PIL images, and torchvision's first transforms: a quarter faster here than v2 on tensors
    moves = v1.Compose([v1.RandomCrop(SMALL[0], padding=BORDER), v1.RandomHorizontalFlip(), v1.PILToTensor()])
    speeds = measured(
        {
            "nxt": partial(own.train, Draw(batch=batch, augment=CIFAR, seed=0)),
            "v2 on each batch": tensor_epoch(own.images, own.labels, each=False, **tensors),
            "v2 on each image": tensor_epoch(own.images, own.labels, each=True, **tensors),
            "ImageFolder + DataLoader": folder_epoch(root, moves, workers=options.workers, device=device, **tensors),
        },
        options.rounds,
        device,
    )
    notes = {
        "v2 on each batch": "weaker: one crop and mirroring a batch",
        "v2 on each image": "the same augmentation",
        "ImageFolder + DataLoader": f"the same augmentation; {options.workers} worker processes",
    }
    count = f"{len(own):,} images of 32 px, resident, batch {batch}"
    return [
        compared(
            what=count, against=peer, unit="images/s", values=speeds["nxt"], peer_values=speeds[peer],
            target=20 if "Folder" in peer else 1, note="; ".join(filter(None, (note, made_up))),
        )
        for peer, note in notes.items()
    ]  # fmt: skip


def large(options: argparse.Namespace, folder: Path) -> list[Row]:
    """Measure images that are cropped to 224 px."""
    device, root = torch.device(options.device), folder / "large"
    source = paint(root, LARGE, options.images)
    preprocess = Preprocess(size=224, crop=0.875, mean=source.mean, std=source.std)
    how = {"preprocess": preprocess, "workers": options.workers, "device": device}
    crop = v2.RandomResizedCrop(224, scale=(AREA.crop_area, 1.0), antialias=True)
    changes = v2.Compose([v2.PILToTensor(), crop, v2.RandomHorizontalFlip()])
    peer = "ImageFolder + DataLoader"
    epochs = {peer: folder_epoch(root, changes, batch=options.batch, **how)}
    for kind, side in (("streamed", 0), ("cached", 336)):
        images: Images
        images, _ = open_images(
            source, "train", np.arange(options.images), augment=AREA,
            folder=folder / "cache", placement=ImagePlacement(kind, side, ""), **how,
        )  # fmt: skip
        epochs[kind] = partial(images.train, Draw(batch=options.batch, augment=AREA, seed=0))
    speeds = measured(epochs, options.rounds, device)
    return [
        compared(
            what=f"{options.images:,} images of 500 x 375 to 224 px, {kind}, batch {options.batch}",
            against=peer, unit="images/s", values=speeds[kind], peer_values=speeds[peer],
            note=f"the same augmentation; {options.workers} worker processes; images made up",
        )
        for kind in ("streamed", "cached")
    ]  # fmt: skip


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder of small images: train/CLASS/*.jpg and test/; default: made up")
    parser.add_argument("--images", type=int, default=1024, help="made up: large ones, and eight times as many small")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--workers", type=int, default=default_workers(), help="processes, of each way that has some")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--parts", default="small,large")
    options = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for part in options.parts.split(","):
            tell(part)
            rows += {"small": small, "large": large}[part](options, Path(folder))
    write_csv("input", rows, options.device)


if __name__ == "__main__":
    main()
