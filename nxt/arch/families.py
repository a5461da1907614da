"""Families of networks by which the papers argue, made from any network: `cardinality:resnet50` and the like.

Each family changes one thing at one complexity, measured by the multiply-adds of the whole network. Its first member
is the network itself, so that it is the baseline where the family is compared.

    cardinality   cardinality against base width at equal cost (ResNeXt tables 2 and 3)
    capacity      twice the cost by depth, by base width, by cardinality (ResNeXt table 4, figure 7)
    shortcut      with and without shortcuts (ResNeXt sec. 5.1)
    radix         no split attention, and radix 1, 2 and 4, at equal cost (ResNeSt sec. 3 and its ablation)
"""

from __future__ import annotations

from collections.abc import Callable

from nxt.arch.iso_complexity import macs, nearest
from nxt.arch.load import resolve
from nxt.arch.spec import ArchSpec
from nxt.errors import ArchError

_CARDINALITIES = (1, 2, 4, 8, 16, 32)
_RADICES = (0, 1, 2, 4)
_NEAR = 0.15  # how far a cost may lie from the one that is aimed at; small networks have no nearer ones


def is_family(text: str) -> bool:
    """Tells whether text names a family, such as `radix:resnest50`."""
    return text.partition(":")[0] in _FAMILIES and ":" in text


def family(text: str) -> tuple[ArchSpec, ...]:
    """Returns the members of a family, `KIND:NETWORK` with the name or the architecture file of a network.

    Raises:
        ArchError: if there is no such network, or it makes no family of that kind.
        ConfigError: if the file cannot be read.
    """
    kind, _, network = text.partition(":")
    reference = resolve(network)
    try:
        made = [reference, *_FAMILIES[kind](reference)]
    except ArchError as error:
        raise ArchError(f"{text}: {error}") from None
    members = tuple({spec.fingerprint: spec for spec in made}.values())
    if len(members) < 2:
        raise ArchError(f"{text}: no other network of that family has the cost of {reference.name}; take a larger one")
    return members


def _cardinality(reference: ArchSpec) -> list[ArchSpec]:
    return _of_cost(reference, 1, *({"cardinality": number} for number in _CARDINALITIES))


def _radix(reference: ArchSpec) -> list[ArchSpec]:
    return _of_cost(reference, 1, *({"radix": number} for number in _RADICES))


def _shortcut(reference: ArchSpec) -> list[ArchSpec]:
    return [reference.replace(shortcut=not reference.shortcut)]


def _capacity(reference: ArchSpec) -> list[ArchSpec]:
    """Returns the networks of twice the cost: deeper, wider, and, but for basic blocks, of more cardinality."""
    made = [_deeper(reference), *_of_cost(reference, 2, {})]
    if reference.block != "basic":
        made.append(reference.replace(cardinality=tuple(2 * number for number in reference.cardinality)))
    return [spec for spec in made if _is_near(spec, 2 * macs(reference))]


def _deeper(reference: ArchSpec) -> ArchSpec:
    """Returns the network nearest to twice the cost by blocks alone, each where its stage has grown least."""
    target, above = 2 * macs(reference), reference
    while macs(above) < target:
        below, depths = above, list(above.depths)
        stage = min(range(len(depths)), key=lambda s: (depths[s] / reference.depths[s], -reference.depths[s]))
        depths[stage] += 1
        above = above.replace(depths=tuple(depths))
    return min(below, above, key=lambda spec: abs(macs(spec) - target))


def _of_cost(reference: ArchSpec, times: int, *changes: dict[str, int]) -> list[ArchSpec]:
    """Returns for each change the network whose base width makes it cost so many times the reference, if one does."""
    found = (nearest(reference, macs, times * macs(reference), **change).spec for change in changes)
    return [spec for spec in found if spec is not None and _is_near(spec, times * macs(reference))]


def _is_near(spec: ArchSpec, target: int) -> bool:
    return abs(macs(spec) / target - 1) <= _NEAR


_FAMILIES: dict[str, Callable[[ArchSpec], list[ArchSpec]]] = {
    "cardinality": _cardinality,
    "capacity": _capacity,
    "shortcut": _shortcut,
    "radix": _radix,
}
