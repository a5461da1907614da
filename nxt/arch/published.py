"""What others have published of networks: accuracies, and what detectors and segmenters reach with them as backbones.

The figures are in published.csv, each with its source and its place there. A published figure depends on the recipe
and on the way of testing as much as on the network. Papers print errors; here they are accuracies, 100 less the error.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("published.csv")
TASKS = ("classification", "detection", "segmentation", "cost")
PROTOCOLS = ("center", "ten", "dense", "multi-crop", "ensemble")  # of classification; the first three as in `nxt eval`
# In percent, but for the last two: millions of parameters, and 10^9 multiply-adds. `ap` is that of boxes.
LABELS = {
    "top1": "top-1",
    "top5": "top-5",
    "ap": "AP",
    "ap50": "AP50",
    "mask_ap": "mask AP",
    "miou": "mIoU",
    "pixacc": "pixAcc",
    "params": "params (M)",
    "flops": "FLOPs (G)",
}


@dataclass(frozen=True, slots=True)
class Published:
    """Figures that a source reports for a network."""

    network: str  # as in the zoo, or as the source calls it
    cited: bool  # nxt does not build it and only cites it
    task: str  # one of TASKS
    dataset: str
    protocol: str  # one of PROTOCOLS: one centre crop, ...; of other tasks the method that the network is backbone of
    size: int | None  # image side in pixels, where the source says one
    figures: Mapping[str, float]  # by the keys of LABELS
    source: str  # with the place in it, such as "ResNeXt paper, table 3"

    @property
    def top1(self) -> float:
        """Top-1 accuracy in percent."""
        return self.figures["top1"]

    @property
    def top5(self) -> float | None:
        """Top-5 accuracy in percent, if the source has it."""
        return self.figures.get("top5")

    def to_dict(self) -> dict[str, Any]:
        """Returns everything but the network as plain data, with the figures by their keys."""
        others = {"size": self.size, "dataset": self.dataset, "task": self.task, "protocol": self.protocol}
        return {**self.figures, **others, "source": self.source}


@cache
def records() -> dict[str, tuple[Published, ...]]:
    """Returns all records by network, in the order of the file: a paper's own come first."""
    found: dict[str, list[Published]] = {}
    with FILE.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            found.setdefault(row["network"], []).append(_record(row))
    return {network: tuple(rows) for network, rows in found.items()}


def _record(row: Mapping[str, str]) -> Published:
    return Published(
        network=row["network"],
        cited=row["cited"] == "yes",
        task=row["task"],
        dataset=row["dataset"],
        protocol=row["protocol"],
        size=int(row["size"]) if row["size"] else None,
        figures={name: float(value) for name, value in (part.split("=") for part in row["figures"].split())},
        source=f"{row['source']}, {row['place']}",
    )


def of(network: str) -> tuple[Published, ...]:
    """Returns what is published of a network."""
    return records().get(network, ())


def top1_of(network: str) -> tuple[Published, ...]:
    """Returns the records that have a top-1 accuracy; the paper's own come first."""
    return tuple(record for record in of(network) if "top1" in record.figures)


def flops_of(network: str) -> tuple[str, str] | None:
    """Returns the published FLOPs, such as "4.1G", and their source; these are multiply-adds."""
    costs = [record for record in of(network) if "flops" in record.figures]
    return (f"{costs[0].figures['flops']:g}G", costs[0].source) if costs else None
