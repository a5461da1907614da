"""Divides the closed-form cost of a network by stage, block or layer. No torch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nxt.arch.costs import Cost, cost_of, resolution
from nxt.arch.layers import Layer, blocks
from nxt.arch.memory import branch_end, moments
from nxt.arch.spec import ArchSpec

LEVELS = ("network", "stage", "block", "layer")


@dataclass(frozen=True, slots=True)
class Portion:
    """A part of a network, or all of it, for one image in float32."""

    name: str
    blocks: int
    channels: int  # of its output
    side: int  # of its output, in pixels
    cost: Cost
    fvcore: int  # its share of fvcore's total: `macs`, 2 for each element normalised, 1 for each element pooled
    layers: tuple[Layer, ...]
    peak: int  # most bytes alive at once while it runs in an inference, without weights

    @property
    def flops(self) -> int:
        """Floating-point operations of convolutions and linear layers: two for each multiply-add."""
        return 2 * self.cost.macs

    @property
    def moved(self) -> int:
        """Bytes that its layers must move: each input, weight and output element once."""
        return self.moved_by(1)

    def moved_by(self, batch: int, itemsize: int = 4) -> int:
        """Returns the bytes that its layers must move for a batch of images with `itemsize` bytes per element."""
        return sum(layer.moved(batch, itemsize) for layer in self.layers)

    @property
    def intensity(self) -> float:
        """Arithmetic intensity in FLOPs per byte moved."""
        return self.flops / self.moved

    def to_dict(self) -> dict[str, Any]:
        """Returns plain data."""
        return {
            "name": self.name,
            "blocks": self.blocks,
            "side": self.side,
            "channels": self.channels,
            "macs": self.cost.macs,
            "params": self.cost.params,
            "acts": self.cost.acts,
            "flops": self.flops,
            "fvcore": self.fvcore,
            "bytes": self.moved,
            "intensity": round(self.intensity, 2),
            "peak_bytes": self.peak,
        }


def portions(spec: ArchSpec, size: int | None = None, classes: int | None = None, by: str = "stage") -> list[Portion]:
    """Returns the portions of a network's cost, from input to output.

    Args:
        spec: The architecture.
        size: Image side in pixels; by default the network's own.
        classes: Outputs of the last layer; by default the network's own.
        by: "network" (one portion), "stage", "block" or "layer".

    Raises:
        ArchError: for a size or number of classes out of range.
    """
    size, classes = resolution(spec, size, classes)
    peaks: dict[str, int] = {}
    for moment in moments(spec, size, classes):
        peaks[moment.layer] = max(moment.bytes, peaks.get(moment.layer, 0))
    return [_portion(name, count, layers, peaks) for name, count, layers in _groups(spec, size, classes, by)]


def _groups(spec: ArchSpec, size: int, classes: int, by: str) -> Iterator[tuple[str, int, list[Layer]]]:
    """Yields name, number of blocks and layers of every portion."""
    all_blocks = list(blocks(spec, size, classes))
    if by == "layer":
        yield from ((layer.name, 0, [layer]) for _, _, layers in all_blocks for layer in layers)
    elif by == "block":
        for part, block, layers in all_blocks:
            yield f"{part}.{block + 1}" if part.startswith("stage") else part, 1, layers
    elif by == "stage":
        for part, members in itertools.groupby(all_blocks, key=lambda block: block[0]):
            layers_by_block = [layers for _, _, layers in members]
            yield part, len(layers_by_block), list(itertools.chain.from_iterable(layers_by_block))
    else:
        yield spec.name, sum(spec.depths), [layer for _, _, layers in all_blocks for layer in layers]


def _portion(name: str, count: int, layers: list[Layer], peaks: dict[str, int]) -> Portion:
    ends_in_block = len(layers) > 1 and layers[-1].name.startswith("layer")
    last = branch_end(layers) if ends_in_block else layers[-1]
    return Portion(
        name=name,
        blocks=count,
        channels=last.out_width,
        side=last.out_side,
        cost=cost_of(layers),
        fvcore=sum(layer.fvcore for layer in layers),
        layers=tuple(layers),
        peak=max(peaks.get(layer.name, 0) for layer in layers),
    )
