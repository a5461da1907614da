"""Finds objects on image files, or the class of each pixel, and draws them (`nxt.predict` of detectors, segmenters)."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from nxt.compute.accelerator import accelerator
from nxt.compute.mode import Compute
from nxt.data.dataset import ADVICE
from nxt.data.preprocess import without_warnings
from nxt.data.resident import Normalised
from nxt.data.scenes.transforms import evaluation
from nxt.data.sources.image_files import read_rgb
from nxt.errors import DataError
from nxt.files import distinct_names, replacing
from nxt.tasks.detection import detect
from nxt.tasks.segmentation import classify
from nxt.train.checkpoint import Checkpoint

if TYPE_CHECKING:
    from PIL.Image import Image

_LEAST = 0.05  # score of a detection that is told; only those of half of 1 or more are drawn
_DRAWN = 0.5
_OPAQUE = 0.5  # of masks that are laid over an image


@dataclass(frozen=True, kw_only=True)
class ScenePredictions:
    """What a detector or segmenter finds on images.

    Each of `rows` has the image, and of a detector `objects` with class, score and box (x1, y1, x2, y2 in pixels), the
    highest score first; of a segmenter `classes`, the share of the pixels of each that is there.
    """

    network: dict[str, Any]  # checkpoint, name, epoch, weights and size, as plain data
    rows: list[dict[str, Any]]
    unreadable: tuple[str, ...]  # a sentence for each image or folder that could not be read


def predict_scenes(
    checkpoint: Checkpoint,
    files: Sequence[Path],
    device: torch.device,
    out: Path | None,
    note: Callable[[str], None],
    progress: Callable[[int, int], object],
) -> tuple[list[dict[str, Any]], list[str]]:
    """Returns rows as `ScenePredictions` has them, and a sentence for each image that cannot be read.

    Args:
        checkpoint: What was trained.
        files: The images.
        device: Where to compute.
        out: A folder for pictures with what was found drawn on them, and of a segmenter for masks; None: none.
        note: Called with a sentence for each image that cannot be read.
        progress: Called with the number of images done, and of all.

    Raises:
        DivergedError: if outputs are not finite.
        RunError: if a picture cannot be written.
    """
    assert checkpoint.recipe is not None  # with a head it was trained by nxt
    compute = Compute(channels_last=not accelerator(device).is_gpu)
    model = checkpoint.model().to(device).to(memory_format=compute.memory_format)
    normalised = Normalised(checkpoint.preprocess, device)
    rows, unreadable = list[dict[str, Any]](), list[str]()
    for done, (file, name) in enumerate(zip(files, distinct_names(files), strict=True), 1):
        try:
            with without_warnings():
                image = read_rgb(file)
        except DataError as error:
            unreadable.append(str(error).removesuffix(ADVICE))
            note(f"left out: {unreadable[-1]}")
            continue
        pixels = evaluation(image, checkpoint.preprocess, checkpoint.recipe.scene)
        shown = normalised(pixels[None].to(device))[0]
        size = image.height, image.width
        if checkpoint.task == "detection":
            (found,) = detect(model, [shown], [{"size": size}], compute, device)
            row, picture = _objects(found, checkpoint.classes), _with_boxes(image, found, checkpoint.classes)
        else:
            mask = classify(model, shown, size, compute).cpu()
            row, picture = _shares(mask, checkpoint.classes), _with_classes(image, mask, len(checkpoint.classes))
        if out is not None:
            row["picture"] = str(_written(picture, out / f"{name}.jpg"))
            if checkpoint.task == "segmentation":
                row["mask"] = str(_written(_as_image(mask), out / f"{name}.png"))
        rows.append({"image": str(file), **row})
        progress(done, len(files))
    return rows, unreadable


def _objects(found: dict[str, Tensor], classes: Sequence[str]) -> dict[str, Any]:
    columns = zip(found["labels"].tolist(), found["scores"].tolist(), found["boxes"].tolist(), strict=True)
    objects = [
        {"class": classes[label - 1], "score": score, "box": [round(value, 1) for value in box]}
        for label, score, box in columns
        if score >= _LEAST
    ]
    return {"objects": objects}


def _shares(mask: Tensor, classes: Sequence[str]) -> dict[str, Any]:
    counts = torch.bincount(mask.flatten(), minlength=len(classes)) / mask.numel()
    order = counts.argsort(descending=True).tolist()
    return {"classes": {classes[number]: float(counts[number]) for number in order if counts[number] > 0}}


def _with_boxes(image: Image, found: dict[str, Tensor], classes: Sequence[str]) -> Tensor:
    from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks

    drawn = _pixels(image)
    sure = found["scores"] >= _DRAWN
    if not sure.any():
        return drawn
    labels = found["labels"][sure].tolist()
    colours = [_colour(label - 1, len(classes)) for label in labels]
    if "masks" in found:
        drawn = draw_segmentation_masks(drawn, found["masks"][sure], _OPAQUE, colours)
    pairs = zip(labels, found["scores"][sure].tolist(), strict=True)
    words = [f"{classes[label - 1]} {score:.0%}" for label, score in pairs]
    boxed: Tensor = draw_bounding_boxes(drawn, found["boxes"][sure], words, colours, width=max(2, image.width // 300))
    return boxed


def _with_classes(image: Image, mask: Tensor, count: int) -> Tensor:
    palette = torch.tensor([_colour(number, count) for number in range(count)], dtype=torch.float)
    return (_pixels(image) * (1 - _OPAQUE) + palette[mask].permute(2, 0, 1) * _OPAQUE).round().to(torch.uint8)


def _colour(number: int, count: int) -> tuple[int, int, int]:
    """Returns a colour for a class; neighbours differ, as the golden ratio goes round the circle of hues."""
    red, green, blue = colorsys.hsv_to_rgb((number * 0.618034) % 1, 0.85, 1.0 - 0.35 * (number % 2))
    return round(255 * red), round(255 * green), round(255 * blue)


def _pixels(image: Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def _as_image(mask: Tensor) -> Tensor:
    return mask.to(torch.uint8)[None]


def _written(pixels: Tensor, path: Path) -> Path:
    """Writes a picture (3, H, W), or a mask (1, H, W) of class numbers, in uint8."""
    from PIL.Image import fromarray

    path.parent.mkdir(parents=True, exist_ok=True)
    shown = fromarray(pixels[0].numpy() if len(pixels) == 1 else pixels.permute(1, 2, 0).contiguous().numpy())
    with replacing(path) as file:
        shown.save(file, "png" if path.suffix == ".png" else "jpeg")
    return path
