"""Families of equal complexity: cardinality against base width (ResNeXt sec. 3.2 and table 2).

All else of a reference network stays; for each cardinality C the base width d is sought whose network comes nearest to
the reference by a measure. The papers measure a block: with W channels in and out, C d in its 3x3, its convolutions
have C (W d + 9 d d + d W) weights. For ResNet-50 (69,632 at W = 256) that gives d = 64, 40, 24, 14 and 4 at
C = 1, 2, 4, 8 and 32, as in table 2. (The real solutions are 64, 39.95, 23.93, 13.70 and 3.97: rounding them to the
nearest whole number says the same.) Whole networks are measured by their multiply-adds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from nxt.arch.costs import cost
from nxt.arch.spec import ArchSpec
from nxt.errors import ArchError

_MAX_WIDTH = 65536  # channels of a bottleneck


@dataclass(frozen=True)
class Member:
    """What comes nearest to the reference at one cardinality by one measure: a network, or why there is none."""

    cardinality: int
    spec: ArchSpec | None
    problem: str = ""


def block_weights(spec: ArchSpec) -> int:
    """Returns the weights of a first-stage block's three convolutions, in between blocks: C (W d + 9 d d + d W)."""
    width, cardinality, base_width = spec.widths[0], spec.cardinality[0], spec.base_width[0]
    return cardinality * (width * base_width + 9 * base_width * base_width + base_width * width)


def macs(spec: ArchSpec) -> int:
    """Returns the multiply-adds of the whole network."""
    return cost(spec).macs


def nearest(reference: ArchSpec, cardinality: int, measure: Callable[[ArchSpec], int]) -> Member:
    """Returns the network of that cardinality, at all stages, whose base width brings a measure nearest.

    Args:
        reference: Gives all else, and the value to come near to.
        cardinality: C.
        measure: Of a network; must rise with the base width.
    """
    target, stages = measure(reference), len(reference.depths)
    widest = _MAX_WIDTH // cardinality if cardinality > 0 else 0
    found: list[ArchSpec] = []
    problem = ""
    for base_width in range(1, max(1, widest) + 1):
        try:
            found.append(reference.replace(cardinality=(cardinality,) * stages, base_width=(base_width,) * stages))
        except ArchError as error:
            problem = problem or str(error)
            continue
        if measure(found[-1]) >= target:
            break
    if not found:
        return Member(cardinality, None, problem)
    return Member(cardinality, min(found[-2:], key=lambda spec: abs(measure(spec) - target)))


def family(reference: ArchSpec, cardinalities: Sequence[int]) -> dict[str, Any]:
    """Returns a family of equal complexity as plain data, as `nxt space iso --json` prints it.

    `reference` has the reference's costs. `by_block` and `by_macs` have a row for each cardinality: the network that
    comes nearest by either measure, its costs and their deviations from the reference's; or why there is none.
    """
    own = _costs(reference)

    def row(member: Member) -> dict[str, Any]:
        if member.spec is None:
            return {"cardinality": member.cardinality, "problem": member.problem}
        costs = _costs(member.spec)
        deviation = {key: costs[key] / own[key] - 1 for key in ("block", "macs", "params", "acts")}
        base_width = member.spec.base_width[0]
        return {"cardinality": member.cardinality, "base_width": base_width, **costs, "deviation": deviation}

    measures = {"by_block": block_weights, "by_macs": macs}
    rows = {name: [row(nearest(reference, c, of)) for c in cardinalities] for name, of in measures.items()}
    return {"reference": own, **rows}


def _costs(spec: ArchSpec) -> dict[str, Any]:
    return {"name": spec.name, **dataclasses.asdict(cost(spec)), "block": block_weights(spec)}
