"""COCO's average precision of boxes and masks, by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from nxt.errors import RunError

# COCO's figures (https://cocodataset.org/#detection-eval) by their place in what pycocotools sums up.
_FIGURES = {"AP": 0, "AP50": 1, "AP75": 2, "AP small": 3, "AP medium": 4, "AP large": 5, "AR": 8}
_PLAIN = ("boxes", "labels", "scores", "iscrowd", "area")


@dataclass(frozen=True)
class Found:
    """What is marked on one image, in its own pixels: the truth and a network's detections as COCO's annotations."""

    row: int
    size: tuple[int, int]  # height, width
    truth: list[dict[str, Any]]
    detections: list[dict[str, Any]]

    @classmethod
    def of(cls, target: Mapping[str, Any], output: Mapping[str, Tensor]) -> Found:
        """Returns it from boxes (n, 4) in xyxy, labels (n,), and masks (n, H, W) of truth and detections on the CPU."""
        row, size = int(target["row"]), (int(target["size"][0]), int(target["size"][1]))
        return cls(row, size, _annotations(row, target), _annotations(row, output))


def _annotations(row: int, marked: Mapping[str, Any]) -> list[dict[str, Any]]:
    values = {key: np.asarray(marked[key]) for key in _PLAIN if key in marked}
    boxes = values["boxes"].astype(float).reshape(-1, 4)
    codes = _encoded(marked["masks"]) if "masks" in marked else None
    made = []
    for place, (left, top, right, bottom) in enumerate(boxes.tolist()):
        one: dict[str, Any] = {"image_id": row, "category_id": int(values["labels"][place])}
        one |= {"bbox": [left, top, right - left, bottom - top], "area": (right - left) * (bottom - top), "iscrowd": 0}
        if codes is not None:
            one["segmentation"] = codes[place]
        if "scores" in values:
            one["score"] = float(values["scores"][place])
        else:
            one |= {"area": float(values["area"][place]), "iscrowd": int(values["iscrowd"][place])}
        made.append(one)
    return made


def _encoded(masks: Tensor) -> list[dict[str, Any]]:
    """Returns masks (n, H, W) in run lengths, which take a thousandth of the memory."""
    from pycocotools import mask

    pixels = np.asarray(masks).astype(np.uint8)
    return list(mask.encode(np.asfortranarray(pixels.transpose(1, 2, 0)))) if len(pixels) else []


@dataclass(frozen=True)
class Precision:
    """COCO's figures of one kind, "box" or "mask", in 0..1; None where no object is of that kind or size."""

    kind: str
    figures: dict[str, float | None]  # AP, AP50, AP75, AP by size, AR with 100 detections an image
    per_class: tuple[float | None, ...]  # AP


def average_precision(found: Sequence[Found], classes: int, kind: str) -> Precision:
    """Returns COCO's figures over all images.

    Args:
        found: The images, each once.
        classes: How many classes there are; labels lie in 1..classes.
        kind: "box" or "mask".

    Raises:
        RunError: if pycocotools is not installed.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError:
        raise RunError("average precision is pycocotools' work: pip install 'nxt[dense]'") from None

    def collection(annotations: list[dict[str, Any]]) -> Any:
        made = COCO()
        images = [{"id": each.row, "height": each.size[0], "width": each.size[1]} for each in found]
        numbered = [{**one, "id": number} for number, one in enumerate(annotations, 1)]
        categories = [{"id": number} for number in range(1, classes + 1)]
        made.dataset = {"info": {}, "images": images, "annotations": numbered, "categories": categories}
        made.createIndex()
        return made

    with contextlib.redirect_stdout(io.StringIO()):
        truth = collection([one for each in found for one in each.truth])
        detected = [one for each in found for one in each.detections]
        if kind == "mask":
            detected = [{**one, "area": float(_area(one["segmentation"]))} for one in detected]
        judged = COCOeval(truth, collection(detected), {"box": "bbox", "mask": "segm"}[kind])
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    precision = judged.eval["precision"][:, :, :, 0, 2]  # thresholds, recalls, classes; all sizes, 100 detections
    figures = {name: _known(judged.stats[place]) for name, place in _FIGURES.items()}
    return Precision(kind, figures, tuple(_known(precision[:, :, number].mean()) for number in range(classes)))


def _area(code: dict[str, Any]) -> float:
    from pycocotools import mask

    return float(mask.area(code))


def _known(value: float) -> float | None:
    """Returns a figure; None for pycocotools' -1, which says that there is nothing to judge by."""
    return float(value) if value > -1 else None
