"""Batches of images that are not resident: opened and augmented one by one in worker processes, then sent to a device.

What is done to an image is a function of (seed, epoch, row of the image) alone: neither the number of processes nor the
batch at which an epoch is entered changes it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nxt.compute.accelerator import accelerator
from nxt.data.augment import Augment
from nxt.data.dataset import Source
from nxt.data.draw import Draw, derived
from nxt.data.preprocess import Preprocess
from nxt.data.processes import Workers, default_workers
from nxt.data.resident import Normalised
from nxt.data.transforms import evaluation, training


class Stream:
    """Some rows of a split, read anew whenever they are given out; see `Images`.

    An image that cannot be read raises DataError when its turn comes.

    Args:
        source: Where the images come from.
        split: Which split.
        rows: Which of its images, as indices into the split.
        preprocess: What the images given out are like.
        device: Where they go.
        workers: Processes that read; by default as many as there are cores. 0 reads in this process.
        reader: What they do; by default what `Reader` does.
    """

    def __init__(
        self,
        source: Source,
        split: str,
        rows: NDArray[np.int64],
        preprocess: Preprocess,
        device: torch.device,
        workers: int | None = None,
        reader: Callable[[Task], Any] | None = None,
    ) -> None:
        self.device, self.preprocess, self.waited = device, preprocess, 0.0
        self.labels = torch.from_numpy(source.labels(split)[rows])
        self.workers = default_workers() if workers is None else workers
        self._rows, self._accelerator = rows, accelerator(device)
        self._normalised = Normalised(preprocess, device)
        self._read: Workers[Task, Any] = Workers(
            reader or Reader(source, split, preprocess), self.workers, pin=self._accelerator.is_gpu
        )

    def __len__(self) -> int:
        return len(self._rows)

    def train(self, draw: Draw, epoch: int, start: int = 0) -> Iterator[tuple[Any, Any]]:
        """Yields this worker's part of each batch of an epoch, shuffled and augmented, from batch `start` on."""
        batches = [draw.own(batch) for batch in draw.order(len(self), epoch)[start:]]
        return self._given(batches, draw.augment, (draw.seed, epoch))

    def plain(self, batch: int, rank: int = 0, world: int = 1) -> Iterator[tuple[Any, Any]]:
        """Yields all images of this worker's part in order, resized with antialiasing and cropped at the centre."""
        batches = torch.arange(rank, len(self), world).split(batch)  # type: ignore[no-untyped-call]
        return self._given(list(batches), None, ())

    def _given(
        self, batches: list[Tensor], augment: Augment | None, seeds: tuple[int, ...]
    ) -> Iterator[tuple[Any, Any]]:
        if not batches:
            return
        labels = self._accelerator.upload(self.labels[torch.cat(batches)])
        parts = torch.split(labels, list(map(len, batches)))
        tasks = self._tasks(batches, augment, seeds)
        for own, images in zip(parts, self._timed(self._read.map(tasks)), strict=True):
            yield self._normalised(self._accelerator.upload(images)), own

    def _tasks(self, batches: list[Tensor], augment: Augment | None, seeds: tuple[int, ...]) -> list[Task]:
        return [Task(self._rows[batch.numpy()], augment, seeds) for batch in batches]

    def _timed(self, results: Iterator[Any]) -> Iterator[Any]:
        """Yields what workers have read, and counts the seconds that it was waited for."""
        while True:
            begin = time.perf_counter()
            images = next(results, None)
            self.waited += time.perf_counter() - begin
            if images is None:
                return
            yield images


@dataclass(frozen=True)
class Task:
    """Rows of a split that a worker reads at once. With `augment`, `seeds` and the row decide what is done to each."""

    rows: NDArray[np.int64]
    augment: Augment | None = None
    seeds: tuple[int, ...] = ()


@dataclass(frozen=True)
class Reader:
    """What a worker does: it reads images and makes them uint8 (b, 3, size, size). The global generator stays."""

    source: Source
    split: str
    preprocess: Preprocess

    def __call__(self, task: Task) -> Tensor:
        size, augment = self.preprocess.size, task.augment
        transform = evaluation(self.preprocess) if augment is None else training(self.preprocess, augment)
        images = torch.empty((len(task.rows), 3, size, size), dtype=torch.uint8)
        with torch.random.fork_rng(devices=[]):
            for image, row in zip(images, task.rows.tolist(), strict=True):
                if augment is not None:
                    torch.default_generator.manual_seed(derived(*task.seeds, row))
                image.copy_(transform(self.source.open(self.split, row)))
        return images
