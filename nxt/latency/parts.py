"""The parts whose latencies a space needs: which there are, which to measure first, and what describes them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from nxt.arch.costs import cost
from nxt.arch.latency import Part
from nxt.arch.layers import block_layers, head_layer, stem_layers
from nxt.arch.memory import branch_end
from nxt.arch.spec import ArchSpec
from nxt.space.cost_table import CostTable
from nxt.space.space import Space

Array = NDArray[np.float64]
_VECTORS = 8, 16  # channels that runtimes compute together: groups of another width are slower than their work says


class _Asked:
    """Notes the parts that it is asked for."""

    def __init__(self) -> None:
        self.parts: dict[str, Part] = {}

    def of(self, part: Part) -> int:
        """Returns 1."""
        self.parts.setdefault(part.key, part)
        return 1


def parts_of_space(space: Space) -> dict[str, Part]:
    """Returns by key each part that a network of the space can have, counted as the space is."""
    asked = _Asked()
    CostTable(dataclasses.replace(space, latency=asked))
    return asked.parts


def parts_of_networks(specs: Iterable[ArchSpec], size: int, classes: int) -> dict[str, Part]:
    """Returns by key each part of some networks, and the later blocks that their stages could have."""
    asked = _Asked()
    for spec in specs:
        cost(spec, size, classes, asked)
    return asked.parts


def chain(spec: ArchSpec, size: int, classes: int) -> Iterator[Part]:
    """Yields the parts of a network, from input to output."""
    layers, side = stem_layers(spec, size)
    yield Part(spec, layers)
    for stage in spec.stages():
        for block in range(stage.depth):
            layers, side = block_layers(spec, stage, block, side)
            yield Part(spec, layers, stage)
    yield Part(spec, [head_layer(spec, side, classes)])


def features(parts: Sequence[Part]) -> Array:
    """Returns what describes blocks, (blocks, features): logarithms of their work, sides and widths, and their kind."""
    return np.array([_features(part) for part in parts])


def _features(part: Part) -> list[float]:
    stage, layers = part.stage, part.layers
    assert stage is not None
    shortcut = [layer for layer in layers if "downsample" in layer.name]
    own = [layer for layer in layers if "downsample" not in layer.name]
    first, last = own[0], branch_end(own)
    spatial = [layer for layer in own if layer not in (first, last)]
    macs = sum(layer.macs for layer in layers)
    kinds = (
        part.kind == "first",
        stage.radix > 0,
        stage.radix > 1,
        part.spec.attention == "se",
        part.spec.attention == "sk",
        first.in_side != last.out_side,
        bool(shortcut),
        *(stage.group_width % step == 0 for step in _VECTORS),
    )
    work = (
        macs,
        first.macs,
        sum(layer.macs for layer in spatial),
        last.macs + sum(layer.macs for layer in shortcut),
        sum(layer.params for layer in layers),
        sum(layer.output for layer in layers),
        first.in_width,
        last.out_width,
        stage.bottleneck * max(1, stage.radix),
        stage.group_width,
        stage.cardinality * max(1, stage.radix),
        last.out_side.height,
    )
    return [*(math.log(max(1, number)) for number in work), *map(float, kinds)]


def spread(inputs: Array, most: int) -> list[int]:
    """Returns the rows to measure, in an order in which the first ones always cover all of them well.

    Each is the one that is farthest from all before it, beginning with the one nearest to the middle.

    Args:
        inputs: What describes the blocks, (blocks, features).
        most: How many rows to return; all if there are no more.
    """
    scaled = (inputs - inputs.mean(axis=0)) / np.maximum(inputs.std(axis=0), 1e-9)
    chosen = [int((scaled**2).sum(axis=1).argmin())]
    nearest = np.full(len(scaled), np.inf)
    while len(chosen) < min(most, len(scaled)):
        nearest = np.minimum(nearest, ((scaled - scaled[chosen[-1]]) ** 2).sum(axis=1))
        nearest[chosen[-1]] = -1.0
        chosen.append(int(nearest.argmax()))
    return chosen
