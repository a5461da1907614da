"""Batches of scenes: read and changed by worker processes, images and targets together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nxt.data.augment import Augment
from nxt.data.dataset import Source
from nxt.data.draw import derived
from nxt.data.preprocess import Preprocess
from nxt.data.scenes.scene import Scene
from nxt.data.scenes.transforms import evaluation, marked, training
from nxt.data.stream import Stream, Task
from nxt.errors import DataError

Read = list[tuple[Tensor, dict[str, Any]]]  # images uint8 (3, h, w) and their targets


class SceneStream(Stream):
    """Some rows of a split with boxes or masks, read anew whenever they are given out; see `Images`.

    `train` gives of a detection lists of normalised images (3, h, w) and of targets, dicts with boxes (n, 4), labels
    (n,) and perhaps masks (n, h, w), all on the device. Of a segmentation it gives images (b, 3, S, S) and masks (b, S,
    S) int64. `plain` gives lists: of images on the device, resized as evaluation does; and of targets, on the CPU, in
    the pixels of the images as they were, which have "size" (h, w) and "row". Those are the source's dicts; of a
    segmentation they have "mask" (h, w) uint8.

    Args:
        source: Where the images come from; it has targets.
        split: Which split.
        rows: Which of its images, as indices into the split.
        preprocess: The size, mean and deviation of the images given out.
        scene: How they are resized.
        device: Where they go.
        workers: Processes that read; by default as many as there are cores. 0 reads in this process.
        masks: Whether boxes come with their masks.

    Raises:
        DataError: if masks are wanted, and there are none.
    """

    def __init__(
        self,
        source: Source,
        split: str,
        rows: NDArray[np.int64],
        preprocess: Preprocess,
        scene: Scene,
        device: torch.device,
        workers: int | None = None,
        masks: bool = False,
    ) -> None:
        if masks and source.target is not None and len(rows) and "masks" not in source.target(split, int(rows[0])):
            raise DataError(
                f"{source.name}: its boxes have no outlines, from which masks are learnt; choose a head for boxes alone"
            )
        reader = SceneReader(source, split, preprocess, scene, masks)
        super().__init__(source, split, rows, preprocess, device, workers, reader)

    def _given(
        self, batches: list[Tensor], augment: Augment | None, seeds: tuple[int, ...]
    ) -> Iterator[tuple[Any, Any]]:
        upload = self._accelerator.upload
        read: Read
        for read in self._timed(self._read.map(self._tasks(batches, augment, seeds))):
            if augment is not None and "mask" in read[0][1]:
                images, masks = (torch.stack(each) for each in zip(*((i, t["mask"]) for i, t in read), strict=True))
                yield self._normalised(upload(images)), upload(masks).long()
                continue
            normalised = [self._normalised(upload(image)[None])[0] for image, _ in read]
            targets = [target for _, target in read]
            if augment is not None:
                targets = [{name: upload(value) for name, value in target.items()} for target in targets]
            yield normalised, targets


@dataclass(frozen=True)
class SceneReader:
    """What a worker does: it reads images and targets, and changes them. The global generator stays."""

    source: Source
    split: str
    preprocess: Preprocess
    scene: Scene
    masks: bool

    def __call__(self, task: Task) -> Read:
        with torch.random.fork_rng(devices=[]):
            return [self._one(row, task) for row in task.rows.tolist()]

    def _one(self, row: int, task: Task) -> tuple[Tensor, dict[str, Any]]:
        assert self.source.target is not None
        image = self.source.open(self.split, row)
        target = marked(self.source.target(self.split, row), self.masks)
        if task.augment is None:
            known = {"size": (image.height, image.width), "row": row}
            return evaluation(image, self.preprocess, self.scene), {**target, **known}
        torch.default_generator.manual_seed(derived(*task.seeds, row))
        return training(image, target, self.preprocess, self.scene, task.augment)
