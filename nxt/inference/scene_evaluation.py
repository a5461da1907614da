"""Measures detectors and segmenters on whole images, by the measures of their task (`nxt.evaluate`)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nxt.compute.accelerator import accelerator
from nxt.compute.mode import Compute
from nxt.compute.ranks import Ranks
from nxt.config import require
from nxt.data.dataset import Source
from nxt.data.ref import DataRef
from nxt.data.scenes.stream import SceneStream
from nxt.errors import DataError
from nxt.files import distinct_names, replacing, write_text
from nxt.inference.evaluation import Examples, examples
from nxt.tasks.average_precision import Found
from nxt.tasks.confusion import overlap
from nxt.tasks.detection import Detection
from nxt.tasks.segmentation import Scan, Segmentation
from nxt.train.checkpoint import Checkpoint

_FACTORS = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)  # of the side, in dense views: those of the ResNeSt authors' tests


@dataclass(frozen=True, kw_only=True, repr=False)
class SceneEvaluation:
    """The results of detectors or segmenters, one by one, on the images of a split.

    Each of `rows` has the network, how it was tested, `measures` in 0..1 by name, and `per_class` with the AP or IoU of
    each class (None where there is nothing to judge by).
    """

    data: DataRef
    split: str
    images: Examples
    rows: list[dict[str, Any]]

    def __repr__(self) -> str:
        found = ", ".join(f"{row['name']} {next(iter(row['measures'].items()))}" for row in self.rows)
        return f"<SceneEvaluation on the {self.split} split of {self.data.display}, {len(self.images)} images: {found}>"


def evaluate_scenes(
    loaded: Sequence[tuple[Path, Checkpoint]],
    data: DataRef,
    split: str,
    source: Source,
    device: torch.device,
    *,
    size: int | None = None,
    views: str = "center",
    scales: Sequence[int] = (),
    written: Path | None = None,
    progress: Callable[[Path, int, int], object] = lambda path, done, total: None,
) -> SceneEvaluation:
    """Measures checkpoints that have a head. Arguments beside these are those of `nxt.evaluate`.

    Args:
        loaded: The checkpoints with their paths, all of one task.
        data: What they are measured on.
        split: Its split.
        source: The images of it.
        device: Where to compute.
        views: "center": each image once, whole. Of segmenters "dense", too: at several scales, mirrored, and in windows
            of the training's crop, as in the papers' tables; `scales` are then shorter sides in pixels.
        written: Where what the network predicts goes: a JSON file of detections in COCO's format, or a folder of masks.

    Raises:
        ConfigError: for views that the task has not.
        DataError: if the data has other classes, or images cannot be read.
    """
    task = loaded[0][1].task
    known = ("center", "dense") if task == "segmentation" else ("center",)
    require(views in known, "`views`", f"{views!r} is not one of {', '.join(known)} of {task}")
    require(bool(scales) <= (views == "dense"), "`scales`", "they are for dense views")
    require(written is None or len(loaded) == 1, "`predictions`", "they are of one network; give one")
    holdout = min(checkpoint.holdout for _, checkpoint in loaded)
    images = examples(source, split, loaded[0][1].classes, None, holdout)
    rows = []
    for path, checkpoint in loaded:
        if checkpoint.classes != images.source.classes:
            known_names = ", ".join(checkpoint.classes[:3])
            raise DataError(f"{images.source.name}: its classes are not those of {path} ({known_names} ...), in order")
        own = _Tested(checkpoint, images, device, size, views, tuple(scales), partial(progress, path))
        measures, per_class = own.detections(written) if task == "detection" else own.overlaps(written)
        setting = {"checkpoint": str(path), "name": checkpoint.spec.name, "epoch": checkpoint.epoch}
        setting |= {
            "weights": checkpoint.better,
            "task": task,
            "head": own.recipe.head,
            "size": own.size,
            "views": views,
        }
        setting |= {"scales": list(own.sides)} if views == "dense" else {}
        where = {"data": str(data), "split": split, "images": len(images), "classes": len(checkpoint.classes)}
        shares = dict(zip(checkpoint.classes, per_class, strict=True))
        rows.append({**setting, **where, "measures": measures, "per_class": shares})
    return SceneEvaluation(data=data, split=split, images=images, rows=rows)


class _Tested:
    """A checkpoint in its test; see `evaluate_scenes`."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        images: Examples,
        device: torch.device,
        size: int | None,
        views: str,
        scales: tuple[int, ...],
        progress: Callable[[int, int], object],
    ) -> None:
        assert checkpoint.recipe is not None  # with a head it was trained by nxt
        self.recipe, self.images, self.device, self._progress = checkpoint.recipe, images, device, progress
        self.size = size or checkpoint.preprocess.size
        self.sides = scales or tuple(round(self.size * factor) for factor in _FACTORS)
        dense = Scan(tuple(side / self.size for side in self.sides), mirror=True, window=checkpoint.preprocess.size)
        self.scan = dense if views == "dense" else Scan()
        self.compute = Compute(channels_last=not accelerator(device).is_gpu)
        self.model = checkpoint.model().to(device).to(memory_format=self.compute.memory_format)
        self.classes = len(checkpoint.classes)
        preprocess = self.recipe.preprocess(self.size, checkpoint.preprocess.mean, checkpoint.preprocess.std)
        self.stream = SceneStream(
            images.source, images.split, images.rows, preprocess, self.recipe.scene, device,
            masks="mask" in self.recipe.head,
        )  # fmt: skip
        self._done = 0

    def _advance(self) -> None:
        self._done += 1
        self._progress(min(self._done, len(self.images)), len(self.images))

    def detections(self, written: Path | None) -> tuple[dict[str, float | None], Sequence[float | None]]:
        """Returns COCO's figures and the AP of each class; of masks where there are some."""
        task = Detection(self.recipe, self.classes)
        found = task.found(self.model, self.stream, 1, self.compute, Ranks(), self._advance)
        if written is not None:
            self._write_detections(written, found)
        tables = task.tables(found)
        measures = {f"{table.kind} {name}": value for table in tables for name, value in table.figures.items()}
        return measures, tables[0].per_class

    def overlaps(self, written: Path | None) -> tuple[dict[str, float | None], Sequence[float | None]]:
        """Returns mean IoU and so on, and the IoU of each class."""
        task = Segmentation(self.recipe, self.classes)
        if written is not None:
            written.mkdir(exist_ok=True)
        called = (Path(self.images.source.called(self.images.split, row)) for row in self.images.rows.tolist())
        names = dict(zip(self.images.rows.tolist(), distinct_names(called), strict=True))
        keep = partial(_write_mask, written, names) if written is not None else lambda row, classes: None
        matrix = task.matrix(self.model, self.stream, 1, self.compute, Ranks(), self._advance, self.scan, keep)
        result = overlap(matrix)
        return dict(result.figures), result.per_class

    def _write_detections(self, path: Path, found: Sequence[Found]) -> None:
        """Writes detections with scores as an instances file; images have numbers of their own, and their names."""
        source, split = self.images.source, self.images.split
        about = [
            {"id": each.row, "file_name": source.called(split, each.row), "height": each.size[0], "width": each.size[1]}
            for each in found
        ]
        boxes = [_plain(one) for each in found for one in each.detections]
        kinds = [{"id": number, "name": name} for number, name in enumerate(source.classes, 1)]
        write_text(path, json.dumps({"images": about, "categories": kinds, "annotations": boxes}) + "\n")


def _plain(detection: dict[str, Any]) -> dict[str, Any]:
    """Returns a detection for JSON: run lengths as text."""
    if "segmentation" not in detection:
        return detection
    code = detection["segmentation"]
    return {**detection, "segmentation": {**code, "counts": code["counts"].decode()}}


def _write_mask(folder: Path, names: Mapping[int, str], row: int, classes: Tensor) -> None:
    """Writes the classes (H, W) of an image as a PNG of its name."""
    from PIL import Image

    with replacing(folder / f"{names[row]}.png") as file:
        Image.fromarray(classes.cpu().numpy().astype(np.uint8)).save(file, "png")
