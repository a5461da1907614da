"""Families of equal complexity: cardinality against base width (ResNeXt sec. 3.2 and table 2).

For each cardinality C, this module finds the base width d whose network comes nearest to a reference network by a
measure; all else stays. The papers measure a block: with W channels in and out and C d in its 3x3, its convolutions
have C (W d + 9 d d + d W) weights. For ResNet-50 (69,632 at W = 256) that gives d = 64, 40, 24, 14 and 4 at
C = 1, 2, 4, 8 and 32, as in table 2. (The real solutions are 64, 39.95, 23.93, 13.70 and 3.97, which round to the
same numbers.) Whole networks are measured by their multiply-adds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from nxt.arch.costs import cost
from nxt.arch.spec import ArchSpec
from nxt.errors import ArchError

_MAX_WIDTH = 65536  # channels of a bottleneck


@dataclass(frozen=True)
class Member:
    """The network of one cardinality nearest to the reference by one measure, or the problem if there is none."""

    cardinality: int
    spec: ArchSpec | None
    problem: str = ""


def block_weights(spec: ArchSpec) -> int:
    """Returns the weights in the three convolutions of a later block of the first stage: C (W d + 9 d d + d W)."""
    width, cardinality, base_width = spec.widths[0], spec.cardinality[0], spec.base_width[0]
    return cardinality * (width * base_width + 9 * base_width * base_width + base_width * width)


def macs(spec: ArchSpec) -> int:
    """Returns the multiply-adds of the whole network."""
    return cost(spec).macs


def nearest(
    reference: ArchSpec, measure: Callable[[ArchSpec], int], target: int | None = None, **changes: int
) -> Member:
    """Returns the network, by its base width, whose measure comes nearest to a target.

    Args:
        reference: The network whose other fields stay.
        measure: A function of a network that rises with the base width.
        target: What to come near to; None: the reference's own measure.
        changes: Other fields to change, such as the cardinality C at all stages.
    """
    target = measure(reference) if target is None else target
    cardinality = changes.get("cardinality", max(reference.cardinality))
    widest = _MAX_WIDTH // cardinality if cardinality > 0 else 1
    networks: list[ArchSpec] = []
    problem = ""
    for base_width in range(1, max(1, widest) + 1):
        try:
            networks.append(reference.replace(base_width=base_width, **changes))
        except ArchError as error:
            problem = problem or str(error)
            continue
        if measure(networks[-1]) >= target:
            break
    if not networks:
        return Member(cardinality, None, problem)
    return Member(cardinality, min(networks[-2:], key=lambda spec: abs(measure(spec) - target)))


def family(reference: ArchSpec, cardinalities: Sequence[int]) -> dict[str, Any]:
    """Returns a family of equal complexity as plain data, as `nxt space iso --json` prints it.

    `reference` has the reference's costs. `by_block` and `by_macs` have a row for each cardinality: the nearest
    network by that measure, its costs and their deviations from the reference's; or the problem if there is none.
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
    rows = {name: [row(nearest(reference, of, cardinality=c)) for c in cardinalities] for name, of in measures.items()}
    return {"reference": own, **rows}


def _costs(spec: ArchSpec) -> dict[str, Any]:
    return {"name": spec.name, **cost(spec).to_dict(), "block": block_weights(spec)}
