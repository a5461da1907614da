"""Heads on a network: which there are, and what each is for."""

from __future__ import annotations

HEADS = {
    "": "classification",
    **dict.fromkeys(("faster-rcnn", "mask-rcnn", "cascade-rcnn", "cascade-mask-rcnn", "retinanet"), "detection"),
    **dict.fromkeys(("deeplabv3", "fcn"), "segmentation"),
}


def task_of(head: str) -> str:
    """Returns the task that a head is for: "classification" (no head), "detection" or "segmentation"."""
    return HEADS[head]
