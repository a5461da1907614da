"""Where images are while they are trained on: in memory, in a cache of decoded ones, or where they were."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from nxt.compute.accelerator import accelerator, gpus
from nxt.data.augment import Augment
from nxt.data.cache import Progress, decoded, estimated, is_decoded
from nxt.data.dataset import ImagePlacement, Source, Split
from nxt.data.preprocess import Preprocess
from nxt.data.processes import Workers, default_workers
from nxt.data.resident import Batches, Images
from nxt.data.stream import Reader, Stream, Task
from nxt.files import cache_folder, exists

_CHUNK = 64  # images that a worker decodes at a time
_ONCE = "they are read only once"
_GPU_SHARE, _RAM_SHARE = 1 / 3, 1 / 2  # of what is free, for resident images


def plan_placement(
    source: Source,
    split: str,
    rows: NDArray[np.int64],
    preprocess: Preprocess,
    device: torch.device,
    augment: Augment | None = None,
    *,
    passes: int = 2,
    processes: int = 1,
    folder: Path | None = None,
) -> ImagePlacement:
    """Chooses how to keep images; see `open_images`.

    The answer depends on what is free now. Processes that train together, and a training that goes on, want one
    answer: augmentation of resident images draws other numbers.

    Raises:
        DataError: if an image of the sample is not readable.
    """
    count = f"{len(rows):,} images"
    side = preprocess.resized if source.size is None else source.size
    needed = len(rows) * 3 * side**2
    room = _room(device, processes)
    why = _not_resident(source, augment, passes)
    if not why and needed > room:
        why = f"in memory they would take {_size(needed)} of {_size(room)}"
    if not why:
        where = f" of {device}" if accelerator(device).is_gpu else ""
        return ImagePlacement("resident", side, f"{split}: {count} in memory{where} ({_size(needed)})")
    area = augment is not None and augment.crop_area < 1
    side = max(preprocess.resized, preprocess.size * 3 // 2) if area else preprocess.resized
    folder = folder or cache_folder()
    not_cached = _not_cached(source, split, rows, preprocess, side, passes, folder)
    if not not_cached:
        return ImagePlacement("cached", side, f"{split}: {count} decoded once, to {folder} ({why})")
    reasons = "; ".join(dict.fromkeys((why, not_cached)))
    return ImagePlacement("streamed", side, f"{split}: {count} decoded whenever they are read ({reasons})")


def open_images(
    source: Source,
    split: str,
    rows: NDArray[np.int64],
    preprocess: Preprocess,
    device: torch.device,
    augment: Augment | None = None,
    *,
    passes: int = 2,
    processes: int = 1,
    workers: int | None = None,
    folder: Path | None = None,
    placement: ImagePlacement | None = None,
    on_progress: Progress | None = None,
) -> tuple[Images, ImagePlacement]:
    """Makes images ready to be given out in batches, and tells how they are kept.

    They are resident on the device if they fit (on a GPU into a third of its free memory, else into half of the free
    main memory, divided among the processes that share it) and nothing asks for them one by one: a policy does, and
    area crops of images that are not small. Else they are read from a cache of decoded images, if those on disk are
    larger than needed and the cache has room on the disk and in main memory; else they are decoded in every pass. Area
    crops have a cache of half as large again as the size, so that a crop of 0.44 of the area or more is never enlarged.

    Args:
        source: Where the images come from.
        split: Which split.
        rows: Which of its images, as indices into the split.
        preprocess: What the images given out are like.
        device: Where they go.
        augment: How they are changed in training; None if they only ever are evaluated.
        passes: How often they are gone through. What is read only once is not kept.
        processes: How many processes of this training run on this machine, and share its memory and cores.
        workers: Processes that read images; by default as many as there are cores.
        folder: Where caches lie; by default `nxt.files.cache_folder`.
        placement: How to keep them, as planned before.
        on_progress: Is called with the number of images that have been read before training, and of all.

    Raises:
        DataError: if an image is not readable, or the disk has not room for a cache that was chosen before.
        RunError: if a cache cannot be written.
    """
    workers = default_workers(processes) if workers is None else workers
    if placement is None:
        how = {"passes": passes, "processes": processes}
        placement = plan_placement(source, split, rows, preprocess, device, augment, folder=folder, **how)
    if placement.kind == "resident":
        labels = source.labels(split)[rows]
        pixels = _resident(source, split, rows, preprocess, placement.side, workers, on_progress)
        return Batches(Split(pixels, labels), preprocess, device), placement
    if placement.kind == "cached":
        source = decoded(
            source, split, placement.side, folder,
            interpolation=preprocess.interpolation, workers=workers, on_progress=on_progress,
        )  # fmt: skip
    return Stream(source, split, rows, preprocess, device, workers), placement


def _not_resident(source: Source, augment: Augment | None, passes: int) -> str:
    """Tells why images should not be resident even if they fit; nothing if they should."""
    if augment is not None and augment.policy:
        return f"{augment.policy} changes images one by one"
    if source.size is not None:
        return ""
    if augment is not None and augment.crop_area < 1:
        return "random crops want whole images"
    return _ONCE if passes < 2 else ""


def _not_cached(
    source: Source,
    split: str,
    rows: NDArray[np.int64],
    preprocess: Preprocess,
    side: int,
    passes: int,
    folder: Path,
) -> str:
    """Tells why images should not be read from a cache; nothing if they should."""
    if passes < 2:
        return _ONCE
    if source.size is not None:
        return "they are small"
    if is_decoded(source, split, side, folder, preprocess.interpolation):
        return ""
    if 2 * len(rows) < len(source.labels(split)):
        return f"they are a small part of {split}"  # and all of it would be decoded
    needed, short = estimated(source, split, rows, side)
    needed = needed * len(source.labels(split)) // len(rows)
    if short <= side:
        return "they are no larger than needed"
    disk, memory = _free_disk(folder), _free_memory()
    if needed > disk:
        return f"decoded they take {_size(needed)}, and {folder} has {_size(disk)} free"
    if needed > memory:  # most disks would give them more slowly than what is compressed
        return f"decoded they take {_size(needed)}, and {_size(memory)} of memory are free"
    return ""


def _resident(
    source: Source,
    split: str,
    rows: NDArray[np.int64],
    preprocess: Preprocess,
    side: int,
    workers: int,
    on_progress: Progress | None,
) -> NDArray[np.uint8]:
    """Returns images (n, 3, S, S): small ones as they are, others exactly as evaluation sees them before its crop."""
    if source.size is not None:
        return source.images(split, rows, side)
    square = dataclasses.replace(preprocess, size=side, crop=1.0)
    read: Workers[Task, torch.Tensor] = Workers(Reader(source, split, square), workers)
    pixels = np.empty((len(rows), 3, side, side), dtype=np.uint8)
    done = 0
    for images in read.map([Task(rows[start : start + _CHUNK]) for start in range(0, len(rows), _CHUNK)]):
        pixels[done : done + len(images)] = images.numpy()
        done += len(images)
        if on_progress is not None:
            on_progress(done, len(rows))
    return pixels


def _room(device: torch.device, processes: int) -> int:
    """Returns how many bytes of images may be resident on a device, for each of some processes with their own."""
    room = int(_free_memory() * _RAM_SHARE) // processes
    gpu = accelerator(device)
    if not gpu.is_gpu:
        return room
    on_each = -(-processes // max(1, gpus().count()))  # of the processes
    return min(room, int(gpu.memory()[0] * _GPU_SHARE) // on_each)


def _free_memory() -> int:
    """Returns how many bytes of main memory may still be used, by the kernel's account and the control group's."""
    try:
        free = 1024 * _number(Path("/proc/meminfo"), "MemAvailable:")
    except OSError:
        return int(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")) // 2
    group = Path("/sys/fs/cgroup")
    try:
        used = int((group / "memory.current").read_text()) - _number(group / "memory.stat", "inactive_file")
        return min(free, int((group / "memory.max").read_text()) - used)
    except (OSError, ValueError):  # no such group, or no limit ("max")
        return free


def _number(file: Path, key: str) -> int:
    """Returns the number after a word at the start of a line."""
    return next(int(line.split()[1]) for line in file.read_text().splitlines() if line.startswith(key))


def _free_disk(folder: Path) -> int:
    """Returns the free bytes where a folder is, or will be."""
    while not exists(folder) and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{max(1, round(count / 2**20))} MiB"
