"""The cost of every architecture of a space, as arrays.

For fixed widths a cost is affine in the depths: a base (one block per stage) and a slope for each stage. The table has
them for each choice of a space. They are exact: float64 holds whole numbers up to 2^53, and costs stay far below.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nxt.arch.costs import Cost, coefficients, cost_of, stage_cost
from nxt.arch.layers import head_layer, stem_layers
from nxt.space.space import Space
from nxt.space.stagewise import StagewiseSpace

COSTS = ("macs", "params", "acts")
_CHUNK = 1 << 13  # points costed at once: few enough to stay in the cache


class CostTable:
    """Bases and slopes of a space's choices, at the image size and classes at which the space is counted.

    Attributes:
        table: The base and the slope of each stage, by choice and cost, (choices, COSTS, 1 + stages).
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self.table = _by_stage(space) if isinstance(space, StagewiseSpace) else _one_by_one(space)
        sizes = [len(values) for values in space.axes.values()]
        self._strides = [math.prod(sizes[a + 1 :]) for a in range(len(sizes))]
        self._positions = np.full(math.prod(sizes), -1, dtype=np.int32)
        self._positions[space.choices @ np.array(self._strides, dtype=np.int64)] = np.arange(len(space.choices))
        self._further = [np.array(values, dtype=np.float64) - 1 for values in space.depths]

    def coefficients(self, name: str) -> NDArray[np.float64]:
        """Returns the bases and slopes of a field or property of `Cost`, (choices, 1 + stages)."""
        weights = np.array([getattr(Cost(**{cost: 1}), name) for cost in COSTS], dtype=np.float64)
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
        """Returns the exact costs of points (N, axes): whole numbers (COSTS, N), NaN if the space leaves a point out.

        Raises:
            IndexError: if a point is outside the axes.
        """
        costs = np.empty((len(COSTS), len(points)))
        for start in range(0, len(points), _CHUNK):
            chunk = points[start : start + _CHUNK]
            k = self.find(chunk)
            further = [blocks.take(chunk[:, s]) for s, blocks in enumerate(self._further)]
            rows = self.table.take(k, axis=0)
            rows[k < 0] = np.nan
            for c, cost in enumerate(costs[:, start : start + _CHUNK]):
                cost[:] = rows[:, c, 0]
                for s, blocks in enumerate(further):
                    cost += rows[:, c, 1 + s] * blocks
        return costs


def _one_by_one(space: Space) -> NDArray[np.float64]:
    """Computes the coefficients of each choice's network."""
    table = np.empty((len(space.configs), len(COSTS), 1 + len(space.depths)))
    for k, spec in enumerate(space.configs.values()):
        base, slopes = coefficients(spec, *space.resolution)
        table[k] = np.array([_figures(cost) for cost in (base, *slopes)]).T
    return table


def _by_stage(space: StagewiseSpace) -> NDArray[np.float64]:
    """Adds up each choice's coefficients: the cost of a stage depends on its own choice and the previous stage's."""
    chosen = space.block_index(space.choices)
    networks = list(space.blocks.values())
    widths = sorted({width for width, _, _ in space.blocks})
    enters = np.array([widths.index(width) for width, _, _ in space.blocks])  # input of the stage after a block
    size, classes = space.resolution
    heads = np.array([_figures(cost_of([head_layer(spec, 1, classes)] if spec else [])) for spec in networks])
    stem, side = stem_layers(space.example, size)
    table = np.empty((chosen.shape[1], len(COSTS), 1 + len(chosen)))
    table[..., 0] = _figures(cost_of(stem)) + heads[chosen[-1]]
    for s, block in enumerate(chosen):
        in_widths = widths if s else [space.example.stem_width]
        first = np.zeros((len(in_widths), len(networks), len(COSTS)))
        later = np.zeros((len(networks), len(COSTS)))
        for t, spec in enumerate(networks):
            if spec is None:
                continue
            stage = list(spec.stages())[min(s, 1)]
            for i, in_width in enumerate(in_widths):
                costs = stage_cost(spec, dataclasses.replace(stage, index=s, in_width=in_width), side)
                first[i, t], later[t], out = _figures(costs[0]), _figures(costs[1]), costs[2]
        table[..., 0] += first[enters[chosen[s - 1]] if s else 0, block]
        table[..., 1 + s] = later[block]
        side = out
    return table


def _figures(cost: Cost) -> list[float]:
    return [float(getattr(cost, name)) for name in COSTS]
