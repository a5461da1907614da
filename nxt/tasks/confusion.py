"""Figures of semantic segmentation, from one confusion matrix over all pixels of a set."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nxt.data.dataset import IGNORED


def confusion(predicted: Tensor, truth: Tensor, classes: int) -> Tensor:
    """Returns the number of pixels by true class (rows) and predicted class (columns), (classes, classes) int64.

    Args:
        predicted: The class of each pixel, of any shape.
        truth: The true classes, of the same shape; those of `IGNORED` are left out.
        classes: How many classes there are.
    """
    pairs = truth.long() * classes + predicted.long()
    pairs = torch.where(truth == IGNORED, classes**2, pairs)  # a place of their own: to leave them out would wait
    return torch.bincount(pairs.flatten(), minlength=classes**2 + 1)[: classes**2].view(classes, classes)


@dataclass(frozen=True)
class Overlap:
    """Figures of a confusion matrix, in 0..1."""

    figures: dict[str, float]  # mIoU, pixel accuracy, mean accuracy
    per_class: tuple[float | None, ...]  # IoU; None: a class that is neither there nor predicted


def overlap(matrix: Tensor) -> Overlap:
    """Returns the figures of a confusion matrix as `confusion` makes it.

    The IoU of a class is its right pixels over those that are it or are taken for it (PASCAL VOC's). Its mean leaves
    out classes that are neither there nor predicted; the mean accuracy, classes that are not there.
    """
    counts = matrix.double().cpu()
    right, true, taken = counts.diagonal(), counts.sum(dim=1), counts.sum(dim=0)
    union = true + taken - right
    shares = [float(r / u) if u else None for r, u in zip(right, union, strict=True)]
    known = [share for share in shares if share is not None]
    there = true > 0
    total = float(counts.sum())
    figures = {
        "mIoU": sum(known) / len(known) if known else 0.0,
        "pixel accuracy": float(right.sum()) / total if total else 0.0,
        "mean accuracy": float((right[there] / true[there]).mean()) if there.any() else 0.0,
    }
    return Overlap(figures, tuple(shares))
