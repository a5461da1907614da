"""Finds the papers' own templates inside a budget, the references that a search has to beat.

Each family is one rule for the bottleneck, the same at all stages. The depths follow a published pattern (3-4-6-3 of
ResNet-50, 3-4-23-3, ...; three blocks each if there are not four stages), the widths double from stage to stage, and
the stage base width is 64. If the budget excludes these depths and widths, the nearest feasible ones are taken; the
patterns of ResNet-14 and 26 do not count, so that small budgets have narrower references before shallower ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from nxt.arch.names import BLOCKS
from nxt.arch.spec import ArchSpec
from nxt.space.feasible import FeasibleSet
from nxt.space.space import Point

_TEMPLATES = [blocks for depth, blocks in BLOCKS.items() if depth >= 50]


def _resnet(spec: ArchSpec) -> bool:
    return spec.radix == 0 and spec.cardinality[0] == 1 and spec.base_width[0] == spec.width


def _resnext(spec: ArchSpec) -> bool:
    mid = spec.cardinality[0] * spec.base_width[0]
    return spec.radix == 0 and spec.cardinality[0] > 1 and mid == 2 * spec.width


def _split_attention(spec: ArchSpec) -> bool:
    return spec.radix == 2 and spec.cardinality[0] == 1 and spec.base_width[0] == spec.width


FAMILIES: dict[str, Callable[[ArchSpec], bool]] = {
    "ResNet-like": _resnet,
    "ResNeXt-like": _resnext,
    "split-attention": _split_attention,
}


def references(feasible: FeasibleSet) -> dict[str, Point]:
    """Returns by family the feasible point nearest to the template. Families without a feasible point are left out."""
    nearest: dict[str, Point] = {}
    for family, belongs in FAMILIES.items():
        candidates = [
            (distance + _distance(spec), point)
            for choice, spec in feasible.space.uniform.items()
            if belongs(spec)
            for distance, point in [_nearest_depths(feasible, choice)]
            if point is not None
        ]
        if candidates:
            nearest[family] = min(candidates)[1]
    return nearest


def _distance(spec: ArchSpec) -> float:
    """Returns the distance of the widths from the template: stage base width 64, and groups of 4 if there are any."""
    groups = abs(math.log2(spec.base_width[0] / 4)) if spec.cardinality[0] > 1 else 0.0
    return abs(math.log2(spec.width / 64)) + 0.25 * groups


def _nearest_depths(feasible: FeasibleSet, choice: Point) -> tuple[float, Point | None]:
    stages = len(feasible.space.depths)
    templates = _TEMPLATES if stages == 4 else [(3,) * stages]
    best: tuple[float, Point | None] = (math.inf, None)
    for point in feasible.of_choice(choice):
        depths = [values[i] for values, i in zip(feasible.space.depths, point, strict=False)]
        distance = min(sum(abs(math.log2(n / t)) for n, t in zip(depths, blocks, strict=True)) for blocks in templates)
        if distance <= best[0]:  # of equals the deepest, near the upper end of the budget
            best = distance, point
    return best
