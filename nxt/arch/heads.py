"""Heads for dense prediction: which there are, and of which stages of a network they are made. No torch."""

from __future__ import annotations

from nxt.arch.spec import ArchSpec
from nxt.errors import ArchError

DETECTORS = ("faster-rcnn", "mask-rcnn", "cascade-rcnn", "cascade-mask-rcnn", "retinanet")
SEGMENTERS = ("deeplabv3", "fcn")
HEADS = DETECTORS + SEGMENTERS
TASKS = {"detection": DETECTORS, "segmentation": SEGMENTERS}  # with a head; without one, "classification"
PYRAMID = 256  # channels of all levels of a feature pyramid


def task_of(head: str) -> str:
    """Returns the task that a head is for; "classification" for none."""
    return next((task for task, heads in TASKS.items() if head in heads), "classification")


def checked_stride(spec: ArchSpec, head: str, output_stride: int | None = None) -> int:
    """Returns the output stride at which a network gets a head.

    Segmenters take 8 unless told otherwise, as torchvision's do, or all that a network strides if that is less; a
    pyramid needs maps of different strides.

    Raises:
        ArchError: for an unknown head, and for an output stride that the network or the head cannot have.
    """
    if head not in HEADS:
        raise ArchError(f"head {head!r} is not one of {', '.join(HEADS)}")
    largest = spec.strides[-1]
    if head in SEGMENTERS:
        stride = min(8, largest) if output_stride is None else output_stride
        next(spec.stages(stride))  # raises for one that the network does not have
        return stride
    if output_stride not in (None, largest):
        raise ArchError(f"head {head}: its pyramid needs all strides of the network; leave output stride out")
    return largest


def pyramid_stages(spec: ArchSpec, head: str) -> tuple[int, ...]:
    """Returns the indices of the stages that enter a detector's pyramid.

    All do, as P2 to P5 of Lin et al. 2017 (arXiv 1612.03144); in RetinaNet all but the first, as P3 to P5 of Lin et al.
    2017 (arXiv 1708.02002), unless there is only one.
    """
    stages = tuple(range(len(spec.depths)))
    return stages[1:] or stages if head == "retinanet" else stages


def atrous_rates(stride: int) -> tuple[int, int, int]:
    """Returns the dilations in DeepLabV3's pyramid: 6, 12, 18 at output stride 16, twice that at 8.

    Chen et al. 2017 (arXiv 1706.05587) sec. 4.
    """
    rate = max(1, 96 // stride)
    return rate, 2 * rate, 3 * rate
