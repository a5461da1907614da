"""Divides the closed-form cost of a network by stage, block or layer. No torch."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nxt.arch.costs import Cost, cost_of, resolution
from nxt.arch.heads import blocks_with_head
from nxt.arch.layers import Layer, Side, Size, blocks
from nxt.arch.memory import branch_end, moments
from nxt.arch.spec import ArchSpec

_IN_STAGE = re.compile(r"\blayer\d+\.")  # names of layers
LEVELS = ("network", "stage", "block", "layer")
Block = tuple[str, int, list[Layer]]  # as `blocks` yields them


@dataclass(frozen=True, slots=True)
class Portion:
    """A part of a network, or all of it, for one image in float32."""

    name: str
    blocks: int
    channels: int  # of its output
    side: Side  # of its output
    cost: Cost
    fvcore: int  # its share of fvcore's total: `macs`, 2 for each element normalised, 1 for each element pooled
    layers: tuple[Layer, ...]
    peak: int | None  # most bytes alive at once while it runs in an inference, without weights; None with a head

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
            "side": self.side.plain,
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


def portions(
    spec: ArchSpec,
    size: Size | None = None,
    classes: int | None = None,
    by: str = "stage",
    output_stride: int | None = None,
    head: str | None = None,
) -> list[Portion]:
    """Returns the portions of a network's cost, from input to output.

    Args:
        spec: The architecture.
        size: Image side in pixels, or (height, width); by default the network's own.
        classes: Outputs of the last layer; by default the network's own.
        by: "network" (one portion), "stage", "block" or "layer".
        output_stride: The largest stride, as in `ArchSpec.stages`; by default of a segmenter 8.
        head: One of `nxt.arch.heads.COSTED` in the place of the last layer.

    Raises:
        ArchError: for a size or number of classes out of range, or an output stride that the network does not have.
    """
    size, classes = resolution(spec, size, classes, head)
    peaks: dict[str, int] = {}
    if head is not None:
        all_blocks = list(blocks_with_head(spec, head, size, classes, output_stride))
    else:
        all_blocks = list(blocks(spec, size, classes, output_stride))
        for moment in moments(spec, size, classes, output_stride):
            peaks[moment.layer] = max(moment.bytes, peaks.get(moment.layer, 0))
    return [_portion(name, count, layers, peaks) for name, count, layers in _groups(spec, all_blocks, by)]


def _groups(spec: ArchSpec, all_blocks: list[Block], by: str) -> Iterator[tuple[str, int, list[Layer]]]:
    """Yields name, number of blocks and layers of every portion."""
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
    ends_in_block = len(layers) > 1 and _IN_STAGE.search(layers[-1].name)
    last = branch_end(layers) if ends_in_block else layers[-1]
    return Portion(
        name=name,
        blocks=count,
        channels=last.out_width,
        side=last.out_side,
        cost=cost_of(layers),
        fvcore=sum(layer.fvcore for layer in layers),
        layers=tuple(layers),
        peak=max(peaks.get(layer.name, 0) for layer in layers) if peaks else None,
    )
