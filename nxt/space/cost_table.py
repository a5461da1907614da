"""The cost of every architecture of a space, as arrays.

For fixed widths a cost is affine in the depths: a base (one block per stage) and a slope for each stage. The table has
them for each choice of a space. They are exact: float64 holds whole numbers up to 2^53, and costs stay far below. Where
a space has a table of latencies, they are a cost like the others, in whole nanoseconds.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nxt.arch.costs import Cost, coefficients, cost, cost_of, part_cost, stage_cost
from nxt.arch.heads import checked_stride
from nxt.arch.latency import Part
from nxt.arch.layers import head_layer, stem_layers
from nxt.errors import SpaceError
from nxt.space.space import Space
from nxt.space.stagewise import StagewiseSpace

COSTS = ("macs", "params", "acts")
_CHUNK = 1 << 13  # points costed at once: few enough to stay in the cache


class CostTable:
    """Bases and slopes of a space's choices, at the image size and classes at which the space is counted.

    Attributes:
        names: The costs: COSTS, and `latency` if the space has a table of latencies.
        table: The base and the slope of each stage, by choice and cost, (choices, names, 1 + stages).
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self.names = costs_of(space)
        self.table = (
            _by_stage(space) if isinstance(space, StagewiseSpace) and space.head is None else _one_by_one(space)
        )
        sizes = [len(values) for values in space.axes.values()]
        self._strides = [math.prod(sizes[a + 1 :]) for a in range(len(sizes))]
        self._positions = np.full(math.prod(sizes), -1, dtype=np.int32)
        self._positions[space.choices @ np.array(self._strides, dtype=np.int64)] = np.arange(len(space.choices))
        self._further = [np.array(values, dtype=np.float64) - 1 for values in space.depths]

    def coefficients(self, name: str) -> NDArray[np.float64]:
        """Returns the bases and slopes of a field or property of `Cost`, (choices, 1 + stages).

        Raises:
            SpaceError: for the latency, if the space has no table of latencies.
        """
        if name == "latency" and name not in self.names:
            raise SpaceError(f"latency is limited, but {self.space.name!r} has no table of it: use `with_latency`")
        weights = np.array([getattr(Cost(**{cost: 1}), name) for cost in self.names], dtype=np.float64)
        return np.tensordot(self.table, weights, (1, 0))

    def find(self, points: NDArray[np.integer[Any]]) -> NDArray[np.int32]:
        """Returns the position of each point's choice, for points (N, axes); -1 if the space leaves it out.

        Raises:
            IndexError: if a point is outside the axes.
        """
        columns = np.ascontiguousarray(points.T, dtype=np.int64)
        sizes = np.array([len(values) for values in self.space.axis_values])
        if ((columns < 0) | (columns >= sizes[:, None])).any():
            raise IndexError("a point has an index that is outside its axis")
        number = np.zeros(len(points), dtype=np.int64)
        for column, stride in zip(columns[len(self.space.depths) :], self._strides, strict=True):
            number += column * stride
        return self._positions.take(number)

    def costs(self, points: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """Returns the exact costs of points (N, axes): whole numbers (names, N), NaN if the space leaves a point out.

        Raises:
            IndexError: if a point is outside the axes.
        """
        costs = np.empty((len(self.names), len(points)))
        for start in range(0, len(points), _CHUNK):
            chunk = points[start : start + _CHUNK]
            k = self.find(chunk)
            further = [blocks.take(chunk[:, s]) for s, blocks in enumerate(self._further)]
            rows = self.table.take(k, axis=0)
            rows[k < 0] = np.nan
            for c, row in enumerate(costs[:, start : start + _CHUNK]):
                row[:] = rows[:, c, 0]
                for s, blocks in enumerate(further):
                    row += rows[:, c, 1 + s] * blocks
        return costs


def costs_of(space: Space) -> tuple[str, ...]:
    """Returns the names of the costs that are known of a space's networks."""
    return COSTS if space.latency is None else (*COSTS, "latency")


def _one_by_one(space: Space) -> NDArray[np.float64]:
    """Computes the coefficients of each choice's network."""
    names = costs_of(space)
    table = np.empty((len(space.configs), len(names), 1 + len(space.depths)))
    (size, classes), head = space.resolution, space.head
    for k, spec in enumerate(space.configs.values()):
        if head is None:
            base, slopes = coefficients(spec, size, classes, space.latency)
        else:  # whose cost no depth changes; all networks here have one block a stage
            stride = checked_stride(spec, head.name, head.output_stride)
            base = cost(spec, size, classes, None, stride, head.name, head.pyramid)
            _, slopes = coefficients(spec, size, classes, None, stride)
        table[k] = np.array([_figures(cost, names) for cost in (base, *slopes)]).T
    return table


def _by_stage(space: StagewiseSpace) -> NDArray[np.float64]:
    """Adds up each choice's coefficients: the cost of a stage depends on its own choice and the previous stage's."""
    chosen = space.block_index(space.choices)
    networks = list(space.blocks.values())
    widths = sorted({width for width, _, _ in space.blocks})
    enters = np.array([widths.index(width) for width, _, _ in space.blocks])  # input of the stage after a block
    (size, classes), names, latency = space.resolution, costs_of(space), space.latency
    stem, side = stem_layers(space.example, size)
    table = np.empty((chosen.shape[1], len(names), 1 + len(chosen)))
    table[..., 0] = _figures(part_cost(Part(space.example, stem), latency), names)
    for s, block in enumerate(chosen):
        in_widths = widths if s else [space.example.stem_width]
        first = np.zeros((len(in_widths), len(networks), len(names)))
        later = np.zeros((len(networks), len(names)))
        for t, spec in enumerate(networks):
            if spec is None:
                continue
            stage = list(spec.stages())[min(s, 1)]
            for i, in_width in enumerate(in_widths):
                costs = stage_cost(spec, dataclasses.replace(stage, index=s, in_width=in_width), side, latency)
                first[i, t], later[t], out = _figures(costs[0], names), _figures(costs[1], names), costs[2]
        table[..., 0] += first[enters[chosen[s - 1]] if s else 0, block]
        table[..., 1 + s] = later[block]
        side = out
    heads = [
        cost_of([]) if n is None else part_cost(Part(n, [head_layer(n, side, classes)]), latency) for n in networks
    ]
    table[..., 0] += np.array([_figures(cost, names) for cost in heads])[chosen[-1]]
    return table


def _figures(cost: Cost, names: tuple[str, ...]) -> list[float]:
    return [float(getattr(cost, name)) for name in names]
