"""Families of equal complexity: cardinality against base width (ResNeXt sec. 3.2 and table 2).

All else of a reference network stays; for each cardinality C the base width d is sought whose network comes nearest to
the reference by a measure. The papers measure a block: with W channels in and out, C d in its 3x3, its convolutions
have C (W d + 9 d d + d W) weights. For ResNet-50 (69,632 at W = 256) that gives d = 64, 40, 24, 14 and 4 at
C = 1, 2, 4, 8 and 32, as in table 2. (The real solutions are 64, 39.95, 23.93, 13.70 and 3.97: rounding them to the
nearest whole number says the same.) Whole networks are measured by their multiply-adds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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
    """Return the weights of a first-stage block's three convolutions, in between blocks: C (W d + 9 d d + d W)."""
    width, cardinality, base_width = spec.widths[0], spec.cardinality[0], spec.base_width[0]
    return cardinality * (width * base_width + 9 * base_width * base_width + base_width * width)


def macs(spec: ArchSpec) -> int:
    """Return the multiply-adds of the whole network."""
    return cost(spec).macs


def nearest(reference: ArchSpec, cardinality: int, measure: Callable[[ArchSpec], int]) -> Member:
    """Return the network of that cardinality, at all stages, whose base width brings a measure nearest.

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
